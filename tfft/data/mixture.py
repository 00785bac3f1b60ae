"""Mixtures: how many rows of each source stand in an epoch, and which. Uses numpy alone."""

import dataclasses
import math

import numpy as np

from tfft.config import Data
from tfft.data.splits import mixed, text_hash
from tfft.errors import UserError

ROUNDS = 3
AT_ONCE = 1 << 20  # places of which rows are computed together


@dataclasses.dataclass(frozen=True)
class Part:
    """A source in a mixture: its training rows, its rate (all add up to 1), and the rows that it gives an epoch."""

    name: str
    rows: int
    rate: float
    drawn: int

    @property
    def passes(self) -> float:
        """How often an epoch goes over it."""
        return self.drawn / self.rows


def parts(rows: dict[str, int], data: Data) -> list[Part]:
    """The sources of a mixture, of so many training rows each, as config.data.mixture and their own rates and caps have it.

    A source counts as min(its rows, its cap) rows, and its rate is proportional to the T-th root of that (Raffel et al. 2020,
    section 3.5.2); an epoch has as many rows as all count as. Given rates are taken as they are.
    {"a": 900, "b": 100}, cap 300 -> a: rate 0.75, 300 rows of an epoch; b: 0.25, 100
    Raises: UserError where a source would give an epoch no row.
    """
    counted = {}
    for name, count in rows.items():
        cap = data.sources[name].get("cap") or data.mixture.cap
        counted[name] = min(count, cap) if cap else count
    weights = np.array([data.sources[name].get("rate") or counted[name] ** (1 / data.mixture.temperature) for name in rows])
    rates = weights / weights.sum()
    drawn = whole_numbers(rates, data.mixture.rows or sum(counted.values()))
    for name, number, rate in zip(rows, drawn.tolist(), rates.tolist(), strict=True):
        if not number:
            raise UserError(f"config.data.sources.{name}: of {drawn.sum():,} rows of an epoch its rate {rate:.2g} gives none. "
                            f"Set config.data.mixture.rows to {int(np.ceil(1 / rate)):,} or more, or give the source more.")
    return [Part(name, rows[name], *each) for name, each in zip(rows, zip(rates.tolist(), drawn.tolist()), strict=True)]


def whole_numbers(rates: np.ndarray, total: int) -> np.ndarray:
    """int64[n] that add up to `total`, each rates[i] * total rounded down or up: up where most is cut off.

    [0.5, 0.3, 0.2], 11 -> [6, 3, 2]
    """
    exact = rates * total
    made = np.floor(exact).astype(np.int64)
    most = np.argsort(made - exact, kind="stable")  # ties by order
    made[most[:total - int(made.sum())]] += 1
    return made


def times(name: str, rows: int, drawn: int, epoch: int, seed: int) -> np.ndarray:
    """How often each of a source's rows stands in an epoch, uint[rows]. A function of its arguments: its rows come in
    permutations, each of (seed, name, its number), one after another, of which epoch e takes the places e * drawn to
    (e + 1) * drawn - 1. So a row has never been drawn more than once more than another.

    3 rows in the orders [2 0 1] [0 1 2] ..., 2 drawn: epoch 0 has rows 2 and 0 -> [1 0 1]; epoch 1 rows 1 and 0 -> [1 1 0]
    """
    begin, end = epoch * drawn, (epoch + 1) * drawn
    made = np.zeros(rows, np.min_scalar_type(drawn // rows + 2))
    whole = 0
    for number in range(begin // rows, -(-end // rows)):
        first, last = max(begin - number * rows, 0), min(end - number * rows, rows)
        if last - first == rows:
            whole += 1
        else:
            for at in range(first, last, AT_ONCE):
                made[permuted(np.arange(at, min(at + AT_ONCE, last)), rows, (seed, text_hash(name), number, 4))] += 1
    return made + made.dtype.type(whole)


def turns(drawn: np.ndarray, epoch: int) -> np.ndarray:
    """int64, as `drawn`, an epoch's rows or examples: what chance decides for each follows from it. The epoch's number; what
    is there for the second time and more often has others, which are no epoch's."""
    flat = drawn.ravel()
    order = np.argsort(flat, kind="stable")
    turn = np.empty(len(flat), np.int64)
    turn[order] = np.arange(len(flat)) - np.searchsorted(flat[order], flat[order])
    return (epoch + (turn << 32)).reshape(drawn.shape)


def permuted(places: np.ndarray, size: int, key: tuple[int, ...]) -> np.ndarray:
    """int64: what stands at some places of a permutation of range(size) that `key` decides. None of the others is computed:
    a shuffle takes 400 MB and 10 s for 100 million rows, of which an epoch may need few.

    A Feistel network on numbers l * b + r, l < a and r < b, where a * b is little more than size; what falls beyond it is
    permuted again until it does not (Black & Rogaway 2002, sections 3 and 4).
    """
    a = math.isqrt(size - 1) + 1
    b = -(-size // a)
    keys = np.random.SeedSequence(key).generate_state(2 * ROUNDS, np.uint64)
    made, beyond = places.astype(np.uint64), np.arange(len(places))
    while len(beyond):
        left, right = np.divmod(made[beyond], np.uint64(b))
        for i in range(0, 2 * ROUNDS, 2):
            left = (left + mixed(right ^ keys[i]) % np.uint64(a)) % np.uint64(a)
            right = (right + mixed(left ^ keys[i + 1]) % np.uint64(b)) % np.uint64(b)
        made[beyond] = left * np.uint64(b) + right
        beyond = beyond[made[beyond] >= size]
    return made.astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """The training rows of a mixture. rows: int64[n] of each source, ascending, those of the first source first."""

    parts: list[Part]
    rows: list[np.ndarray]
    seed: int

    @property
    def drawn(self) -> int:
        """The rows of an epoch."""
        return sum(part.drawn for part in self.parts)

    def epoch(self, epoch: int) -> np.ndarray:
        """int64[m], ascending: the rows of an epoch, one as often as it stands there."""
        return np.concatenate([np.repeat(rows, times(part.name, part.rows, part.drawn, epoch, self.seed))
                               for part, rows in zip(self.parts, self.rows, strict=True)])
