"""The label table."""

import json

import numpy as np
import pytest
from stores import make_store

from tfft.errors import UserError
from tfft.tasks.text_classification.labels import LabelColumn, Labels, infer_labels, infer_scale, label_counts, natural


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store", ["b", "a", "b", "c", "10", "2"])


def test_labels_are_inferred_in_natural_order(store):
    assert infer_labels(store, np.arange(6), ()) == Labels(("2", "10", "a", "b", "c"), (1, 1, 1, 2, 1), rows=6)


def test_only_training_rows_count(store):
    assert infer_labels(store, np.array([0, 1]), ()) == Labels(("a", "b"), (1, 1), rows=2)
    assert label_counts(store, np.array([0, 2, 3])).tolist() == [2, 0, 1, 0, 0]


def test_given_labels_keep_their_order_and_may_be_absent(store):
    made = infer_labels(store, np.array([0, 1, 2]), ("c", "b", "a"))
    assert made == Labels(("c", "b", "a"), (0, 2, 1), rows=3, values="ids")


def test_training_label_that_is_not_given_is_named(store):
    with pytest.raises(UserError, match="config.data.labels does not name. Unknown label 'c'"):
        infer_labels(store, np.arange(4), ("a", "b"))


def test_one_label_is_too_few(store):
    with pytest.raises(UserError, match="one label only: 'b'; a classifier needs two"):
        infer_labels(store, np.array([0, 2]), ())


def test_column_gives_ids_of_the_table(store):
    column = LabelColumn(store, Labels(("a", "b"), (1, 2)))
    assert column.single(np.arange(6)).tolist() == [1, 0, 1, -1, -1, -1]


def test_column_gives_several_labels(tmp_path):
    several = make_store(tmp_path / "several", [("x", "y"), (), ("y",), ("z", "x")])
    column = LabelColumn(several, Labels(("y", "x"), (2, 2)))
    assert column.several(np.array([3, 0, 1, 2])).tolist() == [[0, 1], [1, 1], [0, 0], [1, 0]]
    assert infer_labels(several, np.arange(4), ()) == Labels(("x", "y", "z"), (2, 2, 1), rows=4)
    assert label_counts(several, np.array([1])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("names", [["-3", "0", "2", "10", "a10", "b"], ["1", "--5", "x", "\u00b2"],
                                   ["-0.5", "0.5", "1.0", "1.5", "2"]])
def test_natural_order_takes_any_name(names):
    assert sorted(reversed(names), key=natural) == names


def test_scale_of_values(tmp_path):
    store = make_store(tmp_path / "values", [1.0, 3.0, 4.0, 4.0])
    made = infer_scale(store, np.array([0, 1]), True)
    assert (made.mean, made.deviation) == (2.0, 1.0)
    assert infer_scale(store, np.array([0, 1]), False) == Labels()
    with pytest.raises(UserError, match="same value, 4.0"):
        infer_scale(store, np.array([2, 3]), True)


def test_a_value_too_large_is_named(tmp_path):
    store = make_store(tmp_path / "values", [1.0, -1e300, 4.0])
    with pytest.raises(UserError, match=r"file.csv:3: the value -1e\+300 is too large"):
        infer_scale(store, np.arange(3), True)


def test_saved_table_is_the_same(tmp_path):
    for labels in (Labels(("\u00e9t\u00e9", "b,c"), (3, 0), rows=3), Labels(mean=0.1, deviation=2.5),
                   Labels(("a", "b"), (1, 2), rows=3, values="ids", normalisation=("case",), separator=";")):
        labels.save(tmp_path)
        assert Labels.load(tmp_path) == labels


@pytest.mark.parametrize("names, values", [(["neg", "pos"], "ids"), (["1", "2"], "names")])
def test_tables_of_before_are_read(tmp_path, names, values):
    before = {"names": names, "counts": [1, 2], "mean": 0.0, "deviation": 1.0, "rows": 3}
    (tmp_path / "labels.json").write_text(json.dumps(before))
    assert Labels.load(tmp_path) == Labels(tuple(names), (1, 2), rows=3, values=values)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"colour": 3}'])
def test_damaged_table_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "labels.json").write_text(text)
    with pytest.raises(UserError, match="Cannot read .*labels.json.*Is .* the workdir of a run"):
        Labels.load(tmp_path)
