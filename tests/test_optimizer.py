"""AdamW against Keras's own, decay mask, layer-wise rates, the average of the weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfft.config import Train
from tfft.training.optimizer import AdamW

SHAPES = ((3, 2), (2,), (2, 4))


def draws(seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype(np.float32) for shape in SHAPES]


def make_variables() -> list[keras.Variable]:
    return [keras.Variable(value) for value in draws(0)]


def make(variables, multipliers=(1.0, 1.0, 1.0), decayed=(True, False, True), **settings) -> AdamW:
    return AdamW(variables, Train(**settings), multipliers=list(multipliers), decayed=list(decayed))


def apply(optimizer: AdamW, step: int, rate: float = 0.01, gradients=None) -> None:
    gradients = draws(step + 1) if gradients is None else gradients
    optimizer.apply([tf.constant(g) for g in gradients], tf.constant(step, tf.int64), tf.constant(rate))


def test_five_steps_equal_those_of_keras():
    ours, theirs = make_variables(), make_variables()
    optimizer = make(ours, weight_decay=0.1, beta_1=0.8, beta_2=0.95, epsilon=1e-5)
    reference = keras.optimizers.AdamW(0.01, weight_decay=0.1, beta_1=0.8, beta_2=0.95, epsilon=1e-5)
    reference.build(theirs)
    reference.exclude_from_weight_decay(var_list=[theirs[1]])
    for step in range(5):
        apply(optimizer, step)
        reference.apply([tf.constant(g) for g in draws(step + 1)])
    for a, b, start in zip(ours, theirs, draws(0), strict=True):
        assert np.abs(a.numpy() - start).max() > 0.01
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_first_step_by_hand():
    # one step of Adam moves by rate * g / (|g| + epsilon / sqrt(1 - beta_2)) whatever the gradient's size
    variables = [keras.Variable([1.0, -2.0])]
    optimizer = make(variables, [1.0], [True], weight_decay=0.5, epsilon=1e-8)
    apply(optimizer, 0, rate=0.1, gradients=[np.array([1e-2, -30.0], np.float32)])
    np.testing.assert_allclose(variables[0], [0.95 - 0.1, -1.9 + 0.1], rtol=1e-5)


def test_decay_only_where_it_is_asked_for():
    variables = make_variables()
    apply(make(variables, weight_decay=0.5), 0, rate=0.1, gradients=[np.zeros(s, np.float32) for s in SHAPES])
    for variable, start, factor in zip(variables, draws(0), (0.95, 1.0, 0.95), strict=True):
        np.testing.assert_allclose(variable, start * factor, rtol=1e-6)


def test_multipliers_scale_step_and_decay():
    slow, fast = make_variables(), make_variables()
    apply(make(slow, (0.25, 0.0, 1.0), weight_decay=0.1), 0, rate=0.04)
    apply(make(fast, weight_decay=0.1), 0, rate=0.01)
    np.testing.assert_allclose(slow[0], fast[0], atol=1e-7)
    np.testing.assert_array_equal(slow[1], draws(0)[1])
    assert np.abs(slow[2].numpy() - fast[2].numpy()).max() > 0.01


def test_average_by_hand():
    variables = [keras.Variable([1.0])]
    optimizer = make(variables, [1.0], [False], ema_decay=0.15)
    expected = 1.0
    for step in range(3):  # (1 + t) / (10 + t) is 2/11 at the first step t = 1, and more later: 0.15 is less
        apply(optimizer, step, gradients=[np.ones(1, np.float32)])
        expected = 0.15 * expected + 0.85 * float(variables[0][0])
    np.testing.assert_allclose(optimizer.averages[0], [expected], rtol=1e-6)


def test_young_average_forgets_faster():
    variables = [keras.Variable([1.0])]
    optimizer = make(variables, [1.0], [False], ema_decay=0.999)
    apply(optimizer, 0, gradients=[np.ones(1, np.float32)])
    np.testing.assert_allclose(optimizer.averages[0], [2 / 11 * 1.0 + 9 / 11 * float(variables[0][0])], rtol=1e-6)


def test_swapping_twice_gives_back_the_same_bits():
    variables = make_variables()
    optimizer = make(variables, ema_decay=0.9)
    for step in range(2):
        apply(optimizer, step)
    weights, averages = [v.numpy() for v in variables], [a.numpy() for a in optimizer.averages]
    assert any((w != a).any() for w, a in zip(weights, averages, strict=True))
    optimizer.swap_averages()
    for variable, average, was, mean in zip(variables, optimizer.averages, weights, averages, strict=True):
        np.testing.assert_array_equal(variable, mean)
        np.testing.assert_array_equal(average, was)
    optimizer.swap_averages()
    for variable, was in zip(variables, weights, strict=True):
        np.testing.assert_array_equal(variable, was)


@pytest.mark.parametrize("ema_decay, expected", [(0.0, 0), (0.9, 3)])
def test_averages_are_kept_only_where_asked_for(ema_decay, expected):
    optimizer = make(make_variables(), ema_decay=ema_decay)
    assert len(optimizer.averages) == expected
    assert [m.shape for m in optimizer.momentum] == [v.shape for v in optimizer.velocity] == list(SHAPES)
