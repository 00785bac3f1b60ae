"""Attributions by the slopes of what is explained, at what the encoder's lowest layer gets.

Integrated gradients (Sundararajan et al. 2017): (x - b) times the mean slope on the straight line from b to x. b is the same
example with every token of its texts replaced by the mask token, or padding where a tokenizer has none: what the model was
pretrained to take for "some word stands here". Special tokens, and those of a pattern, stay as they are in b, so nothing is
attributed to them, and what the words add sums to the difference that they make.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.errors import UserError
from tfft.explaining.explanation import COMPLETE
from tfft.models.adaptation import sections
from tfft.models.split import HIDDEN, above_embeddings

FIRST_STEPS, MOST_STEPS = 16, 512
SMALL = 1e-4  # a difference that float32 leaves in a sum of so many


class Integral(NamedTuple):
    """attribution float64[S] of each token; value, rest: what is explained, at x and at b; steps: slopes in the mean."""

    attribution: np.ndarray
    value: float
    rest: float
    steps: int


class Slopes:
    """The model of a run, split at its embeddings. outputs: see tfft.tasks.base.Explained; batch: points computed at once.

    Raises: UserError where the model cannot be split there.
    """

    def __init__(self, run, outputs, batch: int = 32):
        if not sections(run.backbone)[1] or run.experiment.adaptation.method == "prompt":
            raise UserError("Slopes are taken at what the lowest layer of the encoder gets, and in this run's model "
                            f"({run.experiment.model.backbone}, adaptation.method={run.experiment.adaptation.method}) that is "
                            "not the words alone. Use --method=occlusion, which asks nothing but the model's answers.")
        self._lower, self._upper = above_embeddings(run.backbone, run.model)
        mask = getattr(run.tokenizer, "mask_token_id", None)
        self._blank = int(run.tokenizer.pad_token_id if mask is None else mask)
        self._outputs, self._batch = outputs, batch
        one = {name: tf.TensorSpec([1, None], tf.int32) for name in run.model.input}
        points = tf.TensorSpec([None, None, self._lower.output.shape[-1]], tf.float32)
        self._begin = tf.function(lambda inputs: self._lower(inputs, training=False), autograph=False, input_signature=[one])
        self._slope = tf.function(self._value_and_slope, autograph=False,
                                  input_signature=[one, points, tf.TensorSpec([], tf.int32)])

    def _value_and_slope(self, inputs: dict, hidden: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """inputs int32[1,S], hidden float32[k,S,H] -> float32[k], and its slope float32[k,S,H]"""
        points = tf.shape(hidden)[0]
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            inputs = {name: tf.repeat(value, points, axis=0) for name, value in inputs.items()}
            value = self._outputs(self._upper({**inputs, HIDDEN: hidden}, training=False), at)
        return value, tape.gradient(value, hidden)

    def _ends(self, inputs: dict, of_word: tf.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """x and b float32[S,H] of inputs int32[1,S]; of_word bool[S]: whether a token is of the texts."""
        blank = {**inputs, "token_ids": tf.where(of_word[tf.newaxis], self._blank, inputs["token_ids"])}
        return self._begin(inputs).numpy()[0], self._begin(blank).numpy()[0]

    def integrated(self, inputs: dict, of_word: tf.Tensor, at: int) -> Integral:
        """Integrated gradients; steps are doubled until they sum to the difference of both ends, or there are too many.

        The mean is taken by Gauss-Legendre's rule, exact for slopes that are a polynomial of degree 2 x steps - 1 on the line.
        """
        x, b = self._ends(inputs, of_word)
        value, rest = self._slope(inputs, tf.constant(np.stack([x, b])), tf.constant(at))[0].numpy().astype(float).tolist()
        steps = FIRST_STEPS
        while True:
            attribution = self._mean_slope(inputs, x, b, at, steps) * (x - b)
            missing = abs(attribution.sum() - (value - rest))
            if missing <= max(COMPLETE * abs(value - rest), SMALL) or steps >= MOST_STEPS:
                return Integral(attribution.sum(axis=1), value, rest, steps)
            steps *= 2

    def _mean_slope(self, inputs: dict, x: np.ndarray, b: np.ndarray, at: int, steps: int) -> np.ndarray:
        """float64[S,H]"""
        places, weights = np.polynomial.legendre.leggauss(steps)  # on -1..1
        total = np.zeros(x.shape)
        for begin in range(0, steps, self._batch):
            part = ((places[begin:begin + self._batch] + 1) / 2).astype(np.float32)[:, np.newaxis, np.newaxis]
            slope = self._slope(inputs, tf.constant(b + part * (x - b)), tf.constant(at))[1].numpy()
            total += np.tensordot(weights[begin:begin + self._batch] / 2, slope.astype(np.float64), axes=1)
        return total

    def times_input(self, inputs: dict, at: int) -> tuple[np.ndarray, float]:
        """(float64[S], value): the slope at x times x, which is no difference of anything and sums to nothing in particular."""
        x = self._begin(inputs)
        value, slope = self._slope(inputs, x, tf.constant(at))
        return (x.numpy()[0].astype(np.float64) * slope.numpy()[0]).sum(axis=1), float(value[0])
