"""Runs tests on whatever answers rows, and tells what came of it."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tfft.behaviour.changes import Change, Row
from tfft.behaviour.expect import CHECKS, SLACK, Answer, apart, measured, said, shown, stays
from tfft.behaviour.suite import Case, Test
from tfft.errors import UserError, unknown

KEPT, SHOWN, WIDTH = 20, 3, 100  # examples in the report, on the terminal, and the characters of one there
Answers = Callable[[list[Row]], list[Answer]]


class Failure(NamedTuple):
    """What was asked, what of it was changed and how, what was answered before and then, and why that is wrong."""

    asked: str
    changed: str
    change: str
    before: str
    answer: str
    why: str

    def lines(self) -> list[str]:
        if not self.changed:
            return [f"  {self.asked[:WIDTH]!r}", f"    {self.answer}: {self.why}"]
        first = len(os.path.commonprefix([self.asked, self.changed]))
        begin = max(0, first - WIDTH // 2) if first > WIDTH - 20 else 0
        old, new = (f"{'...' if begin else ''}{text[begin:begin + WIDTH]}" for text in (self.asked, self.changed))
        return [f"  {old!r}  {self.before}", f"  {new!r}  {self.answer}", f"    {self.change}: {self.why}"]


class Outcome(NamedTuple):
    """What came of a test: of so many cases so many failed. unchanged: rows that a change left as they were, and that are no
    cases."""

    test: Test
    cases: int
    failed: int
    unchanged: int
    failures: list[Failure]

    @property
    def rate(self) -> float:
        return self.failed / self.cases if self.cases else 0.0

    @property
    def passed(self) -> bool:
        return self.rate <= self.test.allowed + SLACK

    def line(self) -> tuple:
        return (self.test.name, self.test.kind, self.cases, self.failed, f"{self.rate:.1%}", f"{self.test.allowed:.1%}",
                "ok" if self.passed else "FAILED")

    def to_json(self) -> dict[str, Any]:
        return {"name": self.test.name, "kind": self.test.kind, "place": self.test.place, "cases": self.cases,
                "failed": self.failed, "rate": self.rate, "allowed": self.test.allowed, "passed": self.passed,
                "unchanged": self.unchanged, "examples": [failure._asdict() for failure in self.failures]}


HEADER = ("test", "kind", "cases", "failed", "rate", "allowed", "")


def with_rows(tests: Sequence[Test], known: Sequence[tuple[str, ...]], lists: Sequence[str]) -> list[Test]:
    """The tests with each text as a row of what is asked. known: sets of fields that are answered, the run's own first; lists:
    those of them that are lists of texts. Raises: UserError with the line of a row that is not answered."""
    return [test._replace(cases=[case._replace(asked=_row(case, known, lists)) for case in test.cases],
                          fields=_fields(test, known)) for test in tests]


def _fields(test: Test, known: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    names = list(dict.fromkeys(name for several in known for name in several))
    for name in test.fields:
        if name not in names:
            raise UserError(f"{test.place}: fields: {unknown('field', name, names)}")
    return test.fields


def _row(case: Case, known: Sequence[tuple[str, ...]], lists: Sequence[str]) -> Row:
    row, own = case.asked, known[0]
    if isinstance(row, str):
        if len(own) > 1:
            raise UserError(f"{case.place}: what is answered here is {' with '.join(own)}; write "
                            f"{{{', '.join(f'{name}: ...' for name in own)}}} instead of a text.")
        return {own[0]: row}
    for name, value in row.items():
        if name not in {name for several in known for name in several}:
            raise UserError(f"{case.place}: {unknown('field', name, own)}")
        if name in lists:
            good = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
        else:
            good = isinstance(value, int if name == "predicate" else str) and not isinstance(value, bool)
        if not good:
            raise UserError(f"{case.place}: {name}: {'a list of texts' if name in lists else 'a text'} is expected, not "
                            f"{value!r:.40}. Write what YAML takes for something else in quotes.")
    if not any(set(row) == set(several) for several in known):
        raise UserError(f"{case.place}: what is answered here is {' with '.join(own)}, not {' with '.join(row) or 'nothing'}.")
    return row


def run_test(test: Test, answers: Answers, own_rows: Callable[[int], list[Row]]) -> Outcome:
    """own_rows: so many of the run's test rows. Raises: UserError where answers are not of the kind that the test is about."""
    if test.kind == "minimum":
        return _minimum(test, answers)
    rows = own_rows(test.test_rows) if test.test_rows else [case.asked for case in test.cases]
    pairs = [(place, change, made) for change in test.changes for place, row in enumerate(rows)
             if (made := change(row, test.fields)) != row]
    needed = sorted({place for place, _, _ in pairs})
    before = dict(zip(needed, answers([rows[place] for place in needed]), strict=True))
    after = answers([made for _, _, made in pairs])
    failed, failures = 0, []
    for (place, change, made), answer in zip(pairs, after, strict=True):
        of = change.of if change.everywhere else None
        if why := _stays(test, before[place], answer, of) if test.kind == "invariance" else _moves(test, before[place], answer):
            failed += 1
            if len(failures) < KEPT:
                failures.append(_failure(rows[place], made, change, before[place], answer, why))
    if not pairs:
        raise UserError(f"{test.place}: test {test.name!r} changes none of its {len(rows):,} texts, and so tests nothing.")
    return Outcome(test, len(pairs), failed, len(rows) * len(test.changes) - len(pairs), failures)


def _failure(row: Row, made: Row, change: Change, before: Answer, answer: Answer, why: str) -> Failure:
    names = [name for name in row if row[name] != made[name]]
    return Failure(as_text(row, names), as_text(made, names), change.title, shown(before), shown(answer), why)


def _minimum(test: Test, answers: Answers) -> Outcome:
    failed, failures = 0, []
    for case, answer in zip(test.cases, answers([case.asked for case in test.cases]), strict=True):
        whys = [CHECKS[one.check](answer, one.value, one.place) for one in case.expected]
        if any(whys):
            failed += 1
            if len(failures) < KEPT:
                failures.append(Failure(as_text(case.asked), "", "", "", shown(answer), "; ".join(filter(None, whys))))
    return Outcome(test, len(test.cases), failed, 0, failures)


def _stays(test: Test, before: Answer, after: Answer, of: Callable[[str], str] | None) -> str:
    if said(before) is None and test.tolerance is None:
        raise UserError(f"{test.place}: these answers are numbers, which any change moves: {test.name!r} needs a tolerance:")
    if not stays(before, after, of):
        return "another answer"
    moved = apart(before, after)
    return f"moved by {moved:.3f}" if test.tolerance is not None and moved > test.tolerance + SLACK else ""


def _moves(test: Test, before: Answer, after: Answer) -> str:
    moved = measured(after, test.target) - measured(before, test.target)
    if moved * test.sign >= test.by - SLACK:
        return ""
    return f"{test.target.name} moved by {moved:+.3f}, not {'up' if test.sign > 0 else 'down'} by {test.by:g} or more"


def as_text(row: Row, names: Sequence[str] = ()) -> str:
    """A row for a person, or what of it is of interest."""
    chosen = {name: row[name] for name in names or row}
    told = " | ".join(value if isinstance(value, str) else str(value) for value in chosen.values())
    return re.sub(r"\s+", " ", told) if len(told) > 200 else told
