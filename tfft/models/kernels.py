"""The same arithmetic as Keras's layers, arranged for a CPU: for float32 training steps without a GPU.

    with fast_cpu():
        logits = model(inputs, training=True)      # while the step is traced

What stock Keras does that costs time on a CPU, and what is done here instead:
- EinsumDense multiplies example by example: one matrix product for the whole batch.
- Dropout draws 32 random bits an element: 8 bits.
- Attention's backward pass keeps the scores and goes over them four times: kept are the probabilities alone.
- GELU and layer normalisation go over memory once an operation, forward and back: fewer operations.
Whatever a replacement does not cover (another dtype, LoRA, quantised or unusual layers) takes the original path. Model objects,
weights, seed states and checkpoints are the same inside and outside.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import nn as keras_nn
from keras.src.backend.tensorflow import random as keras_random

# EinsumDense equations that are one matrix product over the last k axes of the input
CONTRACTED_AXES = {"abc,cde->abde": 1, "abc,cd->abd": 1, "abcd,cde->abe": 2}


def on_cpu() -> bool:
    """Whether there is no GPU to compute on."""
    return not tf.config.list_physical_devices("GPU")


def fast_cpu(enabled: bool = True) -> contextlib.AbstractContextManager:
    """Layers called inside use the kernels of this module."""
    return replaced(REPLACEMENTS if enabled else ())


@contextlib.contextmanager
def replaced(replacements: Iterable[tuple]) -> Iterator[None]:
    """Inside, attributes are others: (owner, name, value) each."""
    before = []
    try:
        for owner, name, kernel in replacements:
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, kernel)
        yield
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


@contextlib.contextmanager
def dropout_per_replica(enabled: bool = True) -> Iterator[None]:
    """Inside, each replica's dropout layers draw masks of their own; Keras's draw the same on all.

    The layers' seed states, which are checkpointed, stay equal on all replicas: the replica's number is mixed in after.
    """
    original = keras_random.draw_seed

    def draw(seed):
        made = original(seed)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return made
        replica = tf.cast(context.replica_id_in_sync_group, made.dtype)
        return made + tf.stack([replica * 1_000_003, tf.zeros_like(replica)])

    try:
        keras_random.draw_seed = draw if enabled else original
        yield
    finally:
        keras_random.draw_seed = original


def shape_of(x: tf.Tensor) -> list:
    """The shape with static sizes where they are known."""
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]


@tf.custom_gradient
def linear(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor):
    """x float32[n,d] @ kernel float32[d,m] + bias float32[m]; the bias's gradient is a product with ones."""

    def gradient(g):
        ones = tf.ones([1, tf.shape(g)[0]], g.dtype)
        return (tf.matmul(g, kernel, transpose_b=True), tf.matmul(x, g, transpose_a=True),
                tf.reshape(tf.matmul(ones, g), [-1]))

    return tf.nn.bias_add(tf.matmul(x, kernel), bias), gradient


def plain(layer) -> bool:
    """Whether a layer is nothing but kernel, bias and activation."""
    return (layer.bias is not None and not getattr(layer, "quantization_mode", None)
            and not getattr(layer, "lora_enabled", False))


def _einsum_dense(layer, inputs, training=None):
    axes = CONTRACTED_AXES.get(layer.equation)
    if axes is None or inputs.dtype != tf.float32 or not plain(layer):
        return ORIGINAL["einsum_dense"](layer, inputs, training)
    kernel = tf.convert_to_tensor(layer.kernel)
    inner, outer = math.prod(kernel.shape[:axes]), list(kernel.shape[axes:])
    if math.prod(layer.bias.shape) != math.prod(outer):
        return ORIGINAL["einsum_dense"](layer, inputs, training)
    y = linear(tf.reshape(inputs, [-1, inner]), tf.reshape(kernel, [inner, math.prod(outer)]),
               tf.reshape(tf.convert_to_tensor(layer.bias), [-1]))
    y = tf.reshape(y, [*shape_of(inputs)[:-axes], *outer])
    return y if layer.activation is None else layer.activation(y)


def keep_mask(shape: list, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """bool[shape], False with probability `rate`: 8 random bits an element.

    An element is dropped where its byte is below floor(256 rate), plus one in a share frac(256 rate) of all calls, so that
    the probability is `rate` exactly and the usual scale 1 / (1 - rate) stays right.
    """
    count = tf.reduce_prod(tf.stack(shape))
    words = (count + 3) // 4
    bits = tf.random.stateless_uniform([words + 1], seed, None, None, dtype=tf.uint32)
    whole = math.floor(rate * 256)
    uniform = tf.cast(tf.bitcast(bits[words], tf.int32), tf.float64) / 2.0**32 + 0.5
    threshold = tf.cast(whole + tf.cast(uniform < rate * 256 - whole, tf.int32), tf.uint8)
    return tf.reshape(tf.reshape(tf.bitcast(bits[:words], tf.uint8), [-1])[:count] >= threshold, shape)


def layer_seed(generator) -> tf.Tensor:
    """int32[2]: draws from a layer's own generator, whose state is checkpointed."""
    return tf.cast(tf.convert_to_tensor(keras_random.draw_seed(generator)), tf.int32)


def _dropout(inputs, rate, noise_shape=None, seed=None):
    if not 0 < rate < 1 or noise_shape is not None or inputs.dtype != tf.float32:
        return ORIGINAL["dropout"](inputs, rate, noise_shape=noise_shape, seed=seed)
    mask = tf.cast(keep_mask(shape_of(inputs), rate, layer_seed(seed)), tf.float32) * (1 / (1 - rate))
    return inputs * tf.stop_gradient(mask)


@tf.custom_gradient
def attend(query, key, value, bias, keep):
    """softmax(query key^T + bias) * keep @ value, for float32[B,N,S,H], bias and keep broadcast to [B,N,S,S].

    keep is 0 where a probability is dropped and 1 / (1 - rate) elsewhere. Backward: with P the probabilities and g the
    gradient, rowsum(dP * P) = rowsum(g * output), so that no pass over the scores is needed for it.
    """
    probabilities = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + bias)
    dropped = probabilities * keep
    output = tf.matmul(dropped, value)

    def gradient(g):
        row = tf.reduce_sum(g * output, -1, keepdims=True)
        scores = dropped * tf.matmul(g, value, transpose_b=True) - probabilities * row
        return (tf.matmul(scores, key), tf.matmul(scores, query, transpose_a=True), tf.matmul(dropped, g, transpose_a=True),
                None, None)

    return output, gradient


