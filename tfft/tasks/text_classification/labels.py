"""The label table: names, counts, how written labels are read, the scale of values. Saved with the run."""

import dataclasses
from pathlib import Path

import numpy as np

from tfft.config import TextClassificationData
from tfft.data.scratch import parts
from tfft.data.spelling import bit_of, folded, folding, number_of, truth_of
from tfft.data.store import Ragged, TokenStore
from tfft.errors import UserError, unknown
from tfft.files import read_record, write_record, write_text
from tfft.tasks.text_classification.matching import Matcher, Unclear, multi_hot, names_or_ids, spelled
from tfft.tasks.text_classification.rows import label_lines, setting_of

WAYS = {"names": "names of labels", "ids": "ids", "multi_hot": "a 0 or 1 for each label"}


@dataclasses.dataclass(frozen=True)
class Labels:
    """names[i] is the label of id i; counts[i] its training rows, of `rows` in all. values: what numbers in the label column
    are, as config.data.label_values says it; normalisation: config.data.label_normalisation; separator: what joins labels.
    Regression: no names, the values' mean and deviation. With a pattern: the ids of the mask token and of each label's word."""

    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0
    rows: int = 0
    values: str = "names"
    normalisation: tuple[str, ...] = ()
    separator: str = ","
    mask: int = -1
    words: dict[str, int] = dataclasses.field(default_factory=dict)

    def save(self, folder: Path) -> None:
        write_record(folder / "labels.json", self)
        write_text(folder / "labels.txt", label_lines(self.names))

    @staticmethod
    def load(folder: Path) -> "Labels":
        def complete(values: dict) -> None:
            values.setdefault("values", "names" if any(number_of(name) is not None for name in values["names"]) else "ids")

        return read_record(folder / "labels.json", Labels, complete)

    def tokens(self) -> tuple[int, ...]:
        """The ids of the labels' words, in the order of the labels. Raises: UserError where they are not the labels' own."""
        matcher = Matcher(self.names, self.normalisation)
        for label in self.words:
            if matcher.find(label) < 0:
                raise UserError(f"config.task.words: {unknown('label', label, self.names)}")
        made = {matcher.find(label): token for label, token in self.words.items()}
        for i, name in enumerate(self.names):
            if i not in made:
                raise UserError(f"config.task.words has no word for the label {name!r}. Add '{name}=WORD'.")
        return tuple(made[i] for i in range(len(self.names)))


def natural(name: str) -> tuple:
    """Sorts '2' before '10', '0.5' before '1', and numbers before words."""
    number = number_of(name)
    return (1, 0, name) if number is None else (0, number, name)


def infer_labels(store: TokenStore, rows: np.ndarray, given: tuple[str, ...], data: TextClassificationData | None = None,
                 several: bool = False, fewest: int = 2) -> Labels:
    """The labels of training rows: the given ones, or those that occur, sorted. several: of one row.

    Raises: UserError where it cannot be told what is written, a training row has a label that is not among the given ones,
    or there are fewer than `fewest`.
    """
    data = data or TextClassificationData()
    written = {name: int(count) for name, count in zip(store.names("label"), label_counts(store, rows), strict=True) if count}
    values, count = _values(store, given, data, several)
    if values == "multi_hot":
        names = given or tuple(str(i) for i in range(count))
    else:
        names = given or _names(written, data.label_normalisation)
    labels = Labels(names, rows=len(rows), values=values, normalisation=data.label_normalisation,
                    separator=data.label_separator)
    column = LabelColumn(store, labels)
    _refuse_unknown(store, rows, column.unknown(rows), labels, data)
    if len(names) < fewest:
        raise UserError(f"The training rows have {'one label only' if names else 'no label'}"
                        f"{': ' + repr(names[0]) if names else ''}; a classifier needs two or more. Is "
                        "config.data.label_column the right column?")
    if not given and len(rows) >= 20 and len(names) > len(rows) / 2:
        raise UserError(f"There are {len(names):,} different labels in {len(rows):,} training rows, such as {names[0]!r}: "
                        "most occur once. For numbers set config.task.problem=regression; else, is config.data.label_column "
                        "the right column?")
    return dataclasses.replace(labels, counts=tuple(column.counts(rows).tolist()))


def extended(before: Labels, labels: Labels) -> Labels:
    """The table of a run before, with the labels behind it that it lacks; of values the scale of before.

    Raises: UserError where the numbers of these rows are places in another table.
    """
    if not before.names:
        return dataclasses.replace(labels, mean=before.mean, deviation=before.deviation)
    if labels.values != "names" and labels.names[:len(before.names)] != before.names:
        raise UserError(f"config.model.start: the label column has {WAYS[labels.values]}, of another table than that of the "
                        "run before. Name its labels first, in its order, and new ones behind them: "
                        "config.data.labels_file, which begins as the run's labels.txt.")
    known = Matcher(before.names, labels.normalisation)
    names = (*before.names, *(name for name in labels.names if known.find(name) < 0))
    places, counts = {name: i for i, name in enumerate(names)}, [0] * len(names)
    for name, count in zip(labels.names, labels.counts, strict=True):
        counts[places[name] if known.find(name) < 0 else known.find(name)] += count
    return dataclasses.replace(labels, names=names, counts=tuple(counts))


