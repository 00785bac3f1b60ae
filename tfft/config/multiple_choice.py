"""Multiple choice and answer selection: settings, columns, metrics and rules."""

import dataclasses

from tfft.config import groups
from tfft.config.groups import TaskConfig, no_calibration
from tfft.config.schema import setting
from tfft.errors import UserError

METRICS = ("accuracy", "mrr", "map", "loss")
MOST = 16  # candidates of a row in a batch, where nobody says how many


@dataclasses.dataclass(frozen=True)
class MultipleChoiceData(groups.Data):
    """Which column is what. The candidates are a list in choices_column, or are a column each (choice_columns), or a row each
    (choice_column)."""

    question_column: str = setting("question", "column of the question, or of whatever is to be gone on with", own=True)
    context_column: str = setting("", "column of a text that the question is about; '' where rows have none", own=True)
    choices_column: str = setting("choices", "column of the candidates: a list of texts, or of texts with labels, "
                                             "{'label': [...], 'text': [...]}; '' with choice_columns or choice_column",
                                             own=True)
    choice_columns: tuple[str, ...] = setting((), "columns of the candidates, one each; the last may be empty in some rows",
                                              own=True)
    choice_column: str = setting("", "one candidate a row: its column; rows of one question, which follow one another, are "
                                     "one, and label_column has 1 where the candidate is right, else 0", own=True)
    label_column: str = setting("label", "column of the right candidate, or a list of several", own=True)
    label_values: str = setting("auto", "what the label is: the candidate's index (from 0), number (from 1), letter (A, or as "
                                        "the candidates are labelled) or text; auto: what alone it can be",
                                choices=("auto", "index", "number", "letter", "text"), own=True)
    truncation: str = setting("head", "which end of a too long context, or question, is kept", choices=("head", "tail"))


@dataclasses.dataclass(frozen=True)
class MultipleChoice(groups.Task):
    """The right one of several candidates, or the right ones first."""

    name: str = setting("multiple_choice", "the task", choices=("multiple_choice",))
    loss: str = setting("softmax", "softmax: the candidates of a row against each other, several right ones alike; binary: "
                                   "each by itself", choices=("softmax", "binary"))
    max_choices: int = setting(0, "candidates of a row in a batch of training: of more, the right ones and others, drawn anew "
                                  f"each epoch; 0: as many as the row with the most, {MOST} at most", low=0, high=256)


def _metrics(task: MultipleChoice) -> tuple[str, ...]:
    return METRICS


def _fill(e):
    """Only one of the columns of candidates stays; rows of one candidate are grouped by their question."""
    data = e.data
    if (data.choice_columns or data.choice_column) and data.choices_column == MultipleChoiceData.choices_column:
        data = dataclasses.replace(data, choices_column="")
    if data.choice_column and not data.sentence_column:
        data = dataclasses.replace(data, sentence_column=data.question_column)
    return dataclasses.replace(e, data=data)


def _check(e) -> None:
    task, data = e.task, e.data
    for name in ("question_column", "label_column"):
        if not getattr(data, name):
            raise UserError(f"config.data.{name} is empty: a row needs a question, its candidates and the right one.")
    given = [name for name in ("choices_column", "choice_columns", "choice_column") if getattr(data, name)]
    if len(given) != 1:
        told = " and ".join(f"config.data.{name}" for name in given) or "None"
        raise UserError(f"{told} {'is' if len(given) < 2 else 'are'} set. Set one of choices_column (a list in a column), "
                        "choice_columns (a column for each candidate) and choice_column (a row for each).")
    if len(data.choice_columns) == 1:
        raise UserError("config.data.choice_columns names one column; name one for each candidate, or set choices_column to a "
                        "column of lists.")
    if data.sentence_column and not data.choice_column:
        raise UserError("config.data.sentence_column puts rows together that have one candidate each: set config.data."
                        "choice_column too, or leave it unset.")
    if data.choice_column and data.label_values != "auto":
        raise UserError("config.data.choice_column: the label of each candidate is 1 or 0: leave data.label_values unset.")
    columns = [c for c in (data.question_column, data.context_column, data.choices_column, data.choice_column,
                           data.label_column, *data.choice_columns) if c]
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise UserError(f"config.data names the column {twice[0]!r} twice.")
    if task.max_choices == 1:
        raise UserError("config.task.max_choices=1 leaves nothing to choose from: 2 or more, or 0.")
    if e.train.tokens_per_batch:
        raise UserError("config.train.tokens_per_batch counts one text a row, but here a row is several: set it to 0, and "
                        "global_batch_size to the rows of a batch.")


CONFIG = TaskConfig(settings=MultipleChoice, data=MultipleChoiceData, metrics=_metrics, fill=_fill, check=_check,
                    check_calibration=no_calibration("a candidate's score is its share among the row's"))
