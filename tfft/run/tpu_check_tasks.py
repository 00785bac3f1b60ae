"""What `tfft preflight` does for several tasks: each has one static shape, and so there is one step to compile."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfft.config import Distribution, MultiTask
from tfft.run.assembly import build_together
from tfft.run.joint import Course, check_parts, one_shape, parts_of, prepare_tasks
from tfft.run.tpu_check import Options, Step, choose, compiler_of, finish, gradient_bytes, planned_shapes
from tfft.tpu import lower
from tfft.tpu.chips import Slice
from tfft.tpu.compiler import Compiler
from tfft.tpu.report import Report
from tfft.training.joint import JointTrainer, Variables
from tfft.training.strategy import make_strategy, set_up
from tfft.training.summaries import Console


def check_tasks(config: MultiTask, presets: dict[str, tuple[str, Path]], options: Options) -> int:
    """Prints the report; returns the exit code, 1 where the step does not compile."""
    console = Console()
    compiler = compiler_of(options, next(iter(presets.values()))[1], console)
    check_parts(config, options.tpu.replicas)
    device = Distribution(strategy="one_device")
    here = dataclasses.replace(config, distribution=device, tasks={
        name: dataclasses.replace(one, distribution=device) for name, one in config.tasks.items()})
    strategy = make_strategy(device)
    set_up(config.train)
    course = prepare_tasks(here, presets, console.say, strategy, dict.fromkeys(config.tasks))
    parts = shapes_of_parts(course, options.tpu.replicas)
    shapes = {max(length for _, length in parts.values()): (sum(rows for rows, _ in parts.values()), course.epoch_steps)}
    choose(shapes, options)  # a length asked for that is not there is told
    step = JointStep(course, parts, compiler, options.tpu, console.say)
    report = Report(options.tpu, gradient_bytes(step.variables), [], {},
                    versions={"tensorflow": tf.__version__, **compiler.versions}, parts=parts)
    return finish(report, step, shapes, options)


def shapes_of_parts(course: Course, replicas: int) -> dict[str, tuple[int, int]]:
    """(rows of a replica, length) of each task's part of a step."""
    made = {}
    for name, prepared in course.tasks.items():
        (length, (rows, _)), = planned_shapes(dataclasses.replace(prepared, experiment=one_shape(prepared.experiment)),
                                              replicas).items()
        made[name] = rows, length
    return made


class JointStep(Step):
    """The step of all tasks, for a batch of any size that the tasks' parts can have their shares of."""

    def __init__(self, course: Course, parts: dict[str, tuple[int, int]], compiler: Compiler, tpu: Slice,
                 say: Callable[[str], None]):
        self._compiler, self._tpu, self._say, self._parts = compiler, tpu, say, parts
        config, tasks = course.config, course.settled()
        self._tasks, self._built = tasks, build_together(list(tasks.values()))
        self.variables = Variables.of([one.model for one in self._built])
        accumulation = config.train.accumulation
        self._times = math.gcd(*(rows // accumulation for rows, _ in parts.values()))
        self.multiple = sum(rows for rows, _ in parts.values()) // self._times
        first = next(iter(tasks.values()))
        self._trainer = JointTrainer([part._replace(halves=False) for part in parts_of(config, tasks, self._built)],
                                     self._built[0].optimizer, config.train, dataset=None, total_steps=course.total_steps,
                                     global_step=tf.Variable(0, dtype=tf.int64, trainable=False), strategy=first.strategy,
                                     use_loop=False, xla=True)

    def _spec(self, rows: int, length: int) -> tuple:
        return tuple(lower.batch_spec(built.model, one.task, own // self._times * (rows // self.multiple), limit)
                     for (own, limit), one, built in zip(self._parts.values(), self._tasks.values(), self._built, strict=True))
