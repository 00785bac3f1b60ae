"""The token store: one source's examples, tokenised once, memory-mapped, shared by every run that asks for the same.

A store is a folder named by the fingerprint of (source content, tokenizer, settings). It is written beside its final
place and renamed when complete, so it is either whole or absent. It holds every row of the source; splits and row limits
are index arrays over it. A row is one example, or several (windows of a long text). Columns are named, dense or ragged:

    of rows       <field> (+ _offsets)  each asked field as UTF-8 bytes, for reports; id alike
                  text_hash, id_hash    uint64[n], for leak checks and stable splits; id_hash is of the row's group, if any
                  line int64[n], file int32[n]   where the row came from
                  full_length int32[n]  tokens before anything was cut
                  unknown int32[n,4]    what of it the tokenizer does not know, see tfft.data.unknown
                  what the task declares: numbers, or names as codes into meta["names"]
    of examples   tokens (+ _offsets)   token ids of example i: tokens[tokens_offsets[i]:tokens_offsets[i + 1]]
                  length int32[m]       what the plan goes by: its tokens
                  row int64[m]          whose row it is, ascending; absent where every row is one example
                  what the task's encoder makes besides

A store may have several shards, folders of this very form, each perhaps made on another machine: meta.json names them, and
their rows follow one another.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfft.data.fields import Field
from tfft.data.mapped import mapped
from tfft.data.shards import join
from tfft.data.sources import Row, asked_texts
from tfft.data.splits import split_hash, text_hash
from tfft.errors import UserError

FORMAT = 4  # raise it whenever the same rows and settings give another store: fingerprints change with it
CHUNK = 2048  # rows tokenised together
MAX_NAMES = 20_000


class Ragged(NamedTuple):
    """Rows of varying length: all values one after another, and the number of each row's."""

    flat: np.ndarray
    lengths: np.ndarray


class Names(NamedTuple):
    """Names of each row, kept as codes. too_many: what to tell where a column has more than MAX_NAMES different ones, which
    {found} such as {such} stand in for."""

    rows: list[tuple[str, ...]]
    too_many: str


class Encoded(NamedTuple):
    """A chunk of rows as examples: columns of examples, "tokens" and "length" among them, and "row" (which of the chunk's
    rows, ascending) where a row can be several; columns of rows."""

    examples: dict[str, np.ndarray | Ragged]
    rows: dict[str, np.ndarray | Ragged]


Encode = Callable[[Iterator[list[Row]]], Iterator[Encoded]]  # chunks of rows -> their examples, in the same order
Columns = Callable[[list[Row]], dict[str, "np.ndarray | Ragged | Names"]]  # what a task keeps of rows beside their texts


