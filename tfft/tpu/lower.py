"""A run's training and evaluation steps, lowered to HLO as TensorFlow lowers them for a TPU, on a machine without one."""

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2
from tensorflow.python.ops import random_ops_util

from tfft.data.pipeline import given_by_targets, static_shape
from tfft.tpu.refusals import Refused, refusal
from tfft.training.step import Trainer


def batch_spec(model, task, rows: int, length: int) -> tuple:
    """The static shapes of a replica's batch, as tfft.data.pipeline yields it."""
    targets = tf.nest.map_structure(lambda spec: tf.TensorSpec(static_shape(spec, rows, length), spec.dtype), task.target_specs)
    inputs = {name: tf.TensorSpec((rows * (task.sequences or 1), length), tf.int32) for name in model.input}
    inputs |= {name: targets[name] for name in given_by_targets(tuple(model.input), task.target_specs)}
    return inputs, targets, tf.TensorSpec((rows,), tf.float32), tf.TensorSpec((rows,), tf.int64)


def training_step(trainer: Trainer, spec: tuple) -> bytes:
    """HLO of one whole step: forward, backward, clip, update, and the sums for the log. The trainer must have xla=True and
    one replica; the all-reduce between replicas is not in it.

    Raises: Refused.
    """
    return hlo_of(lambda *batch: trainer.train_step(iter([batch])), spec)


def evaluation_step(model, spec: tuple) -> bytes:
    """HLO of the forward pass, as the evaluator runs it. Raises: Refused."""
    return hlo_of(lambda inputs, targets, weights, indices: (model(inputs, training=False), indices), spec)


def hlo_of(step: Callable, spec: tuple) -> bytes:
    """HLO of a function of tensors of the given static shapes. Raises: Refused."""
    @tf.function(jit_compile=True, autograph=False)
    def compiled(*leaves):
        return step(*tf.nest.pack_sequence_as(spec, leaves))

    with _marked_draws():
        made = compiled.experimental_get_compiler_ir(*tf.nest.flatten(spec))
        try:
            return _canonical(made(stage="hlo_serialized", platform_name="CPU"))
        except (ValueError, tf.errors.OpError) as error:
            raise Refused(refusal(str(error))) from error


def _canonical(hlo: bytes) -> bytes:
    """The same HLO for the same step: without TensorFlow's running numbers, and without lines of Python."""
    module = hlo_pb2.HloModuleProto.FromString(hlo)
    module.ClearField("id")
    module.name = module.entry_computation_name = "step"
    for computation in module.computations:
        if computation.id == module.entry_computation_id:
            computation.name = "step"
        for instruction in computation.instructions:
            instruction.metadata.ClearField("source_file")
            instruction.metadata.ClearField("source_line")
    return module.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _marked_draws() -> Iterator[None]:
    """Inside, stateless random ops are traced with Threefry instead of the device's choice.

    On a TPU TensorFlow leaves the choice to XLA: RngBitGenerator with the default algorithm, the seed for its key and a counter
    from 0 (tf2xla/kernels/stateless_random_ops_v2.cc, rng_converter_utils.cc); that is the hardware's generator. Lowered for
    a CPU the same ops become Philox, with a scrambled key. Threefry's key and counter are the TPU's, so that nothing but the
    algorithm's name is left to change (tfft.tpu.compile_step.as_on_tpu).
    """
    original = random_ops_util.get_key_counter_alg
    random_ops_util.get_key_counter_alg = lambda seed, alg: original(seed, "threefry")
    try:
        yield
    finally:
        random_ops_util.get_key_counter_alg = original
