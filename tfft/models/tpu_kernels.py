"""The same arithmetic as Keras's layers, arranged for a TPU: less to keep for the backward pass and less to move.

    with lean_tpu():
        logits = model(inputs, training=True)      # while the step is traced, for XLA

What stock Keras keeps or moves in a bfloat16 step, and what is done here instead:
- Dropout draws 32 random bits an element, keeps them for the backward pass, and brings those of attention into another layout:
  8 bits, drawn in the layout that they are used in.
- Attention keeps scores, probabilities and dropped probabilities: the probabilities alone.
- An embedding converts its whole table to bfloat16 and then looks up: looked up first.
Sums are float32, what is stored is the computation dtype, as in Keras. (GELU and layer normalisation with backward passes of
their own, keeping their input alone, made no difference: XLA recomputes there by itself.) Whatever a replacement does not
cover takes the original path. Model objects, weights and seed states are the same inside and outside; the masks are other
random numbers.
"""

import contextlib
import math

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import random as keras_random
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from tfft.models.kernels import layer_seed, replaced

FLOATS = (tf.bfloat16, tf.float32)


def lean_tpu(enabled: bool = True) -> contextlib.AbstractContextManager:
    """Layers called inside use the kernels of this module. They lower through XLA only."""
    return replaced(REPLACEMENTS if enabled else ())


def random_bytes(shape: list[int], seed: tf.Tensor) -> tf.Tensor:
    """uint8[shape] from the device's own generator; seed int32[2]. On a TPU TensorFlow's stateless draws come from the same
    one, with the same key, but as 32 bits an element."""
    low, high = (tf.cast(tf.cast(seed[i], tf.uint32), tf.uint64) for i in range(2))
    key = tf.bitwise.bitwise_or(low, tf.bitwise.left_shift(high, tf.constant(32, tf.uint64)))
    state = tf.stack([key, tf.constant(0, tf.uint64)])
    return gen_xla_ops.xla_rng_bit_generator(tf.random.Algorithm.AUTO_SELECT.value, state, shape, tf.uint8).output


def threshold(rate: float, seed: tf.Tensor) -> tf.Tensor:
    """uint8[]: a byte below it drops its element. floor(256 rate), plus one in a share frac(256 rate) of all calls, so that the
    probability is `rate` over the calls and the usual scale 1 / (1 - rate) stays right.

    The seed's sum, which a layer's generator counts up by one with each draw, times the golden ratio is spread evenly over
    [0, 1): Weyl's sequence.
    """
    whole = math.floor(rate * 256)
    spread = tf.cast(seed[0] + seed[1], tf.uint32) * tf.constant(2654435769, tf.uint32)
    above = tf.cast(tf.bitwise.right_shift(spread, tf.constant(8, tf.uint32)), tf.int32) < int((rate * 256 - whole) * 2**24)
    return tf.cast(whole + tf.cast(above, tf.int32), tf.uint8)


def _dropout(inputs, rate, noise_shape=None, seed=None):
    usual = 0 < rate < 1 and noise_shape is None and inputs.dtype in FLOATS and inputs.shape.is_fully_defined()
    if not usual:
        return ORIGINAL["dropout"](inputs, rate, noise_shape=noise_shape, seed=seed)
    seed = layer_seed(seed)
    keep = random_bytes(inputs.shape.as_list(), seed) >= threshold(rate, seed)
    return tf.where(keep, inputs * tf.cast(1 / (1 - rate), inputs.dtype), tf.zeros([], inputs.dtype))


def attend(query, key, value, bias, keep, scale: float):
    """where(keep, softmax(query key^T + bias) * scale, 0) @ value for f[B,S,N,H]. Scores have keys before queries here, as XLA
    would lay them out: bias float32 and keep bool broadcast to [B,N,keys,queries].

    Kept for the backward pass beside what goes in and out: the probabilities P. sum(dP * P) over keys = sum(g * output).
    """
    @tf.custom_gradient
    def attention(query, key, value):
        dtype = query.dtype
        scores = tf.cast(tf.einsum("bknh,bqnh->bnkq", key, query), tf.float32) + bias
        raised = tf.exp(scores - tf.reduce_max(scores, 2, keepdims=True))
        probabilities = tf.cast(raised / tf.reduce_sum(raised, 2, keepdims=True), dtype)

        def dropped():
            return tf.where(keep, probabilities * tf.cast(scale, dtype), tf.zeros([], dtype))

        output = tf.einsum("bnkq,bknh->bqnh", dropped(), value)

        def gradient(g):
            row = tf.einsum("bqnh,bqnh->bnq", tf.cast(g, tf.float32), tf.cast(output, tf.float32))[:, :, tf.newaxis]
            back = tf.cast(tf.einsum("bknh,bqnh->bnkq", value, g), tf.float32)
            slopes = tf.cast(tf.cast(probabilities, tf.float32) * (tf.where(keep, back * scale, 0.0) - row), dtype)
            return (tf.einsum("bnkq,bknh->bqnh", slopes, key), tf.einsum("bnkq,bqnh->bknh", slopes, query),
                    tf.einsum("bnkq,bqnh->bknh", dropped(), g))

        return output, gradient

    return attention(query, key, value)


def _attention(layer, query, key, value, attention_mask=None, training=None, return_attention_scores=False, **kwargs):
    rate = layer._dropout_layer.rate if training and layer._dropout else 0.0  # the inner layer's: frozen ones have it 0
    usual = (query.dtype in FLOATS and query.shape.rank == 4 and query.shape.is_fully_defined() and 0 < rate < 1
             and attention_mask is not None and not return_attention_scores and not any(kwargs.values())
             and type(layer._softmax) is keras.layers.Softmax)
    if not usual:
        return ORIGINAL["attention"](layer, query, key, value, attention_mask, training, return_attention_scores, **kwargs)
    mask = attention_mask if attention_mask.shape.rank == 4 else tf.expand_dims(attention_mask, 1)
    bias = tf.transpose(tf.where(tf.cast(mask, tf.bool), 0.0, -1e9), [0, 1, 3, 2])
    seed = layer_seed(layer._dropout_layer.seed_generator)
    batch, length, heads, _ = query.shape
    keep = random_bytes([batch, heads, key.shape[1], length], seed) >= threshold(rate, seed)
    query *= tf.cast(layer._inverse_sqrt_key_dim, query.dtype)
    return attend(query, key, value, bias, keep, 1 / (1 - rate)), None


def _embedding(layer, inputs):
    if layer.quantization_mode or layer.lora_enabled or not inputs.dtype.is_integer:
        return ORIGINAL["embedding"](layer, inputs)
    with keras.src.backend.AutocastScope(None):  # the float32 table
        table = tf.convert_to_tensor(layer.embeddings)
    return tf.cast(tf.gather(table, inputs), layer.compute_dtype)


REPLACEMENTS = (
    (keras_random, "dropout", _dropout),
    (keras.layers.MultiHeadAttention, "_compute_attention", _attention),
    (keras.layers.Embedding, "call", _embedding),
)
ORIGINAL = {name: getattr(owner, attribute) for name, (owner, attribute, _)
            in zip(("dropout", "attention", "embedding"), REPLACEMENTS, strict=True)}
