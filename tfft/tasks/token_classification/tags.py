"""The tag table: which tags there are, and the rows' own tags or spans as numbers. Saved with the run."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfft.config import Experiment
from tfft.data import spelling
from tfft.data.store import TokenStore
from tfft.errors import UserError, unknown
from tfft.files import read_record, write_record
from tfft.tasks.token_classification import schemes
from tfft.tasks.token_classification.spans import tags_of_spans

PREFIXES = {"IOB2": "BI", "IOBES": "BIES"}
ALIKE = "Each is learnt as one of its own; write them alike in the files"


@dataclasses.dataclass(frozen=True)
class Tags:
    """names[i] is the tag of id i, in `scheme` ("none": every word has its own, and names are the types); source: the scheme of
    the rows; types with the number of their entities in the training rows ("" is that of tags that are a letter alone); labels
    of sentences with theirs."""

    names: tuple[str, ...]
    scheme: str
    source: str
    types: tuple[str, ...]
    counts: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    label_counts: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()  # what was mended in the training rows

    def save(self, folder: Path) -> None:
        write_record(folder / "tags.json", self)

    @staticmethod
    def load(folder: Path) -> "Tags":
        return read_record(folder / "tags.json", Tags)

    @functools.cached_property
    def types_of_tags(self) -> np.ndarray:
        """int32[T]: which type a tag is of, from 1; 0 is none."""
        known = {name: i for i, name in enumerate(self.types, 1)}
        if self.scheme == "none":
            return np.arange(1, len(self.names) + 1, dtype=np.int32)
        return np.array([0 if name == "O" else known[name[2:]] for name in self.names], np.int32)

    @functools.cached_property
    def begins(self) -> np.ndarray:
        """bool[T]: whether an entity always begins with the tag."""
        return np.array([self.scheme == "none" or name[0] in "BS" for name in self.names])

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """bool[T]: whether an entity always ends with the tag."""
        return np.array([self.scheme == "none" or name[0] in "ES" for name in self.names])

    def forbidden(self) -> tuple[tuple[bool, ...], ...]:
        """[T+2,T]: what may not follow what; see schemes.forbidden."""
        return tuple(map(tuple, schemes.forbidden(self.names, self.scheme).tolist()))

    def spans(self, tags: np.ndarray) -> list[tuple[int, int, str]]:
        """Tag ids int[W] -> entities as conlleval reads them: an inside tag after another type, or after none, begins one.

        "I-PER B-LOC I-LOC I-PER" -> (0, 1, "PER"), (1, 3, "LOC"), (3, 4, "PER")
        """
        if not len(tags):
            return []
        kind, begin, end = self.types_of_tags[tags], self.begins[tags], self.ends[tags]
        before = np.concatenate([[0], kind[:-1]])
        ended = np.concatenate([[False], end[:-1]])
        starts = np.flatnonzero((kind > 0) & (begin | (kind != before) | ended))
        stops = np.flatnonzero((kind > 0) & np.append((begin | (kind != before) | ended)[1:] | (kind[1:] == 0), True))
        return [(int(a), int(b) + 1, self.types[kind[a] - 1]) for a, b in zip(starts, stops, strict=True)]


class Gold:
    """The tag ids of a store's words, int32, -1 where the table has no such tag: of row i, ids[offsets[i]:offsets[i + 1]]."""

    def __init__(self, store: TokenStore, tags: Tags):
        self.offsets = np.asarray(store.column("word_start_offsets"))
        self.ids = np.full(int(self.offsets[-1]), -1, np.int32)
        self._tags, self._known = tags, {name: i for i, name in enumerate(tags.names)}
        self._types = frozenset(tags.types)
        self._problems: dict[int, Counter] = {}  # of rows that have any
        self._unknown: dict[int, Counter] = {}
        read = self._of_tags if "tags" in store else self._of_spans
        for row in range(len(store)):
            self.ids[self.offsets[row]:self.offsets[row + 1]] = read(store, row)

    def problems(self, rows: Iterable[int]) -> Counter:
        """How often what was mended or left out in some rows, by kind."""
        return sum((self._problems[row] for row in rows if row in self._problems), Counter())

    def unknown(self, rows: Iterable[int]) -> Counter:
        """Types that some rows have and the table lacks, with the number of their entities."""
        return sum((self._unknown[row] for row in rows if row in self._unknown), Counter())

    def _of_tags(self, store: TokenStore, row: int) -> list[int]:
        given = store.names_of("tags", row)
        if self._tags.scheme == "none":
            self._note_unknown(row, [tag for tag in given if tag not in self._known])
            return [self._known.get(tag, -1) for tag in given]
        try:
            if against := len(schemes.violations(given, self._tags.source)):
                self._problems[row] = Counter({"tags against the scheme": against})
            return self._ids(row, schemes.to_spans(given, self._tags.source), len(given))
        except ValueError as error:
            raise UserError(f"{store.place(row)}: {error} The rows are read as config.data.tags_scheme={self._tags.source}.") \
                from error

    def _of_spans(self, store: TokenStore, row: int) -> list[int]:
        words = list(zip(store.values("word_start", row).tolist(), store.values("word_end", row).tolist()))
        spans = zip(store.values("span_start", row).tolist(), store.values("span_end", row).tolist(),
                    store.names_of("span_type", row))
        tags, problems = tags_of_spans(words, spans, len(store.string("text", row)))
        if problems:
            self._problems[row] = Counter(problems)
        return self._ids(row, schemes.to_spans(tags, "IOB2"), len(words))

    def _ids(self, row: int, spans: list, length: int) -> list[int]:
        strange = [span for span in spans if span[2] not in self._types]
        self._note_unknown(row, [kind for _, _, kind in strange])
        tags = schemes.from_spans([span for span in spans if span[2] in self._types], length, self._tags.scheme)
        made = [self._known[tag] for tag in tags]
        for start, end, _ in strange:
            made[start:end] = [-1] * (end - start)
        return made

    def _note_unknown(self, row: int, names: list[str]) -> None:
        if names:
            self._unknown[row] = Counter(names)

    def of(self, row: int) -> np.ndarray:
        return self.ids[self.offsets[row]:self.offsets[row + 1]]


