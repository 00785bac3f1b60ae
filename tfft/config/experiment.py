"""One experiment: frozen dataclasses are the schema, an ml_collections.ConfigDict is how a user edits it.

    default_config("text_classification") -> locked ConfigDict      (what configs/*.py start from)
    resolve(config_dict)                  -> Experiment             (checked; raises UserError)
    to_json / from_json                                             (<workdir>/config.json)
"""

import ast
import dataclasses
import json
import re
import typing

from tfft.config import (
    adaptation,
    causal_lm,
    embedding,
    folds,
    masked_lm,
    mixture,
    multiple_choice,
    question_answering,
    schema,
    seq2seq,
    text_classification,
    token_classification,
)
from tfft.config.adaptation import Adaptation
from tfft.config.groups import Data, Distribution, Eval, Export, Model, Task, TaskConfig, Train, tracked
from tfft.config.schema import group, setting
from tfft.config.writing import Writing
from tfft.errors import UserError, unknown

TASKS: dict[str, TaskConfig] = {
    "text_classification": text_classification.CONFIG,
    "token_classification": token_classification.CONFIG,
    "question_answering": question_answering.CONFIG,
    "embedding": embedding.CONFIG,
    "masked_lm": masked_lm.CONFIG,
    "causal_lm": causal_lm.CONFIG,
    "seq2seq": seq2seq.CONFIG,
    "multiple_choice": multiple_choice.CONFIG,
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that decides a run. `task` and `data` are of the classes that TASKS has for the task."""

    name: str = setting("experiment", "shown in logs and TensorBoard", free=True)
    track: str = tracked()
    task: Task = group(Task)
    data: Data = group(Data)
    model: Model = group(Model)
    adaptation: Adaptation = group(Adaptation)
    train: Train = group(Train)
    eval: Eval = group(Eval)
    distribution: Distribution = group(Distribution)
    export: Export = group(Export)


def default_experiment(task: str) -> Experiment:
    """The experiment of a task with all its defaults. Raises: UserError."""
    if task not in TASKS:
        raise UserError(unknown("task", task, TASKS))
    return Experiment(task=TASKS[task].settings(), data=TASKS[task].data())


def default_config(task: str = "text_classification"):
    """Returns the locked `ml_collections.ConfigDict` of all defaults for a task."""
    import ml_collections

    made = ml_collections.ConfigDict(dataclasses.asdict(default_experiment(task))).lock()
    made.data.sources.unlock()  # their names are the user's
    return made


def resolve(config) -> Experiment:
    """Checks a ConfigDict (or a nested dict) and returns the frozen experiment with `auto` values filled in.

    Raises: UserError naming the field, what is wrong and the nearest known name.
    """
    values = config.to_dict() if hasattr(config, "to_dict") else config
    task = _task_of(values)
    if isinstance(values, dict):
        values = {"task": {}, "data": {}, **values}  # what is not given is the task's own
    experiment = schema.build(Experiment, values, types={"task": TASKS[task].settings, "data": TASKS[task].data})
    experiment = TASKS[task].fill(experiment)
    if experiment.eval.metric == "auto":
        usual = TASKS[task].metrics(experiment.task)[0]
        experiment = dataclasses.replace(experiment, eval=dataclasses.replace(experiment.eval, metric=usual))
    _check_rules(experiment)
    return experiment


def _task_of(values) -> str:
    """The task that nested values name; text classification where they name none."""
    group_of_task = values.get("task") if isinstance(values, dict) else None
    name = group_of_task.get("name", "text_classification") if isinstance(group_of_task, dict) else "text_classification"
    if not isinstance(name, str):
        return "text_classification"  # whose check tells what a name must be
    if name not in TASKS:
        raise UserError(f"config.task.name: {unknown('value', name, TASKS)} (the task)")
    return name


def classes_of(path: tuple[str, ...] = ()) -> tuple[type, ...]:
    """The classes that a group of settings can have, by its names from the top: () is the experiment itself.

    classes_of(("data",)) -> (TextClassificationData, ...), one for each task
    """
    found: tuple[type, ...] = (Experiment,)
    for depth, part in enumerate(path):
        if depth == 0 and part in ("task", "data"):
            found = tuple(known.settings if part == "task" else known.data for known in TASKS.values())
        else:
            hints = [typing.get_type_hints(kind).get(part) for kind in found]
            found = tuple(dict.fromkeys(hint for hint in hints if dataclasses.is_dataclass(hint)))
    return found


def differences(old: Experiment, new: Experiment) -> list[str]:
    """Lines 'train.epochs: 3 -> 2' for every setting that may not change when a run is resumed."""
    if old.task.name != new.task.name:
        return [f"task.name: {old.task.name!r} -> {new.task.name!r}"]
    return schema.differences(old, new)


def split_share(spec: str) -> float | None:
    """The share that '10%' names; None where `spec` is a source or empty."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", spec.strip())
    return float(match.group(1)) / 100 if match else None


