"""A finished run as the start of another: its weights, and its labels before those that are new. Of a run of another task its
backbone alone, and what of its head has the same place in both."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfft.config import TASKS, Experiment, fold_runs, is_all_folds
from tfft.config.adaptation import MERGED, SHARED
from tfft.errors import UserError
from tfft.run.workdir import Workdir, merged, open_run


def check_start(experiment: Experiment) -> None:
    """Raises: UserError where config.model.start is no finished run, or one that this experiment cannot go on from."""
    if not experiment.model.start:
        return
    where, workdir = f"config.model.start={experiment.model.start}", Workdir(experiment.model.start)
    before = workdir.experiment()
    if is_all_folds(before):
        raise UserError(f"{where} is a cross-validation, whose folds have weights of their own. Go on from one of them: "
                        f"--config.model.start={workdir.path / next(iter(fold_runs(before)))}")
    if before.model.backbone != experiment.model.backbone:
        raise UserError(f"{where} was trained from another backbone. Add --config.model.backbone={before.model.backbone}")
    head = (*(("task", name) for name in TASKS[before.task.name].head), ("model", "pooling"))
    for group, name in head if _same_task(before, experiment) else ():
        theirs, mine = (getattr(getattr(one, group), name) for one in (before, experiment))
        if theirs != mine:
            raise UserError(f"{where} was trained with {group}.{name}={theirs}. Add --config.{group}.{name}={theirs}")
    if not any(workdir.weights(which).exists() for which in ("best", "last")):
        raise UserError(f"{where} has no weights yet. Let it come to its first evaluation.")
    if experiment.train.ewc and (before.adaptation.method != "none" or not workdir.started):
        why = f"was trained with adaptation.method={before.adaptation.method}" if workdir.started else "has no checkpoints"
        raise UserError(f"{where} {why}: config.train.ewc={experiment.train.ewc:g} cannot know which of its weights mattered. "
                        "Set it to 0, or go on from another run.")
    method = before.adaptation.method
    if method not in ("none", "bitfit", *MERGED) and not _alike(before, experiment):
        raise UserError(f"{where} was trained with adaptation.method={method}, which stays beside the backbone. Train with the "
                        f"same config.model.frozen_layers and config.adaptation ({', '.join(SHARED)}), or go on from a run "
                        "with another method.")


def _same_task(before: Experiment, experiment: Experiment) -> bool:
    """Whether its head and what it has learnt go on too; of another task it is the backbone alone."""
    return before.task.name == experiment.task.name


def _alike(before: Experiment, experiment: Experiment) -> bool:
    """Whether what is learnt beside the backbone is the same in both."""
    return before.model.frozen_layers == experiment.model.frozen_layers and all(
        getattr(before.adaptation, name) == getattr(experiment.adaptation, name) for name in SHARED)


def learnt_from(experiment: Experiment, kind, infer: Callable[[Experiment], Any]) -> Any:
    """What is learnt from the training rows, by infer(experiment), behind all that the run before had learnt."""
    before = Workdir(experiment.model.start) if experiment.model.start else None
    if before and _same_task(before.experiment(), experiment):
        return kind.extend(kind.load(before.path), infer(experiment))
    return infer(dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, start="")))


class Start:
    """The weights that a model begins with."""

    def __init__(self, experiment: Experiment, tokenizer: str):
        """tokenizer: the fingerprint of the experiment's. Raises: UserError where the run before has another."""
        from tfft.models.backbone import tokenizer_fingerprint

        self._run = run = open_run(experiment.model.start)
        if tokenizer_fingerprint(run.tokenizer) != tokenizer:
            raise UserError(f"config.model.start={experiment.model.start}: its tokenizer is another one than that of "
                            f"config.model.backbone={experiment.model.backbone} is now.")
        if not _alike(run.experiment, experiment):
            run = merged(run)
        self._where, self._told = experiment.model.start, f"goes on from step {run.step:,} of {experiment.model.start}"
        variables, self._passed = run.model.variables, {}
        self._whole = _same_task(run.experiment, experiment)
        if not self._whole:
            used = {id(v) for v in variables}
            variables = [v for v in run.backbone.variables if id(v) in used]
            self._passed = run.task.pass_on(run.model)
            self._told = (f"begins with the backbone of step {run.step:,} of {experiment.model.start} "
                          f"({run.experiment.task.name})")
        self._values = {v.path: v.numpy() for v in variables if "seed_generator" not in v.path}

    def importance(self, variables: list, task) -> list[np.ndarray]:
        """How much weights mattered to the run before, float32 of the shape of each, 1 on average over its own; 0 for what it
        had not, or did not train. See Anchor."""
        from tfft.training.checkpoints import read_slots

        checkpoint = Workdir(self._where).checkpoints
        names = [v.path for v in self._run.model.trainable_variables]
        moments, held = read_slots(checkpoint, "velocity"), read_slots(checkpoint, "anchor/importance")
        mean = sum(float(m.sum()) for m in moments) / max(1, sum(m.size for m in moments))
        made = {name: m / max(mean, 1e-30) for name, m in zip(names, moments, strict=True)}
        for name, more in zip(names, held):
            made[name] += more
        return [self._larger(v.path, np.zeros(v.shape, np.float32), made[v.path], task) if v.path in made
                else np.zeros(v.shape, np.float32) for v in variables]

    @staticmethod
    def _larger(path: str, now: np.ndarray, before: np.ndarray, task) -> np.ndarray:
        """Values of before in the shape of now, which has the others."""
        return before if now.shape == before.shape else task.larger(path, now, before)

    @staticmethod
    def _fits(shape: tuple[int, ...], before: tuple[int, ...], task) -> bool:
        """Whether a weight is as large as before, or larger where there can be new labels."""
        from tfft.tasks.base import Task

        grows = type(task).extend is not Task.extend
        return shape == before or grows and len(shape) == len(before) and all(map(int.__ge__, shape, before))

    def give(self, model, task, adopted: str = "") -> str:
        """Gives a model the weights; says so. adopted: what the task said of the checkpoint's head. Raises: UserError where it
        has not all of them."""
        from tfft.models.adapters import measure

        variables = {v.path: v for v in model.variables}
        for path, value in self._values.items():
            if path not in variables or not self._fits(tuple(variables[path].shape), value.shape, task):
                raise UserError(f"config.model.start={self._where}: its model has {path} of shape {value.shape}, and this one "
                                f"{'has not' if path not in variables else tuple(variables[path].shape)}. Use the settings of "
                                "its config.json for model and task.")
            variables[path].assign(self._larger(path, variables[path].numpy(), value, task))
        measure(model.layers, self._values)
        if self._whole:
            return self._told
        if self._passed and task.take(model, self._passed):
            return f"{self._told} and its head for masked words"
        return "; ".join(filter(None, (self._told, adopted)))
