"""Several tasks that train one backbone together: settings and rules.

    multi_task_config(topics=config, entities=other) -> locked ConfigDict    (of ordinary configs; see configs/my_tasks.py)
    resolve_multi_task(config_dict)                  -> MultiTask            (checked; raises UserError)

In a config of several tasks `model`, `adaptation`, `train`, `eval` and `distribution` are those of all, and tasks.NAME has what
is one task's own: `task`, `data`, and of the others what OWN names.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from tfft.config import schema
from tfft.config.adaptation import Adaptation
from tfft.config.experiment import Experiment, from_json, resolve, to_json
from tfft.config.groups import Distribution, Eval, Model, Train, tracked
from tfft.config.schema import group, setting
from tfft.errors import UserError, unknown

OWN = {"model": ("pooling", "head_dropout"), "train": ("head_rate",), "eval": ("metric",), "export": ("weights",)}
SHARED = ("model", "adaptation", "distribution")  # groups that the tasks' own configs must agree on
ONE_TASK = {"model": ("start",), "adaptation": ("start",), "train": ("tokens_per_batch", "activation_cache")}
TAKEN = ("checkpoints", "tensorboard", "best", "last", "export", "tokenizer")  # names of folders in a work directory


@dataclasses.dataclass(frozen=True)
class Part:
    """What a task has beside the settings of a run of its own."""

    rate: float = setting(1.0, "its share of a step's examples beside the rates of the other tasks: 2 and 1 are two thirds and "
                               "one third", low=1e-6)
    weight: float = setting(1.0, "what its loss is multiplied by, beside counting as many examples as it has in a step", low=0)


@dataclasses.dataclass(frozen=True)
class MultiTask:
    """Everything that decides a run of several tasks. tasks: by name, each as if it were a run, with its part of a step for its
    batch; parts: its Part."""

    name: str = setting("experiment", "shown in logs and TensorBoard", free=True)
    track: str = tracked()
    model: Model = group(Model)
    adaptation: Adaptation = group(Adaptation)
    train: Train = group(Train)
    eval: Eval = group(Eval)
    distribution: Distribution = group(Distribution)
    tasks: dict[str, Experiment] = setting(None, "the tasks by their names")
    parts: dict[str, Part] = setting(None, "their rates and weights")

    def share(self, name: str) -> float:
        """What the mean loss of a task's part of a step is multiplied by."""
        return self.parts[name].weight * self.tasks[name].train.global_batch_size / self.train.global_batch_size


GROUPS = tuple(field.name for field in dataclasses.fields(MultiTask))[2:-2]
TOP = ("name", "track")  # settings in no group
PARTS = {field.name: field for field in dataclasses.fields(Part)}


def multi_task_config(**configs):
    """Returns the locked ConfigDict of several tasks, from their ordinary ConfigDicts by name.

    Backbone, adaptation and devices are those that the configs agree on. `train` and `eval` begin with their defaults: steps,
    rates and schedule are of all tasks together. Raises: UserError where the configs cannot be together.
    """
    import ml_collections

    for name, config in configs.items():
        if not isinstance(config, ml_collections.ConfigDict) or not {"task", "data"} <= set(config.keys()):
            raise UserError(f"multi_task_config: {name} is no config of a task, as default_config('text_classification') or "
                            "the get_config() of a config file returns.")
    given = {name: config.to_dict() for name, config in configs.items()}
    first, *others = given.items() or [("", {})]
    for name, values in others:
        for key in (*SHARED, "train"):
            for field in ("precision",) if key == "train" else values[key]:
                if field not in OWN.get(key, ()) and values[key][field] != first[1][key][field]:
                    raise UserError(f"multi_task_config: {first[0]} has {key}.{field}={first[1][key][field]}, {name} "
                                    f"{key}.{field}={values[key][field]}. All tasks have one backbone: give their configs the "
                                    "same.")
    common = {key: {field: value for field, value in (
        first[1][key] if key in SHARED and first[1] else dataclasses.asdict(_default(key))).items()
        if field not in OWN.get(key, ())} for key in GROUPS}
    if first[1]:
        common["train"]["precision"] = first[1]["train"]["precision"]
    for key, names in ONE_TASK.items():
        for name, values in given.items():
            if field := next((f for f in names if values[key][f] != getattr(_default(key), f)), ""):
                raise UserError(f"multi_task_config: {name} has {key}.{field}={values[key][field]}. {_alone(key, field)}")
    tasks = {name: {**dataclasses.asdict(Part()), "task": values["task"], "data": values["data"],
                    **{key: {field: values[key][field] for field in fields} for key, fields in OWN.items()}}
             for name, values in given.items()}
    made = ml_collections.ConfigDict({"name": "multi_task", "track": "none", **common, "tasks": tasks}).lock()
    for name in tasks:
        made.tasks[name].data.sources.unlock()  # their names are the user's
    return made


