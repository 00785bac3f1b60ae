"""Which devices the step runs on."""

import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops

from tfft.config import Distribution, Train
from tfft.data.pipeline import untuned
from tfft.errors import UserError
from tfft.training.cluster import Cluster, has_tpu


def make_strategy(config: Distribution, cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """The strategy of an experiment, `auto` chosen by what the machine has. Call before TensorFlow has touched a device:
    logical CPUs are made, and other workers met, here. `cluster` is what tfft.training.cluster.find_cluster found.

    Raises: UserError where the devices are not there or already in use otherwise.
    """
    chosen = choose(config, cluster)
    if chosen == "tpu":
        from tfft.training.tpu import make_tpu_strategy

        return make_tpu_strategy()
    if chosen == "multi_worker":
        from tfft.training.multi_worker import join

        return join(cluster)
    if chosen == "one_device":
        return tf.distribute.get_strategy()  # TensorFlow places ops on the GPU where there is one
    return _logical_cpus(config.cpu_replicas) if config.cpu_replicas > 1 else tf.distribute.MirroredStrategy()


_create_device_dataset = multi_device_iterator_ops._create_device_dataset


def _untuned_device_dataset(*arguments, **options) -> tf.data.Dataset:
    """What hands one replica its batches."""
    return untuned(_create_device_dataset(*arguments, **options))


multi_device_iterator_ops._create_device_dataset = _untuned_device_dataset  # TensorFlow leaves no other way to say so


def choose(config: Distribution, cluster: Cluster | None) -> str:
    """The strategy's name: `auto` is tpu, multi_worker, mirrored or one_device, the first whose devices are there. Without a
    cluster multi_worker is what this machine alone would be: tfft plan looks at a run from one process."""
    if cluster is not None:
        return "multi_worker"
    if config.strategy not in ("auto", "multi_worker"):
        return config.strategy
    if config.cpu_replicas > 1:
        return "mirrored"
    if has_tpu():
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one_device"


def _logical_cpus(count: int) -> tf.distribute.Strategy:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise UserError("config.distribution.cpu_replicas must be set before TensorFlow has used the CPU.") from error
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)])


def set_up(config: Train) -> None:
    """Seeds and determinism, before anything is built: seeding clears TensorFlow's kernel cache, and with it goes the
    model of every SentencePiece tokenizer made before."""
    import keras

    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
