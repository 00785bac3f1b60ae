"""Experiment -> assets, data, task, model, optimizer, step: everything that training and planning share."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfft.config import Data, Experiment
from tfft.data import mixture
from tfft.data.pipeline import Epochs, Reader, distributed
from tfft.data.plan import PlanSettings, few_buckets
from tfft.data.prepare import Preparer, Split, load_splits
from tfft.errors import UserError
from tfft.models import adaptation, shapes
from tfft.models.adapters import with_values
from tfft.models.backbone import describe, load_tokenizer, tokenizer_fingerprint
from tfft.models.kernels import on_cpu
from tfft.run.adapter_files import start_from
from tfft.run.continued import Start, learnt_from
from tfft.tasks.base import Task
from tfft.tasks.table import TASKS
from tfft.training.consolidation import Anchor
from tfft.training.feed import Feed, Shape
from tfft.training.joint import Variables
from tfft.training.loop import steps_per_loop
from tfft.training.optimizer import AdamW
from tfft.training.ranks import RankBudget
from tfft.training.schedules import epochs_by_size
from tfft.training.strategy import make_strategy, set_up
from tfft.training.tpu import compiled_by_xla

PADDED = 0.2  # from so much padding on, two passes of a model over halves of a batch cost less than one
SHARED = 8  # constant-token batches are multiples of it, so that 1, 2, 4 and 8 replicas train on the same ones


@dataclasses.dataclass
class Prepared:
    """Data and task of an experiment, before any model is built."""

    experiment: Experiment
    preset: str
    strategy: tf.distribute.Strategy
    tokenizer: Any
    preparer: Preparer
    splits: dict[str, Split]
    task: Task
    epochs: Epochs
    xla: bool  # XLA compiles the steps: every batch shape is static

    @property
    def num_epochs(self) -> int:
        return self.experiment.train.epochs or epochs_by_size(self.epochs.num_batches(0))

    @property
    def total_steps(self) -> int:
        return self.experiment.train.steps or self.epochs.steps(self.num_epochs)

    @property
    def halves(self) -> bool:
        """Whether a step computes the shorter sequences of a batch apart from the longer ones; see Trainer."""
        return bool(self.task.sequences) and not self.xla and self.epochs.epoch(0).plan.padding_waste > PADDED

    @property
    def pad_id(self) -> int:
        return self.preparer.reading.encoder.pad_id


@dataclasses.dataclass
class Built:
    """The model and what trains it."""

    model: Any
    optimizer: AdamW
    backbone_description: str
    adopted: str = ""  # what the task says of the checkpoint's head
    backbone: Any = None  # the part of the model that was pretrained

    @property
    def fixed_bytes(self) -> int:
        """Of all weights, and of the gradients of those that are trained and what the optimizer knows of them, in float32."""
        return fixed_bytes([self.model], self.optimizer)

    @property
    def weights(self) -> str:
        return weights_told([self.model])


def fixed_bytes(models: list, optimizer: AdamW) -> int:
    """Of models that have weights in common, and of what trains them."""
    known = [*optimizer.momentum, *optimizer.velocity, *optimizer.averages,
             *(part for one in (optimizer.budget, optimizer.anchor) if one for part in one.variables)]
    kept = {id(v) for v in optimizer.variables_}  # a budget holds the weights too
    slots = [v for v in known if id(v) not in kept]
    return 4 * sum(math.prod(v.shape) for v in (*_weights(models), *Variables.of(models).trainable_variables, *slots))


def weights_told(models: list) -> str:
    """How many weights models have, each once, and how many of them are trained."""
    total = sum(math.prod(v.shape) for v in _weights(models))
    trained = adaptation.trained_weights(Variables.of(models))
    return f"{total:,}, {trained:,} of them trained ({trained / total:.2%})"


def _weights(models: list) -> list:
    return list({id(v): v for model in models for v in model.weights}.values())


def prepare(experiment: Experiment, preset: str, cache: Path, say: Callable[[str], None],
            recorded: PlanSettings | None = None, strategy: tf.distribute.Strategy | None = None, learnt=None) -> Prepared:
    """Reads, tokenises, splits and plans. `preset` is what tfft.assets made of config.model.backbone; `recorded` are the
    plan settings that the run began with, perhaps on other devices; a strategy that is given has been set up; learnt: what the
    run learnt from its rows when it began."""
    if strategy is None:
        strategy = make_strategy(experiment.distribution)
        set_up(experiment.train)
    xla = compiled_by_xla(strategy)
    tokenizer = load_tokenizer(preset)
    kind = TASKS[experiment.task.name]
    reading = kind.readings(experiment, tokenizer, tokenizer_fingerprint(tokenizer), cache)
    preparer = Preparer(experiment.data, reading, cache, say)
    splits = load_splits(preparer)
    train = splits["train"]
    if learnt is None:
        learnt = learnt_from(experiment, kind, lambda experiment: kind.infer(experiment, train.store, train.rows, cache))
    task = kind(experiment.task, learnt)
    look_over(task, splits, say)
    for line in task.unlike(experiment, train.store, train.by_source()) if train.sources else ():
        say(line)
    if xla and experiment.train.precision == "float32":
        say("a TPU's matrix units take bfloat16: with --config.train.precision=mixed_bfloat16 activations need half the memory")
    settings = plan_settings(experiment, strategy.num_replicas_in_sync, planned(task, train, experiment), xla, recorded)
    return Prepared(experiment, preset, strategy, tokenizer, preparer, splits, task,
                    make_epochs(preparer, train, settings, task), xla)


def look_over(task: Task, splits: dict[str, Split], say: Callable[[str], None]) -> None:
    """Says what is odd about the rows. Raises: UserError where a split cannot be used, or has no row to judge by."""
    for name, split in splits.items():
        strangers = task.strangers(split.store, split.rows)
        if name != "train" and not len(task.can_judge(split.store, split.rows)):
            told = f" ({strangers.removesuffix('.')})" if strangers else ""
            raise UserError(f"The {name} split cannot be judged by: none of its {len(split.rows):,} rows "
                            f"{task.nothing_to_judge()}{told}. Give it other rows, or none: --config.data.{name}=''.")
        for line in (*([strangers] if strangers else []), *task.remarks(name, split.store, split.rows)):
            say(f"{name}: {line}")


def plan_settings(experiment: Experiment, replicas: int, examples: int, xla: bool,
                  recorded: PlanSettings | None) -> PlanSettings:
    """How the run plans. What the devices decide is decided once: a run that is resumed on others keeps its plan.

    Raises: UserError where the batches cannot be divided over the replicas.
    """
    config = experiment.train
    if config.global_batch_size % (replicas * config.accumulation) and not config.tokens_per_batch:
        raise UserError(f"config.train.global_batch_size={config.global_batch_size} cannot be divided over {replicas} replicas "
                        f"x {config.accumulation} micro-batches.")
    if config.tokens_per_batch and config.tokens_per_batch < replicas * experiment.data.max_length:
        raise UserError(f"config.train.tokens_per_batch={config.tokens_per_batch} holds no example of data.max_length="
                        f"{experiment.data.max_length} for each of {replicas} replicas.")
    multiple = replicas * config.accumulation
    if recorded:
        if config.tokens_per_batch and recorded.multiple % multiple:
            raise UserError(f"This run's batches are multiples of {recorded.multiple} examples, which {replicas} replicas "
                            "cannot share. Continue it on as many replicas as it began with, or on a divisor of that number.")
        return recorded
    if SHARED % multiple == 0 and config.tokens_per_batch >= SHARED * experiment.data.max_length:
        multiple = SHARED
    buckets, length_multiple, run_length = config.length_buckets, config.length_multiple, 0
    if xla:  # batches of a run are of like length, so that an epoch should have many runs
        run_length = config.steps_per_loop or max(1, min(steps_per_loop(config, xla),
                                                           examples // config.global_batch_size // 30))
        buckets = buckets or (() if length_multiple else few_buckets(experiment.data.max_length))
    return PlanSettings(
        batch_size=config.global_batch_size, max_length=experiment.data.max_length,
        tokens_per_batch=config.tokens_per_batch, buckets=buckets, grouping=config.length_grouping, seed=config.seed,
        multiple=multiple, length_multiple=length_multiple or (1 if on_cpu() and not xla else 8), run_length=run_length)


def planned(task: Task, train: Split, experiment: Experiment) -> int:
    """How many of the training split an epoch plans by themselves: rows, or examples; of a mixture about so many."""
    number, drawing = len(train.rows if task.sequences else train.examples), drawn(train, experiment.data, 0)
    return number * drawing.drawn // len(train.rows) if drawing else number


def drawn(train: Split, data: Data, seed: int) -> mixture.Drawing | None:
    """How the epochs of a mixture are drawn from its training rows; None where there is one source. Raises: UserError."""
    if not train.sources:
        return None
    rows = train.by_source()
    return mixture.Drawing(mixture.parts({name: len(own) for name, own in rows.items()}, data), list(rows.values()), seed)


def make_epochs(preparer: Preparer, train: Split, settings: PlanSettings, task: Task) -> Epochs:
    """The epochs of the training rows."""
    drawing = drawn(train, preparer.data, settings.seed)

    def open_epoch(epoch: int):
        chosen = dataclasses.replace(train, rows=drawing.epoch(epoch)) if drawing else train
        if preparer.reading.augmented is None:
            examples = task.members(chosen.store, chosen.rows, epoch, settings.seed)
            return chosen.store, examples, examples
        store = preparer.augmented(chosen, epoch)
        return store, np.arange(len(store)), chosen.rows

    return Epochs(open_epoch, settings, task.packed, drawing is not None)


def build(prepared: Prepared, begun: bool = False) -> Built:
    """Loads the pretrained backbone and builds model and optimizer in the strategy's scope. begun: the weights are those of a
    checkpoint, and not of the run or the adapter that this one begins with."""
    experiment = prepared.experiment
    going_on = experiment.model.start and not begun
    start = Start(experiment, tokenizer_fingerprint(prepared.tokenizer)) if going_on else None
    with prepared.strategy.scope():
        backbone, description = _backbone([prepared])
        model = prepared.task.build_model(backbone, experiment.model, experiment.train.seed)
        adopted = prepared.task.adopt(model, prepared.preset)
        if start:
            adopted = start.give(model, prepared.task, adopted)
        if experiment.adaptation.start and not begun:
            told = start_from(backbone, model, experiment.adaptation, experiment.model.frozen_layers)
            adopted = "; ".join(filter(None, (adopted, told)))
        model = prepared.task.for_packed(model, backbone) if prepared.task.packed else model
        optimizer = _optimizer([(prepared, model)], backbone)
        if strength := experiment.train.ewc:
            trained = model.trainable_variables
            optimizer.anchor = Anchor(trained, strength, start.importance(trained, prepared.task) if start else None)
    return Built(model, optimizer, description, adopted, backbone)


class Unread(NamedTuple):
    """What `Prepared` says of a run, where there are neither rows nor weights."""

    experiment: Experiment
    strategy: tf.distribute.Strategy
    task: Task
    total_steps: int = 1000


def build_shape(unread: Unread, shape: dict, layers: int) -> Built:
    """Model and optimizer of a config.json with so many of its layers, variables without values. Raises: UserError."""
    experiment = unread.experiment
    with shapes.without_values():
        backbone = shapes.shape_backbone(shape, layers, precision=experiment.train.precision, dropout=experiment.model.dropout)
        backbone = adaptation.choose_trained(backbone, experiment.model, experiment.adaptation, experiment.train.seed)
        model = unread.task.build_model(backbone, experiment.model, experiment.train.seed)
        model = unread.task.for_packed(model, backbone) if unread.task.packed else model
        return Built(model, _optimizer([(unread, model)], backbone, shapes.empty), "", backbone=backbone)


def build_together(tasks: list[Prepared]) -> list[Built]:
    """The same for several tasks on one backbone, that of the first: a model each, and one optimizer of all."""
    with tasks[0].strategy.scope():
        backbone, description = _backbone(tasks)
        models, adopted = [], []
        for prepared in tasks:
            experiment = prepared.experiment
            model = prepared.task.build_model(backbone, experiment.model, experiment.train.seed)
            adopted.append(prepared.task.adopt(model, prepared.preset))
            models.append(prepared.task.for_packed(model, backbone) if prepared.task.packed else model)
        optimizer = _optimizer(list(zip(tasks, models, strict=True)), backbone)
    return [Built(model, optimizer, description, told, backbone) for model, told in zip(models, adopted, strict=True)]


def _backbone(tasks: list[Prepared]) -> tuple[Any, str]:
    """(the pretrained backbone, frozen and adapted; its description without these), for tasks that have it in common."""
    prepared, experiment = tasks[0], tasks[0].experiment
    backbone = prepared.task.load_backbone(prepared.preset, precision=experiment.train.precision,
                                           dropout=experiment.model.dropout, seed=experiment.train.seed)
    description = describe(backbone)
    limit, longest = getattr(backbone, "max_sequence_length", None), max(one.experiment.data.max_length for one in tasks)
    if limit and longest > limit:
        raise UserError(f"config.data.max_length={longest} is more than the backbone's limit of {limit} positions.")
    return adaptation.choose_trained(backbone, experiment.model, experiment.adaptation, experiment.train.seed,
                                     prepared.tokenizer), description


def _optimizer(models: list[tuple[Prepared, Any]], backbone, zeros: Callable = tf.zeros) -> AdamW:
    """Of the trained variables of all models, each once; what is no task's own is that of the first one's experiment."""
    prepared, experiment = models[0][0], models[0][0].experiment
    common = 1.0 if experiment.adaptation.method == "none" else experiment.adaptation.rate_used
    rated = {}
    for one, model in models:
        rates = adaptation.learning_rate_multipliers(backbone, model.trainable_variables, experiment.train.layer_decay,
                                                     one.experiment.train.head_rate)
        for variable, rate in zip(model.trainable_variables, rates, strict=True):
            own = one.task.learning_rate_multiplier(variable.path)
            rated[id(variable)] = variable, common * rate if own is None else own
    variables = [variable for variable, _ in rated.values()]
    competing = list(with_values(adaptation.sections(backbone)[1]).values())
    budget = RankBudget(competing, variables, experiment.adaptation.rank, prepared.total_steps) if competing else None
    return AdamW(variables, experiment.train, multipliers=[rate for _, rate in rated.values()],
                 decayed=[adaptation.decays(v) for v in variables], budget=budget, zeros=zeros)


def make_dataset(prepared: Prepared, model, start: int, stop: int, shape: Shape | None = None, hidden=None):
    """Training batches of steps start..stop-1, distributed over the strategy's replicas; with a shape (static then), those
    of that shape alone. hidden: see Reader."""
    task, strategy = prepared.task, prepared.strategy
    reader = Reader(tuple(model.input), prepared.pad_id, task.targets(prepared.splits["train"].store, weighted=True),
                    task.target_specs, task.sequences or 1, task.drawn, hidden)
    return distributed(strategy, prepared.epochs, reader, start=start, stop=stop, shape=shape,
                       **({"prefetch": max(8, 2 * strategy.num_replicas_in_sync)} if shape else {}))


def make_feed(prepared: Prepared, model, hidden=None) -> Feed:
    """All training batches of a run."""
    return Feed(prepared.epochs, lambda start, stop, shape: make_dataset(prepared, model, start, stop, shape, hidden),
                prepared.total_steps, static=prepared.xla)
