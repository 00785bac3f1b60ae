"""Spaces of settings, which tfft tune searches: names of settings, and among which values of each.

    def get_space():                                        # beside get_config() in a config file
        return {"train.peak_learning_rate": log(1e-5, 1e-3),
                "model.pooling": choice("cls", "mean"),
                "model.frozen_layers": whole(0, 4),
                "adaptation.method": choice("none", "lora"),
                "adaptation.rank": when("adaptation.method", "lora", choice(4, 8, 16))}

A space is checked by tfft/config/space_checks.py. Without TensorFlow and without Optuna.
"""

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Real:
    """Numbers from low to high. log: 0.001 to 0.01 is as wide as 0.01 to 0.1. points: how many of them a grid tries."""

    low: float
    high: float
    log: bool = False
    points: int = 3

    @property
    def samples(self) -> tuple:
        """What must fit the setting, for all to fit it."""
        return float(self.low), float(self.high)

    @property
    def grid(self) -> tuple:
        """log(0.01, 1) -> (0.01, 0.1, 1)"""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        inner = [low + (high - low) * i / (self.points - 1) for i in range(1, self.points - 1)]
        return float(self.low), *(float(f"{math.exp(x) if self.log else x:.6g}") for x in inner), float(self.high)

    def has(self, value: Any) -> bool:
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{'log' if self.log else 'uniform'}({self.low:g}, {self.high:g})"


@dataclasses.dataclass(frozen=True)
class Whole:
    """Whole numbers: low, low + step, ... up to high."""

    low: int
    high: int
    step: int = 1

    @property
    def grid(self) -> tuple:
        return tuple(range(self.low, self.high + 1, self.step))

    samples = grid

    def has(self, value: Any) -> bool:
        return value in self.grid

    def __str__(self) -> str:
        return f"whole({self.low}, {self.high}{f', step={self.step}' if self.step > 1 else ''})"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values of any type."""

    values: tuple

    @property
    def grid(self) -> tuple:
        return self.values

    samples = grid

    def has(self, value: Any) -> bool:
        return stored(value) in map(stored, self.values)

    def __str__(self) -> str:
        return f"choice({', '.join(json.dumps(value) for value in self.values)})"


@dataclasses.dataclass(frozen=True)
class When:
    """`kind` where another setting has one of some values; elsewhere the setting stays as the config has it."""

    setting: str
    values: tuple
    kind: Any

    def __str__(self) -> str:
        values = ", ".join(json.dumps(value) for value in self.values)
        return f"when({self.setting}, {values if len(self.values) == 1 else f'({values})'}, {self.kind})"


Kind = Real | Whole | Choice | When
Space = dict[str, Kind]


def uniform(low: float, high: float, points: int = 3) -> Real:
    """Numbers from low to high, all of them as likely."""
    return Real(low, high, False, points)


def log(low: float, high: float, points: int = 3) -> Real:
    """Numbers from low to high by their order of magnitude, as rates are."""
    return Real(low, high, True, points)


def whole(low: int, high: int, step: int = 1) -> Whole:
    """Whole numbers from low to high, both of them too."""
    return Whole(low, high, step)


def choice(*values: Any) -> Choice:
    """One of some values."""
    return Choice(values)


def when(setting: str, value: Any, kind: Kind) -> When:
    """A kind that counts only where another setting has a value, or one of a tuple of values."""
    return When(setting, tuple(value) if isinstance(value, (tuple, list, set)) else (value,), kind)


def stored(value: Any) -> str | int | float | bool:
    """A value as a study's storage has it: ('query', 'value') -> '["query", "value"]'."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value)


def conditions(kind: Kind) -> list[When]:
    """Those of a kind, the outer one first."""
    return [kind, *conditions(kind.kind)] if isinstance(kind, When) else []


def plain(kind: Kind) -> Real | Whole | Choice:
    """A kind without its conditions."""
    return plain(kind.kind) if isinstance(kind, When) else kind


def own_value(experiment: Any, name: str) -> Any:
    """The value that an experiment has for a setting: "train.epochs" -> 3. None where a source has none of its own."""
    node = experiment
    for part in name.split("."):
        node = node.get(part) if isinstance(node, dict) else getattr(node, part)
    return node


def active(kind: Kind, chosen: dict[str, Any], experiment: Any) -> Real | Whole | Choice | None:
    """The kind without its conditions; None where one is not met, by what is chosen so far or what the experiment has."""
    for condition in conditions(kind):
        value = chosen[condition.setting] if condition.setting in chosen else own_value(experiment, condition.setting)
        if stored(value) not in map(stored, condition.values):
            return None
        kind = condition.kind
    return kind


def assign(space: Space, experiment: Any, pick: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Values of the settings that count, by pick(name, kind) of each in turn. The space is in the order of its conditions."""
    chosen: dict[str, Any] = {}
    for name, kind in space.items():
        if plain := active(kind, chosen, experiment):
            chosen[name] = pick(name, plain)
    return chosen


def grid(space: Space, experiment: Any) -> list[dict[str, Any]]:
    """All combinations of values, of a continuous setting some of them.

    {"a": choice(1, 2), "b": when("a", 2, choice(5, 6))} -> [{a: 1}, {a: 2, b: 5}, {a: 2, b: 6}]
    """
    made: list[dict[str, Any]] = [{}]
    for name, kind in space.items():
        made = [{**chosen, **more} for chosen in made for more in _points(name, active(kind, chosen, experiment))]
    return made


def _points(name: str, plain: Real | Whole | Choice | None) -> list[dict[str, Any]]:
    return [{name: value} for value in plain.grid] if plain else [{}]


def with_settings(values: dict, chosen: dict[str, Any]) -> dict:
    """A copy of a config's nested values with others: {"train": {...}}, {"train.epochs": 2} -> {"train": {epochs: 2}}"""
    made = copy.deepcopy(values)
    for name, value in chosen.items():
        *groups, last = name.split(".")
        node = made
        for part in groups:
            node = node.setdefault(part, {})
        node[last] = value
    return made
