"""Judge a run: python -m tfft.evaluate --workdir=runs/imdb [--data=csv:mine.csv | --split=validation]"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "Work directory of the run.")
DATA = flags.DEFINE_string("data", "", "A source of labelled rows with the run's own columns, e.g. csv:more.csv.")
SPLIT = flags.DEFINE_enum("split", "", ["", "train", "validation", "test"], "Which split of the run; '' is test where the run "
                          "has one, else validation.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")
OUTPUT = flags.DEFINE_string("output", "", "Where the JSON report goes; '' is <workdir>/evaluation-<data>.json.")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")
    if DATA.value and SPLIT.value:
        raise UserError("Give --data or --split, not both.")

    from tfft.workdir import Workdir

    Workdir(WORKDIR.value).experiment()  # a wrong folder is told before TensorFlow is loaded
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.evaluation.judge import judge

    return judge(WORKDIR.value, data=DATA.value, split=SPLIT.value, weights=WEIGHTS.value, output=OUTPUT.value)


if __name__ == "__main__":
    command_line.run(main)
