"""Plan + store -> tf.data.Dataset of batches for this host."""

import functools
import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfft.data.plan import Plan, PlanSettings, make_plan, share
from tfft.data.store import TokenStore

# rows int64[b] of the store, -1 = filling -> (targets, weights float32[b] with 0 where filling)
Targets = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Epoch:
    """What one epoch reads: a plan over `rows` of a store, and the rows that targets are looked up by."""

    def __init__(self, store: TokenStore, rows: np.ndarray, target_rows: np.ndarray, settings: PlanSettings, index: int):
        self.store, self.rows, self.target_rows = store, rows, target_rows
        self.plan: Plan = make_plan(store.lengths[rows], settings, index)

    def tokens(self, batch: int) -> tuple[int, int, int]:
        """(examples, real tokens, token positions with padding) of a batch."""
        indices, length = self.plan.batch(batch)
        known = indices[indices >= 0]
        return len(known), int(self.store.lengths[self.rows[known]].sum()), len(indices) * length


class Epochs:
    """All epochs of a run. `open_epoch(epoch)` -> (store, rows, target_rows); the same for every epoch unless texts
    are augmented. Finds the (epoch, batch) of any step without having run the steps before it."""

    def __init__(self, open_epoch: Callable[[int], tuple[TokenStore, np.ndarray, np.ndarray]], settings: PlanSettings):
        self._open = open_epoch
        self.settings = settings
        self._remembered = functools.lru_cache(maxsize=4 if settings.run_length else 2)(self._epoch)
        # the one being read and the next; a dataset of one shape, when that is rare, is further ahead
        self._lock = threading.RLock()  # readers are parallel; an epoch is planned, and counted, once
        self._counts: list[int] = []

    def _epoch(self, index: int) -> Epoch:
        store, rows, target_rows = self._open(index)
        return Epoch(store, rows, target_rows, self.settings, index)

    def epoch(self, index: int) -> Epoch:
        with self._lock:
            return self._remembered(index)

    def num_batches(self, epoch: int) -> int:
        """Exact number of batches of an epoch; it varies between epochs only for constant-token batches."""
        if not self.settings.tokens_per_batch:
            epoch = 0
        with self._lock:
            while len(self._counts) <= epoch:
                self._counts.append(self.epoch(len(self._counts)).plan.num_batches)
        return self._counts[epoch]

    def locate(self, step: int) -> tuple[int, int]:
        """(epoch, batch) of a step counted from 0. Raises ValueError where there is no row."""
        epoch = 0
        while step >= (count := self.num_batches(epoch)):
            if not count:
                raise ValueError("an epoch without rows has no step")
            step -= count
            epoch += 1
        return epoch, step

    def shape(self, step: int) -> tuple[int, int]:
        """(examples with filling, length) of a step's global batch."""
        epoch, batch = self.locate(step)
        plan = self.epoch(epoch).plan
        return int(plan.padded_sizes[batch]), int(plan.lengths[batch])

    def same_shape_until(self, step: int, stop: int) -> int:
        """The first step after `step` whose batch has another shape; `stop` where none before it has."""
        shape = self.shape(step)
        return next((other for other in range(step + 1, stop) if self.shape(other) != shape), stop)

    def steps_of_shape(self, epoch: int, shape: tuple[int, int]) -> np.ndarray:
        """int64[n]: the steps of an epoch whose batches have this shape, in their order."""
        plan = self.epoch(epoch).plan
        return self.steps(epoch) + np.flatnonzero((plan.padded_sizes == shape[0]) & (plan.lengths == shape[1]))

    def steps(self, epochs: int) -> int:
        """How many steps the first `epochs` epochs take."""
        return sum(self.num_batches(e) for e in range(epochs))

    def tokens(self, first: int, last: int) -> tuple[int, int, int]:
        """(examples, real tokens, token positions with padding) of steps first..last-1."""
        places = [self.locate(step) for step in range(first, last)]
        return tuple(sum(column) for column in zip((0, 0, 0), *(self.epoch(e).tokens(b) for e, b in places), strict=True))

    def step_rows(self, step: int) -> np.ndarray:
        """The store rows (of the un-augmented store) of a step's global batch, without filling."""
        epoch, batch = self.locate(step)
        opened = self.epoch(epoch)
        indices = opened.plan.batch(batch).indices
        return opened.target_rows[indices[indices >= 0]]


