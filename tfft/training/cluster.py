"""What TF_CONFIG says: the worker processes of one run, and which of them this one is. Imports no TensorFlow.

    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
"""

import dataclasses
import errno
import importlib.util
import json
import os
import re
import socket
from collections.abc import Mapping
from typing import Any

from tfft.config import Distribution
from tfft.errors import UserError, unknown

EXAMPLE = ('{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}, with another '
           "index on each")
TRY_LOCALLY = "To try several workers on this machine: tools/launch_local 2 -- --config=..."
LOST = 75  # exit code of a worker that stops because another one is gone (EX_TEMPFAIL: try again later)
JOBS = ("chief", "worker")  # in the order of their numbers: a chief is worker 0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The addresses host:port of all workers, and this one's number. Worker 0 is the chief: it alone writes."""

    workers: tuple[str, ...]
    index: int
    chiefs: int = 0  # workers that stand under "chief"; the rest stands under "worker"

    @property
    def chief(self) -> bool:
        """Whether this is the worker that writes, saves and speaks."""
        return self.index == 0

    def name(self, index: int) -> str:
        return f"worker {index} ({self.workers[index]})"


def find_cluster(config: Distribution, environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """The cluster that this process is to join; None where it works alone.

    Raises: UserError where TF_CONFIG is wrong, missing though strategy=multi_worker asks for it, or its port taken.
    """
    if config.strategy != "multi_worker" and (config.strategy != "auto" or config.cpu_replicas > 1 or has_tpu()):
        return None
    cluster = read_cluster(environment.get("TF_CONFIG", ""))
    if config.strategy == "multi_worker" and cluster is None:
        raise UserError("config.distribution.strategy=multi_worker needs the environment variable TF_CONFIG with a cluster of "
                        f"two or more workers on every one of them: {EXAMPLE}. {TRY_LOCALLY}")
    if cluster is not None:
        check_port(cluster)
    return cluster


def has_tpu() -> bool:
    """Whether this machine has TPU chips, or a name of some: asked without starting the TPU's runtime."""
    chips = os.path.exists("/dev/accel0") or os.path.exists("/dev/vfio/0")
    return bool(os.environ.get("TPU_NAME")) or (chips and importlib.util.find_spec("libtpu") is not None)


def read_cluster(text: str) -> Cluster | None:
    """Reads TF_CONFIG. None where it is empty or names one task alone, as managed services do for a single machine.

    Raises: UserError naming the key that is wrong.
    """
    if not text.strip():
        return None
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"TF_CONFIG is not valid JSON ({error}): {text:.200}. It should look like {EXAMPLE}.") from error
    jobs = _group(values, "", "cluster")
    if not jobs:
        return None
    for job in jobs:
        if job not in JOBS:
            raise UserError(f"TF_CONFIG: cluster has the job {job!r}; a run of tfft has workers only. "
                            f"{unknown('job', job, JOBS)}")
    for job in jobs:
        _check_addresses(job, jobs[job])
    workers = tuple(address for job in JOBS for address in jobs.get(job, ()))
    chiefs = len(jobs.get("chief", ()))
    if chiefs > 1:
        raise UserError(f"TF_CONFIG: cluster.chief names {chiefs} tasks; there is one chief.")
    for address in workers:
        if workers.count(address) > 1:
            raise UserError(f"TF_CONFIG: cluster names {address} twice. Every worker needs an address of its own.")
    if len(workers) < 2:
        return None
    task = _group(values, "", "task")
    job = task.get("type")
    if job not in jobs:
        raise UserError(f"TF_CONFIG: task.type must name the job of this process, one of {', '.join(jobs)}; it is "
                        f"{'missing' if job is None else repr(job)}.")
    return Cluster(workers, _index(task, job, len(jobs[job])) + (chiefs if job == "worker" else 0), chiefs)


def check_port(cluster: Cluster) -> None:
    """Raises UserError where something else listens on this worker's port."""
    port = int(cluster.workers[cluster.index].rpartition(":")[2])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what a closed connection leaves is no hindrance
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(f"TF_CONFIG: cannot listen on port {port} of {cluster.name(cluster.index)}: {error.strerror}. "
                                "Name another port, the same in every worker's TF_CONFIG.") from error
            raise UserError(f"TF_CONFIG: port {port} of {cluster.name(cluster.index)} is in use on this machine: by a worker "
                            "with the same task.index, one of a run before that has not ended yet, or another program. End it, "
                            "or name another port, the same in every worker's TF_CONFIG.") from error


def _group(values: Any, prefix: str, key: str) -> dict:
    """values[key], which must be an object or absent."""
    if not isinstance(values, dict) or not isinstance(values.get(key, {}), dict):
        found = values.get(key) if isinstance(values, dict) else values
        raise UserError(f"TF_CONFIG: {key if isinstance(values, dict) else 'it'} must be an object in braces, not "
                        f"{json.dumps(found):.80}. It should look like {EXAMPLE}.")
    return values.get(key, {})


def _check_addresses(job: str, addresses: Any) -> None:
    if not isinstance(addresses, list):
        raise UserError(f"TF_CONFIG: cluster.{job} must be a list of host:port, not {json.dumps(addresses):.80}.")
    for i, address in enumerate(addresses):
        match = re.fullmatch(r"(?:\[[0-9a-fA-F:.%]+\]|[^\s:/\[\]]+):(\d{1,5})", address) if isinstance(address, str) else None
        if not match or not 0 < int(match[1]) < 65536:
            raise UserError(f"TF_CONFIG: cluster.{job}[{i}] must be host:port, such as 10.0.0.1:2222, not "
                            f"{json.dumps(address):.80}.")


def _index(task: dict, job: str, count: int) -> int:
    if "index" not in task:
        raise UserError(f"TF_CONFIG: task.index is missing: the number of this process in cluster.{job}, 0 to {count - 1}.")
    index = task["index"]
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
        raise UserError(f"TF_CONFIG: task.index must be the number of this process in cluster.{job}, 0 to {count - 1}, not "
                        f"{json.dumps(task['index'])}.")
    return index
