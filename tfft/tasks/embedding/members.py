"""Which texts of a row stand in a batch, in each epoch."""

import numpy as np

from tfft.data.store import TokenStore


def draw(store: TokenStore, rows: np.ndarray, kind: str, negatives: int, epoch: int, seed: int) -> np.ndarray:
    """int64[n,K]: examples of rows int64[n], which ascend; -1 where absent. The row's text; one that belongs to it (of several
    one is drawn; of labelled rows another row's of that label); `negatives` of its hard negatives (of more so many).

    A row of examples 5 (text), 6 and 7 (positives), 8 (negative), two negatives wanted -> [5, 6 or 7, 8, -1]
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch, 1]))
    first = np.searchsorted(store.column("row"), rows).astype(np.int64)
    chance = random.random((2, len(rows)))
    if kind == "labelled":
        partner = _of_same_label(np.asarray(store.column("label")[rows]), chance[0])
        return np.stack([first, np.where(partner >= 0, first[partner], -1)], axis=1)
    counts = np.asarray(store.column("positives")[rows], np.int64)
    positive = first + 1 + (chance[0] * counts).astype(np.int64)
    there = np.asarray(store.column("negatives")[rows], np.int64)[:, np.newaxis]
    place = np.arange(negatives)
    begin = np.where(there > negatives, (chance[1][:, np.newaxis] * there).astype(np.int64), 0)
    chosen = first[:, np.newaxis] + 1 + counts[:, np.newaxis] + (begin + place) % np.maximum(there, 1)
    return np.concatenate([np.stack([first, positive], axis=1), np.where(place < there, chosen, -1)], axis=1)


def _of_same_label(labels: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """int64[n]: for each row another one with its label, -1 where there is none. chance: float[n], 0 to 1.

    labels [3 5 3 3], chance 0 -> [2 -1 3 0]: the next one, and round about
    """
    order = np.argsort(labels, kind="stable")
    _, begins, counts = np.unique(labels[order], return_index=True, return_counts=True)
    begin, count = np.repeat(begins, counts), np.repeat(counts, counts)
    step = 1 + (chance * (count - 1)).astype(np.int64)
    other = order[begin + (np.arange(len(labels)) - begin + step) % count]
    made = np.empty(len(labels), np.int64)
    made[order] = np.where(count > 1, other, -1)
    return made
