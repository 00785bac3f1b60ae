"""Losses float32[B] of rows with labels."""

import numpy as np
import tensorflow as tf

from tfft.config import TextClassification
from tfft.tasks.text_classification.labels import Labels

OUT = -1e9  # a logit of a label that is left out: its probability and its gradient are 0


def single(targets: tf.Tensor, logits: tf.Tensor, settings: TextClassification, labels: Labels) -> tf.Tensor:
    """targets int32[B], logits float32[B,L]"""
    present, number = _present(settings, labels), logits.shape[-1]
    if present is not None:  # beside the others, a row's own label always counts: an evaluation may have rows of an absent one
        present = tf.maximum(present, tf.one_hot(targets, number))
        logits = tf.where(present > 0, logits, OUT)
    if settings.loss == "focal":  # Lin et al. 2017, equation 4
        return _focal(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits), settings.focal_gamma)
    if not settings.label_smoothing:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    others = 1 / number if present is None else present / tf.reduce_sum(present, axis=-1, keepdims=True)
    goal = tf.one_hot(targets, number) * (1 - settings.label_smoothing) + settings.label_smoothing * others
    return tf.nn.softmax_cross_entropy_with_logits(goal, logits)


def several(targets: tf.Tensor, logits: tf.Tensor, settings: TextClassification, labels: Labels) -> tf.Tensor:
    """Binary cross-entropy, averaged over labels; positives weigh (rows without) / (rows with), 1 to 100, where balanced.
    targets, logits float32[B,L]"""
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    if settings.loss == "focal":
        losses = _focal(losses, settings.focal_gamma)
    if settings.class_weights == "balanced":
        counts = np.maximum(np.asarray(labels.counts, np.float64), 1)
        positive = np.clip((labels.rows - counts) / counts, 1, 100).astype(np.float32)
        losses *= 1 + targets * (positive - 1)
    present = _present(settings, labels)
    if present is not None:
        return tf.reduce_sum(losses * present, axis=-1) / present.sum()
    return tf.reduce_mean(losses, axis=-1)


def _present(settings: TextClassification, labels: Labels) -> np.ndarray | None:
    """float32[L]: 1 for the labels that training rows have, 0 for others; None where all count."""
    present = (np.asarray(labels.counts) > 0).astype(np.float32)
    return None if settings.absent_labels == "wrong" or present.all() or not present.any() else present


def _focal(losses: tf.Tensor, gamma: float) -> tf.Tensor:
    """(1 - p)^gamma x losses, where losses = -log p. 1 - p is kept off 0, where the power's gradient is not finite."""
    return tf.pow(tf.maximum(-tf.math.expm1(-losses), 1e-7), gamma) * losses
