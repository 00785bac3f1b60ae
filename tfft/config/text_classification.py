"""Text classification: its settings, columns, metrics and rules."""

import dataclasses
import re

from tfft.config import groups
from tfft.config.groups import TaskConfig
from tfft.config.schema import group, setting
from tfft.errors import UserError, unknown

KINDS = ("forms", "nfc", "case", "number", "quotes", "blanks", "invisible")  # of spelling; see tfft.data.spelling


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
class TextClassificationData(groups.Data):
    """Which column is what, how labels are read, what of a long text is kept."""

    text_column: str = setting("text", "column of the text (a name; an index from 0 where there is no header)", own=True)
    text_pair_column: str = setting("", "column of the second text; '' for single texts", own=True)
    label_column: str = setting("label", "column of the label, the labels or the value", own=True)
    label_columns: tuple[str, ...] = setting((), "instead of label_column: a column for each label, 1 where it holds, else 0; "
                                                 "their names are the labels", own=True)
    labels: tuple[str, ...] = setting((), "label names in the order of their ids; () takes them from the training rows")
    labels_file: str = setting("", "a file with one label name a line, in the order of their ids, such as a run's labels.txt")
    label_values: str = setting("auto", "what numbers in the label column are: names of labels, ids (0 for the first of labels "
                                        "or labels_file), or multi_hot (a 0 or 1 for each label); auto: what alone they can be",
                                choices=("auto", "names", "ids", "multi_hot"))
    label_normalisation: tuple[str, ...] = setting((), "read labels as one that differ by these kinds of spelling "
                                                       f"alone: {', '.join(KINDS)}; or all")
    label_separator: str = setting(",", "multi-label: what joins the labels of one row", own=True)
    truncation: str = setting("head", "what of a longer text is kept: its head, tail, or both (head_fraction from the head)",
                              choices=("head", "tail", "head_tail"))
    head_fraction: float = setting(0.25, "head_tail: share of the kept tokens that comes from the head", low=0, high=1)
    augmentation: Augmentation = group(Augmentation)


@dataclasses.dataclass(frozen=True)
class TextClassification(groups.Task):
    """One or several labels, or a number, for a text or a pair of texts."""

    name: str = setting("text_classification", "the task", choices=("text_classification",))
    problem: str = setting("single_label", "what is predicted", choices=("single_label", "multi_label", "regression"))
    loss: str = setting("auto", "auto: cross_entropy, binary or mean_squared_error by problem",
                        choices=("auto", "cross_entropy", "focal", "binary", "mean_squared_error"))
    label_smoothing: float = setting(0.0, "share of the target spread over all labels", low=0, high=0.5)
    focal_gamma: float = setting(2.0, "focal loss: exponent of (1 - p)", low=0, high=10)
    class_weights: str = setting("none", "balanced: each label's rows weigh the same in all", choices=("none", "balanced"))
    absent_labels: str = setting("wrong", "labels that no training row has, such as those of the run before (model.start): "
                                          "wrong for every row, or left out of the loss, which forgets them far less",
                                 choices=("wrong", "left_out"))
    tune_thresholds: bool = setting(True, "multi-label: choose each label's threshold on validation (else 0.5)")
    standardize: bool = setting(True, "regression: train on (value - mean) / standard deviation")
    pattern: str = setting("", "a sentence round the text with a word to guess, such as '{text} It was {mask}.'; '' for none")
    words: tuple[str, ...] = setting((), "pattern: the word to guess for each label, one token each: ('pos=great', "
                                         "'neg=terrible')")

    def word_of(self) -> dict[str, str]:
        """The word of each label: {"pos": "great", "neg": "terrible"}"""
        return {label.strip(): word.strip() for label, _, word in (entry.rpartition("=") for entry in self.words)}


PLACE = re.compile(r"\{(\w*)\}")  # of a pattern: {text}, {text_pair}, {mask}
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


def _metrics(task: TextClassification) -> tuple[str, ...]:
    return METRICS[task.problem]


def _fill(e):
    if e.task.loss != "auto":
        return e
    return dataclasses.replace(e, task=dataclasses.replace(e.task, loss=LOSSES[e.task.problem][0]))


def _check(e) -> None:
    task, data = e.task, e.data
    if task.loss not in LOSSES[task.problem]:
        raise UserError(f"config.task.loss={task.loss} does not fit problem={task.problem}. "
                        f"Fitting: {', '.join(LOSSES[task.problem])}.")
    if task.label_smoothing and task.loss != "cross_entropy":
        raise UserError("config.task.label_smoothing works with loss=cross_entropy only.")
    if task.problem == "regression" and (task.class_weights != "none" or data.labels or data.labels_file):
        raise UserError("config.task.problem=regression has no labels: leave class_weights, data.labels and "
                        "data.labels_file unset.")
    if task.problem == "regression" and task.absent_labels != "wrong":
        raise UserError("config.task.problem=regression has no labels: leave task.absent_labels unset.")
    if data.labels and data.labels_file:
        raise UserError("Set config.data.labels or config.data.labels_file, not both.")
    names = [name.strip() for name in data.labels]
    if len(set(names)) != len(names):
        raise UserError("config.data.labels names a label twice.")
    if "" in names:
        raise UserError("config.data.labels has an empty name.")
    _check_values(task, data)
    _check_pattern(task, data)
    if task.problem == "multi_label" and not data.label_separator:
        raise UserError("config.data.label_separator is empty; problem=multi_label needs what joins the labels of a row.")


