"""Exact search by dot products, in the memory of one block of them."""

from typing import Protocol

import numpy as np

QUERIES, TEXTS = 512, 8192  # of a block of similarities


class Vectors(Protocol):
    """float32[n,D], an array or what reads one in parts."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> np.ndarray: ...


def nearest(queries: Vectors, texts: Vectors, depth: int, itself: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The texts whose vectors have the largest dot products with each query's: int64[q,k] their numbers, the nearest first and
    those that are alike by number, -1 where there are no more; float32[q,k] the products.

    depth: k, if there are so many texts; itself int64[q]: a text that does not count for the query, -1 for none.
    """
    asked, count = len(queries), len(texts)
    depth = min(depth, count)
    found, scores = np.full((asked, depth), -1, np.int64), np.full((asked, depth), -np.inf, np.float32)
    for begin in range(0, count, TEXTS):
        block = texts[begin:begin + TEXTS]
        for first in range(0, asked, QUERIES):
            mine = slice(first, first + QUERIES)
            products = queries[mine] @ block.T
            if itself is not None:
                left_out = itself[mine] - begin
                inside = np.flatnonzero((left_out >= 0) & (left_out < block.shape[0]))
                products[inside, left_out[inside]] = -np.inf
            best = np.argpartition(-products, min(depth, block.shape[0]) - 1, axis=1)[:, :depth]
            ids = np.concatenate([found[mine], best + begin], axis=1)
            values = np.concatenate([scores[mine], np.take_along_axis(products, best, axis=1)], axis=1)
            order = np.lexsort((ids, -values), axis=1)[:, :depth]
            found[mine], scores[mine] = np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1)
    return np.where(np.isfinite(scores), found, -1), scores


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32[n,D] of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
