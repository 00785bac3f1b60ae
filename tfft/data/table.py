"""Reads csv and tsv files into records; what cannot be read is a Broken, and what is odd a Note."""

import re
from collections import Counter
from collections.abc import Iterator

from tfft.data import dialect
from tfft.data.content import Content
from tfft.data.encodings import Lines
from tfft.data.records import Broken, DecimalComma, Note, Record, own_names
from tfft.errors import UserError

DECIMAL_COMMA = re.compile(r"\s*[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+(?:[eE][-+]?\d+)?\s*")
THOUSANDS = re.compile(r"\s*[-+]?[1-9]\d{0,2},\d{3}\s*")  # or a decimal comma: semicolons alone say which
NAMES = {"text", "texts", "label", "labels", "sentence", "sentence1", "review", "category", "class", "target", "score", "id",
         "title", "word", "tag", "question", "context", "comment", "message", "content"}


def read_table(content: Content, kind: str, path: str, header: bool, delimiter: str, quoting: str,
               encoding: str) -> Iterator[Record | Broken | Note]:
    """Rows of a csv or tsv file. Empty lines are skipped, and so are those that repeat the header, with a Note.

    Raises: UserError where the header cannot be used.
    """
    lines = Lines(content, path, encoding)
    sample = lines.sample()
    _refuse_json(sample, path, kind)
    found = dialect.dialect(sample, kind, delimiter, quoting, header)
    counted = dialect.Counted(lines)
    for _ in range(found.skip):
        next(counted, None)
    for note in found.notes:
        yield Note(path, note)
    table = _Table(path, found, header, sample[found.skip:])
    for start, fields in dialect.rows_of(counted, found.delimiter, found.quoting):
        reason = lines.take_bad()
        if reason and table.wants_header():
            more = "" if "--config.data.encoding=" in reason else " Set --config.data.encoding to what the file is in."
            raise UserError(f"{path}:{start}: the header cannot be read: {reason}.{more}")
        if reason:
            yield Broken(path, start, reason, undecodable=True)
        elif isinstance(fields, str):
            yield table.broken(start, fields)
        elif made := table.row(start, fields, counted.taken):
            yield made
    for note in table.notes + lines.words():
        yield Note(path, note)


def _refuse_json(sample: list[str], path: str, kind: str) -> None:
    first = next((line.strip() for line in sample if line.strip()), "")
    if re.match(r'\{\s*"|\[\s*[\[{]', first) or (first in ("[", "{") and len(sample) > 1):
        other = "jsonl" if first.startswith("{") and first.endswith("}") else "json"
        raise UserError(f"{path} looks like JSON, no {kind} file: its first line begins with {first[:20]}. Read it as "
                        f"{other}:{path}.")


