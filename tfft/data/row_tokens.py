"""The tokens of rows, whatever number of examples each has, and hashes of them."""

import numpy as np

from tfft.data.splits import mixed
from tfft.data.store import Ragged, TokenStore


def values_of(store: TokenStore, name: str, items: np.ndarray) -> Ragged:
    """What a ragged column has for rows or examples that ascend."""
    offsets = store.column(f"{name}_offsets")
    begins, ends = np.asarray(offsets[items]), np.asarray(offsets[np.asarray(items) + 1])
    return cut_out(store.column(name), begins, ends - begins)


def cut_out(flat, begins: np.ndarray, lengths: np.ndarray) -> Ragged:
    """Parts of an array, one after another: those that follow each other without a gap are one slice."""
    total = int(lengths.sum())
    if not total:
        return Ragged(np.asarray(flat[0:0]), lengths)
    if begins[-1] + lengths[-1] - begins[0] == total and (begins[1:] == begins[:-1] + lengths[:-1]).all():
        return Ragged(np.asarray(flat[int(begins[0]):int(begins[0]) + total]), lengths)
    shift = np.repeat(begins - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return Ragged(np.asarray(flat[np.arange(total) + shift]), lengths)


def row_tokens(store: TokenStore, rows: np.ndarray) -> Ragged:
    """The tokens of all examples of rows int64[n] that ascend."""
    examples = store.examples_of(rows)
    flat, lengths = values_of(store, "tokens", examples)
    if "row" not in store:
        return Ragged(flat, lengths)
    place = np.searchsorted(rows, store.row_of(examples))
    return Ragged(flat, np.bincount(place, lengths, len(rows)).astype(np.int64))


def first_parts(store: TokenStore, rows: np.ndarray) -> Ragged:
    """The tokens of the first segment of each row's first example: of a question with a context, the question."""
    examples = store.examples_of(rows)
    first = examples[np.searchsorted(store.row_of(examples), rows)]
    begins = np.asarray(store.column("tokens_offsets")[first])
    return cut_out(store.column("tokens"), begins, np.asarray(store.column("first_length")[first], np.int64))


def digests(values: Ragged) -> np.ndarray:
    """uint64[n]: a hash of each row's values and their order."""
    flat, lengths = values
    ends = np.cumsum(lengths)
    place = np.arange(len(flat)) - np.repeat(ends - lengths, lengths)
    each = mixed((place.astype(np.uint64) << np.uint64(32)) ^ np.asarray(flat).astype(np.int64).astype(np.uint64))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(each, dtype=np.uint64)])
    return mixed(sums[ends] - sums[ends - lengths] + lengths.astype(np.uint64))
