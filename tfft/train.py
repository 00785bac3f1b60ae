"""Fine-tune: python -m tfft.train --config=configs/imdb.py:quick --workdir=runs/imdb

Cross-validate: python -m tfft.train --config=imdb:quick --workdir=runs/cv --folds=5 [--repeats=2]
"""

import dataclasses

from absl import flags

from tfft import flags as command_line
from tfft.config import Experiment, MultiTask, is_all_folds, resolve
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", "", "Work directory: everything of the run goes here; '' is runs/<config.name>. "
                              "The same command again resumes.")
FOLDS = flags.DEFINE_integer("folds", 0, "Cross-validation: the training rows are so many folds, and each is held out by a run "
                             "of its own, in <workdir>/fold-1 and so on. Short for --config.data.folds.number.", lower_bound=0)
REPEATS = flags.DEFINE_integer("repeats", 0, "With folds: so often, each time with others. Short for "
                               "--config.data.folds.repeats.", lower_bound=0)
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "With folds: which weights of each run are judged on the rows "
                            "it held out. Short for --config.export.weights.")
command_line.define_config()


def main() -> int:
    experiment = with_folds(command_line.experiment_or_tasks())
    workdir = WORKDIR.value or f"runs/{experiment.name}"
    if isinstance(experiment, Experiment) and is_all_folds(experiment):
        from tfft.folds.cross_validate import cross_validate

        return cross_validate(experiment, workdir)

    from tfft.run.fine_tune import fine_tune

    return fine_tune(experiment, workdir)


def with_folds(experiment: Experiment | MultiTask) -> Experiment | MultiTask:
    """The experiment with what the flags say of folds. Raises: UserError."""
    given = {name: flag.value for name, flag in (("number", FOLDS), ("repeats", REPEATS)) if flag.value}
    if given and isinstance(experiment, MultiTask):
        raise UserError("--folds: cross-validation is of one task. Train each by itself.")
    if given:
        values = dataclasses.asdict(experiment)
        values["data"]["folds"] |= given
        experiment = resolve(values)
    if WEIGHTS.value:
        if isinstance(experiment, MultiTask) or not is_all_folds(experiment):
            raise UserError("--weights goes with --folds: which weights judge. What is served: --config.export.weights.")
        experiment = dataclasses.replace(experiment, export=dataclasses.replace(experiment.export, weights=WEIGHTS.value))
    return experiment


if __name__ == "__main__":
    command_line.run(main)
