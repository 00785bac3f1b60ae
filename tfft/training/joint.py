"""One step of several tasks that share a backbone: a part of the batch is each task's, their gradients are summed, and there is
one update of all (heterogeneous batches: Aghajanyan et al. 2021, "Muppet")."""

from typing import Any, NamedTuple

import tensorflow as tf

from tfft.training.optimizer import AdamW
from tfft.training.step import Trainer, added


class Variables(NamedTuple):
    """The variables of several models, each once, as one model has them."""

    trainable_variables: list
    non_trainable_variables: list

    @classmethod
    def of(cls, models: list) -> "Variables":
        trained = {id(v): v for model in models for v in model.trainable_variables}
        others = {id(v): v for model in models for v in model.non_trainable_variables}
        return cls(list(trained.values()), list(others.values()))


class Part(NamedTuple):
    """What a step computes of one task. share: what its loss, a mean over its part of the batch, is multiplied by."""

    name: str
    model: Any
    loss: Any
    share: float
    whole_batch: bool = False
    halves: bool = False


class JointTrainer(Trainer):
    """A batch is one of each part, in their order; the loss is the sum of share x mean loss of each."""

    def __init__(self, parts: list[Part], optimizer: AdamW, config, **given):
        """given: as Trainer has it."""
        variables = Variables.of([part.model for part in parts])
        super().__init__(variables, optimizer, None, config, **given)
        given = {**given, "dataset": None}
        self._task_sums = {part.name: (tf.Variable(0.0, trainable=False), part.share) for part in parts}
        place = {id(v): i for i, v in enumerate(self._variables)}
        self._parts = [(Trainer(part.model, optimizer, part.loss, config, whole_batch=part.whole_batch, halves=part.halves,
                                **given), part.share, [place[id(v)] for v in part.model.trainable_variables]) for part in parts]

    def of_batch(self, batch) -> tuple:
        losses, found = [], [[] for _ in self._variables]
        for (trainer, share, places), (inputs, targets, weights, indices) in zip(self._parts, batch, strict=True):
            loss, gradients = trainer.of_batch((inputs, targets, weights * share, indices))
            losses.append(loss)
            for place, gradient in zip(places, gradients, strict=True):
                found[place].append(gradient)
        return tf.add_n(losses), [added(gradients) for gradients in found], *losses
