"""Rows in, what the task responds out: a run's model behind its encoder, in this process."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder
from tfft.config import Experiment
from tfft.data.tokenize import features
from tfft.models.inference import Arranged
from tfft.models.kernels import on_cpu
from tfft.tasks.base import Context


class Opened(Protocol):
    """What answers rows of a run that tfft.run.workdir.open_run has opened."""

    experiment: Experiment
    task: Any
    model: keras.Model
    backbone: keras.Model
    tokenizer: Any
    tuned: dict[str, list] | None

    def reading(self, cache) -> Any: ...


class Predictor:
    """A run's model behind its encoder: rows -> what the task responds, as an export does.

    Computes on a CPU as a server does (tfft.models.inference), with the weights that the model has now; plainly: with Keras's
    own layers. unknown: int64[4], what tfft.data.unknown counted of all rows so far.
    """

    def __init__(self, run: Opened, batch_size: int = 64, calibration: Any = None, plainly: bool = False):
        self.task, self._model, self._batch_size = run.task, run.model, batch_size
        self.separator = self.task.separator
        self._context = Context(run.tuned, calibration, run.task.constants(run.model))
        reading = run.reading(cache_folder(run.experiment.data.cache))
        self.encoder, self.fields = reading.encoder, reading.encoder.fields
        self.unknown = np.zeros(4, np.int64)
        self._kernels = contextlib.nullcontext if plainly or not on_cpu() else _as_served(run.model)
        self._encode = tf.function(functools.partial(self.encoder.asked, counted=True), autograph=False, reduce_retracing=True)
        self._forward = tf.function(self._units, autograph=False, reduce_retracing=True)
        self._respond = tf.function(self._responded, autograph=False, reduce_retracing=True)

    def _units(self, examples):
        inputs = features(examples, self.encoder.pad_id, tuple(self._model.input), multiple=8)
        with self._kernels():
            return self.task.compute(self._model, inputs, self.task.extras(examples))

    def _responded(self, examples, rows, units):
        return self.task.respond(examples, rows, units, self._context)

    def encode(self, rows: Sequence[dict[str, Any]]) -> tuple[dict, dict]:
        """(columns of examples, columns of rows), by the same ops as in training, inside a graph."""
        examples, of_rows = self._encode(**self.encoder.strings(rows))
        if (counted := of_rows.pop("unknown", None)) is not None:
            self.unknown += counted.numpy().sum(axis=0, dtype=np.int64)
        return examples, of_rows

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
        """The response to rows (texts by field), in their order."""
        return self.response(*self.encode(rows))

    def response(self, examples: dict, of_rows: dict) -> dict[str, np.ndarray]:
        """The same of what `encode` made of them; computed by length, so that little padding is."""
        order = np.argsort(examples["length"].numpy(), kind="stable")
        made: list = [None] * len(order)
        counts = self.task.counts(examples)
        counts = np.ones(len(order), np.int64) if counts is None else counts.numpy()
        for begin in range(0, len(order), self._batch_size):
            chosen = order[begin:begin + self._batch_size]
            units = self._forward({name: tf.gather(column, chosen) for name, column in examples.items()}).numpy()
            for example, values in zip(chosen, units, strict=True):
                made[example] = values[:counts[example]]
        units = np.concatenate([*made, np.zeros((0, self.task.answer_width), np.float32)])
        return {name: value.numpy() for name, value in self._respond(examples, of_rows, tf.constant(units)).items()}

    def answers(self, rows: Sequence[dict[str, Any]]) -> list[tuple[dict, dict[str, float]]]:
        """Each row's answer under names a reader understands, and each label's probability where there are labels."""
        return self.task.answers({name: decoded(value) for name, value in self(rows).items()}) if rows else []


def _as_served(model) -> Callable[[], contextlib.AbstractContextManager]:
    """What the model is called in, to compute as a server does."""
    arranged = Arranged(model)
    joined = {key: functools.partial(tuple, [tf.constant(kernel), tf.constant(bias)])
              for key, (kernel, bias) in arranged.joined.items()}
    return functools.partial(arranged, joined, compact=True)


def decoded(values: np.ndarray) -> np.ndarray:
    """bytes -> str, for those that are UTF-8."""
    if values.dtype != object:
        return values
    made = np.empty(values.shape, object)
    for place, value in np.ndenumerate(values):
        made[place] = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return made


def rounded(value):
    """An answer with its numbers rounded, lists and dicts in it too."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return type(value)(rounded(one) for one in value) if isinstance(value, list) else value
