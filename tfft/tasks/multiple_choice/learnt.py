"""What is learnt from the training rows beside the weights: how many candidates a row of a batch has. Saved with the run."""

import dataclasses
from pathlib import Path

import numpy as np

from tfft.config import Experiment
from tfft.config.multiple_choice import MOST
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.files import read_record, write_record
from tfft.tasks.multiple_choice.labels import READINGS

FILE = "choices.json"
TOLD = {"index": "indices from 0", "number": "numbers from 1", "letter": "letters", "text": "the candidates' texts",
        "flags": "1 or 0 for each candidate"}


@dataclasses.dataclass(frozen=True)
class Choices:
    """choices: candidates of a row in a batch; lines: what to tell of the training rows."""

    choices: int
    lines: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        write_record(folder / FILE, self)

    @staticmethod
    def load(folder: Path) -> "Choices":
        return read_record(folder / FILE, Choices)


def infer_choices(experiment: Experiment, store: TokenStore, rows: np.ndarray) -> Choices:
    """Counts candidates and readings of labels. Raises: UserError where no row has a right candidate."""
    counts = np.asarray(store.column("candidates")[rows])
    right = right_counts(store)[rows]
    column = experiment.data.label_column
    if not (right > 0).any():
        raise UserError(f"None of the {len(rows):,} training rows has a right candidate. Is config.data.label_column={column} "
                        "the right column?")
    most, least = int(counts.max()), int(counts.min())
    held = min(most, experiment.task.max_choices or MOST)
    line = f"candidates: {len(rows):,} rows of {most}" if most == least else (
        f"candidates: {len(rows):,} rows of {least} to {most}, {counts.mean():.1f} on average")
    if held < most:
        line += f"; a batch has {held} of a row with more, drawn anew each epoch (config.task.max_choices)"
    readings = np.bincount(np.asarray(store.column("reading")[rows]), minlength=len(READINGS))
    told = " and ".join(f"{TOLD[READINGS[i]]} ({readings[i]:,})" for i in np.argsort(-readings, kind="stable") if readings[i])
    lines = [line, f"labels: {told}"]
    if (right > 1).any():
        lines[1] += f"; rows with several right candidates: {(right > 1).sum():,}"
    if odd := _counted_from_one(store, rows, counts):
        lines.append(odd)
    return Choices(held, tuple(lines))


def right_counts(store: TokenStore) -> np.ndarray:
    """int64[n]: how many right candidates each row of a store has."""
    return np.diff(store.column("right_offsets"))


def _counted_from_one(store: TokenStore, rows: np.ndarray, counts: np.ndarray) -> str:
    """A word where all labels are indices and none of many is 0, as if they were counted from 1."""
    reading = np.asarray(store.column("reading")[rows])
    first = np.asarray(store.column("right")[store.column("right_offsets")[rows][right_counts(store)[rows] > 0]])
    if len(first) < 20 or (reading != READINGS.index("index")).any() or (first == 0).any():
        return ""
    return (f"warning: no label of {len(rows):,} rows is the index 0, such as {store.place(rows[0])}: if labels are counted "
            "from 1, set --config.data.label_values=number")
