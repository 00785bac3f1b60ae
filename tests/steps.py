"""A tiny classifier and what trains it, for the tests of training."""

import dataclasses

import families
import numpy as np
import tensorflow as tf

from tfft.config import Adaptation, Model, TextClassification, Train
from tfft.models.adaptation import choose_trained, decays, learning_rate_multipliers, sections
from tfft.models.adapters import with_values
from tfft.tasks.text_classification.labels import Labels
from tfft.tasks.text_classification.task import TextClassificationTask
from tfft.training.consolidation import Anchor
from tfft.training.optimizer import AdamW
from tfft.training.ranks import RankBudget
from tfft.training.step import Trainer

TASK = TextClassificationTask(TextClassification(loss="cross_entropy"), Labels(("neg", "pos"), (6, 4), rows=10))
CONFIG = {"peak_learning_rate": 0.01, "warmup_fraction": 0.0, "schedule": "linear"}


def batches(count: int = 5, size: int = 4, length: int = 6) -> tf.data.Dataset:
    """`count` batches as tfft.data.pipeline yields them: row weights of 1 to `size`, divided by their sum."""
    draw = np.random.default_rng(5)
    lengths = draw.integers(3, length + 1, (count, size, 1))
    mask = np.arange(length) < lengths
    inputs = {"token_ids": (draw.integers(4, 14, (count, size, length)) * mask).astype(np.int32),
              "segment_ids": np.zeros((count, size, length), np.int32), "padding_mask": mask.astype(np.int32)}
    weights = np.arange(1, size + 1, dtype=np.float32)
    return tf.data.Dataset.from_tensor_slices((
        inputs, draw.integers(0, 2, (count, size)).astype(np.int32), np.tile(weights / weights.sum(), (count, 1)),
        np.tile(np.arange(size), (count, 1))))


class Rig:
    """Model, optimizer and trainer in a strategy's scope, weights always the same."""

    def __init__(self, dataset, strategy=None, *, dropout=0.0, family="bert", layers=2, adaptation=None, loss=None,
                 total_steps=10, use_loop=False, model=None, xla=False, whole_batch=False, halves=False,
                 method=None, **settings):
        self.strategy = strategy or tf.distribute.get_strategy()
        self.config = Train(**{**CONFIG, **settings})
        with self.strategy.scope():
            if model is None:
                adaptation = adaptation or Model()
                backbone = families.backbone(family, dropout, precision=self.config.precision, layers=layers)
                backbone = choose_trained(backbone, adaptation, method or Adaptation(), seed=5)
                model = TASK.build_model(backbone, dataclasses.replace(adaptation, head_dropout=dropout), seed=0)
                multipliers = learning_rate_multipliers(backbone, model.trainable_variables, self.config.layer_decay)
            else:
                multipliers = [1.0] * len(model.trainable_variables)
            self.model = model
            budget = None
            if method and method.method == "adalora":
                budget = RankBudget(list(with_values(sections(backbone)[1]).values()), model.trainable_variables, method.rank,
                                    total_steps)
            self.optimizer = AdamW(model.trainable_variables, self.config, multipliers=multipliers, budget=budget,
                                   decayed=[decays(v) for v in model.trainable_variables])
            if self.config.ewc:
                draw = np.random.default_rng(3)
                # a key's bias matters to no softmax: no run finds it important, and what moves it is the last bit alone
                self.optimizer.anchor = Anchor(model.trainable_variables, self.config.ewc, [
                    draw.random(v.shape).astype(np.float32) * ("key/bias" not in v.path) for v in model.trainable_variables])
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False,
                                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self.trainer = Trainer(self.model, self.optimizer, loss or TASK.loss, self.config, dataset=dataset,
                               global_step=self.step, total_steps=total_steps, strategy=self.strategy, use_loop=use_loop,
                               xla=xla, whole_batch=whole_batch, halves=halves)

    def train(self, steps: int) -> dict[str, float]:
        """What the trainer says of `steps` more steps."""
        return {name: float(value) for name, value in self.trainer.train(tf.constant(steps)).items()}

    def losses(self, steps: int) -> list[float]:
        return [self.train(1)["loss"] for _ in range(steps)]

    def weights(self) -> dict[str, np.ndarray]:
        return {v.path: v.numpy() for v in self.model.trainable_variables}