def named_sources(data: Data) -> list[str]:
    """What an experiment with one source names as sources: of training rows, and of others that are no share of these."""
    return [spec for spec in (data.train, data.validation, data.test) if spec and split_share(spec) is None]


def by_source(e: Experiment) -> dict[str, Experiment]:
    """The experiment of each source of a mixture by its name, as if it were the only one; {"": e} where there is but one."""
    metric = dataclasses.replace(e.eval, metric=e.eval.metric.rpartition("/")[2])
    return {name: dataclasses.replace(e, data=data, eval=metric) for name, data in e.data.by_source().items()}


def _check_rules(e: Experiment) -> None:
    """Rules between fields."""
    mixture.check(e)
    folds.check(e)
    adaptation.check(e)
    mixture.check_metric(e, TASKS[e.task.name].metrics(e.task))
    for name, one in by_source(e).items():
        with mixture.in_source(name, one.data):
            _check_one(one)
    if e.eval.patience and not e.data.specs("validation") and not e.data.folds.number:
        raise UserError("config.eval.patience needs validation rows: set data.validation.")


def _check_one(e: Experiment) -> None:
    """The rules of an experiment with one source."""
    task, data, train = e.task, e.data, e.train
    if not data.train:
        raise UserError("config.data.train is empty. Name where the training rows are, for example "
                        "--config.data.train=csv:reviews.csv")
    if split_share(data.train) is not None:
        raise UserError("config.data.train must be a source; only validation and test can be a share of it.")
    for name, spec in (("validation", data.validation), ("test", data.test)):
        if re.fullmatch(r"0?\.\d+", spec.strip()):
            raise UserError(f"config.data.{name}={spec} is no source. For a share of the training rows write "
                            f"{100 * float(spec):.4g}%.")
    shares = [split_share(s) for s in (data.validation, data.test)]
    if 0 in shares:
        raise UserError("config.data.validation and test cannot be a share of 0%; write '' for no rows at all.")
    if sum(filter(None, shares)) >= 1:
        raise UserError(f"config.data.validation={data.validation} and test={data.test} leave no row to train on.")
    TASKS[task.name].check(e)
    if data.where and "=" not in data.where:
        raise UserError(f"config.data.where={data.where!r} must be COLUMN=VALUE, e.g. source=imdb.")
    if list(train.length_buckets) != sorted(set(train.length_buckets)) or min(train.length_buckets, default=1) < 1:
        raise UserError(f"config.train.length_buckets={train.length_buckets} must be positive and ascend.")
    if train.length_buckets and train.length_buckets[-1] < data.max_length:
        raise UserError(f"config.train.length_buckets ends at {train.length_buckets[-1]}, below "
                        f"data.max_length={data.max_length}: the longest examples would fit in no batch.")
    if train.tokens_per_batch and train.tokens_per_batch < data.max_length:
        raise UserError(f"config.train.tokens_per_batch={train.tokens_per_batch} is below data.max_length="
                        f"{data.max_length}: the longest examples would fit in no batch.")
    if train.global_batch_size % train.accumulation and not train.tokens_per_batch:
        raise UserError(f"config.train.accumulation={train.accumulation} does not divide config.{train.global_batch_size=}.")
    if train.tokens_per_batch and train.accumulation > 1:
        raise UserError("config.train.accumulation needs batches of a fixed number of examples: set tokens_per_batch=0.")
    if train.schedule == "exponential" and train.end_learning_rate_fraction <= 0:
        raise UserError("config.train.schedule=exponential needs end_learning_rate_fraction above 0, e.g. 0.01.")
    _check_cache(e)
    _check_profile(train.profile)
    if e.model.frozen_layers == -1 and train.layer_decay != 1.0:
        raise UserError("config.train.layer_decay has no layer to act on where model.frozen_layers=-1.")
    if e.model.start and e.adaptation.start:
        raise UserError("config.model.start and config.adaptation.start both say what the run begins with. Leave one empty.")
    if train.fgm and (reason := _no_fgm(e)):
        raise UserError(f"config.train.fgm={train.fgm:g} {reason}. Set it to 0.")
    if train.ewc and not e.model.start:
        raise UserError(f"config.train.ewc={train.ewc:g} holds weights where another run left them. Name that run with "
                        "config.model.start, or set it to 0.")
    if train.ewc and e.adaptation.method != "none":
        raise UserError(f"config.train.ewc={train.ewc:g} holds the backbone's own weights, which adaptation.method="
                        f"{e.adaptation.method} does not train. Do without one of them.")
    if e.distribution.cpu_replicas > 1 and e.distribution.strategy not in ("auto", "mirrored"):
        raise UserError("config.distribution.cpu_replicas above 1 needs strategy=mirrored.")
    if e.distribution.strategy == "tpu" and train.precision == "mixed_float16":
        raise UserError("config.train.precision=mixed_float16 is for GPUs; a TPU computes in bfloat16: use mixed_bfloat16.")


