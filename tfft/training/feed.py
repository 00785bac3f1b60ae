"""Which batches come next, and for how many steps: one iterator, or one for each shape where shapes are static."""

from collections.abc import Callable

from tfft.data.pipeline import Epochs

Shape = tuple[int, int]  # (examples of the global batch, length)


class Feed:
    """Training batches of steps up to `total`, asked for in their order.

    make(start, stop, shape): the dataset, distributed over replicas, of steps start..stop-1; with a shape, of those alone
    whose batches have it, as where shapes are `static`.
    """

    def __init__(self, epochs: Epochs, make: Callable, total: int, *, static: bool):
        self._epochs, self._make, self._total, self._static = epochs, make, total, static
        self._iterators = {}

    def take(self, step: int, limit: int):
        """(an iterator whose next batches are those of `step` and the steps after it, the step up to which it may be read);
        that is `limit` at most, and steps must be trained on up to it before the next call."""
        shape = self._epochs.shape(step) if self._static else None
        if shape not in self._iterators:
            self._iterators[shape] = iter(self._make(step, self._total, shape))
        return self._iterators[shape], self._epochs.same_shape_until(step, limit) if self._static else limit


class Feeds:
    """A batch of each of several feeds for every step; where shapes are static each has one alone."""

    def __init__(self, feeds: list[Feed]):
        self._feeds = feeds

    def take(self, step: int, limit: int):
        """(an iterator of each feed, the step up to which they may be read)."""
        iterators, stops = zip(*(feed.take(step, limit) for feed in self._feeds), strict=True)
        assert min(stops) == limit, "all batches of a task have one shape"
        return iterators, limit
