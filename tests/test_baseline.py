"""What simple methods reach, and the sentence that compares."""

import dataclasses
import json

import numpy as np
import pytest
from stores import make_store

from tfft.config import resolve
from tfft.data.prepare import Split
from tfft.run.baseline import compared
from tfft.run.workdir import Workdir
from tfft.tasks.text_classification import baseline
from tfft.tasks.text_classification.baseline import CONSTANT, LINEAR, baselines
from tfft.tasks.text_classification.labels import Labels, infer_labels
from tfft.tasks.text_classification.task import TextClassificationTask

WORDS = ["good film", "bad film", "fine film"]
CASES = {
    "single_label": (["pos", "neg", "pos"], "accuracy"),
    "multi_label": ([("pos", "short"), ("neg",), ("pos",)], "micro_f1"),
    "regression": ([2.0, -1.0, 2.5], "mae"),
}


def make(folder, problem, texts=WORDS, count=60):
    """(task, train, judged): the label follows from the text; train has the rows of an even number."""
    labels = CASES[problem][0]
    store = make_store(folder, [labels[i % 3] for i in range(count)], texts=[f"{texts[i % 3]} {i}" for i in range(count)])
    rows = np.arange(count)
    train = rows[rows % 2 == 0]
    learnt = Labels(mean=1.0, deviation=2.0) if problem == "regression" else infer_labels(store, train, ())
    settings = resolve({"task": {"problem": problem}, "data": {"train": "csv:a.csv"}}).task
    return TextClassificationTask(settings, learnt), (store, train), (store, rows[rows % 2 == 1])


@pytest.mark.parametrize("problem", CASES)
@pytest.mark.parametrize("texts", [WORDS, ["\u597d\u7684\u7535\u5f71", "\u574f\u7684\u7535\u5f71", "\u4e0d\u9519\u7535\u5f71"]])
def test_a_linear_model_learns_what_a_constant_answer_cannot(tmp_path, problem, texts):
    task, train, judged = make(tmp_path / "store", problem, texts)
    found = baselines(task, train, judged)
    metric = CASES[problem][1]
    constant, linear = found[CONSTANT][metric], found[LINEAR][metric]
    if problem == "regression":
        assert constant == pytest.approx(1.44, abs=0.05) and linear < 0.8
    else:
        assert constant < 0.75 and linear == pytest.approx(1.0)


def test_the_constant_answer_is_the_most_frequent_one(tmp_path):
    task, train, judged = make(tmp_path / "store", "single_label")
    assert baselines(task, train, judged)[CONSTANT]["accuracy"] == pytest.approx(2 / 3)


def test_no_features_and_one_label_leave_the_constant(tmp_path):
    task, train, judged = make(tmp_path / "store", "single_label")
    assert list(baselines(task, (train[0], train[1][:1]), judged)) == [CONSTANT]
    store = make_store(tmp_path / "signs", ["pos", "neg"] * 4, texts=["!!!"] * 8)
    assert list(baselines(task, (store, np.arange(8)), judged)) == [CONSTANT]


def test_few_of_many_rows_are_learnt_from(tmp_path, monkeypatch):
    monkeypatch.setattr(baseline, "ROWS", 20)
    task, train, judged = make(tmp_path / "store", "single_label", count=300)
    assert baselines(task, train, judged)[LINEAR]["accuracy"] > 0.8


def compare(tmp_path, task, train, judged, ours, metric="accuracy"):
    experiment = resolve({"task": dataclasses.asdict(task.settings), "data": {"train": "csv:a.csv"},
                          "eval": {"metric": metric}})
    return compared(Workdir(tmp_path), experiment, task, Split("train", *train), Split("validation", *judged), {metric: ours})


@pytest.mark.parametrize("problem, metric, ours, said", [
    ("single_label", "accuracy", 1.1, f"accuracy 1.1000 is better than that of {CONSTANT} (0.6667) and of {LINEAR} (1.0000)"),
    ("single_label", "accuracy", 0.9, f"accuracy 0.9000 is better than that of {CONSTANT} (0.6667), but worse than that of "
     f"{LINEAR} (1.0000)"),
    ("single_label", "accuracy", 1.0, f"accuracy 1.0000 is better than that of {CONSTANT} (0.6667), and as good as that of "
     f"{LINEAR} (1.0000)"),
    ("single_label", "accuracy", 0.5, f"accuracy 0.5000 is worse than that of {CONSTANT} (0.6667) and of {LINEAR} (1.0000)"),
    ("single_label", "loss", 0.5, ""),
    ("regression", "mae", 0.0, "mae 0.0000 is better than that of"),
    ("regression", "mae", 9.0, "mae 9.0000 is worse than that of"),
])
def test_the_sentence(tmp_path, problem, metric, ours, said):
    found = compare(tmp_path, *make(tmp_path / "store", problem), ours, metric)
    assert found == said or (said and problem == "regression" and found.startswith(said))


def test_it_is_computed_once_for_the_same_rows(tmp_path, monkeypatch):
    task, train, judged = make(tmp_path / "store", "single_label")
    said = compare(tmp_path, task, train, judged, 0.9)
    known = json.loads((tmp_path / "baseline.json").read_text())
    assert [list(values) for values in known.values()] == [[CONSTANT, LINEAR]]
    monkeypatch.setattr(TextClassificationTask, "baselines", lambda *_: {CONSTANT: {"accuracy": 0.1}})
    assert compare(tmp_path, task, train, judged, 0.9) == said
    assert "(0.1000)" in compare(tmp_path, task, train, (judged[0], judged[1][:5]), 0.9)
    (tmp_path / "baseline.json").write_text("damaged")
    assert "(0.1000)" in compare(tmp_path, task, train, judged, 0.9)
