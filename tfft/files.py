"""Files of a run: on a local disk, or in an object store as gs://bucket/folder.

`to_path` gives a pathlib.Path, or for gs:// a path of etils.epath, which has the same methods and reaches the store through
tf.io.gfile. What the two do not have in common is here. TensorFlow is imported with the first access to a store, not before.

In an object store a file is there whole as soon as it is closed, but a folder cannot be renamed at once: what consists of
several files is complete with the one that is written last.
"""

import contextlib
import dataclasses
import errno
import io
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tfft.errors import UserError

T = TypeVar("T")
REMOTE = ("gs://",)
READ_AHEAD = 4 << 20  # bytes of a file in an object store that are asked for at once
APPEND_SECONDS = 30  # appending in an object store reads and writes the whole file


def to_path(text: str | Path) -> Path:
    """A local path, its ~ expanded, or one in an object store."""
    if not is_remote(text):
        return Path(text).expanduser()
    from etils import epath

    return epath.Path(text)


def local_path(text: str, flag: str) -> Path:
    """A path that must be a local one. Raises: UserError."""
    if is_remote(text):
        raise UserError(f"{flag}={text}: this is written on the local disk only. Name a local path, and copy it then.")
    return Path(text).expanduser()


def is_remote(path: str | Path) -> bool:
    return str(path).startswith(REMOTE)


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """What TensorFlow raises of an object store becomes the OSError that a disk would raise."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow."):
            raise
        raise OSError(str(error).split("\n")[0] or type(error).__name__) from error


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    if is_remote(path):
        with store_errors():
            path.write_text(text)
        return
    temporary = path.with_name(path.name + ".making")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def save_tensors(tensors: dict, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes arrays as safetensors, readable by whom other new files are: the library's own are the user's alone."""
    from safetensors.numpy import save_file

    save_file(tensors, str(path), metadata)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)


def write_record(path: Path, record: Any) -> None:
    """Writes a dataclass as JSON."""
    write_text(path, json.dumps(dataclasses.asdict(record), indent=1, ensure_ascii=False) + "\n")


def read_record(path: Path, kind: type[T], complete: Callable[[dict], None] = lambda values: None) -> T:
    """The dataclass that `write_record` wrote to a run's folder; lists in it are tuples. complete(values): sets what an older
    file lacks. Raises: UserError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        complete(values)
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise UserError(f"Cannot read {path}: {error}. Is {path.parent} the workdir of a run?") from error


def open_bytes(path: str) -> BinaryIO:
    """A file to be read, here or in an object store."""
    if not is_remote(path):
        return open(path, "rb")
    with store_errors():
        return io.BufferedReader(_Remote(path), READ_AHEAD)


class _Remote(io.RawIOBase):
    """A file in an object store, as Python's own are."""

    def __init__(self, path: str):
        import tensorflow as tf

        self._path, self._file = path, tf.io.gfile.GFile(path, "rb")
        self._file.seek(0)  # opens it: what is missing is told here

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            with store_errors():
                read = self._file.read(len(buffer))
        except OSError as error:
            raise OSError(errno.EIO, str(error), self._path) from error
        buffer[:len(read)] = read
        return len(read)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with store_errors():
            self._file.seek(offset, whence)
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def find(pattern: str) -> list[str]:
    """The files of an object store that a path or a pattern names, sorted; in a pattern * and ? stand for parts of names."""
    with store_errors():
        if not (wild := re.search(r"[*?[]", pattern)):
            path = to_path(pattern)
            return [pattern] if path.exists() and not path.is_dir() else []
        folder, _, names = pattern[:wild.start()].rpartition("/")
        return sorted(str(path) for path in to_path(folder).glob(names + pattern[wild.start():]) if not path.is_dir())


def file_size(path: str) -> int:
    return size(to_path(path))


def size(path: Path) -> int:
    """Bytes of a file."""
    with store_errors():
        return path.stat().length if is_remote(path) else path.stat().st_size


def remove_tree(path: Path) -> None:
    """Removes a folder, if it is there."""
    if is_remote(path):
        with contextlib.suppress(OSError), store_errors():
            path.rmtree(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def copy_tree(source: Path, target: Path, last: str = "") -> None:
    """Copies a folder's files; in the end the one named `last`, which makes the copy complete."""
    files = sorted(_files(source), key=lambda path: (path.name == last, path))
    with store_errors():
        for path in files:
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copy_file(path, copied)


def copy_file(source: Path, target: Path) -> None:
    """Copies one file, from or to an object store."""
    with store_errors(), source.open("rb") as read, target.open("wb") as written:
        while block := read.read(1 << 24):
            written.write(block)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


@contextlib.contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """The file or folder on the local disk, for libraries that know no other: itself, or a temporary copy."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / path.name
        if not path.exists():
            pass  # as missing there as here
        elif path.is_dir():
            copy_tree(path, copied)
        else:
            copy_file(path, copied)
        yield copied


class Lines:
    """A text file that grows: at once on a disk, in an object store every APPEND_SECONDS and when flushed."""

    def __init__(self, path: Path):
        self._path, self._waiting, self._last = path, [], time.monotonic()

    def add(self, text: str) -> None:
        self._waiting.append(text)
        if not is_remote(self._path) or time.monotonic() - self._last > APPEND_SECONDS:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        text, self._waiting, self._last = "".join(self._waiting), [], time.monotonic()
        if is_remote(self._path):
            with store_errors(), self._path.open("a") as file:
                file.write(text)
        else:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(text)
