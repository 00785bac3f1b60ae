"""Runs a model over rows, each exactly once, and judges what comes out."""

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import orbit
import tensorflow as tf

from tfft.data.pipeline import Epochs, distributed
from tfft.data.plan import PlanSettings, few_buckets
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.evaluation import metrics
from tfft.models.kernels import fast_cpu, on_cpu
from tfft.training.hosts import Hosts


def resolve_thresholds(task, given: np.ndarray | None) -> np.ndarray | None:
    """float32[L], what a label's probability must reach: the given thresholds, or 0.5. None unless several labels may hold."""
    if task.problem != "multi_label":
        return None
    return np.full(task.outputs, 0.5, np.float32) if given is None else given


@dataclasses.dataclass
class Report:
    """What an evaluation found. thresholds: float32[L] where several labels may hold, else None. rows int64[n] of the
    store, targets, probabilities and logits float32[n,outputs] are in the same order; regression: targets and probabilities
    are values in the data's own unit. slices: the metrics of parts of the rows, where somebody asked for them."""

    metrics: dict[str, float]
    per_label: list[dict]
    thresholds: np.ndarray | None
    rows: np.ndarray
    targets: np.ndarray
    probabilities: np.ndarray
    logits: np.ndarray
    slices: list[dict] = dataclasses.field(default_factory=list)

    def to_json(self, **details) -> str:
        """The figures, after `details`."""
        return json.dumps({**details, "metrics": self.metrics, "rows": len(self.rows), "per_label": self.per_label,
                           "slices": self.slices,
                           "thresholds": None if self.thresholds is None else [float(t) for t in self.thresholds]},
                          indent=1, ensure_ascii=False)


class Evaluator(orbit.AbstractEvaluator):
    """Orbit's evaluation of one split. Thresholds are tuned on it where `tune`, else used as given."""

    def __init__(self, model, task, store: TokenStore, rows: np.ndarray, *, pad_id: int, batch_size: int,
                 max_length: int, strategy, tune: bool = False, thresholds: np.ndarray | None = None,
                 progress: Callable[[int, int], None] = lambda done, total: None, xla: bool = False,
                 hosts: Hosts | None = None):
        self._model, self._task, self._store, self._strategy = model, task, store, strategy
        self._hosts = hosts or Hosts(strategy)
        self.rows = task.known_rows(store, rows)
        self._pad_id, self._tune, self._progress = pad_id, tune, progress
        self._thresholds = resolve_thresholds(task, thresholds)
        replicas = strategy.num_replicas_in_sync
        batch_size = -(-batch_size // replicas) * replicas
        self._xla = xla  # compiled: few shapes, all static
        settings = PlanSettings(batch_size=batch_size, max_length=max_length, shuffle=False, multiple=replicas,
                                length_multiple=1 if on_cpu() else 8, buckets=few_buckets(max_length) if xla else (),
                                run_length=1 if xla else 0)
        self._forward = tf.function(self._answer, reduce_retracing=not xla)
        self._epochs = Epochs(lambda epoch: (store, self.rows, self.rows), settings)
        self._targets = task.targets(store, weighted=False)
        self.report: Report | None = None

    def evaluate(self, num_steps=None) -> dict[str, float]:
        """All rows; returns the metrics and keeps the whole report.

        Raises: UserError where there is no row to judge, or the model answers something that is not a number.
        """
        if not len(self.rows):
            raise UserError("No row has a label that the model knows: there is nothing to evaluate on.")
        logits = self._logits()
        targets = self._targets(self.rows)[0]
        loss = float(tf.reduce_mean(self._task.loss(tf.constant(targets), tf.constant(logits))))
        probabilities = self._task.probabilities(tf.constant(logits)).numpy()
        if self._task.problem == "regression":
            labels = self._task.labels
            targets = targets * labels.deviation + labels.mean
        thresholds = self._thresholds
        if self._tune:
            thresholds = metrics.tune_thresholds(targets, probabilities)
        made, per_label = metrics.compute(self._task.problem, targets, probabilities, self._task.labels.names, thresholds)
        # what is decided by them must be decided alike, and processors differ in their last bits
        made = json.loads(self._hosts.from_chief(json.dumps({**made, "loss": loss})))
        self.report = Report(made, per_label, thresholds, self.rows, targets, probabilities, logits)
        return self.report.metrics

    def _logits(self) -> np.ndarray:
        """float32[n,outputs] in the order of self.rows."""
        logits = np.zeros((len(self.rows), self._task.outputs), np.float32)
        seen = np.zeros(len(self.rows), np.int64)
        steps = self._epochs.num_batches(0)
        for step, (indices, values) in enumerate(self._batches(steps)):
            known = indices >= 0  # the rest is filling
            logits[indices[known]] = values[known]
            seen[indices[known]] += 1
            self._progress(step + 1, steps)
        logits, seen = self._hosts.total(logits), self._hosts.total(seen)  # each host has zeros where others computed
        assert (seen == 1).all(), "each row is judged once"
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(bad):
            raise UserError(f"The model's answer is not a finite number for {len(bad):,} of {len(self.rows):,} rows, such as "
                            f"{self._store.place(self.rows[bad[0]])}. Its weights have diverged: train with a lower "
                            "--config.train.peak_learning_rate or with --config.train.precision=float32.")
        return logits

    def _batches(self, steps: int):
        """(indices int64[b], logits float32[b,outputs]) of each batch."""
        start = 0
        while start < steps:
            stop = self._epochs.same_shape_until(start, steps) if self._xla else steps
            shape = self._epochs.shape(start) if self._xla else None
            yield from self._answers(start, stop, shape)
            start = stop

    def _answers(self, start: int, stop: int, shape: tuple[int, int] | None):
        strategy = self._strategy
        for batch in distributed(strategy, self._epochs, self._targets, pad_id=self._pad_id, inputs=tuple(self._model.input),
                                 target_shape=self._task.target_shape, target_dtype=self._task.target_dtype, start=start,
                                 stop=stop, shape=shape):
            logits, indices = self._forward(batch)
            yield np.concatenate([i.numpy() for i in strategy.experimental_local_results(indices)]), np.concatenate(
                [v.numpy() for v in strategy.experimental_local_results(logits)])

    def _answer(self, batch):
        def replica(batch):
            with fast_cpu(on_cpu() and not self._xla):
                return self._model(batch[0], training=False), batch[3]

        return self._strategy.run(replica, args=(batch,))
