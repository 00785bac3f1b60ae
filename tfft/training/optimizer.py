"""AdamW with decoupled decay, layer-wise learning rates and an average of the weights.

Not Keras's optimizer: that one clips before it reduces over replicas, and makes some ten passes over memory where the fused
TensorFlow kernel makes one; on a CPU, with short texts, that is a third of the step.
"""

from collections.abc import Callable

import tensorflow as tf

from tfft.config import Train
from tfft.training.consolidation import Anchor
from tfft.training.precision import LossScale
from tfft.training.ranks import RankBudget


class AdamW(tf.Module):
    """Loshchilov & Hutter 2019, algorithm 2, on float32 variables; gradients arrive already summed over replicas.

    As in TensorFlow and Keras, epsilon is added to sqrt(v) before the bias correction ("epsilon hat" of Kingma & Ba 2015,
    section 2). Decay is applied with the variable's own learning rate: w -= rate * weight_decay * w.
    """

    def __init__(self, variables: list, config: Train, *, multipliers: list[float], decayed: list[bool],
                 budget: RankBudget | None = None, zeros: Callable = tf.zeros):
        """zeros: what moments begin as."""
        super().__init__(name="adamw")
        self._config = config
        self.variables_ = [getattr(v, "value", v) for v in variables]
        self.multipliers = multipliers
        self.decayed = decayed
        self.momentum = [tf.Variable(zeros(v.shape), trainable=False, name=f"momentum_{i}")
                         for i, v in enumerate(self.variables_)]
        self.velocity = [tf.Variable(zeros(v.shape), trainable=False, name=f"velocity_{i}")
                         for i, v in enumerate(self.variables_)]
        self.averages = []
        if config.ema_decay:
            self.averages = [tf.Variable(v, trainable=False, name=f"average_{i}") for i, v in enumerate(self.variables_)]
        self.loss_scale = LossScale() if config.precision == "mixed_float16" else None
        self.budget = budget
        self.anchor: Anchor | None = None  # what holds weights of the run before

    def apply(self, gradients: list[tf.Tensor], step: tf.Tensor, rate: tf.Tensor, when: tf.Tensor | None = None) -> None:
        """One update in replica context, or none where `when`, a bool[] that is equal on all replicas, is False.

        step int64[] counts updates from 0; rate float32[]; IndexedSlices name each row once.
        """
        t = tf.cast(step + 1, tf.float32)
        scalars = (rate, tf.pow(self._config.beta_1, t), tf.pow(self._config.beta_2, t), t)
        strategy = tf.distribute.get_strategy()
        if strategy.num_replicas_in_sync == 1 and not tf.distribute.has_strategy():
            def update():
                for i, gradient in enumerate(gradients):
                    self._update(self.variables_[i], gradient, self._slots(i), i, scalars)
                if self.budget:
                    self.budget.update(self.budget.mask, *self._ranked(gradients), step)

            _do(update, when)
            return

        def across(strategy, gradients, scalars, step, when):
            def update():
                for i, gradient in enumerate(gradients):
                    strategy.extended.update(self.variables_[i], self._update, group=False,
                                             args=(gradient, self._slots(i), i, scalars))
                if self.budget:
                    strategy.extended.update(self.budget.mask, self.budget.update, group=False,
                                             args=(*self._ranked(gradients), step))

            _do(update, None if when is None else strategy.experimental_local_results(when)[0])

        tf.distribute.get_replica_context().merge_call(across, args=(gradients, scalars, step, when))

    def _ranked(self, gradients: list) -> tuple:
        return (*self.budget.arguments(gradients), self.budget.values_of(self.averages))

    def _slots(self, i: int) -> tuple:
        return (self.momentum[i], self.velocity[i], *self.averages[i:i + 1])

    def _update(self, variable, gradient, slots, i, scalars):
        """Updates one variable on one device."""
        config = self._config
        rate, beta_1_power, beta_2_power, t = scalars
        rate = rate * self.multipliers[i]
        if isinstance(gradient, tf.IndexedSlices):
            gradient = tf.scatter_nd(gradient.indices[:, tf.newaxis], gradient.values, variable.shape)
        if self.decayed[i] and config.weight_decay:
            variable.assign_sub(variable * (rate * config.weight_decay))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle, m=slots[0].handle, v=slots[1].handle, beta1_power=beta_1_power,
            beta2_power=beta_2_power, lr=rate, beta1=config.beta_1, beta2=config.beta_2, epsilon=config.epsilon,
            grad=gradient)
        if len(slots) > 2:
            decay = tf.minimum(config.ema_decay, (1 + t) / (10 + t))  # young averages forget faster
            slots[2].assign_sub((slots[2] - variable) * (1 - decay))

    def swap_averages(self) -> None:
        """Exchanges the weights with their averages, eagerly: before an evaluation and after it."""
        for variable, average in zip(self.variables_, self.averages, strict=True):
            kept = tf.identity(variable)
            variable.assign(average)
            average.assign(kept)


def _do(update: Callable[[], None], when: tf.Tensor | None) -> None:
    """Calls `update`, in the graph only where `when` holds."""
    if when is None:
        update()
        return

    def updated():
        update()
        return True

    tf.cond(when, updated, lambda: False)