def _attention(layer, query, key, value, attention_mask=None, training=None, return_attention_scores=False, **kwargs):
    rate = layer._dropout_layer.rate if training and layer._dropout else 0.0  # the inner layer's: frozen ones have it 0
    usual = (query.dtype == tf.float32 and query.shape.rank == 4 and 0 <= rate < 1 and attention_mask is not None
             and not return_attention_scores and not any(kwargs.values()) and type(layer._softmax) is keras.layers.Softmax)
    if not usual or not rate:
        return ORIGINAL["attention"](layer, query, key, value, attention_mask, training, return_attention_scores, **kwargs)
    query, key, value = (tf.transpose(x, [0, 2, 1, 3]) for x in (query * layer._inverse_sqrt_key_dim, key, value))
    mask = attention_mask if attention_mask.shape.rank == 4 else tf.expand_dims(attention_mask, 1)
    bias = (1.0 - tf.cast(tf.cast(mask, tf.bool), tf.float32)) * -1e9
    sizes = [*shape_of(query)[:3], shape_of(key)[2]]
    keep = tf.cast(keep_mask(sizes, rate, layer_seed(layer._dropout_layer.seed_generator)), tf.float32) * (1 / (1 - rate))
    return tf.transpose(attend(query, key, value, bias, keep), [0, 2, 1, 3]), None


@tf.custom_gradient
def gelu_tanh(x):
    """x sigmoid(a x + b x^3): the same function as x/2 (1 + tanh((a x + b x^3) / 2)), Hendrycks & Gimpel 2016."""
    a = 2 * math.sqrt(2 / math.pi)
    b = a * 0.044715
    square = x * x
    share = tf.sigmoid((square * b + a) * x)
    y = x * share

    def gradient(g):
        return g * (share + (y - y * share) * (square * (3 * b) + a))

    return y, gradient


@tf.custom_gradient
def gelu_erf(x):
    """x P(X <= x) for a standard normal X."""
    share = tf.math.erf(x * math.sqrt(0.5)) * 0.5 + 0.5

    def gradient(g):
        return g * (share + x * tf.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))

    return x * share, gradient


def _gelu(x, approximate=True):
    x = tf.convert_to_tensor(x)
    if x.dtype != tf.float32:
        return ORIGINAL["gelu"](x, approximate)
    return gelu_tanh(x) if approximate else gelu_erf(x)


def normalise(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over the rows of float32[n,d] (Ba et al. 2016); the gradients of
    gamma and beta, sums over all rows, are products with ones."""

    @tf.custom_gradient
    def normalised(x, gamma, beta):
        centred = x - tf.reduce_mean(x, -1, keepdims=True)
        scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + epsilon)
        unit = centred * scale

        def gradient(g):
            ones = tf.ones([1, tf.shape(g)[0]], g.dtype)
            scaled = g * gamma
            along = unit * tf.reduce_mean(scaled * unit, -1, keepdims=True)
            return ((scaled - tf.reduce_mean(scaled, -1, keepdims=True) - along) * scale,
                    tf.reshape(tf.matmul(ones, g * unit), [-1]), tf.reshape(tf.matmul(ones, g), [-1]))

        return unit * gamma + beta, gradient

    return normalised(x, gamma, beta)


def normalises_rows(layer, inputs: tf.Tensor) -> bool:
    """Whether a LayerNormalization is the usual one: over the last axis, in float32, with gamma and beta."""
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    last = inputs.shape.rank is not None and axes in ([-1], [inputs.shape.rank - 1])
    float32 = inputs.dtype == tf.float32 and layer.compute_dtype == "float32"
    return last and float32 and layer.gamma is not None and layer.beta is not None and not layer.rms_scaling


def _layer_normalization(layer, inputs):
    if not normalises_rows(layer, inputs):
        return ORIGINAL["layer_normalization"](layer, inputs)
    shape = shape_of(inputs)
    rows = normalise(tf.reshape(inputs, [-1, shape[-1]]), tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta),
                     layer.epsilon)
    return tf.reshape(rows, shape)


REPLACEMENTS = (
    (keras.layers.EinsumDense, "call", _einsum_dense),
    (keras_random, "dropout", _dropout),
    (keras.layers.MultiHeadAttention, "_compute_attention", _attention),
    (keras_nn, "gelu", _gelu),
    (keras.layers.LayerNormalization, "call", _layer_normalization),
)
ORIGINAL = {name: getattr(owner, attribute) for name, (owner, attribute, _)
            in zip(("einsum_dense", "dropout", "attention", "gelu", "layer_normalization"), REPLACEMENTS, strict=True)}
