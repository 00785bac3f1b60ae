"""Learning rates at hand-computed points."""

import math

import pytest
import tensorflow as tf

from tfft.config import Train
from tfft.training.schedules import epochs_by_size, learning_rate

# 20 steps, 4 of them warm-up, peak 1, end 0.1: after warm-up x = (step - 4) / 16
POINTS = {
    "constant": {4: 1.0, 12: 1.0, 19: 1.0},
    "linear": {4: 1.0, 12: 0.55, 19: 1 - 0.9 * 15 / 16},
    "cosine": {4: 1.0, 8: 0.1 + 0.45 * (1 + math.sqrt(0.5)), 12: 0.55, 19: 0.1 + 0.45 * (1 + math.cos(math.pi * 15 / 16))},
    "polynomial": {4: 1.0, 12: 0.1 + 0.9 * 0.125, 19: 0.1 + 0.9 / 4096},
    "exponential": {4: 1.0, 12: math.sqrt(0.1), 19: 0.1 ** (15 / 16)},
}


def rate(step: int, config: Train, total: int = 20) -> float:
    value = learning_rate(tf.constant(step, tf.int64), config, total)
    assert value.dtype == tf.float32 and value.shape == ()
    return float(value)


def settings(schedule: str, **changes) -> Train:
    return Train(**{"schedule": schedule, "peak_learning_rate": 1.0, "warmup_fraction": 0.2,
                    "end_learning_rate_fraction": 0.1, "power": 3.0, **changes})


@pytest.mark.parametrize("schedule", POINTS)
def test_shape_after_warm_up(schedule):
    config = settings(schedule)
    for step, expected in POINTS[schedule].items():
        assert rate(step, config) == pytest.approx(expected, rel=1e-5), step


@pytest.mark.parametrize("schedule", POINTS)
def test_warm_up_rises_linearly_and_never_is_zero(schedule):
    config = settings(schedule, peak_learning_rate=5e-5)
    assert [rate(s, config) for s in range(5)] == pytest.approx([1e-5, 2e-5, 3e-5, 4e-5, 5e-5])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "polynomial"])
def test_end_is_reached_and_held(schedule):
    assert rate(20, settings(schedule)) == pytest.approx(0.1, rel=1e-5)
    assert rate(500, settings(schedule)) == pytest.approx(0.1, rel=1e-5)
    assert rate(20, settings(schedule, end_learning_rate_fraction=0.0)) == pytest.approx(0.0, abs=1e-6)


def test_without_warm_up_the_first_step_has_the_peak():
    assert rate(0, settings("linear", warmup_fraction=0.0)) == 1.0


def test_warm_up_of_all_steps():
    config = settings("linear", warmup_fraction=1.0)
    assert [rate(s, config, 3) for s in range(3)] == pytest.approx([0.25, 0.5, 0.75])


def test_warm_up_steps_are_not_one_more_by_a_rounding_error():
    config = settings("constant", warmup_fraction=0.07)  # 0.07 * 100 is 7.000000000000001 in floating point
    assert rate(7, config, 100) == 1.0
    assert rate(6, config, 100) == pytest.approx(7 / 8)


def test_a_fraction_of_a_step_warms_up_one_step():
    config = settings("constant", warmup_fraction=0.01)
    assert [rate(s, config) for s in range(2)] == [0.5, 1.0]


@pytest.mark.parametrize("batches, epochs", [(0, 10), (6, 10), (25, 10), (26, 10), (50, 5), (57, 5), (84, 3), (5000, 3)])
def test_small_sets_have_more_epochs(batches, epochs):
    assert epochs_by_size(batches) == epochs
