"""Text files as lines, whatever they are encoded in: UTF-8 where that is what they are, else as the config says.

A line ends at a line feed only (in files without any, at a carriage return); U+0085, U+2028 and their like stay in their line.
"""

import codecs
import contextlib
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from tfft.data.content import HEAD, Content, wide
from tfft.data.guess import is_utf8, suggestion
from tfft.errors import UserError

CONTROLS = re.compile("[\x80-\x9f]")
SEVEN_BIT = ("iso2022", "utf-7", "hz")  # whose bytes are all ASCII's, so that they look like UTF-8
ESCAPED = re.compile("[\udc80-\udcff]")  # what errors="surrogateescape" makes of an undecodable byte


def known(encoding: str) -> str:
    """Its own name. Raises: UserError where Python knows no such encoding."""
    try:
        "".encode(encoding)  # which hex and its like, that encode no text, refuse
        return codecs.lookup(encoding).name.replace("utf-8-sig", "utf-8")
    except LookupError as error:
        raise UserError(f"config.data.encoding={encoding!r} is no encoding that Python knows. Usual ones: utf-8, cp1252 "
                        "(Windows, western Europe), cp1250, cp1251, utf-16, gb18030, shift_jis.") from error


@contextlib.contextmanager
def readable(path: str, encoding: str) -> Iterator[None]:
    """Turns what can go wrong with a whole text file into a UserError."""
    known(encoding)
    try:
        yield
    except UnicodeError as error:
        raise UserError(f"{path} is not in encoding {encoding} ({error}). Set --config.data.encoding.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


class Lines:
    """The lines of a text file, each with its line feed, without a byte-order mark.

    own_rule: the format's own rule is UTF-8 (JSON), which needs no word. `bad`: the first undecodable line since take_bad.
    """

    def __init__(self, content: Content, path: str, encoding: str, own_rule: bool = False):
        self._file, self._head, self.path, self._own_rule = content.file, content.head, path, own_rule
        self.given = known(encoding)  # what the config says, unless the file says it itself
        self._shown = self.given if self.given == "utf-8" else encoding  # as the config spells it
        if self._head.startswith(codecs.BOM_UTF8):
            self.given = self._shown = "utf-8"
        self.number = self.bad = 0
        self._hint = ""
        self._as_utf8, self._as_given = [], []  # [first line, lines] that were read so against what was to be expected
        self._controls: list[int] = []  # and that hold what latin-1 has no use for
        self.notes = [f"it is packed with {content.packed}, whatever its name, and read so"] if content.packed else []
        self._wide = self._wide_encoding()
        head = self._head.decode(self._wide or "utf-8", "surrogateescape" if not self._wide else "ignore")
        self._doubled = bool(re.match(r"[^\n]*\r\r\n", head))
        self._end = "\r" if "\n" not in head and "\r" in head else "\n"
        if self._doubled:
            self.notes.append("its lines end with two carriage returns and a line feed, and are read as if there were one "
                              "(they were converted twice)")
        elif self._end == "\r":
            self.notes.append("its lines end with carriage returns alone, as old Macs wrote them, and are read so")
        self._utf8_first = self._wants_utf8_first()

    def _wide_encoding(self) -> str:
        """The encoding of the whole file where it is no extension of ASCII; '' otherwise."""
        if self.given.startswith(SEVEN_BIT):
            return self.given
        found, asked = wide(self._head), "" if extends_ascii(self.given) else self.given
        marked = found in ("utf-16", "utf-32")
        if marked and not asked.startswith(found):
            self.notes.append(f"it begins with the byte-order mark of {found.upper()} and is read so")
        elif found and not asked.startswith(found[:6]):
            if not self._own_rule:
                raise UserError(f"{self.path} looks like {found.upper()} without a byte-order mark: every other byte is 0. Set "
                                f"--config.data.encoding={found}.")
            self.notes.append(f"it is {found.upper()}, by its zero bytes, and read so")
        elif asked and not found and self._is_utf8():
            if not self._own_rule:
                self.notes.append(f"it is valid UTF-8 and read so, not as {asked}, which config.data.encoding names")
            return ""
        return found or asked

    def _wants_utf8_first(self) -> bool:
        """Whether a line that is valid UTF-8 is, whatever is given.

        In encodings of one byte a character, hardly any line is both. In others (Chinese, Japanese, Korean) a short one may be:
        there the first bytes of the file decide.
        """
        if len(bytes(range(256)).decode(self.given, "replace")) == 256:
            return True
        return self._head.isascii() or self._is_utf8()

    def _is_utf8(self) -> bool:
        return is_utf8(self._head, whole=len(self._head) < HEAD)

    def sample(self) -> list[str]:
        """The first lines, as they will be given, to look at before any is read."""
        whole = self._wide or len(self._head) < HEAD
        cut = self._head if whole else self._head[:self._head.rfind(self._end.encode()) + 1]
        text = cut.decode(self._wide or ("utf-8" if self.given == "utf-8" or is_utf8(cut) else self.given), "replace")
        return [self._mended(line + self._end) for line in text.removeprefix("\ufeff").split(self._end) if line][:1000]

    def _mended(self, line: str) -> str:
        return line[:-2] + "\n" if self._doubled and line.endswith("\r\r\n") else line

    def __iter__(self) -> Iterator[str]:
        for line in self._text() if self._wide else self._decoded():
            if self.number == 1:
                line = line.removeprefix("\ufeff")
            yield self._mended(line) if self._doubled else line

    def _text(self) -> Iterator[str]:
        for line in io.TextIOWrapper(self._file, self._wide, "surrogateescape", newline=self._end):
            self.number += 1
            if not self.bad and not line.isascii() and ESCAPED.search(line):
                self.bad = self.number
            yield line

    def _decoded(self) -> Iterator[str]:
        lines = self._file if self._end == "\n" else _cut(self._file, b"\r")
        other = "" if self.given == "utf-8" or not extends_ascii(self.given) else self.given
        for raw in lines:
            self.number += 1
            try:
                if self._utf8_first or not other:
                    line = raw.decode()
                    if other and not line.isascii():
                        self._note(self._as_utf8)
                else:
                    line = raw.decode(other)
                    if not line.isascii():
                        self._note(self._as_given)
            except UnicodeDecodeError:
                line = self._otherwise(raw, other)
            yield line

    def _otherwise(self, raw: bytes, other: str) -> str:
        """A line that is not valid in the encoding to be tried first, in the other one."""
        if other:
            try:
                line = raw.decode(other if self._utf8_first else "utf-8")
                self._note(self._as_given if self._utf8_first else self._as_utf8)
                if other == "iso8859-1" and CONTROLS.search(line):
                    self._note(self._controls)
                return line
            except UnicodeDecodeError:
                pass
        if not self.bad:
            self.bad = self.number
            self._hint = "" if other else suggestion(raw, self._head)
        return raw.decode("utf-8", "surrogateescape")

    def _note(self, numbers: list[int]) -> None:
        if not numbers:
            numbers[:] = [self.number, 0]
        numbers[1] += 1

    def take_bad(self) -> str:
        """The reason why the row just read is broken, or ''."""
        if not self.bad:
            return ""
        valid = f"valid {self._wide or self._shown}" + (" nor utf-8" if not self._wide and self.given != "utf-8" else "")
        reason, self.bad = f"line {self.bad} is {'neither' if ' nor ' in valid else 'not'} {valid}{self._hint}", 0
        return reason

    def words(self) -> list[str]:
        """What is to be told of how the lines were read; call it when they have been."""
        named = f"{self._shown}, which config.data.encoding names"
        return (self.notes + _told([] if self._own_rule else self._as_utf8, f"valid UTF-8 and read so, not as {named}")
                + _told(self._as_given if self._own_rule or self._as_utf8 else [], f"no UTF-8 and read as {named}")
                + _told(self._controls, f"read as {self._shown} and hold characters that it has no use for, as a file in "
                                        "cp1252 does: if quotes, dashes or € are lost, set --config.data.encoding=cp1252"))


def _told(numbers: list[int], ending: str) -> list[str]:
    """A word on [first line, lines], or none."""
    if not numbers:
        return []
    first, count = numbers
    return [f"line {first} is {ending}" if count == 1 else f"{count:,} lines (the first: {first}) are {ending}"]


def _cut(file: BinaryIO, end: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(1 << 16):
        *lines, rest = (rest + chunk).split(end)
        yield from (line + end for line in lines)
    if rest:
        yield rest


def extends_ascii(encoding: str) -> bool:
    try:
        return b'azAZ09,;"\n\r\t{}'.decode(encoding) == 'azAZ09,;"\n\r\t{}'
    except UnicodeDecodeError:
        return False
