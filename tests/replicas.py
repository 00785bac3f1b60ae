"""Run as a script: the same 20 steps on one device, on 2 or 4 logical CPUs, or in 2 processes.

    python tests/replicas.py results.json 4             on so many replicas, in this process
    python tests/replicas.py results.json "2 workers"   one of the processes that TF_CONFIG names; the first one writes

A process of its own for each, because TensorFlow's logical devices must be there before anything else is. What is compared
with what: tests/test_replicas.py, or for a table python tests/equivalence.py.
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from tfft.config import Distribution
from tfft.training.strategy import make_strategy, set_up

COLUMN = sys.argv[2]
WORKER = COLUMN == "2 workers"
if WORKER:
    import tensorflow as tf

    STRATEGY = tf.distribute.MultiWorkerMirroredStrategy()
else:
    STRATEGY = make_strategy(Distribution(cpu_replicas=int(COLUMN)))
    import tensorflow as tf

import numpy as np  # noqa: E402
from steps import TASK, Rig  # noqa: E402
from stores import make_store  # noqa: E402

from tfft.config import Adaptation, Model, TextClassification, Train  # noqa: E402
from tfft.data.pipeline import Epochs, Reader, distributed  # noqa: E402
from tfft.data.plan import PlanSettings  # noqa: E402
from tfft.evaluation.evaluator import Evaluator  # noqa: E402
from tfft.tasks.text_classification.task import TextClassificationTask  # noqa: E402

STEPS = 20
ROWS = 40
EVALUATED = {"11 rows": 11, "3 rows": 3, "1 row": 1}  # in batches of 3, and of 4 where there are as many replicas


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the step is traced with."""

    train: tuple[tuple[str, float], ...] = (("clip_norm", 0.0),)
    adaptation: Model = Model()
    method: Adaptation = Adaptation()
    layers: int = 1


@dataclasses.dataclass(frozen=True)
class Case:
    """A setting and the data it trains on: the first `rows` rows, in batches of 8."""

    setting: Setting = Setting()
    rows: int = ROWS
    plan: tuple[tuple[str, object], ...] = (("grouping", False),)
    class_weights: str = "none"
    few: bool = False  # not with two workers


CASES = {
    "plain": Case(),
    "clip by global norm": Case(Setting((("clip_norm", 0.2),))),
    "gradient accumulation": Case(Setting((("clip_norm", 0.0), ("accumulation", 2)))),
    "EMA": Case(Setting((("clip_norm", 0.0), ("ema_decay", 0.9), ("l2", 0.1), ("ewc", 0.5)))),
    "layer-wise rates": Case(Setting((("clip_norm", 0.0), ("layer_decay", 0.5)))),
    "frozen layers": Case(Setting(adaptation=Model(frozen_layers=1), layers=2)),
    **{name: Case(Setting(method=Adaptation(method=name, rank=2, bottleneck=3, prefix=3)), few=name != "adalora")
       for name in ("adalora", "dora", "ia3", "adapters", "prefix", "prompt", "bitfit")},  # what lora does, dora does too
    "adversarial training": Case(Setting((("clip_norm", 0.0), ("fgm", 0.3))), few=True),
    "rematerialisation": Case(Setting((("clip_norm", 0.0), ("remat", True)))),
    "class weights": Case(class_weights="balanced"),
    "ragged last batch": Case(rows=37),  # of its 5 rows the last of 4 replicas has none
    "fewer rows than replicas": Case(rows=1),
    "length buckets": Case(plan=(("buckets", (4, 6, 10)),)),
}


def make_data(case: Case, strategy, store):
    """The case's batches for a strategy."""
    accumulation = dict(case.setting.train).get("accumulation", 1)
    replicas = strategy.num_replicas_in_sync
    rows = np.arange(case.rows)
    epochs = Epochs(lambda epoch: (store, rows, rows),
                    PlanSettings(batch_size=8, max_length=16, seed=3, multiple=replicas * accumulation, **dict(case.plan)))
    task = TextClassificationTask(TextClassification(loss="cross_entropy", class_weights=case.class_weights),
                                  dataclasses.replace(TASK.labels, counts=(26, 14)))
    reader = Reader(("token_ids", "padding_mask", "segment_ids"), 0, task.targets(store, weighted=True), task.target_specs)
    return distributed(strategy, epochs, reader, start=0, stop=STEPS)


def different(store) -> np.ndarray:
    """Rows no two of which have the same tokens: how equal ones rank, and so the AUC, is up to the last bit."""
    tokens, offsets = store.column("tokens"), store.column("tokens_offsets")
    return np.array(sorted({tokens[offsets[row]:offsets[row + 1]].tobytes(): row for row in range(len(store))}.values()))


def make_evaluator(rig: Rig, strategy, store, rows: np.ndarray) -> Evaluator:
    return Evaluator(rig.model, TASK, store, rows, pad_id=0, batch_size=3, max_length=16, strategy=strategy)


