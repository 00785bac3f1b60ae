import ast
import dataclasses
import functools
import importlib.util
import json
import pathlib
import typing

import ml_collections
import pytest

from tfft.config import (
    TASKS,
    Experiment,
    any_from_json,
    any_to_json,
    check_limits,
    classes_of,
    default_config,
    default_experiment,
    differences,
    from_json,
    resolve,
    resolve_any,
    split_share,
    to_json,
)
from tfft.errors import UserError

CONFIGS = sorted((pathlib.Path(__file__).parent.parent / "configs").rglob("*.py"))


def values(**groups) -> dict:
    """A smallest good config, with groups of settings changed."""
    return {**groups, "data": {"train": "csv:a.csv", **groups.get("data", {})}}


def make(**groups) -> Experiment:
    return resolve(values(**groups))


def told(**groups) -> str:
    with pytest.raises(UserError) as caught:
        make(**groups)
    return str(caught.value)


def fields(task: str, group, path=()):
    """(task, (group, ..., name), type, dataclass field) of every setting of a task's experiment."""
    hints = typing.get_type_hints(type(group))
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(task, value, (*path, field.name))
        else:
            yield task, (*path, field.name), hints[field.name], field


# what tasks have in common once, with the first of them: an inherited field is the same object
FIELDS = list({id(made[-1]): made for task in reversed(TASKS) for made in fields(task, default_experiment(task))}.values())
NAMES = [f"{task}-{'.'.join(path)}" for task, path, _, _ in FIELDS]


def changed(path, value) -> dict:
    """{"a": {"b": value}} of the path (a, b)."""
    for name in reversed(path):
        value = {name: value}
    return value


def told_of(task: str, path, value) -> str:
    groups = changed(path, value)
    groups.setdefault("task", {}).setdefault("name", task)
    groups.get("data", {}).setdefault("train", "csv:a.csv")
    with pytest.raises(UserError) as caught:
        resolve(groups)
    return str(caught.value)


# ---- every field

def test_every_field_is_explained():
    assert len(FIELDS) > 70
    assert {task for task, *_ in FIELDS} == set(TASKS) and len(NAMES) == len(set(NAMES))
    for _, path, _, field in FIELDS:
        assert field.metadata["doc"], path


@pytest.mark.parametrize("task, path, hint, field", FIELDS, ids=NAMES)
def test_wrong_type(task, path, hint, field):
    wrong = {str: 5, int: 1.5, float: "0.1", bool: 1}.get(hint, "a,b")
    message = told_of(task, path, wrong)
    assert message.startswith(f"config.{'.'.join(path)} must be ") and f"({field.metadata['doc']})" in message
    if hint in (str, int, float, bool):
        assert f"must be {hint.__name__}, not {type(wrong).__name__} {wrong!r}." in message
    assert told_of(task, path, None).startswith(f"config.{'.'.join(path)} must be ")


@pytest.mark.parametrize("task, path, hint, field", [f for f in FIELDS if f[2] in (int, float)],
                         ids=[n for n, f in zip(NAMES, FIELDS) if f[2] in (int, float)])
def test_range(task, path, hint, field):
    name = ".".join(path)
    assert field.metadata["low"] is not None  # every number has a lower limit
    for limit, sign, word in ((field.metadata["low"], -1, "at least"), (field.metadata["high"], 1, "at most")):
        if limit is not None:
            beyond = hint(limit + sign)
            assert told_of(task, path, beyond).startswith(f"config.{name} is {beyond!r}; it must be {word} {limit}. ")
    if hint is float:
        assert "must be a finite number, not nan" in told_of(task, path, float("nan"))
        assert "must be a finite number, not inf" in told_of(task, path, float("inf"))
    else:
        assert f"config.{name} must be int, not bool True" in told_of(task, path, True)


@pytest.mark.parametrize("task, path, hint, field", [f for f in FIELDS if f[3].metadata["choices"]],
                         ids=[n for n, f in zip(NAMES, FIELDS) if f[3].metadata["choices"]])
def test_choices(task, path, hint, field):
    first = field.metadata["choices"][0]
    message = told_of(task, path, first + "x")
    assert message.startswith(f"config.{'.'.join(path)}: Unknown value {first + 'x'!r}. Did you mean {first!r}? Known: ")
    assert field.default in field.metadata["choices"]


def test_numbers_written_as_integers_become_floats():
    rate = make(train={"peak_learning_rate": 1}).train.peak_learning_rate
    assert rate == 1.0 and isinstance(rate, float)


