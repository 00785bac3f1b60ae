"""The token store: one source's examples, tokenised once, memory-mapped, shared by every run that asks for the same.

A store is a folder named by the fingerprint of (source content, tokenizer, settings). It is written beside its final
place and renamed when complete, so it is either whole or absent. It holds every row of the source; splits and row limits
are index arrays over it.

    tokens, tokens_offsets        token ids of row i: tokens[tokens_offsets[i]:tokens_offsets[i + 1]]
    length int32[n]               tokens of each row
    first_length, full_length     int32[n], see tfft.data.tokenize.Tokens
    text, pair, id (+ _offsets)   UTF-8 bytes, for reports
    text_hash, id_hash            uint64[n], for leak checks and stable splits
    line int64[n], file int32[n]  where the row came from
    label (+ _offsets) or value   codes into meta["labels"] (ragged for several labels), or float32[n]
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfft.data.sources import Row
from tfft.data.splits import split_hash, text_hash
from tfft.errors import UserError

FORMAT = 2  # raise it whenever the same rows and settings give another store: fingerprints change with it
CHUNK = 2048  # rows tokenised together
MAX_LABELS = 20_000

# (texts, second texts or None) chunks -> (token ids, row lengths, first_length, full_length) chunks, same order
Tokenise = Callable[[Iterator[tuple[list[str], list[str] | None]]], Iterator[tuple[np.ndarray, ...]]]


class TokenStore:
    """Reads a finished store. Columns are memory maps: resident memory does not grow with the number of rows.

    Raises: OSError, ValueError, KeyError or TypeError where the folder is no whole store.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.meta = json.loads((folder / "meta.json").read_text())
        self._columns: dict[str, np.ndarray] = {}
        for name, (dtype, count) in self.meta["columns"].items():
            path = folder / f"{name}.bin"
            if path.stat().st_size != count * np.dtype(dtype).itemsize:
                raise ValueError(f"{path} has the wrong size")
            # a plain view: indexing a np.memmap itself is several times slower
            self._columns[name] = np.memmap(path, dtype, mode="r").view(np.ndarray) if count else np.zeros(0, dtype)

    def __len__(self) -> int:
        return self.meta["rows"]

    def column(self, name: str) -> np.ndarray:
        return self._columns[name]

    @property
    def labels(self) -> list[str]:
        """Label names by store code, in order of first appearance."""
        return self.meta["labels"]

    @property
    def lengths(self) -> np.ndarray:
        """int32[n] tokens of each row."""
        return self._columns["length"]

    def string(self, name: str, row: int) -> str:
        """The text, pair or id of one row."""
        offsets = self._columns[f"{name}_offsets"]
        return self._columns[name][offsets[row]:offsets[row + 1]].tobytes().decode("utf-8", "surrogatepass")

    def place(self, row: int) -> str:
        """Where a row came from: file:line."""
        return f"{self.meta['files'][self._columns['file'][row]]}:{self._columns['line'][row]}"

    def label_names(self, row: int) -> tuple[str, ...]:
        """The labels the source gave this row."""
        offsets = self._columns["label_offsets"]
        return tuple(self.labels[c] for c in self._columns["label"][offsets[row]:offsets[row + 1]])


class _Writer:
    """Appends to flat binary columns in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, Any] = {}
        self.columns: dict[str, list] = {}

    def append(self, name: str, values: np.ndarray) -> None:
        if name not in self._files:
            self._files[name] = open(self.folder / f"{name}.bin", "wb", buffering=1 << 20)
            self.columns[name] = [values.dtype.name, 0]
        self._files[name].write(np.ascontiguousarray(values, self.columns[name][0]).tobytes())
        self.columns[name][1] += len(values)

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
        (self.folder / "meta.json").write_text(json.dumps({**meta, "columns": self.columns}))

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def fingerprint(*parts: Any) -> str:
    """A short name for what a store was made from."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def open_store(cache: Path, name: str, build: Callable[[Path], None]) -> TokenStore:
    """Opens the store called `name`, building it first where it is absent or damaged.

    Raises: UserError where the disk is full or the cache cannot be written.
    """
    folder = cache / "stores" / name
    store = _whole(folder)
    if store is not None:
        return store
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clean(folder.parent)
        with temporary_folder(cache) as temporary:
            made = Path(temporary) / "store"
            made.mkdir()
            build(made)
            _publish(made, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"The disk is full: no room for the token store in {folder.parent}. Free some space, or "
                            "name another folder with TFFT_CACHE or --config.data.cache.") from error
        raise UserError(f"Cannot write the token store in {folder.parent}: {error}. Name another folder with "
                        "TFFT_CACHE or --config.data.cache.") from error
    return TokenStore(folder)


