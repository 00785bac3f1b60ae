"""Which candidates of a row stand in a batch, in each epoch."""

import numpy as np

from tfft.data.store import TokenStore


def right_examples(store: TokenStore) -> np.ndarray:
    """bool[m]: which examples of a store are right candidates."""
    made = np.zeros(len(store.lengths), bool)
    begins = np.searchsorted(store.column("row"), np.arange(len(store)))
    made[np.repeat(begins, np.diff(store.column("right_offsets"))) + store.column("right")] = True
    return made


def draw(store: TokenStore, rows: np.ndarray, right: np.ndarray, choices: int, epoch: int, seed: int) -> np.ndarray:
    """int64[n,K]: the examples of rows int64[n], in their order; -1 where a row has fewer than K = `choices`. Of a row with
    more its right ones, but at least one that is not right, and others, drawn. right: bool[m], which examples are right.

    Two of a row whose examples are 5 to 8, 7 the right one -> [5 7], [6 7] or [7 8]
    """
    first = np.searchsorted(store.column("row"), rows).astype(np.int64)
    counts = np.asarray(store.column("candidates")[rows], np.int64)
    place = np.arange(choices)
    made = np.where(place < counts[:, np.newaxis], first[:, np.newaxis] + place, -1)
    many = np.flatnonzero(counts > choices)
    if len(many):
        made[many] = _drawn(first[many], counts[many], right, choices, np.random.Generator(np.random.PCG64([seed, epoch, 2])))
    return made


def _drawn(first: np.ndarray, counts: np.ndarray, right: np.ndarray, choices: int, random: np.random.Generator) -> np.ndarray:
    """int64[n,K] of rows that all have more."""
    begins = np.cumsum(counts) - counts
    row = np.repeat(np.arange(len(counts)), counts)
    examples = np.arange(counts.sum()) - begins[row] + first[row]
    good = right[examples]
    order = np.lexsort((random.random(len(examples)), ~good, row))  # of each row the right ones, in any order, then the others
    rank = np.arange(len(examples)) - begins[row]
    several = np.bincount(row, good, len(counts)).astype(np.int64)
    most = np.minimum(several, np.where(several < counts, choices - 1, choices))  # of the right ones
    kept = (rank < most[row]) | ((rank >= several[row]) & (rank - several[row] < (choices - most)[row]))
    return np.sort(examples[order][kept].reshape(-1, choices), axis=1)
