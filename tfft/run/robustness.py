"""A run's metric on its rows as people also write them: with typos, in other case, without punctuation, with blanks amiss, with
words lost or moved. Two strengths of each; the rows are read again, changed, and judged as evaluate judges them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder
from tfft.config import split_share
from tfft.data.prepare import Preparer, Split, load_splits
from tfft.data.sources import Row
from tfft.data.splits import draw
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.run.judge import judged
from tfft.run.workdir import Run
from tfft.training.summaries import Console, table

NOISES = (("typos", "typos", 0.05), ("typos", "typos", 0.15), ("case", "lower", 1.0), ("case", "upper", 1.0),
          ("punctuation", "punctuation", 0.5), ("punctuation", "punctuation", 1.0), ("whitespace", "whitespace", 0.05),
          ("whitespace", "whitespace", 0.15), ("words", "words", 0.05), ("words", "words", 0.15))


class Noisy(NamedTuple):
    """What became of the rows under one noise; metrics {} where a task cannot be judged under it."""

    noise: str
    strength: str
    changed: int
    metrics: dict[str, float]


class Robustness(NamedTuple):
    """metrics: of the rows as they are. metric: the one that the run is judged by."""

    name: str
    metric: str
    rows: int
    metrics: dict[str, float]
    noisy: list[Noisy]

    def told(self) -> str:
        clean = self.metrics[self.metric]
        lines = [("none", "", "", f"{clean:.4f}", "")]
        for one in self.noisy:
            value = one.metrics.get(self.metric)
            if value is None:
                lines.append((one.noise, one.strength, "-", "", ""))
            else:
                share = f"{one.changed / self.rows:.1%}"
                lines.append((one.noise, one.strength, share, f"{value:.4f}", f"{value - clean:+.4f}"))
        return f"{self.name}: {self.rows:,} rows\n{table(lines, ('noise', 'strength', 'rows changed', self.metric, 'change'))}"

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "metrics": self.metrics,
                "noise": [{"noise": one.noise, "strength": one.strength, "changed": one.changed, "metrics": one.metrics}
                          for one in self.noisy]}


def measure(run: Run, name: str, rows: int, seed: int, console: Console) -> Robustness:
    """rows: how many of the split at most, 0: all. Raises: UserError where there are none, or none has a right answer then."""
    tf.get_logger().setLevel("ERROR")  # it warns of each further evaluation in one process
    data, cache = run.experiment.data, cache_folder(run.experiment.data.cache)
    if data.sources:
        raise UserError("--robustness is for runs of one source: the rows of a mixture are read in several ways.")
    preparer = Preparer(data, run.reading(cache), cache, console.say)
    splits = load_splits(preparer)
    if name not in splits:
        raise UserError(f"The run has no {name} split: name another --split.")
    split = splits[name]
    chosen = draw(split.rows, split.store.column("id_hash")[split.rows], rows)
    clean, _ = judged(run, preparer.judged_with(Split(name, split.store, chosen)), console)
    made = []
    for noise, kind, share in NOISES:
        strength = kind if noise == "case" else f"{share:.0%}"
        console.say(f"{noise}, {strength}")
        with tempfile.TemporaryDirectory() as folder:
            read = _Read(run, preparer, split, chosen)
            store = read.store(Path(folder), kind, share, seed)
            if store is None:
                made.append(Noisy(noise, strength, 0, {}))
                continue
            noisy, _ = judged(run, preparer.judged_with(Split(name, store, np.arange(len(store)))), console)
            made.append(Noisy(noise, strength, read.changed, noisy.metrics))
    if not any(one.metrics for one in made):
        raise UserError(f"--robustness: what config.task.name={run.experiment.task.name} is judged by changes with the text.")
    return Robustness(name, run.experiment.eval.metric.rpartition("/")[2], clean.judged, clean.metrics, made)


class _Read:
    """Some rows of a split, read from their source once more. changed: how many of them a noise changed."""

    def __init__(self, run: Run, preparer: Preparer, split: Split, rows: np.ndarray):
        self._task, self._preparer, self._split, self._rows = run.task, preparer, split, rows
        self.changed = 0

    def store(self, folder: Path, kind: str, share: float, seed: int) -> TokenStore | None:
        """Their store under a noise; None where it leaves no right answer."""
        rows = self._changed(kind, share, seed)
        first = next(rows, None)
        if first is None:
            return None
        self._preparer.write(folder, _before(first, rows))
        return TokenStore(folder)

    def _changed(self, kind: str, share: float, seed: int) -> Iterator[Row]:
        for row in self._read():
            values = self._task.disturbed(row.values, kind, share, seed)
            if values is None:
                return
            self.changed += values != row.values
            yield row._replace(values=values)

    def _read(self) -> Iterator[Row]:
        data, name, wanted = self._preparer.data, self._split.name, set(self._rows.tolist())
        spec, = data.specs(name)
        spec = data.train if split_share(spec) is not None else spec
        for number, row in enumerate(self._preparer.source(spec).rows()):
            if number in wanted:
                if self._split.store.string("id", number) != row.id:
                    raise UserError(f"{row.file}:{row.line}: the rows have changed since they were read. Run it again.")
                yield row


def _before(first: Row, rows: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rows
