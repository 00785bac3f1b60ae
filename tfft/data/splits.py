"""Which rows train, validate and test: by a stable hash, so that adding rows never moves one to another side.

Everything works on uint64 hashes as numpy arrays. The lowest hashes are validation, the highest test, those between
train: another validation share moves no test row, and the other way round.
"""

import hashlib

import numpy as np

from tfft.errors import UserError


def split_hash(key: str, seed: int) -> int:
    """The uint64 that decides a row's side: blake2b of the row's id, salted with the seed."""
    salt = (seed % 2**128).to_bytes(16, "little")
    return int.from_bytes(hashlib.blake2b(_bytes(key), digest_size=8, salt=salt).digest(), "little")


def text_hash(*texts: str) -> int:
    """A uint64 of a row's texts without surrounding white space, to find the same row in two splits."""
    key = "\x1f".join(text.strip() for text in texts)
    return int.from_bytes(hashlib.blake2b(_bytes(key), digest_size=8, person=b"tfft text").digest(), "little")


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def split_masks(hashes: np.ndarray, validation_share: float, test_share: float) -> tuple[np.ndarray, ...]:
    """(train, validation, test) as bool[n] over uint64[n]; each row is in exactly one.

    With shares 0.25 and 0.5 a hash below 2^62 is validation, one of 2^63 and above is test, the others train.
    Raises: UserError where the shares are negative or leave no room for training rows.
    """
    if validation_share < 0 or test_share < 0 or validation_share + test_share >= 1:
        raise UserError(f"The shares of validation ({validation_share:g}) and test ({test_share:g}) must not be "
                        f"negative and must leave rows to train on.")
    hashes = np.asarray(hashes, np.uint64)
    validation = hashes < np.uint64(int(validation_share * 2**64))
    test = (hashes > np.uint64(2**64 - 1 - int(test_share * 2**64))) & ~validation
    return ~(validation | test), validation, test


def draw(indices: np.ndarray, hashes: np.ndarray, count: int) -> np.ndarray:
    """The `count` of `indices` whose hashes, mixed once more, are smallest; ascending. count 0 is all.

    `hashes` are those of `indices` (same length). The second mixing makes the draw independent of split_masks. What is
    drawn for a count is also drawn for every higher one.
    """
    indices, hashes = np.asarray(indices, np.int64), np.asarray(hashes, np.uint64)
    if indices.shape != hashes.shape:
        raise ValueError(f"indices {indices.shape} and hashes {hashes.shape} differ in shape")
    if count <= 0 or count >= len(indices):
        return np.sort(indices)
    order = np.lexsort((indices, mixed(hashes)))  # ties (rows with the same id) go by index
    return np.sort(indices[order[:count]])


def mixed(hashes: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele, Lea & Flood 2014): a bijection of uint64."""
    x = hashes + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def leaks(train_hashes: np.ndarray, other_hashes: np.ndarray) -> np.ndarray:
    """int64 indices into `other_hashes` of the rows whose text hash is also one of the training rows'.

    leaks([5, 7, 9], [1, 9, 5, 9]) -> [1, 2, 3]
    """
    found = np.isin(np.asarray(other_hashes, np.uint64), np.asarray(train_hashes, np.uint64))
    return np.flatnonzero(found).astype(np.int64)