class _Table:
    """Makes records of rows, once it has its header."""

    def __init__(self, path: str, found: dialect.Dialect, header: bool, sample: list[str]):
        self.path, self.header, self.found = path, header, found
        self.names: list[str] = []
        self._raw: list[str] = []
        self._longest = 0
        self._repeated = [0, 0]  # the first line that repeats the header, and how many do
        self._labels = _labels(sample, found)
        self._first = True
        self._own_notes: list[str] = []

    def wants_header(self) -> bool:
        return self.header and not self.names

    @property
    def notes(self) -> list[str]:
        first, count = self._repeated
        lines = f"line {first} repeats the header and is" if count == 1 else (
            f"{count:,} lines (the first: {first}) repeat the header and are")
        return self._own_notes + ([f"{lines} skipped, as where files were put together"] if count else [])

    def broken(self, start: int, reason: str) -> Broken:
        if self.wants_header():
            raise UserError(f"{self.path}:{start}: the header cannot be read: {reason}{self._hint()}. If there is none, set "
                            "--config.data.header=False.")
        return Broken(self.path, start, reason + self._hint())

    def row(self, start: int, fields: list[str], raw: list[str]) -> Record | Broken | None:
        if self.header and not self.names:
            self._set_names(fields)
            return None
        if self._first:
            self._first = False
            self._look_at_first(start, fields)
        if self.names and len(self.names) > 1 and self._repeats_header(start, fields):
            return None
        if self.names and len(fields) != len(self.names):
            if len(fields) < 2 and not fields[0].strip():
                return None  # blanks alone
            reason = f"it has {len(fields)} fields where the header has {len(self.names)}"
            return Broken(self.path, start, reason + self._width_hint(len(fields), raw))
        if len(raw) > 2 and (swallowed := self._swallowed(raw, len(fields))):
            reason = (f"a quote opened here is closed in line {start + len(raw) - 1} only, and {swallowed} of the lines "
                      "between look like rows: a quote is missing, or one too many")
            return Broken(self.path, start, reason + self._hint())
        if self.found.delimiter not in (",", dialect.NONE):
            fields = [DecimalComma(f) if "," in f and self._is_number(f) else f for f in fields]
        return Record(dict(zip(self.names or map(str, range(len(fields))), fields)), self.path, start)

    def _is_number(self, field: str) -> bool:
        sure = self.found.delimiter == ";" or not THOUSANDS.fullmatch(field)
        return sure and bool(DECIMAL_COMMA.fullmatch(field))

    def _set_names(self, fields: list[str]) -> None:
        """Column names without blanks around them; of repeated and empty ones each has its own."""
        self._raw = [name.strip() for name in fields]
        if self._raw != fields:
            self._own_notes.append("blanks around the names in its header are left out")
        twice, names = sorted({n for n in self._raw if n and self._raw.count(n) > 1}), own_names(self._raw)
        if len(set(names)) < len(names):
            raise UserError(f"{self.path}: the header names {', '.join(map(repr, twice))} twice. Rename the columns.")
        if twice:
            self._own_notes.append(f"its header names {', '.join(map(repr, twice))} twice: the columns are read as "
                                   + ", ".join(repr(n) for n, raw in zip(names, self._raw) if raw in twice))
        self.names, self._longest = names, max(map(len, names)) + 3  # with blanks and a byte-order mark

    def _look_at_first(self, start: int, fields: list[str]) -> None:
        words = [field.strip().casefold() for field in fields]
        if not self.header and any(word in NAMES for word in words) and all(len(word) < 30 for word in words):
            self._own_notes.append(f"line {start} looks like a header ({', '.join(fields)}) and is read as a row, as "
                                   "config.data.header=False says")

    def _repeats_header(self, start: int, fields: list[str]) -> bool:
        if len(fields) != len(self._raw) or len(fields[0]) > self._longest:
            return False
        here = [field.strip().strip("\ufeff").casefold() for field in fields]
        names = [name.casefold() for name in self._raw]
        if here == names:
            self._repeated = [self._repeated[0] or start, self._repeated[1] + 1]
            return True
        if sorted(here) == sorted(names) and len(set(names)) > 1 and all(names):
            raise UserError(f"{self.path}:{start}: this line names the columns of the header in another order "
                            f"({', '.join(fields)}), as where files were put together. Make it a file of its own from here on.")
        return False

    def _swallowed(self, raw: list[str], width: int) -> int:
        """How many of the lines that a quoted field runs over look like rows: as wide, with known labels where labels are."""
        if width < 2 or not self._labels:
            return 0
        inner = dialect.rows_of(dialect.Counted(raw[1:-1]), self.found.delimiter, self.found.quoting)
        alike = [fields for _, fields in inner if not isinstance(fields, str) and len(fields) == width
                 and all(fields[column] in values for column, values in self._labels.items())]
        return len(alike) if 2 * len(alike) > len(raw) - 2 else 0

    def _width_hint(self, width: int, raw: list[str]) -> str:
        if any('"' in line for line in raw):
            return self._hint()
        if width > len(self.names) and self.found.quoting != "none":
            return f" (where a field holds {self.found.delimiter!r}, it must stand in quotes)"
        return ""

    def _hint(self) -> str:
        quoting = self.found.quoting
        what, setting = ("fields are quoted", "double") if quoting == "none" else ("quotes are plain characters", "none")
        return f" (if {what} in this file: --config.data.quoting={setting})"


def _labels(sample: list[str], found: dialect.Dialect) -> dict[int, set[str]]:
    """The values of columns, by their place, in which every value of the first rows comes twice on average, or more often."""
    rows = [fields for _, fields in dialect.rows_of(dialect.Counted(sample), found.delimiter, found.quoting)
            if not isinstance(fields, str)][1:]
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    columns = zip(*(fields for fields in rows if len(fields) == width))
    return {place: set(values) for place, values in enumerate(columns) if 2 * len(set(values)) <= len(values)}
