"""Which singular values of AdaLoRA's updates are kept (Zhang et al. 2023, "Adaptive Budget Allocation for Parameter-Efficient
Fine-Tuning"): all of all matrices compete for a budget that shrinks."""

import tensorflow as tf

SMOOTHING = 0.85      # of sensitivities and of their uncertainties (beta 1 and beta 2, section 4.1)
ORTHOGONALITY = 0.1   # weight of the penalty, the mean over all A and B (gamma, equation 4)
BEFORE, AFTER = 0.1, 0.5  # shares of the steps before the budget begins to shrink, and with what is kept in the end
ALLOCATIONS = 100     # about so many times while it shrinks


class RankBudget(tf.Module):
    """What is known of the importance of each triplet (A[:, i], value i, B[i]) of each matrix, and which are kept.

    An importance is that of the value, and the means of its A's and its B's; of each number it is |weight x gradient|, smoothed
    over steps, times how much that changes (equations 7 to 11).
    """

    def __init__(self, layers: list, variables: list, rank: int, total_steps: int):
        """layers: models.adapters.LowRank with values; variables: all that is trained; rank: triplets of a matrix in the end, a
        mean over all."""
        super().__init__(name="ranks")
        place = {v.path: i for i, v in enumerate(variables)}
        self._parts = [tuple(place[v.path] for v in (layer.a, layer.values, layer.b)) for layer in layers]
        self._variables = [getattr(v, "value", v) for v in variables]
        self._ranks = [layer.values.shape[0] for layer in layers]
        self._kept, self.total_steps = min(rank * len(layers), sum(self._ranks)), total_steps
        flat = [self._variables[i] for parts in self._parts for i in parts]
        self.sensitivity, self.uncertainty = ([tf.Variable(tf.zeros(v.shape), trainable=False, name=f"{name}_{i}")
                                               for i, v in enumerate(flat)] for name in ("sensitivity", "uncertainty"))
        self.mask = tf.Variable(tf.ones([sum(self._ranks)]), trainable=False, name="mask")

    def penalised(self, loss: tf.Tensor, gradients: list, share, slope) -> tuple[tf.Tensor, list]:
        """The loss with the penalty, mean of |A'A - 1|^2 and |BB' - 1|^2 over all matrices, and gradients with its own.

        share: what it is multiplied by beside its weight; slope: the same for gradients.
        """
        weight = ORTHOGONALITY / (2 * len(self._parts))
        for a, _, b in self._parts:
            for i, transposed in ((a, False), (b, True)):
                matrix = self._variables[i].value()
                columns = tf.transpose(matrix) if transposed else matrix
                apart = tf.matmul(columns, columns, transpose_a=True) - tf.eye(columns.shape[1])
                change = 4 * tf.matmul(columns, apart)
                loss += share * weight * tf.reduce_sum(tf.square(apart))
                gradients[i] += slope * weight * (tf.transpose(change) if transposed else change)
        return loss, gradients

    def _shrinking(self) -> tuple[int, int]:
        """The first and the last step at which values may go."""
        return round(BEFORE * self.total_steps), round((1 - AFTER) * self.total_steps)

    def budget(self, step: tf.Tensor) -> tf.Tensor:
        """float32[]: how many triplets are kept after update number `step`, counted from 0 (equation 12)."""
        first, last = self._shrinking()
        left = 1 - (tf.cast(step, tf.float32) - first) / max(last - first, 1)
        left = tf.clip_by_value(left, 0.0, 1.0) ** 3
        return tf.round(self._kept + (sum(self._ranks) - self._kept) * left)

    def arguments(self, gradients: list) -> tuple:
        """What `update` takes, for a strategy to pick each device's own."""
        chosen = [i for parts in self._parts for i in parts]
        return [self._variables[i] for i in chosen], [gradients[i] for i in chosen], self.sensitivity, self.uncertainty

    def update(self, mask, weights: list, gradients: list, sensitivity: list, uncertainty: list, averages: list,
               step: tf.Tensor) -> None:
        """After an update of the weights, on one device. averages: of the values, where there are any."""
        scores = []
        for weight, gradient, mean, spread in zip(weights, gradients, sensitivity, uncertainty, strict=True):
            sensitive = tf.abs(weight * gradient)
            mean.assign(SMOOTHING * mean + (1 - SMOOTHING) * sensitive)
            spread.assign(SMOOTHING * spread + (1 - SMOOTHING) * tf.abs(sensitive - mean))
            scores.append(mean * spread)
        triplets = tf.concat([tf.reduce_mean(a, 0) + value + tf.reduce_mean(b, 1)
                              for a, value, b in zip(scores[::3], scores[1::3], scores[2::3], strict=True)], 0)
        # how many are better, or as good and stand before; counted, as no step that a TPU compiles sorts
        other, number = triplets[tf.newaxis], tf.range(sum(self._ranks))
        better = (other > triplets[:, tf.newaxis]) | ((other == triplets[:, tf.newaxis])
                                                     & (number[tf.newaxis] < number[:, tf.newaxis]))
        places = tf.reduce_sum(tf.cast(better, tf.float32), axis=1)
        chosen = tf.cast(places < self.budget(step), tf.float32)

        first, last = self._shrinking()
        every = max(1, (last - first) // ALLOCATIONS)
        due = (step >= first) & (step <= last) & (((step - first) % every == 0) | (step == last))
        mask.assign(tf.where(due, chosen, mask))
        # between two allocations a value that was set to 0 may come back; after the last one it stays away
        held = tf.where(due | (step > last), mask, 1.0)
        for value, part in zip(weights[1::3], tf.split(held, self._ranks), strict=True):
            value.assign(value * part)
        for average, part in zip(averages, tf.split(held, self._ranks), strict=False):
            average.assign(average * part)

    def values_of(self, slots: list) -> list:
        """Of a slot for each variable, those of the values."""
        return [slots[value] for _, value, _ in self._parts] if slots else []
