"""Counterfactual fairness: which answers change where a text says of one what it said of another (Garg et al. 2019)."""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from tfft.behaviour.changes import Row, of_field
from tfft.behaviour.expect import Answer, apart, shown, stays
from tfft.behaviour.judging import KEPT, Failure, as_text
from tfft.behaviour.swaps import Exchange, Swaps


class Flips(NamedTuple):
    """Of `rows` that have a word of a pair `flipped` got another answer with the other word; moved: how far apart answers
    are on average."""

    title: str
    rows: int
    flipped: int
    moved: float
    examples: list[Failure]

    def line(self) -> tuple:
        return self.title, self.rows, self.flipped, f"{self.flipped / self.rows:.1%}", f"{self.moved:.4f}"

    def to_json(self) -> dict[str, Any]:
        return {"pair": self.title, "rows": self.rows, "flipped": self.flipped, "rate": self.flipped / self.rows,
                "moved": self.moved, "examples": [one._asdict() for one in self.examples]}


HEADER = ("pair", "rows", "flipped", "rate", "moved by")


class Swapped(NamedTuple):
    """What became of rows: by columns of the swap file, and by its words, the most flips first. asked: all rows; found:
    those that have one of the words."""

    asked: int
    found: int
    columns: list[Flips]
    words: list[Flips]

    def to_json(self) -> dict[str, Any]:
        return {"asked": self.asked, "found": self.found, "columns": [one.to_json() for one in self.columns],
                "words": [one.to_json() for one in self.words]}


def swapped(rows: list[Row], swaps: Swaps, answers: Callable[[list[Row]], list[Answer]]) -> Swapped:
    """Every two columns of a swap file exchanged in each row that has a word of them."""
    changed = [(place, pair, made, found, exchange) for pair in swaps.pairs() for exchange in [Exchange(swaps, pair)]
               for place, made, found in _changed(rows, exchange)]
    needed = sorted({place for place, *_ in changed})
    before = dict(zip(needed, answers([rows[place] for place in needed]), strict=True))
    after = answers([made for _, _, made, _, _ in changed])
    columns: dict[str, list] = {}
    words: dict[str, list] = {}
    for (place, pair, made, found, exchange), answer in zip(changed, after, strict=True):
        flipped = not stays(before[place], answer, lambda text, exchange=exchange: exchange(text)[0])
        one = (rows[place], made, swaps.title(pair), before[place], answer, flipped)
        columns.setdefault(swaps.title(pair), []).append(one)
        for title in found:
            words.setdefault(title, []).append(one)
    by_words = sorted((_flips(title, several) for title, several in words.items()),
                      key=lambda one: (-one.flipped, -one.flipped / one.rows, -one.moved))
    return Swapped(len(rows), len(needed), [_flips(title, several) for title, several in columns.items()], by_words)


def _changed(rows: list[Row], exchange: Exchange):
    """(place, the row with the words exchanged, the pairs of words found) of those that have one."""
    for place, row in enumerate(rows):
        found: dict[str, None] = {}

        def of(text: str) -> str:
            made, pairs = exchange(text)
            found.update(dict.fromkeys(pairs))  # noqa: B023 - called at once
            return made

        made = {name: of_field(name, value, of) for name, value in row.items()}
        if made != row:
            yield place, made, tuple(found)


def _flips(title: str, several: list[tuple]) -> Flips:
    flipped = [one for one in several if one[5]]
    worst = sorted(flipped or several, key=lambda one: -apart(one[3], one[4]))[:KEPT]
    return Flips(title, len(several), len(flipped), statistics.fmean(apart(one[3], one[4]) for one in several), [
        Failure(as_text(row), as_text(made), change, shown(before), shown(answer), "another answer" if flipped else "moved")
        for row, made, change, before, answer, _ in worst])
