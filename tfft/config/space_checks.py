"""Checks spaces against the schema before anything is trained, and reads them from config files and command lines."""

import ast
import dataclasses
import math
import runpy
import traceback
from collections.abc import Callable
from typing import Any

from tfft.config.adaptation import LOW_RANK
from tfft.config.experiment import Experiment, check_limits
from tfft.config.schema import build
from tfft.config.space import Choice, Real, Space, Whole, choice, conditions, log, plain, uniform, when, whole
from tfft.config.writing import Writing
from tfft.errors import UserError, unknown

KINDS = {"log": log, "uniform": uniform, "whole": whole, "choice": choice, "when": when}
HOW = "log(1e-5,1e-3), uniform(0.7,1), whole(0,4), choice(cls,mean) or when(adaptation.method,lora,choice(4,8,16))"
# What trials are judged by: those that differ in it could not be compared.
JUDGED_BY = ("name", "task.name", "data.validation", "data.validation_rows", "data.test", "data.test_rows", "data.split_seed",
             "data.where", "data.train", "eval.metric", "eval.min_delta", "export.weights", "data.cache")


def of_file(path: str) -> Space | None:
    """What get_space() of a config file returns; None where it has none. Raises: UserError with the file's line."""
    try:
        made = runpy.run_path(path)
        if "get_space" not in made:
            return None
        space = made["get_space"]()
    except UserError:
        raise
    except Exception as error:  # whatever the user's own code raises
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        raise UserError(f"{path}{f', line {lines[-1]}' if lines else ''}: {type(error).__name__}: {error}") from error
    if not isinstance(space, dict) or not all(isinstance(name, str) for name in space):
        raise UserError(f"{path}: get_space() must return kinds of values by names of settings, as "
                        f'{{"train.peak_learning_rate": log(1e-5, 1e-3)}}, not {space!r:.80}.')
    return space


def parse(given: list[str]) -> dict[str, Any]:
    """What --space says: ["train.epochs=whole(1,4)"] -> {"train.epochs": Whole(1, 4)}; of "train.epochs=" None."""
    made: dict[str, Any] = {}
    for text in given:
        name, equals, kind = text.partition("=")
        if not equals:
            raise UserError(f"--space={text}: write NAME=KIND, with kinds such as {HOW}.")
        try:
            made[name.strip()] = _made(ast.parse(kind.strip(), mode="eval").body) if kind.strip() else None
        except (SyntaxError, TypeError, ValueError) as error:
            raise UserError(f"--space={text} cannot be read. Kinds are {HOW}, in quotes for the shell.") from error
    return made


def _made(node: ast.expr) -> Any:
    """A kind or a value of an expression; a name stands for itself: choice(cls, mean)."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
        return KINDS[node.func.id](*map(_made, node.args), **{key.arg: _made(key.value) for key in node.keywords if key.arg})
    if isinstance(node, ast.Name):
        return {"true": True, "false": False}.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_made(node.value)}.{node.attr}"
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(map(_made, node.elts))
    return ast.literal_eval(node)


def usual_space(e: Experiment) -> Space:
    """Where a config declares none: rate, warm-up, epochs, and how much less lower layers learn, around what the config has."""
    rate, epochs = e.train.peak_learning_rate, e.train.epochs
    space: Space = {"train.peak_learning_rate": log(rate / 5, rate * 5)} if rate else {}
    space["train.warmup_fraction"] = uniform(0.0, 0.2)
    if epochs and not e.train.steps:
        space["train.epochs"] = whole(max(1, epochs - 1), epochs + 1)
    if e.adaptation.method in LOW_RANK:
        space["adaptation.rank"] = choice(4, 8, 16, 32)
    elif e.adaptation.method == "none" and e.model.frozen_layers >= 0 and not isinstance(e.task, Writing):
        space["train.layer_decay"] = uniform(0.7, 1.0)
    if e.task.name == "embedding":
        space["task.temperature"] = log(0.02, 0.2)
    return space


def check_space(space: dict[str, Any], e: Experiment) -> Space:
    """The space in the order of its conditions. Raises: UserError with what is wrong and the nearest known name."""
    if not space:
        raise UserError("The space is empty: get_space() of the config file, or --space, must name a setting to search.")
    for name, kind in space.items():
        if name in JUDGED_BY:
            raise UserError(f"The space has {name}, which decides what trials are judged by, or where they lie: it must be the "
                            f"same for all. Set it in the config.")
        probe = _probe(name, e)
        for condition in conditions(kind):
            other = _probe(condition.setting, e)
            for value in condition.values:
                _fits(other, value, f"The condition of {name}")
            kind = condition.kind
        _check_kind(name, kind)
        for value in kind.samples:
            _fits(probe, value, f"The space of {name}, {kind}")
    return _ordered(space)


def check_space_limits(space: Space, e: Experiment, *, max_length: int | None, num_layers: int | None) -> None:
    """Checks a space against the limits of the config's backbone, where all trials have that one. Raises: UserError."""
    if "model.backbone" in space:
        return
    limited = ("data.max_length", "model.frozen_layers")
    most = {name: max(plain(kind).samples) for name, kind in space.items() if name in limited}
    data = dataclasses.replace(e.data, max_length=most.get("data.max_length", e.data.max_length))
    model = dataclasses.replace(e.model, frozen_layers=most.get("model.frozen_layers", e.model.frozen_layers))
    try:
        check_limits(dataclasses.replace(e, data=data, model=model), max_length=max_length, num_layers=num_layers)
    except UserError as error:
        raise UserError(f"The space goes beyond the backbone: {error}") from error


