"""Several files read at the same time, each by a process of its own, their records in the order of the files."""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator

from tfft.errors import UserError

CHUNK = 256            # records that are handed over together
AHEAD = 64             # chunks that wait at most, of each file
WORTH = 32 << 20       # bytes of files below which starting processes takes longer than it saves
CHILD = "from tfft.data.ahead import child; child()"

Reader = tuple[str, dict]  # (name in tfft.data.readers.READERS, its arguments)


def read_in_order(readers: list[Reader], size: int) -> Iterator[Iterator]:
    """The records of each reader in turn. Where files of `size` bytes in all are worth it, as many are read at once as there
    are cores; what a reader raises is raised when its turn comes."""
    from tfft.data.readers import READERS

    cores = len(os.sched_getaffinity(0))
    if len(readers) < 2 or cores < 2 or size < WORTH:
        for name, arguments in readers:
            yield READERS[name](**arguments)
        return
    running: list[_File] = []
    try:
        for number in range(len(readers)):
            while len(running) < cores and number + len(running) < len(readers):
                running.append(_File(readers[number + len(running)]))
            yield running[0].records()
            running.pop(0).close()
    finally:
        for file in running:
            file.close()


class _File:
    """One file's process, and the thread that takes over what it reads."""

    def __init__(self, reader: Reader):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         env=environment)
        with contextlib.suppress(OSError):  # it is gone already, which is told when its turn comes
            pickle.dump(reader, self._process.stdin)
            self._process.stdin.close()
        self._waiting: queue.Queue = queue.Queue(AHEAD)
        self._closed = False
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                made = pickle.load(self._process.stdout)
            except (EOFError, pickle.UnpicklingError, ValueError, OSError):
                made = UserError("A process that read a file ahead was stopped from outside, for want of memory perhaps. Run "
                                 "the same command again.")
            while not self._closed:
                try:
                    self._waiting.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._closed or not isinstance(made, list):
                return

    def records(self) -> Iterator:
        """What was read; a lone exception in the place of records is raised."""
        while isinstance(made := self._waiting.get(), list):
            yield from made
        if made is not None:
            raise made

    def close(self) -> None:
        self._closed = True
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def child() -> None:
    """The body of a process: reads what standard input names, and writes pickled lists of records; None at the end, or what was
    raised."""
    from tfft.data.readers import READERS

    name, arguments = pickle.load(sys.stdin.buffer)
    chunk: list = []
    end = None
    try:
        for record in READERS[name](**arguments):
            chunk.append(record)
            if len(chunk) == CHUNK:
                pickle.dump(chunk, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
                chunk = []
    except Exception as error:
        end = error
    for made in ([chunk] if chunk else []) + [end]:
        pickle.dump(made, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
    sys.stdout.buffer.flush()