def _default(key: str):
    return {field.name: field for field in dataclasses.fields(MultiTask)}[key].default_factory()


def _alone(key: str, field: str) -> str:
    """Why several tasks cannot have a setting."""
    return {"start": "Several tasks begin with the weights of a backbone: name the folder of one as model.backbone, which tfft "
                     "export --format=backbone writes of a run.",
            "tokens_per_batch": "Each task's part of a step is a number of examples (train.global_batch_size by rates): set it "
                                "to 0.",
            "activation_cache": "What frozen layers make is kept for runs of one task: set it to none."}[field]


def is_multi_task(values: Any) -> bool:
    """Whether nested values (or a ConfigDict) are of several tasks."""
    return "tasks" in values if hasattr(values, "keys") else False


def resolve_multi_task(config) -> MultiTask:
    """Checks a ConfigDict (or a nested dict) and returns the frozen MultiTask, `auto` values filled in.

    Raises: UserError naming the field, what is wrong and the nearest known name.
    """
    values = dict(config.to_dict() if hasattr(config, "to_dict") else config)
    tasks = values.pop("tasks")
    for name in values:
        if name not in (*TOP, *GROUPS):
            raise UserError(f"In config.(top level): {unknown('setting', name, (*TOP, *GROUPS, 'tasks'))}"
                            + (" Each task has its own: config.tasks.NAME." + name if name in ("task", "data") else ""))
    for key in GROUPS:
        for field in OWN.get(key, ()):
            if isinstance(values.get(key), dict) and field in values[key]:
                raise UserError(f"config.{key}.{field}: each task has its own. Set config.tasks.NAME.{key}.{field}.")
    common = schema.build(MultiTask, values)
    _check_common(common)
    _check_names(tasks)
    tasks = {name: tasks[name] for name in sorted(tasks)}  # a ConfigDict does not keep their order
    parts = {name: schema.build(Part, {key: tasks[name][key] for key in PARTS if key in tasks[name]}, f"tasks.{name}.")
             for name in tasks}
    sizes = split_batch({name: part.rate for name, part in parts.items()}, common.train.global_batch_size,
                        common.train.accumulation)
    made = {name: _experiment(name, tasks[name], values, sizes[name]) for name in tasks}
    return dataclasses.replace(common, tasks=made, parts=parts)


def _check_common(common: MultiTask) -> None:
    for key, names in ONE_TASK.items():
        for field in names:
            if getattr(getattr(common, key), field) != getattr(_default(key), field):
                raise UserError(f"config.{key}.{field}={getattr(getattr(common, key), field)}: {_alone(key, field)}")


def _check_names(tasks: Any) -> None:
    if not isinstance(tasks, dict) or not all(isinstance(own, dict) for own in tasks.values()):
        raise UserError("config.tasks must be groups of settings by name, as multi_task_config(NAME=config, ...) makes them.")
    if len(tasks) < 2:
        raise UserError("config.tasks needs two tasks or more; one alone has an ordinary config.")
    for name in tasks:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name) or name in TAKEN:
            raise UserError(f"config.tasks: {name!r} is no name for a task and its folder in the work directory. Take letters, "
                            f"digits and _, and none of {', '.join(TAKEN)}.")
        for key, given in tasks[name].items():
            own = ("task", "data", *OWN, *PARTS)
            if key in GROUPS and key not in OWN or key in OWN and isinstance(given, dict) and not given.keys() <= {*OWN[key]}:
                field = next((f for f in given if f not in OWN.get(key, ())), "NAME") if isinstance(given, dict) else "NAME"
                raise UserError(f"config.tasks.{name}.{key}.{field}: all tasks have one. Set config.{key}.{field}.")
            if key not in own:
                raise UserError(f"In config.tasks.{name}: {unknown('setting', key, own)}")


