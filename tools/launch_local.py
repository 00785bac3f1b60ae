"""Starts N worker processes of one run on this machine and ends when all have ended: see tools/launch_local.

    python tools/launch_local.py N [--cpu-threads=T] -- ARGUMENTS    N times python -m tfft.train ARGUMENTS
    python tools/launch_local.py N -- SCRIPT.py ARGUMENTS            N times python SCRIPT.py ARGUMENTS

Each worker's lines begin with its number. SIGINT, SIGTERM and SIGHUP go on to all workers. When one fails the others have some
time to notice and stop by themselves; they are then told to. The exit code is that of the first that failed.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import BinaryIO

PATIENCE = 60  # seconds in which workers notice that one is gone
LOST = 75      # the exit code of a worker that stops because another one is gone
MISTAKE, BRIEFLY = 2, 5  # the exit code of a user's mistake, which the others hear of at once or not before they have met
GRACE = 30  # seconds between being told to stop and being stopped


def main() -> int:
    options, command = _arguments(sys.argv[1:])
    environments = worker_environments(options.workers, options.cpu_threads)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: signals.append(number))
    # in sessions of their own: Ctrl-C in a terminal reaches this process alone, which passes it on once
    workers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                start_new_session=True) for environment in environments]
    readers = [threading.Thread(target=_prefix, args=(i, *streams), daemon=True) for i, worker in enumerate(workers)
               for streams in ((worker.stdout, sys.stdout.buffer), (worker.stderr, sys.stderr.buffer))]
    for reader in readers:
        reader.start()
    code = _watch(workers, signals)
    for reader in readers:
        reader.join(5)
    return code


def worker_environments(count: int, cpu_threads: int = 0) -> list[dict[str, str]]:
    """The environment of each of `count` workers: TF_CONFIG with free ports, a share of the CPU's threads and of the GPUs."""
    threads = str(cpu_threads or max(1, len(os.sched_getaffinity(0)) // count))
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    gpus = _gpus()
    share = len(gpus) // count  # a GPU cannot be shared: the CPU computes where there are fewer than workers
    return [{**os.environ, "PYTHONUNBUFFERED": "1", "TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads,
             "CUDA_VISIBLE_DEVICES": ",".join(gpus[i * share:(i + 1) * share]),
             "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}})}
            for i in range(count)]


def _arguments(given: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """(options, each worker's command)."""
    parser = argparse.ArgumentParser(
        prog="tools/launch_local", usage="tools/launch_local N [--cpu-threads=T] -- --config=... --workdir=...",
        description="Trains with N worker processes on this machine.")
    parser.add_argument("workers", metavar="N", type=int, help="worker processes, at least 2")
    parser.add_argument("--cpu-threads", metavar="T", type=int, default=0, help="threads of each; default: an equal share")
    split = given.index("--") if "--" in given else len(given)
    options, rest = parser.parse_args(given[:split]), given[split + 1:]
    if options.workers < 2 or options.cpu_threads < 0:
        parser.error(f"N must be at least 2 and T positive: {' '.join(given[:split])}")
    if not rest:
        parser.error("the arguments of python -m tfft.train follow after --, such as -- --config=configs/imdb.py:quick")
    return options, [sys.executable, *(["-m", "tfft.train"] if rest[0].startswith("-") else []), *rest]


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES names, or else every GPU that the driver lists."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return [str(i) for i in range(listed.stdout.count("GPU "))] if listed.returncode == 0 else []


def _prefix(index: int, source: BinaryIO, target: BinaryIO) -> None:
    """Copies a worker's lines."""
    for line in source:
        target.write(b"[%d] %s" % (index, line if line.endswith(b"\n") else line + b"\n"))
        target.flush()


def _watch(workers: list[subprocess.Popen], signals: list[int]) -> int:
    """Waits for all workers, passing on what is in `signals`. Returns the exit code of the first that failed, or 0."""
    first_failure = None
    deadline = told = 0.0
    while any(worker.poll() is None for worker in workers):
        while signals:
            _send(workers, signals.pop(0))
        if first_failure is None:
            # of several at once one that did not leave for another's sake
            for index, worker in sorted(enumerate(workers), key=lambda one: one[1].poll() == LOST):
                if worker.poll():
                    patience = BRIEFLY if worker.returncode == MISTAKE else PATIENCE
                    first_failure, deadline = worker.returncode, time.monotonic() + patience
                    if not 128 < worker.returncode < 160:  # all stop together after a signal, and say so themselves
                        _say(f"worker {index} ended with {_code(worker.returncode)}; the others have {patience} s to stop")
                    break
        elif time.monotonic() > deadline:
            _say("stopping the workers that are left" if not told else "killing the workers that are left")
            _send(workers, signal.SIGTERM if not told else signal.SIGKILL)
            told, deadline = True, time.monotonic() + GRACE
        time.sleep(0.1)
    failed = [first_failure]
    if first_failure is None:
        failed = sorted((worker.returncode for worker in workers if worker.returncode), key=LOST.__eq__)
    return 0 if not failed else failed[0] if failed[0] > 0 else 128 - failed[0]


def _send(workers: list[subprocess.Popen], number: int) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)


def _code(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"


def _say(text: str) -> None:
    print(f"tfft: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
