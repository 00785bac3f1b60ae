"""Which devices the step runs on."""

import tensorflow as tf

from tfft.config import Distribution, Train
from tfft.errors import UserError


def make_strategy(config: Distribution) -> tf.distribute.Strategy:
    """The strategy of an experiment. Call before TensorFlow has touched a device: logical CPUs are made here.

    Raises: UserError where the devices are already in use otherwise.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if config.cpu_replicas > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * config.cpu_replicas)
        except RuntimeError as error:
            if len(tf.config.list_logical_devices("CPU")) < config.cpu_replicas:
                raise UserError("config.distribution.cpu_replicas must be set before TensorFlow has used the CPU.") from error
        return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(config.cpu_replicas)])
    if config.strategy == "mirrored" or (config.strategy == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()  # one device: TensorFlow places ops on the GPU where there is one


def set_up(config: Train) -> None:
    """Seeds and determinism, before anything is built: seeding clears TensorFlow's kernel cache, and with it goes the
    model of every SentencePiece tokenizer made before."""
    import keras

    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
