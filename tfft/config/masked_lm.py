"""Masked words: a backbone learns from texts alone. Settings, columns, metrics and rules."""

import dataclasses

from tfft.config import groups
from tfft.config.groups import TaskConfig, no_calibration
from tfft.config.schema import setting
from tfft.errors import UserError

METRICS = ("perplexity", "accuracy", "loss")


@dataclasses.dataclass(frozen=True)
class MaskedLMData(groups.Data):
    """Which column is what."""

    text_column: str = setting("text", "column of the text; text: and files: sources have the column 'text'", own=True)


@dataclasses.dataclass(frozen=True)
class MaskedLM(groups.Task):
    """Words that were hidden are guessed, as in BERT's pretraining: a backbone adapts to a domain without labels."""

    name: str = setting("masked_lm", "the task", choices=("masked_lm",))
    hide: str = setting("words", "what is hidden together: single tokens, whole words, or spans of words (SpanBERT)",
                        choices=("tokens", "words", "spans"))
    share: float = setting(0.15, "how much of an example's tokens is hidden, drawn anew in each epoch", low=0.01, high=0.5)
    mask_share: float = setting(0.8, "how much of that is shown as the mask token", low=0, high=1)
    random_share: float = setting(0.1, "how much of it is shown as a random token; the rest stays as it is", low=0, high=1)
    span_end: float = setting(0.2, "spans: the chance that a span ends after a word", low=0.01, high=1)
    span_words: int = setting(10, "spans: the most words of a span", low=1, high=100)
    pack: bool = setting(False, "several short texts share a row of max_length, each by itself (BERT); else each has its own")
    n_best: int = setting(5, "tokens that are answered for each mask, the most probable first", low=1, high=100)


def _metrics(task: MaskedLM) -> tuple[str, ...]:
    return METRICS


def _fill(e):
    return e


def _check(e) -> None:
    task = e.task
    if not e.data.text_column:
        raise UserError("config.data.text_column is empty: every row needs a text.")
    if task.mask_share + task.random_share > 1:
        raise UserError(f"config.task.mask_share={task.mask_share:g} and random_share={task.random_share:g} are more than 1 "
                        "together.")


CONFIG = TaskConfig(settings=MaskedLM, data=MaskedLMData, metrics=_metrics, fill=_fill, check=_check,
                    check_calibration=no_calibration("masked words are judged by their perplexity"),
                    lower_is_better=("perplexity", "loss"))
