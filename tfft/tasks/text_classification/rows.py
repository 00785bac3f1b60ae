"""The fields of a row to classify, and what the store keeps of its label. Imports no TensorFlow."""

import functools
import json
import pathlib
from typing import Any

import numpy as np

from tfft import assets
from tfft.config import Experiment, TextClassificationData
from tfft.data import fields
from tfft.data.fields import Field, Unusable
from tfft.data.sources import Row
from tfft.data.spelling import index_of, truth_of
from tfft.data.store import Names, Ragged
from tfft.errors import UserError
from tfft.tasks.text_classification import values
from tfft.tasks.text_classification.matching import Matcher

TOO_MANY = ("The label column holds {found}, such as {such}. Is it the right column? Set config.data.label_column; for numbers "
            "set config.task.problem=regression.")


def row_fields(experiment: Experiment, cache: pathlib.Path) -> tuple[Field, ...]:
    """The text, the second text of pairs, and the label: a name, several names, or a number, as the file has them.

    A labels_file is read with the first label: prediction, perhaps on another machine, does without.
    """
    data, problem = experiment.data, experiment.task.problem
    given = functools.cache(lambda: given_labels(experiment, cache))
    pair = (Field("text_pair", "text_pair_column", data.text_pair_column, fields.text),) if data.text_pair_column else ()
    asked = (Field("text", "text_column", data.text_column, fields.text), *pair)
    if data.label_columns:
        return *asked, *_of_columns(data.label_columns, problem)
    known = functools.cache(lambda: Matcher(given(), data.label_normalisation))
    read = functools.partial(_label, problem=problem, data=data, known=known)
    return *asked, Field("label", "label_column", data.label_column, read, asked=False, spread="label_columns",
                         details=lambda: (problem, data.label_separator, data.label_values, list(data.label_normalisation),
                                          list(given())))


def _of_columns(columns: tuple[str, ...], problem: str) -> tuple[Field, ...]:
    """A field for each label's column, and the label or labels that they make."""
    made = [Field(f"label {column}", "label_columns", column, values.held, asked=False) for column in columns]
    return *made, Field("label", "label_columns", columns[0], lambda value, column: None, asked=False, details=(problem,),
                        finish=lambda row: values.of_columns(row, "label {}".format, columns, problem == "single_label"))


def label_columns(rows: list[Row]) -> dict[str, np.ndarray | Ragged | Names]:
    """value float64[n], or the codes of the labels as they are written (several may hold)."""
    labels = [row.values["label"] for row in rows]
    if all(isinstance(label, float) for label in labels):
        return {"value": np.array(labels, np.float64)}
    return {"label": Names([(label,) if isinstance(label, str) else label for label in labels], TOO_MANY)}


def given_labels(experiment: Experiment, cache: pathlib.Path) -> tuple[str, ...]:
    """The label names that the config names; () where it leaves them to the rows."""
    data = experiment.data
    given = label_names(data.labels_file, cache) if data.labels_file else tuple(name.strip() for name in data.labels)
    if data.label_columns and given and set(given) != set(data.label_columns):
        raise UserError(f"{setting_of(data)} names other labels than config.data.label_columns: {', '.join(given[:10])} beside "
                        f"{', '.join(data.label_columns[:10])}. Leave it unset, or name the same in the order of their ids.")
    return given or data.label_columns


def setting_of(data: TextClassificationData) -> str:
    """Where the names of the labels are given."""
    return f"config.data.labels_file={data.labels_file}" if data.labels_file else "config.data.labels"


def label_names(labels_file: str, cache: pathlib.Path) -> tuple[str, ...]:
    """The label names of a file with one a line, as `label_lines` writes them."""
    try:
        path = assets.fetch(labels_file, cache)
        written = path.read_text("utf-8-sig")
        names = [_of_line(line.strip()) for line in written.split("\n")]
    except UserError as error:
        raise UserError(f"config.data.labels_file: {error}") from error
    except (OSError, UnicodeError) as error:
        raise UserError(f"config.data.labels_file={labels_file} cannot be read: {error}.") from error
    while names and not names[-1]:
        names.pop()
    if _is_json(written):
        raise UserError(f"config.data.labels_file={labels_file} is JSON. Write one label name a line, as in a run's "
                        "labels.txt.")
    for number, name in enumerate(names, 1):
        if not name or name in names[:number - 1]:
            what = f"the name {name!r} is there twice" if name else "the name is empty"
            raise UserError(f"config.data.labels_file: {labels_file}:{number}: {what}. Write one label name a line.")
    if not names:
        raise UserError(f"config.data.labels_file={labels_file} is empty. Write one label name a line.")
    return tuple(names)


def _is_json(text: str) -> bool:
    try:
        made = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(made, (list, dict)) and bool(made)


def label_lines(names: tuple[str, ...]) -> str:
    """Names one a line; as a JSON string where one would not come back from a line of its own: 'a\\nb' is written "a\\nb"."""
    return "".join(f"{json.dumps(name) if _hidden(name) else name}\n" for name in names)


def _hidden(name: str) -> bool:
    """Whether a plain line would not give the name back."""
    return any(c in name for c in "\n\r\ufeff") or _of_line(name) != name


def _of_line(line: str) -> str:
    """The name in a line. What merely stands in quotes keeps them."""
    if len(line) > 1 and line[0] == line[-1] == '"':
        try:
            name = json.loads(line)
        except ValueError:
            return line
        return name if isinstance(name, str) and _hidden(name) else line
    return line


def _label(value: Any, column: str, problem: str, data: TextClassificationData, known) -> str | tuple[str, ...] | float:
    """The label, the labels or the number in a value of the label column. Where there is a labels_file, what is neither a name
    in it nor a number is no label."""
    if problem == "regression":
        if fields.missing(value):
            raise Unusable(f"column {column!r} (its label) is missing")
        return fields.number(value, column)
    if problem == "single_label":
        label = values.single(value, column, names_alone=data.label_values == "names")
    else:
        label = values.several(value, column, data.label_separator, data.label_values)
    if data.labels_file:
        for name in (label,) if problem == "single_label" else label:
            if index_of(name) < 0 and truth_of(name) is None and known().find(name) < 0:
                raise Unusable(f"its label {name!r} is neither an id from 0 to {len(known()) - 1} nor a name in "
                               f"{data.labels_file}")
    return label
