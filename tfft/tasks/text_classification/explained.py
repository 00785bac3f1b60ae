"""What of a classifier's answers is explained: the log odds of a label, or the value."""

import numpy as np
import tensorflow as tf

from tfft.data.word_places import WordPlaces
from tfft.tasks.base import Explained

LEAST = 1e-37  # a probability that float32 has rounded to 0


def explained(task, encoder) -> Explained:
    """Log odds: log of a label's probability over that of all others, or over that of its absence where several labels may
    hold. Unlike the probability they do not stand still where the model is sure."""
    words = WordPlaces(encoder)
    if task.problem == "regression":
        return Explained(("value",), "value", lambda logits, at: logits[:, at] * task.labels.deviation + task.labels.mean,
                         lambda response, at: np.asarray(response["value"], np.float64).reshape(-1), lambda _: [0], words)
    if task.problem == "multi_label":
        return Explained(task.labels.names, "log odds", lambda logits, at: logits[:, at], _several, _selected, words)
    return Explained(task.labels.names, "log odds", _against_others, _single, lambda response: [_highest(response)], words)


def _against_others(logits: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """[[2, 1, 1]], 0 -> [2 - log(e + e)]"""
    others = tf.where(tf.range(tf.shape(logits)[1]) == at, logits.dtype.min / 2, logits)
    return logits[:, at] - tf.reduce_logsumexp(others, axis=1)


def _single(response: dict[str, np.ndarray], at: int) -> np.ndarray:
    scores = np.asarray(response["scores"], np.float64)
    return np.log(np.maximum(scores[:, at], LEAST)) - np.log(np.maximum(np.delete(scores, at, axis=1).sum(axis=1), LEAST))


def _several(response: dict[str, np.ndarray], at: int) -> np.ndarray:
    score = np.asarray(response["scores"], np.float64)[:, at]
    return np.log(np.maximum(score, LEAST)) - np.log(np.maximum(1 - score, 2 ** -25))  # 1 of float32 is more than 1 - 2 ** -25


def _selected(response: dict[str, np.ndarray]) -> list[int]:
    """The labels that hold; where none does, the likeliest one."""
    return np.flatnonzero(response["selected"][0]).tolist() or [_highest(response)]


def _highest(response: dict[str, np.ndarray]) -> int:
    return int(np.argmax(response["scores"][0]))