def test_members_of_tuples_are_checked():
    assert make(data={"labels": ["b", "a"]}).data.labels == ("b", "a")
    assert told(data={"labels": ["a", 1]}).startswith("config.data.labels must be str, not int 1.")
    assert told(data={"labels": "ab"}).startswith("config.data.labels must be a tuple of str, not 'ab'.")


def test_misspelt_names():
    assert told(train={"epoch": 3}).startswith("In config.train: Unknown setting 'epoch'. Did you mean 'epochs'?")
    assert told(tarin={}).startswith("In config.(top level): Unknown setting 'tarin'. Did you mean 'train'?")
    assert "In config.data.augmentation: Unknown setting 'swaps'" in told(data={"augmentation": {"swaps": 0.1}})


def test_groups_of_tasks_are_known_by_their_paths():
    assert classes_of(()) == (Experiment,) and classes_of(("train", "epochs")) == () == classes_of(("data", "train"))
    assert classes_of(("task",)) == tuple(known.settings for known in TASKS.values())
    assert classes_of(("data",)) == tuple(known.data for known in TASKS.values())
    for task in TASKS:
        made = default_experiment(task)
        assert made.task.name == task and type(made.task) is TASKS[task].settings and type(made.data) is TASKS[task].data


def test_settings_of_another_task():
    with pytest.raises(UserError, match="config.task.name: Unknown value 'text_clasification'. Did you mean 'text_class"):
        make(task={"name": "text_clasification"})
    for task in TASKS:
        own = {path[:2] for _, path, _, _ in fields(task, default_experiment(task))}
        for _, path, _, field in FIELDS:
            if path[:2] not in own:
                assert f"In config.{path[0]}: Unknown setting {path[1]!r}." in told_of(task, path, field.default)


@pytest.mark.parametrize("given, message", [
    (None, "config must be a group of settings, not None."), ([1], r"config must be a group of settings, not \[1\]."),
    ({"train": 3}, "config.train must be a group of settings, not 3."),
    ({"data": {"augmentation": 3}}, "config.data.augmentation must be a group of settings, not 3."),
])
def test_groups(given, message):
    with pytest.raises(UserError, match=message):
        resolve(given)


# ---- rules between fields

@pytest.mark.parametrize("groups, message", [
    ({"data": {"train": ""}}, "config.data.train is empty. Name where the training rows are"),
    ({"data": {"train": "90%"}}, "config.data.train must be a source"),
    ({"data": {"validation": "50%", "test": "50%"}}, "config.data.validation=50% and test=50% leave no row to train on."),
    ({"data": {"validation": "100%"}}, "leave no row to train on"),
    ({"data": {"test": "0%"}}, "cannot be a share of 0%; write '' for no rows"),
    ({"task": {"loss": "binary"}}, "config.task.loss=binary does not fit problem=single_label. Fitting: cross_entropy, focal."),
    ({"task": {"problem": "regression", "loss": "focal"}}, "does not fit problem=regression"),
    ({"task": {"problem": "multi_label"}, "eval": {"metric": "accuracy"}},
     "config.eval.metric: Unknown metric 'accuracy'. Did you mean 'subset_accuracy'?"),
    ({"task": {"label_smoothing": 0.1, "loss": "focal"}}, "label_smoothing works with loss=cross_entropy only"),
    ({"task": {"label_smoothing": 0.1, "problem": "multi_label"}}, "label_smoothing works with loss=cross_entropy only"),
    ({"task": {"problem": "regression", "class_weights": "balanced"}}, "config.task.problem=regression has no labels"),
    ({"task": {"problem": "regression"}, "data": {"labels": ("a", "b")}}, "config.task.problem=regression has no labels"),
    ({"task": {"problem": "regression"}, "data": {"labels_file": "l"}}, "config.task.problem=regression has no labels"),
    ({"data": {"labels": ("a", "b"), "labels_file": "l.txt"}}, "config.data.labels or config.data.labels_file, not both"),
    ({"data": {"labels": ("a", "b", "a")}}, "config.data.labels names a label twice"),
    ({"task": {"problem": "multi_label"}, "data": {"label_separator": ""}}, "config.data.label_separator is empty"),
    ({"data": {"where": "imdb"}}, "config.data.where='imdb' must be COLUMN=VALUE"),
    ({"train": {"length_buckets": (64, 32, 128)}}, "length_buckets=(64, 32, 128) must be positive and ascend"),
    ({"train": {"length_buckets": (32, 32, 128)}}, "must be positive and ascend"),
    ({"train": {"length_buckets": (0, 128)}}, "must be positive and ascend"),
    ({"train": {"length_buckets": (32, 64)}}, "config.train.length_buckets ends at 64, below data.max_length=128"),
    ({"train": {"tokens_per_batch": 100}}, "config.train.tokens_per_batch=100 is below data.max_length=128"),
    ({"train": {"accumulation": 3}}, "config.train.accumulation=3 does not divide config.train.global_batch_size=32"),
    ({"train": {"accumulation": 2, "tokens_per_batch": 4096}}, "config.train.accumulation needs batches of a fixed number"),
    ({"train": {"schedule": "exponential"}}, "schedule=exponential needs end_learning_rate_fraction above 0"),
    ({"eval": {"patience": 2}, "data": {"validation": ""}}, "config.eval.patience needs validation rows"),
    ({"model": {"frozen_layers": -1}, "train": {"layer_decay": 0.9}}, "config.train.layer_decay has no layer to act on"),
    ({"distribution": {"cpu_replicas": 2, "strategy": "one_device"}}, "cpu_replicas above 1 needs strategy=mirrored"),
    ({"distribution": {"strategy": "tpu"}, "train": {"precision": "mixed_float16"}}, "use mixed_bfloat16"),
])
def test_rules(groups, message):
    assert message in told(**groups)


