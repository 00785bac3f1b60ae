"""The fields of a question with its candidates, and what the store keeps of them. Imports no TensorFlow."""

import functools
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from tfft.config import Experiment
from tfft.data import fields
from tfft.data.fields import Field, Unusable
from tfft.data.literals import literal, looks_literal
from tfft.data.sources import Row
from tfft.data.spelling import bit_of
from tfft.data.store import Ragged
from tfft.tasks.multiple_choice.labels import READINGS, positions

VERSION = 1  # of how candidates and labels are read: raise it with every change there


class Right(NamedTuple):
    """places: of the right candidates, ascending; reading: how the label was read, one of READINGS; twice: whether a candidate
    is there twice."""

    places: tuple[int, ...]
    reading: str
    twice: bool


def row_fields(experiment: Experiment, cache: pathlib.Path) -> tuple[Field, ...]:
    """question and perhaps context: str; choices: list of texts; names: their labels, where they have such; right: Right."""
    data = experiment.data
    text = _of_group if data.choice_column else fields.text
    made = [Field("question", "question_column", data.question_column, text)]
    if data.context_column:
        made.append(Field("context", "context_column", data.context_column, text))
    if data.choice_columns:
        first, *more = data.choice_columns
        made.append(Field("choices", "choice_columns", first, choices, text=json.dumps, details=(VERSION,), more=tuple(more)))
    elif data.choice_column:
        made.append(Field("choices", "choice_column", data.choice_column, choices, text=json.dumps, details=(VERSION,)))
    else:
        made += [Field("choices", "choices_column", data.choices_column, choices, text=json.dumps, details=(VERSION,)),
                 Field("names", "choices_column", data.choices_column, lambda value, column: labelled(value, column)[0],
                       asked=False)]
    finish = functools.partial(_flagged if data.choice_column else _chosen, column=data.label_column, how=data.label_values)
    return (*made, Field("right", "label_column", data.label_column, _given, asked=False, details=(VERSION, data.label_values),
                         finish=finish))


def choices(value: Any, column: str) -> list[str]:
    """The candidates of a row: a list, an object of label and text lists, one of texts by their labels, a list of objects; in a
    cell also as JSON. Empty ones behind the last are left out. Raises: Unusable.

    '{"label": ["A", "B"], "text": ["red", "blue"]}' -> ["red", "blue"]
    """
    return labelled(value, column)[1]


def row_columns(rows: list[Row]) -> dict[str, np.ndarray | Ragged]:
    """candidates int32[n]: how many; right: the places of right ones; reading int32[n]: how the label was read, a place in
    READINGS; twice int32[n]: 1 where a candidate is there twice."""
    right = [row.values["right"] for row in rows]
    places = np.array([place for each in right for place in each.places], np.int32)
    return {"candidates": np.array([len(row.values["choices"]) for row in rows], np.int32),
            "right": Ragged(places, np.array([len(each.places) for each in right], np.int64)),
            "reading": np.array([READINGS.index(each.reading) for each in right], np.int32),
            "twice": np.array([each.twice for each in right], np.int32)}


def labelled(value: Any, column: str) -> tuple[list[str], list[str]]:
    """(labels of the candidates or [], the candidates), as `choices` reads them. Raises: Unusable."""
    names, texts = _taken_apart(value, column)
    made = ["" if fields.missing(text) else fields.name(text) if not isinstance(text, str) else text for text in texts]
    while made and not made[-1].strip():
        made.pop()
    for number, text in enumerate(made, 1):
        if not text.strip():
            raise Unusable(f"column {column!r}: candidate {number} of {len(made)} is empty")
    if not made:
        raise Unusable(f"column {column!r} (its candidates) is {'missing' if fields.missing(value) else 'empty'}")
    return [fields.name(name) for name in names][:len(made)], made


def _taken_apart(value: Any, column: str) -> tuple[list, list]:
    """The same as they are written."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, str) and value.strip():
        value = _document(value.strip(), column)
    if isinstance(value, dict):
        lists = {str(name).lower(): list(each) for name, each in value.items() if isinstance(each, (list, tuple, np.ndarray))}
        if "text" in lists:
            return lists.get("label", []), lists["text"]
        return list(value), list(value.values())
    if not isinstance(value, (list, tuple)):
        if fields.missing(value) or isinstance(value, str) and not value.strip():
            return [], []
        raise Unusable(f"column {column!r} holds {value!r:.40}, which is no list of candidates")
    if value and all(isinstance(each, dict) for each in value):
        objects = [{str(name).lower(): text for name, text in each.items()} for each in value]
        if not all("text" in each for each in objects):
            raise Unusable(f"column {column!r}: a candidate has no 'text', but {', '.join(map(str, value[0]))}")
        labels = [each["label"] for each in objects if "label" in each]
        return labels if len(labels) == len(objects) else [], [each["text"] for each in objects]
    return [], list(value)


def _document(text: str, column: str) -> Any:
    """The list or object that a cell is, as JSON or Python write it."""
    try:
        made = literal(text) if looks_literal(text) else None
    except ValueError:
        made = None
    if not isinstance(made, (list, dict)):
        raise Unusable(f"column {column!r} holds {text[:40]!r}, which is no list of candidates such as [\"red\", \"blue\"]")
    return made


def _of_group(value: Any, column: str) -> str:
    """What all rows of a question have: the first one's."""
    return fields.text(next(iter(value), None) if isinstance(value, list) else value, column)


def _given(value: Any, column: str) -> Any:
    if fields.missing(value) or isinstance(value, str) and not value.strip():
        raise Unusable(f"column {column!r} (its right candidate) is {'missing' if fields.missing(value) else 'empty'}")
    return value.tolist() if isinstance(value, np.ndarray) else value


def _chosen(values: dict[str, Any], column: str, how: str) -> Right:
    """What the label of a row says."""
    texts = values["choices"]
    if len(texts) < 2:
        raise Unusable("it has one candidate, which leaves nothing to choose")
    places, reading = positions(values["right"], texts, values.get("names") or (), how, column)
    return _with_twins(places, reading, texts)


def _flagged(values: dict[str, Any], column: str, how: str) -> Right:
    """What the labels of a question's rows say, 1 or 0 each."""
    flags = values["right"] if isinstance(values["right"], list) else [values["right"]]
    texts = values["choices"]
    if len(flags) != len(texts):
        raise Unusable(f"{len(texts)} of its {len(flags)} rows have a candidate")
    bits = [-1 if fields.missing(flag) else bit_of(fields.name(flag)) for flag in flags]
    if -1 in bits:
        raise Unusable(f"column {column!r} holds {flags[bits.index(-1)]!r:.40} for candidate {bits.index(-1) + 1}, where 1 "
                       "says that it is right and 0 that it is not")
    return _with_twins([place for place, bit in enumerate(bits) if bit], "flags", texts)


def _with_twins(places: list[int], reading: str, texts: list[str]) -> Right:
    """The same text as a right candidate's is right too."""
    right = {texts[place].strip() for place in places}
    return Right(tuple(place for place, text in enumerate(texts) if text.strip() in right), reading,
                 len({text.strip() for text in texts}) < len(texts))
