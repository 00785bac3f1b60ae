"""Every row once, whatever the batches are; what cannot be judged is said."""

import json

import families
import numpy as np
import pytest
import tensorflow as tf
from stores import make_store

from tfft.config import Model, TextClassification
from tfft.data import scratch
from tfft.errors import UserError
from tfft.evaluation.evaluator import Evaluator
from tfft.tasks.text_classification import metrics
from tfft.tasks.text_classification.labels import Labels
from tfft.tasks.text_classification.task import TextClassificationTask

ROWS = 11


@pytest.fixture(scope="module")
def backbone():
    return families.backbone("bert")


def make_task(problem, loss, labels) -> TextClassificationTask:
    return TextClassificationTask(TextClassification(problem=problem, loss=loss), labels)


@pytest.fixture(scope="module")
def single(backbone, tmp_path_factory):
    """(task, model, store of 11 rows, one of them with a label that the task lacks)."""
    task = make_task("single_label", "cross_entropy", Labels(("neg", "pos"), (5, 5), rows=10))
    labels = ["neg", "pos", "pos", "neg", "odd", "pos", "neg", "neg", "pos", "neg", "pos"]
    store = make_store(tmp_path_factory.mktemp("single") / "store", labels)
    model = task.build_model(backbone, Model(), seed=0)
    model.get_layer("head").kernel.assign(np.linspace(-2, 2, 2 * families.WIDTH).reshape(families.WIDTH, 2))
    return task, model, store


def evaluator(task, model, store, batch_size=4, rows=None, **changes) -> Evaluator:
    rows = np.arange(len(store)) if rows is None else rows
    return Evaluator(model, task, store, rows, pad_id=0, batch_size=batch_size, max_length=16,
                     strategy=tf.distribute.get_strategy(), **changes)


def probabilities_one_by_one(task, model, store, rows) -> np.ndarray:
    """What the model answers to each row alone, without padding."""
    offsets, tokens = store.column("tokens_offsets"), store.column("tokens")
    made = []
    for row in rows:
        ids = tokens[offsets[row]:offsets[row + 1]][None]
        logits = model(families.inputs(model, ids, [ids.shape[1]]))
        made.append(task.probabilities(logits)[0].numpy())
    return np.array(made)


