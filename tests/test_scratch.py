"""Arrays that may lie on disk."""

import os

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.data import scratch as module
from tfft.data.scratch import let_go, parts, scratch
from tfft.tasks.text_classification.metrics import compute


@pytest.fixture(params=["in memory", "on disk"])
def place(request, monkeypatch, tmp_path):
    """Where arrays of more than 99 bytes lie."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if request.param == "on disk":
        monkeypatch.setattr(module, "IN_MEMORY", 99)
    return request.param


@pytest.mark.parametrize("shape, dtype", [((40,), np.float32), ((20, 5), np.float32), ((3, 4, 9), np.int64), ((200,), bool)])
def test_it_is_an_array_of_zeros(place, shape, dtype, tmp_path):
    made = scratch(shape, dtype)
    assert made.shape == shape and made.dtype == dtype and not made.any()
    assert isinstance(made, np.memmap) == (place == "on disk")
    expected = np.zeros(shape, dtype)
    values = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    for part in parts(shape[0], made[0].size, 11):
        made[part] = expected[part] = values[part]
    made[[0, 3 % shape[0]]] += expected[[1, 1]]
    expected[[0, 3 % shape[0]]] += expected[[1, 1]].copy()
    np.testing.assert_array_equal(made, expected)
    np.testing.assert_array_equal(made[1:, ...].sum(axis=0), expected[1:, ...].sum(axis=0))
    assert os.listdir(tmp_path) == []  # the file has no name: nothing is left, however the process ends


def test_each_is_an_array_of_its_own(place):
    a, b = scratch((50,)), scratch((50,))
    a[:], b[:] = 1, 2
    assert a.sum() == 50 and b.sum() == 100


def test_a_view_outlives_its_array(place):
    view = scratch((100, 2))[10:20]
    view[:] = np.arange(20).reshape(10, 2)
    assert view.sum() == 190


@pytest.mark.parametrize("shape", [(0,), (0, 7), (3, 0)])
def test_nothing_is_in_memory(place, shape):
    made = scratch(shape)
    assert made.shape == shape and not isinstance(made, np.memmap)


def test_what_fits_is_in_memory(monkeypatch):
    monkeypatch.setattr(module, "IN_MEMORY", 80)
    assert not isinstance(scratch((20,)), np.memmap) and isinstance(scratch((21,)), np.memmap)
    assert not isinstance(scratch((10,), np.float64), np.memmap) and isinstance(scratch((11,), np.float64), np.memmap)


@pytest.mark.parametrize("problem", ["single_label", "multi_label", "regression"])
def test_metrics_are_the_same_on_disk(place, problem):
    draw = np.random.default_rng(1)
    rows, labels = 300, 1 if problem == "regression" else 3
    found, truth = draw.random((rows, labels)).astype(np.float32), draw.integers(0, 2, (rows, labels)).astype(np.float32)
    targets = {"multi_label": truth, "regression": truth[:, 0], "single_label": truth.sum(axis=1).astype(np.int32) % labels}
    made, expected = (compute(problem, wrap(targets[problem]), wrap(found), ("a", "b", "c")[:labels], np.full(labels, 0.5))
                      for wrap in (filled, np.asarray))
    assert made == expected and len(made[0]) > 2


def filled(values: np.ndarray) -> np.ndarray:
    made = scratch(values.shape, values.dtype)
    made[:] = values
    return made


@given(st.integers(0, 500), st.integers(0, 50), st.integers(1, 400))
def test_parts_are_all_rows_once(rows, width, values):
    made = parts(rows, width, values)
    assert [i for part in made for i in range(rows)[part]] == list(range(rows))
    sizes = [part.stop - part.start for part in made]
    assert min(sizes, default=1) >= 1  # no part is empty
    assert all(size * width <= max(values, width) for size in sizes)
    assert len(set(sizes[:-1])) <= 1 and len(made) <= -(-rows * max(1, width) // max(1, values // 2)) + 1


def test_parts_by_hand():
    assert parts(10, 3, 12) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert parts(2, 100, 12) == [slice(0, 1), slice(1, 2)] and parts(0, 3) == []
    assert parts(10**6, 1) == [slice(0, 10**6)]


def test_what_is_let_go_is_no_longer_in_memory_and_not_lost():
    made = scratch((1 << 20, 40))  # 160 MiB
    made[:] = np.arange(40)
    before = psutil.Process().memory_info().rss
    let_go(made[5:], np.zeros(3))
    assert psutil.Process().memory_info().rss < before - (100 << 20)
    assert made[-1].tolist() == made[0].tolist() == list(range(40))
