"""Which of a source's records each shard of its store has."""

import bisect
import itertools
from typing import NamedTuple


class Part(NamedTuple):
    """Of a source's units begin..end-1, read from the first, `take` records after the first `skip`; None: all that follow. A
    unit is a file, where files can be read by themselves; else all of the source. first: no other part stands before it."""

    begin: int
    end: int
    skip: int
    take: int | None
    first: bool = False


def cut(counts: list[int], first: int, last: int | None, shards: int) -> list[Part]:
    """Cuts the records first..last-1 (None: to the end) of units with so many records into parts of one size, or of two that
    differ by 1; fewer where there are fewer records. Each begins where the one before it ends, in the same unit perhaps, which
    both then read from its first record. What stands before `first` is the first part's to skip.

    cut([4, 0, 3], 0, None, 2) -> [Part(0, 1, 0, 3, True), Part(0, 3, 3, None)]
    """
    starts = list(itertools.accumulate(counts, initial=0))
    open_end = last is None or last > starts[-1]  # then what a reader tells after the last record is heard too
    stop = starts[-1] if open_end else last
    shards = min(shards, stop - first)
    bounds = [first + (stop - first) * i // shards for i in range(shards + 1)] if shards > 0 else []
    parts = []
    for number, (a, b) in enumerate(itertools.pairwise(bounds)):
        begin = end = 0
        if number:
            begin = bisect.bisect_left(starts, a)  # the first that starts there, if one does, with empty ones after it
            begin -= starts[begin] > a
        end = bisect.bisect_left(starts, b)
        whole = starts[end] == b
        if number == shards - 1:
            whole, end = open_end, len(counts) if open_end else end
        parts.append(Part(begin, end, a - starts[begin], None if whole else b - a, not number))
    return parts


def times_read(counts: list[int], parts: list[Part]) -> float:
    """How often a record is read on average, when each part begins with its first unit."""
    read = sum(part.skip + part.take if part.take is not None else sum(counts[part.begin:part.end]) for part in parts)
    return read / max(1, sum(counts))


def groups(sizes: list[int], number: int) -> list[tuple[int, int]]:
    """Cuts units of so many bytes, in their order, into about so many groups of like size: [(begin, end), ...]."""
    whole, made, begin, held = sum(sizes), [], 0, 0
    for unit, size in enumerate(sizes, 1):
        held += size
        if held * number >= whole * (len(made) + 1) or unit == len(sizes):
            made.append((begin, unit))
            begin = unit
    return made