def test_rules_let_good_combinations_pass():
    make(data={"validation": "49%", "test": "50%", "where": "a=b=c", "max_length": 64},
         train={"length_buckets": (32, 64), "accumulation": 4, "schedule": "exponential", "end_learning_rate_fraction": 0.01},
         model={"frozen_layers": -1})
    make(task={"problem": "multi_label", "loss": "focal", "class_weights": "balanced"}, train={"tokens_per_batch": 128})


@pytest.mark.parametrize("problem, loss, metric", [
    ("single_label", "cross_entropy", "accuracy"), ("multi_label", "binary", "macro_f1"),
    ("regression", "mean_squared_error", "spearman"),
])
def test_auto_is_filled_in(problem, loss, metric):
    made = make(task={"problem": problem})
    assert (made.task.loss, made.eval.metric) == (loss, metric)
    assert resolve(dataclasses.asdict(made)) == made


def test_limits_of_the_backbone():
    made = make(data={"max_length": 600}, model={"frozen_layers": 7})
    with pytest.raises(UserError, match="config.data.max_length=600 is more than the backbone's limit of 512 positions. "
                                        "Use --config.data.max_length=512 or less"):
        check_limits(made, max_length=512, num_layers=12)
    with pytest.raises(UserError, match="config.model.frozen_layers=7, but the backbone has 6 layers"):
        check_limits(made, max_length=None, num_layers=6)
    check_limits(made, max_length=None, num_layers=None)
    check_limits(made, max_length=600, num_layers=7)


@pytest.mark.parametrize("spec, share", [("10%", 0.1), (" 2.5% ", 0.025), ("csv:a.csv", None), ("", None), ("a[:10%]", None),
                                         ("-1%", None), ("10", None)])
def test_split_share(spec, share):
    assert split_share(spec) == share


# ---- ConfigDict and JSON

def test_default_config_is_locked():
    made = default_config()
    assert made.is_locked and isinstance(made, ml_collections.ConfigDict)
    with pytest.raises(AttributeError, match="Did you mean \"epochs\""):
        made.train.epoch = 3
    with pytest.raises(TypeError):
        made.train.epochs = "three"
    assert default_config().train.epochs == made.train.epochs == 3
    with pytest.raises(UserError, match="Unknown task 'text_clasification'. Did you mean 'text_classification'?"):
        default_config("text_clasification")


def test_default_config_resolves_to_the_defaults():
    made = default_config()
    made.data.train = "csv:a.csv"
    assert resolve(made) == make()


def test_json_round_trip():
    made = make(name="é\U0001f600", data={"labels": ("b", "ä\n"), "max_length": 64, "augmentation": {"swap": 0.1}},
                train={"length_buckets": (32, 64), "peak_learning_rate": 1e-7, "deterministic": False})
    again = from_json(to_json(made))
    assert again == made and to_json(again) == to_json(made)
    assert isinstance(again.data.labels, tuple) and again.data.augmentation.enabled