def _experiment(name: str, own: dict, common: dict, size: int) -> Experiment:
    """A task as a run of its own, whose batch is its part of a step."""
    groups = {key: {**common.get(key, {}), **own.get(key, {})} for key in GROUPS}
    groups["train"]["global_batch_size"] = size
    with in_task(name):
        if own.get("data", {}).get("folds", {}).get("number"):
            raise UserError("config.data.folds.number: cross-validation is of one task. Train each by itself, or set it to 0.")
        return resolve({"name": name, "task": own.get("task", {}), "data": own.get("data", {}), **groups,
                        "export": own.get("export", {})})


@contextlib.contextmanager
def in_task(name: str) -> Iterator[None]:
    """Mistakes of the block are told by the settings of a task: "config.data.train" -> "config.tasks.NAME.data.train"."""
    try:
        yield
    except UserError as error:
        told = of_task(str(error), name)
        raise UserError(told if told != str(error) else f"config.tasks.{name}: {error}") from error


def of_task(text: str, name: str) -> str:
    """What is said of a task's own settings, as they are named beside those of others."""
    own = "|".join(rf"{key}\.(?:{'|'.join(fields)})" for key, fields in OWN.items())
    return re.sub(rf"\bconfig\.((?:task|data)\b|(?:{own})\b)", rf"config.tasks.{name}.\1", text)


def split_batch(rates: dict[str, float], size: int, multiple: int) -> dict[str, int]:
    """How many of a step's examples are each task's: by rates, in whole multiples, one at least.

    {"a": 2, "b": 1}, 32, 1 -> {"a": 21, "b": 11}
    """
    units, total = size // multiple, sum(rates.values())
    if units < len(rates):
        raise UserError(f"config.train.global_batch_size={size} in accumulation={multiple} micro-batches has no example for "
                        f"each of {len(rates)} tasks.")
    exact = {name: units * rate / total for name, rate in rates.items()}
    made = {name: max(1, int(share)) for name, share in exact.items()}
    while (left := units - sum(made.values())) > 0:
        made[max(made, key=lambda name: exact[name] - made[name])] += 1
    for _ in range(-left):  # what has one at least, and less by rates, takes it of those that lose least
        made[min((name for name in made if made[name] > 1), key=lambda name: exact[name] - made[name])] -= 1
    return {name: units * multiple for name, units in made.items()}


def to_values(e: MultiTask) -> dict:
    """What `resolve_multi_task` makes the same of."""
    plain = dataclasses.asdict(e)
    common = {key: {f: v for f, v in plain[key].items() if f not in OWN.get(key, ())} for key in GROUPS}
    tasks = {name: {**plain["parts"][name], "task": own["task"], "data": own["data"],
                    **{key: {field: own[key][field] for field in fields} for key, fields in OWN.items()}}
             for name, own in plain["tasks"].items()}
    return {"name": e.name, "track": e.track, **common, "tasks": tasks}


def resolve_any(config) -> Experiment | MultiTask:
    """Of one task or of several. Raises: UserError."""
    return resolve_multi_task(config) if is_multi_task(config) else resolve(config)


def any_to_json(e: Experiment | MultiTask) -> str:
    return json.dumps(to_values(e), indent=2) + "\n" if isinstance(e, MultiTask) else to_json(e)


def any_from_json(text: str, where: str) -> Experiment | MultiTask:
    """Reads what `any_to_json` wrote. Raises: UserError where it is damaged."""
    with contextlib.suppress(ValueError):
        values = json.loads(text)
        if is_multi_task(values):
            try:
                return resolve_multi_task(values)
            except UserError as error:
                raise UserError(f"{where}: {error}") from error
    return from_json(text, where)


def differences_of_tasks(old: MultiTask, new: MultiTask) -> list[str]:
    """Lines 'tasks.topics.rate: 1.0 -> 2.0' for every setting that may not change when a run is resumed."""
    if old.tasks.keys() != new.tasks.keys():
        return [f"tasks: {', '.join(old.tasks)} -> {', '.join(new.tasks)}"]
    lines = [line for key in GROUPS for line in schema.differences(getattr(old, key), getattr(new, key), f"{key}.")]
    for name in old.tasks:
        lines += schema.differences(old.parts[name], new.parts[name], f"tasks.{name}.")
        own = re.compile("|".join(("task", "data", *(rf"{key}\.(?:{'|'.join(fields)}):" for key, fields in OWN.items()))))
        lines += [f"tasks.{name}.{line}" for line in schema.differences(old.tasks[name], new.tasks[name]) if own.match(line)]
    return lines
