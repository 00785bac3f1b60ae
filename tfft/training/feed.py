"""Which batches come next, and for how many steps: one iterator, or one for each shape where shapes are static."""

from collections.abc import Callable

from tfft.data.pipeline import Epochs

Shape = tuple[int, int]  # (examples of the global batch, length)
BUILT_STEPS = 50  # steps whose batches are built at once for the hosts of a pod slice


class Feed:
    """Training batches of steps up to `total`, asked for in their order.

    make(start, stop, shape): the dataset, distributed over replicas, of steps start..stop-1; with a shape, of those alone
    whose batches have it. `static`: batches have shapes. `built`: datasets hold their batches, and so must be short.
    """

    def __init__(self, epochs: Epochs, make: Callable, total: int, *, static: bool, built: bool = False):
        self._epochs, self._make, self._total, self._static, self._built = epochs, make, total, static, built
        self._iterators = {}
        self._end = 0  # of the one iterator there is, where batches are built

    def take(self, step: int, limit: int):
        """(an iterator whose next batches are those of `step` and the steps after it, the step up to which it may be read);
        that is `limit` at most, and steps must be trained on up to it before the next call."""
        if not self._static:
            return self._iterator(None, step, self._total), limit
        shape = self._epochs.shape(step)
        if not self._built:
            return self._iterator(shape, step, self._total), self._epochs.same_shape_until(step, limit)
        if step >= self._end:
            self._end = self._epochs.same_shape_until(step, min(self._total, step + BUILT_STEPS))
            self._iterators.clear()
        return self._iterator(shape, step, self._end), min(limit, self._end)

    def _iterator(self, shape: Shape | None, step: int, stop: int):
        if shape not in self._iterators:
            self._iterators[shape] = iter(self._make(step, stop, shape))
        return self._iterators[shape]
