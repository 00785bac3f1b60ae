"""The label table: names, counts, the scale of values. Saved with the run."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np

from tfft.data.store import TokenStore
from tfft.errors import UserError, unknown
from tfft.files import write_text


@dataclasses.dataclass(frozen=True)
class Labels:
    """names[i] is the label of id i; counts[i] its training rows, of `rows` in all. Regression: no names, the values'
    mean and deviation."""

    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0
    rows: int = 0

    def save(self, folder: Path) -> None:
        write_text(folder / "labels.json", json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")
        write_text(folder / "labels.txt", "".join(f"{name}\n" for name in self.names))

    @staticmethod
    def load(folder: Path) -> "Labels":
        try:
            values = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
            return Labels(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise UserError(f"Cannot read {folder / 'labels.json'}: {error}. Is {folder} the workdir of a run?") from error


def natural(name: str) -> tuple:
    """Sorts '2' before '10' and numbers before words."""
    return (0, int(name), "") if re.fullmatch(r"-?\d{1,18}", name) else (1, 0, name)


def infer_labels(store: TokenStore, rows: np.ndarray, given: tuple[str, ...]) -> Labels:
    """The labels of training rows: the given ones, or those that occur, sorted.

    Raises: UserError where a training row has a label that is not among the given ones, or fewer than two occur.
    """
    counts = label_counts(store, rows)
    used = [name for name, count in zip(store.names("label"), counts, strict=True) if count]
    names = tuple(given) or tuple(sorted(used, key=natural))
    for name in used:
        if name not in names:
            raise UserError(f"A training row has a label that config.data.labels does not name. "
                            f"{unknown('label', name, names)}")
    if len(names) < 2:
        raise UserError(f"The training rows have {'one label only' if names else 'no label'}"
                        f"{': ' + repr(names[0]) if names else ''}; a classifier needs two or more. Is "
                        "config.data.label_column the right column?")
    if not given and len(rows) >= 20 and len(names) > len(rows) / 2:
        raise UserError(f"There are {len(names):,} different labels in {len(rows):,} training rows, such as {names[0]!r}: "
                        "most occur once. For numbers set config.task.problem=regression; else, is config.data.label_column "
                        "the right column?")
    found = dict(zip(store.names("label"), counts, strict=True))
    return Labels(names, tuple(int(found.get(name, 0)) for name in names), rows=len(rows))


def infer_scale(values: np.ndarray, standardize: bool) -> Labels:
    """Mean and deviation of regression values."""
    if not standardize:
        return Labels()
    deviation = float(np.std(values, dtype=np.float64))
    if deviation == 0:
        raise UserError(f"Every training row has the same value, {float(values[0])}: there is nothing to learn. Is "
                        "config.data.label_column the right column?")
    return Labels(mean=float(np.mean(values, dtype=np.float64)), deviation=deviation)


def label_counts(store: TokenStore, rows: np.ndarray) -> np.ndarray:
    """int64[labels of the store]: how many of `rows` carry each label."""
    if not store.names("label"):
        return np.zeros(0, np.int64)
    member = np.zeros(len(store), bool)
    member[rows] = True
    per_row = np.diff(np.asarray(store.column("label_offsets")))
    return np.bincount(store.column("label")[np.repeat(member, per_row)], minlength=len(store.names("label")))


class LabelColumn:
    """Store rows -> label ids, for one store and one label table."""

    def __init__(self, store: TokenStore, labels: Labels):
        known = {name: i for i, name in enumerate(labels.names)}
        self._ids = np.array([known.get(name, -1) for name in store.names("label")] or [-1], np.int32)
        self._codes, self._offsets = store.column("label"), store.column("label_offsets")
        self._count = len(labels.names)

    def single(self, rows: np.ndarray) -> np.ndarray:
        """int32[b] label ids; -1 where the label is not in the table."""
        return self._ids[self._codes[self._offsets[rows]]]

    def several(self, rows: np.ndarray) -> np.ndarray:
        """float32[b,L] of 0 and 1; labels not in the table are left out."""
        made = np.zeros((len(rows), self._count), np.float32)
        for i, row in enumerate(rows):
            ids = self._ids[self._codes[self._offsets[row]:self._offsets[row + 1]]]
            made[i, ids[ids >= 0]] = 1
        return made
