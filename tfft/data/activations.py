"""What frozen layers make of examples, computed once and kept on disk: float[tokens, H], memory-mapped.

A folder cache/activations/NAME, whose name follows from all that decides the values, is complete once it has meta.json:

    values.bin    the hidden states of all tokens, one example after another in the order in which they were computed
    examples.bin  int64[m]  the examples of the token store, ascending
    begins.bin    int64[m]  where an example's tokens begin in values.bin
    lengths.bin   int32[m]  how many it has

Until then a process that holds a lock on NAME.lock appends to values.bin and notes how far it is: one that was killed goes on.
"""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tfft.data.mapped import mapped
from tfft.errors import UserError

NOTED = 256 << 20  # bytes after which the progress is noted


class Activations:
    """Reads a complete folder. Raises: OSError, ValueError or KeyError where it is none."""

    def __init__(self, folder: Path, dtype: np.dtype):
        self.meta = json.loads((folder / "meta.json").read_text())
        self.dtype, self.width = np.dtype(dtype), self.meta["width"]
        self._examples, self._begins = (mapped(folder / f"{name}.bin", np.dtype(np.int64)) for name in ("examples", "begins"))
        self._lengths = mapped(folder / "lengths.bin", np.dtype(np.int32))
        self._values = mapped(folder / "values.bin", self.dtype).reshape(-1, self.width)
        count = len(self._examples)
        if len(self._values) != self._lengths.sum(dtype=np.int64) or {len(self._begins), len(self._lengths)} != {count}:
            raise ValueError(f"{folder} is not whole")

    def __call__(self, examples: np.ndarray, length: int) -> np.ndarray:
        """float[b,length,H] of examples int64[b]; 0 for padding, and for -1, which is filling."""
        made = np.zeros((len(examples), length, self.width), self.dtype)
        places = np.minimum(np.searchsorted(self._examples, examples), len(self._examples) - 1)
        if (self._examples[places] != examples)[examples >= 0].any():
            raise KeyError("an example whose activations were not computed")
        for i, (example, place) in enumerate(zip(examples.tolist(), places.tolist(), strict=True)):
            if example >= 0:
                begin, count = self._begins[place], self._lengths[place]
                made[i, :count] = self._values[begin:begin + count]
        return made


def open_activations(cache: Path, name: str, dtype: np.dtype, width: int, examples: np.ndarray, lengths: np.ndarray,
                     batches: list[np.ndarray], compute: Callable[[np.ndarray], np.ndarray],
                     progress: Callable[[int, int], None]) -> Activations:
    """Opens the folder called `name`, computing what it lacks.

    examples: int64[m], ascending, with `lengths` int[m] tokens each; batches: places among these, each once; compute(places) ->
    float[b,S,width] with S at least the longest; progress(batches done, all).
    Raises: UserError where the disk is full or the cache cannot be written.
    """
    folder = cache / "activations" / name
    if (made := whole(folder, dtype)) is not None:
        return made
    with _told_errors(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            if whole(folder, dtype) is None:  # no other process has made it meanwhile
                (folder / "meta.json").unlink(missing_ok=True)  # of a damaged one
                _compute(folder, np.dtype(dtype), examples, lengths, batches, compute, progress, width)
        return Activations(folder, dtype)


def whole(folder: Path, dtype: np.dtype) -> Activations | None:
    """The activations in a folder, or None where they are absent, not all there yet, or damaged."""
    try:
        return Activations(folder, dtype)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def written(folder: Path) -> int:
    """How many bytes of values a folder has."""
    try:
        return (folder / "values.bin").stat().st_size
    except OSError:
        return 0


def _compute(folder: Path, dtype: np.dtype, examples, lengths, batches, compute, progress, width: int) -> None:
    order = np.concatenate(batches)
    begins = np.zeros(len(examples), np.int64)
    begins[order] = np.cumsum(lengths[order]) - lengths[order]
    done, noted = _noted(folder), 0
    with open(folder / "values.bin", "ab") as file:
        file.truncate(int(lengths[np.concatenate(batches[:done])].sum()) * width * dtype.itemsize if done else 0)
        for number in range(done, len(batches)):
            made = np.asarray(compute(batches[number])).astype(dtype)
            for row, count in zip(made, lengths[batches[number]].tolist(), strict=True):
                file.write(row[:count].tobytes())
            noted += made.nbytes
            if noted > NOTED:
                file.flush()
                os.fsync(file.fileno())
                (folder / "done.json").write_text(json.dumps(number + 1))
                noted = 0
            progress(number + 1, len(batches))
        file.flush()
        os.fsync(file.fileno())
    for name, values in (("examples", examples.astype(np.int64)), ("begins", begins), ("lengths", lengths.astype(np.int32))):
        _write(folder / f"{name}.bin", values.tobytes())
    making = folder / "meta.json.making"
    _write(making, json.dumps({"width": width, "dtype": str(dtype), "tokens": int(lengths.sum())}).encode())
    making.replace(folder / "meta.json")
    (folder / "done.json").unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _noted(folder: Path) -> int:
    """How many batches a process that was killed had written."""
    try:
        return int(json.loads((folder / "done.json").read_text())) if (folder / "values.bin").exists() else 0
    except (OSError, ValueError):
        return 0


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Another process that asks for the same waits, and finds it whole."""
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _told_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(f"Cannot keep the activations of frozen layers in {folder}: "
                        f"{'the disk is full. Free some space' if full else f'{error}. Make it writable'}, name another "
                        "folder with TFFT_CACHE or --config.data.cache, or do without: "
                        "--config.train.activation_cache=none") from error
