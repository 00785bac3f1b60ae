"""Run as a script: the same training on one device and on two logical CPUs. Prints one JSON line of what came out.

A process of its own, because TensorFlow's logical devices must be there before anything else is.
"""

import json
import sys
import tempfile
from pathlib import Path

from tfft.config import Distribution
from tfft.training.strategy import make_strategy

TWO = make_strategy(Distribution(cpu_replicas=2))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from steps import TASK, Rig  # noqa: E402
from stores import make_store  # noqa: E402

from tfft.config import TextClassification  # noqa: E402
from tfft.data.pipeline import Epochs, dataset  # noqa: E402
from tfft.data.plan import PlanSettings  # noqa: E402
from tfft.evaluation.evaluator import Evaluator  # noqa: E402
from tfft.tasks.text_classification import TextClassificationTask  # noqa: E402
from tfft.training.checkpoints import Checkpoints  # noqa: E402

STEPS = 6  # two epochs of 10 rows in batches of 4: the third batch is half filling, all of it on the second replica
SETTINGS = {"clip_norm": 0.2, "ema_decay": 0.9, "l2": 0.1}


def make_rig(strategy, store, accumulation: int, **settings) -> Rig:
    """Rows of unequal length and, by class, unequal weight."""
    replicas = strategy.num_replicas_in_sync
    rows = np.arange(len(store))
    epochs = Epochs(lambda epoch: (store, rows, rows),
                    PlanSettings(batch_size=4, max_length=16, seed=3, multiple=replicas * accumulation))
    task = TextClassificationTask(TextClassification(loss="cross_entropy", class_weights="balanced"), TASK.labels)

    def make(context=None):
        return dataset(epochs, task.targets(store, weighted=True), pad_id=0,
                       inputs=("token_ids", "padding_mask", "segment_ids"), target_shape=(), target_dtype=tf.int32, start=0,
                       stop=STEPS, replicas=replicas)

    data = make() if replicas == 1 else strategy.distribute_datasets_from_function(make)
    return Rig(data, strategy, total_steps=STEPS, accumulation=accumulation, **SETTINGS, **settings)


def run(strategy, store, accumulation: int = 1) -> dict:
    rig = make_rig(strategy, store, accumulation)
    outputs = [rig.train(1) for _ in range(STEPS)]
    evaluator = Evaluator(rig.model, TASK, store, np.arange(len(store)), pad_id=0, batch_size=3, max_length=16,
                          strategy=strategy)
    rig.optimizer.swap_averages()
    evaluator.evaluate()
    averaged = evaluator.report.probabilities.tolist()
    rig.optimizer.swap_averages()
    return {"rig": rig, "losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
            "weights": {k: v.tolist() for k, v in rig.weights().items()}, "averaged": averaged,
            "averages": [a.numpy().tolist() for a in rig.optimizer.averages], "rows": evaluator.report.rows.tolist()}


def resumed_is_the_same(store, folder: Path) -> bool:
    """Whether two replicas with dropout go on after a checkpoint as they would have without."""
    def state(rig):
        return b"".join(np.asarray(v).tobytes() for v in (*rig.model.variables, *rig.optimizer.velocity))

    def checkpoints(rig):
        return Checkpoints(folder, rig.model, rig.optimizer, rig.step, 2)

    first = make_rig(TWO, store, 1, dropout=0.2)
    first.train(2)
    checkpoints(first).save({})
    first.losses(1)
    second = make_rig(TWO, store, 1, dropout=0.2)
    second.train(2)  # its data stands where the first one's did; its dropout does not
    before = state(second) == state(first)
    checkpoints(second).restore(print)
    second.train(1)
    return not before and state(second) == state(first)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", ["neg", "pos", "neg", "neg", "pos", "neg", "pos", "neg", "pos", "neg"])
        runs = {"one": run(tf.distribute.get_strategy(), store), "two": run(TWO, store),
                "two_accumulated": run(TWO, store, accumulation=2)}
        replicas = {name: made.pop("rig").strategy.num_replicas_in_sync for name, made in runs.items()}
        print(json.dumps({**runs, "replicas": replicas,
                          "resumed": resumed_is_the_same(store, Path(folder) / "checkpoints")}))


sys.exit(main())
