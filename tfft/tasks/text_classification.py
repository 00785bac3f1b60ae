"""Text classification: one label, several labels, or a number, for a text or a pair of texts."""

import keras
import numpy as np
import tensorflow as tf

from tfft import config
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.models.heads import pooled_classifier
from tfft.tasks.labels import LabelColumn, Labels, infer_labels, infer_scale, label_counts


class TextClassificationTask:
    """What is computed for one problem: targets from rows, a model, a loss, and probabilities from logits."""

    def __init__(self, settings: config.TextClassification, labels: Labels):
        self.settings = settings
        self.labels = labels
        self.problem = settings.problem
        self.outputs = 1 if settings.problem == "regression" else len(labels.names)
        self.target_shape = (self.outputs,) if settings.problem == "multi_label" else ()
        self.target_dtype = tf.int32 if settings.problem == "single_label" else tf.float32

    @staticmethod
    def infer(settings: config.TextClassification, store: TokenStore, rows: np.ndarray, given: tuple[str, ...]) -> Labels:
        """The label table of the training rows."""
        if settings.problem == "regression":
            return infer_scale(store.column("value")[rows], settings.standardize)
        return infer_labels(store, rows, given)

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        return pooled_classifier(backbone, model, self.outputs, seed)

    # ---- rows -> targets

    def unknown_labels(self, store: TokenStore, rows: np.ndarray) -> dict[str, int]:
        """Labels among `rows` that the table lacks, with their numbers of rows."""
        if self.problem == "regression":
            return {}
        counts = label_counts(store, rows)
        return {n: int(c) for n, c in zip(store.labels, counts, strict=True) if c and n not in self.labels.names}

    def known_rows(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` that can be judged: single-label rows of a label that the table has, or all."""
        if self.problem != "single_label" or not len(rows):
            return rows
        return rows[LabelColumn(store, self.labels).single(rows) >= 0]

    def targets(self, store: TokenStore, *, weighted: bool):
        """Returns rows int64[b] -> (targets, weights float32[b]); balanced class weights where `weighted`."""
        if self.problem == "regression":
            values = store.column("value")
            return lambda rows: (((values[rows] - self.labels.mean) / self.labels.deviation).astype(np.float32),
                                 np.ones(len(rows), np.float32))
        column = LabelColumn(store, self.labels)
        if self.problem == "multi_label":
            return lambda rows: (column.several(rows), np.ones(len(rows), np.float32))
        by_label = np.ones(self.outputs, np.float32)
        if weighted and self.settings.class_weights == "balanced":
            by_label = self._balanced()

        def single(rows):
            ids = column.single(rows)
            return ids, by_label[ids]

        return single

    def _balanced(self) -> np.ndarray:
        """float32[L] n / (L x rows of the label): each label's rows weigh the same in all."""
        counts = np.asarray(self.labels.counts, np.float64)
        if (counts == 0).any():
            absent = self.labels.names[int(np.argmin(counts))]
            raise UserError(f"config.task.class_weights=balanced, but no training row has the label {absent!r}.")
        return (counts.sum() / (len(counts) * counts)).astype(np.float32)

    # ---- loss

    def loss(self, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Loss float32[B] of each row, unweighted. logits float32[B,L]; targets int32[B], float32[B,L] or float32[B]."""
        if self.problem == "regression":
            return tf.square(logits[:, 0] - targets)
        if self.problem == "multi_label":
            return self._multi_label_loss(targets, logits)
        if self.settings.loss == "focal":  # Lin et al. 2017, equation 4
            return _focal(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits), self.settings.focal_gamma)
        smoothing = self.settings.label_smoothing
        if not smoothing:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        goal = tf.one_hot(targets, self.outputs) * (1 - smoothing) + smoothing / self.outputs
        return tf.nn.softmax_cross_entropy_with_logits(goal, logits)

    def _multi_label_loss(self, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Binary cross-entropy, averaged over labels; positives weigh (rows without) / (rows with), 1 to 100,
        where balanced."""
        losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
        if self.settings.loss == "focal":
            losses = _focal(losses, self.settings.focal_gamma)
        if self.settings.class_weights == "balanced":
            counts = np.maximum(np.asarray(self.labels.counts, np.float64), 1)
            positive = np.clip((self.labels.rows - counts) / counts, 1, 100).astype(np.float32)
            losses *= 1 + targets * (positive - 1)
        return tf.reduce_mean(losses, axis=-1)

    # ---- logits -> answers

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """float32[B,L] probabilities; float32[B,1] values in the data's own unit for regression."""
        if self.problem == "regression":
            return logits * self.labels.deviation + self.labels.mean
        return tf.nn.softmax(logits) if self.problem == "single_label" else tf.nn.sigmoid(logits)


def _focal(losses: tf.Tensor, gamma: float) -> tf.Tensor:
    """(1 - p)^gamma x losses, where losses = -log p. 1 - p is kept off 0, where the power's gradient is not finite."""
    return tf.pow(tf.maximum(-tf.math.expm1(-losses), 1e-7), gamma) * losses
