"""TF-IDF of tokens and pairs of neighbouring tokens, from the store's token ids: nothing is read or tokenised again."""

import numpy as np
from scipy import sparse

from tfft.data.splits import mixed
from tfft.data.store import Ragged

WIDTH = 1 << 20  # columns that tokens and pairs are hashed to
FEWEST = 2       # rows that a feature is in; one that fewer have tells nothing about others


class Features:
    """Features of rows, by what is frequent in those that it was made of. Each row's squares add up to 1."""

    def __init__(self, tokens: Ragged):
        counts = self._counts(tokens)
        there = np.bincount(counts.indices, minlength=WIDTH)
        self._kept = np.flatnonzero((there >= FEWEST) & (there < counts.shape[0]))
        self._weights = (1 + np.log((1 + counts.shape[0]) / (1 + there[self._kept]))).astype(np.float32)

    @property
    def width(self) -> int:
        """How many there are; 0 where rows have nothing in common that some lack."""
        return len(self._kept)

    def of(self, tokens: Ragged) -> sparse.csr_matrix:
        """float32[n,F]"""
        made = self._counts(tokens)[:, self._kept]
        made.data = (1 + np.log(made.data)) * self._weights[made.indices]
        squares = np.asarray(made.multiply(made).sum(axis=1)).ravel()
        made.data /= np.repeat(np.sqrt(np.maximum(squares, 1e-12)), np.diff(made.indptr)).astype(np.float32)
        return made

    @staticmethod
    def _counts(tokens: Ragged) -> sparse.csr_matrix:
        """float32[n,WIDTH]: how often each token and pair is there."""
        flat, lengths = np.asarray(tokens.flat).astype(np.uint64), tokens.lengths
        row = np.repeat(np.arange(len(lengths)), lengths)
        inside = row[1:] == row[:-1]
        single = mixed(flat + np.uint64(1)) % np.uint64(WIDTH)
        pair = mixed((flat[:-1] + np.uint64(1)) << np.uint64(32) | flat[1:])[inside] % np.uint64(WIDTH)
        columns = np.concatenate([single, pair]).astype(np.int32)
        made = sparse.coo_matrix((np.ones(len(columns), np.float32), (np.concatenate([row, row[1:][inside]]), columns)),
                                 shape=(len(lengths), WIDTH))
        return made.tocsr()
