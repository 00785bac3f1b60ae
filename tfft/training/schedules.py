"""Learning-rate schedules: linear warm-up from 0, then a decay to the last step."""

import math

import tensorflow as tf

from tfft.config import Train

STEPS = 250         # that a pretrained encoder of any set of rows should have; docs/results/quality.md has what was tried
EPOCHS = (3, 10)    # the fewest and the most


def epochs_by_size(batches: int) -> int:
    """How many epochs of so many batches: 6 -> 10, 57 -> 5, 200 -> 3."""
    return min(max(math.ceil(STEPS / max(1, batches)), EPOCHS[0]), EPOCHS[1])


def learning_rate(step: tf.Tensor, config: Train, total_steps: int) -> tf.Tensor:
    """float32[] learning rate of the update that leads from `step` (counted from 0) to the next.

    With w warm-up steps, step s < w: peak * (s + 1) / (w + 1). After it, with x = (s - w) / (total - w) and the end e =
    peak * end_learning_rate_fraction: linear peak + (e - peak) x; cosine e + (peak - e)(1 + cos(pi x)) / 2; polynomial
    e + (peak - e)(1 - x)^power; exponential peak * fraction^x; constant peak.
    """
    warmup = min(math.ceil(config.warmup_fraction * total_steps - 1e-6), total_steps)  # 0.07 * 100 is above 7
    s = tf.cast(step, tf.float32)
    x = tf.clip_by_value((s - warmup) / max(1, total_steps - warmup), 0.0, 1.0)
    end = config.end_learning_rate_fraction
    shape = {
        "constant": lambda: tf.ones_like(x),
        "linear": lambda: 1 + (end - 1) * x,
        "cosine": lambda: end + (1 - end) * (1 + tf.cos(math.pi * x)) / 2,
        "polynomial": lambda: end + (1 - end) * tf.pow(1 - x, config.power),
        "exponential": lambda: tf.pow(float(end), x),
    }[config.schedule]()
    return config.peak_learning_rate * tf.where(s < warmup, (s + 1) / (warmup + 1), shape)