def _check_values(task: TextClassification, data: TextClassificationData) -> None:
    """How the values of labels are read."""
    if task.problem == "regression" and (data.label_columns or data.label_normalisation or data.label_values != "auto"):
        raise UserError("config.task.problem=regression has no labels: leave data.label_columns, data.label_values and "
                        "data.label_normalisation unset.")
    if data.label_columns and (len(set(data.label_columns)) != len(data.label_columns) or len(data.label_columns) < 2):
        raise UserError("config.data.label_columns must name two or more different columns, one for each label.")
    if data.label_columns and data.label_values != "auto":
        raise UserError("config.data.label_columns says what the values are: leave config.data.label_values unset.")
    if data.label_values == "ids" and not (data.labels or data.labels_file):
        raise UserError("config.data.label_values=ids needs the names that the ids stand for: set config.data.labels or "
                        "config.data.labels_file.")
    if data.label_values == "multi_hot" and task.problem != "multi_label":
        raise UserError(f"config.data.label_values=multi_hot is for problem=multi_label, not {task.problem}.")
    for kind in data.label_normalisation:
        if kind not in (*KINDS, "all"):
            raise UserError(f"config.data.label_normalisation: {unknown('kind of spelling', kind, (*KINDS, 'all'))}")


def _check_pattern(task: TextClassification, data: TextClassificationData) -> None:
    """A pattern has each text and one mask, and a word for each label."""
    where = f"config.task.pattern={task.pattern!r}"
    if bool(task.pattern) != bool(task.words):
        what = "config.task.words says what word stands for which label" if task.pattern else \
            "config.task.words needs the sentence that a word is guessed in: config.task.pattern"
        raise UserError(f"A pattern and its words go together, and {what}. Set both, such as config.task.pattern="
                        "'{text} It was {mask}.' and config.task.words=('pos=great', 'neg=terrible'), or none.")
    if not task.pattern:
        return
    if task.problem != "single_label":
        why = "a number has no word" if task.problem == "regression" else "there is one word in its place, and several may hold"
        raise UserError(f"{where} is for problem=single_label: {why}. Do without config.task.pattern and config.task.words.")
    found, texts = PLACE.findall(task.pattern), ["text", *(["text_pair"] if data.text_pair_column else [])]
    for name in found:
        if name == "text_pair" and name not in texts:
            raise UserError(f"{where} has {{text_pair}}, and there is no second text: set config.data.text_pair_column.")
        if name not in (*texts, "mask"):
            raise UserError(f"{where}: {unknown('place', name, (*texts, 'mask'))}")
    for name in (*texts, "mask"):
        if found.count(name) != 1:
            many = f"{{{name}}} {found.count(name)} times" if found.count(name) else f"no {{{name}}}"
            raise UserError(f"{where} has {many}; it must have it once, as '{{text}} It was {{mask}}.' has.")
    _check_words(task)


def _check_words(task: TextClassification) -> None:
    """Every label has one word, and every word one label."""
    for entry in task.words:
        if not all(part.strip() for part in entry.rpartition("=")):
            raise UserError(f"config.task.words: {entry!r} is not LABEL=WORD, such as 'pos=great'.")
    words = list(task.word_of().values())
    if len(words) < len(task.words):
        raise UserError("config.task.words names a label twice; a label has one word.")
    if len(words) < 2:
        raise UserError("config.task.words has one label only; a classifier needs two or more.")
    for word in words:
        if words.count(word) > 1:
            raise UserError(f"config.task.words has the word {word!r} for two labels, which could not be told apart.")


def _check_calibration(task: TextClassification, precision: float) -> None:
    """Raises: UserError where there is nothing to calibrate, or nothing to abstain from."""
    if task.problem == "regression":
        raise UserError("This run answers numbers, which have no probabilities to calibrate.")
    if precision and task.problem == "multi_label":
        raise UserError("--precision is for runs with one label a row; where several may hold, each label has its threshold.")


CONFIG = TaskConfig(settings=TextClassification, data=TextClassificationData, metrics=_metrics, fill=_fill, check=_check,
                    check_calibration=_check_calibration, lower_is_better=("loss", "mse", "mae"), head=("problem", "pattern"))
