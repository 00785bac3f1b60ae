"""Which texts of a row stand in a batch, in each epoch."""

import numpy as np

from tfft.data.store import TokenStore


def draw(store: TokenStore, rows: np.ndarray, kind: str, negatives: int, epoch: int, seed: int) -> np.ndarray:
    """int64[n,K]: examples of rows int64[n], which ascend and of which one may be there twice; -1 where absent. The row's
    text; one that belongs to it (of several one is drawn; of labelled rows another row's of that label); `negatives` of its
    hard negatives (of more so many).

    A row of examples 5 (text), 6 and 7 (positives), 8 (negative), two negatives wanted -> [5, 6 or 7, 8, -1]
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch, 1]))
    first = np.searchsorted(store.column("row"), rows).astype(np.int64)
    chance = random.random((2, len(rows)))
    if kind == "labelled":
        _, at, of = np.unique(rows, return_index=True, return_inverse=True)  # no row is its own partner
        partner = _of_same_label(np.asarray(store.column("label")[rows[at]]), of, chance[0])
        return np.stack([first, np.where(partner >= 0, first[at][partner], -1)], axis=1)
    counts = np.asarray(store.column("positives")[rows], np.int64)
    positive = first + 1 + (chance[0] * counts).astype(np.int64)
    there = np.asarray(store.column("negatives")[rows], np.int64)[:, np.newaxis]
    place = np.arange(negatives)
    begin = np.where(there > negatives, (chance[1][:, np.newaxis] * there).astype(np.int64), 0)
    chosen = first[:, np.newaxis] + 1 + counts[:, np.newaxis] + (begin + place) % np.maximum(there, 1)
    return np.concatenate([np.stack([first, positive], axis=1), np.where(place < there, chosen, -1)], axis=1)


def _of_same_label(labels: np.ndarray, asked: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """int64[n]: for each row `asked` int64[n] another one with its label, -1 where there is none. chance: float[n], 0 to 1.

    labels [3 5 3 3], asked [0 1 2 3], chance 0 -> [2 -1 3 0]: the next one, and round about
    """
    order = np.argsort(labels, kind="stable")
    _, begins, counts = np.unique(labels[order], return_index=True, return_counts=True)
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels))
    at = place[asked]
    begin, count = np.repeat(begins, counts)[at], np.repeat(counts, counts)[at]
    turn = np.empty(len(at), np.int64)
    turn[np.argsort(at, kind="stable")] = np.arange(len(at))  # chance is spent label by label
    step = 1 + (chance[turn] * (count - 1)).astype(np.int64)
    return np.where(count > 1, order[begin + (at - begin + step) % count], -1)
