"""Token classification (entities, parts of speech, roles, slots): its settings, columns, metrics and rules."""

import dataclasses

from tfft.config import groups
from tfft.config.groups import TaskConfig, no_calibration
from tfft.config.schema import setting
from tfft.errors import UserError

SCHEMES = ("auto", "IOB1", "IOB2", "IOBES", "BILOU", "BMES", "BMEWO", "IO", "none", "BIO", "BIOES", "BIOLU", "BIOUL")
METRICS = ("f1", "precision", "recall", "macro_f1", "token_accuracy", "loss")
SENTENCES = ("sentence_accuracy", "exact")


@dataclasses.dataclass(frozen=True)
class TokenClassificationData(groups.Data):
    """Which column is what: words with tags, or a text with spans; how words and tags are read."""

    words_column: str = setting("words", "column of the words (a list; conll: a number or a name); '' for texts with spans",
                                own=True)
    tags_column: str = setting("tags", "column of the words' tags", own=True)
    tags_scheme: str = setting("auto", "how tags are written: IOB2 (or BIO), IOBES (or BIOES), ..., 'none' where every word "
                                       "has a tag of its own (parts of speech); auto finds out", choices=SCHEMES)
    text_column: str = setting("", "column of the text, where entities are spans of characters; words_column must be '' then",
                               own=True)
    spans_column: str = setting("spans", "column of the spans: a list of (start, end, type) or of objects with these", own=True)
    span_end: str = setting("exclusive", "whether a span's end is its last character or the one after it",
                            choices=("exclusive", "inclusive"), own=True)
    word_split: str = setting("auto", "words of a text: 'whitespace', 'characters', or 'auto': at white space, punctuation at "
                                      "either end apart, scripts without spaces by characters",
                              choices=("auto", "whitespace", "characters"))
    predicate_column: str = setting("", "semantic roles: column of the number of the word, from 0, whose roles are asked for",
                                    own=True)
    label_column: str = setting("", "column of a label of the whole sentence (its intent), learnt together with the tags",
                                own=True)
    types: tuple[str, ...] = setting((), "the types of entities (or the tags, where every word has its own); () takes them "
                                         "from the training rows")
    window_overlap: int = setting(-1, "tokens that two windows of a text longer than max_length share; -1: a quarter of "
                                      "max_length", low=-1)


@dataclasses.dataclass(frozen=True)
class TokenClassification(groups.Task):
    """A tag for each word, and entities made of them."""

    name: str = setting("token_classification", "the task", choices=("token_classification",))
    head: str = setting("softmax", "softmax: each word by itself; crf: whole sequences (a linear chain, Lafferty et al. 2001)",
                        choices=("softmax", "crf"))
    scheme: str = setting("IOB2", "the tags that the model learns, whatever the rows have", choices=("IOB2", "IOBES"))
    label_smoothing: float = setting(0.0, "softmax: share of the target spread over all tags", low=0, high=0.5)
    transition_rate: float = setting(50.0, "crf: learning rate of the transitions, as a multiple of train.peak_learning_rate",
                                     low=0, high=10_000)
    label_weight: float = setting(1.0, "weight of the sentence label's loss beside that of the tags", low=0, high=1000)


def window_overlap(data: TokenClassificationData) -> int:
    """Tokens that two windows of a text share."""
    return data.max_length // 4 if data.window_overlap < 0 else data.window_overlap


def _metrics(task: TokenClassification) -> tuple[str, ...]:
    return METRICS + SENTENCES


def _fill(e):
    if e.eval.metric == "auto" and e.data.tags_scheme == "none":
        return dataclasses.replace(e, eval=dataclasses.replace(e.eval, metric="token_accuracy"))
    return e


def _check(e) -> None:
    task, data = e.task, e.data
    if bool(data.words_column) == bool(data.text_column):
        raise UserError("Set config.data.words_column (with tags_column) for rows of words, or config.data.text_column (with "
                        "spans_column) for texts with spans, and the other one to ''.")
    if data.words_column and not data.tags_column or data.text_column and not data.spans_column:
        raise UserError(f"config.data.{'tags_column' if data.words_column else 'spans_column'} is empty: name the column to "
                        "learn from.")
    if data.predicate_column and not data.words_column:
        raise UserError("config.data.predicate_column counts words: it needs config.data.words_column.")
    if e.eval.metric in SENTENCES and not data.label_column:
        raise UserError(f"config.eval.metric={e.eval.metric} needs config.data.label_column, the sentences' label.")
    if e.eval.metric in ("f1", "precision", "recall") and data.tags_scheme == "none":
        raise UserError(f"config.eval.metric={e.eval.metric} is of entities, which config.data.tags_scheme=none has not: use "
                        "token_accuracy or macro_f1.")
    if window_overlap(data) >= data.max_length - 2:
        raise UserError(f"config.data.window_overlap={data.window_overlap} must be less than the tokens that a window of "
                        f"config.data.max_length={data.max_length} holds beside 2 special ones; -1 takes a quarter of it.")
    if task.label_smoothing and task.head == "crf":
        raise UserError("config.task.label_smoothing works with head=softmax only.")
    if len(set(data.types)) != len(data.types):
        raise UserError("config.data.types names a type twice.")


CONFIG = TaskConfig(settings=TokenClassification, data=TokenClassificationData, metrics=_metrics, fill=_fill, check=_check,
                    check_calibration=no_calibration("entities have the probability of their tags as score"),
                    head=("scheme", "head"))
