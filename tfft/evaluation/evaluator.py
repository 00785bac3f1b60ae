"""Runs a model over rows, each exactly once, and lets the task judge what comes out."""

import json
from collections.abc import Callable

import numpy as np
import orbit
import tensorflow as tf

from tfft.data.pipeline import Epochs, Reader, distributed
from tfft.data.plan import PlanSettings, few_buckets
from tfft.data.scratch import IN_MEMORY, let_go, parts, scratch
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.evaluation.by_source import of_source
from tfft.evaluation.slices import with_loss
from tfft.models.kernels import fast_cpu, on_cpu
from tfft.tasks.base import Judged, Report, Task
from tfft.training.hosts import Hosts


class Evaluator(orbit.AbstractEvaluator):
    """Orbit's evaluation of one split. What a task tunes (thresholds, say) is tuned on it where `tune`, else used as given.
    sources: of a mixture, see tfft.data.prepare.Split; each is judged by itself besides, by what was tuned on all.
    forward, hidden: the upper part of the model, and what its lower one makes of examples; see tfft.models.split."""

    def __init__(self, model, task: Task, store: TokenStore, rows: np.ndarray, *, pad_id: int, batch_size: int,
                 max_length: int, strategy, tune: bool = False, tuned: dict[str, list] | None = None,
                 progress: Callable[[int, int], None] = lambda done, total: None, xla: bool = False,
                 hosts: Hosts | None = None, sources: dict[str, range] | None = None, forward=None, hidden=None):
        self._sources = sources or {}
        self._model, self._task, self._store, self._strategy = model, task, store, strategy
        self._hosts = hosts or Hosts(strategy)
        self.rows = task.can_judge(store, rows)
        self._examples = store.examples_of(self.rows)
        self._tune, self._tuned, self._progress = tune, tuned, progress
        replicas = strategy.num_replicas_in_sync
        batch_size = -(-batch_size // replicas) * replicas
        self._xla = xla  # compiled: few shapes, all static
        settings = PlanSettings(batch_size=batch_size, max_length=max_length, shuffle=False, multiple=replicas,
                                length_multiple=1 if on_cpu() else 8, buckets=few_buckets(max_length) if xla else (),
                                run_length=1 if xla else 0)
        self._model_of_inputs = forward or model
        self._forward = tf.function(self._answer, autograph=False, reduce_retracing=not xla)
        self._epochs = Epochs(lambda epoch: (store, self._examples, self._examples), settings)
        self._reader = Reader(tuple(model.input), pad_id, task.targets(store, weighted=False), task.target_specs,
                              drawn=task.drawn, hidden=hidden)
        self.report: Report | None = None

    @property
    def steps(self) -> int:
        """How many batches an evaluation has."""
        return self._epochs.num_batches(0)

    def evaluate(self, num_steps=None) -> dict[str, float]:
        """All rows; returns the metrics, those of a source by "source/metric", and keeps the whole report.

        Raises: UserError where there is no row to judge, or the model answers something that is not a number.
        """
        if not len(self.rows):
            raise UserError(f"There is nothing to evaluate on: no row {self._task.nothing_to_judge()}.")
        judged = self._judged()
        report = self._reported(judged, self._tuned, self._tune)
        end = max((rows.stop for rows in self._sources.values()), default=0)
        for name, source in self._sources.items():
            own = of_source(judged, source, end)
            if ((own.rows >= source.start) & (own.rows < source.stop)).any():
                found = self._reported(own, report.tuned or self._tuned, False)
                report.by_source[name] = {"rows": found.judged, "metrics": found.metrics}
        # what is decided by them must be decided alike, and processors differ in their last bits
        report.metrics, report.by_source = json.loads(self._hosts.from_chief(json.dumps([report.metrics, report.by_source])))
        self.report = report
        return {**report.metrics, **{f"{name}/{metric}": value for name, found in report.by_source.items()
                                     for metric, value in found["metrics"].items()}}

    def _reported(self, judged: Judged, tuned: dict[str, list] | None, tune: bool) -> Report:
        report = self._task.judge(judged, tuned, tune)
        if "loss" not in report.metrics:
            weights = np.diff(judged.offsets)
            loss = float(np.sum(judged.losses * weights, dtype=np.float64) / max(1, weights.sum()))
            report.metrics = {**report.metrics, "loss": loss}
            report.evidence = with_loss(report.evidence, judged)
        return report

    def _judged(self) -> Judged:
        """Every example's units and loss, in their order; units lie on disk where they are many."""
        examples = self._examples
        offsets = np.concatenate([[0], np.cumsum(self._task.units(self._store, examples))]).astype(np.int64)
        units = scratch((int(offsets[-1]), self._task.width))
        losses, seen = np.zeros(len(examples), np.float32), np.zeros(len(examples), np.int64)
        steps, written = self.steps, 0
        for step, (indices, values, loss) in enumerate(self._batches(steps)):
            written += values.nbytes
            if written > IN_MEMORY // 16:  # a page that is written to brings 15 others with it
                let_go(units)
                written = 0
            for i, index in enumerate(indices):
                if index >= 0:  # the rest is filling
                    begin, end = offsets[index], offsets[index + 1]
                    units[begin:end] = values[i, :end - begin]
                    losses[index] = loss[i]
                    seen[index] += 1
            self._progress(step + 1, steps)
        if self._hosts.count > 1:  # each host has zeros where others computed
            losses, seen = self._hosts.total(losses), self._hosts.total(seen)
            for part in parts(len(units), self._task.width):
                units[part] = self._hosts.total(np.asarray(units[part]))
        assert (seen == 1).all(), "each example is judged once"
        self._check_finite(units, offsets)
        return Judged(self._store, self.rows, examples, units, offsets, losses, self._model)

    def _check_finite(self, units: np.ndarray, offsets: np.ndarray) -> None:
        bad = [np.zeros(0, np.int64)]
        for part in parts(len(units), self._task.width):
            bad.append(np.flatnonzero(~np.isfinite(units[part]).all(axis=1)) + part.start)
            let_go(units)
        bad = np.concatenate(bad)
        if not len(bad):
            return
        rows = np.unique(self._store.row_of(self._examples[np.searchsorted(offsets, bad, "right") - 1]))
        raise UserError(f"The model's answer is not a finite number for {len(rows):,} of {len(self.rows):,} rows, such as "
                        f"{self._store.place(rows[0])}. Its weights have diverged: train with a lower "
                        "--config.train.peak_learning_rate or with --config.train.precision=float32.")

    def _batches(self, steps: int):
        """(indices int64[b], units float32[b,U,D], losses float32[b]) of each batch."""
        start = 0
        while start < steps:
            stop = self._epochs.same_shape_until(start, steps) if self._xla else steps
            shape = self._epochs.shape(start) if self._xla else None
            yield from self._answers(start, stop, shape)
            start = stop

    def _answers(self, start: int, stop: int, shape: tuple[int, int] | None):
        strategy = self._strategy
        for batch in distributed(strategy, self._epochs, self._reader, start=start, stop=stop, shape=shape):
            yield tuple(np.concatenate([part.numpy() for part in strategy.experimental_local_results(made)])
                        for made in self._forward(batch))

    def _answer(self, batch):
        def replica(batch):
            inputs, targets, _, indices = batch
            with fast_cpu(on_cpu() and not self._xla):
                outputs = self._model_of_inputs(inputs, training=False)
            # an example by itself may have no loss: the task makes one of the units, if it wants one
            alone = not self._task.whole_batch and not self._task.sequences and not self._task.judges_loss
            losses = self._task.loss(targets, outputs) if alone else tf.zeros_like(indices, tf.float32)
            return indices, self._task.emit(outputs, targets), losses

        return self._strategy.run(replica, args=(batch,))
