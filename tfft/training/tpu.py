"""TPUs: how to reach one, and how to see that XLA compiles what runs there."""

import atexit
import os
import threading

import tensorflow as tf

from tfft.errors import UserError

ANSWER_SECONDS = 180  # a pod slice's hosts take a minute to meet
WITHOUT = ("To try the run without a TPU: python -m tfft.preflight --config=... --tpu=v5e-8 compiles its steps for one; "
           "--config.distribution.strategy=auto trains on what this machine has.")


def compiled_by_xla(strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA compiles what a strategy's replicas run: static shapes, and no op that XLA lacks."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def make_tpu_strategy(seconds: float = ANSWER_SECONDS) -> tf.distribute.Strategy:
    """A strategy of all cores of the TPU that this machine has ("local"), or that TPU_NAME names: a name or grpc:// address,
    of a pod slice too. Call before TensorFlow has made anything: what it holds on devices is lost.

    Raises: UserError where no TPU answers within `seconds`.
    """
    address = os.environ.get("TPU_NAME") or "local"
    answers = []

    def connect():
        try:
            answers.append(tf.distribute.cluster_resolver.TPUClusterResolver.connect(address))
        except Exception as error:  # the cloud client's, gRPC's and TensorFlow's own, by what is wrong
            answers.append(error)

    # In a thread: where there is no TPU, its runtime may ask the cloud's metadata server for ever.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    where = "this machine" if address == "local" else f"TPU_NAME={address}"
    if not answers:
        atexit.register(os._exit, 2)  # the runtime that still asks would hold the process
        raise UserError(f"No TPU answered within {seconds:g} s ({where}). Is it there (gcloud compute tpus tpu-vm list), and "
                        f"does no other process hold it? {WITHOUT}")
    if isinstance(answers[0], Exception):
        reason = (str(answers[0]) or type(answers[0]).__name__).strip().split("\n")[0].rstrip(".")
        raise UserError(f"There is no TPU to use ({where}: {reason}). On a TPU VM it takes the packages that "
                        f"constraints/tpu.txt describes. {WITHOUT}")
    return tf.distribute.TPUStrategy(answers[0])
