"""Weights that several versions have in common are in memory once; each answers as before, also when others have gone."""

import gc

import numpy as np
import pytest
import tensorflow as tf

from tfft.serving.server import shared
from tfft.serving.server.version import Version

BASE = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
X = np.ones((2, 300), np.float32)


class Model(tf.Module):
    """x -> x base + own."""

    def __init__(self, own: float, dtype=tf.float32):
        super().__init__()
        self.base, self.own = tf.Variable(tf.cast(BASE, dtype)), tf.Variable(own)

    @tf.function(input_signature=[tf.TensorSpec([None, 300], name="x")])
    def serve(self, x):
        return {"y": x @ tf.cast(self.base, tf.float32) + self.own}


def load(folder, own: float, dtype=tf.float32) -> Version:
    model = Model(own, dtype)
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.serve})
    return Version("model", 1, folder)


def answer(version: Version) -> np.ndarray:
    return version.signature("").run({"x": X})["y"]


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(shared, "_KNOWN", type(shared._KNOWN)())


def test_equal_weights_are_in_memory_once(tmp_path):
    first, second = load(tmp_path / "a", 1.0), load(tmp_path / "b", 2.0)
    assert (first.shared, second.shared) == (0, BASE.nbytes) and len(shared._KNOWN) == 1
    np.testing.assert_allclose(answer(first), X @ BASE + 1.0, atol=1e-3)
    np.testing.assert_allclose(answer(second), X @ BASE + 2.0, atol=1e-3)
    (array,) = shared._KNOWN.values()
    array[0] += 100.0  # what both see is this very array
    np.testing.assert_allclose(answer(first), X @ BASE + 101.0, atol=1e-3)
    np.testing.assert_allclose(answer(second), X @ BASE + 102.0, atol=1e-3)
    array[0] -= 100.0
    del array
    first.close()
    np.testing.assert_allclose(answer(second), X @ BASE + 2.0, atol=1e-3)
    third = load(tmp_path / "c", 3.0)
    assert third.shared == BASE.nbytes
    second.close()
    third.close()
    np.testing.assert_allclose(answer(alone := load(tmp_path / "d", 4.0)), X @ BASE + 4.0, atol=1e-3)
    alone.close()
    gc.collect()
    load(tmp_path / "e", 5.0, tf.bfloat16).close()  # TensorFlow lets go of what it was fed at its next call


def test_a_model_that_changes_its_weights_has_them_alone(tmp_path):
    """In place, that is: others would see it."""
    class Counting(Model):
        @tf.function(input_signature=[tf.TensorSpec([None, 300], name="x")])
        def serve(self, x):
            self.base.assign_add(tf.ones_like(self.base))
            return {"y": x @ self.base}

    first, model = load(tmp_path / "a", 1.0), Counting(1.0)
    tf.saved_model.save(model, str(tmp_path / "b"), signatures={"serving_default": model.serve})
    counting, last = Version("model", 2, tmp_path / "b"), load(tmp_path / "c", 1.0)
    assert (counting.shared, last.shared) == (0, BASE.nbytes)
    np.testing.assert_allclose(answer(counting), X @ (BASE + 1), atol=1e-3)
    np.testing.assert_allclose(answer(counting), X @ (BASE + 2), atol=1e-3)
    np.testing.assert_allclose(answer(first), answer(last))


def test_other_contents_and_other_types_are_not(tmp_path, monkeypatch):
    first, other = load(tmp_path / "a", 1.0), load(tmp_path / "b", 1.0, tf.bfloat16)
    monkeypatch.setattr(shared, "AT_ONCE", 1000)  # each weight in a run of its own
    monkeypatch.setattr(shared, "LEAST", 1)
    monkeypatch.setitem(globals(), "BASE", BASE + 1)
    changed, same = load(tmp_path / "c", 1.0), load(tmp_path / "d", 1.0)
    assert (first.shared, other.shared, changed.shared, same.shared) == (0, 0, 0, BASE.nbytes + 4)
    np.testing.assert_allclose(answer(changed), X @ BASE + 1.0, atol=1e-3)
    np.testing.assert_allclose(answer(same), answer(changed))
    np.testing.assert_allclose(answer(other), answer(first), atol=0.5)
