"""Plans and shards an epoch as every host of a large run would, and checks that each example is read once.

    python tools/simulate_scale.py                                      100 million examples on 1, 32 and 1,024 hosts
    python tools/simulate_scale.py --examples=1000000 --hosts=1,8 --replicas=4
    python tools/simulate_scale.py --shards=1000 --hosts=1024           11 billion tokens, in a store of 1,000 shards

For each number of hosts:
- the epoch is planned once, and every batch is cut for every host by the functions that training uses
  (tfft.data.plan.make_plan and share); each example must be read once, over all hosts;
- the last host starts in a process of its own, as in training, which may have no more than 1,024 files open: it opens a token
  store of that many examples (all but their lengths and offsets are holes in sparse files), plans, and builds its share of the
  first batches. Its time, peak memory, open files and maps are measured after TensorFlow's import.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from tfft.data.plan import PlanSettings, make_plan, share
from tfft.data.store import TokenStore

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LENGTH = 512
CHUNK = 1 << 20
TIMED_BATCHES = 50
OPEN_FILES = 1024  # what many systems allow a process


def write_store(folder: pathlib.Path, examples: int, shards: int = 1) -> None:
    """A token store of examples of 4 to 512 tokens, median 90, for tfft.data.store.TokenStore; all token ids are 0. It has the
    columns of a classifier's, and several shards where these are asked for."""
    random = np.random.default_rng(0)
    if shards == 1:
        write_shard(folder, examples, random)
        return
    names = [f"shard-{number:05}-of-{shards:05}" for number in range(shards)]
    for number, name in enumerate(names):
        (folder / name).mkdir()
        write_shard(folder / name, examples * (number + 1) // shards - examples * number // shards, random)
    (folder / "meta.json").write_text(json.dumps({"shards": names}))


def write_shard(folder: pathlib.Path, examples: int, random: np.random.Generator) -> None:
    total = 0
    with open(folder / "length.bin", "wb") as lengths, open(folder / "tokens_offsets.bin", "wb") as offsets:
        offsets.write(np.zeros(1, np.int64).tobytes())
        for begin in range(0, examples, CHUNK):
            drawn = np.clip(random.lognormal(4.5, 0.7, min(CHUNK, examples - begin)), 4, MAX_LENGTH).astype(np.int32)
            lengths.write(drawn.tobytes())
            offsets.write((total + np.cumsum(drawn, dtype=np.int64)).tobytes())
            total += int(drawn.sum())
    holes = {"tokens": ["uint16", total], "value": ["float32", examples], "first_length": ["int32", examples],
             "full_length": ["int32", examples], "unknown": ["int32", examples, 4], "text": ["uint8", 5 * total],
             "text_offsets": ["int64", examples + 1], "id": ["uint8", 16 * examples], "id_offsets": ["int64", examples + 1],
             "text_hash": ["uint64", examples], "id_hash": ["uint64", examples], "line": ["int64", examples],
             "file": ["int32", examples]}
    for name, (dtype, *shape) in holes.items():
        with open(folder / f"{name}.bin", "wb") as file:
            file.truncate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    columns = {"length": ["int32", examples], "tokens_offsets": ["int64", examples + 1], **holes}
    meta = {"rows": examples, "names": {}, "files": ["rows.csv"], "fields": ["text"], "columns": columns}
    (folder / "meta.json").write_text(json.dumps(meta))


def settings_of(replicas: int, rows: int, tokens: int) -> PlanSettings:
    """`rows` examples a replica, or so many tokens."""
    return PlanSettings(batch_size=rows * replicas, max_length=MAX_LENGTH, multiple=replicas,
                        tokens_per_batch=tokens * replicas)


def read_all(lengths: np.ndarray, settings: PlanSettings, hosts: int, replicas: int) -> dict:
    """Cuts an epoch's batches for every replica of every host, replicas being their number on a host.

    Returns: batches; once, whether each example was read by exactly one replica in exactly one batch; and the fewest and most
    examples that a host read.
    """
    plan = make_plan(lengths, settings)
    times = np.zeros(len(lengths), np.uint8)
    read = np.zeros(hosts, np.int64)
    parts = hosts * replicas
    for number in range(plan.num_batches):
        indices = plan.batch(number).indices
        for part in range(parts):
            mine = indices[share(len(indices), part, parts)]
            if mine[-1] < 0:  # the rest is filling
                mine = mine[mine >= 0]
            times[mine] += 1
            read[part // replicas] += len(mine)
    once = bool((times == 1).all()) and int(read.sum()) == len(lengths)  # the sum: twice in one share counts once above
    return {"batches": plan.num_batches, "once": once, "fewest": int(read.min()), "most": int(read.max())}


def start_host(folder: pathlib.Path, settings: PlanSettings, host: int, hosts: int, replicas: int) -> dict:
    """What a host does before its first step and in each: seconds to open the store and to plan, milliseconds a batch, peak
    memory, files that the store keeps open, maps of memory."""
    import tensorflow as tf

    from tfft.data.pipeline import Epochs, Reader, make_batch

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, OPEN_FILES), hard))
    imported, files = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(os.listdir("/proc/self/fd"))
    began = time.perf_counter()
    store = TokenStore(folder)
    opened, files = time.perf_counter() - began, len(os.listdir("/proc/self/fd")) - files
    began = time.perf_counter()
    rows = np.arange(len(store))
    values = store.column("value")
    reader = Reader(("token_ids", "padding_mask"), 0, lambda rows, length: (values[rows], np.ones(len(rows), np.float32)),
                    tf.TensorSpec([None], tf.float32))
    epochs = Epochs(lambda epoch: (store, rows, rows), settings)
    epochs.num_batches(0)
    planned = time.perf_counter() - began
    spent = []
    for step in range(min(TIMED_BATCHES, epochs.num_batches(0))):
        began = time.perf_counter()
        for replica in range(replicas):
            epoch, batch = epochs.locate(step)
            make_batch(epochs.epoch(epoch), batch, reader, host * replicas + replica, hosts * replicas)
        spent.append(time.perf_counter() - began)
    maps = len(pathlib.Path("/proc/self/maps").read_text().splitlines())
    return {"open_seconds": opened, "open_files": files, "maps": maps, "plan_seconds": planned,
            "batch_ms": 1000 * statistics.median(spent), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "imported_mb": imported / 1024}


