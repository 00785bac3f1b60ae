"""The fields of rows to learn embeddings from, and what the store keeps of them. Imports no TensorFlow."""

import functools
import pathlib
from typing import Any

import numpy as np

from tfft.config import Experiment
from tfft.config.embedding import kind_of
from tfft.data import fields
from tfft.data.fields import Field, Unusable
from tfft.data.sources import Row
from tfft.data.store import Names, Ragged

TEXT, POSITIVE, NEGATIVE, DOCUMENT = range(4)  # what a text is in its row: the codes of the column "role"
TOO_MANY = ("The label column holds {found}, such as {such}. Is it the right column? Set config.data.label_column; for pairs "
            "of texts leave it unset.")


def row_fields(experiment: Experiment, cache: pathlib.Path) -> tuple[Field, ...]:
    """text: str; text_pair, negative_0, ...: lists of texts; grade: list of float; score: float; label: str. Only the text is
    asked."""
    data, kind = experiment.data, kind_of(experiment.data)
    text = Field("text", "text_column", data.text_column, fields.text)
    if kind == "labelled":
        return text, Field("label", "label_column", data.label_column, fields.label, asked=False)
    if kind == "scored":
        single = Field("text_pair", "text_pair_column", data.text_pair_column, _one, asked=False)
        return text, single, Field("score", "score_column", data.score_column, fields.number, asked=False)
    pair, grade = (Field(name, "text_pair_column", data.text_pair_column, read, asked=False)
                   for name, read in (("text_pair", texts), ("grade", grades)))
    negative = functools.partial(texts, needed=False)
    return text, pair, grade, *(Field(f"negative_{i}", "negative_columns", column, negative, asked=False)
                                for i, column in enumerate(data.negative_columns))


def document_fields() -> tuple[Field, ...]:
    """text: str."""
    return (Field("text", "corpus", "text", fields.text),)


def texts_of(values: dict[str, Any]) -> list[tuple[int, str]]:
    """(role, text) of each text of a row, the row's own first."""
    negatives = [text for name, several in values.items() if name.startswith("negative_") for text in several or ()]
    return [(TEXT, values["text"]), *((POSITIVE, text) for text in values.get("text_pair") or ()),
            *((NEGATIVE, text) for text in negatives)]


def document_of(values: dict[str, Any]) -> list[tuple[int, str]]:
    """The same of a row that is a document to be found."""
    return [(DOCUMENT, values["text"])]


def row_columns(rows: list[Row]) -> dict[str, np.ndarray | Ragged | Names]:
    """positives, negatives int32[n]: how many texts of a row are such; grade: of each positive, float32; score float32[n];
    label: its code."""
    roles = [[role for role, _ in texts_of(row.values)] for row in rows]
    made = {name: np.array([several.count(role) for several in roles], np.int32)
            for name, role in (("positives", POSITIVE), ("negatives", NEGATIVE))}
    if rows and "grade" in rows[0].values:
        several = [row.values["grade"] or () for row in rows]
        made["grade"] = Ragged(np.array([grade for one in several for grade in one], np.float32),
                               np.array([len(one) for one in several], np.int64))
    if rows and "score" in rows[0].values:
        made["score"] = np.array([row.values["score"] for row in rows], np.float32)
    if rows and "label" in rows[0].values:
        made["label"] = Names([(row.values["label"],) for row in rows], TOO_MANY)
    return made


def document_columns(rows: list[Row]) -> dict[str, np.ndarray | Ragged | Names]:
    """The columns of pairs, of rows that are documents to be found."""
    return {**row_columns(rows), "grade": Ragged(np.zeros(0, np.float32), np.zeros(len(rows), np.int64))}


def texts(value: Any, column: str, needed: bool = True) -> list[str]:
    """A text, or several in a list, which a cell may write as JSON; each may be an object with `text`, perhaps beside a grade.
    Blank ones are left out, where another one is there or none is `needed`. Raises: Unusable.

    '["a", "b"]' -> ["a", "b"]; [{"text": "a", "grade": 2}] -> ["a"]
    """
    kept = _kept(value)
    if not kept and needed:
        raise Unusable(f"column {column!r} (its text) is {'missing' if fields.missing(value) else 'empty'}")
    return [fields.text(text, column) for text, _ in kept]


def grades(value: Any, column: str) -> list[float]:
    """How well each of these texts answers, 1 where it does not say. [{"text": "a", "grade": 2}, "b"] -> [2, 1]"""
    made = [fields.number(grade, column) for _, grade in _kept(value)]
    if min(made, default=1) <= 0:
        raise Unusable(f"column {column!r} holds the grade {min(made):g}: what does not belong to the text is no text of this "
                       "column (hard negatives have columns of their own)")
    return made


def _kept(value: Any) -> list[tuple[Any, Any]]:
    """(text, grade) of all that are not blank."""
    if isinstance(value, bytes):
        value = fields.decoded(value)
    if isinstance(value, str):
        value = _listed(value)
    several = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
    pairs = [(one["text"], one.get("grade", 1)) if isinstance(one, dict) and "text" in one else (one, 1) for one in several]
    return [(text, grade) for text, grade in pairs
            if not (fields.missing(text) or isinstance(text, (str, bytes)) and not text.strip())]


def _listed(value: str) -> Any:
    """The list of texts that a text is as JSON, Python or numpy writes it, or the text itself."""
    made = fields.as_list(value)
    if made is not None and all(isinstance(one, str) or isinstance(one, dict) and "text" in one for one in made):
        return made
    return value


def _one(value: Any, column: str) -> list[str]:
    return [fields.text(value, column)]
