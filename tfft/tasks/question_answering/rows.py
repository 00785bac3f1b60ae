"""The fields of a question with its context and answers, and what the store keeps of them. Imports no TensorFlow."""

import json
import pathlib
from typing import Any

import numpy as np

from tfft.config import Experiment
from tfft.data import fields, squad
from tfft.data.fields import Field, Unusable
from tfft.data.sources import Row
from tfft.data.store import Ragged, TokenStore
from tfft.tasks.question_answering.answers import KINDS, align

VERSION = 1  # of what `align` finds: raise it with every change there


def row_fields(experiment: Experiment, cache: pathlib.Path) -> tuple[Field, ...]:
    """question, context: str; answers: [(text, start, end, kind)] as `align` finds them, [] where there is none."""
    data = experiment.data
    start = data.answer_start_column
    made = (Field("question", "question_column", data.question_column, fields.text),
            Field("context", "context_column", data.context_column, fields.text))
    if start:
        made += (Field("answer_start", "answer_start_column", start, lambda value, column: value, asked=False),)
    return (*made, Field("answers", "answers_column", data.answers_column, _given, asked=False, details=(VERSION,),
                         finish=lambda values: _placed(values, data.answers_column)))


def answer_columns(rows: list[Row]) -> dict[str, np.ndarray | Ragged]:
    """answers: their texts, as JSON; answer_start, answer_end int32: the characters of the context, -1 where they are not in
    it; answer_kind int32: how they were found, a place in KINDS."""
    found = [row.values["answers"] for row in rows]
    texts = [json.dumps([text for text, *_ in answers]).encode() for answers in found]
    counts = np.array([len(answers) for answers in found], np.int64)

    def column(values: list[int]) -> Ragged:
        return Ragged(np.array(values, np.int32), counts)

    return {"answers": Ragged(np.frombuffer(b"".join(texts), np.uint8), np.array([len(text) for text in texts], np.int64)),
            "answer_start": column([start for answers in found for _, start, _, _ in answers]),
            "answer_end": column([end for answers in found for _, _, end, _ in answers]),
            "answer_kind": column([KINDS.index(kind) for answers in found for *_, kind in answers])}


def answer_texts(store: TokenStore, row: int) -> list[str]:
    """A row's answers as its source wrote them."""
    return json.loads(store.values("answers", row).tobytes())


def _given(value: Any, column: str) -> Any:
    if fields.missing(value):
        raise Unusable(f"column {column!r} (its answers) is missing; write an empty list, or an empty text, where a question "
                       "has none")
    return value


def _placed(values: dict[str, Any], column: str) -> list[tuple[str, int, int, str]]:
    try:
        answers = squad.read_answers(values["answers"], values.get("answer_start"))
    except ValueError as error:
        raise Unusable(f"column {column!r}: the question {error}") from error
    return [(answer["text"], *align(values["context"], answer["text"], answer["answer_start"])) for answer in answers]
