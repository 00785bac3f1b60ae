"""One, two and four replicas, and two processes, give the same numbers."""

import fcntl
import itertools
import json
import os

import equivalence
import numpy as np
import pytest

pytestmark = pytest.mark.slow
EVERYWHERE = ("plain", "clip by global norm", "gradient accumulation", "EMA", "layer-wise rates", "frozen layers", "adalora",
              "rematerialisation", "class weights", "ragged last batch", "fewer rows than replicas", "length buckets")
NOT_WORKERS = ("dora", "ia3", "adapters", "prefix", "prompt", "bitfit", "adversarial training")
CASES = (*EVERYWHERE, *NOT_WORKERS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What all the runs found; made once, however many processes pytest has."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "replicas.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = folder / "replicas.json"
        if not path.exists():
            path.write_text(json.dumps(equivalence.run(folder)))
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def found(made):
    return equivalence.differences(made)


@pytest.mark.parametrize("case, column", [
    *itertools.product(EVERYWHERE, ("2", "4", "2 workers")), *itertools.product(NOT_WORKERS, ("2", "4")),
    ("gradient accumulation", "1"), ("rematerialisation", "1")])
def test_replicas_train_like_one(found, case, column):
    difference = found[case, column]
    assert difference["losses"] <= 1e-6 and difference["norms"] <= 1e-6 and difference["metrics"] <= 1e-6
    assert difference["weights"] <= 1e-5


def test_the_cases_are_what_they_are_called(made, found):
    """Each trains in earnest, and differs from the plain one: a setting that did nothing would pass all else."""
    assert made["replicas"] == {"1": 1, "2": 2, "4": 4, "2 workers": 2}
    assert {case for case, _ in found} == set(CASES)
    one = made["trained"]["1"]
    for case in CASES:
        assert len(set(one[case]["losses"])) == 20 and one[case]["losses"][-1] < one[case]["losses"][0]
        if case not in ("plain", "gradient accumulation", "rematerialisation"):
            assert np.abs(np.subtract(one["plain"]["losses"], one[case]["losses"])).max() > 1e-3, case
    assert max(one["plain"]["norms"]) > 0.2  # some were clipped


def test_each_row_is_evaluated_once(made):
    one = made["evaluated"]["1"]
    for replicas, sets in made["evaluated"].items():
        for rows, report in sets.items():
            assert set(report["times"]) == {1} and f"{len(report['times'])} row" in rows, (replicas, rows)
            np.testing.assert_allclose(report["probabilities"], one[rows]["probabilities"], rtol=1e-6)
            assert report["metrics"] == pytest.approx(one[rows]["metrics"], rel=1e-6), (replicas, rows)


def test_replicas_drop_out_different_units(made):
    """Every replica has the same two equal rows."""
    dropped, whole = (np.concatenate(list(made["masks"][kind].values())) for kind in ("dropout", "none"))
    assert len(dropped) == len(whole) == 4
    assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.combinations(dropped, 2))
    np.testing.assert_allclose(whole, np.tile(whole[:1], (4, 1)), rtol=1e-5)


def test_a_run_is_reproducible_from_its_seed(made):
    assert made["bits"]["once"] == made["bits"]["again"] != made["bits"]["other seed"]