@pytest.mark.parametrize("text, message", [
    ("", "runs/x/config.json is not valid JSON .* start in a new workdir"),
    ('{"data": {"train"', "runs/x/config.json is not valid JSON"),
    ("[1]", r"runs/x/config.json: config must be a group of settings, not \[1\]"),
    ('{"data": {"train": "a.csv"}, "trian": {}}', "runs/x/config.json: .*Unknown setting 'trian'. Did you mean 'train'"),
    ('{"data": {"train": "a.csv"}, "train": {"epochs": -1}}', "runs/x/config.json: config.train.epochs is -1"),
])
def test_damaged_json(text, message):
    with pytest.raises(UserError, match=message):
        from_json(text, "runs/x/config.json")


def test_json_of_an_older_version_takes_new_defaults():
    stored = json.loads(to_json(make()))
    del stored["train"]["length_multiple"], stored["export"]
    assert resolve(stored) == make()


# ---- what may change when a run is resumed

def test_differences_are_named():
    old = make(train={"epochs": 3})
    new = make(train={"epochs": 2}, data={"augmentation": {"swap": 0.1}}, task={"problem": "multi_label"})
    assert differences(old, new) == [
        "task.problem: 'single_label' -> 'multi_label'", "task.loss: 'cross_entropy' -> 'binary'",
        "data.augmentation.swap: 0.0 -> 0.1", "train.epochs: 3 -> 2", "eval.metric: 'accuracy' -> 'macro_f1'"]
    assert differences(old, old) == []
    first, *others = map(default_experiment, TASKS)
    for other in others:  # of two tasks nothing else is compared
        assert differences(first, other) == [f"task.name: {first.task.name!r} -> {other.task.name!r}"]


@pytest.mark.parametrize("task, path, hint, field", FIELDS, ids=NAMES)
def test_only_free_settings_may_change(task, path, hint, field):
    if hint in (int, float):
        value = field.default + 1
    else:
        value = {str: "other", bool: not field.default}.get(hint, ("other",))

    def replaced(node, names):
        inner = replaced(getattr(node, names[0]), names[1:]) if len(names) > 1 else value
        return dataclasses.replace(node, **{names[0]: inner})

    old = default_experiment(task)
    lines, was = differences(old, replaced(old, path)), functools.reduce(getattr, path, old)
    assert lines == ([] if field.metadata["free"] else [f"{'.'.join(path)}: {was!r} -> {value!r}"])


def test_what_decides_the_weights_is_not_free():
    free = {".".join(path) for _, path, _, field in FIELDS if field.metadata["free"]}
    assert free == {"name", "track", "data.cache", "train.activation_cache_gb",
                    "train.steps_per_loop", "train.checkpoint_every_steps",
                    "train.checkpoint_minutes", "train.keep_checkpoints", "train.profile", "train.summary_every_steps",
                    "eval.global_batch_size", "eval.baseline", "eval.report", "eval.explained", "eval.projector",
                    "export.weights",
                    # what a language model answers, not what it learns
                    *(f"task.{name}" for name in ("max_new_tokens", "min_new_tokens", "temperature", "top_k", "top_p", "min_p",
                                                  "repetition_penalty", "no_repeat_ngram", "beams", "length_penalty", "seed",
                                                  "stop", "sample_rows"))}


# ---- configs/

def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def variants(path) -> list[str]:
    """'' and every name that get_config compares `variant` with."""
    found = [""]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and node.left.id == "variant":
            found += [c.value for c in node.comparators if isinstance(c, ast.Constant)]
    return found


BUILDS = [(path, variant) for path in CONFIGS for variant in variants(path)]


def test_there_are_configs():
    assert {"imdb", "rotten_tomatoes", "clinc150", "goemotions", "stsb", "my_csv"} <= {p.stem for p in CONFIGS}
    assert (CONFIGS[[p.stem for p in CONFIGS].index("imdb")], "quick") in BUILDS


@pytest.mark.parametrize("path, variant", BUILDS, ids=[f"{p.stem}:{v}" for p, v in BUILDS])
def test_every_config_resolves(path, variant):
    made = load(path).get_config(variant)
    assert isinstance(made, ml_collections.ConfigDict) and made.is_locked
    experiment = resolve_any(made)
    assert any_from_json(any_to_json(experiment), "config.json") == experiment
    assert f"configs/{path.name}" in load(path).__doc__  # the command is in the file


def test_a_config_refuses_an_unknown_variant():
    imdb = next(p for p in CONFIGS if p.stem == "imdb")
    with pytest.raises(UserError, match="Unknown variant of configs/imdb.py 'quik'. Did you mean 'quick'?"):
        load(imdb).get_config("quik")
