"""What float16 needs beside a dtype policy: a loss scale that finds itself, and steps that overflow without harm."""

import tensorflow as tf

INITIAL_SCALE, LARGEST_SCALE, GROWTH_STEPS = 2.0**15, 2.0**24, 2000


class LossScale(tf.Module):
    """The factor on the loss while its gradient is taken, so that small gradients stay above float16's zero.

    Scaling and skipping: Micikevicius et al. 2018, section 3.2. Halved after a step that is not finite, doubled after
    `growth_steps` finite ones in a row, as in Keras's LossScaleOptimizer; but never below 1 and never above LARGEST_SCALE,
    and what is finite is asked of loss and gradients summed over all replicas, never of one replica's own. Always a power
    of two: scaling and unscaling change no digit. Make it in the strategy's scope; a checkpoint keeps it.

    scale 8, growth_steps 2; finite, finite, overflow, finite -> 8, 16, 8, 8
    """

    def __init__(self, growth_steps: int = GROWTH_STEPS):
        super().__init__(name="loss_scale")
        self._growth_steps = growth_steps
        self.scale = _number(INITIAL_SCALE, tf.float32)
        self.good_steps = _number(0, tf.int64)  # finite ones since the scale last changed
        self.skipped_steps = _number(0, tf.int64)  # since the run began

    def update(self, finite: tf.Tensor) -> tf.Tensor:
        """Notes a step, outside of replicas. Returns bool[], whether it was not finite even at scale 1: no remedy is left."""
        hopeless = ~finite & (self.scale <= 1.0)
        good = tf.where(finite, self.good_steps + 1, 0)
        grows = good >= self._growth_steps
        raised = tf.where(grows, tf.minimum(self.scale * 2, LARGEST_SCALE), self.scale)
        self.scale.assign(tf.where(finite, raised, tf.maximum(self.scale / 2, 1.0)))
        self.good_steps.assign(tf.where(grows, tf.zeros_like(good), good))
        self.skipped_steps.assign_add(tf.cast(~finite, tf.int64))
        return hopeless


def _number(value, dtype: tf.DType) -> tf.Variable:
    return tf.Variable(value, dtype=dtype, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
