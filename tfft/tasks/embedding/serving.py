"""What a served embedder answers, in its graph and to its reader."""

from typing import Any

import numpy as np
import tensorflow as tf


def respond(rows: dict, units: tf.Tensor) -> dict[str, tf.Tensor]:
    """embedding float32[B,D]; for pairs, whose first texts come first, score float32[B], the cosine."""
    if "pairs" not in rows:
        return {"embedding": units}
    first, second = (tf.math.l2_normalize(part, axis=-1) for part in (units[:rows["pairs"]], units[rows["pairs"]:]))
    return {"score": tf.reduce_sum(first * second, axis=-1)}


def signatures(served, two_prompts: bool) -> dict[str, Any]:
    """serving_default and embed: text string[B] -> embedding. similarity: text, text_pair string[B] -> score. With prompts also
    embed_passage: a text as a passage."""
    text, pair = (tf.TensorSpec([None], tf.string, name=name) for name in ("text", "text_pair"))

    # keywords alone: inputs of a signature are looked up by them
    def answer(**texts):
        return served.of_texts(**texts)

    def embed_passage(**texts):
        return served.of_texts(text_pair=texts["text"])

    made = {"serving_default": (answer, {"text": text}), "embed": (answer, {"text": text}),
            "similarity": (answer, {"text": text, "text_pair": pair})}
    if two_prompts:
        made["embed_passage"] = embed_passage, {"text": text}
    return {name: tf.function(function, autograph=False).get_concrete_function(**inputs)
            for name, (function, inputs) in made.items()}


def other_questions(rows: list[dict], two_prompts: bool) -> dict[str, tuple[list[dict], dict[str, list]]]:
    """Each text again, as a passage, and with the next one."""
    texts = [row["text"] for row in rows]
    after = [*texts[1:], *texts[:1]]
    made = {"embed": (rows, {"text": texts}),
            "similarity": ([{"text": a, "text_pair": b} for a, b in zip(texts, after, strict=True)],
                           {"text": texts, "text_pair": after})}
    if two_prompts:
        made["embed_passage"] = ([{"text_pair": text} for text in texts], {"text": texts})
    return made


def recognises(outputs: set[str]) -> bool:
    return outputs in ({"embedding"}, {"score"})


def answers(response: dict[str, np.ndarray]) -> list[tuple[dict, dict[str, float]]]:
    """{"embedding": [float, ...]} or {"score": float}."""
    if "score" in response:
        return [({"score": float(score)}, {}) for score in response["score"].reshape(-1)]
    return [({"embedding": [float(value) for value in vector]}, {}) for vector in response["embedding"]]
