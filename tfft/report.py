"""A run as one page: python -m tfft.report --workdir=runs/imdb [--data=csv:mine.csv | --split=validation] [--slice=COLUMN]

How good it is, with intervals; where it fails, by length and by any column of the rows; confusion, calibration, thresholds and
what they cost; mistakes; how it was trained, on what, and with which settings. Training and evaluate write the page too,
without slices by columns.
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", "", "Work directory of the run; of a run of several tasks, each gets a page.")
DATA = flags.DEFINE_string("data", "", "A source of labelled rows with the columns the run was trained with, e.g. "
                           "csv:more.csv.")
SPLIT = flags.DEFINE_enum("split", "", ["", "train", "validation", "test"], "Which split of the run; '' is test where the run "
                          "has one, else validation.")
SLICE = flags.DEFINE_multi_string("slice", [], "A column of the rows, each of whose values is judged beside the others; give "
                                  "it several times for several.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")
ON_BROKEN_ROW = flags.DEFINE_enum("on_broken_row", "", ["", "error", "skip"], "What a row of --data without text or label, or "
                                  "against its format, does; '' is what config.data.on_broken_row says.")
READING = command_line.define_reading("data")
OUTPUT = flags.DEFINE_string("output", "", "Where the page goes; '' is <workdir>/report.html.")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")
    if DATA.value and SPLIT.value:
        raise UserError("Give --data or --split, not both.")
    if ON_BROKEN_ROW.value and not DATA.value:
        raise UserError("--on_broken_row goes with --data: the run's own splits are read as its config says.")
    reading = READING()

    from tfft.run.workdir import Workdir

    workdirs = Workdir(WORKDIR.value).of_tasks()
    if len(workdirs) > 1 and (OUTPUT.value or DATA.value):
        raise UserError(f"{WORKDIR.value} is a run of several tasks. Name one of them for --data or --output: "
                        f"{', '.join(str(one.path) for one in workdirs)}.")
    for workdir in workdirs:
        workdir.experiment()  # a wrong folder is told before TensorFlow is loaded
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.report import report_run

    for workdir in workdirs:
        report_run(str(workdir.path), data=DATA.value, split=SPLIT.value, weights=WEIGHTS.value, columns=tuple(SLICE.value),
                   output=OUTPUT.value, on_broken_row=ON_BROKEN_ROW.value, reading=reading)
    return 0


if __name__ == "__main__":
    command_line.run(main)
