"""What a file holds: unpacked where it is compressed, refused with the way out where it is no text.

    with opened("a.csv.gz") as content:  # whatever its name: the first bytes decide
        content.head                     # its first bytes, unpacked
        content.file                     # all of them, from the first, to be read once
"""

import bz2
import contextlib
import gzip
import io
import lzma
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from tfft.data.guess import is_utf8
from tfft.errors import UserError
from tfft.files import open_bytes

HEAD = 1 << 20  # bytes that what a file is, and how it is written, are decided by


class Content(NamedTuple):
    """A file's bytes. packed: what unpacks them, where its name does not say so."""

    head: bytes
    file: BinaryIO
    packed: str = ""


def _zstandard(file: BinaryIO) -> BinaryIO:
    try:
        import pyarrow
    except ImportError as error:
        raise UserError("Reading .zst files needs pyarrow (pip install pyarrow).") from error
    return pyarrow.CompressedInputStream(file, "zstd")


PACKED: dict[bytes, tuple[str, str, Callable[[BinaryIO], BinaryIO]]] = {  # first bytes -> name, suffix, how it is opened
    b"\x1f\x8b": ("gzip", ".gz", gzip.open), b"BZh": ("bzip2", ".bz2", bz2.open), b"\xfd7zXZ\x00": ("xz", ".xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("zstandard", ".zst", _zstandard)}
PACKED_SUFFIXES = (*(suffix for _, suffix, _ in PACKED.values()), ".zip")

SHEET = "Open it and save the sheet as 'CSV UTF-8', then read csv:{stem}.csv"
AS_TABLE = "Write it as a table, e.g. with pandas' to_parquet or to_csv, and read that"
POINTER = "It holds no rows but the name of where they are: fetch them first with {how}"
FOREIGN = (  # what the first bytes match -> what the file is, what to do
    (rb"PAR1", "a Parquet file", "Read it as parquet:{path}"),
    (rb"\xd0\xcf\x11\xe0", "an old Office document (.xls, .doc)", SHEET),
    (rb"%PDF-", "a PDF document", "Extract its text into a table first"),
    (rb"SQLite format 3\0", "an SQLite database",
     "Export the table: sqlite3 -header -csv {path} 'SELECT * FROM TABLE' > {stem}.csv"),
    (rb"ARROW1|FEA1", "an Arrow or Feather file", AS_TABLE), (rb"\x89HDF", "an HDF5 file", AS_TABLE),
    (rb"\x93NUMPY", "an array of numpy's", AS_TABLE), (rb"\x80[\x02-\x05](\x95|[c}\]])", "a pickle of Python's", AS_TABLE),
    (rb"Obj\x01", "an Avro file", AS_TABLE), (rb"ORC", "an ORC file", AS_TABLE),
    (rb"7z\xbc\xaf|Rar!", "an archive", "Unpack it and name the file in it"),
    (rb".{257}ustar", "a tar archive", "Unpack it (tar -xf {path}) and name the files in it"),
    (rb"version https://git-lfs", "a pointer of Git LFS", POINTER.format(how="git lfs pull")),
    (rb"\s*(<!doctype html|<html)", "a web page", "Download the file itself (on GitHub: the button Raw)"),
    (rb"\s*<\?xml", "an XML document", "Write its rows as csv or jsonl first"),
)
FOREIGN = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), what, how) for pattern, what, how in FOREIGN)
SUFFIXES = {".xlsx": "an Excel workbook", ".xls": "an Excel workbook", ".xlsm": "an Excel workbook", ".ods": "a spreadsheet",
            ".numbers": "a spreadsheet"}
CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b\x1c\x1d\x1e\x1f"))


@contextlib.contextmanager
def opened(path: str, text: bool = True) -> Iterator[Content]:
    """A file's content. Raises: UserError where it is damaged or, where `text` is wanted, none."""
    try:
        with contextlib.ExitStack() as stack:
            content = _unpacked(path, stack)
            if text:
                refuse_foreign(path, content.head)
            yield content
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the file system
            raise
        raise UserError(f"{path} is compressed, and damaged or cut off ({error}). Copy or download it once more.") from error