def make_batch(opened: Epoch, batch: int, targets: Targets, pad_id: int, segments: bool, part: int = 0, parts: int = 1):
    """Builds one replica's share of a global batch in numpy.

    Returns: token_ids, padding_mask[, segment_ids] int32[b,S]; targets; loss_weights float32[b], already divided by the
    weights' sum over the global batch; indices int64[b] into the planned rows, -1 where filling.
    """
    indices, length = opened.plan.batch(batch)
    known = np.where(indices >= 0, indices, 0)
    labels, weights = targets(opened.target_rows[known])
    weights = np.where(indices >= 0, weights, 0).astype(np.float32)
    weights /= max(float(weights.sum(dtype=np.float64)), 1e-20)
    mine = share(len(indices), part, parts)
    rows = mine.stop - mine.start
    store = opened.store
    tokens, offsets = store.column("tokens"), store.column("tokens_offsets")
    token_ids = np.full((rows, length), pad_id, np.int32)
    padding_mask = np.zeros((rows, length), np.int32)
    segment_ids = np.zeros((rows, length), np.int32) if segments else None
    for i, (index, row) in enumerate(zip(indices[mine], opened.rows[known[mine]], strict=True)):
        begin, end = offsets[row], offsets[row + 1]
        if index < 0:
            padding_mask[i, 0] = 1  # one visible token: a row of nothing but padding would make NaN in attention
            continue
        token_ids[i, :end - begin] = tokens[begin:end]
        padding_mask[i, :end - begin] = 1
        if segments:
            segment_ids[i, store.column("first_length")[row]:end - begin] = 1
    inputs = [token_ids, padding_mask] + ([segment_ids] if segments else [])
    return (*inputs, labels[mine], weights[mine], indices[mine])


def dataset(epochs: Epochs, targets: Targets, *, pad_id: int, inputs: tuple[str, ...], target_shape: tuple[int, ...],
            target_dtype: tf.DType, start: int, stop: int, replicas: int = 1, host: int = 0, hosts: int = 1,
            prefetch: int = 8, shape: tuple[int, int] | None = None) -> tf.data.Dataset:
    """Batches of steps start..stop-1, one element for each replica of this host in turn.

    Elements: ({input name: int32[b,S]}, targets [b, *target_shape], loss_weights float32[b], indices int64[b]). No step
    depends on another, so a run resumed at `start` reads what an uninterrupted one would. With a `shape` (examples of the
    global batch, length): only the steps whose batches have it, b and S static.

    Python builds the batches here, in this process, also where the dataset is read on another host of a pod slice.
    """
    segments = "segment_ids" in inputs
    names = ("token_ids", "padding_mask") + (("segment_ids",) if segments else ())
    here = replicas // hosts
    types = [tf.int32] * len(names) + [target_dtype, tf.float32, tf.int64]

    def build(element):
        step, replica = divmod(int(element), here)
        epoch, batch = epochs.locate(step)
        return make_batch(epochs.epoch(epoch), batch, targets, pad_id, segments, host * here + replica, replicas)

    def load(element):
        *arrays, labels, weights, indices = tf.numpy_function(build, [element], types)
        for array in arrays:
            array.set_shape([rows, length])
        labels.set_shape([rows, *target_shape])
        weights.set_shape([rows])
        indices.set_shape([rows])
        return dict(zip(names, arrays, strict=True)), labels, weights, indices

    def elements_of(epoch):
        """The elements of an epoch's steps of `shape`."""
        steps = epochs.steps_of_shape(int(epoch), shape)
        steps = steps[(steps >= start) & (steps < stop)]
        return (steps[:, np.newaxis] * here + np.arange(here)).ravel()

    if shape is None or start >= stop:
        rows = length = None
        elements = tf.data.Dataset.range(start * here, stop * here)
    else:
        rows, length = shape[0] // replicas, shape[1]
        among = range(epochs.locate(start)[0], epochs.locate(stop - 1)[0] + 1)
        elements = tf.data.Dataset.range(among.start, among.stop).flat_map(
            lambda epoch: tf.data.Dataset.from_tensor_slices(tf.ensure_shape(
                tf.numpy_function(elements_of, [epoch], tf.int64), [None])))
    return untuned(elements.map(load, num_parallel_calls=2).prefetch(prefetch))


def untuned(made: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without tf.data's autotuning: nothing in it is left to tune. And when an iterator is given up, which the
    garbage collector may do at any place, TensorFlow's tuning thread (2.20) can miss that it has been cancelled; it then
    sleeps on for up to a minute, and all wait for it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return made.with_options(options)


def distributed(strategy: tf.distribute.Strategy, epochs: Epochs, targets: Targets, **arguments):
    """`dataset`, for every replica of a strategy: each host reads its own replicas' share."""
    replicas = strategy.num_replicas_in_sync

    def make(context: tf.distribute.InputContext | None = None):
        place = {"host": context.input_pipeline_id, "hosts": context.num_input_pipelines} if context else {}
        return dataset(epochs, targets, replicas=replicas, **place, **arguments)

    return make() if replicas == 1 else strategy.distribute_datasets_from_function(make)
