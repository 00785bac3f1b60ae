"""Metrics against hand-typed numbers and scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from sklearn import metrics as sklearn_metrics

from tfft.config.text_classification import METRICS
from tfft.tasks.text_classification.metrics import compute, tune_thresholds

NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def one_hot(ids, width=3, sure=0.8) -> np.ndarray:
    made = np.full((len(ids), width), (1 - sure) / (width - 1), np.float32)
    made[np.arange(len(ids)), ids] = sure
    return made


def test_single_label_by_hand():
    # truth a a b b c, answers a b b b a: precision a 1/2, b 2/3, c 0; recall a 1/2, b 1, c 0; f1 a 1/2, b 4/5, c 0
    made, labels = compute("single_label", np.array([0, 0, 1, 1, 2]), one_hot([0, 1, 1, 1, 0]), NAMES)
    assert made["accuracy"] == made["micro_f1"] == pytest.approx(3 / 5)
    assert made["macro_f1"] == pytest.approx(1.3 / 3)
    assert made["weighted_f1"] == pytest.approx((2 * 0.5 + 2 * 0.8) / 5)
    # mcc: (c s - sum p t) / sqrt((s^2 - sum p^2)(s^2 - sum t^2)), c 3, s 5, p [2, 3, 0], t [2, 2, 1]
    assert made["mcc"] == pytest.approx((15 - 10) / np.sqrt((25 - 13) * (25 - 9)))
    assert labels == [
        {"label": "a", "precision": 0.5, "recall": 0.5, "f1": 0.5, "rows": 2},
        {"label": "b", "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8), "rows": 2},
        {"label": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 1}]


def test_auc_of_two_labels_by_hand():
    # one of the four (neg, pos) pairs is in the wrong order
    right = np.array([0.1, 0.6, 0.5, 0.9], np.float32)
    made, _ = compute("single_label", np.array([0, 0, 1, 1]), np.stack([1 - right, right], 1), ("neg", "pos"))
    assert made["auc"] == pytest.approx(3 / 4)


def test_auc_of_several_labels_is_one_against_the_rest():
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet([1, 1, 1], 50).astype(np.float32)
    probabilities /= probabilities.sum(1, keepdims=True)
    targets = draw.integers(0, 3, 50)
    made, _ = compute("single_label", targets, probabilities, NAMES)
    assert made["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(targets, probabilities, multi_class="ovr"))


def test_label_that_does_not_occur():
    made, labels = compute("single_label", np.array([0, 1]), one_hot([0, 1]), NAMES)
    assert made["accuracy"] == 1.0 and made["macro_f1"] == pytest.approx(2 / 3) and made["auc"] == 1.0
    assert labels[2] == {"label": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0}


def test_one_row_and_one_label_have_no_auc():
    for targets in ([1], [1, 1]):
        made, _ = compute("single_label", np.array(targets), one_hot(targets), NAMES)
        assert made["accuracy"] == 1.0 and made["mcc"] == 0.0 and "auc" not in made


def test_same_answer_everywhere():
    made, _ = compute("single_label", np.array([0, 1, 0, 1]), one_hot([0, 0, 0, 0], 2), ("neg", "pos"))
    assert made["accuracy"] == 0.5 and made["mcc"] == 0.0 and made["auc"] == 0.5
    assert made["macro_f1"] == pytest.approx(1 / 3)


TRUTH = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 1]], np.float32)
PROBABILITIES = np.array([[0.9, 0.1, 0.3], [0.4, 0.6, 0.8], [0.3, 0.2, 0.6], [0.2, 0.3, 0.7]], np.float32)


def test_multi_label_by_hand():
    # at 0.5 the answers are a; b c; c; c. a: 1 of 1 right, 1 of 2 found; b: 0 of 1; c: 2 of 3 right, 2 of 3 found
    made, labels = compute("multi_label", TRUTH, PROBABILITIES, NAMES)
    assert [round(line["f1"], 6) for line in labels] == [0.666667, 0.0, 0.666667]
    assert [line["rows"] for line in labels] == [2, 0, 3]
    assert made["macro_f1"] == pytest.approx(4 / 9) and made["weighted_f1"] == pytest.approx(2 / 3)
    assert made["micro_f1"] == pytest.approx(2 * 3 / (5 + 5))
    assert made["subset_accuracy"] == 1 / 4
    # b has no positive row; a: 3 of 4 pairs in order; c: 0.3 < 0.6, the other two above it
    assert made["auc"] == pytest.approx((3 / 4 + 2 / 3) / 2)


def test_thresholds_decide_the_answers():
    made, labels = compute("multi_label", TRUTH, PROBABILITIES, NAMES, np.array([0.25, 0.5, 0.65], np.float32))
    assert labels[0]["f1"] == pytest.approx(0.8) and labels[2]["f1"] == pytest.approx(0.8)
    assert made["macro_f1"] == pytest.approx(1.6 / 3)


@settings(max_examples=100, deadline=None)
@given(strategies.data())
def test_several_labels_are_counted_as_scikit_learn_does(data):
    rows, width = data.draw(strategies.integers(1, 12)), data.draw(strategies.integers(1, 5))
    of_rows = {"min_size": rows * width, "max_size": rows * width}
    shares = strategies.floats(0, 1, width=32)
    truth = np.array(data.draw(strategies.lists(strategies.booleans(), **of_rows)), np.float32).reshape(rows, width)
    found = np.array(data.draw(strategies.lists(shares, **of_rows)), np.float32).reshape(rows, width)
    cut = np.array(data.draw(strategies.lists(shares, min_size=width, max_size=width)), np.float32)
    names = tuple("abcde"[:width])
    made, labels = compute("multi_label", truth, found, names, cut)

    def as_ids(chosen):  # scikit-learn takes a single column for one label a row: another one, where nothing is, makes two
        return np.pad(chosen.astype(int), ((0, 0), (0, 1)))

    known = {"labels": np.arange(width), "zero_division": 0}
    for kind in ("macro", "micro", "weighted"):
        expected = sklearn_metrics.f1_score(as_ids(truth), as_ids(found >= cut), average=kind, **known)
        assert made[f"{kind}_f1"] == pytest.approx(expected, abs=1e-12), kind
    table = sklearn_metrics.precision_recall_fscore_support(as_ids(truth), as_ids(found >= cut), **known)
    for line, name, *values in zip(labels, names, *table, strict=True):
        assert list(line.values()) == [name, *(pytest.approx(value, abs=1e-12) for value in values)]
        assert type(line["rows"]) is int
    assert made["subset_accuracy"] == sklearn_metrics.accuracy_score(as_ids(truth), as_ids(found >= cut))
    usable = [k for k in range(width) if 0 < truth[:, k].sum() < rows]
    areas = [sklearn_metrics.roc_auc_score(truth[:, k], found[:, k]) for k in usable]
    assert made.get("auc") == (pytest.approx(np.mean(areas)) if areas else None)


def test_probability_at_the_threshold_counts():
    made, _ = compute("multi_label", np.ones((1, 2), np.float32), np.full((1, 2), 0.5, np.float32), ("a", "b"))
    assert made["subset_accuracy"] == 1.0


def test_thresholds_are_tuned_by_f1():
    # a: above 0.25 2 of 3, all found, f1 0.8; b: no positive row; c: everything, f1 6/7
    assert tune_thresholds(TRUTH, PROBABILITIES).tolist() == pytest.approx([0.25, 0.5, 0.15])


@settings(max_examples=60, deadline=None)
@given(strategies.lists(strategies.tuples(strategies.booleans(), strategies.floats(0, 1, width=32)), min_size=1, max_size=12))
def test_no_threshold_is_better_than_the_tuned_one(rows):
    truth = np.array([[t] for t, _ in rows], np.float32)
    probabilities = np.array([[p] for _, p in rows], np.float32)

    def f1(cut):
        return sklearn_metrics.f1_score(truth[:, 0], probabilities[:, 0] >= cut, zero_division=0)

    chosen = tune_thresholds(truth, probabilities)
    assert chosen.shape == (1,) and chosen.dtype == np.float32
    best = max(f1(cut) for cut in probabilities[:, 0])
    assert f1(chosen[0]) == pytest.approx(best if truth.any() else f1(0.5))


def test_threshold_between_neighbouring_floats():
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    probabilities = np.array([[high], [low], [low]], np.float32)
    truth = np.array([[1], [0], [0]], np.float32)
    assert (probabilities >= tune_thresholds(truth, probabilities)).ravel().tolist() == [True, False, False]


def test_regression_by_hand():
    made, labels = compute("regression", np.array([1, 2, 3, 4], np.float32),
                           np.array([[1.0], [2.0], [4.0], [3.0]], np.float32), ())
    assert labels == []
    # ranks differ by 0 0 1 1: 1 - 6 x 2 / (4 x 15); the values are the ranks
    assert made == pytest.approx({"spearman": 0.8, "pearson": 0.8, "mse": 0.5, "mae": 0.5})


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0000002]])
def test_constant_answers_have_no_correlation(values):
    made, _ = compute("regression", np.array([1, 2, 3], np.float32), np.array(values, np.float32)[:, None], ())
    assert np.isfinite(list(made.values())).all()
    if len(set(values)) == 1:
        assert made["spearman"] == made["pearson"] == 0.0


def test_one_row_of_regression():
    made, _ = compute("regression", np.array([1.0], np.float32), np.array([[3.0]], np.float32), ())
    assert made == {"spearman": 0.0, "pearson": 0.0, "mse": 4.0, "mae": 2.0}


@pytest.mark.parametrize("problem, targets, probabilities, names", [
    ("single_label", np.array([0, 1, 2]), one_hot([0, 1, 1]), NAMES),
    ("multi_label", TRUTH, PROBABILITIES, NAMES),
    ("regression", np.array([0.0, 1.0]), np.array([[0.0], [1.0]]), ()),
])
def test_names_are_those_that_the_config_knows(problem, targets, probabilities, names):
    made, _ = compute(problem, targets, probabilities, names)
    assert {*made, "loss"} == set(METRICS[problem])
    assert all(type(v) is float for v in made.values())
