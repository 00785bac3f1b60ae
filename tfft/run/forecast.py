"""What a run would be: the report of `tfft plan`."""

import dataclasses
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import tensorflow as tf

from tfft.config import Experiment, MultiTask, of_task
from tfft.config.adaptation import SEEN
from tfft.data.plan import make_plan
from tfft.data.unknown import shares
from tfft.models.adaptation import sections
from tfft.run import activations
from tfft.run.advice import advice, advice_of_task
from tfft.run.assembly import Built, Prepared, build, build_together, fixed_bytes, make_dataset, prepare, weights_told
from tfft.run.joint import Course, parts_of, prepare_tasks
from tfft.run.mixture_table import mixture_table
from tfft.tasks.base import Table
from tfft.training.joint import JointTrainer
from tfft.training.step import Trainer
from tfft.training.strategy import make_strategy, set_up
from tfft.training.summaries import Console, duration, table

BAR = 40  # characters of the histogram's longest bar
LOOKED_AT = 2000  # steps of several tasks, whose sizes are added up one by one


def forecast(experiment: Experiment, preset: str, cache: Path, timed_steps: int) -> int:
    """Prints the report; returns the exit code."""
    console = Console()
    prepared = prepare(experiment, preset, cache, console.say)
    print(_rows(prepared))
    print("\n" + table(_steps(prepared) + _batches(prepared)))
    if not timed_steps and experiment.adaptation.method != "none":  # whether there is what it acts on
        print("\n" + table([("weights", build(prepared).weights)]))
    if timed_steps:
        print("\n" + _time_and_memory(prepared, timed_steps))
    if advised := advice(prepared):
        print("\n" + "\n".join(f"advice: {line}" for line in advised))
    return 0


def forecast_tasks(config: MultiTask, presets: dict[str, tuple[str, Path]], timed_steps: int) -> int:
    """The same of several tasks."""
    console, strategy = Console(), make_strategy(config.distribution)
    set_up(config.train)
    course = prepare_tasks(config, presets, console.say, strategy, dict.fromkeys(config.tasks))
    for name, prepared in course.tasks.items():
        print(f"{name}: {prepared.experiment.task.name}\n\n{_rows(prepared)}\n\n{table(_batches(prepared))}\n")
    print(f"{course.table()}\n\n" + table([("steps an epoch", f"{course.epoch_steps:,}"),
                                           ("steps in all", f"{course.total_steps:,}")]))
    tasks = course.settled()
    if timed_steps:
        print("\n" + _time_and_memory_of_tasks(config, tasks, course, timed_steps))
    elif config.adaptation.method != "none":
        print("\n" + table([("weights", weights_told([one.model for one in build_together(list(tasks.values()))]))]))
    if advised := [f"advice: {name}: {of_task(line, name)}" for name, one in tasks.items() for line in advice_of_task(one)]:
        print("\n" + "\n".join(advised))
    return 0


def _rows(prepared: Prepared) -> str:
    """Splits, what is learnt from them, lengths."""
    mixture = [mixture_table(prepared)] if prepared.splits["train"].sources else []
    learnt = prepared.task.describe_rows(len(prepared.splits["train"].rows))
    told = [learnt if isinstance(learnt, str) else _told(learnt)] if learnt else []
    return "\n\n".join([_splits(prepared), *mixture, *told, _histogram(prepared)])


def _told(learnt: Table) -> str:
    shown = table(learnt.shown or learnt.lines, learnt.header)
    return f"{shown}\n{learnt.note}" if learnt.note else shown


def _splits(prepared: Prepared) -> str:
    limit = prepared.experiment.data.max_length
    rows = []
    for name, split in prepared.splits.items():
        lengths, full = split.lengths, split.full_lengths
        rows.append((name, len(split.rows), int(lengths.sum()), f"{lengths.mean():.1f}", int(np.median(full)),
                     int(full.max()), f"{(full > limit).mean():.1%}",
                     *(("", "") if split.unknown is None else (f"{share:.1%}" for share in shares(split.unknown)))))
    return table(rows, ("split", "rows", "tokens", "mean", "median untruncated", "longest untruncated", "over max_length",
                        "unknown tokens", "unknown characters"))


