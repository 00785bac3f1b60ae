"""Attributions by the slopes of what is explained, at what the encoder's lowest layer gets.

Integrated gradients (Sundararajan et al. 2017): (x - b) times the mean slope on the straight line from b to x. b is the same
examples with every token of their texts hidden (tfft.explaining.hiding). Special tokens, and those of a pattern, stay as they
are in b, so nothing is attributed to them, and what the words add sums to the difference that they make.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.errors import UserError
from tfft.explaining.explanation import COMPLETE
from tfft.explaining.hiding import blank_of, hidden
from tfft.models.adaptation import sections
from tfft.models.split import HIDDEN, above_embeddings

FIRST_STEPS, MOST_STEPS = 16, 512
SMALL = 1e-4  # a difference that float32 leaves in a sum of so many


class Integral(NamedTuple):
    """attribution float64[K,S] of each token of K examples; value, rest: what is explained, at x and at b; steps: slopes in the
    mean."""

    attribution: np.ndarray
    value: float
    rest: float
    steps: int


class Slopes:
    """The model of a run, split at its embeddings. outputs: see tfft.tasks.reasons.Explained; batch: sequences at once.

    Raises: UserError where the model cannot be split there.
    """

    def __init__(self, run, outputs, batch: int = 32):
        if not sections(run.backbone)[1] or run.experiment.adaptation.method == "prompt":
            raise UserError("Slopes are taken at what the lowest layer of the encoder gets, and in this run's model "
                            f"({run.experiment.model.backbone}, adaptation.method={run.experiment.adaptation.method}) that is "
                            "not the words alone. Use --method=occlusion, which asks nothing but the model's answers.")
        self._lower, self._upper = above_embeddings(run.backbone, run.model)
        self._blank = blank_of(run.tokenizer)
        self._outputs, self._batch = outputs, batch
        one = {name: tf.TensorSpec([None, None], tf.int32) for name in run.model.input}
        points = tf.TensorSpec([None, None, None, self._lower.output.shape[-1]], tf.float32)
        self._begin = tf.function(lambda inputs: self._lower(inputs, training=False), autograph=False, input_signature=[one])
        self._slope = tf.function(self._value_and_slope, autograph=False,
                                  input_signature=[one, points, tf.TensorSpec([None], tf.int32)])

    def _value_and_slope(self, inputs: dict, points: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """inputs int32[K,S], points float32[k,K,S,H], at int32[A] -> float32[k], and its slope float32[k,K,S,H]"""
        count = tf.shape(points)[0]
        with tf.GradientTape() as tape:
            tape.watch(points)
            inputs = {name: tf.tile(value, [count, 1]) for name, value in inputs.items()}
            flat = tf.reshape(points, tf.concat([tf.shape(inputs["token_ids"]), tf.shape(points)[-1:]], axis=0))
            flat.set_shape([None, None, points.shape[-1]])
            value = self._outputs(self._upper({**inputs, HIDDEN: flat}, training=False), tf.tile(at[tf.newaxis], [count, 1]))
        return value, tape.gradient(value, points)

    def integrated(self, inputs: dict, of_word: np.ndarray, at: np.ndarray) -> Integral:
        """Integrated gradients of inputs int32[K,S] for the number at int32[A]; of_word bool[K,S]: whether a token is of the
        texts. Steps are doubled until they sum to the difference of both ends, or there are too many.

        The mean is taken by Gauss-Legendre's rule, exact for slopes that are a polynomial of degree 2 x steps - 1 on the line.
        """
        x, b = (self._begin(one).numpy() for one in (inputs, hidden(inputs, of_word[np.newaxis], self._blank)))
        at = tf.constant(at, tf.int32)
        value, rest = (float(self._slope(inputs, tf.constant(end[np.newaxis]), at)[0][0]) for end in (x, b))
        steps = FIRST_STEPS
        while True:
            attribution = self._mean_slope(inputs, x, b, at, steps) * (x - b)
            missing = abs(attribution.sum() - (value - rest))
            if missing <= max(COMPLETE * abs(value - rest), SMALL) or steps >= MOST_STEPS:
                return Integral(attribution.sum(axis=-1), value, rest, steps)
            steps *= 2

    def _mean_slope(self, inputs: dict, x: np.ndarray, b: np.ndarray, at: tf.Tensor, steps: int) -> np.ndarray:
        """float64[K,S,H]"""
        places, weights = np.polynomial.legendre.leggauss(steps)  # on -1..1
        total = np.zeros(x.shape)
        count = max(1, self._batch // len(x))
        for begin in range(0, steps, count):
            part = ((places[begin:begin + count] + 1) / 2).astype(np.float32)[:, np.newaxis, np.newaxis, np.newaxis]
            slope = self._slope(inputs, tf.constant(b + part * (x - b)), at)[1].numpy()
            total += np.tensordot(weights[begin:begin + count] / 2, slope.astype(np.float64), axes=1)
        return total

    def times_input(self, inputs: dict, at: np.ndarray) -> tuple[np.ndarray, float]:
        """(float64[K,S], value): the slope at x times x, which is no difference of anything and sums to nothing."""
        x = self._begin(inputs)
        value, slope = self._slope(inputs, x[tf.newaxis], tf.constant(at, tf.int32))
        return (x.numpy().astype(np.float64) * slope.numpy()[0]).sum(axis=-1), float(value[0])