@pytest.mark.parametrize("batch_size", [1, 4, 64])  # 10 known rows: with 4 the last batch is ragged
def test_every_known_row_is_judged_once_in_order(single, batch_size):
    task, model, store = single
    calls = []
    made = evaluator(task, model, store, batch_size, progress=lambda done, total: calls.append((done, total)))
    values = made.evaluate()
    report = made.report
    assert report.rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert report.targets.tolist() == [0, 1, 1, 0, 1, 0, 0, 1, 0, 1]
    expected = probabilities_one_by_one(task, model, store, report.rows)
    assert np.ptp(expected[:, 0]) > 0.01
    np.testing.assert_allclose(report.probabilities, expected, atol=1e-5)
    assert values["accuracy"] == np.mean(expected.argmax(1) == report.targets)
    assert values["loss"] == pytest.approx(-np.log(expected[np.arange(10), report.targets]).mean(), abs=1e-5)
    count = -(-10 // batch_size)
    assert calls == [(i + 1, count) for i in range(count)]


def test_a_selection_of_rows(single):
    task, model, store = single
    made = evaluator(task, model, store, rows=np.array([9, 2, 4]))
    made.evaluate()
    assert made.report.rows.tolist() == [9, 2] and made.report.targets.tolist() == [0, 1]
    assert sum(line["rows"] for line in made.report.per_label) == 2
    assert made.report.evidence.figures(np.arange(2)) == pytest.approx(made.report.metrics)


def test_report_is_json(single):
    made = evaluator(*single)
    made.evaluate()
    written = json.loads(made.report.to_json())
    assert written["metrics"] == made.report.metrics and written["thresholds"] is None and written["rows"] == 10
    assert made.report.tuned is None
    assert [line["label"] for line in written["per_label"]] == ["neg", "pos"]


def test_thresholds_are_tuned_or_used_as_given(backbone, tmp_path):
    task = make_task("multi_label", "binary", Labels(("x", "y"), (4, 3), rows=7))
    store = make_store(tmp_path / "store", [("x",), (), ("x", "y"), ("y",), ("x",), ("y",), ("x",)])
    model = task.build_model(backbone, Model(), seed=0)
    tuned = evaluator(task, model, store, tune=True)
    tuned.evaluate()
    report = tuned.report
    assert report.targets.tolist() == [[1, 0], [0, 0], [1, 1], [0, 1], [1, 0], [0, 1], [1, 0]]
    np.testing.assert_array_equal(report.thresholds, metrics.tune_thresholds(report.targets, report.probabilities))
    assert report.tuned == {"thresholds": report.thresholds.tolist()}
    untuned = evaluator(task, model, store)
    untuned.evaluate()
    assert untuned.report.thresholds.tolist() == [0.5, 0.5]
    given = evaluator(task, model, store, tuned={"thresholds": [0.0, 1.0]})
    given.evaluate()
    assert given.report.thresholds.tolist() == [0, 1]
    assert given.report.per_label[0]["recall"] == 1.0 and given.report.per_label[1]["recall"] == 0.0
    assert json.loads(given.report.to_json())["thresholds"] == [0.0, 1.0]
    again = evaluator(task, model, store, tuned=report.tuned)  # what a run keeps as JSON is what was chosen
    again.evaluate()
    np.testing.assert_array_equal(again.report.thresholds, report.thresholds)
    assert again.report.to_json() == report.to_json()


@pytest.mark.parametrize("problem, loss, labels", [
    ("single_label", "cross_entropy", ["neg", "pos", "pos", "odd", "neg"]),
    ("multi_label", "binary", [("neg",), (), ("neg", "pos"), ("pos",), ("pos",)]),
    ("regression", "mean_squared_error", [1.0, 4.0, 2.0, 9.0, 3.0])])
def test_arrays_that_lie_on_the_disk_give_the_same_report(backbone, tmp_path, monkeypatch, problem, loss, labels):
    task = make_task(problem, loss, Labels(mean=2.0) if problem == "regression" else Labels(("neg", "pos"), (3, 2), rows=5))
    store = make_store(tmp_path / "store", labels)
    model = task.build_model(backbone, Model(), seed=0)
    reports = []
    for limit in (scratch.IN_MEMORY, 0):
        monkeypatch.setattr(scratch, "IN_MEMORY", limit)
        made = evaluator(task, model, store, 2, tune=problem == "multi_label")
        made.evaluate()
        reports.append(made.report)
    memory, disk = reports
    assert isinstance(disk.logits, np.memmap) and isinstance(disk.probabilities, np.memmap)
    assert not isinstance(memory.logits, np.memmap) and not isinstance(memory.probabilities, np.memmap)
    assert disk.to_json() == memory.to_json()
    assert disk.mistakes == memory.mistakes and disk.tuned == memory.tuned and disk.tables == memory.tables
    for name in ("rows", "targets", "probabilities", "logits"):
        np.testing.assert_array_equal(getattr(disk, name), getattr(memory, name), err_msg=name)
    some = np.array([0, 3, 3, 1])
    assert disk.evidence.figures(some) == memory.evidence.figures(some)


def test_regression_is_judged_in_the_data_unit(backbone, tmp_path):
    task = make_task("regression", "mean_squared_error", Labels(mean=10.0, deviation=4.0))
    store = make_store(tmp_path / "store", [10.0, 14.0, 2.0])
    model = task.build_model(backbone, Model(), seed=0)
    model.get_layer("head").kernel.assign(np.zeros((families.WIDTH, 1)))
    model.get_layer("head").bias.assign([0.5])
    made = evaluator(task, model, store)
    values = made.evaluate()
    assert made.report.targets.tolist() == [10, 14, 2] and made.report.probabilities.tolist() == [[12]] * 3
    assert values["mae"] == pytest.approx((2 + 2 + 10) / 3) and values["spearman"] == 0.0
    assert values["loss"] == pytest.approx((0.5**2 + 0.5**2 + 2.5**2) / 3)


def test_no_row_to_judge_is_said(single):
    task, model, store = single
    for rows in (np.array([4]), np.array([], np.int64)):
        with pytest.raises(UserError, match=r"^There is nothing to evaluate on: no row has a label that the model knows "
                                            r"\(neg, pos\).$"):
            evaluator(task, model, store, rows=rows).evaluate()


def test_answers_that_are_no_numbers_are_named(single):
    task, model, store = single
    bias = model.get_layer("head").bias
    bias.assign([np.nan, 0.0])
    try:
        with pytest.raises(UserError, match="not a finite number for 10 of 10 rows, such as file.csv:2. Its weights"):
            evaluator(task, model, store).evaluate()
    finally:
        bias.assign([0.0, 0.0])
