"""Plan + store -> tf.data.Dataset of batches for this host."""

import dataclasses
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.mixture import turns
from tfft.data.plan import Plan, PlanSettings, make_plan, share
from tfft.data.store import TokenStore

# examples int64[b] of the store (any where filling), or int64[b,K] (-1 where filling or absent), batch length -> (targets,
# weights float32[b]); where a Reader has `drawn`, more of both
Targets = Callable[[np.ndarray, int], tuple[Any, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Reader:
    """What a batch is made of. inputs: of the backbone, int32[b,S] each, or a target of that name; targets: a task's;
    target_specs: an array's, or those of a dict of arrays. The first axis of a spec is the batch's; any other None is the
    batch's length. sequences: K, where what is planned is K examples of the store each; see Epoch. drawn: `targets` also takes
    the plan's seed and the epoch (of a mixture Epoch.turns), and gives besides what the inputs show in place of an example's
    own tokens: int32[b,length], -1 where they show these. hidden: (examples int64[b*K], length) -> float[b*K,length,H], the
    input "hidden"; see tfft.models.split."""

    inputs: tuple[str, ...]
    pad_id: int
    targets: Targets
    target_specs: Any
    sequences: int = 1
    drawn: bool = False
    hidden: Callable[[np.ndarray, int], np.ndarray] | None = None


class Epoch:
    """What one epoch reads: a plan over `examples` of a store, and the examples that targets are looked up by.

    examples: int64[n], or int64[n,K]: what is planned is K examples each, -1 where one is absent, which become K sequences of
    a batch, one after another: int32[b*K,S] inputs with targets and weights of b. The longest of them decides its length.
    packed: they follow one another in one sequence, whose length is that of all of them. mixed: an example may be there several
    times.
    """

    def __init__(self, store: TokenStore, examples: np.ndarray, target_examples: np.ndarray, settings: PlanSettings,
                 index: int, packed: bool = False, mixed: bool = False):
        self.store, self.examples, self.target_examples = store, examples, target_examples
        self.seed, self.index, self.packed, self.mixed = settings.seed, index, packed, mixed
        if examples.ndim == 1:
            self.plan: Plan = make_plan(np.asarray(store.lengths[examples]), settings, index)
        elif packed:
            self.plan = make_plan(self.lengths, settings, index)
        else:
            lengths = self._lengths(examples)
            self.plan = dataclasses.replace(make_plan(lengths.max(axis=1), settings, index), sequences=examples.shape[1],
                                            real_tokens=int(lengths.sum(dtype=np.int64)))

    @property
    def lengths(self) -> np.ndarray:
        """int[n]: the tokens of what is planned; where it is several examples the longest, or of `packed` ones all."""
        made = self._lengths(self.examples)
        return made if made.ndim == 1 else made.sum(axis=1) if self.packed else made.max(axis=1)

    @functools.cached_property
    def turns(self) -> np.ndarray:
        """int64, as examples; see tfft.data.mixture."""
        return turns(self.target_examples, self.index)

    def _lengths(self, examples: np.ndarray) -> np.ndarray:
        return np.where(examples >= 0, self.store.lengths[np.maximum(examples, 0)], 0)

    def tokens(self, batch: int) -> tuple[int, int, int]:
        """(examples, real tokens, token positions with padding) of a batch."""
        indices, length = self.plan.batch(batch)
        known = indices[indices >= 0]
        return len(known), int(self._lengths(self.examples[known]).sum()), len(indices) * length * self.plan.sequences


class Epochs:
    """All epochs of a run. `open_epoch(epoch)` -> (store, examples, target_examples); the same for every epoch unless texts
    are augmented or epochs drawn; packed, mixed: see Epoch. Finds the (epoch, batch) of any step without having run the steps
    before it."""

    def __init__(self, open_epoch: Callable[[int], tuple[TokenStore, np.ndarray, np.ndarray]], settings: PlanSettings,
                 packed: bool = False, mixed: bool = False):
        self._open, self._packed, self._mixed = open_epoch, packed, mixed
        self.settings = settings
        self._remembered = functools.lru_cache(maxsize=4 if settings.run_length else 2)(self._epoch)
        # the one being read and the next; a dataset of one shape, when that is rare, is further ahead
        self._lock = threading.RLock()  # readers are parallel; an epoch is planned, and counted, once
        self._counts: list[int] = []

    def _epoch(self, index: int) -> Epoch:
        return Epoch(*self._open(index), self.settings, index, self._packed, self._mixed)

    def epoch(self, index: int) -> Epoch:
        with self._lock:
            return self._remembered(index)

    def num_batches(self, epoch: int) -> int:
        """Exact number of batches of an epoch; it varies between epochs only for constant-token and packed batches, and where
        the rows of an epoch are drawn and may be several examples each."""
        with self._lock:
            several = self._mixed and "row" in self.epoch(0).store
            if not self.settings.tokens_per_batch and not self._packed and not several:
                epoch = 0
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

    def step_examples(self, step: int) -> np.ndarray:
        """The examples (of the un-augmented store) of a step's global batch, without filling; of several the first."""
        epoch, batch = self.locate(step)
        opened = self.epoch(epoch)
        indices = opened.plan.batch(batch).indices
        made = opened.target_examples[indices[indices >= 0]]
        return made if made.ndim == 1 else made[:, 0]


def static_shape(spec: tf.TensorSpec, rows: int | None, length: int | None) -> list[int | None]:
    """The shape of a target in a batch of so many rows and tokens; see Reader."""
    return [rows, *(length if size is None else size for size in spec.shape[1:])]


def given_by_targets(inputs: tuple[str, ...], target_specs: Any) -> tuple[str, ...]:
    """Inputs of a model that are targets: what a decoder is shown of the text that it learns."""
    return tuple(name for name in inputs if isinstance(target_specs, dict) and name in target_specs)


def token_inputs(store: TokenStore, examples: np.ndarray, length: int, pad_id: int, segments: bool) -> list[np.ndarray]:
    """token_ids, padding_mask[, segment_ids] int32[b,length] of examples int64[b], -1 where filling."""
    count = len(examples)
    token_ids = np.full((count, length), pad_id, np.int32)
    padding_mask = np.zeros((count, length), np.int32)
    segment_ids = np.zeros((count, length), np.int32) if segments else None
    tokens, offsets, known = store.column("tokens"), store.column("tokens_offsets"), np.maximum(examples, 0)
    begins, ends = offsets[known], offsets[known + 1]
    first = store.column("first_length")[known] if segments else None
    for i, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        if examples[i] < 0:
            padding_mask[i, 0] = 1  # one visible token: a row of nothing but padding would make NaN in attention
            continue
        token_ids[i, :end - begin] = tokens[begin:end]
        padding_mask[i, :end - begin] = 1
        if segments:
            segment_ids[i, first[i]:end - begin] = 1
    return [token_ids, padding_mask] + ([segment_ids] if segments else [])


def packed_inputs(store: TokenStore, examples: np.ndarray, length: int, pad_id: int, segments: bool) -> list[np.ndarray]:
    """As token_inputs, of examples int64[b,K], -1 where absent, that follow one another; and document int32[b,length]: which of
    them a token is of, from 1, 0 where there is padding."""
    made = [np.full((len(examples), length), value, np.int32) for value in (pad_id, 0, 0, 0)]
    token_ids, padding_mask, segment_ids, document = made
    for i, row in enumerate(examples):
        at = 0
        for number, example in enumerate(row[row >= 0].tolist(), 1):
            tokens = store.values("tokens", example)
            end = at + len(tokens)
            token_ids[i, at:end], padding_mask[i, at:end], document[i, at:end] = tokens, 1, number
            if segments:
                segment_ids[i, at + store.column("first_length")[example]:end] = 1
            at = end
        padding_mask[i, 0] = 1  # of filling too: a row of nothing but padding would make NaN in attention
    return [token_ids, padding_mask, *([segment_ids] if segments else []), document]


def _like(indices: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """indices int64[b] with as many axes as examples have."""
    return indices.reshape(-1, *[1] * (examples.ndim - 1))


def make_batch(opened: Epoch, batch: int, reader: Reader, part: int = 0, parts: int = 1):
    """Builds one replica's share of a global batch in numpy.

    Returns: token_ids, padding_mask[, segment_ids] int32[b*K,S]; targets, flat; loss_weights float32[b], already divided by the
    weights' sum over the global batch; indices int64[b] into the planned examples, -1 where filling.
    """
    indices, length = opened.plan.batch(batch)
    known = np.where(indices >= 0, indices, 0)
    examples = opened.target_examples[known]
    if examples.ndim > 1:
        examples = np.where(_like(indices, examples) >= 0, examples, -1)
    turn = opened.turns[known] if reader.drawn and opened.mixed else opened.index
    targets, weights, *shown = reader.targets(examples, length, *((opened.seed, turn) if reader.drawn else ()))
    weights = np.where(indices >= 0, weights, 0).astype(np.float32)
    weights /= max(float(weights.sum(dtype=np.float64)), 1e-20)
    mine = share(len(indices), part, parts)
    examples = np.where(_like(indices[mine], opened.examples) >= 0, opened.examples[known[mine]], -1)
    make, examples = (packed_inputs, examples) if opened.packed else (token_inputs, examples.ravel())
    inputs = make(opened.store, examples, length, reader.pad_id, "segment_ids" in reader.inputs)
    if "document" in reader.inputs and not opened.packed:
        inputs.append(inputs[1])  # a text a row
    if reader.hidden:
        inputs.append(reader.hidden(examples, length))
    for instead in shown:
        inputs[0] = np.where(instead[mine] >= 0, instead[mine], inputs[0])
    return (*inputs, *(target[mine] for target in tf.nest.flatten(targets)), weights[mine], indices[mine])


def dataset(epochs: Epochs, reader: Reader, *, start: int, stop: int, replicas: int = 1, host: int = 0, hosts: int = 1,
            prefetch: int = 8, shape: tuple[int, int] | None = None) -> tf.data.Dataset:
    """Batches of steps start..stop-1, one element for each replica of this host in turn.

    Elements: ({input name: int32[b*K,S]}, targets, loss_weights float32[b], indices int64[b]). No step depends on another, so a
    run resumed at `start` reads what an uninterrupted one would. With a `shape` (examples of the global batch, length): only
    the steps whose batches have it, b and S static.

    Python builds the batches here, in this process, also where the dataset is read on another host of a pod slice.
    """
    names = ("token_ids", "padding_mask", *(name for name in ("segment_ids", "document") if name in reader.inputs))
    here = replicas // hosts
    specs = tf.nest.flatten(reader.target_specs)
    kinds, widths = [tf.int32] * len(names), [()] * len(names)
    if reader.hidden:
        names, hidden = (*names, "hidden"), reader.hidden(np.zeros(0, np.int64), 1)
        kinds.append(tf.as_dtype(hidden.dtype))
        widths.append(hidden.shape[2:])
    types = kinds + [spec.dtype for spec in specs] + [tf.float32, tf.int64]

    def build(element):
        step, replica = divmod(int(element), here)
        epoch, batch = epochs.locate(step)
        return make_batch(epochs.epoch(epoch), batch, reader, host * here + replica, replicas)

    @tf.autograph.experimental.do_not_convert
    def load(element):
        *arrays, weights, indices = tf.numpy_function(build, [element], types)
        inputs, targets = arrays[:len(names)], arrays[len(names):]
        for array, width in zip(inputs, widths, strict=True):
            array.set_shape([rows and rows * reader.sequences, length, *width])
        for target, spec in zip(targets, specs, strict=True):
            target.set_shape(static_shape(spec, rows, length))
        weights.set_shape([rows])
        indices.set_shape([rows])
        targets = tf.nest.pack_sequence_as(reader.target_specs, targets)
        shown = {name: targets[name] for name in given_by_targets(reader.inputs, reader.target_specs)}
        return {**dict(zip(names, inputs, strict=True)), **shown}, targets, weights, indices

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
            tf.autograph.experimental.do_not_convert(lambda epoch: tf.data.Dataset.from_tensor_slices(tf.ensure_shape(
                tf.numpy_function(elements_of, [epoch], tf.int64), [None]))))
    return untuned(elements.map(load, num_parallel_calls=2).prefetch(prefetch))


def untuned(made: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without tf.data's autotuning: nothing in it is left to tune. And when an iterator is given up, which the
    garbage collector may do at any place, TensorFlow's tuning thread (2.20) can miss that it has been cancelled; it then
    sleeps on for up to a minute, and all wait for it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return made.with_options(options)


def distributed(strategy: tf.distribute.Strategy, epochs: Epochs, reader: Reader, **arguments):
    """`dataset`, for every replica of a strategy: each host reads its own replicas' share."""
    replicas = strategy.num_replicas_in_sync

    def make(context: tf.distribute.InputContext | None = None):
        place = {"host": context.input_pipeline_id, "hosts": context.num_input_pipelines} if context else {}
        return dataset(epochs, reader, replicas=replicas, **place, **arguments)

    return make() if replicas == 1 else strategy.distribute_datasets_from_function(make)
