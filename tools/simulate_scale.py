"""Plans and shards an epoch as every host of a large run would, and checks that each example is read once.

    python tools/simulate_scale.py                                      100 million examples on 1, 32 and 1,024 hosts
    python tools/simulate_scale.py --examples=1000000 --hosts=1,8 --replicas=4

For each number of hosts:
- the epoch is planned once, and every batch is cut for every host by the functions that training uses
  (tfft.data.plan.make_plan and share); each example must be read once, over all hosts;
- the last host starts in a process of its own, as in training: it opens a token store of that many examples (their token ids
  are holes in a sparse file), plans, and builds its share of the first batches. Its time and peak memory are measured after
  TensorFlow's import.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from tfft.data.plan import PlanSettings, make_plan, share

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LENGTH = 512
CHUNK = 1 << 20
TIMED_BATCHES = 50


def write_store(folder: pathlib.Path, examples: int) -> None:
    """A token store of examples of 4 to 512 tokens, median 90, for tfft.data.store.TokenStore; all token ids are 0."""
    random = np.random.default_rng(0)
    total = 0
    with open(folder / "length.bin", "wb") as lengths, open(folder / "tokens_offsets.bin", "wb") as offsets:
        offsets.write(np.zeros(1, np.int64).tobytes())
        for begin in range(0, examples, CHUNK):
            drawn = np.clip(random.lognormal(4.5, 0.7, min(CHUNK, examples - begin)), 4, MAX_LENGTH).astype(np.int32)
            lengths.write(drawn.tobytes())
            offsets.write((total + np.cumsum(drawn, dtype=np.int64)).tobytes())
            total += int(drawn.sum())
    for name, size in (("tokens", 2 * total), ("value", 4 * examples)):
        with open(folder / f"{name}.bin", "wb") as file:
            file.truncate(size)
    columns = {"length": ["int32", examples], "tokens_offsets": ["int64", examples + 1], "tokens": ["uint16", total],
               "value": ["float32", examples]}
    meta = {"rows": examples, "names": {}, "files": [], "fields": [], "columns": columns}
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
    """What a host does before its first step and in each: seconds to plan, milliseconds a batch, peak memory."""
    import tensorflow as tf

    from tfft.data.pipeline import Epochs, Reader, make_batch
    from tfft.data.store import TokenStore

    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    store = TokenStore(folder)
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
    return {"plan_seconds": planned, "batch_ms": 1000 * statistics.median(spent),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "imported_mb": imported / 1024}


def table(found: list[dict]) -> str:
    lines = ["| hosts | examples in a batch | batches | each example read once | examples a host | plan, s | a batch's share, "
             "ms | peak MB (before planning) |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for f in found:
        lines.append(f"| {f['hosts']:,} | {f['batch_size']:,} | {f['batches']:,} | {'yes' if f['once'] else 'NO'} | "
                     f"{f['fewest']:,} to {f['most']:,} | {f['plan_seconds']:.1f} | {f['batch_ms']:.2f} | "
                     f"{f['peak_mb']:,.0f} ({f['imported_mb']:,.0f}) |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100_000_000)
    parser.add_argument("--hosts", default="1,32,1024", help="numbers of hosts, separated by commas")
    parser.add_argument("--replicas", type=int, default=1, help="on each host")
    parser.add_argument("--rows", type=int, default=32, help="examples of a replica in one batch")
    parser.add_argument("--tokens", type=int, default=0, help="constant-token batches: tokens of a replica in one batch")
    parser.add_argument("--folder", help="where the token store is written (9 bytes an example); default: the temporary folder")
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
        write_store(folder, arguments.examples)
        lengths = np.fromfile(folder / "length.bin", np.int32)
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
