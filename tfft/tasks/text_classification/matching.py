"""Which label of a table a written one is, and what the numbers of a label column are: names, ids, or a 0 or 1 for each label.

Nothing is guessed: where two readings would differ, `Unclear` says so, and config.data.label_values decides. Imports no
TensorFlow.
"""

import re
from collections.abc import Iterable

import numpy as np

from tfft.data.spelling import KINDS, bit_of, folding, index_of, number_of, truth_of


class Unclear(Exception):
    """What cannot be told apart. name: a written label, or row: a place in the store, that shows it."""

    def __init__(self, reason: str, name: str | None = None, row: int | None = None):
        super().__init__(reason)
        self.name, self.row = name, row


class Matcher:
    """Finds names in a table: as they are, else as the same number, the same truth value, or the same but for `kinds` of
    spelling, where that is one name alone."""

    def __init__(self, names: tuple[str, ...], kinds: Iterable[str] = ()):
        self.names = names
        self._exact = {name: i for i, name in enumerate(names)}
        self._kinds = spelled(kinds)
        self._fold = folding(names, (*self._kinds, "number"))
        self._alike: dict[str, int] = {}
        for i, name in enumerate(names):
            key = self.key(name)
            self._alike[key] = -1 if key in self._alike else i

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str) -> int:
        """A place in the table; -1 where it has no such name, or several."""
        found = self._exact.get(name)
        return self._alike.get(self.key(name), -1) if found is None else found

    def key(self, name: str) -> str:
        """What names that are the same have in common."""
        made = self._fold(name)
        return made if truth_of(made) is None else made.lower()

    def find_by(self, name: str, values: str) -> int:
        """The same, where values="ids" says that numbers are places in the table; then true is 1 unless it is a name."""
        if values != "ids" or (number_of(name) is None and truth_of(name) is None):
            return self.find(name)
        if truth_of(name) is not None and self.find(name) >= 0:
            return self.find(name)
        place = index_of(name) if truth_of(name) is None else truth_of(name)
        return place if place < len(self.names) else -1


def spelled(kinds: Iterable[str]) -> tuple[str, ...]:
    """config.data.label_normalisation as kinds of spelling."""
    return tuple(KINDS) if "all" in kinds else tuple(kinds)


def names_or_ids(found: Iterable[str], given: Matcher) -> str:
    """"names" or "ids": what the numbers among the labels found are, where names are given. Raises: Unclear.

    Names 1 to 5 and the values 1 to 5: names, for 5 is no id. The values 1 to 4 could be either.
    """
    numbers = [name for name in found if number_of(name) is not None]
    if all(number_of(name) is None and truth_of(name) is None for name in given.names):
        return "ids"
    as_name = {name: given.find(name) for name in numbers}
    as_id = {name: given.find_by(name, "ids") for name in numbers}
    names_alone = [name for name in numbers if as_name[name] >= 0 > as_id[name]]
    ids_alone = [name for name in numbers if as_id[name] >= 0 > as_name[name]]
    if names_alone and ids_alone:
        raise Unclear(f"{names_alone[0]!r} can only be a name, and {ids_alone[0]!r} only an id", ids_alone[0])
    clash = [name for name in numbers if as_name[name] >= 0 <= as_id[name] != as_name[name]]
    if clash and not names_alone and not ids_alone:
        one = clash[0]
        raise Unclear(f"{one!r} is a name, and as an id, counted from 0, it stands for {given.names[as_id[one]]!r}", one)
    return "ids" if ids_alone else "names"


def multi_hot(names: list[str], codes: np.ndarray, offsets: np.ndarray, given: int) -> int:
    """How many labels each row has a 0 or 1 for; 0 where rows are lists of names or ids. Raises: Unclear.

    names: of the codes; row i is codes[offsets[i]:offsets[i + 1]]; given: how many labels are named, 0 where none is.

    [1, 0, 1] and [0, 0, 1]: 3. [0, 1] and [1, 0] could be ids: unclear. [0], [0, 1] and [2]: 0, ids.
    """
    lengths = np.diff(offsets)
    if not len(codes) or lengths.max() < 2:
        if len(names) > 1 and len({len(name) for name in names}) == 1 and all(re.fullmatch("[01]{3,}", name) for name in names):
            raise Unclear(f"{names[0]!r} could be a 0 or 1 for each of {len(names[0])} labels", names[0])
        return 0
    numbers = np.array([number_of(name) is not None or bit_of(name) >= 0 for name in names])
    if not numbers[codes].all():
        mixed = _repeating(codes, offsets, numbers)
        if mixed is not None:
            raise Unclear("it holds a number twice, as a row of 0 and 1 does, where other rows hold names", row=mixed)
        return 0
    bits = np.array([bit_of(name) for name in names], np.int32)
    same = np.unique(lengths[lengths > 0])
    repeating = _repeating(bits[codes] if bits[codes].min() >= 0 else codes, offsets, np.ones(len(names) + 2, bool))
    words = all(truth_of(names[code]) is not None for code in np.unique(codes))
    if bits[codes].min() < 0:
        parts = not given and any(number_of(name) is not None and number_of(name).denominator > 1 for name in names)
        if (repeating is not None or parts) and len(same) == 1:
            raise Unclear(f"its {same[0]} numbers are not 0 and 1 alone, and do not look like names or ids",
                          row=int(np.flatnonzero(lengths)[0]) if repeating is None else repeating)
        return 0
    if len(same) > 1:
        if repeating is None and not words:
            return 0
        most = int(np.argmax(np.bincount(lengths[lengths > 0])))
        odd = int(np.flatnonzero((lengths > 0) & (lengths != most))[0])
        raise Unclear(f"it has {lengths[odd]} numbers 0 or 1 where other rows have {most}", row=odd)
    count = int(same[0])
    if repeating is None and not words:
        if given and count != given:
            return 0
        raise Unclear("every row holds a 0 and a 1: the ids or names of two labels, or that one holds and the other does not",
                      row=int(np.flatnonzero(lengths)[0]))
    return count


def _repeating(codes: np.ndarray, offsets: np.ndarray, asked: np.ndarray) -> int | None:
    """The first row that has one of the asked codes twice."""
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    chosen = asked[codes]
    order = np.lexsort((codes[chosen], rows[chosen]))
    rows, codes = rows[chosen][order], codes[chosen][order]
    twice = np.flatnonzero((rows[1:] == rows[:-1]) & (codes[1:] == codes[:-1]))
    return int(rows[twice[0]]) if len(twice) else None
