"""Paired tests, several comparisons and rows needed, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from tfft.evaluation.pairs import EXACT, holm, mcnemar, of_draws, paired_test, rows_needed, sign_flip


@pytest.mark.parametrize("one, other", [(0, 0), (1, 9), (9, 1), (5, 5), (0, 3), (40, 61), (300, 201)])
def test_mcnemar_is_the_binomial_test(one, other):
    expected = stats.binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-9)


def test_of_few_differences_all_signs_are_tried():
    values = np.array([0.5, -0.25, 0.125, 0.0, 0.75, 0.5, 0.3, -0.1])
    expected = stats.permutation_test((values,), lambda x, axis: x.mean(axis), permutation_type="samples", n_resamples=np.inf,
                                      vectorized=True).pvalue
    assert sign_flip(values) == pytest.approx(expected)
    assert sign_flip(np.zeros(4)) == 1.0 and sign_flip(np.ones(EXACT)) == 2 / 2**EXACT


def test_of_many_differences_signs_are_drawn():
    values = np.random.default_rng(3).normal(0, 1, 2000)
    values += 0.035 - values.mean()
    expected = stats.ttest_1samp(values, 0).pvalue  # the same for so many
    assert 0.01 < expected < 0.2 and sign_flip(values) == pytest.approx(expected, abs=0.015)
    assert sign_flip(values) == sign_flip(values) and sign_flip(values + 1) == 1 / 10_000
    assert sign_flip(values[:1000], seed=1) == pytest.approx(sign_flip(values[:1000]), abs=0.03)


def test_the_test_suits_the_scores():
    right = np.array([1, 1, 0, 0, 1.0])
    assert paired_test(right, np.ones(5)) == ("McNemar's exact test", mcnemar(0, 2))
    assert paired_test(right, np.full(5, 0.5))[0] == "paired sign-flip test"


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2] and holm([0.9, 0.8]) == [1.0, 1.0]


def test_p_of_a_bootstrap():
    assert of_draws(np.ones(999)) == 0.002 and of_draws(np.array([-1.0, 1.0])) == 1.0


def test_with_the_rows_needed_the_power_is_the_one_said():
    difference, deviation = 0.2, 1.0
    n = rows_needed(difference, deviation)
    assert n == 197 and rows_needed(0.0, 1.0) is None and rows_needed(difference, deviation, comparisons=3) > n
    samples = np.random.default_rng(0).normal(difference, deviation, (2000, n))
    assert (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.03)