def infer_tags(experiment: Experiment, store: TokenStore, rows: np.ndarray) -> Tags:
    """The tags of training rows. Raises: UserError where their scheme cannot be told, or there is nothing to learn."""
    data = experiment.data
    source = _scheme(data.tags_scheme, store, rows) if "tags" in store else "IOB2"
    types = Counter()
    for row in rows:
        if "tags" not in store:
            types.update(store.names_of("span_type", row))
        elif source == "none":
            types.update(store.names_of("tags", row))
        else:
            types.update(kind for _, _, kind in _spans(store, row, source))
    names = data.types or tuple(sorted(types))
    for name in types:
        if name not in names:
            raise UserError(f"A training row has a type that config.data.types does not name. {unknown('type', name, names)}")
    if len(names) < (2 if source == "none" and not experiment.model.start else 1):
        raise UserError("The training rows have no entity: every tag is O, or there are no spans. Is config.data."
                        f"{'tags_column' if 'tags' in store else 'spans_column'} the right column?")
    scheme = "none" if source == "none" else experiment.task.scheme
    tags = names if scheme == "none" else ("O", *(_tag(p, name) for name in names for p in PREFIXES[scheme]))
    labels = Counter(store.names_of("label", row)[0] for row in rows) if data.label_column else Counter()
    if data.label_column and len(labels) < (1 if experiment.model.start else 2):
        raise UserError("The training rows have one sentence label only. Is config.data.label_column the right column?")
    made = Tags(tuple(tags), scheme, source, tuple(names), tuple(types[name] for name in names), tuple(sorted(labels)),
                tuple(labels[name] for name in sorted(labels)))
    notes = _notes(Gold(store, made).problems(rows.tolist()))
    what = "tags" if source == "none" else "types"
    notes += [spelling.warning(what, {name: types[name] for name in names if name in types}, lambda kinds: ALIKE),
              spelling.warning("labels of sentences", labels, lambda kinds: ALIKE), _unseen(names, types)]
    return dataclasses.replace(made, notes=tuple(note for note in notes if note))


def extended(before: Tags, tags: Tags) -> Tags:
    """The tags of a run before, with those of the types behind them that it lacks. Raises: UserError for another scheme."""
    if before.scheme != tags.scheme:
        raise UserError(f"config.model.start was trained with tags of the scheme {before.scheme}, these rows have "
                        f"{tags.scheme}.")
    if bool(before.labels) != bool(tags.labels):
        raise UserError("config.model.start was trained with labels of sentences, these rows have none. Name their column: "
                        "config.data.label_column." if before.labels else
                        "config.model.start was trained without labels of sentences. Leave config.data.label_column empty.")
    added, more = ([name for name in new if name not in old] for new, old in ((tags.types, before.types),
                                                                             (tags.labels, before.labels)))
    kinds = added if tags.scheme == "none" else [_tag(prefix, name) for name in added for prefix in PREFIXES[tags.scheme]]
    types, labels = (*before.types, *added), (*before.labels, *more)
    seen, told = dict(zip(tags.types, tags.counts, strict=True)), dict(zip(tags.labels, tags.label_counts, strict=True))
    return dataclasses.replace(
        tags, names=(*before.names, *kinds), types=types, counts=tuple(seen.get(name, 0) for name in types), labels=labels,
        label_counts=tuple(told.get(name, 0) for name in labels))


def _unseen(names: tuple[str, ...], types: Counter) -> str:
    unseen = [repr(name) for name in names if name not in types]
    return f"no row has {', '.join(unseen[:8])}{' ...' if len(unseen) > 8 else ''}, which cannot be learnt" if unseen else ""


def _tag(prefix: str, kind: str) -> str:
    """As schemes.from_spans writes it."""
    return f"{prefix}-{kind}" if kind else prefix


def _scheme(given: str, store: TokenStore, rows: np.ndarray) -> str:
    if given != "auto":
        return schemes.canonical(given)
    scheme, why = schemes.detect(store.names_of("tags", row) for row in rows)
    if scheme is None:
        raise UserError(f"The scheme of the tags in the training rows cannot be told: {why}. Is config.data.tags_column the "
                        "right column? Else set config.data.tags_scheme.")
    return scheme


def _spans(store: TokenStore, row: int, source: str):
    try:
        return schemes.to_spans(store.names_of("tags", row), source)
    except ValueError as error:
        raise UserError(f"{store.place(row)}: {error} Set config.data.tags_scheme.") from error


def _notes(problems: Counter) -> list[str]:
    told = {"tags against the scheme": "tags against their scheme, read as conlleval does",
            "crosses words": "spans that begin or end inside a word, widened to whole words",
            "overlaps": "spans that overlap a longer one, left out", "outside": "spans beyond their text, left out",
            "empty": "spans without a word, left out"}
    return [f"{count:,} {told[kind]}" for kind, count in problems.items()]
