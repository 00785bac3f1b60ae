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
DATA, SPLIT, WEIGHTS, ON_BROKEN_ROW, READING = command_line.define_judged()
SLICE = flags.DEFINE_multi_string("slice", [], "A column of the rows, each of whose values is judged beside the others; give "
                                  "it several times for several.")
OUTPUT = flags.DEFINE_string("output", "", "Where the page goes; '' is <workdir>/report.html.")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")
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
