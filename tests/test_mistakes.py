"""The most confident mistakes come first; what is right does not come."""

import numpy as np
import pytest
from stores import make_store

from tfft.tasks.text_classification.mistakes import worst
from tfft.tasks.text_classification.report import LabelReport


def make(problem, names, folder, labels, targets, probabilities, thresholds=None, rows=None):
    """What `worst` takes, but for the count."""
    rows = np.arange(len(targets)) if rows is None else np.array(rows)
    report = LabelReport({}, len(rows), thresholds=thresholds, rows=rows, targets=np.array(targets),
                         probabilities=np.array(probabilities, np.float32))
    return problem, names, make_store(folder, labels), report


@pytest.fixture
def single(tmp_path):
    return make("single_label", ("neg", "pos"), tmp_path / "store", ["neg", "pos", "neg", "pos"], [0, 1, 0, 1],
                [[0.9, 0.1], [0.6, 0.4], [0.05, 0.95], [0.2, 0.8]])


def test_single_label_worst_first(single):
    assert worst(*single, 10) == [("file.csv:4", "text 2", "neg", "pos 0.95"), ("file.csv:3", "text 1", "pos", "neg 0.60")]
    assert worst(*single, 1) == [("file.csv:4", "text 2", "neg", "pos 0.95")]


def test_rows_of_a_selection_are_looked_up(tmp_path):
    made = make("single_label", ("neg", "pos"), tmp_path / "store", ["neg", "pos", "neg", "pos"], [1], [[1.0, 0.0]], rows=[3])
    assert worst(*made, 5) == [("file.csv:5", "text 3", "pos", "neg 1.00")]


def test_multi_label_by_thresholds(tmp_path):
    labels = [("x",), ("x", "y"), (), ("y",)]
    targets = [[1, 0], [1, 1], [0, 0], [0, 1]]
    probabilities = [[0.9, 0.1], [0.2, 0.9], [0.4, 0.6], [0.1, 0.7]]
    made = make("multi_label", ("x", "y"), tmp_path / "a", labels, targets, probabilities, np.array([0.5, 0.5]))
    assert worst(*made, 5) == [("file.csv:3", "text 1", "x, y", "y 0.90"), ("file.csv:4", "text 2", "", "y 0.60")]
    made = make("multi_label", ("x", "y"), tmp_path / "b", labels, targets, probabilities, np.array([0.15, 0.8]))
    assert worst(*made, 5) == [("file.csv:4", "text 2", "", "x 0.40"), ("file.csv:5", "text 3", "y", "")]


def test_regression_by_distance(tmp_path):
    made = make("regression", (), tmp_path / "store", [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [[1.5], [5.0], [3.0]])
    assert worst(*made, 5) == [("file.csv:3", "text 1", "2.000", "5.000"), ("file.csv:2", "text 0", "1.000", "1.500")]


def test_nothing_wrong_and_nothing_at_all(tmp_path):
    names = ("neg", "pos")
    assert worst(*make("single_label", names, tmp_path / "a", ["neg"], [0], [[0.6, 0.4]]), 5) == []
    assert worst(*make("single_label", names, tmp_path / "b", ["neg"], [], np.zeros((0, 2))), 5) == []