class Reusable:
    """A rig that trains several cases of one setting from the same start: tracing is what takes time."""

    def __init__(self, setting: Setting, strategy, data, store):
        self.rig = Rig(data, strategy, total_steps=STEPS, adaptation=setting.adaptation, method=setting.method,
                       layers=setting.layers,
                       **dict(setting.train))
        # On one device: how replicas evaluate is compared by itself, in evaluate_all.
        self.evaluator = make_evaluator(self.rig, tf.distribute.get_strategy(), store, different(store))
        self._state = [*self.rig.model.variables, *self.rig.optimizer.variables, self.rig.step]
        self._start = [v.numpy() for v in self._state]

    def run(self, data) -> dict:
        """Trains STEPS steps from the start and evaluates, with the averaged weights where there are any."""
        rig = self.rig
        for variable, value in zip(self._state, self._start, strict=True):
            variable.assign(value)
        rig.trainer.train_dataset = data
        outputs = [rig.train(1) for _ in range(STEPS)]
        weights = {path: value.tolist() for path, value in rig.weights().items()}
        if rig.optimizer.averages:
            rig.optimizer.swap_averages()
            weights.update({f"average of {path}": value.tolist() for path, value in rig.weights().items()})
        metrics = self.evaluator.evaluate()
        if rig.optimizer.averages:
            rig.optimizer.swap_averages()
        return {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs], "metrics": metrics,
                "weights": weights}


def train_all(strategy, store) -> dict:
    """{case: what came out of it}"""
    rigs: dict[Setting, Reusable] = {}
    made = {}
    for name, case in CASES.items():
        if case.few and COLUMN == "2 workers":
            continue
        data = make_data(case, strategy, store)
        if case.setting not in rigs:
            rigs[case.setting] = Reusable(case.setting, strategy, data, store)
        made[name] = rigs[case.setting].run(data)
    return made


def evaluate_all(strategy, store) -> dict:
    """{set of rows: (how often each was judged, its probabilities, the metrics)} of an untrained model."""
    rig = Rig(None, strategy, layers=1)
    made = {}
    for name, rows in EVALUATED.items():
        evaluator = make_evaluator(rig, strategy, store, np.arange(rows))
        metrics = evaluator.evaluate()
        judged = np.concatenate([indices for indices, *_ in evaluator._batches(evaluator._epochs.num_batches(0))])
        made[name] = {"times": np.bincount(judged[judged >= 0], minlength=rows).tolist(), "metrics": metrics,
                      "probabilities": evaluator.report.probabilities.tolist()}
    return made


def masks(strategy, dropout: float) -> dict[int, list]:
    """{replica: logits [rows][label]} of the first step, where every row of the batch is the same."""
    seen: dict[int, list] = {}

    def note(replica, logits):
        seen[int(replica)] = logits.tolist()

    def loss(targets, logits):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        tf.numpy_function(note, [replica, logits], [])
        return TASK.loss(targets, logits)

    tokens = np.tile(np.array([2, 5, 9, 10, 3], np.int32), (2, 1))
    inputs = {"token_ids": tokens, "segment_ids": np.zeros_like(tokens), "padding_mask": np.ones_like(tokens)}
    batch = tf.data.Dataset.from_tensors((inputs, np.zeros(2, np.int32), np.full(2, 0.25, np.float32), np.arange(2))).repeat()
    rig = Rig(strategy.distribute_datasets_from_function(lambda context: batch), strategy, layers=1, dropout=dropout, loss=loss)
    rig.train(1)
    return seen


def bits(strategy, store, seed: int) -> str:
    """All of a run's state after five steps with dropout, as text."""
    set_up(Train(seed=seed))
    rig = Rig(make_data(CASES["plain"], strategy, store), strategy, layers=1, dropout=0.2)
    rig.losses(5)
    return b"".join(np.asarray(v).tobytes() for v in (*rig.model.variables, *rig.optimizer.variables)).hex()


def main() -> None:
    set_up(Train())
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", [("neg", "pos", "neg")[i % 3] for i in range(ROWS)])
        made = {"trained": {COLUMN: train_all(STRATEGY, store)}, "replicas": {COLUMN: STRATEGY.num_replicas_in_sync}}
        if not WORKER:
            made["evaluated"] = {COLUMN: evaluate_all(STRATEGY, store)}
        if COLUMN == "2":
            made["masks"] = {"dropout": masks(STRATEGY, 0.2), "none": masks(STRATEGY, 0.0)}
            made["bits"] = {name: bits(STRATEGY, store, seed) for name, seed in (("once", 1), ("again", 1), ("other seed", 2))}
    if not WORKER or STRATEGY.cluster_resolver.task_id == 0:
        Path(sys.argv[1]).write_text(json.dumps(made))


main()
