"""Of what a model made of a mixture's rows, the part of one source."""

import numpy as np

from tfft.data.scratch import let_go, parts, scratch
from tfft.tasks.base import Judged


def of_source(judged: Judged, source: range, end: int) -> Judged:
    """What a model made of the rows of a source, as if it had been run on these alone. source: which of the store's rows they
    are; end: rows of the store from here on are judged together with every source (documents that are searched)."""
    first, last = judged.of_rows()
    begin, stop, shared = np.searchsorted(judged.rows, (source.start, source.stop, end)).tolist()
    rows = [slice(begin, stop), slice(shared, len(judged.rows))]
    rows = [some for some in rows if some.stop > some.start]
    examples = [slice(int(first[some.start]), int(last[some.stop - 1])) for some in rows]
    units = [slice(int(judged.offsets[some.start]), int(judged.offsets[some.stop])) for some in examples]
    counts = _together([np.diff(judged.offsets[some.start:some.stop + 1]) for some in examples], np.int64)
    return judged._replace(
        rows=_together([judged.rows[some] for some in rows], np.int64),
        examples=_together([judged.examples[some] for some in examples], np.int64),
        units=judged.units[units[0]] if len(units) == 1 else _copied(judged.units, units),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        losses=_together([judged.losses[some] for some in examples], np.float32))


def _together(several: list[np.ndarray], dtype) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *several])


def _copied(units: np.ndarray, several: list[slice]) -> np.ndarray:
    """Some of the units, one after another; on disk where they are many."""
    made, at = scratch((sum(some.stop - some.start for some in several), units.shape[1]), units.dtype), 0
    for some in several:
        for few in parts(some.stop - some.start, units.shape[1]):
            size = few.stop - few.start
            made[at:at + size] = units[some.start + few.start:some.start + few.stop]
            at += size
            let_go(units, made)
    return made
