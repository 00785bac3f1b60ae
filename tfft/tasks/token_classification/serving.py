"""What a served tagger answers, in its graph and to its reader."""

import math
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfft.tasks.base import NASTY, Structured
from tfft.tasks.token_classification.decode import decode, entities

LONG = 1000        # characters: longer texts are cut in proofs, but for one
WORDS_ASKED = 200  # of a text of the proof, by the words signature


def respond(task, examples: dict, rows: dict, units: tf.Tensor, transitions: np.ndarray | None) -> dict[str, tf.Tensor]:
    """Units float32[u,D] of all windows, one after another -> what tfft.tasks.token_classification.decode.entities has; with
    sentence labels also label string[B] and label_score float32[B]."""
    made, word_counts = {}, rows["word_start"].row_lengths()
    if task.lead:
        windows = examples["places"].row_lengths() + 1
        leads = tf.cumsum(windows, exclusive=True)
        scores = tf.nn.softmax(tf.gather(units, tf.gather(leads, _first(examples, word_counts)))[:, :len(task.tags.labels)])
        best = tf.argmax(scores, axis=1)
        made = {"label": tf.gather(tf.constant(task.tags.labels), best), "label_score": tf.reduce_max(scores, axis=1)}
        is_lead = tf.scatter_nd(leads[:, tf.newaxis], tf.ones_like(leads), tf.shape(units, tf.int64)[:1])
        units = tf.boolean_mask(units, is_lead == 0)[:, :task.outputs]
    tags, probabilities = decode(units, tf.cast(word_counts, tf.int32), transitions)
    return {**entities(tags, probabilities, rows, task.tags), **made}


def _first(examples: dict, word_counts: tf.Tensor) -> tf.Tensor:
    """int64[B]: each row's first window."""
    return tf.cast(tf.searchsorted(examples["row"], tf.range(tf.size(word_counts))), tf.int64)


def recognises(outputs: set[str]) -> bool:
    return outputs >= {"count", "type", "start", "end", "score"}


def answers(response: dict[str, np.ndarray]) -> list[tuple[dict, dict[str, float]]]:
    """{"entities": [{"text", "type", "start", "end", "score"}]}, start and end in characters of the text, and with sentence
    labels "label" and "label_probability"."""
    made = []
    for i, count in enumerate(response["count"]):
        found = [{"text": response["entity"][i][j], "type": response["type"][i][j], "start": int(response["start"][i][j]),
                  "end": int(response["end"][i][j]), "score": float(response["score"][i][j])} for j in range(int(count))]
        answer = {"entities": Structured(found)}
        if "label" in response:
            answer = {"label": response["label"][i], "label_probability": float(response["label_score"][i]), **answer}
        made.append((answer, {}))
    return made


def signatures(task, served) -> dict:
    """serving_default takes text string[B]; words takes words string[B,W], "" beyond a row's own: offsets are then of the words
    joined by one blank. For roles, both take predicate int64[B]: where in the text a character of the word asked about stands,
    or the number of that word."""
    roles = {"predicate": tf.TensorSpec([None], tf.int64, name="predicate")} if "predicate" in served.fields else {}

    def of_words(words, **more):
        return served.of_texts(text=tf.RaggedTensor.from_tensor(words, padding=""), **more)

    return {
        "serving_default": tf.function(lambda **inputs: served.of_texts(**inputs), autograph=False).get_concrete_function(
            text=tf.TensorSpec([None], tf.string, name="text"), **roles),
        "words": tf.function(of_words, autograph=False).get_concrete_function(
            words=tf.TensorSpec([None, None], tf.string, name="words"), **roles)}


def nasty() -> list[str | bytes]:
    """Nasty texts, one of them of 6,250 words in very many windows. What else is long is cut: a CRF goes through the longest
    text of a batch word by word, and in batches of all sizes 100,000 words took a minute and proved nothing more."""
    return [*(text[:LONG] for text in NASTY), "a long \u4e2d text. " * 1250]


def as_words(rows: list[dict]) -> tuple[list[dict], dict[str, list]]:
    """(rows of words, the inputs of the words signature) from rows of texts, cut where they are long."""
    split = [{**row, "text": row["text"].split()[:WORDS_ASKED], **({"predicate": 0} if "predicate" in row else {})}
             for row in rows]
    width = max(1, *(len(row["text"]) for row in split))
    inputs = {"words": [row["text"] + [""] * (width - len(row["text"])) for row in split]}
    if "predicate" in split[0]:
        inputs["predicate"] = [row["predicate"] for row in split]
    return split, inputs


def difference(expected: dict[str, np.ndarray], got: dict[str, list], rows: list[int]) -> np.ndarray:
    """By row: infinite where an entity of both has another text; else the largest difference of a score, and of an entity that
    one side alone has how far its least sure word was, at least, from a tie: so far have probabilities moved.

    Words are as likely as not to come out either way where two tags are as likely: then an entity is there or not, or longer.
    Of entities that share words, and that one side alone has, the least sure counts.
    """
    made = np.zeros(len(rows))
    for place, row in enumerate(rows):
        own, other = (_entities(response, at) for response, at in ((expected, row), (got, place)))
        for key in own.keys() & other.keys():
            made[place] = max(made[place], _apart(own[key][0], other[key][0]) if own[key][1] == other[key][1] else np.inf)
        single = {key: score for key, (score, _) in (own | other).items() if (key in own) != (key in other)}
        for cluster in _touching(single):
            made[place] = max(made[place], min(_from_a_tie(single[key], key[1] - key[0]) for key in cluster))
        if "label_score" in expected:
            scores = float(expected["label_score"][row]), float(got["label_score"][place])
            same = _text(expected["label"][row]) == _text(got["label"][place])
            made[place] = max(made[place], _apart(*scores), 0.0 if same else _from_a_tie(min(scores), 1))
    return made


def _apart(a: float, b: float) -> float:
    return abs(a - b) if math.isfinite(a - b) else math.inf


def _from_a_tie(score: float, words: int) -> float:
    """How far from 1/2, at least, the least probability is of so many that have this mean."""
    return max(0.0, 0.5 - words * (1.0 - score))


def _touching(spans: Iterable[tuple[int, int, str]]) -> list[list[tuple[int, int, str]]]:
    """Spans in groups: those that share characters, be it by way of others."""
    groups, end = [], -1
    for span in sorted(spans):
        if span[0] >= end:
            groups.append([])
        groups[-1].append(span)
        end = max(end, span[1])
    return groups


def _entities(response: dict, row: int) -> dict[tuple, tuple[float, str]]:
    """{(start, end, type): (score, text)}"""
    return {(int(response["start"][row][j]), int(response["end"][row][j]), _text(response["type"][row][j])):
            (float(response["score"][row][j]), _text(response["entity"][row][j])) for j in range(int(response["count"][row]))}


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
