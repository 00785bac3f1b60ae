"""Config -> token stores and splits, with everything a user should know about the data before training on it."""

import dataclasses
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfft.config import Data, Experiment, split_share
from tfft.data.augment import augment, vocabulary_of
from tfft.data.sources import Row, Source
from tfft.data.splits import draw, leaks, split_masks
from tfft.data.store import TokenStore, fingerprint, open_store, remove_store, temporary_folder, write_rows
from tfft.data.tokenize import TextTokenizer
from tfft.errors import UserError

Say = Callable[[str], None]
PROGRESS_SECONDS = 10


@dataclasses.dataclass(frozen=True)
class Split:
    """Some rows, int64[n] ascending, of a store."""

    name: str
    store: TokenStore
    rows: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.store.lengths[self.rows]


class Preparer:
    """Tokenises sources with one tokenizer and the settings of one experiment."""

    def __init__(self, experiment: Experiment, tokenizer, tokenizer_fingerprint: str, cache: Path, say: Say):
        data = experiment.data
        self.data, self.problem, self.cache, self.say = data, experiment.task.problem, cache, say
        self.text_tokenizer = TextTokenizer.of(tokenizer, data)
        self._own: tempfile.TemporaryDirectory | None = None  # augmented epochs
        self._vocabulary_size = int(tokenizer.vocabulary_size())
        fraction = data.head_fraction if data.truncation == "head_tail" else None
        self._settings = [tokenizer_fingerprint, data.max_length, data.truncation, fraction, data.text_pair_column,
                          data.split_seed]  # the seed: a store holds the salted hashes that split its rows

    def store(self, spec: str, data: Data | None = None) -> TokenStore:
        """The token store of a source; made on first use. `data` reads it by other settings than the experiment's; what
        decides its tokens must be the same."""
        data = data or self.data
        source = Source(spec, data, self.problem, self.cache)
        name = fingerprint("source", source.fingerprint(), *self._settings)

        def build(folder: Path):
            self.say(f"tokenising {spec.split('#sha256')[0]}")
            self._write(folder, source.rows())
            if source.broken_count:
                self.say(source.broken_report())
                (folder / "broken.txt").write_text(source.broken_report(), "utf-8", "backslashreplace")

        store = open_store(self.cache, name, build)
        report = store.folder / "broken.txt"
        if report.exists() and not source.broken_count:
            self.say(report.read_text("utf-8"))
        if not len(store):
            raise UserError(f"{spec} has no rows{f' where {data.where}' if data.where else ''}.")
        return store

    def augmented(self, split: Split, epoch: int) -> TokenStore:
        """The store of a split's texts as augmented for one epoch: row i is row split.rows[i] of the split's store.

        Kept for this process alone, and that of two epochs before removed: nobody reads it any more.
        """
        settings, base = self.data.augmentation, split.store
        # replacement words are part of what the epoch's texts are made from, and follow from the rows
        chosen = hashlib.blake2b(split.rows.tobytes(), digest_size=16).hexdigest()

        def name(epoch: int) -> str:
            return fingerprint("augmented", base.folder.name, chosen, dataclasses.asdict(settings), epoch)

        def rows() -> Iterator[Row]:
            some = split.rows[::-(-len(split.rows) // 2000)]  # spread evenly: files are often sorted by label
            vocabulary = vocabulary_of([base.string("text", r) for r in some])
            pairs = self.text_tokenizer.pairs
            for row in split.rows:
                text = augment(base.string("text", row), settings, vocabulary, epoch=epoch, row=int(row))
                pair = base.string("pair", row) if pairs else None
                yield Row(base.string("id", row), text, pair, None, "", int(row), {})

        if self._own is None:
            self._own = temporary_folder(self.cache)
        own = Path(self._own.name)
        remove_store(own, name(epoch - 2))
        return open_store(own, name(epoch), lambda folder: self._write(folder, rows()))

    def _write(self, folder: Path, rows: Iterator[Row]) -> None:
        last = time.monotonic()

        def progress(done: int) -> None:
            nonlocal last
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                self.say(f"tokenised {done:,} rows")

        write_rows(folder, rows, self._tokenise, vocabulary_size=self._vocabulary_size, pairs=self.text_tokenizer.pairs,
                   seed=self.data.split_seed, progress=progress)

    def _tokenise(self, chunks):
        """Runs chunks of texts through tf.data and the graph tokenizer, two at a time, in order."""
        pairs = self.text_tokenizer.pairs
        failure: list[BaseException] = []

        def guarded():
            try:
                for texts, second in chunks:
                    yield _encode(texts), _encode(second if pairs else [])
            except BaseException as error:  # tf.data would turn it into a message with a traceback
                failure.append(error)

        def ids(texts, second):
            tokens = self.text_tokenizer(texts, second if pairs else None)
            return tokens.token_ids.flat_values, tokens.token_ids.row_lengths(), tokens.first_length, tokens.full_length

        strings = tf.TensorSpec([None], tf.string)
        made = tf.data.Dataset.from_generator(guarded, output_signature=(strings, strings))
        yield from made.map(ids, num_parallel_calls=2).prefetch(2).as_numpy_iterator()
        if failure:
            raise failure[0]


def _encode(texts: list[str]) -> np.ndarray:
    return np.array([t.encode("utf-8", "replace") for t in texts], dtype=object) if texts else np.zeros(0, dtype="S1")


def load_splits(preparer: Preparer) -> dict[str, Split]:
    """The train, validation and test splits that an experiment names.

    Raises: UserError where no training row is left.
    """
    data = preparer.data
    store = preparer.store(data.train)
    shares = [split_share(s) for s in (data.validation, data.test)]
    masks = split_masks(store.column("id_hash"), shares[0] or 0.0, shares[1] or 0.0)
    splits = {"train": _split("train", store, np.flatnonzero(masks[0]), data.train_rows)}
    for name, spec, share, mask, limit in (("validation", data.validation, shares[0], masks[1], data.validation_rows),
                                           ("test", data.test, shares[1], masks[2], data.test_rows)):
        if share is not None:
            splits[name] = _split(name, store, np.flatnonzero(mask), limit)
        elif spec:
            other = preparer.store(spec)
            splits[name] = _split(name, other, np.arange(len(other)), limit)
    for name, split in splits.items():
        if not len(split.rows):
            raise UserError(f"The {name} split has no rows ({len(store):,} rows in {data.train}). "
                            f"{'Give it more rows or another share.' if name != 'train' else 'Take smaller shares off.'}")
    _report_leaks(splits, preparer.say)
    return splits


def _split(name: str, store: TokenStore, rows: np.ndarray, limit: int) -> Split:
    return Split(name, store, draw(rows, store.column("id_hash")[rows], limit).astype(np.int64))


def _report_leaks(splits: dict[str, Split], say: Say) -> None:
    """Says how many rows of validation and test have a text that is trained on."""
    train = splits["train"]
    seen = train.store.column("text_hash")[train.rows]
    for name, split in splits.items():
        if name == "train":
            continue
        found = leaks(seen, split.store.column("text_hash")[split.rows])
        if len(found):
            row = split.rows[found[0]]
            say(f"leak: {len(found):,} of {len(split.rows):,} {name} rows have a text that is also in train, such as "
                f"{split.store.place(row)} {split.store.string('text', row)[:60]!r}")


def describe_data(data: Data) -> str:
    """One line for logs: what is read."""
    return ", ".join(f"{name} {spec.split('#sha256')[0]}" for name, spec in
                     (("train", data.train), ("validation", data.validation), ("test", data.test)) if spec)
