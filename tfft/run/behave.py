"""How a run, or a served model, behaves: tests from a YAML file, word swaps on its own rows, its metric under noise."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfft.behaviour import fairness, judging
from tfft.behaviour.changes import Row
from tfft.behaviour.fairness import Swapped, swapped
from tfft.behaviour.judging import Outcome, run_test
from tfft.behaviour.suite import Test
from tfft.behaviour.swaps import Swaps
from tfft.behaviour.values import ALL
from tfft.data.prepare import Split
from tfft.data.splits import draw
from tfft.errors import UserError
from tfft.files import to_path
from tfft.run import robustness
from tfft.run.judge import check_writable, own_split, write_output
from tfft.run.workdir import Run, Workdir, open_run
from tfft.tasks.fields import LISTS
from tfft.training.summaries import Console, table

FAILED = 1  # the exit code where a test failed
WORDS_SHOWN = 15


def behave(path: str, *, predictor: Callable[[Run], Any], tests: Sequence[Test], swaps: Swaps | None, robust: bool, split: str,
           rows: int, seed: int, weights: str, output: str) -> int:
    """Prints what a run does in all that is asked for, and writes it as JSON; returns the exit code.

    predictor: what makes of a run something with a Predictor's `answers`. rows: how many of the split at most, 0: all.
    """
    console = Console()
    target = to_path(output) if output else Workdir(path).path / "behaviour.json"
    check_writable(target)
    run = open_run(path, weights)
    name = split or ("test" if run.experiment.data.specs("test") else "validation")
    found: dict[str, Any] = {"split": name, "step": run.step}
    outcomes: list[Outcome] = []
    if tests or swaps:
        answers = predictor(run).answers
        own = _Rows(run, name, console)
        outcomes = run_tests(tests, answers, own, console)
        found |= {"tests": [outcome.to_json() for outcome in outcomes]} if tests else {}
        if swaps:
            console.say("swapping words")
            made = swapped(own(rows or ALL), swaps, answers)
            print(told_of_swaps(made, name))
            found["swap"] = made.to_json()
    if robust:
        made = robustness.measure(run, name, rows, seed, console)
        print(made.told())
        found["robustness"] = made.to_json()
    _write(target, found)
    print(f"report: {target}")
    return exit_of(outcomes)


def behave_served(tests: Sequence[Test], answers: judging.Answers, output: str) -> int:
    """The tests on what a server answers."""
    target = to_path(output) if output else None
    if target:
        check_writable(target)

    def none(count: int):
        raise UserError("A server has no test rows.")

    outcomes = run_tests(tests, answers, none, Console())
    if target:
        _write(target, {"tests": [outcome.to_json() for outcome in outcomes]})
    return exit_of(outcomes)


def run_tests(tests: Sequence[Test], answers: judging.Answers, own: Callable[[int], list[Row]],
              console: Console) -> list[Outcome]:
    """What came of each test, which is printed."""
    outcomes = []
    for test in tests:
        console.say(f"test: {test.name}")
        outcomes.append(run_test(test, answers, own))
    if outcomes:
        print(told(outcomes))
    return outcomes


def exit_of(outcomes: Sequence[Outcome]) -> int:
    failed = [outcome.test.name for outcome in outcomes if not outcome.passed]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return FAILED if failed else 0


def told(outcomes: Sequence[Outcome]) -> str:
    """The tests for a person, with examples of what failed."""
    parts = [table([outcome.line() for outcome in outcomes], judging.HEADER)]
    for outcome in outcomes:
        if outcome.failures:
            parts.append(f"{outcome.test.name}: {outcome.failed:,} of {outcome.cases:,}")
            parts += [line for failure in outcome.failures[:judging.SHOWN] for line in failure.lines()]
    return "\n".join(parts)


def told_of_swaps(made: Swapped, name: str) -> str:
    if not made.columns:
        return f"{name}: none of the {made.asked:,} rows has a word of the swap file"
    parts = [f"{name}: {made.found:,} of {made.asked:,} rows have a word of the swap file",
             table([one.line() for one in made.columns], fairness.HEADER)]
    if len(made.words) > len(made.columns):
        parts += [table([one.line() for one in made.words[:WORDS_SHOWN]], ("words", *fairness.HEADER[1:]))]
    for one in made.columns:
        parts += [line for failure in one.examples[:judging.SHOWN] for line in failure.lines() if one.flipped]
    return "\n".join(parts)


class _Rows:
    """Rows of a split of the run, as it is asked them; the same for the same number."""

    def __init__(self, run: Run, name: str, console: Console):
        self._run, self._name, self._console = run, name, console
        self._split: Split | None = None

    def __call__(self, count: int) -> list[Row]:
        if self._split is None:
            self._split = own_split(self._run, self._name, self._console.say)
        store, rows = self._split.store, self._split.rows
        if "predicate" in store.fields:
            raise UserError("What changes a text moves the word whose roles are asked for: give tests texts: of their own, and "
                            "no test_rows: or --swap.")
        chosen = draw(rows, store.column("id_hash")[rows], 0 if count == ALL else count)
        return [{name: json.loads(text) if name in LISTS else text
                 for name, text in zip(store.fields, store.texts(row), strict=True)} for row in chosen]


def _write(target: Path, found: dict[str, Any]) -> None:
    write_output(target, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
