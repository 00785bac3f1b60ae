"""Judge a run: python -m tfft.evaluate --workdir=runs/imdb [--data=csv:mine.csv | --split=validation]

How it behaves: --tests=tests.yaml (exit code 1 where one fails), --swap=names.csv, --robustness; docs/behaviour.md has them.

Several in their order, each on the rows of all: python -m tfft.evaluate --workdir=runs/october --workdir=runs/november
Several as one that answers by the mean of all: python -m tfft.evaluate --workdir=runs/a --workdir=runs/b --ensemble
"""

import sys

from absl import flags

from tfft import flags as command_line
from tfft.errors import UserError

WORKDIR = flags.DEFINE_multi_string("workdir", None, "Work directory of the run. Given several times: of runs that go on from "
                                    "each other, in their order; what each makes of the rows of all, and what is forgotten.")
DATA, SPLIT, WEIGHTS, ON_BROKEN_ROW, READING = command_line.define_judged()
BASELINE = flags.DEFINE_bool("baseline", True, "Text classification: compare with a constant answer and a linear model; "
                             "--nobaseline does not.")
PROTECTED = flags.DEFINE_list("protected", [], "Columns of the rows whose values are groups to be treated alike: what is found "
                              "by group, and how far they are apart.")
POSITIVE = flags.DEFINE_string("positive", "", "With --protected: the label whose rates are compared; '' each in its turn, and "
                               "that is told which is most apart.")
ENSEMBLE = flags.DEFINE_bool("ensemble", False, "Several --workdir are one model that answers by their mean, not a sequence; "
                             "each is judged by itself besides. A cross-validation's folder is one in any case.")
TESTS = flags.DEFINE_string("tests", "", "A YAML file of behavioural tests (minimum, invariance, direction) to run instead; "
                            "ends with 1 where one fails.")
SWAP = flags.DEFINE_string("swap", "", "A file of words that may stand for each other, a line each (he,she): how many answers "
                           "to the split's rows flip where they are exchanged.")
ROBUSTNESS = flags.DEFINE_bool("robustness", False, "The metrics under typos, other case, lost punctuation, blanks and words.")
ROWS = flags.DEFINE_integer("rows", 0, "Of --swap and --robustness: how many of the split's rows, drawn; 0 is all.",
                            lower_bound=0)
SEED = flags.DEFINE_integer("seed", 0, "Of --robustness: another one makes other typos.", lower_bound=0)
SERVER = flags.DEFINE_string("server", "", "With --tests, instead of --workdir: a served model, grpc://host:8500/imdb or "
                             "http://host:8501/imdb.")
OUTPUT = flags.DEFINE_string("output", "", "Where the JSON report goes; '' is <workdir>/evaluation-<data>.json, or "
                             "behaviour.json. The page is written beside it (config.eval.report).")


def main() -> int:
    if TESTS.value or SWAP.value or ROBUSTNESS.value or SERVER.value:
        return _behaviour()
    if not WORKDIR.value:
        raise UserError("Name the run: --workdir=runs/imdb")
    if POSITIVE.value and not PROTECTED.value:
        raise UserError("--positive goes with --protected: name the columns whose groups are compared.")
    if PROTECTED.value and len(WORKDIR.value) > 1:
        raise UserError("--protected is for one run; name one --workdir.")
    reading = READING()
    if ENSEMBLE.value and len(WORKDIR.value) < 2:
        raise UserError("--ensemble is of several runs: --workdir=runs/a --workdir=runs/b. A cross-validation's folder is one "
                        "without it.")
    sequence = len(WORKDIR.value) > 1 and not ENSEMBLE.value
    if sequence and DATA.value:
        raise UserError("--data is for one run, or for several as one (--ensemble); else several are judged on the rows of "
                        "each: --split=test or validation.")

    from tfft.run.workdir import Workdir

    for path in WORKDIR.value:
        Workdir(path).experiment()  # a wrong folder is told before TensorFlow is loaded
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    if sequence:
        from tfft.run.sequence import judge_sequence

        return judge_sequence(WORKDIR.value, split=SPLIT.value, weights=WEIGHTS.value, output=OUTPUT.value)

    from tfft.run.judge import judge
    from tfft.run.report import beside

    return judge(WORKDIR.value[0], data=DATA.value, split=SPLIT.value, weights=WEIGHTS.value, output=OUTPUT.value,
                 on_broken_row=ON_BROKEN_ROW.value, reading=reading, baseline=BASELINE.value, others=WORKDIR.value[1:],
                 page=beside, protected=tuple(PROTECTED.value), positive=POSITIVE.value)


def _behaviour() -> int:
    """Tests, word swaps and noise: on a run, or tests on a server."""
    if DATA.value or ON_BROKEN_ROW.value:
        raise UserError("--tests, --swap and --robustness go with the run's own rows (--split), or with texts in the tests, "
                        "not with --data.")
    if PROTECTED.value or POSITIVE.value or ENSEMBLE.value:
        raise UserError("--protected, --positive and --ensemble are of an evaluation, which --tests, --swap and --robustness "
                        "take the place of: run tfft evaluate once for each.")
    if bool(SERVER.value) == bool(WORKDIR.value) or len(WORKDIR.value or ()) > 1:
        raise UserError("Name one run, --workdir=runs/imdb, or with --tests a served model, --server=grpc://localhost:8500/imdb")
    READING()

    from tfft.behaviour.suite import read_suite
    from tfft.behaviour.swaps import read_swaps

    tests = read_suite(TESTS.value) if TESTS.value else []
    swaps = read_swaps(SWAP.value) if SWAP.value else None
    return _tested_server(tests) if SERVER.value else _tested_run(WORKDIR.value[0], tests, swaps)


def _tested_run(path: str, tests: list, swaps) -> int:
    from tfft.assets import cache_folder
    from tfft.behaviour.judging import with_rows
    from tfft.run.workdir import Workdir
    from tfft.tasks.fields import ALSO, FIELDS, LISTS

    experiment = Workdir(path).experiment()
    fields = FIELDS[experiment.task.name](experiment, cache_folder(experiment.data.cache))
    own = tuple(field.name for field in fields if field.asked and field.column)
    tests = with_rows(tests, [own, *(tuple(sorted(also)) for also in ALSO.get(experiment.task.name, ()))], LISTS)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.behave import behave
    from tfft.serving.prediction import Predictor

    return behave(path, predictor=Predictor, tests=tests, swaps=swaps, robust=ROBUSTNESS.value, split=SPLIT.value,
                  rows=ROWS.value, seed=SEED.value, weights=WEIGHTS.value, output=OUTPUT.value)


def _tested_server(tests: list) -> int:
    if not tests or SWAP.value or ROBUSTNESS.value or SPLIT.value or WEIGHTS.value:
        raise UserError("--server goes with --tests alone: a server has no rows of its own.")
    for test in tests:
        if test.test_rows:
            raise UserError(f"{test.place}: test_rows: a server has none. Give texts:, a template:, or --workdir.")

    from tfft.behaviour.judging import with_rows
    from tfft.serving.client import Address
    from tfft.tasks.fields import LISTS

    Address.parse(SERVER.value)
    print("tfft: loading TensorFlow", file=sys.stderr, flush=True)

    from tfft.run.behave import behave_served
    from tfft.serving.client import Client
    from tfft.serving.remote_prediction import RemotePredictor

    with Client(SERVER.value) as client:
        predictor = RemotePredictor(client)
        return behave_served(with_rows(tests, [predictor.fields], LISTS), predictor.answers, OUTPUT.value)


if __name__ == "__main__":
    command_line.run(main)
