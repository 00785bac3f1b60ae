"""What a task hands the rest of tfft, and is handed: reports, tables, units, the truth about rows."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from tfft.data.folds import rarest, tenths
from tfft.data.store import Ragged, TokenStore

MISTAKES = 20  # that a report keeps
PARTS = 4      # slices by length


def quarters(lengths: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(title, places) of the rows in four parts by length. Rows of one length stay together, so there may be fewer parts.

    lengths: int[n], tokens of the rows before truncation.
    """
    bounds = np.unique(np.quantile(lengths, np.linspace(0, 1, PARTS + 1)[1:], method="higher")) if len(lengths) else []
    part = np.searchsorted(bounds, lengths)
    chosen = [np.flatnonzero(part == i) for i in range(len(bounds))]
    return [(f"{lengths[places].min()} to {lengths[places].max()} tokens", places) for places in chosen]


class Structured(list):
    """A list of an answer that a csv field holds as JSON, also where it is empty."""


class Table(NamedTuple):
    """Lines for a person. shown: those that a terminal has room for, where that is not all; note: what they are then."""

    title: str
    header: tuple[str, ...]
    lines: list[tuple]
    shown: list[tuple] | None = None
    note: str = ""


class Learnt(Protocol):
    """What a task learns from the training rows alone, and what is saved with the run: labels, say."""

    def save(self, folder: Path) -> None: ...


class Nothing:
    """What a task learns that learns nothing from the rows beforehand."""

    def save(self, folder: Path) -> None:
        """There is nothing to save."""


class Chances(NamedTuple):
    """Probabilities of names, for a report on how honest they are and where to cut.

    found float32[n,L] of each of L names; right int32[n]: the place of the one that holds, or float32[n,L], 1 for each that
    does, where a name is chosen when its probability reaches thresholds float32[L]. They may lie on disk.
    """

    names: tuple[str, ...]
    right: np.ndarray
    found: np.ndarray
    thresholds: np.ndarray | None = None


class Evidence(NamedTuple):
    """What an evaluation's metrics are made of, row by row: for slices by any column, intervals, comparisons of runs.

    rows int64[n] of the store, each once; score float64[n]: how right the answer to each is, the higher the better, and what
    that is called ("accuracy"); figures(places int64[m], with repetitions perhaps) -> the metrics of those rows alone, those
    that no number of rows has by itself left out, and those that take long, which slow(places) gives; right(place),
    given(place): for a person. chances: where answers are chosen by probabilities.
    """

    rows: np.ndarray
    score: np.ndarray
    what: str
    figures: Callable[[np.ndarray], dict[str, float]]
    right: Callable[[int], str]
    given: Callable[[int], str]
    slow: Callable[[np.ndarray], dict[str, float]] = lambda places: {}
    chances: Chances | None = None


@dataclasses.dataclass
class Report:
    """What an evaluation found on so many rows.

    tuned: what was chosen on these rows, or used on them, and belongs to the weights (thresholds, say): lists by name.
    mistakes: (place, text, right answer, given answer), the worst first. details: what the written report has besides.
    by_source: of a mixture, the "rows" and "metrics" of each source. evidence: None where a task has none.
    """

    metrics: dict[str, float]
    judged: int
    tables: list[Table] = dataclasses.field(default_factory=list)
    tuned: dict[str, list] | None = None
    mistakes: list[tuple[str, str, str, str]] = dataclasses.field(default_factory=list)
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    by_source: dict[str, dict] = dataclasses.field(default_factory=dict)
    evidence: Evidence | None = None

    def to_json(self, **more) -> str:
        """The figures, after `more`."""
        sources = {"sources": self.by_source} if self.by_source else {}
        return json.dumps({**more, "metrics": self.metrics, "rows": self.judged, **sources, **self.details}, indent=1,
                          ensure_ascii=False)


class Truth(NamedTuple):
    """What rows int64[n] are to be answered with, as `tfft check_data` looks at it.

    what: one word for it, "label"; same: uint64[n], alike where the answers are; shown(place): that of a row, for a person.
    names, codes: what of it is counted, int32 places in names of each row, as often as it has them; kinds: whether each of the
    names needs rows to be learnt from. values: float64[n], where
    answers are numbers. asked: uint64[n], alike where the same is asked; None: as `Task.identity` has it. strict: whether there
    is one right answer to it. one: whether each row has one name, or none (-1), that its text tells, several: any number.
    """

    what: str
    same: np.ndarray
    shown: Callable[[int], str]
    names: tuple[str, ...] = ()
    codes: Ragged | None = None
    kinds: bool = True
    values: np.ndarray | None = None
    asked: np.ndarray | None = None
    strict: bool = True
    one: bool = False
    several: bool = False

    def strata(self) -> np.ndarray | None:
        """int64[n] from 0, of which each fold of a cross-validation is to have its share: a row counts as the rarest of its
        names, or by the tenth of all values that its own is in. None where nothing is counted that needs rows to learn from."""
        if self.values is not None:
            return tenths(self.values)
        return rarest(self.codes, len(self.names)) if self.names and self.kinds else None


class Judged(NamedTuple):
    """What a model made of rows, each exactly once.

    rows int64[n] of the store; examples int64[m], theirs, in their order; units float32[u,D], which may lie on disk: those of
    example i are units[offsets[i]:offsets[i + 1]]; losses float32[m].
    """

    store: TokenStore
    rows: np.ndarray
    examples: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    losses: np.ndarray
    model: keras.Model

    def of_rows(self) -> tuple[np.ndarray, np.ndarray]:
        """(first, last) int64[n]: row i's examples are examples[first[i]:last[i]]."""
        first = np.searchsorted(self.store.row_of(self.examples), self.rows)
        return first, np.append(first[1:], len(self.examples))


class Context(NamedTuple):
    """What an answer depends on beside the units: what was tuned with the weights, a calibration, Task.constants."""

    tuned: dict[str, list] | None = None
    calibration: Any = None
    constants: dict[str, np.ndarray] = {}


class Served(Protocol):
    """What an export hands a task to make its signatures of. Both answer as `Task.respond` does, a row for each row."""

    fields: tuple[str, ...]  # asked fields: string[B] each
    inputs: tuple[str, ...]  # of the backbone: int32[B,S] each

    def of_texts(self, **texts: tf.Tensor) -> dict[str, tf.Tensor]: ...

    def of_examples(self, examples: dict, rows: dict) -> dict[str, tf.Tensor]: ...

    def of_inputs(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]: ...
