"""Tokens that a model made -> texts, and where they end: in a graph, and for a reader."""

import re
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.models.sampling import FLOATS, Sampling
from tfft.tasks.base import NASTY
from tfft.tasks.texts.language import Language

OPTIONS = {name: tf.float32 if name in FLOATS else tf.int32 for name in Sampling._fields}
OPTION_SPECS = {name: tf.TensorSpec([None], dtype, name=name) for name, dtype in OPTIONS.items()}
BEFORE = "before"  # how many of a prompt's last tokens are the beginning of its answer
LAST = 16    # tokens of an answer that are looked through for where it should stop, whenever one is made
LONG = 400   # characters: nasty prompts are cut there, but for one
NASTY_ROWS = 16


def signatures(served, field: str) -> dict[str, Any]:
    """serving_default takes what is asked, string[B]; generate also how to choose, a number for each row, or one for all."""
    asked = {field: tf.TensorSpec([None], tf.string, name=field)}

    def generate(**given):
        texts = given.pop(field)
        examples, rows = served.encoder.asked(texts)
        return {**served.of_examples({**examples, **given}, rows), f"{field}_tokens": examples["length"]}

    return {"serving_default": tf.function(served.of_texts, autograph=False).get_concrete_function(**asked),
            "generate": tf.function(generate, autograph=False).get_concrete_function(**asked, **OPTION_SPECS)}


def stopped(tokens: tf.Tensor, count: tf.Tensor, language: Language, stop: tuple[str, ...]) -> tf.Tensor:
    """bool[B]: whether the last of so many tokens int32[B,T] spell a text at which an answer ends."""
    return _holds(language.spell(tokens[:, tf.maximum(0, count - LAST):count]), stop)


def _holds(made: tf.Tensor, stop: tuple[str, ...]) -> tf.Tensor:
    """bool[B]: whether one of the stop strings is in string[B]."""
    return tf.strings.regex_full_match(made, f"(?s).*(?:{'|'.join(map(re.escape, stop))}).*")


def texts(tokens: tf.Tensor, language: Language, stop: tuple[str, ...]) -> tf.Tensor:
    """string[B] of int32[B,T], up to the first text at which an answer ends."""
    made = language.spell(tokens)
    return tf.strings.regex_replace(made, f"(?s)(?:{'|'.join(map(re.escape, stop))}).*", "") if stop else made


def respond(tokens: tf.Tensor, language: Language, stop: tuple[str, ...]) -> dict[str, tf.Tensor]:
    """text string[B] and tokens int32[B]: how many were made, that which ends an answer among them."""
    return {"text": texts(tokens, language, stop), "tokens": tf.reduce_sum(tf.cast(tokens >= 0, tf.int32), axis=1)}


def recognises(outputs: set[str]) -> bool:
    return outputs == {"text", "tokens"}


def answers(response: dict[str, np.ndarray]) -> list[tuple[dict, dict[str, float]]]:
    return [({"text": str(text), "tokens": int(count)}, {})
            for text, count in zip(response["text"], response["tokens"], strict=True)]


def continued(before: tf.Tensor, fresh: tf.Tensor, language: Language, stop: tuple[str, ...]) -> dict[str, tf.Tensor]:
    """tokens int32[B,m], text string[B] and done int32[B] of what was made before int32[B,n] and now int32[B,T]. Nothing
    follows where an answer had ended. [[5 6 -1]], [[7 -1]] -> [[5 6 7]]"""
    fresh = tf.where(ended(before, language, stop)[:, tf.newaxis], -1, fresh)
    both = tf.concat([before, fresh], axis=1)
    kept = tf.ragged.boolean_mask(both, both >= 0)
    tokens = kept.to_tensor(-1)
    return {"tokens": tokens, "text": texts(tokens, language, stop), "done": tf.cast(ended(tokens, language, stop), tf.int32)}


def ended(tokens: tf.Tensor, language: Language, stop: tuple[str, ...]) -> tf.Tensor:
    """bool[B]: whether an end token or a stop string is among int32[B,n]."""
    last = tf.reduce_any(tokens[:, :, tf.newaxis] == tf.constant(language.ends, tf.int32), axis=[1, 2])
    return last | _holds(language.spell(tokens), stop) if stop else last


def nasty(room: int) -> list[str | bytes]:
    """Prompts that are hard to read; few, since each is answered by up to `room` tokens."""
    return [*(text[:LONG] for text in NASTY[:NASTY_ROWS - 1]), "long " * 5_000]


def difference(expected: dict[str, np.ndarray], got: dict[str, list], rows: list[int]) -> np.ndarray:
    """0 where the texts are the same, else infinite: the next tokens of two texts that differ once have nothing in common."""
    made = np.zeros(len(rows))
    for place, (row, text) in enumerate(zip(rows, got["text"], strict=True)):
        theirs = text if isinstance(text, bytes) else str(text).encode()
        ours = expected["text"][row]
        made[place] = 0.0 if theirs == (ours if isinstance(ours, bytes) else str(ours).encode()) else np.inf
    return made
