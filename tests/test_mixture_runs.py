"""Mixtures in runs: every task, metrics by source, stopped and resumed, on one device and on two."""

import csv
import dataclasses
import json
import random
import re

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, killed_is_like_whole, page_of, run
from conftest import write_reviews
from safetensors.numpy import load_file
from stores import make_store

from tfft.config import TASKS as CONFIGS
from tfft.config import resolve
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.evaluation.by_source import of_source
from tfft.evaluation.evaluator import Evaluator
from tfft.run.assembly import build, drawn, make_dataset, prepare
from tfft.run.fine_tune import fine_tune
from tfft.run.judge import judge, own_splits
from tfft.run.workdir import open_run
from tfft.tasks.base import Judged
from tfft.training.step import Trainer

WORDS = ["good", "bad", "fine", "poor", "film", "the", "a"]


def write_lines(path, count: int, seed: int) -> str:
    """Rows with the columns of every task."""
    draw = random.Random(seed)
    lines = []
    for i in range(count):
        words = [draw.choice(WORDS) for _ in range(draw.randrange(3, 12))]
        lines.append({"text": " ".join([*words, str(i), str(seed)]), "label": f"l{i % 2}", "s": float(i % 5),
                      "p": " ".join(words[::-1]), "words": words, "tags": ["B-X" if w == "film" else "O" for w in words],
                      "question": words[0], "context": " ".join(["film", *words, f"word{i}"]), "answers": f"word{i}",
                      "choices": [*dict.fromkeys([*words, "good", "bad"])][:2 + i % 3], "right": i % 2})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    return folder, {"large": write_lines(folder / "large.jsonl", 60, 1), "small": write_lines(folder / "small.jsonl", 9, 2)}


TASKS = {
    "text_classification": {}, "regression": {"task": {"problem": "regression"}, "label_column": "s"},
    "augmented": {"augmentation": {"delete": 0.3}}, "token_classification": {"task": {"head": "crf"}}, "question_answering": {},
    "embedding": {"text_pair_column": "p"}, "labelled": {"task": {"name": "embedding"}, "label_column": "label"},
    "multiple_choice": {"label_column": "right"}, "masked_lm": {}, "packed": {"task": {"name": "masked_lm", "pack": True}},
}
NAMES = {"regression": "text_classification", "augmented": "text_classification"}


def experiment_of(kind: str, files, preset: str, **data):
    """Two sources in equal parts: the small one is gone over several times in an epoch."""
    folder, paths = files
    settings = {**TASKS[kind]}
    task = {"name": NAMES.get(kind, kind), **settings.pop("task", {})}
    return resolve({
        "task": task, "model": {"backbone": preset, "dropout": 0.0, "head_dropout": 0.0},
        "train": {"global_batch_size": 8, "epochs": 2, "peak_learning_rate": 0.01},
        "data": {"train": "", "validation": "", "max_length": 16, "cache": str(folder / "cache"), "mixture": {"rows": 40},
                 "sources": {name: {"train": path, "rate": 1} for name, path in paths.items()}, **settings, **data}})


def rows_of(kind: str, opened, train) -> np.ndarray:
    """int64[rows of the store]: how often each stands in an epoch."""
    examples, size = opened.target_examples, len(train.store)
    if kind in ("embedding", "labelled", "multiple_choice"):  # a row is one planned thing, its examples are members
        return np.bincount(train.store.row_of(examples[:, 0]), minlength=size)
    found = np.bincount(train.store.row_of(examples[examples >= 0]), minlength=size)
    return found // np.bincount(train.store.row_of(train.examples), minlength=size)


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_trains_on_a_mixture(kind, files, thin_preset):
    said = []
    chosen = experiment_of(kind, files, thin_preset)
    prepared = prepare(chosen, thin_preset, files[0] / "cache", said.append)
    train = prepared.splits["train"]
    drawing = drawn(train, chosen.data, 0)
    assert [(part.name, part.rows, part.drawn) for part in drawing.parts] == [("large", 60, 20), ("small", 9, 20)]
    seen = np.zeros(len(train.store), np.int64)
    for number in range(3):
        opened = prepared.epochs.epoch(number)
        counts = rows_of(kind, opened, train)
        assert (counts[:60].sum(), counts[60:].sum()) == (20, 20)
        seen += counts
        if kind == "labelled":  # no text beside itself
            first, second = opened.target_examples.T
            assert (second >= 0).all() and (train.store.row_of(first) != train.store.row_of(second)).all()
        if prepared.task.drawn:  # what is there again is hidden otherwise
            pairs = list(zip(opened.turns.ravel().tolist(), opened.target_examples.ravel().tolist()))
            assert len(set(pairs)) == len(pairs) and (opened.turns % (1 << 32) == number).all()
    assert (seen[:60] == 1).all() and set(seen[60:].tolist()) == {6, 7}  # three epochs of 20 rows each

    if kind not in CONFIGS:
        return
    built = build(prepared)
    trainer = Trainer(built.model, built.optimizer, prepared.task.loss, chosen.train, dataset=make_dataset(
        prepared, built.model, 0, 1), global_step=tf.Variable(0, dtype=tf.int64), total_steps=prepared.total_steps,
        strategy=prepared.strategy, use_loop=False, whole_batch=prepared.task.whole_batch)
    assert np.isfinite(float(trainer.train(tf.constant(1))["loss"]))


