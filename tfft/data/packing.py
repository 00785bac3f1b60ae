"""Which examples share a sequence: several short ones in a row, as full as can be."""

import numpy as np

from tfft.data.store import TokenStore

WINDOW = 1 << 16  # examples that are packed among themselves


def pack(lengths: np.ndarray, room: int, seed: int, epoch: int) -> np.ndarray:
    """int64[m,K]: places in `lengths` int[n], each in one row, whose lengths are no more than `room` together; -1 where a row
    has fewer than K. Best fit, the longest first, in windows of a random order.

    lengths [3, 6, 4, 2], room 8 -> [[1 3] [2 0]], in some order
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch, 2]))
    order = random.permutation(len(lengths))
    rows: list[list[int]] = []
    for begin in range(0, len(order), WINDOW):
        part = order[begin:begin + WINDOW]
        rows += _best_fit(part[np.argsort(-lengths[part].astype(np.int64), kind="stable")].tolist(), lengths, room)
    made = np.full((len(rows), max(map(len, rows), default=1)), -1, np.int64)
    for i, row in enumerate(rows):
        made[i, :len(row)] = row
    return made


def packed(store: TokenStore, examples: np.ndarray, room: int, seed: int, epoch: int) -> np.ndarray:
    """int64[m,K]: the same of examples int64[n] of a store, by their numbers; -1 where a row has fewer."""
    packs = pack(np.asarray(store.lengths[examples]), room, seed, epoch)
    return np.where(packs >= 0, examples[packs], -1)


def _best_fit(order: list[int], lengths: np.ndarray, room: int) -> list[list[int]]:
    """Each in the fullest row that has room for it."""
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(room + 1)]  # rows with so much room left
    there = 0  # bit r: whether by_room[r] has any
    for place in order:
        length = int(lengths[place])
        fitting = there >> length << length
        left = (fitting & -fitting).bit_length() - 1 if fitting else room
        if fitting:
            row = by_room[left].pop()
            there &= ~(not by_room[left] and 1 << left)
        else:
            row = len(rows)
            rows.append([])
        rows[row].append(place)
        by_room[left - length].append(row)
        there |= 1 << (left - length)
    return rows
