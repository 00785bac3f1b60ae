"""The fields of a row of words with tags, or of a text with spans, and what the store keeps of them. Imports no TensorFlow."""

import functools
import pathlib
from typing import Any

import numpy as np

from tfft.behaviour.perturb import changed_inside, changed_words
from tfft.config import Experiment
from tfft.data import fields
from tfft.data.fields import Field, Unusable
from tfft.data.sources import Row
from tfft.data.store import Names, Ragged
from tfft.tasks.token_classification.spans import read_spans

TOO_MANY = "The column of {what} holds {{found}}, such as {{such}}. Is it the right one? Set config.data.{setting}."


def row_fields(experiment: Experiment, cache: pathlib.Path) -> tuple[Field, ...]:
    """text: a list of words, or a str; predicate: a word's number, for roles; tags or spans; label of the sentence."""
    data = experiment.data
    made = []
    if data.words_column:
        made += [Field("text", "words_column", data.words_column, _words, text=joined, otherwise="text"),
                 Field("tags", "tags_column", data.tags_column, _tags, asked=False, finish=_one_for_each_word)]
    else:
        made += [Field("text", "text_column", data.text_column, fields.text),
                 Field("spans", "spans_column", data.spans_column, _spans, asked=False, details=(data.span_end,),
                       finish=lambda values: _placed(values, data.span_end == "inclusive", data.spans_column))]
    if data.predicate_column:
        made.append(Field("predicate", "predicate_column", data.predicate_column, _place, finish=_within))
    if data.label_column:
        label = functools.partial(fields.label, what="the sentence's label")
        made.append(Field("label", "label_column", data.label_column, label, asked=False))
    return tuple(made)


def joined(words: list[str] | str) -> str:
    """Words as one text: with one blank between two."""
    return words if isinstance(words, str) else " ".join(words)


def tag_columns(rows: list[Row]) -> dict[str, np.ndarray | Ragged | Names]:
    """The tags of the words, or the spans: span_start, span_end in characters and span_type; the label; the predicate."""
    values = [row.values for row in rows]
    made = {}
    if "tags" in values[0]:
        made["tags"] = Names([tuple(row["tags"]) for row in values], TOO_MANY.format(what="tags", setting="tags_column"))
    else:
        spans = [row["spans"] for row in values]
        counts = np.array([len(each) for each in spans], np.int64)
        for i, end in enumerate(("start", "end")):
            made[f"span_{end}"] = Ragged(np.array([span[i] for each in spans for span in each], np.int32), counts)
        made["span_type"] = Names([tuple(span[2] for span in each) for each in spans],
                                  TOO_MANY.format(what="spans", setting="spans_column"))
    if "label" in values[0]:
        made["label"] = Names([(row["label"],) for row in values],
                              TOO_MANY.format(what="the sentences' labels", setting="label_column"))
    return made


def disturbed(values: dict[str, Any], kind: str, share: float, seed: int) -> dict[str, Any] | None:
    """A row changed inside its words, each of which keeps its place and tag; spans of a text move along."""
    if not isinstance(values["text"], str):
        words = changed_words(values["text"], kind, share, seed)
        return words and {**values, "text": words}
    made = changed_inside(values["text"], kind, share, seed)
    if made is None:
        return None
    text, place = made
    spans = {"spans": [(place(start), place(end), name) for start, end, name in values["spans"]]} if "spans" in values else {}
    return {**values, "text": text, **spans}


def _words(value: Any, column: str) -> list[str] | str:
    """A list of words; a text as it is, which is split where tags are read beside it."""
    listed = fields.as_list(value)
    if listed is None:
        return fields.text(value, column)
    if not listed:
        raise Unusable(f"column {column!r} (its words) is empty")
    words = [str(word) if isinstance(word, (int, float)) else word for word in listed]
    for number, word in enumerate(words, 1):
        if not isinstance(word, str):
            raise Unusable(f"column {column!r} holds {word!r:.40} where word {number} should be")
        if not word.strip():
            raise Unusable(f"column {column!r}: word {number} of {len(words)} is empty")
    return words


def _tags(value: Any, column: str) -> tuple[str, ...]:
    listed = fields.as_list(value)
    if listed is None:
        if fields.missing(value):
            raise Unusable(f"column {column!r} (its tags) is missing")
        listed = fields.name(value).split()
    tags = tuple(fields.name(tag) for tag in listed)
    if "" in tags:
        raise Unusable(f"column {column!r}: tag {tags.index('') + 1} of {len(tags)} is empty")
    return tags


def _one_for_each_word(values: dict[str, Any]) -> tuple[str, ...]:
    """The tags; a text beside them is split at its blanks."""
    if isinstance(values["text"], str):
        values["text"] = values["text"].split()
    words, tags = values["text"], values["tags"]
    if len(words) != len(tags):
        raise Unusable(f"it has {len(words)} words and {len(tags)} tags")
    return tags


def _spans(value: Any, column: str) -> Any:
    if fields.missing(value):
        raise Unusable(f"column {column!r} (its spans) is missing; write an empty list where a text has none")
    return value


def _placed(values: dict[str, Any], inclusive: bool, column: str) -> list[tuple[int, int, str]]:
    """The spans of a text, ends exclusive."""
    try:
        return read_spans(values["spans"], inclusive, values["text"])
    except ValueError as error:
        hint = "" if "where the span says" not in str(error) else (
            f" (are ends {'exclusive' if inclusive else 'inclusive'}? Set --config.data.span_end="
            f"{'exclusive' if inclusive else 'inclusive'})")
        raise Unusable(f"column {column!r}: {error}{hint}") from error


def _place(value: Any, column: str) -> int:
    number = fields.number(value, column)
    if number != int(number) or number < 0:
        raise Unusable(f"column {column!r} holds {value!r:.40}, which is no number of a word, counted from 0")
    return int(number)


def _within(values: dict[str, Any]) -> int:
    if isinstance(values["text"], str):
        values["text"] = values["text"].split()
    if values["predicate"] >= len(values["text"]):
        raise Unusable(f"its predicate is word {values['predicate']}, counted from 0, of {len(values['text'])} words")
    return values["predicate"]
