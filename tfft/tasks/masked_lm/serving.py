"""What a served model answers to texts with masks, in its graph and to its reader."""

import numpy as np
import tensorflow as tf

from tfft.tasks.base import NASTY, Structured
from tfft.tasks.masked_lm.learnt import Vocabulary

LONG = 2000  # characters: nasty texts are cut there, but for one


def masks(examples: dict, mask: int) -> tf.Tensor:
    """int64[N]: how many masks each example has."""
    return tf.reduce_sum(tf.cast(examples["tokens"] == mask, tf.int64), axis=1)


def respond(examples: dict, rows: dict, units: tf.Tensor, vocabulary: Vocabulary, n: int) -> dict[str, tf.Tensor]:
    """tokens string[B,M,n] and probabilities float32[B,M,n]: of each mask of each row, in their order, the n most probable
    tokens. M is the most masks of a row; a row of fewer has "" and 0 in its last places."""
    row = tf.repeat(tf.cast(examples["row"], tf.int64), masks(examples, vocabulary.mask))
    count = tf.size(rows["full_length"], tf.int64)
    ids = tf.RaggedTensor.from_value_rowids(tf.cast(units[:, :n], tf.int32), row, count)
    chances = tf.RaggedTensor.from_value_rowids(units[:, n:2 * n], row, count)
    names = tf.gather(tf.constant(vocabulary.tokens), ids.values)
    return {"tokens": ids.with_values(names).to_tensor("", shape=[None, None, n]),
            "probabilities": chances.to_tensor(0.0, shape=[None, None, n])}


def recognises(outputs: set[str]) -> bool:
    return outputs == {"tokens", "probabilities"}


def answers(response: dict[str, np.ndarray]) -> list[tuple[dict, dict[str, float]]]:
    """{"masks": [[{"token": str, "probability": float}, ...] of each mask]}."""
    made = []
    for tokens, chances in zip(response["tokens"], response["probabilities"], strict=True):
        made.append(({"masks": Structured([{"token": token, "probability": float(chance)}
                                           for token, chance in zip(*pair, strict=True)]
                                          for pair in zip(tokens, chances, strict=True) if pair[1][0] > 0)}, {}))
    return made


def nasty(mask: str) -> list[str | bytes]:
    """Nasty texts before a mask and behind one, one of them long, and as they are."""
    made: list[str | bytes] = [*(text[:LONG] for text in NASTY), f"{'long ' * 20_000}{mask}", mask * 9]
    for text in NASTY:
        behind = text[:LONG]
        made.append(mask.encode() + b" " + behind if isinstance(behind, bytes) else f"a {mask} {behind} {mask}, {mask}.")
    return made


def difference(expected: dict[str, np.ndarray], got: dict[str, list], rows: list[int]) -> np.ndarray:
    """The largest difference of a token's probability. A token among the n best of one side alone is as good as the other
    side's last, if both are right."""
    tokens, chances = np.asarray(got["tokens"], object), np.asarray(got["probabilities"], np.float64)
    made = np.zeros(len(rows))
    for place, row in enumerate(rows):
        count = int((expected["probabilities"][row][:, 0] > 0).sum())
        if chances.ndim != 3:  # no row of the batch has a mask
            made[place] = np.inf if count else 0.0
            continue
        if not np.isfinite(chances[place]).all() or int((chances[place][:, 0] > 0).sum()) != count:
            made[place] = np.inf
            continue
        for i in range(count):
            ours = _scores(expected["tokens"][row][i], expected["probabilities"][row][i])
            theirs = _scores(tokens[place][i], chances[place][i])
            for one, other in ((ours, theirs), (theirs, ours)):
                last = min(other.values())
                made[place] = max(made[place], *(abs(chance - other.get(token, last)) for token, chance in one.items()))
    return made


def _scores(tokens, chances) -> dict[str, float]:
    return {token.decode() if isinstance(token, bytes) else str(token): float(chance)
            for token, chance in zip(tokens, chances, strict=True)}
