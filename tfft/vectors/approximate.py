"""An approximate index by FAISS (Douze et al. 2024): an inverted file of 8-bit codes, whose candidates are scored anew with the
vectors themselves.

Vectors are divided among lists by the nearest of so many centroids; a query looks into the lists of those nearest to it.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from tfft.errors import UserError
from tfft.vectors.exact import TEXTS, nearest

PER_LIST = 48       # vectors that a centroid is made of
MOST_LISTS = 8192   # so that the vectors they are made of stay within memory
CANDIDATES = 4      # of each result, scored anew
AT_ONCE = 16        # queries whose candidates are in memory
DEPTH = 10          # results that recall is measured by


def library() -> Any:
    """Raises: UserError where FAISS is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise UserError("The approximate index is one of FAISS, which is not installed: pip install faiss-cpu, or search "
                        "exactly: --exact") from error
    return faiss


def build(vectors: np.ndarray, path: Path) -> dict[str, Any]:
    """Writes an index of vectors float32[n,D] of length 1; returns what the manifest says of it."""
    faiss = library()
    count, width = vectors.shape
    lists = max(1, min(int(4 * math.sqrt(count)), count // PER_LIST, MOST_LISTS))
    made = faiss.index_factory(width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).choice(count, min(count, PER_LIST * lists), replace=False)
    made.train(np.ascontiguousarray(vectors[np.sort(sample)]))
    for begin in range(0, count, TEXTS):
        made.add(np.ascontiguousarray(vectors[begin:begin + TEXTS]))
    faiss.write_index(made, str(path))
    return {"library": f"faiss {faiss.__version__}", "kind": f"IVF{lists},SQ8", "lists": lists, "probes": 1}


class Approximate:
    """An index that `build` wrote, mapped into memory, and the vectors it is of. probes: lists that a query looks into."""

    def __init__(self, path: Path, vectors: np.ndarray, probes: int):
        self._faiss = library()
        self._vectors, self.probes = vectors, probes
        self._index = self._faiss.read_index(str(path), self._faiss.IO_FLAG_MMAP)

    def search(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """As exact.nearest does: int64[q,k] and float32[q,k], of queries float32[q,D] of length 1."""
        depth = min(depth, len(self._vectors))
        found, scores = np.full((len(queries), depth), -1, np.int64), np.full((len(queries), depth), -np.inf, np.float32)
        how = self._faiss.SearchParametersIVF(nprobe=self.probes)
        for begin in range(0, len(queries), AT_ONCE):
            mine = slice(begin, begin + AT_ONCE)
            _, ids = self._index.search(queries[mine], min(CANDIDATES * depth, len(self._vectors)), params=how)
            products = np.einsum("qd,qcd->qc", queries[mine], self._vectors[np.maximum(ids, 0)])
            products = np.where(ids >= 0, products, -np.inf).astype(np.float32)
            order = np.lexsort((ids, -products), axis=1)[:, :depth]
            found[mine], scores[mine] = np.take_along_axis(ids, order, axis=1), np.take_along_axis(products, order, axis=1)
        return found, scores

    def tune(self, queries: np.ndarray, wanted: float) -> float:
        """Looks into so many lists that the recall on some queries is what is wanted, or all; returns the recall."""
        _, truth = nearest(queries, self._vectors, DEPTH)
        self.probes = 1
        while True:
            reached = recall(self.search(queries, DEPTH)[1], truth)
            if reached >= wanted or self.probes >= self._index.nlist:
                return reached
            self.probes = min(2 * self.probes, self._index.nlist)


def recall(scores: np.ndarray, truth: np.ndarray) -> float:
    """The share of the exact results that were found, by their scores float32[q,k]: of texts that are alike any will do.

    [[0.9, 0.5]] of [[0.9, 0.7]] -> 0.5
    """
    return float((scores >= truth[:, -1:] - 1e-5).mean())