def _names(written: dict[str, int], normalisation: tuple[str, ...]) -> tuple[str, ...]:
    """Written labels, sorted; of those that are read as one the cleanest spelling, then the most frequent."""
    if not normalisation:
        return tuple(sorted(written, key=natural))
    kinds, groups = spelled(normalisation), {}
    fold = folding(written, kinds)
    clean = [kind for kind in kinds if kind not in ("case", "number")]
    for name in written:
        groups.setdefault(fold(name), []).append(name)
    return tuple(sorted((min(group, key=lambda name: (folded(name, clean) != name, -written[name], natural(name)))
                         for group in groups.values()), key=natural))


def _values(store: TokenStore, given: tuple[str, ...], data: TextClassificationData, several: bool) -> tuple[str, int]:
    """(what the numbers in the label column are, how many labels a row has a 0 or 1 for). Raises: UserError."""
    codes, offsets = np.asarray(store.column("label")), np.asarray(store.column("label_offsets"))
    names = store.names("label")
    try:
        if data.label_columns:
            return "names", 0
        if data.label_values == "multi_hot":
            lengths = np.diff(offsets)
            return "multi_hot", len(given) or int(lengths.max(initial=0))
        if data.label_values != "auto":
            return data.label_values, 0
        if several and (count := multi_hot(names, codes, offsets, len(given))):
            return "multi_hot", count
        if not given:
            return "names", 0
        values = names_or_ids(names, Matcher(given, data.label_normalisation))
        if values == "ids" and (truth := next((name for name in names if truth_of(name) is not None), None)):
            if Matcher(given, data.label_normalisation).find(truth) < 0:
                raise Unclear(f"{truth!r} is no name; as an id it would stand for {given[truth_of(truth)]!r}", truth)
        return values, 0
    except Unclear as why:
        row = why.row if why.name is None else int(
            np.searchsorted(offsets, np.flatnonzero(codes == names.index(why.name))[0], "right")) - 1
        shown = "" if why.name is not None else f" ({', '.join(store.names_of('label', row)[:20])})"
        beside = f" beside the names in {setting_of(data)}" if given else ""
        ways = ["names", *(["ids"] if given else []), *(["multi_hot"] if several else [])]
        choices = " or ".join(f"config.data.label_values={way} ({WAYS[way]})" for way in ways)
        raise UserError(f"{store.place(row)}: it cannot be told what the numbers in the label column are{beside}: {why}{shown}."
                        f" Set {choices}.") from why


def _refuse_unknown(store: TokenStore, rows: np.ndarray, found: dict[str, int], labels: Labels, data) -> None:
    """Raises: UserError for the first training row with a label that is not in the table."""
    if not found:
        return
    name = next(iter(found))
    place = store.place(next(row for row in rows if name in store.names_of("label", row)))
    if labels.values == "ids" and number_of(name) is not None:
        raise UserError(f"{place}: its label {name!r} is neither an id from 0 to {len(labels.names) - 1} nor a name in "
                        f"{setting_of(data)}. Ids count from 0: 0 is the first name there. Name all labels in the order of "
                        "their ids, or write the ids from 0.")
    raise UserError(f"{place}: this training row has a label that {setting_of(data)} does not name. "
                    f"{unknown('label', name, labels.names)}{spelling_hint(name, labels)}")


def spelling_hint(name: str, labels: Labels) -> str:
    """How an unknown label becomes a known one; '' where it is not one but for its spelling."""
    if labels.values == "ids" and number_of(name) is not None:
        return f" Ids count from 0, to {len(labels.names) - 1}."
    place = Matcher(labels.names, ("all",)).find(name)
    return "" if place < 0 else (f" {ascii(name)} is {ascii(labels.names[place])} but for its spelling: a run trained with "
                                 "--config.data.label_normalisation=all reads them as one.")


def infer_scale(store: TokenStore, rows: np.ndarray, standardize: bool) -> Labels:
    """Mean and deviation of the regression values of training rows."""
    values = np.asarray(store.column("value")[rows], np.float64)
    if not standardize:
        return Labels()
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(np.mean(values)), float(np.std(values))
    if not np.isfinite(mean) or not np.isfinite(deviation):
        raise too_large(store, int(rows[np.argmax(np.abs(values))]))
    if deviation == 0:
        raise UserError(f"Every training row has the same value, {float(values[0])}: there is nothing to learn. Is "
                        "config.data.label_column the right column?")
    return Labels(mean=mean, deviation=deviation)


def scaled(values: np.ndarray, labels: Labels) -> np.ndarray:
    """float64[n]: values, by the mean and deviation of the training rows."""
    return (np.asarray(values, np.float64) - labels.mean) / labels.deviation


