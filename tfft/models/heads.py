"""Backbone + pooling + dropout + head: a Keras functional model with float32 logits."""

import keras
import numpy as np
from keras import ops

from tfft.config import Model
from tfft.models.backbone import pooled_output, sequence_output


@keras.saving.register_keras_serializable("tfft")
class Pooling(keras.layers.Layer):
    """(f[B,S,H], padding_mask int32[B,S]) -> f[B,H]: mean or maximum over the real tokens, or the first one; weighted_mean:
    the mean with the weights 1, 2, 3, ... (Muennighoff 2022, section 4.1).

    mean of [[1], [3], [9]] under mask [1, 1, 0] is [2], weighted_mean [7/3]
    """

    def __init__(self, kind: str, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, sequence, padding_mask):
        if self.kind == "cls":
            return sequence[:, 0, :]
        sequence = ops.cast(sequence, "float32")
        mask = ops.expand_dims(ops.cast(padding_mask, "float32"), -1)
        if self.kind == "max":
            return ops.max(sequence - (1 - mask) * 1e9, axis=1)
        if self.kind == "weighted_mean":
            mask *= ops.cumsum(mask, axis=1)
        return ops.sum(sequence * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


def pooled_vector(backbone, config: Model):
    """Symbolic f[B,H]: a text as one vector, by the setting `pooling`."""
    if config.pooling == "pooled":
        return pooled_output(backbone)
    return Pooling(config.pooling, name="pooling")(sequence_output(backbone), backbone.input["padding_mask"])


def pooled_classifier(backbone, config: Model, outputs: int, seed: int, bias: np.ndarray | None = None) -> keras.Model:
    """{inputs int32[B,S]} -> logits float32[B, outputs]. The head is drawn from a truncated normal of deviation 0.02,
    as BERT's own is; bias float[outputs]: where its biases begin, else at 0."""
    vector = keras.layers.Dropout(config.head_dropout, seed=seed, name="head_dropout", dtype="float32")(
        pooled_vector(backbone, config))
    head = keras.layers.Dense(outputs, name="head", dtype="float32",
                              bias_initializer="zeros" if bias is None else keras.initializers.Constant(bias.tolist()),
                              kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02, seed=seed))
    return keras.Model(backbone.input, head(vector), name="classifier")