def table(found: list[dict]) -> str:
    lines = ["| hosts | examples in a batch | batches | each example read once | examples a host | open, s | files kept open | "
             "maps | plan, s | a batch's share, ms | peak MB (before opening) |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for f in found:
        once = "yes" if f["once"] else "NO"
        lines.append(f"| {f['hosts']:,} | {f['batch_size']:,} | {f['batches']:,} | {once} | "
                     f"{f['fewest']:,} to {f['most']:,} | {f['open_seconds']:.1f} | {f['open_files']} | {f['maps']:,} | "
                     f"{f['plan_seconds']:.1f} | {f['batch_ms']:.2f} | "
                     f"{f['peak_mb']:,.0f} ({f['imported_mb']:,.0f}) |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100_000_000)
    parser.add_argument("--shards", type=int, default=1, help="of the token store")
    parser.add_argument("--hosts", default="1,32,1024", help="numbers of hosts, separated by commas")
    parser.add_argument("--replicas", type=int, default=1, help="on each host")
    parser.add_argument("--rows", type=int, default=32, help="examples of a replica in one batch")
    parser.add_argument("--tokens", type=int, default=0, help="constant-token batches: tokens of a replica in one batch")
    parser.add_argument("--folder", help="where the token store is written (12 bytes an example); default: the temporary one")
    parser.add_argument("--start", help=argparse.SUPPRESS)  # the process of one host: its store
    arguments = parser.parse_args()
    numbers = [int(number) for number in arguments.hosts.split(",")]
    if arguments.start:
        settings = settings_of(numbers[0] * arguments.replicas, arguments.rows, arguments.tokens)
        print(json.dumps(start_host(pathlib.Path(arguments.start), settings, numbers[0] - 1, numbers[0], arguments.replicas)))
        return
    found = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = pathlib.Path(name)
        write_store(folder, arguments.examples, arguments.shards)
        lengths = np.asarray(TokenStore(folder).lengths)
        print(f"{len(lengths):,} examples, {lengths.sum(dtype=np.int64):,} tokens in {arguments.shards:,} shards",
              file=sys.stderr, flush=True)
        for hosts in numbers:
            settings = settings_of(hosts * arguments.replicas, arguments.rows, arguments.tokens)
            command = [sys.executable, __file__, f"--start={folder}", f"--hosts={hosts}", f"--replicas={arguments.replicas}",
                       f"--rows={arguments.rows}", f"--tokens={arguments.tokens}"]
            started = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append({"hosts": hosts, "batch_size": settings.batch_size, **json.loads(started.stdout.splitlines()[-1]),
                          **read_all(lengths, settings, hosts, arguments.replicas)})
            print(found[-1], file=sys.stderr, flush=True)
    print(table(found))
    balanced = all(f["most"] - f["fewest"] <= arguments.rows * arguments.replicas for f in found)
    sys.exit(0 if balanced and all(f["once"] for f in found) else "Not every example was read once, or hosts are not balanced.")


if __name__ == "__main__":
    main()