def no_activation_cache(e: Experiment) -> str:
    """Why what the lowest layers make of an example is not the same in every epoch, or not worth keeping; '' where it is."""
    if not e.model.frozen_layers:
        return "keeps what frozen layers make, and none are frozen. Set config.model.frozen_layers, to -1 for all"
    if e.task.name == "masked_lm":
        return "keeps what frozen layers make of an example, and masked_lm masks other words in each epoch. Set it to none"
    if isinstance(e.task, Writing):
        return f"keeps what an encoder's frozen layers make, and {e.task.name} has a decoder. Set it to none"
    if getattr(e.data, "augmentation", None) and e.data.augmentation.enabled:
        return "keeps what frozen layers make of a text, and data.augmentation changes it in each epoch. Do without one of them"
    if e.adaptation.method == "prompt":
        return "keeps what frozen layers make of a text, and these see a prompt that is trained. Set it to none"
    if e.distribution.strategy == "tpu":
        return "is for CPUs and GPUs: a TPU computes frozen layers faster than its host reads what they made. Set it to none"
    return ""


def _check_cache(e: Experiment) -> None:
    if e.train.activation_cache != "none" and (reason := no_activation_cache(e)):
        raise UserError(f"config.train.activation_cache={e.train.activation_cache} {reason}.")


def _check_profile(text: str) -> None:
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if text and (not found or not 1 <= int(found[1]) < int(found[2])):
        raise UserError(f"config.train.profile={text} must be FROM:TO, the steps after FROM (1 or later: the first step is not "
                        "like the others) to TO, such as 10:20.")


def _no_fgm(e: Experiment) -> str:
    """Why embeddings cannot be moved; '' where they can."""
    if e.task.name == "embedding":
        return "moves each example against its own loss, and that of embedding is one of all examples"
    if e.task.name == "masked_lm":
        return "is for tasks with labels, and masked_lm has texts alone"
    if getattr(e.task, "pack", False):
        return "moves each example by itself, and config.task.pack=True has several of them in a row"
    if e.adaptation.method == "prompt":
        return "moves what the encoder's layers get, where adaptation.method=prompt learns more of it"
    if e.train.activation_cache != "none":
        return f"moves the embeddings, and train.activation_cache={e.train.activation_cache} starts above them"
    return ""


def check_limits(e: Experiment, *, max_length: int | None, num_layers: int | None) -> None:
    """Checks the experiment against the backbone's own limits, where these are known."""
    if max_length and e.data.max_length > max_length:
        raise UserError(f"config.data.max_length={e.data.max_length} is more than the backbone's limit of {max_length} "
                        f"positions. Use --config.data.max_length={max_length} or less, or another model.backbone.")
    if num_layers and e.model.frozen_layers > num_layers:
        raise UserError(f"config.model.frozen_layers={e.model.frozen_layers}, but the backbone has {num_layers} layers "
                        f"(-1 trains the head alone).")


def answering(e: Experiment, given: list[str]) -> Experiment:
    """The experiment of a finished run with settings of its task that decide what it answers, not what it has learnt:
    ["temperature=0.7"]. Raises: UserError."""
    free = {field.name: getattr(e.task, field.name) for field in dataclasses.fields(e.task) if field.metadata.get("free")}
    values = json.loads(to_json(e))
    for word in given:
        name, equals, text = word.partition("=")
        if not equals or name not in free:
            known = unknown("setting", name, free) if free else f"task {e.task.name} has no such setting."
            raise UserError(f"--set={word}: write NAME=VALUE, of the settings of config.task that a trained model can be asked "
                            f"with. {known}")
        try:
            values["task"][name] = text if isinstance(free[name], str) else ast.literal_eval(text)
        except (SyntaxError, ValueError):
            values["task"][name] = (text,) if isinstance(free[name], tuple) else text
    return resolve(values)


def to_json(e: Experiment) -> str:
    return json.dumps(dataclasses.asdict(e), indent=2) + "\n"


def from_json(text: str, where: str = "config.json") -> Experiment:
    """Reads what `to_json` wrote. Raises UserError where it is damaged."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where} is not valid JSON ({error}). Restore it, or start in a new workdir.") from error
    try:
        return resolve(values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
