"""MultiWorkerMirroredStrategy: how a worker joins its cluster, and how it leaves when another one has gone.

TensorFlow's coordination service, which worker 0 runs, notices a worker that is gone and aborts the collective operations that
the others wait in.
"""

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context  # the public API does not reach the coordination service

from tfft.errors import UserError
from tfft.training.cluster import LOST, Cluster
from tfft.training.hosts import CommonMistake
from tfft.training.loop import Interrupted

JOIN_SECONDS = 600  # all workers must have started within this time
SILENCE_SECONDS = 20  # a worker that is silent for longer is gone
REMIND_SECONDS = 20
BEGIN, END = "<<tfft: ", ">>"  # around what one worker tells the others


class WorkerLost(Exception):
    """Another worker is gone. What was saved before is whole."""


def join(cluster: Cluster) -> tf.distribute.Strategy:
    """The strategy over all workers; returns when all are there."""
    jobs = {"chief": cluster.chiefs, "worker": len(cluster.workers) - cluster.chiefs}
    context.context().configure_coordination_service(
        service_type="standalone", service_leader=f"/job:{'chief' if cluster.chiefs else 'worker'}/replica:0/task:0",
        heartbeat_timeout_in_ms=1000 * SILENCE_SECONDS,
        coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name=name, num_tasks=count)
                          for name, count in jobs.items() if count])
    joined = threading.Event()
    threading.Thread(target=_wait, args=(cluster, joined), daemon=True).start()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    joined.set()
    # all workers have the same number of batches: they need not ask each other before each whether there is one
    strategy.extended.experimental_enable_get_next_as_optional = False
    # the service catches SIGTERM, and would leave it at that until the loop looks for it
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    return strategy


def _wait(cluster: Cluster, joined: threading.Event) -> None:
    """Says now and then who is not there; ends the process where the others do not come: TensorFlow would wait for ever."""
    begin = time.monotonic()
    while not joined.wait(REMIND_SECONDS):
        absent = _absent(cluster)
        if time.monotonic() - begin > JOIN_SECONDS:
            print(f"\ntfft: worker {cluster.index} gives up: {absent or 'the others did not join'}. Start every worker within "
                  f"{JOIN_SECONDS // 60} minutes, with the same TF_CONFIG but for task.index; each must reach the others' "
                  "addresses.", file=sys.stderr, flush=True)
            os._exit(LOST)
        if absent:
            print(f"tfft: worker {cluster.index} waits: {absent}", file=sys.stderr, flush=True)


def _absent(cluster: Cluster) -> str:
    """'worker 1 (10.0.0.2:2222) is not there'; '' where all that this worker asks for are."""
    names = []
    for index, address in enumerate(cluster.workers):
        if index != cluster.index and cluster.index * index == 0:
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            except OSError:
                names.append(cluster.name(index))
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not there" if names else ""


@contextlib.contextmanager
def stops_together(cluster: Cluster | None) -> Iterator[None]:
    """Around a worker's whole work: when it fails the others are told why; when another fails it does not go on.

    Raises: WorkerLost where another one is gone.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if cluster is None or not _of_another(error):
            _tell_others(cluster, error)
            raise
        raise WorkerLost(explain(cluster, str(error))) from error
    except CommonMistake:
        raise
    except (Exception, KeyboardInterrupt) as error:
        _tell_others(cluster, error)
        raise


def _of_another(error: tf.errors.OpError) -> bool:
    gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
    return isinstance(error, gone) or "Collective ops is aborted" in str(error)


def _tell_others(cluster: Cluster | None, error: BaseException) -> None:
    """Aborts what the others wait for."""
    if cluster is not None and not isinstance(error, Interrupted):
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__} {error}"
        with contextlib.suppress(tf.errors.OpError, ValueError):
            context.context().report_error_to_cluster(
                tf.errors.ABORTED, f"{BEGIN}{cluster.name(cluster.index)} stopped: {text[:2000].strip()}{END}")


def explain(cluster: Cluster, error: str) -> str:
    """What TensorFlow says of a collective operation that was aborted, in words about the worker that was the cause.

    "... /job:worker/replica:0/task:1 ... stopped sending heartbeats ..." -> "worker 1 (10.0.0.2:2222) is gone: ..."
    """
    told = re.search(f"{BEGIN}(.*?){END}", error, re.DOTALL)
    rest = "This worker stops too. The same command on all workers continues from the last checkpoint."
    if told:
        return f"{told[1]}\n{rest}"
    tasks = {int(task) + (cluster.chiefs if job == "worker" else 0)
             for job, task in re.findall(r"/job:(worker|chief)/(?:replica:0/)?task:(\d+)", error)} - {cluster.index}
    names = " and ".join(cluster.name(task) for task in sorted(tasks)) or "another worker"
    return (f"{names} is gone: its process ended, was silent for {SILENCE_SECONDS} s, or cannot be reached; its own output "
            f"says more. {rest}")
