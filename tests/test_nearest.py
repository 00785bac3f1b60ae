"""Search among vectors without any model: exact, approximate, and the recall of one against the other."""

import numpy as np
import pytest

from tfft.errors import UserError
from tfft.vectors import approximate, exact
from tfft.vectors.approximate import Approximate, recall
from tfft.vectors.exact import nearest, unit
from tfft.vectors.folder import Index, write_manifest


@pytest.fixture(scope="module")
def vectors():
    """float32[3000,16] around 30 places."""
    draw = np.random.default_rng(0)
    return unit((draw.normal(size=(30, 16))[draw.integers(0, 30, 3000)] + draw.normal(size=(3000, 16))).astype(np.float32))


def test_exact_is_a_plain_sort(vectors, monkeypatch):
    monkeypatch.setattr(exact, "TEXTS", 700)
    monkeypatch.setattr(exact, "QUERIES", 3)
    found, scores = nearest(vectors[:8], vectors, 20)
    products = vectors[:8] @ vectors.T
    assert (found == np.argsort(-products, axis=1, kind="stable")[:, :20]).all()
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :20], atol=1e-6)
    found, scores = nearest(vectors[:2], vectors[:3], 5, np.array([0, -1]))
    assert found[0].tolist()[-1] == -1 and sorted(found[1].tolist()) == [0, 1, 2] and 0 not in found[0]


def test_approximate_scores_exactly_and_finds_all_in_all_lists(vectors, tmp_path):
    made = approximate.build(vectors, tmp_path / "faiss.index")
    assert made["lists"] == 62 and made["kind"] == "IVF62,SQ8"
    index = Approximate(tmp_path / "faiss.index", vectors, 1)
    reached = index.tune(vectors[:50], 0.95)
    assert 0.95 <= reached <= 1 and 1 < index.probes < 62
    few = Approximate(tmp_path / "faiss.index", vectors, 1)
    assert few.tune(vectors[:50], 0.0) < reached and few.probes == 1
    index.probes = 62
    for found, wanted in zip(index.search(vectors[:50], 10), nearest(vectors[:50], vectors, 10), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    found, scores = few.search(vectors[:2], 5000)  # more than a list has
    assert found.shape == (2, 3000) and (found[:, -1] == -1).all() and (np.diff(scores[:, :9]) <= 0).all()


def test_recall_takes_texts_that_are_alike_for_each_other():
    assert recall(np.float32([[0.9, 0.5]]), np.float32([[0.9, 0.7]])) == 0.5
    assert recall(np.float32([[0.9, 0.7], [0.5, 0.5]]), np.float32([[0.9, 0.7], [0.5, 0.5]])) == 1


@pytest.mark.parametrize("manifest, wanted", [
    (None, "is no index: it has no manifest.json. Make one: tfft index"),
    ({"format": 99, "command": "tfft index --x"}, "has the format 99, this tfft reads 1. Make it anew: tfft index --x"),
    ({"approximate": None, "command": "tfft index --x"}, "is damaged .* Make it anew: tfft index --x"),
])
def test_folders_that_are_no_index(tmp_path, manifest, wanted):
    if manifest:
        write_manifest(tmp_path, manifest)
    with pytest.raises(UserError, match=wanted):
        Index(tmp_path)


def test_faiss_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(UserError, match="pip install faiss-cpu, or search exactly: --exact"):
        approximate.library()
