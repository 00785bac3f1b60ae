"""The plan: which examples stand in which batch, of which length. A pure function of (lengths, settings, epoch).

Uses numpy alone and computes a whole epoch before its first step, so that step counts, padding waste, the place to resume at
and every host's share follow from it.
"""

import dataclasses
import json
from typing import NamedTuple

import numpy as np

WINDOW_BATCHES = 100  # rows of so many batches are sorted by length together; batches are then shuffled


class Batch(NamedTuple):
    """indices: int64[b] into the planned rows, -1 where a zero-weight row fills the batch; length: tokens, padded."""

    indices: np.ndarray
    length: int


@dataclasses.dataclass(frozen=True)
class PlanSettings:
    """How examples become batches; `multiple` is what every batch size is a multiple of (replicas x micro-batches).

    A constant-token batch never holds fewer than `multiple` examples: tokens_per_batch >= multiple * max_length keeps all
    within the budget. A `run_length` above 0 is for devices that compile every shape: all batches of a length have one size,
    and so many of them follow one another.
    """

    batch_size: int
    max_length: int
    tokens_per_batch: int = 0
    buckets: tuple[int, ...] = ()
    grouping: bool = True
    shuffle: bool = True
    seed: int = 0
    multiple: int = 1
    length_multiple: int = 8
    run_length: int = 0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "PlanSettings":
        """What `to_json` wrote. Raises ValueError, KeyError or TypeError where it is damaged."""
        values = json.loads(text)
        return cls(**{**values, "buckets": tuple(values["buckets"])})


@dataclasses.dataclass(frozen=True)
class Plan:
    """One epoch. `order` holds row indices batch after batch; batch b is order[starts[b]:starts[b] + sizes[b]], filled
    with -1 up to its padded size. Each row is `sequences` sequences of `lengths` tokens, padding included."""

    order: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    padded_sizes: np.ndarray
    lengths: np.ndarray
    real_tokens: int
    sequences: int = 1

    @property
    def num_batches(self) -> int:
        return len(self.starts)

    @property
    def padded_tokens(self) -> int:
        return int(np.sum(self.padded_sizes.astype(np.int64) * self.lengths)) * self.sequences

    @property
    def padding_waste(self) -> float:
        """Share of all token positions that hold padding, 0 to 1."""
        return 1 - self.real_tokens / self.padded_tokens if len(self.starts) else 0.0

    def batch(self, index: int) -> Batch:
        start, size = int(self.starts[index]), int(self.sizes[index])
        indices = np.full(int(self.padded_sizes[index]), -1, np.int64)
        indices[:size] = self.order[start:start + size]
        return Batch(indices, int(self.lengths[index]))


