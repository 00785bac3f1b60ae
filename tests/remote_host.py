"""Run as a script: reads training batches on a TensorFlow server in another process, as a pod slice's other hosts read them.

Prints one JSON line: whether the batches are those that are read here, how many, and on which device they were read.
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

from tfft.data.pipeline import Epochs, Reader, dataset
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
        reader = Reader(("token_ids", "padding_mask"), 0, TASK.targets(store, weighted=True), TASK.target_specs)
        stop = epochs.same_shape_until(0, epochs.steps(1))

        def read(device: str) -> tuple[list, str]:
            with tf.device(device):
                made = dataset(epochs, reader, start=0, stop=stop, shape=epochs.shape(0))
                iterator = iter(made)
                batches = [tf.nest.flatten(next(iterator)) for _ in range(stop)]
            return [[t.numpy().tolist() for t in batch] for batch in batches], batches[0][0].device

        expected, _ = read("/job:localhost/replica:0/task:0/device:CPU:0")
        batches, device = read("/job:worker/replica:0/task:0/device:CPU:0")
        print(json.dumps({"same": batches == expected, "steps": stop, "device": device}), flush=True)
        server.kill()


main()