class TokenStore:
    """Reads a finished store. Columns are memory maps: resident memory does not grow with the number of rows.

    Raises: OSError, ValueError, KeyError or TypeError where the folder is no whole store.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.meta = json.loads((folder / "meta.json").read_text())
        if "shards" in self.meta:
            shards = [TokenStore(folder / name) for name in self.meta["shards"]]
            self._columns, joined = join(shards)
            self.meta |= joined
            return
        self._columns = {}
        for name, (dtype, count, *item) in self.meta["columns"].items():
            path = folder / f"{name}.bin"
            if path.stat().st_size != count * math.prod(item) * np.dtype(dtype).itemsize:
                raise ValueError(f"{path} has the wrong size")
            flat = mapped(path, np.dtype(dtype)) if count else np.zeros(0, dtype)
            self._columns[name] = flat.reshape(count, *item) if item else flat

    @classmethod
    def joined(cls, stores: "list[TokenStore]") -> "TokenStore":
        """Several stores with the same columns as one, the rows of each after those before; its folder is a name alone, which
        follows from theirs."""
        made = cls.__new__(cls)
        made.folder = stores[0].folder.with_name(fingerprint("joined", [store.folder.name for store in stores]))
        made._columns, joined = join(stores)
        made.meta = stores[0].meta | joined
        return made

    def __len__(self) -> int:
        """How many rows it has."""
        return self.meta["rows"]

    def column(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __contains__(self, name: str) -> bool:
        """Whether it has a column."""
        return name in self._columns

    def names(self, name: str) -> list[str]:
        """What the codes of a column stand for, in the order of first appearance."""
        return self.meta["names"].get(name, [])

    def names_of(self, name: str, row: int) -> tuple[str, ...]:
        """The names that a column has for a row."""
        known = self.names(name)
        return tuple(known[code] for code in self.values(name, row))

    def values(self, name: str, index: int) -> np.ndarray:
        """What a ragged column has for a row or example."""
        offsets = self._columns[f"{name}_offsets"]
        return self._columns[name][offsets[index]:offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """int32[m] tokens of each example."""
        return self._columns["length"]

    @property
    def fields(self) -> list[str]:
        """The asked fields of its rows."""
        return self.meta["fields"]

    def string(self, name: str, row: int) -> str:
        """An asked field, or the id, of one row."""
        return self.values(name, row).tobytes().decode("utf-8", "surrogatepass")

    def texts(self, row: int) -> list[str]:
        """All asked fields of one row."""
        return [self.string(name, row) for name in self.fields]

    def place(self, row: int) -> str:
        """Where a row came from: file:line."""
        return f"{self.meta['files'][self._columns['file'][row]]}:{self._columns['line'][row]}"

    def row_of(self, examples: np.ndarray) -> np.ndarray:
        """int64: the row of each example."""
        return np.asarray(self._columns["row"][examples]) if "row" in self._columns else np.asarray(examples)

    def examples_of(self, rows: np.ndarray) -> np.ndarray:
        """int64, ascending: the examples of some rows, which ascend; of a row that is there twice they are, too."""
        if "row" not in self._columns:
            return rows
        if len(rows) > 1 and not np.diff(rows).all():
            which, counts = np.unique(rows, return_counts=True)
            often = np.zeros(len(self), np.min_scalar_type(int(counts.max())))
            often[which] = counts
            return np.repeat(np.arange(len(self.lengths)), often[np.asarray(self._columns["row"])])
        member = np.zeros(len(self), bool)
        member[rows] = True
        return np.flatnonzero(member[np.asarray(self._columns["row"])])


class Writer:
    """Appends to flat binary columns in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, Any] = {}
        self.columns: dict[str, list] = {}
        self.names: dict[str, dict[str, int]] = {}
        self.too_many: dict[str, str] = {}

    def append(self, name: str, values: np.ndarray) -> None:
        if name not in self._files:
            self._files[name] = open(self.folder / f"{name}.bin", "wb", buffering=1 << 20)
            self.columns[name] = [values.dtype.name, 0, *values.shape[1:]]
        self._files[name].write(np.ascontiguousarray(values, self.columns[name][0]).tobytes())
        self.columns[name][1] += len(values)

    def append_any(self, name: str, values: "np.ndarray | Ragged | Names") -> None:
        """Appends a chunk of a column of any kind."""
        if isinstance(values, Ragged):
            self.append_ragged(name, *values)
        elif isinstance(values, Names):
            codes = self.names.setdefault(name, {})
            self.too_many[name] = values.too_many
            flat = [codes.setdefault(one, len(codes)) for row in values.rows for one in row]
            check_names(len(codes), values.too_many, next((row[0] for row in values.rows if row), ""))
            self.append_ragged(name, np.array(flat, np.int32), np.array([len(row) for row in values.rows], np.int64))
        else:
            self.append(name, values)

    def append_ragged(self, name: str, flat: np.ndarray, lengths: np.ndarray) -> None:
        """Appends rows of varying length: their values, and where each begins."""
        if f"{name}_offsets" not in self._files:
            self.append(f"{name}_offsets", np.zeros(1, np.int64))
        before = self.columns[name][1] if name in self.columns else 0
        self.append(name, flat)
        self.append(f"{name}_offsets", before + np.cumsum(lengths, dtype=np.int64))

    def append_strings(self, name: str, strings: list[str]) -> None:
        encoded = [s.encode("utf-8", "surrogatepass") for s in strings]
        self.append_ragged(name, np.frombuffer(b"".join(encoded), np.uint8), np.array([len(e) for e in encoded], np.int64))

    def finish(self, meta: dict) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        (self.folder / "meta.json").write_text(json.dumps({
            **meta, "names": {name: list(codes) for name, codes in self.names.items()}, "too_many": self.too_many,
            "columns": self.columns}))

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def check_names(number: int, too_many: str, such: str) -> None:
    """Raises: UserError where a column has more than MAX_NAMES different names; see Names."""
    if number > MAX_NAMES:
        raise UserError(too_many.format(found=f"more than {MAX_NAMES:,} different values", such=repr(such)))


def fingerprint(*parts: Any) -> str:
    """A short name for what a store was made from."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write_rows(folder: Path, rows: Iterable[Row], fields: tuple[Field, ...], encode: Encode, columns: Columns, *, seed: int,
               progress: Callable[[int], None] = lambda rows: None) -> None:
    """Encodes rows into a store folder, a chunk at a time.

    Raises: UserError where a column of names holds more than MAX_NAMES different ones.
    """
    writer = Writer(folder)
    files: dict[str, int] = {}
    kept: list[list[Row]] = []  # chunks whose examples are on their way
    total = 0

    def chunks():
        for chunk in _chunked(rows):
            kept.append(chunk)
            yield chunk

    try:
        for encoded in encode(chunks()):
            chunk = kept.pop(0)
            for name, values in encoded.examples.items():
                writer.append_any(name, total + values.astype(np.int64) if name == "row" else values)
            for name, values in encoded.rows.items():
                writer.append_any(name, values)
            _append_rows(writer, chunk, fields, files, seed)
            for name, values in columns(chunk).items():
                writer.append_any(name, values)
            total += len(chunk)
            progress(total)
        writer.finish({"rows": total, "files": list(files), "fields": [f.name for f in fields if f.asked and f.column]})
    finally:
        writer.close()


def _append_rows(writer: Writer, chunk: list[Row], fields: tuple[Field, ...], files: dict[str, int], seed: int) -> None:
    """Appends what every task keeps of a chunk."""
    texts = [asked_texts(fields, row.values) for row in chunk]
    asked = [field.name for field in fields if field.asked and field.column]
    for name, strings in zip(asked, zip(*texts), strict=True):
        writer.append_strings(name, list(strings))
    writer.append_strings("id", [r.id for r in chunk])
    writer.append("text_hash", np.array([text_hash(*several) for several in texts], np.uint64))
    writer.append("id_hash", np.array([split_hash(f"group {r.group}" if r.group else r.id, seed) for r in chunk], np.uint64))
    writer.append("line", np.array([r.line for r in chunk], np.int64))
    writer.append("file", np.array([files.setdefault(r.file, len(files)) for r in chunk], np.int32))


def _chunked(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
