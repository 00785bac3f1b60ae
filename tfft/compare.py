"""Which run is better: python -m tfft.compare runs/a runs/b [--data=csv:mine.csv | --split=validation] [--slice=column]

All are judged on the same rows, and each is compared with the first: the difference of their metric with a 95% interval, a
paired test, by length, label and column, what differs in settings and training rows, speed and size, and a plain verdict.
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

DATA, SPLIT, WEIGHTS, ON_BROKEN_ROW, READING = command_line.define_judged(several=True)
SLICE = flags.DEFINE_list("slice", [], "Columns of the rows by whose values the runs are compared besides.")
FAIL_IF_WORSE = flags.DEFINE_bool("fail_if_worse", False, "End with 1 where a run is worse than the first.")
OUTPUT = flags.DEFINE_string("output", "", "Where all that was found goes: as a page to a .html file, else as JSON.")
RUNS = 100  # at most


def main(*runs: str) -> int:
    if len(runs) < 2:
        raise UserError("Name the runs, the one to compare with first: tfft compare runs/a runs/b")
    if twice := [path for path in runs if runs.count(path) > 1]:
        raise UserError(f"{twice[0]} is named twice.")
    reading = READING()

    from tfft.run.workdir import Workdir

    tasks = [Workdir(path).experiment().task.name for path in runs]  # a wrong folder is told before TensorFlow is loaded
    for path, task in zip(runs, tasks, strict=True):
        if task != tasks[0]:
            raise UserError(f"{runs[0]} and {path} cannot be compared: the task of the one is {tasks[0]}, of the other "
                            f"{task}.")
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.compare import compare

    return compare(list(runs), data=DATA.value, split=SPLIT.value, weights=WEIGHTS.value, output=OUTPUT.value,
                   slices=tuple(SLICE.value), on_broken_row=ON_BROKEN_ROW.value, reading=reading,
                   fail_if_worse=FAIL_IF_WORSE.value)


if __name__ == "__main__":
    command_line.run(main, takes=RUNS)
