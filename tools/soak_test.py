"""Ten minutes at a share of what a server can do, with a new version of its model every minute; not one request may fail.

    python tools/soak_test.py --server=grpc://localhost:8500/imdb --model=models/imdb --pid=4711 --texts=reviews.csv

First a closed loop finds how many texts a second the server answers; then requests arrive at random (Poisson) at a share of
that. Every minute the newest version's folder is copied under another name and renamed to the next number, which is how a
deployment should do it; of the versions made here, all but the two newest are removed, and at the end these too. Every answer
is compared with the first one to the same text. Whatever fails is counted, and the memory of the server's process written down.
"""

import argparse
import asyncio
import json
import pathlib
import random
import shutil
import sys
import time

import numpy as np
import psutil
from load_test import Load, add_flags, summary, table, texts_of

from tfft.errors import UserError, exit_code
from tfft.serving.server.settings import versions

WARMUP_SECONDS = 5.0


def next_version(model: pathlib.Path, made: list[int]) -> int:
    """Publishes a copy of the newest version, in one step, and removes what this tool made and nobody asks for any more."""
    newest = max(versions(model))
    copying = model / f".copying-{newest + 1}"
    shutil.copytree(model / str(newest), copying)
    copying.rename(model / str(newest + 1))
    made.append(newest + 1)
    while len(made) > 2:
        shutil.rmtree(model / str(made.pop(0)))
    return newest + 1


def memory(pid: int) -> float:
    """MB that a process and its children hold."""
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 2**20


async def watch(load: Load, arguments: argparse.Namespace, found: list[dict], made: list[int]) -> None:
    """A line each period, and for what is left of the last one; a new version between two of them."""
    while True:
        before, failed, began = len(load.latencies), sum(load.errors.values()), time.perf_counter()
        try:
            await asyncio.sleep(arguments.swap_seconds)
        finally:
            seconds = time.perf_counter() - began
            latencies = np.array(load.latencies[before:] or [float("nan")]) * 1000
            found.append({"minute": len(found) + 1, "texts_per_second": (len(load.latencies) - before) / seconds,
                          "failed": sum(load.errors.values()) - failed, "p50": float(np.percentile(latencies, 50)),
                          "p99": float(np.percentile(latencies, 99)), "max": float(latencies.max()),
                          "memory_mb": memory(arguments.pid), "newest": max(versions(arguments.model))})
            print(line(found[-1]), file=sys.stderr, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, next_version, arguments.model, made)


def line(values: dict) -> str:
    return "| " + " | ".join(f"{value:.1f}" if isinstance(value, float) else str(value) for value in values.values()) + " |"


async def run(arguments: argparse.Namespace) -> dict:
    load = Load(arguments.server, texts_of(arguments), 1, arguments.timeout)
    found: list[dict] = []
    made: list[int] = []
    try:
        async with load.sender:
            await load.closed(arguments.clients, WARMUP_SECONDS)
            load.forget()
            seconds = await load.closed(arguments.clients, arguments.measure_seconds)
            capacity = len(load.latencies) / seconds
            load.forget()
            rate = arguments.rate or arguments.share * capacity
            print(f"{arguments.clients} clients: {capacity:.1f} texts/s; now {rate:.1f} a second", file=sys.stderr, flush=True)
            watching = asyncio.create_task(watch(load, arguments, found, made))
            seconds = await load.open(rate, arguments.seconds, random.Random(arguments.seed))
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    finally:
        for version in made:
            shutil.rmtree(arguments.model / str(version), ignore_errors=True)
    return {"capacity": capacity, "rate": rate, "periods": found, **summary(load, seconds)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the folder of versions that the server watches")
    parser.add_argument("--pid", type=int, required=True, help="the server's process")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--swap_seconds", type=float, default=60.0, help="between two versions")
    parser.add_argument("--share", type=float, default=0.8, help="of the measured capacity")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second, whatever the capacity")
    parser.add_argument("--clients", type=int, default=16, help="closed loop that measures the capacity")
    parser.add_argument("--measure_seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    if not versions(arguments.model):
        raise UserError(f"{arguments.model} has no versions.")
    found = asyncio.run(run(arguments))
    print("\n".join([f"capacity {found['capacity']:.1f} texts/s, rate {found['rate']:.1f}", "",
                     "| minute | texts/s | failed | p50 ms | p99 ms | max ms | memory MB | newest version |",
                     "| --- | --- | --- | --- | --- | --- | --- | --- |", *map(line, found["periods"]), "", table(found)]))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    return int(found["failed"] > 0)


if __name__ == "__main__":
    sys.exit(exit_code(main))