def check_scaled(store: TokenStore, rows: np.ndarray, labels: Labels) -> None:
    """Raises: UserError where a value of the rows is, scaled, too large for a float32."""
    sizes = np.abs(scaled(store.column("value")[rows], labels))
    if len(rows) and sizes.max() > np.finfo(np.float32).max:
        raise too_large(store, int(rows[sizes.argmax()]))


def too_large(store: TokenStore, row: int) -> UserError:
    value = float(store.column("value")[row])
    return UserError(f"{store.place(row)}: the value {value:g} is too large to be learnt from. Mend it, or write the values "
                     "in a larger unit.")


def label_counts(store: TokenStore, rows: np.ndarray) -> np.ndarray:
    """int64[written labels of the store]: how often `rows` carry each."""
    if not store.names("label"):
        return np.zeros(0, np.int64)
    member = np.zeros(len(store), bool)
    member[rows] = True
    per_row = np.diff(np.asarray(store.column("label_offsets")))
    return np.bincount(store.column("label")[np.repeat(member, per_row)], minlength=len(store.names("label")))


class LabelColumn:
    """Store rows -> label ids, for one store and one label table. Raises: UserError where rows of 0 and 1 do not fit it."""

    def __init__(self, store: TokenStore, labels: Labels):
        self._names, self._count = store.names("label"), len(labels.names)
        matcher = Matcher(labels.names, labels.normalisation)
        self._ids = np.array([matcher.find_by(name, labels.values) for name in self._names], np.int32)
        self._codes, self._offsets = store.column("label"), store.column("label_offsets")
        self._store = store
        self._bits = None
        if labels.values == "multi_hot":
            self._bits = np.array([bit_of(name) for name in self._names], np.int32)
            self._check_bits()

    def _check_bits(self) -> None:
        """Every row has a 0 or 1 for each label, or names of labels, or nothing."""
        lengths, bits = np.diff(np.asarray(self._offsets)), self._bits[np.asarray(self._codes)] >= 0
        rows = np.repeat(np.arange(len(lengths)), lengths)
        bits = np.bincount(rows[bits], minlength=len(lengths))
        self._positional = bits > 0
        wrong = np.flatnonzero(self._positional & ((bits != lengths) | (lengths != self._count)))
        if len(wrong):
            row = int(wrong[0])
            raise UserError(f"{self._store.place(row)}: its labels are {', '.join(self._store.names_of('label', row)[:20])}, "
                            f"{lengths[row]} in all, where a row has a 0 or 1 for each of {self._count} labels. Mend the "
                            "row, or name as many labels as it has.")

    def single(self, rows: np.ndarray) -> np.ndarray:
        """int32[b] label ids; -1 where the label is not in the table."""
        return self._ids[self._codes[self._offsets[rows]]]

    def several(self, rows: np.ndarray) -> np.ndarray:
        """float32[b,L] of 0 and 1; labels not in the table are left out."""
        made = np.zeros((len(rows), self._count), np.float32)
        for i, row in enumerate(rows):
            codes = self._codes[self._offsets[row]:self._offsets[row + 1]]
            if self._bits is not None and self._positional[row]:
                made[i] = self._bits[codes]
            else:
                ids = self._ids[codes]
                made[i, ids[ids >= 0]] = 1
        return made

    def codes(self, rows: np.ndarray) -> Ragged:
        """The ids of each row's labels that are in the table, ascending, each once."""
        made = [(np.nonzero(self.several(rows[part])), part) for part in parts(len(rows), self._count)]
        flat = np.concatenate([ids for (_, ids), _ in made] or [np.zeros(0, np.int64)]).astype(np.int32)
        counts = [np.bincount(row, minlength=part.stop - part.start) for (row, _), part in made]
        return Ragged(flat, np.concatenate(counts or [np.zeros(0, np.int64)]).astype(np.int64))

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """int64[L]: how many of `rows` carry each label."""
        made = np.zeros(self._count, np.int64)
        if self._bits is None:
            np.add.at(made, self._ids[self._ids >= 0], label_counts(self._store, rows)[self._ids >= 0])
            return made
        for part in parts(len(rows), self._count):
            made += self.several(rows[part]).sum(axis=0, dtype=np.int64)
        return made

    def unknown(self, rows: np.ndarray) -> dict[str, int]:
        """Written labels among `rows` that the table lacks, with their numbers of rows."""
        if self._bits is not None:
            rows = rows[~self._positional[rows]]
        counts = label_counts(self._store, rows)
        return {name: int(count) for name, count, i in zip(self._names, counts, self._ids, strict=True) if count and i < 0}

    def find(self, name: str) -> int:
        """The id of a written label; -1 where the table has no such."""
        return int(self._ids[self._names.index(name)])

    def of(self, row: int) -> tuple[int, ...]:
        """The ids of a row's labels that are in the table."""
        return tuple(np.flatnonzero(self.several(np.array([row]))[0]).tolist())
