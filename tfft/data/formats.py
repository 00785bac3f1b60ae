"""Reads csv, tsv, jsonl, json and parquet into records; what cannot be read is a Broken, what is odd a Note.

Every reader but json's streams. A line ends at a line feed only: U+0085, U+2028 and their like stay inside their field.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

from tfft.data.content import opened
from tfft.data.encodings import readable
from tfft.data.json_rows import read_json, read_jsonl, read_squad
from tfft.data.records import Broken, Note, Record, own_names
from tfft.data.table import read_table
from tfft.errors import UserError
from tfft.files import is_remote, open_bytes


def read(kind: str, path: str, *, header: bool = True, delimiter: str = "auto", quoting: str = "auto", encoding: str = "utf-8",
         key: str = "") -> Iterator[Record | Broken | Note]:
    """Reads one file of a kind: csv, tsv, jsonl, json, squad or parquet.

    `delimiter` is one character, "tab" or "auto" (what the file shows), `quoting` is "double", "backslash", "none" or "auto"
    (what the file shows; in doubt csv double, tsv none); `key` picks members of a json file: "train", "data/rows",
    "train+extra". Raises: UserError where the file as a whole cannot be read.
    """
    with readable(path, encoding):
        if kind == "parquet":
            yield from _read_parquet(path)
            return
        with opened(path) as content:
            if kind in ("csv", "tsv"):
                yield from read_table(content, kind, path, header, delimiter, quoting, encoding)
            elif kind == "jsonl":
                yield from read_jsonl(content, path, encoding)
            elif kind == "json":
                yield from read_json(content, path, encoding, key)
            else:
                yield from read_squad(content, path, encoding)


def _read_parquet(path: str) -> Iterator[Record | Broken]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("Reading parquet needs pyarrow (pip install pyarrow).") from error
    try:
        with pyarrow.parquet.ParquetFile(_whole(path)) as file:
            names = file.schema_arrow.names
            own = own_names(names) if len(set(names)) < len(names) else names
            rows = (values for batch in file.iter_batches(batch_size=1024) for values in _batch_rows(batch.rename_columns(own)))
            for line, values in enumerate(rows, 1):
                yield Broken(path, line, "it is not valid UTF-8", True) if values is None else Record(values, path, line)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a readable parquet file ({str(error).splitlines()[0]}).") from error


def _whole(path: str) -> str | BinaryIO:
    """A parquet file; in memory where it is compressed once more. Raises: UserError where it is something else."""
    with open_bytes(path) as file:
        if file.read(4) == b"PAR1":
            return open_bytes(path) if is_remote(path) else path
    with opened(path, text=False) as content:
        if not content.head.startswith(b"PAR1"):
            raise UserError(f"{path} is not a readable parquet file: it begins with {content.head[:20]!r}. Write what it is "
                            f"before its name, e.g. csv:{path} or jsonl:{path}.")
        return io.BytesIO(content.file.read())


def _batch_rows(batch) -> list[dict | None]:
    """The rows of a record batch; None for one that holds undecodable text."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        half = batch.num_rows // 2
        return _batch_rows(batch.slice(0, half)) + _batch_rows(batch.slice(half))