def _check_kind(name: str, kind: Any) -> None:
    """Whether a kind is one that has values."""
    if not isinstance(kind, (Real, Whole, Choice)):
        raise UserError(f"The space of {name} is {kind!r:.80}, which is no kind of values. Kinds are {HOW}.")
    if isinstance(kind, Choice):
        if not kind.values or len({repr(value) for value in kind.values}) < len(kind.values):
            raise UserError(f"The space of {name}, {kind}, must have values, each of them once.")
        return
    numbers = (kind.low, kind.high, kind.points if isinstance(kind, Real) else kind.step)
    wanted = (int, float) if isinstance(kind, Real) else int
    if not all(isinstance(n, wanted) and not isinstance(n, bool) and math.isfinite(n) for n in numbers):
        raise UserError(f"The space of {name}, {kind!r}, must have {'' if isinstance(kind, Real) else 'whole '}numbers as its "
                        "ends.")
    if not kind.low < kind.high or (isinstance(kind, Real) and (kind.points < 2 or (kind.log and kind.low <= 0))) or (
            isinstance(kind, Whole) and not 1 <= kind.step <= kind.high - kind.low):
        raise UserError(f"The space of {name}, {kind}: the first end must be below the second"
                        f"{', and above 0' if isinstance(kind, Real) and kind.log else ''}"
                        f"{', by a step at least' if isinstance(kind, Whole) else ''}.")


def _fits(probe: Callable[[Any], None], value: Any, what: str) -> None:
    try:
        probe(value)
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def _probe(name: str, e: Experiment) -> Callable[[Any], None]:
    """What checks a value for a setting against the schema. Raises: UserError where there is no such setting."""
    *groups, last = name.split(".")
    node: Any = e
    for depth, part in enumerate(groups):
        known = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
        if part not in known:
            raise UserError(f"The space has {name}: {unknown('setting', part, known)}{_elsewhere(last, e)}")
        if isinstance(known[part], dict):
            return _named_probe(name, node, part, groups[depth + 1:], last, known[part], ".".join(groups[:depth]))
        if not dataclasses.is_dataclass(known[part]):
            raise UserError(f"The space has {name}: config.{'.'.join(groups[:depth + 1])} is a {type(known[part]).__name__}, "
                            "not a group.")
        node = known[part]
    known = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if last not in known:
        raise UserError(f"The space has {name}: {unknown('setting', last, known)}{_elsewhere(last, e)}")
    if dataclasses.is_dataclass(known[last]) or isinstance(known[last], dict):
        raise UserError(f"The space has {name}, which is a group of settings. Name one of them.")
    return lambda value: build(type(node), {last: value}, f"{'.'.join(groups)}." if groups else "")


def _named_probe(name: str, node: Any, part: str, rest: list[str], last: str, sources: dict,
                 group: str) -> Callable[[Any], None]:
    """The same of a setting of a source: data.sources.NAME.rate."""
    if len(rest) != 1 or rest[0] not in sources:
        raise UserError(f"The space has {name}: {unknown('source', '.'.join(rest), sources)} Write data.sources.NAME.SETTING.")
    return lambda value: build(type(node), {part: {rest[0]: {last: value}}}, f"{group}.")


def _elsewhere(last: str, e: Experiment) -> str:
    """' There is train.epochs.' where another group has a setting of this very name."""
    groups = {field.name: getattr(e, field.name) for field in dataclasses.fields(e)}
    found = [f"{name}.{last}" for name, group in groups.items() if dataclasses.is_dataclass(group)
             and last in {field.name for field in dataclasses.fields(group)}]
    return f" There is {found[0]}." if found else ""


def _ordered(space: Space) -> Space:
    """What conditions ask for comes before them."""
    placed: Space = {}
    while len(placed) < len(space):
        waiting = space.keys() - placed.keys()
        ready = {name: kind for name, kind in space.items() if name in waiting
                 and not {condition.setting for condition in conditions(kind)} & waiting}
        if not ready:
            raise UserError(f"The conditions of {', '.join(sorted(waiting))} wait for each other.")
        placed |= ready
    return placed


def text_of(space: Space) -> dict[str, str]:
    """As a study keeps it, to know it again."""
    return {name: str(kind) for name, kind in space.items()}
