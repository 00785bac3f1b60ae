"""The fields of a row to classify, and what the store keeps of its label. Imports no TensorFlow."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tfft import assets
from tfft.config import Experiment
from tfft.data import fields
from tfft.data.fields import Field, Unusable
from tfft.data.sources import Row
from tfft.data.store import Names, Ragged
from tfft.errors import UserError

TOO_MANY = ("The label column holds {found}, such as {such}. Is it the right column? Set config.data.label_column; for numbers "
            "set config.task.problem=regression.")


def row_fields(experiment: Experiment, cache: pathlib.Path) -> tuple[Field, ...]:
    """The text, the second text of pairs, and the label: a name, several names, or a number.

    A labels_file is read with the first label: prediction, perhaps on another machine, does without.
    """
    data, problem = experiment.data, experiment.task.problem
    given = functools.cache(lambda: given_labels(experiment, cache))
    read = functools.partial(_label, problem=problem, separator=data.label_separator, labels_file=data.labels_file, given=given,
                             ids=functools.cache(lambda: _ids(given(), bool(data.labels_file))))
    pair = (Field("text_pair", "text_pair_column", data.text_pair_column, fields.text),) if data.text_pair_column else ()
    return (Field("text", "text_column", data.text_column, fields.text), *pair,
            Field("label", "label_column", data.label_column, read, asked=False,
                  details=lambda: (problem, data.label_separator, list(given()))))


def label_columns(rows: list[Row]) -> dict[str, np.ndarray | Ragged | Names]:
    """value float32[n], or the codes of the labels (several may hold)."""
    labels = [row.values["label"] for row in rows]
    if all(isinstance(label, float) for label in labels):
        return {"value": np.array(labels, np.float32)}
    return {"label": Names([(label,) if isinstance(label, str) else label for label in labels], TOO_MANY)}


def given_labels(experiment: Experiment, cache: pathlib.Path) -> tuple[str, ...]:
    """The label names that the config names; () where it leaves them to the rows."""
    data = experiment.data
    return label_names(data.labels_file, cache) if data.labels_file else data.labels


def label_names(labels_file: str, cache: pathlib.Path) -> tuple[str, ...]:
    """The label names of a file with one a line."""
    try:
        path = assets.fetch(labels_file, cache)
        names = [line.strip() for line in path.read_text("utf-8-sig").split("\n")]
    except UserError as error:
        raise UserError(f"config.data.labels_file: {error}") from error
    except (OSError, UnicodeError) as error:
        raise UserError(f"config.data.labels_file={labels_file} cannot be read: {error}.") from error
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, 1):
        if not name or name in names[:number - 1]:
            what = f"the name {name!r} is there twice" if name else "the name is empty"
            raise UserError(f"config.data.labels_file: {labels_file}:{number}: {what}. Write one label name a line.")
    if not names:
        raise UserError(f"config.data.labels_file={labels_file} is empty. Write one label name a line.")
    return tuple(names)


def _ids(given: tuple[str, ...], from_file: bool) -> dict[str, str]:
    """What stands for which label: its name, and its id unless names are numbers themselves (stars, 1 to 5)."""
    ids = {str(i): name for i, name in enumerate(given)}
    if not from_file and any(name.isdigit() for name in given):
        ids = {}
    return {name: name for name in given} | ids


def _label(value: Any, column: str, problem: str, separator: str, labels_file: str, given: Callable[[], tuple[str, ...]],
           ids: Callable[[], dict[str, str]]) -> str | tuple[str, ...] | float:
    """The label, the labels or the number in a value of the label column. Where there is a labels_file, its labels alone are
    known."""
    def known(name: str) -> str:
        if labels_file and name not in ids():
            raise Unusable(f"its label {name!r} is neither an id from 0 to {len(given()) - 1} nor a name in {labels_file}")
        return ids().get(name, name)

    if fields.missing(value):
        raise Unusable(f"column {column!r} (its label) is missing" + (
            "; write an empty list or text where no label holds" if problem == "multi_label" else ""))
    if problem == "regression":
        return fields.number(value, column)
    if problem == "multi_label":
        parts = value.split(separator) if isinstance(value, str) else value
        parts = parts if isinstance(parts, (list, tuple)) else [parts]
        return tuple(dict.fromkeys(known(name) for name in map(fields.name, parts) if name))
    if isinstance(value, (list, tuple)):
        raise Unusable(f"column {column!r} is a list of labels; that needs config.task.problem=multi_label")
    name = fields.name(value)
    if not name:
        raise Unusable(f"column {column!r} (its label) is empty")
    return known(name)
