"""Elastic weight consolidation (Kirkpatrick et al. 2017, equation 3): weights that mattered are held where they were."""

import numpy as np
import tensorflow as tf


class Anchor(tf.Module):
    """Adds strength / 2 * sum(importance * (w - before)^2) to the loss, over all weights.

    The importance is the diagonal of the Fisher information up to a factor, which is chosen so that its mean over the weights
    is 1 and a strength means the same in every run: AdamW's second moments at the end of the run before, which are means of
    squared gradients, instead of another pass over its rows. Of the runs before that one it is what that run held on to, added
    up, as in online EWC (Schwarz et al. 2018, section 2.2) without forgetting.
    """

    def __init__(self, variables: list, strength: float, importance: list[np.ndarray] | None = None):
        """importance: float32 of each variable's shape; None where a checkpoint will have it, and the weights."""
        super().__init__(name="anchor")
        self._strength = strength
        self.before = [tf.Variable(v.value, trainable=False, name=f"before_{i}") for i, v in enumerate(variables)]
        self.importance = [tf.Variable(tf.zeros(v.shape) if importance is None else importance[i], trainable=False,
                                       name=f"importance_{i}") for i, v in enumerate(variables)]

    def penalised(self, variables: list, loss: tf.Tensor, gradients: list, share: float, slope) -> tuple[tf.Tensor, list]:
        """A replica's loss and gradients with its share of the penalty and of its gradient, times the loss scale in slope."""
        made = []
        for variable, gradient, before, importance in zip(variables, gradients, self.before, self.importance, strict=True):
            moved = variable.value - before
            pull = self._strength * importance * moved
            made.append(tf.convert_to_tensor(gradient) + slope * pull)
            loss += share * tf.reduce_sum(pull * moved) / 2
        return loss, made
