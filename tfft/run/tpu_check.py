"""What `tfft preflight` does: plans as on the TPU, lowers and compiles the step of every batch length, reports.
Of several tasks: tfft.run.tpu_check_tasks."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfft.config import Distribution, Experiment
from tfft.errors import UserError
from tfft.run.assembly import Built, Prepared, Unread, build, make_epochs, plan_settings, planned, prepare
from tfft.tpu import lower
from tfft.tpu.chips import Slice
from tfft.tpu.compiler import Compiled, Compiler
from tfft.tpu.refusals import Refused
from tfft.tpu.report import Bucket, Report
from tfft.tpu.roofline import largest_batch
from tfft.training.step import Trainer
from tfft.training.summaries import LINE_SECONDS, Console


@dataclasses.dataclass(frozen=True)
class Options:
    """What of it is done. max_lengths: compile so many lengths at most; lengths: only these; 0 and () are all."""

    tpu: Slice
    compiler_python: str
    json: str = ""
    max_lengths: int = 6
    lengths: tuple[int, ...] = ()
    search_batch: bool = True
    layers: tuple[int, ...] = (2, 4)  # of a shape


def check(experiment: Experiment, preset: str, cache: Path, options: Options) -> int:
    """Prints the report; returns the exit code, 1 where a length does not compile."""
    console = Console()
    compiler = compiler_of(options, cache, console)
    here = dataclasses.replace(experiment, distribution=Distribution(strategy="one_device"))
    prepared = prepare(here, preset, cache, console.say)
    shapes = planned_shapes(prepared, options.tpu.replicas)
    chosen = choose(shapes, options)
    built = build(prepared)
    step = Step(prepared, built, compiler, options.tpu, console.say)
    skipped = {length: shapes[length][1] for length in sorted(set(shapes) - set(chosen))}
    report = Report(options.tpu, gradient_bytes(built.model), [], skipped,
                    versions={"tensorflow": tf.__version__, **compiler.versions})
    return finish(report, step, {length: shapes[length] for length in chosen}, options)


def compiler_of(options: Options, cache: Path, console: Console) -> Compiler:
    return Compiler(options.compiler_python, cache / "preflight", lambda seconds: seconds < LINE_SECONDS or
                    console.now_and_then(f"compiling for {seconds:.0f} s"))


def finish(report: Report, step: "Step", shapes: dict[int, tuple[int, int]], options: Options) -> int:
    """Compiles the step for each length, prints the report; returns the exit code."""
    for length in shapes:
        rows, steps = shapes[length]
        report.buckets.append(Bucket(length, rows, steps, *step.compile(rows, length)))
    longest = report.buckets[-1]
    if options.search_batch and not (longest.compiled.refusal and not longest.compiled.needed):
        report.largest = largest_batch(lambda rows: step.memory(rows, longest.length), longest.rows, step.multiple)
    print("\n" + report.text())
    if options.json:
        Path(options.json).write_text(json.dumps(report.json(), indent=1) + "\n", "utf-8")
    return 0 if report.compiles else 1


def planned_shapes(prepared: Prepared, replicas: int) -> dict[int, tuple[int, int]]:
    """{batch length: (rows of a replica, steps of the first epoch)}, ascending, as planned where XLA compiles.

    Raises: UserError where batches cannot be divided over the replicas.
    """
    experiment, train = prepared.experiment, prepared.splits["train"]
    settings = plan_settings(experiment, replicas, planned(prepared.task, train, experiment), True, None)
    plan = make_epochs(prepared.preparer, train, settings, prepared.task).epoch(0).plan
    shapes = {}
    for length in np.unique(plan.lengths):
        mine = plan.lengths == length
        shapes[int(length)] = (int(plan.padded_sizes[mine].max()) // replicas, int(mine.sum()))
    return shapes


def choose(shapes: dict[int, tuple[int, int]], options: Options) -> list[int]:
    """The lengths to compile, ascending: all, or the longest and others spread over the steps of an epoch.

    Raises: UserError where a length asked for is not in the plan.
    """
    lengths = sorted(shapes)
    strangers = [length for length in options.lengths if length not in shapes]
    if strangers:
        raise UserError(f"--lengths={strangers[0]}: the plan has no batch of that length. It has "
                        f"{', '.join(map(str, lengths))}.")
    if options.lengths:
        return sorted(set(options.lengths))
    if not options.max_lengths or len(lengths) <= options.max_lengths:
        return lengths
    of_step = np.repeat(lengths, [shapes[length][1] for length in lengths])
    places = np.linspace(0, len(of_step) - 1, options.max_lengths + 1).astype(int)[1:]
    return sorted({int(length) for length in of_step[places]})


def gradient_bytes(model) -> int:
    """What the replicas add up in each step: float32 gradients of all trained weights, and the loss."""
    return 4 * (sum(math.prod(v.shape) for v in model.trainable_variables) + 1)


class Step:
    """The run's training step, for any batch shape."""

    def __init__(self, prepared: Prepared | Unread, built: Built, compiler: Compiler, tpu: Slice, say: Callable[[str], None]):
        self._compiler, self._tpu, self._say = compiler, tpu, say
        self._model, self._task = built.model, prepared.task
        config = prepared.experiment.train
        self.multiple = math.lcm(8, config.accumulation)
        self._trainer = Trainer(built.model, built.optimizer, prepared.task.loss, config, dataset=None,
                                global_step=tf.Variable(0, dtype=tf.int64, trainable=False), total_steps=prepared.total_steps,
                                strategy=prepared.strategy, use_loop=False, xla=True,
                                whole_batch=prepared.task.whole_batch)

    def compile(self, rows: int, length: int) -> tuple[Compiled, bool]:
        """(what the compiler says, whether it said so before)."""
        try:
            hlo = lower.training_step(self._trainer, self._spec(rows, length))
        except Refused as refused:
            self._say(f"{rows} x {length}: {refused}")
            return Compiled(0.0, refused.refusal), False
        made, remembered = self._compiler.compile(hlo, self._tpu.chip)
        told = str(made.refusal) if made.refusal else f"{made.needed / 2**20:,.0f} MiB of HBM"
        self._say(f"{rows} x {length}: {told}; compiled in {made.seconds:.0f} s{' (remembered)' if remembered else ''}")
        return made, remembered

    def _spec(self, rows: int, length: int) -> tuple:
        return lower.batch_spec(self._model, self._task, rows, length)

    def memory(self, rows: int, length: int) -> tuple[int, int]:
        """(bytes of HBM needed, bytes that there are)."""
        made, _ = self.compile(rows, length)
        if made.refusal:
            return made.refusal.needed or 2 * self._tpu.chip.hbm, made.refusal.available or self._tpu.chip.hbm
        return made.needed, self._tpu.chip.hbm
