"""What a served model answers to a question with candidates, in its graph and to its reader."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfft.tasks.base import NASTY

NONE = -1e9  # the logit of a candidate that is not there
OUTPUTS = {"choice", "position", "score", "scores"}
LONG = 1000  # characters of a nasty candidate, but for one


def respond(examples: dict, rows: dict, units: tf.Tensor, binary: bool) -> dict[str, tf.Tensor]:
    """Units float32[N,1] of all candidates -> choice string[B], the best one's text; position int32[B], from 0; score
    float32[B]; scores float32[B,K], of all: a row's add up to 1, or where `binary` each is by itself. 0 where there is no
    candidate; "" and -1 where a row has none at all."""
    choices = rows["choices"]
    there = choices != ""
    at = tf.stack([examples["row"], examples["place"]], axis=1)
    logits = tf.where(there, tf.tensor_scatter_nd_update(tf.fill(tf.shape(choices), NONE), at, units[:, 0]), NONE)
    scores = tf.where(there, tf.sigmoid(logits) if binary else tf.nn.softmax(logits), 0.0)
    best = tf.argmax(logits, axis=1, output_type=tf.int32)
    some = tf.reduce_any(there, axis=1)
    return {"choice": tf.gather(choices, best, batch_dims=1), "position": tf.where(some, best, -1),
            "score": tf.gather(scores, best, batch_dims=1), "scores": scores}


def recognises(outputs: set[str]) -> bool:
    return outputs == OUTPUTS


def answers(response: dict[str, np.ndarray]) -> list[tuple[dict, dict[str, float]]]:
    """{"predicted_choice", "predicted_position", "probability", "choice_probabilities"}, the last as long as there are
    candidates."""
    made = []
    for choice, position, score, scores in zip(*(response[name] for name in ("choice", "position", "score", "scores")),
                                               strict=True):
        count = int(np.flatnonzero(scores)[-1]) + 1 if np.any(scores) else 0
        made.append(({"predicted_choice": choice, "predicted_position": int(position), "probability": float(score),
                      "choice_probabilities": [float(one) for one in scores[:count]]}, {}))
    return made


def signatures(served) -> dict[str, Any]:
    """serving_default: question and perhaps context string[B], choices string[B,K], "" where a row has fewer."""
    def answer(**inputs):  # keywords alone: inputs of a signature are looked up by them
        return served.of_texts(**inputs)

    specs = {name: tf.TensorSpec([None, None] if name == "choices" else [None], tf.string, name=name) for name in served.fields}
    return {"serving_default": tf.function(answer, autograph=False).get_concrete_function(**specs)}


def difference(expected: dict[str, np.ndarray], got: dict[str, list], rows: list[int]) -> np.ndarray:
    """By row: the largest difference of a score, and where another candidate was chosen how far from a tie the two were;
    infinite where the text is not that of its position."""
    made = np.zeros(len(rows))
    for i, row in enumerate(rows):
        scores, own = np.array(got["scores"][i], np.float64), expected["scores"][row]
        chosen, wanted = got["position"][i], int(expected["position"][row])
        made[i] = np.abs(scores - own).max()
        if chosen != wanted:
            made[i] = max(made[i], own.max() - own[chosen])
        elif _text(got["choice"][i]) != _text(expected["choice"][row]) or got["score"][i] != max(got["scores"][i]):
            made[i] = np.inf
    return np.where(np.isfinite(made), made, np.inf)


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def nasty(fields: tuple[str, ...]) -> dict[str, list]:
    """Nasty candidates to nasty questions, and rows of one candidate, of none, of the same three times, of a long one."""
    def text(i: int) -> str | bytes:
        return NASTY[i % len(NASTY)]

    choices = [[text(i + 4)[:LONG], text(2 * i + 9)[:LONG], text(3 * i + 1)[:LONG]] for i in range(len(NASTY))]
    choices += [["plain words", "", ""], ["", "", ""], ["plain words"] * 3, ["", "plain words", "x" * 100_000]]
    more = ["plain words"] * (len(choices) - len(NASTY))
    texts = {name: [*NASTY[i:], *NASTY[:i], *more] for i, name in enumerate(fields) if name != "choices"}
    return {name: choices if name == "choices" else texts[name] for name in fields}
