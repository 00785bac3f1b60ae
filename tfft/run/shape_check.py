"""What `tfft preflight` does with an architecture alone: steps of few of its layers are compiled, those of all follow."""

import dataclasses
import itertools
import json
from pathlib import Path

import tensorflow as tf

from tfft.assets import cache_folder
from tfft.config import Distribution, Experiment
from tfft.errors import UserError
from tfft.models.adaptation import trained_weights
from tfft.models.shapes import layers_of, read_shape
from tfft.run.assembly import Built, Unread, build_shape
from tfft.run.tpu_check import Options, Step, compiler_of
from tfft.tasks.table import TASKS
from tfft.tpu.chips import CHIPS, GIB, Chip
from tfft.tpu.compiler import Compiler
from tfft.tpu.layers import Line
from tfft.training.strategy import make_strategy, set_up
from tfft.training.summaries import Console, table

LEFT = 63 / 64  # of a chip's memory, what the compiler has for a step
NOTE = """memory of {few} layers is the compiler's word ({chip}'s, {versions}); that of all {layers} follows from a straight
line in layers and in rows; other chips by the same bytes. Training is data parallel: every chip has the whole model."""


@dataclasses.dataclass
class Found:
    """line: what a step needs, by layers and rows."""

    line: Line
    layers: int
    rows: int
    length: int

    def chips(self) -> list[dict]:
        """Each generation: whether a replica's batch fits, and the largest that does."""
        need = self.line.bytes(self.layers, self.rows)
        return [{"chip": chip.name, "hbm": chip.hbm, "needed": need, "fits": need <= chip.hbm * LEFT,
                 "largest_batch": self.line.rows(self.layers, _there(chip))} for chip in CHIPS.values()]


def check_shape(experiment: Experiment, options: Options) -> int:
    """Prints the report; returns the exit code, 1 where the batch does not fit on the chip that is asked for."""
    console, shape = Console(), read_shape(experiment.model.backbone)
    if experiment.model.frozen_layers > 0:
        raise UserError(f"config.model.frozen_layers={experiment.model.frozen_layers}: an architecture alone is compiled with "
                        "few of its layers, which must be alike. Take 0, or -1.")
    here = dataclasses.replace(experiment, distribution=Distribution(strategy="one_device"))
    strategy = make_strategy(here.distribution)
    set_up(here.train)
    kind = TASKS[here.task.name]
    unread = Unread(here, strategy, kind(here.task, kind.infer_nothing(here)))
    layers, replicas = layers_of(shape), options.tpu.replicas
    rows = max(experiment.train.accumulation, -(-experiment.train.global_batch_size // replicas))
    length = max(options.lengths) if options.lengths else experiment.data.max_length
    few = few_layers(options.layers, layers)
    floor = Floor(*(_of_all(each, few, layers) for each in zip(*(_counts(build_shape(unread, shape, n)) for n in few))),
                  clipped=bool(here.train.clip_norm))
    print(floor.text(), flush=True)
    if floor.bytes > _there(options.tpu.chip):
        print(f"That alone is more than a {options.tpu.chip.name} has: nothing was compiled.")
        return 1
    compiler = compiler_of(options, cache_folder(experiment.data.cache), console)
    points, told = {}, []
    for number in few:
        built = build_shape(unread, shape, number)
        step = Step(unread, built, compiler, options.tpu, lambda line, number=number: console.say(f"{number} layers, {line}"))
        for size in (rows, 2 * rows):
            made, remembered = step.compile(size, length)
            if not made.needed:
                raise UserError(f"{number} layers do not compile: {made.refusal}")
            points[number, size] = made.needed
            told.append((number, size, f"{made.needed / 2**20:,.0f} MiB", f"{made.seconds:.0f} s{' (kept)' * remembered}"))
    found = Found(Line(points), layers, rows, length)
    print("\n" + _text(found, told, options, compiler))
    if options.json:
        Path(options.json).write_text(json.dumps(_json(found, options, compiler), indent=1) + "\n", "utf-8")
    return 0 if found.line.bytes(layers, rows) <= _there(options.tpu.chip) else 1


@dataclasses.dataclass(frozen=True)
class Floor:
    """What every step holds, whatever its batch: float32 weights, of those that are trained two moments, and where gradients
    are clipped by their norm all gradients at once."""

    weights: int
    trained: int
    clipped: bool

    @property
    def bytes(self) -> int:
        return 4 * (self.weights + (3 if self.clipped else 2) * self.trained)

    def text(self) -> str:
        fit = [chip.name for chip in CHIPS.values() if self.bytes <= _there(chip)]
        return table([("weights", f"{self.weights:,}, {self.trained:,} of them trained"),
                      (f"weights, moments{' and gradients' if self.clipped else ''} alone", f"{self.bytes / GIB:.2f} GiB"),
                      ("chips that have so much", ", ".join(fit) or "none")])


def _counts(built: Built) -> tuple[int, int]:
    """(weights, trained ones)"""
    return built.model.count_params(), trained_weights(built.model)


def few_layers(asked: tuple[int, ...], layers: int) -> tuple[int, int]:
    """The two numbers of layers to compile. Raises: UserError."""
    chosen = sorted({min(number or layers, layers) for number in asked})
    if len(chosen) == 1 and chosen[0] > 1:
        chosen = [chosen[0] // 2, *chosen]
    if len(chosen) != 2:
        raise UserError(f"--layers={','.join(map(str, asked))}: give two different numbers of layers, up to {layers}.")
    return chosen[0], chosen[1]


def _of_all(counts: list[int], few: tuple[int, int], layers: int) -> int:
    each = (counts[1] - counts[0]) // (few[1] - few[0])
    return counts[0] + each * (layers - few[0])


def _there(chip: Chip) -> int:
    return int(chip.hbm * LEFT)


def _text(found: Found, told: list[tuple], options: Options, compiler: Compiler) -> str:
    need = found.line.bytes(found.layers, found.rows)
    rows = [(one["chip"], f"{one['hbm'] / GIB:.0f} GiB", "fits" if one["fits"] else "does NOT fit",
             f"{one['largest_batch']:,}" if one["largest_batch"] else "none fits") for one in found.chips()]
    kept = [(f"all {found.layers} layers, {found.rows} x {found.length} tokens a chip", f"{need / GIB:.2f} GiB")]
    few = " and ".join(str(number) for number in sorted({number for number, *_ in told}))
    note = NOTE.format(few=few, chip=options.tpu.chip.name, layers=found.layers,
                       versions=", ".join(itertools.starmap("{} {}".format, compiler.versions.items())))
    return "\n\n".join([table(told, ("layers", "rows", "HBM needed", "compiled in")), table(kept),
                        table(rows, ("chip", "HBM", f"{found.rows} rows", "largest batch of a chip")), note])


def _json(found: Found, options: Options, compiler: Compiler) -> dict:
    return {"tpu": options.tpu.name, "layers": found.layers, "length": found.length,
            "rows_per_replica": found.rows, "chips": found.chips(),
            "versions": {"tensorflow": tf.__version__, **compiler.versions},
            "compiled": [{"layers": number, "rows": rows, "hbm_needed": need}
                         for (number, rows), need in found.line.points.items()]}
