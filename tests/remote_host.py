"""Run as a script: reads training batches on a TensorFlow server in another process, as a pod slice's other hosts read them.

Prints one JSON line: whether batches that are built here arrive as they are, and what a dataset that calls Python does.
"""

import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from steps import TASK
from stores import make_store

from tfft.data.pipeline import Epochs, dataset
from tfft.data.plan import PlanSettings

SERVER = """
import sys, tensorflow as tf
server = tf.distribute.Server({"worker": [sys.argv[1]]}, job_name="worker", task_index=0)
print("ready", flush=True)
sys.stdin.read()
"""


def main() -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
            [sys.executable, "-c", SERVER, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        tf.config.experimental_connect_to_host(address)
        store = make_store(Path(folder) / "store", ["neg", "pos"] * 15)
        rows = np.arange(len(store))
        epochs = Epochs(lambda epoch: (store, rows, rows),
                        PlanSettings(batch_size=4, max_length=16, buckets=(8, 16), run_length=3))
        stop = epochs.same_shape_until(0, epochs.steps(1))

        def read(built: bool, device: str) -> list:
            with tf.device(device):
                made = dataset(epochs, TASK.targets(store, weighted=True), pad_id=0, inputs=("token_ids", "padding_mask"),
                               target_shape=(), target_dtype=tf.int32, start=0, stop=stop, shape=epochs.shape(0), built=built)
                iterator = iter(made)
                return [[t.numpy().tolist() for t in tf.nest.flatten(next(iterator))] for _ in range(stop)]

        remote = "/job:worker/replica:0/task:0/device:CPU:0"
        expected = read(False, "/job:localhost/replica:0/task:0/device:CPU:0")
        try:
            called = read(False, remote) == expected
        except tf.errors.OpError as error:
            called = type(error).__name__
        print(json.dumps({"built": read(True, remote) == expected, "called": called, "steps": stop}), flush=True)
        server.kill()


main()
