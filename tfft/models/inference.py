"""A Transformer's encoder layers as a server runs them: the same answers with less work.

    arranged = Arranged(model)                    # once
    with arranged(joined, compact=True):          # while a graph is traced
        logits = model(inputs, training=False)

- compact: real tokens are brought together in one matrix [tokens, width]; padding is multiplied by nothing. Only attention,
  which needs texts apart, sees it.
- Query, key and value are one matrix product, their kernels one variable.
- Products with bias and activation, scores with scale and mask, and (compact) layer normalisation are written as TensorFlow's
  optimiser recognises them: on a CPU they become single oneDNN calls (grappler's remapper, TensorFlow 2.20).

Without much padding, gathering tokens and oneDNN's normalisation cost more than they save
(docs/results/serving.md): so not compact.
Layers of other kinds (DeBERTa's, others with a LoRA or quantised kernel) are left as they are.
"""

import contextlib
import functools
from collections.abc import Callable

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfft.models.kernels import ORIGINAL, normalises_rows, plain, replaced
from tfft.models.places import MATRICES

Encoder = keras_hub.layers.TransformerEncoder


class Arranged:
    """The encoder layers of a model that can be arranged so.

    joined: by layer, NumPy arrays float32[D,3D] and float32[3D], the kernels and biases of query, key and value side by side;
    replaces: the model's variables that they stand for.
    """

    def __init__(self, model: keras.Model):
        self._layers = {id(layer): layer for layer in model._flatten_layers() if isinstance(layer, Encoder) and _usual(layer)}
        self.joined, self.replaces = {}, []
        for key, layer in self._layers.items():
            parts = _projections(layer)
            width = parts[0].kernel.shape[0]
            self.joined[key] = (np.concatenate([part.kernel.numpy().reshape(width, -1) for part in parts], axis=1),
                                np.concatenate([part.bias.numpy().reshape(-1) for part in parts]))
            self.replaces += [v for part in parts for v in (part.kernel, part.bias)]

    def __call__(self, joined: dict[int, Callable], compact: bool) -> contextlib.AbstractContextManager:
        """Inside, the layers compute so. joined: what gives each layer's (kernel, bias) tensors."""
        return replaced(((Encoder, "call", _Trace(self._layers, joined, compact).call()),
                         (keras.layers.LayerNormalization, "call", functools.partialmethod(_normalise, compact=compact))))


def _projections(layer) -> tuple:
    attention = layer._self_attention_layer
    return attention._query_dense, attention._key_dense, attention._value_dense


def _usual(layer) -> bool:
    attention = layer._self_attention_layer
    if type(attention) is not keras.layers.MultiHeadAttention:
        return False
    parts = (*_projections(layer), attention._output_dense, layer._feedforward_intermediate_dense,
             layer._feedforward_output_dense)
    return all(isinstance(part, MATRICES) and part.compute_dtype == "float32" and plain(part) for part in parts)


