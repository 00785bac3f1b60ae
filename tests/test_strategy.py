"""Which strategy is made, and what seeds decide."""

import tensorflow as tf

from tfft.config import Distribution, Train
from tfft.training.strategy import make_strategy, set_up


def test_one_device_is_the_default():
    for config in (Distribution(), Distribution(strategy="one_device")):
        assert make_strategy(config) is tf.distribute.get_strategy()


def test_seeds_decide_what_is_drawn():
    drawn = []
    for seed in (1, 1, 2):
        set_up(Train(seed=seed, deterministic=False))
        drawn.append(float(tf.random.normal([])))
    assert drawn[0] == drawn[1] != drawn[2]
