"""Rematerialisation, or gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): of each
Transformer layer only what goes in is kept, and what happens inside is computed again for the backward pass.

    with rematerialised(layers, arithmetic, xla):
        outputs = model(inputs, training=True)      # while the step is traced, inside of a tape

A layer is called without its state: its weights and the states of its random numbers are values that it is given, so that the
second time it reads what it read the first time, and draws the same masks, whatever has been drawn since. `tf.recompute_grad`
draws others, keeps no order (on a CPU both passes then run side by side, and nothing is saved), and XLA makes one of its two
passes again.
"""

import contextlib
from collections.abc import Callable

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from tfft.models.kernels import replaced

ORIGINAL = keras.layers.Layer.__call__
CALL = "current_call_ctx"  # where Keras keeps whether a model is called for training


def rematerialised(layers: list, arithmetic: Callable[[], contextlib.AbstractContextManager],
                   xla: bool) -> contextlib.AbstractContextManager:
    """These layers, called inside, keep their inputs alone; arithmetic: the kernels that they compute with."""
    chosen = {id(layer) for layer in layers}

    def call(layer, *args, **kwargs):
        if id(layer) not in chosen:
            return ORIGINAL(layer, *args, **kwargs)
        return _twice(layer, args, kwargs, arithmetic, xla)

    return replaced([(keras.layers.Layer, "__call__", call)] if layers else ())


def _twice(layer, args: tuple, kwargs: dict, arithmetic: Callable, xla: bool):
    """What a layer makes of its arguments, and again for the gradients of it."""
    leaves = tf.nest.flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if tf.is_tensor(leaf)]
    variables, context = layer.variables, global_state.get_global_attribute(CALL)
    states = [v for v in variables if "seed_generator" in v.path]
    trained = {id(v) for v in layer.trainable_variables}
    learnt = [*(leaves[i].dtype.is_floating for i in places), *(id(v) in trained for v in variables)]
    after, masks = [], []

    def made(given: tuple):
        """The layer as a function of the tensors among its arguments, and of its variables."""
        own = list(leaves)
        for i, tensor in zip(places, given):
            if (mask := keras.src.backend.get_keras_mask(leaves[i])) is not None:
                keras.src.backend.set_keras_mask(tensor, mask)
            own[i] = tensor
        args_, kwargs_ = tf.nest.pack_sequence_as((args, kwargs), own)
        with keras.StatelessScope(list(zip(variables, given[len(places):], strict=True))) as scope:
            output = ORIGINAL(layer, *args_, **kwargs_)
        after[:] = [scope.get_current_value(state) for state in states]
        masks[:] = [keras.src.backend.get_keras_mask(t) for t in tf.nest.flatten(output)]
        return output

    @tf.custom_gradient
    def compute(*given):
        def gradient(*slopes):
            again = _held(given, slopes, xla)
            sought = [tensor for tensor, own in zip(again, learnt, strict=True) if own]
            outer = global_state.get_global_attribute(CALL)
            global_state.set_global_attribute(CALL, context)
            try:
                with arithmetic(), tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(sought)
                    output = made(again)
            finally:
                global_state.set_global_attribute(CALL, outer)
            found = iter(tape.gradient(output, sought, output_gradients=list(slopes)))
            return [_dense(next(found)) if own else None for own in learnt]

        return made(given), gradient

    with keras.src.backend.AutocastScope(None):
        values = [tf.convert_to_tensor(v.value) for v in variables]
    output = compute(*(leaves[i] for i in places), *values)
    for state, value in zip(states, after, strict=True):
        state.assign(value)
    for tensor, mask in zip(tf.nest.flatten(output), masks, strict=True):
        if mask is not None:
            keras.src.backend.set_keras_mask(tensor, mask)
    return output


def _held(tensors: tuple, slopes: tuple, xla: bool) -> list[tf.Tensor]:
    """The same tensors, there not before the slopes are: so what is made of them is neither made early, nor taken for what was
    made of them before."""
    if xla:
        return gen_xla_ops.xla_optimization_barrier([*tensors, *slopes])[:len(tensors)]
    with tf.control_dependencies(slopes):
        return [tf.identity(tensor) for tensor in tensors]


def _dense(gradient):
    return tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient
