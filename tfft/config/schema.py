"""What a group of settings is: a frozen dataclass whose fields say their meaning and limits."""

import dataclasses
import math
import re
import typing
from typing import Any

from tfft.errors import UserError, unknown


def setting(default: Any, doc: str, *, choices: tuple = (), low: float | None = None, high: float | None = None,
            free: bool = False, own: bool = False) -> Any:
    """A dataclass field with its meaning and limits (inclusive). `free`: may differ when a run is resumed; `own`: each source
    of a mixture may have its own."""
    return dataclasses.field(default=default, metadata={"doc": doc, "choices": choices, "low": low, "high": high,
                                                        "free": free, "own": own})


def group(schema: type) -> Any:
    """A dataclass field that holds a nested group of settings."""
    return dataclasses.field(default_factory=schema)


def named(more: type, doc: str) -> Any:
    """A dataclass field with groups by names of the user's own, {name: {setting: value}}: of the settings of the class that has
    the field, those that are `own`, and of those of `more`. In them stands what is given, and nothing else."""
    return dataclasses.field(default_factory=dict, metadata={**setting(None, doc).metadata, "more": more})


def settings_of_named(schema: type, more: type) -> dict[str, tuple[dataclasses.Field, Any]]:
    """(field, type) by name of what a `named` group of the class can have."""
    return {field.name: (field, typing.get_type_hints(kind)[field.name]) for kind in (more, schema)
            for field in dataclasses.fields(kind) if kind is more or field.metadata.get("own")}


def build(schema: type, values: Any, prefix: str = "", types: dict[str, type] | None = None):
    """Makes a dataclass from nested values; every field is checked on the way. `types`: classes of groups, by the group's
    name, that take the place of the declared ones.

    Raises: UserError naming the field, what is wrong and the nearest known name.
    """
    if not isinstance(values, dict):
        raise UserError(f"{f'config.{prefix}'.rstrip('.')} must be a group of settings, not {values!r:.80}.")
    fields = {f.name: f for f in dataclasses.fields(schema)}
    hints = {**typing.get_type_hints(schema), **(types or {})}
    for name in values:
        if name not in fields:
            raise UserError(f"In config.{prefix.rstrip('.') or '(top level)'}: {unknown('setting', name, fields)}")
    checked = {}
    for name, value in values.items():
        where = f"{prefix}{name}"
        if dataclasses.is_dataclass(hints[name]):
            checked[name] = build(hints[name], value, where + ".")
        elif "more" in fields[name].metadata:
            checked[name] = _build_named(schema, value, fields[name].metadata, where)
        else:
            checked[name] = _check(value, hints[name], fields[name].metadata, where)
    return schema(**checked)


def _build_named(schema: type, value: Any, metadata, where: str) -> dict[str, dict[str, Any]]:
    """Checks groups by names, and sorts them: a ConfigDict does not keep their order."""
    if not isinstance(value, dict):
        raise UserError(f"config.{where} must be groups of settings by name, not {value!r:.80}. ({metadata['doc']})")
    known, others = settings_of_named(schema, metadata["more"]), {f.name for f in dataclasses.fields(schema)}
    made = {}
    for name in sorted(value, key=str):
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w-]*", name):
            raise UserError(f"config.{where}: {name!r} is no name for one. Take letters, digits, _ and -.")
        if not isinstance(value[name], dict):
            raise UserError(f"config.{where}.{name} must be a group of settings, not {value[name]!r:.80}.")
        for setting_name in value[name]:
            if setting_name in others - known.keys():
                raise UserError(f"config.{where}.{name}.{setting_name}: all have one {setting_name}. Set config."
                                f"{where.rpartition('.')[0]}.{setting_name} instead.")
            if setting_name not in known:
                raise UserError(f"In config.{where}.{name}: {unknown('setting', setting_name, known)}")
        made[name] = {field: _check(one, known[field][1], known[field][0].metadata, f"{where}.{name}.{field}")
                      for field, one in value[name].items()}
    return made


def _check(value: Any, hint: Any, limits, where: str):
    """Checks one value's type, choices and range."""
    doc = f" ({limits['doc']})"
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
            raise UserError(f"config.{where} must be a tuple of {kind.__name__}, not {value!r}.{doc}")
        return tuple(_check(v, kind, {"doc": limits["doc"], "choices": (), "low": None, "high": None}, where)
                     for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"config.{where} must be {hint.__name__}, not {type(value).__name__} {value!r}.{doc}")
    if hint is float and not math.isfinite(value):
        raise UserError(f"config.{where} must be a finite number, not {value!r}.{doc}")
    if limits["choices"] and value not in limits["choices"]:
        raise UserError(f"config.{where}: {unknown('value', value, limits['choices'])}{doc}")
    if limits["low"] is not None and value < limits["low"]:
        raise UserError(f"config.{where} is {value!r}; it must be at least {limits['low']}.{doc}")
    if limits["high"] is not None and value > limits["high"]:
        raise UserError(f"config.{where} is {value!r}; it must be at most {limits['high']}.{doc}")
    return value


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Lines 'train.epochs: 3 -> 2' for every setting that may not change when a run is resumed."""
    lines = []
    for field in dataclasses.fields(old):
        a, b = getattr(old, field.name), getattr(new, field.name)
        if dataclasses.is_dataclass(a) and type(a) is type(b):
            lines += differences(a, b, f"{prefix}{field.name}.")
        elif dataclasses.is_dataclass(a):
            lines.append(f"{prefix}{field.name}: another task's settings")
        elif isinstance(a, dict) and isinstance(b, dict):
            lines += [f"{prefix}{field.name}.{name}: {a.get(name, {})} -> {b.get(name, {})}" for name in {**a, **b}
                      if a.get(name) != b.get(name)]
        elif a != b and not field.metadata["free"]:
            lines.append(f"{prefix}{field.name}: {a!r} -> {b!r}")
    return lines