def _unpacked(path: str, stack: contextlib.ExitStack) -> Content:
    file = stack.enter_context(open_bytes(path))
    head = file.read(HEAD)
    for magic, (name, suffix, opener) in PACKED.items():
        if head.startswith(magic):
            file.seek(0)
            return _content(stack.enter_context(opener(file)), "" if path.lower().endswith(suffix) else name)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _content(stack.enter_context(_zip_member(path, file, stack)), "" if path.lower().endswith(".zip") else "zip")
    return Content(head, io.BufferedReader(_Whole(head, file), HEAD))


def _content(file: BinaryIO, packed: str) -> Content:
    head = b""
    while len(head) < HEAD and (chunk := file.read(HEAD - len(head))):
        head += chunk
    return Content(head, io.BufferedReader(_Whole(head, file), HEAD), packed)


class _Whole(io.RawIOBase):
    """A stream whose first bytes have been read."""

    def __init__(self, head: bytes, file: BinaryIO):
        self._head, self._file = memoryview(head), file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        chunk = self._head[:len(buffer)] if self._head else self._file.read(len(buffer))
        self._head = self._head[len(chunk):]
        buffer[:len(chunk)] = chunk
        return len(chunk)


def _zip_member(path: str, file: BinaryIO, stack: contextlib.ExitStack) -> BinaryIO:
    """The only file of a zip archive."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
    except zipfile.BadZipFile as error:
        what = SUFFIXES.get(pathlib.PurePath(path).suffix.lower(), "")
        raise UserError(f"{path} begins like {what or 'a zip archive (as Excel workbooks are)'}, and is damaged. If a "
                        "spreadsheet program opens it, save the sheet there as 'CSV UTF-8'; else copy or download it once "
                        "more.") from error
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if any(name in ("[Content_Types].xml", "mimetype") for name in names):
        what = "an Excel workbook" if any(name.startswith("xl/") for name in names) else "an office document"
        raise _refusal(path, what, SHEET)
    if len(names) != 1:
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise UserError(f"{path} is a zip archive of {len(names)} files{': ' if names else ''}{listed}. Unpack it "
                        f"(unzip {path}) and name the file that holds the rows.")
    if archive.getinfo(names[0]).flag_bits & 1:
        raise UserError(f"{path} is a zip archive with a password. Unpack it and name the file in it.")
    return archive.open(names[0])


def refuse_foreign(path: str, head: bytes) -> None:
    """Raises UserError where the first bytes of a file are those of something that is no text."""
    for pattern, what, how in FOREIGN:
        if pattern.match(head):
            raise _refusal(path, what, how)
    odd = len(head) - len(head.translate(None, CONTROLS))
    if head and odd == len(head) or (odd >= 8 and odd > len(head) / 50 and not is_utf8(head) and not wide(head)):
        raise UserError(f"{path} is binary: it begins with the bytes {head[:8].hex(' ')}, which are no text. Convert it to "
                        "csv, jsonl or parquet with the program that wrote it.")


def refuse_by_name(path: str) -> None:
    """Raises UserError where a file's suffix says that it cannot be read, or its first bytes do."""
    suffix = pathlib.PurePath(path).suffix.lower()
    if suffix in SUFFIXES:
        raise _refusal(path, SUFFIXES[suffix], SHEET)
    with contextlib.suppress(OSError), opened(path):
        pass


def _refusal(path: str, what: str, how: str) -> UserError:
    return UserError(f"{path} is {what}, which is not read as text. {how.format(path=path, stem=pathlib.PurePath(path).stem)}.")


BOMS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def wide(head: bytes) -> str:
    """The encoding of two or four bytes a character that some bytes are written in; '' for none.

    Without a byte-order mark it shows in the zero bytes of ASCII characters: every second, or three of four.
    """
    for mark, name in BOMS:
        if head.startswith(mark):
            return name
    head = head[:4096]
    zeros, whole = [head[place::4].count(0) for place in range(4)], len(head) // 4
    if sum(zeros) < max(6, len(head) * (0.4 if is_utf8(head) else 0.05)):
        return ""
    if zeros[0] == 0 and zeros[2] == zeros[3] == whole:
        return "utf-32-le"
    if zeros[3] == 0 and whole <= min(zeros[:2]):
        return "utf-32-be"
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    return "utf-16-le" if odd > 20 * even else "utf-16-be" if even > 20 * odd else ""
