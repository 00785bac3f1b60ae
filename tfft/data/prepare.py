"""Config -> token stores and splits, with everything a user should know about the data before training on it."""

import dataclasses
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.config import Data, in_source, split_share
from tfft.data.fields import Field
from tfft.data.folds import assign, joined_by, salted
from tfft.data.sources import Row, Source
from tfft.data.splits import draw, leaks, split_masks
from tfft.data.store import Columns, Encoded, Ragged, TokenStore, fingerprint, write_rows
from tfft.data.store_folders import open_store, remove_store, temporary_folder
from tfft.data.tokenize import Encoder
from tfft.data.unknown import shares, told, warning
from tfft.errors import UserError

Say = Callable[[str], None]
PROGRESS_SECONDS = 10
PART = 1 << 20  # rows of which columns are in memory at once


@dataclasses.dataclass(frozen=True)
class Split:
    """Some rows, int64[n] ascending, of a store. sources: of a mixture, the rows of the store that are of each."""

    name: str
    store: TokenStore
    rows: np.ndarray
    sources: dict[str, range] = dataclasses.field(default_factory=dict)

    def by_source(self) -> dict[str, np.ndarray]:
        """The rows of each source of a mixture, int64, ascending."""
        return {name: self.rows[slice(*np.searchsorted(self.rows, (rows.start, rows.stop)))]
                for name, rows in self.sources.items()}

    @property
    def examples(self) -> np.ndarray:
        """int64[m], ascending: the examples of these rows."""
        return self.store.examples_of(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """int32[m]: the tokens of each example."""
        return np.asarray(self.store.lengths[self.examples])

    @property
    def full_lengths(self) -> np.ndarray:
        """int32[n]: the tokens of each row before anything was cut."""
        return np.asarray(self.store.column("full_length")[self.rows])

    @property
    def unknown(self) -> np.ndarray | None:
        """int64[4]: what of all rows the tokenizer does not know, see tfft.data.unknown; None where nobody counted."""
        if "unknown" not in self.store:
            return None
        column, parts = self.store.column("unknown"), np.array_split(self.rows, len(self.rows) // PART + 1)
        return np.sum([column[part].sum(axis=0, dtype=np.int64) for part in parts], axis=0)


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a task reads rows.

    encoder: rows -> examples; columns: what is kept of rows besides; details: what decides the examples beside the fields.
    augmented(split, epoch): the split's rows as changed for one epoch, whose settings are `augmentation`; None where rows
    stay as they are. corpus(spec): a source, and how it is read, of rows that are judged together with others: with those of
    `spec`, '' for the experiment's own; None where they are judged alone. sources: how those of a mixture are read. strata(
    store, rows): int64[n] from 0, of which each fold is to have its share; None where there is nothing of the kind.
    """

    fields: tuple[Field, ...]
    encoder: Encoder
    columns: Columns
    vocabulary_size: int
    details: list
    augmented: Callable[[Split, int], Iterator[Row]] | None = None
    augmentation: Any = None
    corpus: Callable[[str], "tuple[str, Reading] | None"] = lambda spec: None
    sources: "dict[str, Reading]" = dataclasses.field(default_factory=dict)
    strata: Callable[[TokenStore, np.ndarray], np.ndarray | None] = lambda store, rows: None


class Preparer:
    """Makes and opens the token stores of sources that are read in one way."""

    def __init__(self, data: Data, reading: Reading, cache: Path, say: Say):
        self.data, self.reading, self.cache, self.say = data, reading, cache, say
        self._own: tempfile.TemporaryDirectory | None = None  # augmented epochs
        self._augmented: dict[int, str] = {}  # their stores' names
        self._graph = EncoderGraph(reading.encoder)
        # the seed: a store holds the salted hashes that split its rows
        self._settings = [*reading.details, data.max_length, data.split_seed]

    def store(self, spec: str, data: Data | None = None) -> TokenStore:
        """The token store of a source; made on first use. `data` reads it by other settings than the experiment's; what
        decides its examples must be the same."""
        source, built = self.source(spec, data), False

        def build(folder: Path):
            nonlocal built
            self.say(f"tokenising {spec.split('#sha256')[0]}")
            self.write(folder, source.rows())
            built = True
            keep_told(folder, source.told())
            for line in source.told():
                self.say(line)

        store = open_store(self.cache, self.name(source), build)
        if not built:
            for line in kept_told(store.folder):
                self.say(line)
        if not len(store):
            raise UserError(f"{spec} has no rows{f' where {source.data.where}' if source.data.where else ''}.")
        return store

    def source(self, spec: str, data: Data | None = None) -> Source:
        """What a spec names; see `store`."""
        return Source(spec, data or self.data, self.reading.fields, self.cache)

    def name(self, source: Source) -> str:
        """What the store of a source is called. All of its files are read."""
        return fingerprint("source", source.fingerprint(), *self._settings)

    def write(self, folder: Path, rows: Iterator[Row]) -> None:
        """Writes rows of a source as the store, or a shard of it, in an empty folder."""
        self._write(folder, rows, self.reading.columns)

    def judged_with(self, split: Split, spec: str = "", data: Data | None = None) -> Split:
        """A split as it is judged: with the rows of the task's corpus, where it has one, after its own. spec: where those come
        from, if they are not the experiment's; data: how they were read."""
        if not (corpus := self.of_corpus(spec, data)):
            return split
        preparer, source = corpus
        store = preparer.store(source)
        rows = np.concatenate([split.rows, len(split.store) + np.arange(len(store))])
        return Split(split.name, TokenStore.joined([split.store, store]), rows, split.sources)

    def of_corpus(self, spec: str = "", data: Data | None = None) -> "tuple[Preparer, str] | None":
        """What prepares the task's corpus, where it has one, and its source; see `judged_with`."""
        if not (corpus := self.reading.corpus(spec)):
            return None
        source, reading = corpus
        data = dataclasses.replace(data or self.data, id_column="id", group_column="", where="")
        return Preparer(data, reading, self.cache, self.say), source

    def augmented(self, split: Split, epoch: int) -> TokenStore:
        """The store of a split's rows as augmented for one epoch: row i is row split.rows[i] of the split's store.

        Kept for this process alone, and that of two epochs before removed: nobody reads it any more.
        """
        # words that replace others are part of what the epoch's texts are made from, and follow from the rows
        chosen = hashlib.blake2b(split.rows.tobytes(), digest_size=16).hexdigest()
        name = fingerprint("augmented", split.store.folder.name, chosen, dataclasses.asdict(self.reading.augmentation), epoch)
        if self._own is None:
            self._own = temporary_folder(self.cache)
        own = Path(self._own.name)
        self._augmented[epoch] = name
        if before := self._augmented.pop(epoch - 2, ""):
            remove_store(own, before)
        rows = self.reading.augmented(split, epoch)
        return open_store(own, name, lambda folder: self._write(folder, rows, lambda rows: {}))

    def _write(self, folder: Path, rows: Iterator[Row], columns: Columns) -> None:
        last = time.monotonic()

        def progress(done: int) -> None:
            nonlocal last
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                self.say(f"tokenised {done:,} rows")

        reading = self.reading
        write_rows(folder, rows, reading.fields, lambda chunks: encode(chunks, self._graph, reading.vocabulary_size),
                   columns, seed=self.data.split_seed, progress=progress)


def keep_told(folder: Path, lines: list[str]) -> None:
    """Keeps with a store what reading its source told."""
    if lines:
        (folder / "told.txt").write_bytes("\n".join(lines).encode("utf-8", "backslashreplace"))


def kept_told(folder: Path) -> list[str]:
    kept = folder / "told.txt"
    return kept.read_text("utf-8").split("\n") if kept.exists() else []


class EncoderGraph:
    """An encoder as a graph that is traced once, for as many stores or shards as there are. Ragged columns become pairs of flat
    values and lengths; kinds: of examples and of rows, whether a column is one."""

    def __init__(self, encoder: Encoder):
        self.encoder = encoder
        self.kinds: list[dict[str, bool]] = []
        self.parts = tf.function(self._parts, input_signature=encoder.signature, autograph=False)

    def _parts(self, *fed):
        made = self.encoder(*fed)
        self.kinds[:] = [{name: isinstance(column, tf.RaggedTensor) for name, column in columns.items()} for columns in made]
        return tuple({name: (column.flat_values, column.row_lengths()) if isinstance(column, tf.RaggedTensor) else column
                      for name, column in columns.items()} for columns in made)


def encode(chunks: Iterator[list[Row]], graph: EncoderGraph, vocabulary_size: int) -> Iterator[Encoded]:
    """Runs chunks of rows through tf.data and the encoder's graph, on all cores of the machine, in order."""
    encoder, failure = graph.encoder, []

    def guarded():
        try:
            for rows in chunks:
                yield encoder.feed([row.values for row in rows])
        except BaseException as error:  # tf.data would turn it into a message with a traceback
            failure.append(error)

    cores = len(os.sched_getaffinity(0))
    made = tf.data.Dataset.from_generator(guarded, output_signature=encoder.signature)
    for columns in made.map(graph.parts, num_parallel_calls=cores).prefetch(cores).as_numpy_iterator():
        examples, rows = ({name: Ragged(*values) if kind[name] else values for name, values in several.items()}
                          for several, kind in zip(columns, graph.kinds, strict=True))
        tokens = examples.get("tokens")
        if tokens is not None:
            narrow = np.uint16 if vocabulary_size <= 1 << 16 else np.int32
            examples["tokens"] = Ragged(tokens.flat.astype(narrow), tokens.lengths)
        yield Encoded(examples, rows)
    if failure:
        raise failure[0]


def load_splits(preparer: Preparer) -> dict[str, Split]:
    """The train, validation and test splits that an experiment names; of a mixture those of all sources together.

    Raises: UserError where no training row is left.
    """
    splits = open_splits(preparer)
    _report_leaks(splits, preparer.say)
    tell_unknown(splits, preparer.say)
    return splits


def open_splits(preparer: Preparer) -> dict[str, Split]:
    """The same, without a word on what is in them."""
    return _mixed(preparer) if preparer.data.sources else _of_one(preparer)


def _mixed(preparer: Preparer) -> dict[str, Split]:
    """The splits of several sources, each made as if it were the only one, one behind another."""
    found: dict[str, dict[str, Split]] = {}
    for name, data in preparer.data.by_source().items():
        with in_source(name, data):
            found[name] = _of_one(Preparer(data, preparer.reading.sources[name], preparer.cache,
                                           lambda line, name=name: preparer.say(f"{name}: {line}")))
    stores: dict[tuple[str, ...], TokenStore] = {}
    made = {}
    for split in ("train", "validation", "test"):
        several = {name: splits[split] for name, splits in found.items() if split in splits}
        if not several:
            continue
        key = tuple(each.store.folder.name for each in several.values())
        if key not in stores:
            stores[key] = TokenStore.joined([each.store for each in several.values()])
        begins = np.cumsum([0, *(len(each.store) for each in several.values())]).tolist()
        rows = np.concatenate([begin + each.rows for begin, each in zip(begins, several.values())])
        made[split] = Split(split, stores[key], rows, {name: range(begin, end) for name, begin, end in
                                                       zip(several, begins, begins[1:])})
    return made


def _of_one(preparer: Preparer) -> dict[str, Split]:
    """The splits of one source."""
    data = preparer.data
    store = preparer.store(data.train)
    folds = data.folds
    chosen = "" if folds.number and folds.chosen_on == "fold" else data.validation  # the fold takes its place
    shares = [split_share(s) for s in (chosen, data.test)]
    masks = split_masks(store.column("id_hash"), shares[0] or 0.0, shares[1] or 0.0)
    splits = {"train": _split("train", store, np.flatnonzero(masks[0]), data.train_rows)}
    if folds.held_out:
        splits |= _held_out(splits["train"], preparer)
    for name, spec, share, mask, limit in (("validation", chosen, shares[0], masks[1], data.validation_rows),
                                           ("test", data.test, shares[1], masks[2], data.test_rows)):
        if share is not None:
            splits[name] = _split(name, store, np.flatnonzero(mask), limit)
        elif spec:
            other = preparer.store(spec)
            splits[name] = _split(name, other, np.arange(len(other)), limit)
    for name, split in splits.items():
        if not len(split.rows):
            way = f"Give it more rows, another share, or none: --config.data.{name}=''."
            raise UserError(f"The {name} split has no rows ({len(store):,} rows in {data.train}). "
                            f"{way if name != 'train' else 'Take smaller shares off.'}")
    return splits


def _held_out(split: Split, preparer: Preparer) -> dict[str, Split]:
    """The training rows without one fold, and that fold."""
    folds = preparer.data.folds
    held = folds_of(split, preparer, folds.repeat) == folds.fold - 1
    if not held.any() or held.all():
        raise UserError(f"Of {len(held):,} training rows in {folds.number} folds all or none are in fold {folds.fold}: texts "
                        "that are copies of each other, rows of one id and those of one group are in one fold. Take fewer "
                        "folds (config.data.folds.number).")
    return {"train": Split("train", split.store, split.rows[~held]),
            folds.split: Split(folds.split, split.store, split.rows[held])}


def folds_of(split: Split, preparer: Preparer, repeat: int) -> np.ndarray:
    """int64[n]: the fold, from 0, of each row of all that are cross-validated."""
    store, rows, folds = split.store, split.rows, preparer.data.folds
    ids, texts = (np.asarray(store.column(name))[rows] for name in ("id_hash", "text_hash"))
    strata = None
    if folds.stratified:
        strata = preparer.reading.strata(store, rows)
        strata = np.zeros(len(rows), np.int64) if strata is None else strata
    return assign(joined_by(ids, texts), strata, salted(ids, repeat), folds.number)


def tell_unknown(splits: dict[str, Split], say: Say) -> None:
    """Says how much of the splits the tokenizer does not know, and warns where that is much."""
    counts = {name: counted for name, split in splits.items() if (counted := split.unknown) is not None}
    if not counts:
        return
    say(told(counts))
    worst = splits[max(counts, key=lambda name: max(shares(counts[name])))]
    some = worst.rows[::len(worst.rows) // 10_000 + 1]
    each = worst.store.column("unknown")[some]
    row = some[int(np.argmax(each[:, 2] / np.maximum(1, each[:, 3])))]
    if warned := warning(counts, f"{worst.store.place(row)} {' '.join(worst.store.texts(row))[:40]!r}"):
        say(warned)


def _split(name: str, store: TokenStore, rows: np.ndarray, limit: int) -> Split:
    return Split(name, store, draw(rows, store.column("id_hash")[rows], limit).astype(np.int64))


def _report_leaks(splits: dict[str, Split], say: Say) -> None:
    """Says how many rows of validation and test have a text that is trained on."""
    train = splits["train"]
    seen = train.store.column("text_hash")[train.rows]
    for name, split in splits.items():
        if name == "train":
            continue
        found = leaks(seen, np.asarray(split.store.column("text_hash"))[split.rows])
        if len(found):
            row = split.rows[found[0]]
            say(f"leak: {len(found):,} of {len(split.rows):,} {name} rows have a text that is also in train, such as "
                f"{split.store.place(row)} {split.store.texts(row)[0][:60]!r}")


def describe_data(data: Data) -> str:
    """One line for logs: what is read."""
    told = []
    for source, one in data.by_source().items():
        line = ", ".join(f"{name} {specs[0].split('#sha256')[0]}" for name in ("train", "validation", "test")
                         if (specs := one.specs(name)) and specs[0])
        told.append(f"{source}: {line}{f', where {one.where}' if one.where else ''}" if source else line)
    return "; ".join(told)
