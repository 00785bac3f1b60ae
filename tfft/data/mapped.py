"""Files as arrays, without an open file for each.

numpy.memmap goes by Python's mmap, which keeps a descriptor of its file for as long as it lives (up to Python 3.12). A store of
a thousand shards has some fifteen thousand files, and a process may often have no more than 1,024 open.
"""

import ctypes
import mmap
import os
import weakref
from pathlib import Path

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


def mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    """A file's values, read-only, which are in memory as far as they are read. The file must not be empty, and must keep its
    size while the array lives.

    Raises: OSError, as for a file that cannot be opened; ENOMEM where a process may have no more maps.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
        if address == _FAILED:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(path))
    finally:
        os.close(file)
    content = (ctypes.c_char * size).from_address(address)
    weakref.finalize(content, _libc.munmap, address, size).atexit = False
    made = np.frombuffer(content, dtype)  # which keeps `content`
    made.flags.writeable = False
    return made
