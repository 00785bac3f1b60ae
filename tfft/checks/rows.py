"""The rows of all splits as rows of one store, looked at a part at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tfft.checks.findings import Example
from tfft.data.prepare import Split
from tfft.data.store import TokenStore

PART, VALUES = 1 << 16, 1 << 22  # rows, and their tokens or bytes, looked at together
TEXT = 100  # characters of an example


def parts_by(sizes: np.ndarray) -> Iterator[slice]:
    """Slices over rows of so many values each, of about VALUES values in all; a larger row is alone."""
    ends, begin = np.cumsum(sizes, dtype=np.int64), 0
    while begin < len(sizes):
        fits = int(np.searchsorted(ends, (ends[begin - 1] if begin else 0) + VALUES, "right"))
        end = min(max(begin + 1, fits), begin + PART)
        yield slice(begin, min(end, len(sizes)))
        begin = end


class Rows(NamedTuple):
    """rows int64[n] of the store, ascending; split int8[n]: whose each is, a place in `names`."""

    store: TokenStore
    rows: np.ndarray
    split: np.ndarray
    names: tuple[str, ...]

    def of(self, name: str) -> np.ndarray:
        """int64: the rows of the store that are a split's."""
        return self.rows[self.split == self.names.index(name)] if name in self.names else self.rows[:0]

    def parts(self) -> Iterator[slice]:
        """Slices over them."""
        yield from parts_by(np.asarray(self.store.column("full_length")[self.rows]))

    def text(self, place: int) -> str:
        """All that is asked in the row at a place in `rows`."""
        return " || ".join(self.store.texts(int(self.rows[place])))

    def example(self, place: int, note: str = "", at: int = 0) -> Example:
        """Of such a row; at: the character of its text that is odd."""
        text, begin = self.text(place), max(0, at - TEXT // 3)
        return Example(self.store.place(int(self.rows[place])), ("... " if begin else "") + text[begin:begin + TEXT], note)

    def where(self, places: np.ndarray) -> str:
        """'3 in train, 1 in test'"""
        counts = np.bincount(self.split[places], minlength=len(self.names))
        return ", ".join(f"{count:,} in {name}" for name, count in zip(self.names, counts.tolist(), strict=True) if count)


def together(splits: dict[str, Split]) -> Rows:
    """All splits' rows. Splits of one store share it; a file that two splits name is there twice."""
    stores: list[TokenStore] = []
    taken: list[np.ndarray] = []  # of each store, bool: whether a split has the row
    at: list[tuple[int, np.ndarray]] = []
    for split in splits.values():
        place = next((i for i, store in enumerate(stores) if store.folder.name == split.store.folder.name
                      and not taken[i][split.rows].any()), len(stores))
        if place == len(stores):
            stores.append(split.store)
            taken.append(np.zeros(len(split.store), bool))
        taken[place][split.rows] = True
        at.append((place, split.rows))
    begins = np.cumsum([0, *(len(store) for store in stores)])
    rows = np.concatenate([begins[place] + own for place, own in at])
    split = np.repeat(np.arange(len(at), dtype=np.int8), [len(own) for _, own in at])
    order = np.argsort(rows, kind="stable")
    return Rows(stores[0] if len(stores) == 1 else TokenStore.joined(stores), rows[order], split[order], tuple(splits))