def temporary_folder(cache: Path) -> tempfile.TemporaryDirectory:
    """A folder beside the stores that lives no longer than this process: another one removes what it leaves when killed."""
    (cache / "stores").mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=f".making-{os.getpid()}-{socket.gethostname()}-", dir=cache / "stores")


def remove_store(cache: Path, name: str) -> None:
    """Removes a store if it is there; processes that have it open keep reading it."""
    shutil.rmtree(cache / "stores" / name, ignore_errors=True)


def _whole(folder: Path) -> TokenStore | None:
    """The store in a folder, or None where it is absent or damaged."""
    try:
        return TokenStore(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _publish(made: Path, folder: Path) -> None:
    """Renames a finished store into its place. A damaged one there gives way; another run's whole one stays."""
    if folder.exists() and _whole(folder) is None:
        with contextlib.suppress(FileNotFoundError):  # another run moved it already
            folder.rename(made.with_name("damaged"))
    try:
        made.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _clean(folder: Path) -> None:
    """Removes what runs of this host that no longer live left half made."""
    ours = re.compile(rf"\.making-(\d+)-{re.escape(socket.gethostname())}-[^-]*")
    for path in folder.glob(".making-*"):
        match = ours.fullmatch(path.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            shutil.rmtree(path, ignore_errors=True)


def write_rows(folder: Path, rows: Iterable[Row], tokenise: Tokenise, *, vocabulary_size: int, pairs: bool, seed: int,
               progress: Callable[[int], None] = lambda rows: None) -> None:
    """Tokenises rows into a store folder, a chunk at a time.

    Raises: UserError where the label column holds more than MAX_LABELS different labels.
    """
    writer = _Writer(folder)
    codes: dict[str, int] = {}
    counts: Counter = Counter()
    files: dict[str, int] = {}
    kept: list[list[Row]] = []  # chunks whose tokens are on their way
    total = 0

    def chunks():
        for chunk in _chunked(rows):
            kept.append(chunk)
            yield [r.text for r in chunk], [r.text_pair or "" for r in chunk] if pairs else None

    dtype = np.uint16 if vocabulary_size <= 1 << 16 else np.int32
    try:
        for ids, lengths, first_length, full_length in tokenise(chunks()):
            chunk = kept.pop(0)
            writer.append_ragged("tokens", ids.astype(dtype), lengths)
            writer.append("length", lengths.astype(np.int32))
            writer.append("first_length", first_length.astype(np.int32))
            writer.append("full_length", full_length.astype(np.int32))
            _append_rows(writer, chunk, codes, counts, files, pairs, seed)
            total += len(chunk)
            progress(total)
        writer.finish({"rows": total, "labels": list(codes), "label_counts": [counts[c] for c in codes],
                       "files": list(files)})
    finally:
        writer.close()


def _append_rows(writer: _Writer, chunk: list[Row], codes: dict[str, int], counts: Counter, files: dict[str, int],
                 pairs: bool, seed: int) -> None:
    """Appends everything of a chunk but its tokens."""
    writer.append_strings("text", [r.text for r in chunk])
    if pairs:
        writer.append_strings("pair", [r.text_pair or "" for r in chunk])
    writer.append_strings("id", [r.id for r in chunk])
    writer.append("text_hash", np.array([text_hash(r.text, r.text_pair) for r in chunk], np.uint64))
    writer.append("id_hash", np.array([split_hash(r.id, seed) for r in chunk], np.uint64))
    writer.append("line", np.array([r.line for r in chunk], np.int64))
    writer.append("file", np.array([files.setdefault(r.file, len(files)) for r in chunk], np.int32))
    labels = [r.label for r in chunk]
    if all(isinstance(label, float) for label in labels):
        writer.append("value", np.array(labels, np.float32))
    elif labels[0] is not None:
        several = [(label,) if isinstance(label, str) else label for label in labels]
        flat = [codes.setdefault(name, len(codes)) for names in several for name in names]
        counts.update(name for names in several for name in names)
        if len(codes) > MAX_LABELS:
            raise UserError(f"The label column of {chunk[0].file} holds more than {MAX_LABELS:,} different values, such as "
                            f"{labels[0]!r}. Is it the right column? Set config.data.label_column; for numbers set "
                            "config.task.problem=regression.")
        writer.append_ragged("label", np.array(flat, np.int32), np.array([len(names) for names in several], np.int64))


def _chunked(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
