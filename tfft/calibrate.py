"""Make probabilities honest, by the validation rows: python -m tfft.calibrate --workdir=runs/imdb [--precision=0.95]"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of the run.")
PRECISION = flags.DEFINE_float("precision", 0.0, "Share of the answers given that must be right; less sure ones are withheld "
                               "(abstaining). 0: every answer is given.", lower_bound=0.0, upper_bound=1.0)
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")

    from tfft.config import TASKS
    from tfft.run.workdir import Workdir

    experiment = Workdir(WORKDIR.value).experiment()
    if not experiment.data.specs("validation"):
        raise UserError("This run has no validation rows to calibrate on: train with --config.data.validation=10%.")
    TASKS[experiment.task.name].check_calibration(experiment.task, PRECISION.value)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.judge import calibrate_run

    return calibrate_run(WORKDIR.value, WEIGHTS.value, PRECISION.value)


if __name__ == "__main__":
    command_line.run(main)
