"""What a run's own model makes of texts: the vectors that its head is given."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder
from tfft.data.pipeline import token_inputs
from tfft.data.plan import PlanSettings, make_plan
from tfft.data.store import TokenStore
from tfft.data.tokenize import features
from tfft.evaluation.predictor import Opened
from tfft.models.heads import pooled_vector
from tfft.models.kernels import fast_cpu, on_cpu
from tfft.training.summaries import Console
from tfft.vectors.exact import unit

BATCH = 64  # examples that are computed at once


def makes_vectors(run: Opened) -> bool:
    """Whether its model reads tokens and nothing else, and so can have one vector for a text."""
    given = run.backbone.input if run.backbone is not None else ()  # several runs that answer together have no one vector
    inputs = set(given) if isinstance(given, dict) else set()
    return {"token_ids", "padding_mask"} <= inputs <= {"token_ids", "padding_mask", "segment_ids"}


class Vectors:
    """The pooled output of the backbone as it was fine-tuned (config.model.pooling), of length 1. A row of several examples
    (windows of a long text) is their mean. run: one that makes vectors."""

    def __init__(self, run: Opened):
        self._inputs, self._pad_id = set(run.backbone.input), int(run.tokenizer.pad_token_id)
        self._max_length = run.experiment.data.max_length
        self.model = keras.Model(run.backbone.input, pooled_vector(run.backbone, run.experiment.model), name="vectors")
        self.width = self.model.output.shape[-1]
        self._encoder = run.reading(cache_folder(run.experiment.data.cache)).encoder
        self._encode = tf.function(self._encoder.asked, autograph=False, reduce_retracing=True)
        self._forward = tf.function(self._vectors_of, autograph=False, reduce_retracing=True)

    def asked(self, row: dict[str, Any]) -> np.ndarray:
        """float32[1,H] of a row of asked fields."""
        examples, _ = self._encode(**self._encoder.strings([row]))
        made = self._forward(features(examples, self._pad_id, tuple(self._inputs))).numpy()
        return _mean(made, np.zeros(len(made), np.int64), 1)

    def __call__(self, store: TokenStore, rows: np.ndarray, named: str, console: Console) -> np.ndarray:
        """float32[n,H] of rows int64[n] of a store, which ascend. named: what they are called meanwhile."""
        examples = np.asarray(store.examples_of(rows), np.int64)
        plan = make_plan(np.asarray(store.lengths[examples]), PlanSettings(
            batch_size=BATCH, max_length=self._max_length, shuffle=False, length_multiple=1 if on_cpu() else 8), 0)
        names = ("token_ids", "padding_mask", *(["segment_ids"] if "segment_ids" in self._inputs else []))
        made = np.zeros((len(examples), self.width), np.float32)
        console.start(f"vectors of {len(rows):,} {named}", plan.num_batches)
        for number in range(plan.num_batches):
            batch = plan.batch(number)
            places = batch.indices[batch.indices >= 0]
            arrays = token_inputs(store, examples[places], batch.length, self._pad_id, len(names) > 2)
            made[places] = self._forward({name: tf.constant(array) for name, array in zip(names, arrays, strict=True)}).numpy()
            console.advance(number + 1, "")
        console.stop()
        return _mean(made, np.searchsorted(rows, store.row_of(examples)), len(rows))

    def _vectors_of(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        with fast_cpu(on_cpu()):
            return tf.cast(self.model({name: inputs[name] for name in self._inputs}, training=False), tf.float32)


def _mean(vectors: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
    """float32[m,H] of examples, int64[m] whose they are -> float32[n,H] of length 1."""
    made = np.zeros((rows, vectors.shape[1]), np.float32)
    np.add.at(made, row, unit(vectors))
    return unit(made)
