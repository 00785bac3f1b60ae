"""Which fold of a cross-validation each training row is in. Uses numpy alone.

What belongs together (a text and its copies, an id, a group) is in one fold. Which that is follows from the rows' hashes and,
where strata are kept, from which other rows there are; never from their order.
"""

import numpy as np

from tfft.data.splits import mixed
from tfft.data.store import Ragged

TENTHS = 10


def assign(together: np.ndarray, strata: np.ndarray | None, hashes: np.ndarray, number: int) -> np.ndarray:
    """int64[n], the fold of each row, 0 to number - 1. together: int64[n], alike where rows belong together, from 0; strata:
    int64[n] from 0, of which each fold is to have its share; None: a fold is a hash alone. hashes: uint64[n].

    Rows that belong together go first, the most of them at once, each where the folds have the least of their strata. Then
    each stratum's single rows, in the order of their hashes, fill the folds up to one number, and of the rest one each goes to
    the folds with the fewest rows: so without such groups no two folds differ by more than a row, in a stratum or in all.
    strata [0 0 0 1 1 1], 3 folds -> one row of each stratum in each
    """
    sizes = np.bincount(together)
    own = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(own, together, hashes)  # the hash of a group
    if strata is None:
        return (own % np.uint64(number)).astype(np.int64)[together]
    counts = np.zeros((number, int(strata.max(initial=0)) + 1), np.int64)
    folds = np.zeros(len(sizes), np.int64)  # of groups
    order = np.lexsort((strata, together))
    begins = np.searchsorted(together[order], np.arange(len(sizes) + 1))
    totals, several = np.bincount(strata, minlength=counts.shape[1]), np.flatnonzero(sizes > 1)
    for group in several[np.lexsort((own[several], -sizes[several]))].tolist():
        kinds, rows = np.unique(strata[order[begins[group]:begins[group + 1]]], return_counts=True)
        crowded = counts[:, kinds] @ (rows / totals[kinds]) + counts.sum(axis=1) * (len(kinds) / len(strata))
        folds[group] = int(np.argmin(crowded))
        counts[folds[group], kinds] += rows
    alone = np.flatnonzero(sizes == 1)
    kinds = strata[order[begins[alone]]]
    alone = alone[np.lexsort((own[alone], kinds))]
    for kind, rows in zip(*np.unique(kinds, return_counts=True), strict=True):
        wanted = _filled(counts[:, kind], int(rows), counts.sum(axis=1))
        folds[alone[:rows]] = np.repeat(np.arange(number), wanted)
        counts[:, kind] += wanted
        alone = alone[rows:]
    return folds[together]


def _filled(there: np.ndarray, more: int, rows: np.ndarray) -> np.ndarray:
    """int64[k]: what each of k folds gets of `more`, so that they come as near to one number as they can; where that is as
    good, those with the fewest rows get one.

    [5 1 0], 7 -> [0 3 4] or [0 4 3]
    """
    level = int(there.min()) + more  # one fold alone would come so high
    low = int(there.min())
    while low < level:
        middle = (low + level + 1) // 2
        if np.maximum(middle - there, 0).sum() <= more:
            low = middle
        else:
            level = middle - 1
    made = np.maximum(low - there, 0)
    open_to = np.flatnonzero(there <= low)
    rest = more - int(made.sum())
    made[open_to[np.lexsort((open_to, rows[open_to] + made[open_to]))[:rest]]] += 1
    return made


def joined_by(*keys: np.ndarray) -> np.ndarray:
    """int64[n], from 0: alike where rows are alike in one of the keys, or each like a third one, and so on.

    [a a b c], [x y y z] -> [0 0 0 1]
    """
    found = [np.unique(key, return_inverse=True)[1] for key in keys]
    made = np.arange(len(keys[0]))
    while True:
        before = made
        for key in found:
            lowest = np.full(int(key.max(initial=0)) + 1, len(made))
            np.minimum.at(lowest, key, made)
            made = lowest[key]
        if (made == before).all():
            return np.unique(made, return_inverse=True)[1]


def salted(hashes: np.ndarray, repeat: int) -> np.ndarray:
    """uint64[n]: other hashes of the rows for each repeat, which do not follow those that split rows by shares."""
    return mixed(hashes ^ mixed(np.full(1, repeat, np.uint64)))


def rarest(codes: Ragged, number: int) -> np.ndarray:
    """int64[n], from 0: of each row's codes the one that the fewest have; `number` where it has none.

    codes [[0 1] [1] []] of 2 -> [0 1 2]
    """
    known = codes.flat >= 0
    row = np.repeat(np.arange(len(codes.lengths)), codes.lengths)[known]
    flat = np.asarray(codes.flat)[known].astype(np.int64)
    order = np.lexsort((flat, np.bincount(flat, minlength=number)[flat], row))
    rows, first = np.unique(row[order], return_index=True)
    made = np.full(len(codes.lengths), number, np.int64)
    made[rows] = flat[order][first]
    return made


def tenths(values: np.ndarray) -> np.ndarray:
    """int64[n] 0 to 9: in which tenth of the values each is."""
    bounds = np.quantile(values, np.linspace(0, 1, TENTHS + 1)[1:-1]) if len(values) else []
    return np.searchsorted(np.unique(bounds), values, "right")
