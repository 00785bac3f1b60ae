"""Intervals by resampling: against the known error of a mean, the same for the same rows, pairs of runs, few and many rows."""

import numpy as np

from tfft.evaluation.resampling import DRAWN, LEAST, RESAMPLES, interval, resampled


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    low, high = interval(lambda places: {"mean": values[places].mean()}, len(values))["mean"]
    error = values.std() / len(values) ** 0.5
    assert abs(low - (values.mean() - 1.96 * error)) < 0.2 * error and abs(high - (values.mean() + 1.96 * error)) < 0.2 * error


def test_draws_follow_from_the_number_of_rows_and_the_seed():
    def figures(values):
        return lambda places: {"mean": values[places].mean()}

    one, other = np.arange(50.0), np.arange(50.0) + 1
    apart = resampled(lambda places: {"mean": other[places].mean() - one[places].mean()}, 50)["mean"]
    np.testing.assert_allclose(apart, 1)  # of two runs the same rows are drawn
    both = resampled(figures(one), 50)["mean"], resampled(figures(other), 50)["mean"]
    np.testing.assert_allclose(both[1] - both[0], 1)
    assert len(both[0]) == RESAMPLES and interval(figures(one), 50, seed=1) != interval(figures(one), 50)


def test_a_figure_that_some_draws_lack_is_left_out():
    values = np.array([1.0, 2.0, 3.0])
    made = interval(lambda places: {"mean": values[places].mean(), **({"two": 1.0} if 1 in places else {})}, 3)
    assert list(made) == ["mean"] and made["mean"].low >= 1 and made["mean"].high <= 3
    assert interval(lambda places: {"mean": 0.0}, 0) == {}


def test_of_very_many_rows_there_are_fewer_resamples():
    n = DRAWN // 100
    assert len(resampled(lambda places: {"size": len(places)}, n)["size"]) == LEAST
    assert len(resampled(lambda places: {"size": len(places)}, n, resamples=3)["size"]) == 3
