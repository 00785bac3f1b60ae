"""Judge a run: python -m tfft.evaluate --workdir=runs/imdb [--data=csv:mine.csv | --split=validation]

Several in their order, each on the rows of all: python -m tfft.evaluate --workdir=runs/october --workdir=runs/november
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_multi_string("workdir", None, "Work directory of the run. Given several times: of runs that go on from "
                                    "each other, in their order; what each makes of the rows of all, and what is forgotten.")
DATA = flags.DEFINE_string("data", "", "A source of labelled rows with the columns the run was trained with, e.g. "
                           "csv:more.csv.")
SPLIT = flags.DEFINE_enum("split", "", ["", "train", "validation", "test"], "Which split of the run; '' is test where the run "
                          "has one, else validation.")
WEIGHTS = flags.DEFINE_enum("weights", "", ["", "best", "last"], "Which weights; '' is what config.export.weights says.")
ON_BROKEN_ROW = flags.DEFINE_enum("on_broken_row", "", ["", "error", "skip"], "What a row of --data without text or label, or "
                                  "against its format, does; '' is what config.data.on_broken_row says.")
READING = command_line.define_reading("data")
BASELINE = flags.DEFINE_bool("baseline", True, "Text classification: compare with a constant answer and a linear model; "
                             "--nobaseline does not.")
PROTECTED = flags.DEFINE_list("protected", [], "Columns of the rows whose values are groups to be treated alike: what is found "
                              "by group, and how far they are apart.")
POSITIVE = flags.DEFINE_string("positive", "", "With --protected: the label whose rates are compared; '' each in its turn, and "
                               "that is told which is most apart.")
OUTPUT = flags.DEFINE_string("output", "", "Where the JSON report goes; '' is <workdir>/evaluation-<data>.json. The page "
                             "is written beside it (config.eval.report).")


def main() -> int:
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")
    if DATA.value and SPLIT.value:
        raise UserError("Give --data or --split, not both.")
    if ON_BROKEN_ROW.value and not DATA.value:
        raise UserError("--on_broken_row goes with --data: the run's own splits are read as its config says.")
    if POSITIVE.value and not PROTECTED.value:
        raise UserError("--positive goes with --protected: name the columns whose groups are compared.")
    if PROTECTED.value and len(WORKDIR.value) > 1:
        raise UserError("--protected is for one run; name one --workdir.")
    reading = READING()
    if len(WORKDIR.value) > 1 and DATA.value:
        raise UserError("--data is for one run; several are judged on the rows of each: --split=test or validation.")

    from tfft.run.workdir import Workdir

    for path in WORKDIR.value:
        Workdir(path).experiment()  # a wrong folder is told before TensorFlow is loaded
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    if len(WORKDIR.value) > 1:
        from tfft.run.sequence import judge_sequence

        return judge_sequence(WORKDIR.value, split=SPLIT.value, weights=WEIGHTS.value, output=OUTPUT.value)

    from tfft.run.judge import judge
    from tfft.run.report import beside

    return judge(WORKDIR.value[0], data=DATA.value, split=SPLIT.value, weights=WEIGHTS.value, output=OUTPUT.value,
                 on_broken_row=ON_BROKEN_ROW.value, reading=reading, baseline=BASELINE.value, page=beside,
                 protected=tuple(PROTECTED.value), positive=POSITIVE.value)


if __name__ == "__main__":
    command_line.run(main)
