"""Which texts are nearly the same: MinHash (Broder 1997) with banding, over pairs of neighbouring tokens, in numpy.

Two texts are as similar as their sets of pairs are, by Jaccard: what both have, of what either has. Rows whose minima of
MINIMA hashes agree in one of BANDS bands are candidates; of these the exact similarity is computed, so that nothing is
reported that is not there. At 0.8 a pair is missed once in 5,000 times, (1 - 0.8^4)^16. Tokens are those of the store: nothing
is tokenised for it. docs/results/data.md says what libraries for the same take.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tfft.data.scratch import scratch
from tfft.data.splits import mixed
from tfft.data.store import Ragged

BANDS, MINIMA = 16, 4
NEIGHBOURS = 3    # of a bucket's rows, by number of pairs, that each is compared with
COMPARED = 1 << 22  # values compared at once


class Sets:
    """The sets of pairs of tokens of n rows, uint32 each, ascending; of row i flat[offsets[i]:offsets[i + 1]]."""

    def __init__(self, rows: int, tokens: int):
        self._flat = scratch((tokens,), np.uint32)
        self.offsets = np.zeros(rows + 1, np.int64)
        self.keys = np.zeros((BANDS, rows), np.uint64)
        self._rows, self._end = 0, 0
        # odd factors: a product modulo 2^32 with one of them is a permutation, whose smallest value is a minimum's
        self._factors = np.random.default_rng(0).integers(1 << 31, size=BANDS * MINIMA, dtype=np.uint32) * np.uint32(2) + 1

    def add(self, tokens: Ragged, salts: np.ndarray | None = None) -> None:
        """The next rows' tokens; rows of different salts uint64[n] have nothing in common. A row of one token has one pair."""
        values, row = pairs_of(tokens, salts)
        count = np.bincount(row, minlength=len(tokens.lengths))
        own, begin = slice(self._rows, self._rows + len(count)), self._end
        self.offsets[self._rows + 1:own.stop + 1] = begin + np.cumsum(count)
        self._flat[begin:begin + len(values)] = values
        some = np.flatnonzero(count)
        starts = (np.cumsum(count) - count)[some]
        for band in range(BANDS):
            key = np.zeros(len(some), np.uint64)
            for factor in self._factors[band * MINIMA:(band + 1) * MINIMA]:
                key = mixed(key ^ np.minimum.reduceat(values * factor, starts).astype(np.uint64)) if len(some) else key
            self.keys[band, own.start + some] = key
        self._rows, self._end = own.stop, begin + len(values)

    @property
    def sizes(self) -> np.ndarray:
        return np.diff(self.offsets)

    def common(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """int64[p]: how many pairs of tokens rows first[i] and second[i] have in common."""
        made, sizes = np.zeros(len(first), np.int64), self.sizes
        for part in _batches(sizes[first] + sizes[second]):
            lengths = np.stack([sizes[first[part]], sizes[second[part]]], 1).ravel()
            begins = np.stack([self.offsets[first[part]], self.offsets[second[part]]], 1).ravel()
            shift = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
            values = self._flat[np.arange(int(lengths.sum())) + shift].astype(np.uint64)
            which = np.repeat(np.arange(len(lengths), dtype=np.uint64) >> np.uint64(1), lengths)
            both = np.sort(which << np.uint64(32) | values)
            twice = both[1:][both[1:] == both[:-1]] >> np.uint64(32)
            made[part] = np.bincount(twice.astype(np.int64), minlength=len(first[part]))
        return made


def without(tokens: Ragged, kept: np.ndarray) -> Ragged:
    """The same rows, those that are not kept without a token."""
    return Ragged(np.asarray(tokens.flat)[np.repeat(kept, tokens.lengths)], np.where(kept, tokens.lengths, 0))


def pairs_of(tokens: Ragged, salts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(hashes uint32[m], the row of each int64[m]), ascending by row and hash, each once: [5 7 5 7] -> 57, 75"""
    flat, lengths = np.asarray(tokens.flat).astype(np.uint64), tokens.lengths
    row = np.repeat(np.arange(len(lengths)), lengths)
    last = np.zeros(len(flat), bool)
    last[np.cumsum(lengths)[lengths > 0] - 1] = True
    alone = np.repeat(lengths == 1, lengths)
    following = np.append(flat[1:], np.uint64(0)) if len(flat) else flat
    following[last] = 0
    kept = ~last | alone
    value = mixed(flat[kept] << np.uint64(32) | following[kept])
    if salts is not None:
        value = mixed(value ^ salts[row[kept]])
    keys = np.sort(row[kept].astype(np.uint64) << np.uint64(32) | value >> np.uint64(32))
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
    return keys.astype(np.uint32), (keys >> np.uint64(32)).astype(np.int64)


def near_pairs(sets: Sets, similarity: float, progress: Callable[[int], None] = lambda band: None
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first, second int64[p], their similarity float64[p]) of pairs of rows that are so similar at least."""
    sizes, seen = sets.sizes, np.zeros(0, np.uint64)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for band in range(BANDS):
        fresh = np.setdiff1d(_candidates(sets.keys[band], sizes, similarity), seen)
        seen = np.union1d(seen, fresh)
        first, second = (fresh >> np.uint64(32)).astype(np.int64), (fresh & np.uint64(0xFFFFFFFF)).astype(np.int64)
        common = sets.common(first, second)
        alike = common / np.maximum(1, sizes[first] + sizes[second] - common)
        kept = alike >= similarity
        found.append((first[kept], second[kept], alike[kept]))
        progress(band + 1)
    return tuple(np.concatenate(each) for each in zip(*found, strict=True))


def _candidates(keys: np.ndarray, sizes: np.ndarray, similarity: float) -> np.ndarray:
    """uint64[c], first << 32 | second: pairs of one bucket whose sizes allow for that similarity."""
    order = np.lexsort((sizes, keys))
    order = order[sizes[order] > 0]
    made = []
    for step in range(1, NEIGHBOURS + 1):
        a, b = order[:-step], order[step:]
        kept = (keys[a] == keys[b]) & (sizes[a] >= similarity * sizes[b])
        low, high = np.minimum(a[kept], b[kept]), np.maximum(a[kept], b[kept])
        made.append(low.astype(np.uint64) << np.uint64(32) | high.astype(np.uint64))
    return np.unique(np.concatenate(made))


def groups(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int64[count]: the number of each row's group, of rows that pairs join."""
    links = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    return connected_components(links, directed=False)[1]


def _batches(sizes: np.ndarray) -> Iterator[slice]:
    """Slices over pairs of about COMPARED values in all."""
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(sizes):
        before = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + COMPARED, "right")))
        yield slice(begin, end)
        begin = end