# ---- one run, and what is told of it

@pytest.fixture(scope="module")
def trained(thin_preset, tmp_path_factory):
    """60 and 30 reviews, whose columns have other names; the best weights are those that do best on the few."""
    folder = tmp_path_factory.mktemp("reviews")
    write_reviews(folder / "many.csv", 100, 1)
    write_reviews(folder / "read.csv", 40, 2)
    with open(folder / "read.csv") as file, open(folder / "few.csv", "w", newline="") as other:
        csv.writer(other).writerows([["body", "kind"], *list(csv.reader(file))[1:]])
    chosen = resolve({
        "model": {"backbone": thin_preset}, "eval": {"metric": "few/accuracy"},
        "train": {"global_batch_size": 16, "epochs": 2, "peak_learning_rate": 0.01},
        "data": {"train": f"csv:{folder}/many.csv", "validation": "30%", "max_length": 24, "cache": str(folder / "cache"),
                 "mixture": {"temperature": 2}, "sources": {
                     "many": {}, "few": {"train": f"csv:{folder}/few.csv", "text_column": "body", "label_column": "kind"}}}})
    assert fine_tune(chosen, str(folder / "run")) == 0
    return folder


def test_what_is_told_of_a_mixture(trained, capsys):
    log = (trained / "run" / "train.log").read_text()
    assert page_of(trained / "run")[:3] == ["How good", "Slices", "Details"]
    assert "<h3>By source</h3>" in (trained / "run" / "report.html").read_text()
    assert "few: tokenising" in log and "accuracy by source: few 0." in log and "passes an epoch" in log
    lines = [json.loads(line) for line in (trained / "run" / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if line["kind"] == "validation"]
    told = {"accuracy", "few/accuracy", "many/accuracy", "many/loss"}
    assert len(judged) == 2 and all(told <= line.keys() for line in judged)
    best = max(line["few/accuracy"] for line in judged)
    assert re.search(rf"best validation few/accuracy +{best:.4f}", log)
    kept = json.loads((trained / "run" / "config.json").read_text())["data"]
    assert kept["sources"]["few"]["text_column"] == "body" and kept["mixture"]["temperature"] == 2
    assert judge(str(trained / "run"), data="", split="validation", weights="", output="") == 0
    out = capsys.readouterr().out
    header = next(line for line in out.splitlines() if line.split()[:1] == ["all"])
    assert header.split() == ["all", "few", "many"]
    report = json.loads((trained / "run" / "evaluation-validation.json").read_text())
    assert report["sources"]["few"]["metrics"]["accuracy"] == best
    assert sum(found["rows"] for found in report["sources"].values()) == report["rows"]
    other = trained / "other.json"
    assert judge(str(trained / "run"), data=f"csv:{trained}/many.csv", split="", weights="", output=str(other)) == 0
    assert "sources" not in json.loads(other.read_text())  # a file that is given is one source


def test_metrics_by_source_are_those_of_each_alone(trained):
    opened = open_run(trained / "run")
    said = []
    split = own_splits(opened, said.append)["validation"]
    assert not [line for line in said if "tokenising" in line]  # each source has its own store, kept

    def evaluated(rows, **sources):
        evaluator = Evaluator(opened.model, opened.task, split.store, rows, pad_id=0, batch_size=8, max_length=24,
                              strategy=tf.distribute.get_strategy(), **sources)
        evaluator.evaluate()
        return evaluator.report

    found = evaluated(split.rows, sources=split.sources).by_source
    assert list(found) == ["few", "many"]
    for name, rows in split.by_source().items():
        alone = evaluated(rows)
        assert alone.judged == found[name]["rows"] and alone.metrics == pytest.approx(found[name]["metrics"], abs=1e-6)


def test_what_is_judged_with_all_is_judged_with_each():
    """Documents that every source is searched among stand behind the rows."""
    class Store:
        def row_of(self, examples):
            return np.array([0, 0, 1, 3, 4, 4, 7, 8])[examples]

    rows, examples = np.array([0, 1, 3, 4, 7, 8]), np.arange(8)
    units, offsets = np.arange(20, dtype=np.float32)[:, np.newaxis], np.array([0, 1, 3, 6, 10, 11, 12, 15, 20])
    judged = Judged(Store(), rows, examples, units, offsets, np.arange(8, dtype=np.float32), None)
    a, b = of_source(judged, range(3), 5), of_source(judged, range(3, 5), 5)
    assert a.rows.tolist() == [0, 1, 7, 8] and a.examples.tolist() == [0, 1, 2, 6, 7] and a.losses.tolist() == [0, 1, 2, 6, 7]
    assert a.units[:, 0].tolist() == [*range(6), *range(12, 20)] and a.offsets.tolist() == [0, 1, 3, 6, 9, 14]
    assert b.rows.tolist() == [3, 4, 7, 8] and b.units[:, 0].tolist() == list(range(6, 20))
    assert np.shares_memory(of_source(judged, range(3), 9).units, units)  # without documents nothing is copied


def test_joined_stores_are_joined_again_with_documents(tmp_path):
    stores = [make_store(tmp_path / name, labels) for name, labels in (("a", ["x", "y"]), ("b", ["y", "z", "x"]), ("c", ["w"]))]
    whole, nested = TokenStore.joined(stores), TokenStore.joined([TokenStore.joined(stores[:2]), stores[2]])
    assert len(nested) == 6 and nested.folder != whole.folder != stores[0].folder
    for name in whole.meta["columns"]:
        np.testing.assert_array_equal(nested.column(name)[:], whole.column(name)[:])
        np.testing.assert_array_equal(nested.column(name)[np.array([0])], whole.column(name)[np.array([0])])
    assert [nested.names_of("label", row) for row in range(6)] == [("x",), ("y",), ("y",), ("z",), ("x",), ("w",)]


# ---- sources that do not belong together

def test_sources_with_other_labels_are_refused(files, thin_preset, tmp_path):
    folder, paths = files
    text = (folder / "small.jsonl").read_text()
    (tmp_path / "other.jsonl").write_text(text.replace('"l0"', '"0"').replace('"l1"', '"1"').replace("B-X", "B-Y"))
    (tmp_path / "part.jsonl").write_text("".join(line + "\n" for line in text.splitlines() if '"l0"' in line))

    def prepared(kind, small, **data):
        said = []
        small = folder, {**paths, "small": str(tmp_path / small)}
        prepare(experiment_of(kind, small, thin_preset, **data), thin_preset, folder / "cache", said.append)
        return said

    for kind, what in (("text_classification", "labels"), ("token_classification", "types")):
        with pytest.raises(UserError, match=f"have different {what}, and a model learns one table of them: large has "):
            prepared(kind, "other.jsonl")
    with pytest.raises(UserError, match="large has 'l1', which small lacks. .* name all labels: --config.data.labels="):
        prepared("text_classification", "part.jsonl")
    said = prepared("text_classification", "part.jsonl", labels=("l0", "l1"))
    assert "small: no training row has the labels 'l1', which other sources have" in said


def test_leaks_are_looked_for_across_sources(files, thin_preset):
    folder, paths = files
    chosen = experiment_of("text_classification", files, thin_preset)
    sources = {"large": {"train": paths["large"]}, "small": {"train": paths["small"], "validation": f"{paths['large']}[:4]"}}
    said = []
    prepare(dataclasses.replace(chosen, data=dataclasses.replace(chosen.data, sources=sources)), thin_preset, folder / "cache",
            said.append)
    assert any(line.startswith("leak: 4 of 4 validation rows have a text that is also in train") for line in said)


# ---- resumed, and on two devices

@pytest.mark.slow
def test_killed_and_resumed_and_on_two_replicas(files, tiny_preset, tmp_path):
    folder, paths = files
    settings = [f"--config={ROOT}/configs/my_corpus.py", f"--config.model.backbone={tiny_preset}", "--config.data.train=",
                *(f"--config.data.sources.{name}.train={path}" for name, path in paths.items()), "--config.data.validation=20%",
                "--config.data.sources.small.validation=", "--config.data.max_length=16", "--config.task.pack=True",
                "--config.data.mixture.temperature=3", "--config.train.epochs=4", "--config.train.global_batch_size=4",
                "--config.train.checkpoint_every_steps=4", "--config.train.peak_learning_rate=0.01", "--config.model.dropout=0"]
    killed_is_like_whole(settings, str(folder / "cache"), tmp_path, 8)
    run(["train", *settings, f"--workdir={tmp_path}/two", "--config.distribution.cpu_replicas=2"], str(folder / "cache"))
    one, two = (load_file(tmp_path / name / "last" / "weights.safetensors") for name in ("whole", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=2e-4, err_msg=name)
