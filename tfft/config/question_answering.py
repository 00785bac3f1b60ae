"""Extractive question answering: its settings, columns, metrics and rules."""

import dataclasses

from tfft.config import groups
from tfft.config.groups import TaskConfig, no_calibration
from tfft.config.schema import setting
from tfft.errors import UserError

METRICS = ("f1", "exact_match", "loss")


@dataclasses.dataclass(frozen=True)
class QuestionAnsweringData(groups.Data):
    """Which column is what, and how a context is cut into windows."""

    max_length: int = setting(384, "longest window in tokens, the question and special tokens included", low=16)
    question_column: str = setting("question", "column of the question", own=True)
    context_column: str = setting("context", "column of the text that the answer is a part of", own=True)
    answers_column: str = setting("answers", "column of the answers: a text, or a list or object of texts and their starts, as "
                                             "SQuAD and Hugging Face write them; an empty one: there is no answer", own=True)
    answer_start_column: str = setting("", "where answers_column holds texts alone: column of their starts, in characters "
                                           "from 0; '' looks for the texts", own=True)
    question_limit: int = setting(64, "tokens of a question that are read; half of a window at most", low=1)
    window_overlap: int = setting(-1, "tokens that two windows of a context share; -1: a third of max_length", low=-1)
    word_split: str = setting("punctuation", "words, at whose edges answers begin and end: 'punctuation' sets every sign "
                                             "apart, 'auto' only those at either end of what stands between blanks",
                              choices=("punctuation", "auto", "whitespace", "characters"))


@dataclasses.dataclass(frozen=True)
class QuestionAnswering(groups.Task):
    """The answer to a question as a part of its context, or that there is none."""

    name: str = setting("question_answering", "the task", choices=("question_answering",))
    no_answer: str = setting("auto", "whether the model may say that there is no answer; auto: where training rows have none",
                             choices=("auto", "yes", "no"))
    tune_no_answer: bool = setting(True, "choose on the validation rows from which no_answer_score on there is no answer "
                                         "(else 0.5)")
    max_answer_tokens: int = setting(30, "longest answer in tokens", low=1, high=512)
    n_best: int = setting(5, "answers that are given for each question, the best first", low=1, high=100)


def windows(data: QuestionAnsweringData) -> tuple[int, int]:
    """(question_limit, window_overlap) in tokens, as far as max_length has room for them."""
    room = data.max_length - 4  # special tokens
    question = max(1, min(data.question_limit, room // 2))
    overlap = data.max_length // 3 if data.window_overlap < 0 else data.window_overlap
    return question, min(overlap, room - question - 1) if data.window_overlap < 0 else overlap


def _metrics(task: QuestionAnswering) -> tuple[str, ...]:
    return METRICS


def _fill(e):
    return e


def _check(e) -> None:
    data = e.data
    for name in ("question_column", "context_column", "answers_column"):
        if not getattr(data, name):
            raise UserError(f"config.data.{name} is empty: a row needs a question, a context and its answers.")
    if data.question_column == data.context_column:
        raise UserError(f"config.data.question_column and context_column are both {data.question_column!r}.")
    question, overlap = windows(data)
    if data.window_overlap >= 0 and overlap >= data.max_length - 3 - question:
        raise UserError(f"config.data.window_overlap={overlap} must be less than the tokens that a window of "
                        f"config.data.max_length={data.max_length} holds beside {question} of the question and 3 special ones; "
                        "-1 takes a third of it.")


CONFIG = TaskConfig(settings=QuestionAnswering, data=QuestionAnsweringData, metrics=_metrics, fill=_fill, check=_check,
                    check_calibration=no_calibration("an answer's score is its share among the best ones"))
