"""Reads csv, tsv, jsonl, json and parquet into records; what cannot be read is a Broken.

Every reader but json's streams. A line ends at a line feed only: U+0085, U+2028 and their like stay inside their field.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tfft.data import squad
from tfft.errors import UserError, unknown


class Record(NamedTuple):
    """Raw values by column. `line` counts from 1 (parquet and tfds: the row's number)."""

    values: dict[str, Any]
    file: str
    line: int


class Broken(NamedTuple):
    """A row that could not be used, where it starts, and why."""

    file: str
    line: int
    reason: str


ESCAPED = re.compile("[\udc80-\udcff]")  # what errors="surrogateescape" makes of an undecodable byte
SPACE = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()
FIELD_LIMIT = 2**24  # characters; csv's own 131,072 are fewer than some documents have


def read(kind: str, path: str, *, header: bool = True, quoting: str = "auto", encoding: str = "utf-8",
         key: str = "") -> Iterator[Record | Broken]:
    """Reads one file of a kind: csv, tsv, jsonl, json, squad or parquet.

    `quoting` is "double", "none" or "auto" (csv double, tsv none); `key` picks members of a json file: "train",
    "data/rows", "train+extra". Raises: UserError where the file as a whole cannot be read.
    """
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise UserError(f"config.data.encoding={encoding!r} is no encoding that Python knows.") from error
    try:
        if kind in ("csv", "tsv"):
            double = quoting == "double" or (quoting == "auto" and kind == "csv")
            yield from _read_table(path, "," if kind == "csv" else "\t", header, double, encoding)
        elif kind == "jsonl":
            yield from _read_jsonl(path, encoding)
        elif kind == "json":
            yield from _read_json(path, encoding, key)
        elif kind == "squad":
            yield from _read_squad(path, encoding)
        else:
            yield from _read_parquet(path)
    except UnicodeError as error:
        raise UserError(f"{path} is not in encoding {encoding} ({error}). Set --config.data.encoding.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


class _Lines:
    """The lines of a text file, without a byte-order mark. `bad`: the first undecodable one since take_bad."""

    def __init__(self, file, encoding: str):
        self.file, self.encoding, self.number, self.bad = file, encoding, 0, 0

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            self.number += 1
            if not line.isascii():
                if self.number == 1:
                    line = line.removeprefix("\ufeff")
                if not self.bad and ESCAPED.search(line):
                    self.bad = self.number
            yield line

    def take_bad(self) -> str:
        """The reason why the row just read is broken, or ''."""
        if not self.bad:
            return ""
        reason, self.bad = f"line {self.bad} is not valid {self.encoding}", 0
        return reason


def _read_table(path: str, delimiter: str, header: bool, double: bool, encoding: str) -> Iterator[Record | Broken]:
    """Rows of a csv or tsv file. Empty lines are skipped."""
    with open(path, encoding=encoding, errors="surrogateescape", newline="\n") as file:
        lines = _Lines(file, encoding)
        rows = _quoted_rows(lines, delimiter) if double else _plain_rows(lines, delimiter)
        names: list[str] = []
        for start, fields in rows:
            reason = lines.take_bad() or (fields if isinstance(fields, str) else "")
            if header and not names:
                if reason:
                    raise UserError(f"{path}:{start}: the header cannot be read: {reason}. If there is none, set "
                                    f"--config.data.header=False.")
                names = fields
                twice = sorted({n for n in names if n and names.count(n) > 1})
                if twice:
                    raise UserError(f"{path}:{start}: the header names {', '.join(map(repr, twice))} twice. Rename the "
                                    f"columns, or set --config.data.header=False if this line is no header.")
                continue
            if reason:
                yield Broken(path, start, reason)
            elif not header:
                yield Record({str(i): field for i, field in enumerate(fields)}, path, start)
            elif len(fields) == len(names):
                yield Record(dict(zip(names, fields)), path, start)
            else:
                reason = f"it has {len(fields)} fields where the header has {len(names)}{_quoting_hint(double)}"
                yield Broken(path, start, reason)


def _quoting_hint(double: bool) -> str:
    what, setting = ("quotes are plain characters", "none") if double else ("fields are quoted", "double")
    return f" (if {what} in this file: --config.data.quoting={setting})"


def _plain_rows(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) without any quoting."""
    for line in lines:
        if line := line.removesuffix("\n").removesuffix("\r"):
            yield lines.number, line.split(delimiter)


def _quoted_rows(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """(first line, fields or the reason why there are none) under RFC 4180 quoting."""
    csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    while True:
        start = lines.number + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = str(error)
            if "unexpected end of data" in reason:
                reason = f"a quote opened here is never closed; the last {lines.number - start + 1} lines are lost"
            elif "expected after" in reason:
                reason = f"text follows a closing quote in line {lines.number}"
            elif "field larger" in reason:
                reason = f"a field is longer than {FIELD_LIMIT:,} characters, as if its quote were never closed"
            elif "new-line character" in reason:
                reason = "a lone carriage return outside quotes (are its line ends those of old Macs? Convert them)"
            yield start, reason + _quoting_hint(True)
            continue
        if fields:
            yield start, fields


def _read_jsonl(path: str, encoding: str) -> Iterator[Record | Broken]:
    with open(path, encoding=encoding, errors="surrogateescape", newline="\n") as file:
        lines = _Lines(file, encoding)
        for line in lines:
            if not line.strip():
                continue
            reason = lines.take_bad()
            if reason:
                yield Broken(path, lines.number, reason)
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Broken(path, lines.number, f"it is not valid JSON ({error})")
                continue
            yield _record(value, path, lines.number)


def _record(value: Any, path: str, line: int) -> Record | Broken:
    """A record from a JSON object, or from an array (columns 0, 1, ...)."""
    if isinstance(value, list):
        value = {str(i): v for i, v in enumerate(value)}
    if not isinstance(value, dict):
        return Broken(path, line, f"it is {json.dumps(value)[:40]}, neither an object nor an array")
    return Record(value, path, line)


def _read_json(path: str, encoding: str, key: str) -> Iterator[Record | Broken]:
    with open(path, encoding=encoding, errors="surrogateescape", newline="\n") as file:
        text = file.read().removeprefix("\ufeff")
    try:
        for start in _starts(text, path, key):
            yield from _json_rows(text, start, path, key)
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{path}{line} is not valid JSON ({error}). Mend the file.") from error


def _read_squad(path: str, encoding: str) -> Iterator[Record | Broken]:
    with open(path, encoding=encoding, newline="\n") as file:
        text = file.read().removeprefix("\ufeff")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{path}{line} is not valid JSON ({error}). Mend the file.") from error
    if not squad.looks_like_squad(document):
        raise UserError(f"{path} is JSON, but not SQuAD's: that is an object whose member 'data' is an array of articles, each "
                        "with the member 'paragraphs'. For an array of questions write json: in place of squad:.")
    yield from _questions(document, path)


def _questions(document: Any, path: str) -> Iterator[Record | Broken]:
    """A SQuAD document's questions; `line` is the number of the question, since such files often are one line."""
    reasons: list[str] = []
    number = 1
    for values in squad.rows(document, reasons.append):
        for reason in reasons:
            yield Broken(path, number, _told(reason))
            number += 1
        reasons.clear()
        yield Record({name: value for name, value in values.items() if value is not None}, path, number)
        number += 1
    for more, reason in enumerate(reasons):
        yield Broken(path, number + more, _told(reason))


def _told(reason: str) -> str:
    return f"{reason[0].lower()}{reason[1:]}".rstrip(".")


def _space(text: str, at: int) -> int:
    return SPACE.match(text, at).end()


def _starts(text: str, path: str, key: str) -> list[int]:
    """Where the values that `key` names begin; without a key where the file's begin."""
    if not key:
        return [_space(text, 0)]
    starts = []
    for one in key.split("+"):
        at = _space(text, 0)
        for name in one.split("/"):
            members = dict(_members(text, at)) if text[at:at + 1] == "{" else {}
            if name not in members:
                raise UserError(f"{path}#{key}: {unknown('member', name, members)}")
            at = members[name]
        starts.append(at)
    return starts


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """(name, where the value begins) of the object at `at`."""
    at = _space(text, at + 1)
    while text[at:at + 1] != "}":
        name, at = DECODER.raw_decode(text, at)
        at = _space(text, at)
        if text[at:at + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
        at = _space(text, at + 1)
        yield name, at
        _, at = DECODER.raw_decode(text, at)
        at = _after_comma(text, at, "}")


def _elements(text: str, at: int) -> Iterator[tuple[Any, int]]:
    """(value, where it begins) of the array at `at`."""
    at = _space(text, at + 1)
    while text[at:at + 1] != "]":
        value, end = DECODER.raw_decode(text, at)
        yield value, at
        at = _after_comma(text, end, "]")


def _after_comma(text: str, at: int, close: str) -> int:
    """Steps over the comma before the next element, or up to the closing bracket."""
    at = _space(text, at)
    if text[at:at + 1] == ",":
        return _space(text, at + 1)
    if text[at:at + 1] != close:
        raise json.JSONDecodeError(f"Expecting ',' or '{close}'", text, at)
    return at


def _json_rows(text: str, start: int, path: str, key: str) -> Iterator[Record | Broken]:
    """The rows of the array, or of the object or objects, that begin at `start`."""
    first = text[start:start + 1]
    if first == "[":
        values = _elements(text, start)
    elif first == "{":
        value, end = DECODER.raw_decode(text, start)
        if not key and squad.looks_like_squad(value):
            yield from _questions(value, path)
            return
        columns = None if _space(text, end) < len(text) and not key else _columns(value, path, key)
        values = _concatenated(text, start) if columns is None else ((row, start) for row in columns)
    elif not first:
        return
    else:
        raise UserError(f"{path}{'#' + key if key else ''} is neither an array nor an object, so it holds no rows.")
    line, counted, has_bad = 1, 0, ESCAPED.search(text)
    for number, (value, at) in enumerate(values, 1):
        line, counted = line + text.count("\n", counted, at), at
        bad = has_bad and ESCAPED.search(json.dumps(value, ensure_ascii=False))
        yield Broken(path, line, f"row {number} is not valid in its encoding") if bad else _record(value, path, line)


def _concatenated(text: str, at: int) -> Iterator[tuple[Any, int]]:
    """JSON objects one after another, with or without commas or line ends between them."""
    while at < len(text):
        value, end = DECODER.raw_decode(text, at)
        yield value, at
        at = _space(text, end)


def _columns(value: dict, path: str, key: str) -> list[dict] | None:
    """The rows of a lone object: of its column lists, or itself. Raises UserError where a member must be picked."""
    where = f"{path}{'#' + key if key else ''}"
    lists = {name: v for name, v in value.items() if isinstance(v, list)}
    nested = [name for name, v in lists.items() if v and all(isinstance(x, (dict, list)) for x in v)]
    if len(lists) == len(value) and len({len(v) for v in lists.values()}) == 1 and len(nested) < len(lists):
        return [dict(zip(value, row)) for row in zip(*value.values())]
    if nested or key:
        pick = "train" if "train" in value else (nested or list(value) or ["NAME"])[0]
        raise UserError(f"{where} is an object with the members {', '.join(value)}. Pick the one that holds the rows, "
                        f"e.g. json:{path}#{key}{'/' if key else ''}{pick}")
    if len(lists) == len(value) and len(lists) > 1:
        lengths = ", ".join(f"{name} {len(v)}" for name, v in lists.items())
        raise UserError(f"{where} is an object of columns of different lengths: {lengths}. Mend the file.")
    return [value]


def _read_parquet(path: str) -> Iterator[Record | Broken]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("Reading parquet needs pyarrow: pip install pyarrow") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (values for batch in file.iter_batches(batch_size=1024) for values in _batch_rows(batch))
            for line, values in enumerate(rows, 1):
                yield Record(values, path, line) if values is not None else Broken(path, line, "it is not valid UTF-8")
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a readable parquet file ({str(error).splitlines()[0]}).") from error


def _batch_rows(batch) -> list[dict | None]:
    """The rows of a record batch; None for one that holds undecodable text."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        half = batch.num_rows // 2
        return _batch_rows(batch.slice(0, half)) + _batch_rows(batch.slice(half))
