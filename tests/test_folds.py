"""Folds of a cross-validation: who is in which, what belongs together, and what all runs say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tfft.config import fold_runs, is_all_folds, resolve
from tfft.data.folds import assign, joined_by, rarest, salted, tenths
from tfft.data.splits import split_hash
from tfft.data.store import Ragged
from tfft.errors import UserError
from tfft.folds.summary import estimate


def hashes(number: int, seed: int = 0) -> np.ndarray:
    return np.array([split_hash(str(i), seed) for i in range(number)], np.uint64)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(2, 7))
def test_each_fold_has_its_share_of_each_stratum_and_as_many_rows(strata, number):
    strata = np.array(strata)
    folds = assign(np.arange(len(strata)), strata, hashes(len(strata)), number)
    assert folds.min() >= 0 and folds.max() < number
    counts = np.array([np.bincount(folds[strata == kind], minlength=number) for kind in range(5)])
    assert (np.ptp(counts, axis=1) <= 1).all() and np.ptp(counts.sum(axis=0)) <= 1


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=1, max_size=60), st.integers(2, 5))
def test_groups_stay_together_and_order_says_nothing(rows, number):
    groups, strata = np.array(rows).T
    own = hashes(13)[groups] ^ np.arange(len(groups), dtype=np.uint64)
    folds = assign(joined_by(groups), strata, own, number)
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    order = np.random.default_rng(1).permutation(len(groups))
    np.testing.assert_array_equal(assign(joined_by(groups[order]), strata[order], own[order], number), folds[order])


def test_large_groups_of_one_label_are_spread():
    groups = np.repeat(np.arange(10), 10)
    folds = assign(groups, np.repeat([0, 1], 50), hashes(100), 5)
    counts = np.array([[((folds == fold) & (np.repeat([0, 1], 50) == kind)).sum() for kind in (0, 1)] for fold in range(5)])
    assert (counts == 10).all()


def test_without_strata_a_fold_follows_from_the_hash_alone():
    own = hashes(2000)
    folds = assign(np.arange(2000), None, own, 4)
    np.testing.assert_array_equal(folds[:50], assign(np.arange(50), None, own[:50], 4))
    assert 440 < np.bincount(folds).min() and np.bincount(folds).max() < 560


def test_repeats_have_other_folds():
    first, second = (assign(np.arange(400), np.zeros(400, int), salted(hashes(400), repeat), 2) for repeat in (1, 2))
    assert 150 < (first == second).sum() < 250


def test_what_is_alike_in_a_third_row_is_together():
    assert joined_by(np.array([1, 1, 2, 3]), np.array([7, 8, 8, 9])).tolist() == [0, 0, 0, 1]
    chain = np.arange(50)
    assert joined_by(chain // 2, (chain + 1) // 2).tolist() == [0] * 50


def test_rarest_and_tenths():
    codes = Ragged(np.array([0, 1, 1, 1, -1]), np.array([2, 1, 0, 1, 1]))
    assert rarest(codes, 3).tolist() == [0, 1, 3, 1, 3]
    assert np.bincount(tenths(np.random.default_rng(0).normal(size=1000))).tolist() == [100] * 10
    assert set(tenths(np.ones(5)).tolist()) == {1}


def test_intervals():
    values = np.array([0.8, 0.9, 0.82, 0.85, 0.88])
    found = estimate(values)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, values.mean(), stats.sem(values)))
    corrected = estimate(values, 0.25)
    assert (corrected.high - corrected.mean) / (found.high - found.mean) == pytest.approx((0.45 / 0.2) ** 0.5)
    assert estimate(np.ones(3)).low == 1


# ---- settings


def made(**folds):
    return resolve({"data": {"train": "csv:a.csv", "folds": {"number": 3, **folds}}})


def test_a_source_may_name_the_best_weights_by_its_folds():
    sources = {name: {"train": f"csv:{name}.csv"} for name in "ab"}
    data = {"train": "", "validation": "", "sources": sources}
    resolve({"data": {**data, "folds": {"number": 3}}, "eval": {"metric": "a/accuracy", "patience": 2}})
    with pytest.raises(UserError, match="this source has no validation rows"):
        resolve({"data": data, "eval": {"metric": "a/accuracy"}})


def test_a_run_of_each_fold():
    runs = fold_runs(made(repeats=2))
    assert list(runs) == [f"fold-{i}" for i in range(1, 7)]
    assert [(one.data.folds.repeat, one.data.folds.fold, one.train.seed) for one in runs.values()] == [
        (1, 1, 0), (1, 2, 0), (1, 3, 0), (2, 1, 1), (2, 2, 1), (2, 3, 1)]
    assert is_all_folds(made()) and not is_all_folds(runs["fold-1"])
    assert runs["fold-5"].data.specs("validation") == ["fold 2 of 3, repeat 2"]


@pytest.mark.parametrize("data, more, message", [
    ({"folds": {"number": 1}}, {}, "leaves no row to train on"),
    ({"folds": {"repeats": 2}}, {}, "folds.number is 0"),
    ({"folds": {"number": 3, "held_out": 4}}, {}, "there are 3 folds"),
    ({"folds": {"number": 3}, "validation": "csv:dev.csv"}, {}, "chosen_on=validation to have these rows"),
    ({"folds": {"number": 3}, "validation_rows": 5}, {}, "a fold is judged whole"),
    ({"folds": {"number": 3, "chosen_on": "validation"}, "test": "10%"}, {}, "tfft evaluate --data=csv:FILE"),
    ({"folds": {"number": 3, "chosen_on": "validation"}, "validation": ""}, {}, "set data.validation"),
    ({"folds": {"number": 3}}, {"model": {"start": "runs/a"}}, "may have been trained on rows that a fold holds out"),
])
def test_settings_that_do_not_fit(data, more, message):
    with pytest.raises(UserError, match=message):
        resolve({"data": {"train": "csv:a.csv", **data}, **more})
