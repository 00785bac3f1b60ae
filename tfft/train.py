"""Fine-tune: python -m tfft.train --config=configs/imdb.py:quick --workdir=runs/imdb"""

from absl import flags

from tfft import flags as command_line

WORKDIR = flags.DEFINE_string("workdir", "", "Work directory: everything of the run goes here; '' is runs/<config.name>. "
                              "The same command again resumes.")
command_line.define_config()


def main() -> int:
    experiment = command_line.experiment_or_tasks()

    from tfft.run.fine_tune import fine_tune

    return fine_tune(experiment, WORKDIR.value or f"runs/{experiment.name}")


if __name__ == "__main__":
    command_line.run(main)