def _histogram(prepared: Prepared) -> str:
    """How long the training texts are, before truncation."""
    split, limit = prepared.splits["train"], prepared.experiment.data.max_length
    full = split.full_lengths
    width = max(1, -(-int(np.quantile(full, 0.99)) // 16))
    edges = np.arange(0, min(15 * width, full.max()) + 1, width)
    edges = np.append(edges, full.max() + 1)
    counts = np.histogram(full, edges)[0]
    lines = ["tokens a training text has, before truncation:"]
    for i, count in enumerate(counts):
        last = i == len(counts) - 1
        name = f"{edges[i]:>6,} {'and more' if last else f'- {edges[i + 1] - 1:<6,}'}"
        mark = "  <- max_length" if edges[i] <= limit < edges[i + 1] else ""
        lines.append(f"  {name:16} {'#' * round(BAR * count / max(1, counts.max())):{BAR}} {count:,}{mark}")
    for share in (0.5, 0.9, 0.95, 0.99):
        lines.append(f"  {share:.0%} have at most {int(np.quantile(full, share)):,} tokens")
    return "\n".join(lines)


def _steps(prepared: Prepared) -> list[tuple]:
    config = prepared.experiment.train
    decided = f"{prepared.num_epochs} epochs{'' if config.epochs else ', by the number of rows'}"
    return [("steps an epoch", f"{prepared.epochs.epoch(0).plan.num_batches:,}"),
            ("steps in all", f"{prepared.total_steps:,} ({'config.train.steps' if config.steps else decided})")]


def _batches(prepared: Prepared) -> list[tuple]:
    """How much of a batch is padding with this plan and with others."""
    epochs = prepared.epochs
    plan, lengths = epochs.epoch(0).plan, epochs.epoch(0).lengths
    ungrouped = dataclasses.replace(
        make_plan(lengths, dataclasses.replace(epochs.settings, grouping=False, tokens_per_batch=0), 0),
        real_tokens=plan.real_tokens, sequences=plan.sequences)
    to_limit = 1 - plan.real_tokens / plan.sequences / (len(lengths) * prepared.experiment.data.max_length)
    used, counts = np.unique(plan.lengths, return_counts=True)
    return [("padding, this plan", f"{plan.padding_waste:.1%}"),
            ("padding, batches not grouped by length", f"{ungrouped.padding_waste:.1%}"),
            ("padding, every text to max_length", f"{to_limit:.1%}"),
            ("batch lengths", f"{len(used)}, from {used[0]} to {used[-1]}; most common {used[counts.argmax()]}")]


def _time_and_memory(prepared: Prepared, steps: int) -> str:
    """Times real steps on batches spread over the first epoch's lengths; nothing is kept of them."""
    built = build(prepared)
    above, kept = activations.unread(prepared, built)
    epochs, total = prepared.epochs, prepared.total_steps
    plan, per_epoch = epochs.epoch(0).plan, epochs.num_batches(0)
    trainer = Trainer(built.model, built.optimizer, prepared.task.loss, prepared.experiment.train, dataset=None,
                      global_step=tf.Variable(0, dtype=tf.int64), total_steps=total, strategy=prepared.strategy, use_loop=False,
                      xla=prepared.xla, whole_batch=prepared.task.whole_batch, halves=prepared.halves,
                      forward=above and above.model)
    timed = _timed(trainer, plan.lengths[:min(per_epoch, total)], steps, epochs.tokens, plan.real_tokens * total / per_epoch,
                   lambda step: _batch(prepared, built, step, above and above.hidden["train"]))
    return table([*timed, *([("activation cache", kept)] if kept else []), ("weights", built.weights),
                  *_memory(built.fixed_bytes, "longest batch", _activations(built, prepared))])


def _time_and_memory_of_tasks(config: MultiTask, tasks: dict[str, Prepared], course: Course, steps: int) -> str:
    """The same of several tasks: a step has a batch of each."""
    built = build_together(list(tasks.values()))
    pairs, first = list(zip(tasks.values(), built, strict=True)), next(iter(tasks.values()))
    trainer = JointTrainer(parts_of(config, tasks, built), built[0].optimizer, config.train, dataset=None,
                           global_step=tf.Variable(0, dtype=tf.int64), total_steps=course.total_steps, strategy=first.strategy,
                           use_loop=False, xla=first.xla)
    sizes = [course.tokens(step, step + 1)[2] for step in range(min(course.epoch_steps, course.total_steps, LOOKED_AT))]
    tokens = sum(one.epochs.epoch(0).plan.real_tokens / one.epochs.num_batches(0) for one in tasks.values())
    timed = _timed(trainer, np.array(sizes), steps, course.tokens, tokens * course.total_steps,
                   lambda step: tuple(_batch(one, each, step) for one, each in pairs))
    models = [each.model for each in built]
    return table([*timed, ("weights", weights_told(models)),
                  *_memory(fixed_bytes(models, built[0].optimizer), "longest batches of all tasks",
                           sum(_activations(each, one) for one, each in pairs))])


def _batch(prepared: Prepared, built: Built, step: int, hidden=None):
    """A dataset of one step's batch."""
    return make_dataset(prepared, built.model, step, step + 1, prepared.epochs.shape(step) if prepared.xla else None, hidden)


def _timed(trainer: Trainer, sizes: np.ndarray, steps: int, tokens: Callable, all_tokens: float,
           batch: Callable) -> list[tuple]:
    """Speed and time of steps spread over those of the first epoch, from the smallest to the largest. tokens: as Epochs has
    it; batch: the batches of a step."""
    by_size = np.argsort(sizes, kind="stable")
    chosen = by_size[np.linspace(0, len(by_size) - 1, min(steps, len(by_size))).astype(int)].tolist()
    seconds = read = 0.0
    for i, step in enumerate([chosen[-1], *chosen]):  # the longest first, untimed: it traces the step
        trainer.train_dataset = batch(step)
        begin = time.monotonic()
        trainer.train(tf.constant(1))
        if i:
            seconds += time.monotonic() - begin
            read += tokens(step, step + 1)[1]
    return [("training speed", f"{read / seconds:,.0f} real tokens/s over {len(chosen)} timed steps, "
                               f"{seconds / len(chosen):.3g} s each"),
            ("training time", f"about {duration(all_tokens / read * seconds)}, evaluations not counted")]


def _memory(fixed: int, of: str, activations: int) -> list[tuple]:
    return [("memory for weights, gradients, optimizer", f"{fixed / 1e9:.2f} GB"),
            (f"memory for activations, {of}", f"about {activations / 1e9:.2f} GB"),
            ("resident memory of this process now", f"{psutil.Process().memory_info().rss / 1e9:.2f} GB"),
            ("and at most", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB")]


def _activations(built: Built, prepared: Prepared) -> int:
    """Estimated bytes of kept activations of the largest batch.

    Activations of one encoder layer that is trained: (34 H + 5 heads S) values of 2 bytes for each token in Korthikanti et al.
    2022 (section 4.1); float32 doubles it. With `remat` a layer keeps its input, and one layer at a time all. A prompt's
    tokens are tokens of each row, a prefix is seen by each token.
    """
    backbone_layers = [layer for layer in sections(built.model)[1] if layer.trainable]
    plan, config = prepared.epochs.epoch(0).plan, prepared.experiment.train
    sizes = plan.padded_sizes * plan.sequences // config.accumulation // prepared.strategy.num_replicas_in_sync
    worst = int(np.argmax(sizes * plan.lengths))
    length, rows = int(plan.lengths[worst]), int(sizes[worst])
    hidden, heads = _shape(built)
    adaptation = prepared.experiment.adaptation
    before = adaptation.prefix if adaptation.method in SEEN else 0
    seen, length = length + before, length + before * (adaptation.method == "prompt")
    each = (34 * hidden + 5 * heads * seen) * (2 if config.precision == "float32" else 1)
    if config.remat:
        kept = hidden * (4 if config.precision == "float32" else 2)
        return rows * length * (len(backbone_layers) * kept + each)
    return len(backbone_layers) * rows * length * each


def _shape(built: Built) -> tuple[int, int]:
    """(hidden width, attention heads) from the backbone's description."""
    config = json.loads(built.backbone_description)["config"]
    return int(config.get("hidden_dim", 768)), int(config.get("num_heads") or config.get("num_query_heads") or 12)

