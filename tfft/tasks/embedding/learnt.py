"""What is learnt from the training rows beside the weights: what a row is, and the range of scores. Saved with the run."""

import dataclasses
from pathlib import Path

import numpy as np

from tfft.config import Experiment
from tfft.config.embedding import kind_of
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.files import read_record, write_record

FILE = "embedding.json"


@dataclasses.dataclass(frozen=True)
class Pairs:
    """kind: pairs, scored or labelled. low, high: the least and the largest score; line: what to tell of the rows."""

    kind: str
    negatives: int = 0  # of each row in a batch
    low: float = 0.0
    high: float = 1.0
    line: str = ""

    def save(self, folder: Path) -> None:
        write_record(folder / FILE, self)

    @staticmethod
    def load(folder: Path) -> "Pairs":
        return read_record(folder / FILE, Pairs)


def infer_pairs(experiment: Experiment, store: TokenStore, rows: np.ndarray, negatives: int) -> Pairs:
    """Counts the training rows. Raises: UserError where nothing can be learnt from them."""
    kind = kind_of(experiment.data)
    if kind == "scored":
        return _scored(store.column("score")[rows], experiment.data.score_column)
    if kind == "labelled":
        return _labelled(store, rows)
    positives, hard = (np.asarray(store.column(name)[rows]) for name in ("positives", "negatives"))
    line = f"pairs: {len(rows):,} rows, {positives.mean():.1f} texts that belong to each"
    if experiment.data.negative_columns:
        line += f", {hard.mean():.1f} hard negatives ({(hard == 0).sum():,} rows have none), {negatives} of them in a batch"
    return Pairs(kind, negatives, line=line)


def _scored(scores: np.ndarray, column: str) -> Pairs:
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        raise UserError(f"All {len(scores):,} training rows have the score {low:g}: there is nothing to learn. Is "
                        f"config.data.score_column={column} the right column?")
    return Pairs("scored", 0, low, high, f"scores: {low:g} to {high:g}, mean {scores.mean():.3g}; learnt as 0 to 1")


def _labelled(store: TokenStore, rows: np.ndarray) -> Pairs:
    names, counts = store.names("label"), np.bincount(store.column("label")[rows])
    used = counts[counts > 0]
    if len(used) < 2:
        raise UserError(f"All {len(rows):,} training rows have the label {names[int(counts.argmax())]!r}: there are no texts "
                        "of other labels to tell apart.")
    if used.max() < 2:
        raise UserError(f"No label is that of two of the {len(rows):,} training rows, so that no texts belong together. Is "
                        "config.data.label_column the right column?")
    line = f"labels: {len(used):,}, of {used.min():,} to {used.max():,} texts"
    if alone := int((used == 1).sum()):
        line += f"; {alone:,} labels of one text each, which is a negative of others alone"
    return Pairs("labelled", line=line)
