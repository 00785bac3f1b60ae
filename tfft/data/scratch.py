"""Arrays that may be larger than memory: beyond a size they lie in a temporary file, whose pages the system can let go."""

import math
import mmap
import tempfile

import numpy as np

IN_MEMORY = 1 << 26  # bytes


def scratch(shape: tuple[int, ...], dtype=np.float32) -> np.ndarray:
    """Zeros of a shape, to be filled and read a part at a time; the file goes with the last view of it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.zeros(shape, dtype)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it has no name, and is gone when the map of it is
    file.truncate(size)
    return np.memmap(file, dtype, mode="r+", shape=shape)


def let_go(*arrays: np.ndarray) -> None:
    """What lies in files of these arrays stays there, but is no longer part of the process's memory until it is looked at."""
    for array in arrays:
        if isinstance(array, np.memmap):
            array._mmap.madvise(mmap.MADV_DONTNEED)


def parts(rows: int, width: int, values: int = 1 << 22) -> list[slice]:
    """Slices over `rows` rows of so many values each, of about `values` values."""
    step = max(1, values // max(1, width))
    return [slice(begin, min(begin + step, rows)) for begin in range(0, rows, step)]
