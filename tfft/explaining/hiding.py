"""Words hidden behind the mask token, and what the number that is explained is then."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.models.kernels import fast_cpu, on_cpu


def blank_of(tokenizer) -> int:
    """What a hidden token is: the mask token, which a model was pretrained to take for "some word stands here", or padding
    where a tokenizer has none."""
    mask = getattr(tokenizer, "mask_token_id", None)
    return int(tokenizer.pad_token_id if mask is None else mask)


def hidden(inputs: dict[str, tf.Tensor], of_hidden: np.ndarray, blank: int) -> dict[str, tf.Tensor]:
    """inputs int32[K,S], bool[n,K,S]: the tokens to be hidden -> inputs int32[n x K,S]"""
    shape = of_hidden.shape
    made = {name: np.broadcast_to(value.numpy(), shape).reshape(-1, shape[-1]) for name, value in inputs.items()}
    made["token_ids"] = np.where(of_hidden.reshape(-1, shape[-1]), blank, made["token_ids"])
    return {name: tf.constant(value, tf.int32) for name, value in made.items()}


class Values:
    """The number of a model's answers that is explained, of many examples. outputs: see tfft.tasks.reasons.Explained."""

    def __init__(self, model, outputs: Callable[[Any, tf.Tensor], tf.Tensor], batch: int):
        self._model, self._outputs, self._batch = model, outputs, batch
        self._run = tf.function(self._values, autograph=False, reduce_retracing=True)

    def _values(self, inputs: dict[str, tf.Tensor], at: tf.Tensor) -> tf.Tensor:
        with fast_cpu(on_cpu()):
            return self._outputs(self._model(inputs, training=False), at)

    def __call__(self, inputs: dict[str, tf.Tensor], at: np.ndarray) -> np.ndarray:
        """inputs int32[n x K,S], the K examples of a number one after another; at int32[n,A] -> float64[n]"""
        each = len(inputs["token_ids"]) // len(at)
        step, made = max(1, self._batch // each), []
        for begin in range(0, len(at), step):
            part = {name: value[begin * each:(begin + step) * each] for name, value in inputs.items()}
            made.append(self._run(part, tf.constant(at[begin:begin + step], tf.int32)).numpy())
        return np.concatenate(made).astype(np.float64)
