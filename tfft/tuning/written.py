"""An experiment as a config file that stands by itself: the defaults of its task, and all that differs from them."""

import dataclasses
import json
from typing import Any

from tfft.config import Experiment, default_experiment

TEMPLATE = '''"""{about}

    tfft train --config={path}
"""

from tfft.config import default_config


def get_config(variant: str = ""):
    config = default_config({task})
{lines}
    return config
'''


def config_file(experiment: Experiment, searched: dict[str, Any], about: str, path: str) -> str:
    """Python whose get_config() gives the experiment. searched: settings that a comment marks as found by the search."""
    settings = changed(default_experiment(experiment.task.name), experiment)
    settings = {name: value for name, value in settings.items() if name not in searched} | searched
    lines = [f"    config.{name} = {_python(value)}{'  # found' if name in searched else ''}"
             for name, value in settings.items()]
    return TEMPLATE.format(about=about, path=path, task=_python(experiment.task.name), lines="\n".join(lines))


def _python(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def changed(default: Any, made: Any, prefix: str = "") -> dict[str, Any]:
    """{"train.epochs": 2, ...}: what an experiment has that the defaults have not."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(made):
        old, new = getattr(default, field.name), getattr(made, field.name)
        if dataclasses.is_dataclass(new):
            found |= changed(old, new, f"{prefix}{field.name}.")
        elif isinstance(new, dict):
            found |= {f"{prefix}{field.name}.{name}": own for name, own in new.items()}
        elif old != new:
            found[f"{prefix}{field.name}"] = new
    return found