class _Trace:
    """One pass through a model: remembers which matrix of tokens a padded tensor was made of."""

    def __init__(self, layers: dict, joined: dict[int, Callable], compact: bool):
        self._layers, self._joined, self._compact = layers, joined, compact
        self._rows: dict[int, tuple] = {}
        self._flat: dict[int, tuple] = {}

    def call(self):
        """What takes the place of the layers' own call."""
        trace, original = self, Encoder.call

        def call(layer, inputs, padding_mask=None, attention_mask=None, training=None, return_attention_scores=False):
            usual = (id(layer) in trace._layers and padding_mask is not None and attention_mask is None and not training
                     and not return_attention_scores and inputs.dtype == tf.float32)
            if usual:
                return trace._encode(layer, inputs, padding_mask)
            return original(layer, inputs, padding_mask=padding_mask, attention_mask=attention_mask, training=training,
                            return_attention_scores=return_attention_scores)

        return call

    def _positions(self, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(int32[tokens] where the real tokens are in the flattened mask, int32[B x S] which of them each position takes).

        mask [[1, 1, 0], [1, 0, 0]] -> [0, 1, 3] and [0, 1, 1, 2, 2, 2]: padding takes a neighbour's, which nobody looks at.
        The first position counts as real, so that there is one.
        """
        if id(mask) not in self._rows:
            flat = tf.reshape(tf.cast(mask, tf.int32), [-1])
            flat = tf.maximum(flat, tf.cast(tf.equal(tf.range(tf.size(flat)), 0), tf.int32))
            real = tf.cast(tf.where(flat > 0)[:, 0], tf.int32)
            self._rows[id(mask)] = mask, real, tf.cumsum(flat) - 1
        return self._rows[id(mask)][1:]

    def _bring_together(self, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """float32[B,S,D] or [B x S,D] -> [tokens,D]"""
        x = tf.reshape(x, [-1, x.shape[-1]])
        return tf.gather(x, self._positions(mask)[0]) if self._compact else x

    def _spread(self, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """float32[tokens,D] -> [B,S,D]"""
        x = tf.gather(x, self._positions(mask)[1]) if self._compact else x
        return tf.reshape(x, [tf.shape(mask)[0], tf.shape(mask)[1], x.shape[-1]])

    def _encode(self, layer, inputs: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        known = self._flat.get(id(inputs))
        x = known[1] if known else self._bring_together(inputs, mask)
        first = layer.normalize_first
        x = self._attend(layer, layer._self_attention_layer_norm(x) if first else x, mask) + x
        x = x if first else layer._self_attention_layer_norm(x)
        y = layer._feedforward_layer_norm(x) if first else x
        x = _dense(layer._feedforward_output_dense, _dense(layer._feedforward_intermediate_dense, y)) + x
        x = x if first else layer._feedforward_layer_norm(x)
        made = self._spread(x, mask)
        self._flat[id(made)] = made, x
        return made

    def _attend(self, layer, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        attention = layer._self_attention_layer
        heads, size = attention._num_heads, attention._key_dim
        kernel, bias = self._joined[id(layer)]()
        joined = self._spread(tf.nn.bias_add(tf.matmul(x, kernel), bias), mask)
        apart = tf.reshape(joined, [tf.shape(mask)[0], tf.shape(mask)[1], 3, heads, size])
        query, key, value = tf.unstack(tf.transpose(apart, [2, 0, 3, 1, 4]))
        hidden = (1.0 - tf.cast(mask[:, tf.newaxis, tf.newaxis, :], tf.float32)) * -1e9
        scores = tf.matmul(query, key, transpose_b=True) * (1 / size**0.5) + hidden
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
        mixed = self._bring_together(tf.reshape(mixed, [-1, heads * size]), mask)
        output = attention._output_dense
        return tf.nn.bias_add(tf.matmul(mixed, tf.reshape(tf.convert_to_tensor(output.kernel), [heads * size, -1])),
                              tf.convert_to_tensor(output.bias))


def _dense(layer, x: tf.Tensor) -> tf.Tensor:
    y = tf.nn.bias_add(tf.matmul(x, tf.convert_to_tensor(layer.kernel)), tf.convert_to_tensor(layer.bias))
    return y if layer.activation is None else layer.activation(y)


def _normalise(layer, inputs: tf.Tensor, compact: bool) -> tf.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis (Ba et al. 2016)."""
    if not normalises_rows(layer, inputs):
        return ORIGINAL["layer_normalization"](layer, inputs)
    if compact:
        return _normalise_rows(inputs, layer)
    centred = inputs - tf.reduce_mean(inputs, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    return centred * (tf.math.rsqrt(variance + layer.epsilon) * layer.gamma) + layer.beta


def _normalise_rows(inputs: tf.Tensor, layer) -> tf.Tensor:
    """Layer normalisation as a batch normalisation whose channels are the rows. FusedBatchNorm, Reshape to a matrix, Mul, Add,
    with nothing between them: the form that the optimiser takes for one operation."""
    width = inputs.shape[-1]
    flat = inputs if inputs.shape.rank == 2 else tf.reshape(inputs, [-1, width])
    count = tf.shape(flat)[0]  # in a reshape to [1, -1, ...] the optimiser does not recognise it
    unit = tf.raw_ops.FusedBatchNormV3(x=tf.reshape(flat, [1, count, width, 1]), scale=tf.ones([count]),
                                       offset=tf.zeros([count]), mean=[], variance=[], epsilon=layer.epsilon,
                                       data_format="NCHW", is_training=True).y
    made = tf.reshape(unit, [count, width]) * layer.gamma + layer.beta
    return made if inputs.shape.rank == 2 else tf.reshape(made, [*tf.unstack(tf.shape(inputs))[:-1], width])
