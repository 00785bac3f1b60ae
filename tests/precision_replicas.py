"""Run as a script: float16 training on one device and on two logical CPUs. Prints one JSON line of what came out."""

import json
import sys
import tempfile
from pathlib import Path

from tfft.config import Distribution
from tfft.training.strategy import make_strategy

TWO = make_strategy(Distribution(cpu_replicas=2))

import tensorflow as tf  # noqa: E402
from steps import Rig, batches  # noqa: E402

from tfft.training.checkpoints import Checkpoints  # noqa: E402

STEPS = 30
ONE = tf.distribute.get_strategy()


def halves(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Each batch of 4 as two of 2: one for each replica."""
    return dataset.map(lambda *batch: tf.nest.map_structure(
        lambda t: tf.reshape(t, [2, 2, *t.shape[1:]]), batch)).unbatch()


def heavy(dataset: tf.data.Dataset, at: int) -> tf.data.Dataset:
    """A weight in batch `at`, on its last row, with which the gradient of that row overflows float16."""
    def heavier(i, batch):
        inputs, targets, weights, rows = batch
        return inputs, targets, tf.where(tf.equal(i, at) & (rows == 3), 1e9, weights), rows

    return dataset.enumerate().map(heavier)


def make_rig(strategy, dataset: tf.data.Dataset, **settings) -> Rig:
    two = strategy.num_replicas_in_sync == 2
    data = strategy.distribute_datasets_from_function(lambda _: halves(dataset)) if two else dataset
    return Rig(data, strategy, total_steps=2 * STEPS, precision="mixed_float16", clip_norm=0.3, ema_decay=0.9, **settings)


def run(strategy) -> dict:
    """Five batches again and again: they can be learnt by heart."""
    rig = make_rig(strategy, batches().repeat())
    outputs = [rig.train(1) for _ in range(STEPS)]
    return {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
            "skipped": outputs[-1]["skipped_steps"], "replicas": strategy.num_replicas_in_sync}


def bits(rig: Rig) -> list[bytes]:
    """What training changes, for each replica."""
    optimizer = rig.optimizer
    variables = (*(v.value for v in rig.model.trainable_variables), *optimizer.momentum, *optimizer.velocity,
                 *optimizer.averages)
    copies = zip(*(rig.strategy.experimental_local_results(v) for v in variables), strict=True)
    return [b"".join(v.numpy().tobytes() for v in copy) for copy in copies]


def kept(rig: Rig) -> list[float]:
    """The loss scale and its counters."""
    scale = rig.optimizer.loss_scale
    return [float(scale.scale.numpy()), int(scale.good_steps.numpy()), int(scale.skipped_steps.numpy())]


def local_gradients_finite(rig: Rig, batch) -> tuple[list[bool], list[bool]]:
    """Whether each replica's own loss is finite, and whether its own gradients are."""
    @tf.function
    def local(batch):
        loss, gradients = rig.trainer._local_gradients(batch)
        return tf.math.is_finite(loss), tf.reduce_all([tf.reduce_all(tf.math.is_finite(g.values if isinstance(
            g, tf.IndexedSlices) else g)) for g in gradients])

    return tuple([bool(v) for v in TWO.experimental_local_results(made)] for made in TWO.run(local, args=(batch,)))


def injected(folder: Path) -> dict:
    """An overflow on the second replica alone, in the second and the fifth of six steps; a checkpoint after the fourth, from
    which another rig goes on as the first does."""
    dataset = heavy(heavy(batches(6), at=1), at=4)
    first, second = make_rig(TWO, dataset, dropout=0.2), make_rig(TWO, dataset.skip(4), dropout=0.2)
    for rig in (first, second):
        rig.optimizer.loss_scale._growth_steps = 2
    rogue = next(iter(TWO.distribute_datasets_from_function(lambda _: halves(dataset.skip(1)))))
    losses, gradients = local_gradients_finite(first, rogue)
    first.train(1)
    before = bits(first)
    made = first.train(1)
    after, step = bits(first), int(first.step.numpy())
    first.train(2)
    last = bits(first)
    result = {"local_losses_finite": losses, "local_gradients_finite": gradients, "skipped": made["skipped_steps"],
              "scale": made["loss_scale"], "step": step, "unchanged": [a == b for a, b in zip(before, after, strict=True)],
              "trained_on": [a != b for a, b in zip(after, last, strict=True)],
              "replicas_equal": len(set(after)) == 1 and len(set(last)) == 1}
    Checkpoints(folder, first.model, first.optimizer, first.step, 2).save({})
    result |= {"saved_scale": kept(first), "differed_before": bits(second) != last}
    Checkpoints(folder, second.model, second.optimizer, second.step, 2).restore(print)
    result["restored_scale"] = kept(second)
    ends = []
    for rig in (first, second):
        rig.train(2)
        ends.append((bits(rig), kept(rig), [v.numpy().tobytes() for v in rig.model.non_trainable_variables]))
    return {**result, "equal_after": ends[0] == ends[1], "scale_after": kept(second)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"one": run(ONE), "two": run(TWO), "injected": injected(Path(folder) / "saved")}))


sys.exit(main())
