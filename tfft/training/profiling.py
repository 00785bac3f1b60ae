"""TensorBoard's profile of some steps (config.train.profile), and where their time went by its trace.

On a CPU every op of a step is in the trace, by the name it was given: what runs under backward/ or gradient_tape/ takes
gradients, under optimizer/ clips and updates, the rest is forward, with the loss. An instant in which several ops run is shared
by them; one in which none does is input where the step waits for its batch, else other: Python, and the graph's bookkeeping.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfft.models.kernels import on_cpu

PARTS = ("input", "forward", "backward", "optimizer", "other")
STEP = "tfft_step"  # the mark of a step in the trace
BACKWARD, OPTIMIZER = re.compile(r"(^|/|_)(backward|gradient_tape)/"), re.compile(r"(^|/|_)optimizer/")
OP = re.compile(r"[^:]+:(\w+)$")  # NAME:TYPE
WAITING = re.compile(r"(Multi)?(Device)?Iterator\w*GetNext\w*(Op)?(::\w+)?$|.*:\w*IteratorGetNext\w*$")
AROUND = {"StatefulPartitionedCall", "PartitionedCall", "While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase",
          "ReadVariableOp", "NoOp", "Identity", "Const"}  # hold others, or do nothing
READING = {"PyFunc", "EagerPyFunc", "PyFuncStateless"}  # of the pipeline, beside the step


class Span(NamedTuple):
    """A time in which something ran, in picoseconds."""

    begin: int
    end: int
    part: str


def steps_of(text: str) -> tuple[int, int]:
    """"10:20" -> (10, 20): after step 10, to the end of step 20; (0, 0) of ''."""
    first, _, last = text.partition(":")
    return (int(first), int(last)) if text else (0, 0)


class Profiler:
    """Profiles steps first+1..last. What goes wrong is told, and stops nothing. shares: of the steps' time, by PARTS."""

    def __init__(self, steps: str, folder: Path, say: Callable[[str], None], writes: bool = True):
        self.first, self.last = steps_of(steps)
        self._folder, self._say, self._writes, self._running = folder, say, writes and bool(steps), False
        self.shares: dict[str, float] = {}

    def limit(self, step: int, limit: int) -> int:
        """The step up to which the loop may go at once, on every host the same."""
        return min((end for end in (self.first, self.last) if step < end < limit), default=limit)

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Around the training that begins after `step` steps."""
        if self._writes and step == self.first:
            with self._told():
                tf.profiler.experimental.start(str(self._folder))
                self._running = True
        mark = tf.profiler.experimental.Trace(STEP, step_num=step, _r=1) if self._running else contextlib.nullcontext()
        with mark:
            yield

    def after(self, step: int) -> None:
        if self._running and step >= self.last:
            self.stop()

    def stop(self) -> None:
        """Writes the profile, where one is being made: an evaluation is none of it."""
        if not self._running:
            return
        self._running = False
        with self._told():
            tf.profiler.experimental.stop()
            if on_cpu():
                newest = max(self._folder.glob("plugins/profile/*/*.xplane.pb"), key=lambda path: path.stat().st_mtime)
                self.shares = shares(*spans(newest))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # another profiler, a full disk, a trace of another form
            self._say(f"warning: config.train.profile failed ({str(error).splitlines()[0][:200] if str(error) else error!r})")


def spans(path: Path) -> tuple[list[Span], list[Span]]:
    """(the steps, what ran) of a trace."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    steps, ran = [], []
    for plane in space.planes:
        if not plane.name.startswith("/host:CPU"):
            continue
        names = {number: kind.name for number, kind in plane.event_metadata.items()}
        parts = {number: part_of(name) for number, name in names.items()}
        for line in plane.lines:
            reading = line.name.startswith("tf_data") and "get_next" not in line.name
            for event in line.events:
                begin = line.timestamp_ns * 1000 + event.offset_ps
                span = Span(begin, begin + event.duration_ps, parts[event.metadata_id])
                if names[event.metadata_id].partition("#")[0] == STEP:
                    steps.append(span)
                elif span.part and not reading and span.end > span.begin:
                    ran.append(span)
    return steps, ran


def part_of(name: str) -> str:
    """What an event of the trace is part of; '' of what is no op, or holds others.

    "bert/layer_0/MatMul:MatMul" -> "forward"; "gradient_tape/bert/layer_0/MatMul:MatMul" -> "backward"
    """
    if WAITING.match(name):
        return "input"
    found = OP.match(name)
    if not found or found[1] in AROUND:
        return ""
    if found[1] in READING:
        return "input"
    return "optimizer" if OPTIMIZER.search(name) else "backward" if BACKWARD.search(name) else "forward"


def shares(steps: Iterable[Span], ran: Iterable[Span]) -> dict[str, float]:
    """The share of the steps' time that went to each of PARTS; {} without steps.

    A step from 0 to 10, "forward" from 0 to 4, "backward" from 2 to 8: forward 0.3, backward 0.5, other 0.2
    """
    changes = sorted((at, sign, span.part) for span in ran for at, sign in ((span.begin, 1), (span.end, -1)))
    edges = sorted((at, sign) for span in steps for at, sign in ((span.begin, 1), (span.end, -1)))
    found: Counter = Counter()
    active: Counter = Counter()
    inside, last = 0, 0
    for at, sign, part in sorted([*changes, *((at, sign, "") for at, sign in edges)]):
        if inside:
            busy = {name: count for name, count in active.items() if count and name != "input"}
            for name, count in busy.items():
                found[name] += (at - last) * count / sum(busy.values())
            if not busy:
                found["input" if active["input"] else "other"] += at - last
        last = at
        if part:
            active[part] += sign
        else:
            inside += sign
    total = sum(found.values())
    return {name: found[name] / total for name in PARTS} if total else {}