def make_plan(lengths: np.ndarray, settings: PlanSettings, epoch: int = 0) -> Plan:
    """Plans one epoch over examples of `lengths` int[n] tokens: every example in exactly one batch.

    lengths [3, 9, 4, 8], batch_size 2, buckets (4, 12), no shuffle -> batches [0, 2] of length 4 and [3, 1] of length 12
    """
    n = len(lengths)
    random = np.random.Generator(np.random.PCG64([settings.seed, epoch]))
    order = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    if settings.shuffle:
        random.shuffle(order)
    if settings.run_length:
        return _plan_in_runs(order, lengths, settings, random)
    window = WINDOW_BATCHES * settings.batch_size if settings.shuffle else max(n, 1)
    ordered = np.empty(n, np.min_scalar_type(int(np.max(lengths, initial=0))))  # as small as they are: half the time and memory
    for begin in range(0, n, window):
        part = order[begin:begin + window]
        part_lengths = lengths[part].astype(ordered.dtype)
        if settings.grouping:
            by_length = np.argsort(part_lengths, kind="stable")
            part[:], part_lengths = part[by_length], part_lengths[by_length]
        ordered[begin:begin + window] = part_lengths
    sizes = _token_sizes(ordered, settings) if settings.tokens_per_batch else _equal_sizes(n, settings)
    starts = np.cumsum(sizes) - sizes
    longest = np.maximum.reduceat(ordered, starts) if n else ordered
    batch_order = random.permutation(len(sizes)) if settings.shuffle else np.arange(len(sizes))
    padded = -(-sizes // settings.multiple) * settings.multiple
    if not settings.tokens_per_batch:
        padded = np.full_like(sizes, settings.batch_size)
    return Plan(order, starts[batch_order], sizes[batch_order], padded[batch_order],
                round_up(longest.astype(np.int64), settings)[batch_order], int(ordered.sum(dtype=np.int64)))


def share(rows: int, part: int, parts: int) -> slice:
    """Which of a batch's `rows` positions the replica number `part` of `parts` computes: share(8, 1, 4) is slice(2, 4)."""
    size = rows // parts
    return slice(part * size, (part + 1) * size)


def _plan_in_runs(order: np.ndarray, lengths: np.ndarray, settings: PlanSettings, random: np.random.Generator) -> Plan:
    """A plan of the rows in `order` whose batches come in runs of run_length of one shape, the runs shuffled.

    What does not fill a bucket's last batch goes up to the next larger bucket, so that one batch alone, of the largest, is
    filled with zero-weight rows: that costs less than one batch of max_length. A bucket's last run may be shorter.

    lengths [3, 9, 4, 4, 8], batch_size 2, buckets (4, 12), run_length 1, no shuffle -> batches [0, 2] of length 4, [3, 1] and
    [4, -1] of length 12
    """
    bucket_of = round_up(lengths, settings)[order]
    if not settings.grouping:
        bucket_of = np.full_like(bucket_of, bucket_of.max(initial=0))
    batches = []  # (rows, their number, padded number, length, run)
    rest, run = order[:0], 0
    for length in (used := np.unique(bucket_of)):
        rows = np.concatenate([rest, order[bucket_of == length]])
        size = _bucket_size(int(length), settings)
        full = len(rows) // size * size if length < used[-1] else len(rows)
        rows, rest = rows[:full], rows[full:]
        first = np.arange(0, full, size)
        runs = run + np.arange(len(first)) // settings.run_length
        run += -(-len(first) // settings.run_length)
        batches.append((rows, np.minimum(size, full - first), np.full(len(first), size), np.full(len(first), length), runs))
    if not batches:
        batches = [(order, *[np.zeros(0, np.int64)] * 4)]
    order, sizes, padded, batch_lengths, runs = (np.concatenate(column) for column in zip(*batches, strict=True))
    place = random.permutation(run) if settings.shuffle else np.arange(run)
    batch_order = np.argsort(place[runs], kind="stable")
    starts = np.cumsum(sizes) - sizes
    return Plan(order, starts[batch_order], sizes[batch_order], padded[batch_order], batch_lengths[batch_order],
                int(lengths.sum(dtype=np.int64)))


def _bucket_size(length: int, settings: PlanSettings) -> int:
    """Examples in every batch of a length."""
    if not settings.tokens_per_batch:
        return settings.batch_size
    return max(settings.multiple, settings.tokens_per_batch // length // settings.multiple * settings.multiple)


def few_buckets(max_length: int) -> tuple[int, ...]:
    """At most six lengths up to max_length, for devices that compile every one for a minute: 128 -> 16 32 48 64 96 128."""
    shares = (-(-max_length * eighths // 8) for eighths in (1, 2, 3, 4, 6, 8))
    return (*sorted({-(-length // 8) * 8 for length in shares if -(-length // 8) * 8 < max_length}), max_length)


def round_up(lengths: np.ndarray, settings: PlanSettings) -> np.ndarray:
    """Each length's bucket: the smallest that holds it; multiples of length_multiple where no buckets are given."""
    if settings.buckets:
        buckets = np.asarray(settings.buckets)
        return np.minimum(buckets[np.minimum(np.searchsorted(buckets, lengths), len(buckets) - 1)], settings.max_length)
    return np.minimum(-(-lengths // settings.length_multiple) * settings.length_multiple, settings.max_length)


def _equal_sizes(n: int, settings: PlanSettings) -> np.ndarray:
    """ceil(n / batch_size) sizes, the last one what is left."""
    sizes = np.full(-(-n // settings.batch_size), settings.batch_size, np.int64)
    if n % settings.batch_size:
        sizes[-1] = n % settings.batch_size
    return sizes


def _token_sizes(lengths: np.ndarray, settings: PlanSettings) -> np.ndarray:
    """Sizes such that size x padded length stays within tokens_per_batch, window by window, longest first. lengths int[n]
    are in the order of the rows."""
    window = WINDOW_BATCHES * settings.batch_size if settings.shuffle else max(len(lengths), 1)
    sizes: list[int] = []
    for begin in range(0, len(lengths), window):
        part = lengths[begin:begin + window].astype(np.int64)
        if not settings.grouping:
            part = np.maximum.accumulate(part)
        padded = round_up(part, settings)
        end, cuts = len(part), []
        while end > 0:
            size = settings.tokens_per_batch // int(padded[end - 1])
            size = max(settings.multiple, size // settings.multiple * settings.multiple)
            cuts.append(min(size, end))
            end -= cuts[-1]
        sizes += reversed(cuts)
    return np.asarray(sizes, np.int64)
