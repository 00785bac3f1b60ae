"""Experiment -> assets, data, task, model, optimizer, step: everything that training and planning share."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.config import Experiment
from tfft.data.pipeline import Epochs, dataset
from tfft.data.plan import PlanSettings
from tfft.data.prepare import Preparer, Split, load_splits
from tfft.data.sources import label_names
from tfft.errors import UserError
from tfft.models import adaptation
from tfft.models.backbone import describe, load_backbone, load_tokenizer, tokenizer_fingerprint
from tfft.models.kernels import on_cpu
from tfft.tasks import TASKS
from tfft.training.optimizer import AdamW
from tfft.training.strategy import make_strategy, set_up


@dataclasses.dataclass
class Prepared:
    """Data and task of an experiment, before any model is built."""

    experiment: Experiment
    preset: str
    strategy: tf.distribute.Strategy
    tokenizer: Any
    preparer: Preparer
    splits: dict[str, Split]
    task: Any
    epochs: Epochs

    @property
    def total_steps(self) -> int:
        config = self.experiment.train
        return config.steps or self.epochs.steps(config.epochs)

    @property
    def pad_id(self) -> int:
        return self.preparer.text_tokenizer.pad_id


@dataclasses.dataclass
class Built:
    """The model and what trains it."""

    model: Any
    optimizer: AdamW
    backbone_description: str


def prepare(experiment: Experiment, preset: str, cache: Path, say: Callable[[str], None]) -> Prepared:
    """Reads, tokenises, splits and plans. `preset` is what tfft.assets made of config.model.backbone."""
    strategy = make_strategy(experiment.distribution)
    set_up(experiment.train)
    tokenizer = load_tokenizer(preset)
    preparer = Preparer(experiment, tokenizer, tokenizer_fingerprint(tokenizer), cache, say)
    splits = load_splits(preparer)
    train = splits["train"]
    kind, data = TASKS[type(experiment.task)], experiment.data
    given = label_names(data.labels_file, cache) if data.labels_file else data.labels
    task = kind(experiment.task, kind.infer(experiment.task, train.store, train.rows, given))
    for name, split in splits.items():
        strangers = task.unknown_labels(split.store, split.rows)
        if strangers:
            shown = ", ".join(f"{label!r} ({count:,} rows)" for label, count in list(strangers.items())[:5])
            say(f"unknown labels in {name}: {shown}{' ...' if len(strangers) > 5 else ''}; no training row has them, and "
                "they are left out of the metrics")
    return Prepared(experiment, preset, strategy, tokenizer, preparer, splits, task,
                    _epochs(experiment, preparer, train, strategy.num_replicas_in_sync))


def _epochs(experiment: Experiment, preparer: Preparer, train: Split, replicas: int) -> Epochs:
    config = experiment.train
    if config.global_batch_size % (replicas * config.accumulation) and not config.tokens_per_batch:
        raise UserError(f"config.train.global_batch_size={config.global_batch_size} cannot be divided over {replicas} replicas "
                        f"x {config.accumulation} micro-batches.")
    if config.tokens_per_batch and config.tokens_per_batch < replicas * experiment.data.max_length:
        raise UserError(f"config.train.tokens_per_batch={config.tokens_per_batch} holds no example of data.max_length="
                        f"{experiment.data.max_length} for each of {replicas} replicas.")
    settings = PlanSettings(
        batch_size=config.global_batch_size, max_length=experiment.data.max_length,
        tokens_per_batch=config.tokens_per_batch, buckets=config.length_buckets, grouping=config.length_grouping,
        seed=config.seed, multiple=replicas * config.accumulation,
        length_multiple=config.length_multiple or (1 if on_cpu() else 8))

    def open_epoch(epoch: int):
        if not experiment.data.augmentation.enabled:
            return train.store, train.rows, train.rows
        store = preparer.augmented(train, epoch)
        return store, np.arange(len(store)), train.rows

    return Epochs(open_epoch, settings)


def build(prepared: Prepared) -> Built:
    """Loads the pretrained backbone and builds model and optimizer in the strategy's scope."""
    experiment = prepared.experiment
    with prepared.strategy.scope():
        backbone = load_backbone(prepared.preset, precision=experiment.train.precision, dropout=experiment.model.dropout)
        description = describe(backbone)
        limit = getattr(backbone, "max_sequence_length", None)
        if limit and experiment.data.max_length > limit:
            raise UserError(f"config.data.max_length={experiment.data.max_length} is more than the backbone's limit of "
                            f"{limit} positions.")
        adaptation.freeze(backbone, experiment.model)
        model = prepared.task.build_model(backbone, experiment.model, experiment.train.seed)
        variables = model.trainable_variables
        multipliers = adaptation.learning_rate_multipliers(backbone, variables, experiment.train.layer_decay)
        optimizer = AdamW(variables, experiment.train, multipliers=multipliers,
                          decayed=[adaptation.decays(v) for v in variables])
    return Built(model, optimizer, description)


def make_dataset(prepared: Prepared, model, start: int, stop: int):
    """Training batches of steps start..stop-1, distributed over the strategy's replicas."""
    train, task, strategy = prepared.splits["train"], prepared.task, prepared.strategy
    targets = task.targets(train.store, weighted=True)
    replicas = strategy.num_replicas_in_sync

    def make(context=None):
        return dataset(prepared.epochs, targets, pad_id=prepared.pad_id, inputs=tuple(model.input),
                       target_shape=task.target_shape, target_dtype=task.target_dtype, start=start, stop=stop,
                       replicas=replicas)

    return make() if replicas == 1 else strategy.distribute_datasets_from_function(make)
