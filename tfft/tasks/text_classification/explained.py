"""What of a classifier's answers is explained: the log odds of a label, or the value."""

import numpy as np
import tensorflow as tf

from tfft.data.word_places import WordPlaces
from tfft.tasks.base import Explained, Target, Wanted, odds_at

LEAST = 1e-37  # a probability that float32 has rounded to 0


def explained(task, encoder, wanted: Wanted) -> Explained:
    """Log odds: log of a label's probability over that of all others, over that of one other, or over that of its absence where
    several labels may hold. Unlike the probability they do not stand still where the model is sure."""
    wanted.no_place("this run answers a text as a whole, and not by its places. Leave --word and --at out.")
    places = WordPlaces(encoder)

    def texts(row: dict[str, str]) -> dict[str, str]:
        return {name: row[name] for name in encoder.fields}

    def words(row: dict[str, str]):
        made, owner = places(row)
        return made, owner[np.newaxis]

    if task.problem == "regression":
        names = "value",
        wanted.no_against("this run answers with a number, and there is no other one. Leave --against out.")
        wanted.labels(names)
        return Explained(names, lambda logits, at: logits[:, 0] * task.labels.deviation + task.labels.mean,
                         lambda *_: ([_target("value", "value", 0)], ""), words, texts, _value)
    several, names = task.problem == "multi_label", task.labels.names
    if several:
        wanted.no_against("several labels may hold, and one is not held against another. Leave --against out.")
    label, against = wanted.labels(names)

    def targets(response: dict[str, np.ndarray], *_) -> tuple[list[Target], str]:
        chosen = [label] if label >= 0 else _selected(response) if several else [_highest(response)]
        if against in chosen:
            return [], wanted.itself
        return [_target(names[one], wanted.odds, one, against) for one in chosen], ""

    return Explained(names, _of_one if several else odds_at, targets, words, texts,
                     _several if several else _single)


def _target(name: str, what: str, label: int, against: int = -1) -> Target:
    return Target(name, what, np.array([[label, against]], np.int32), np.zeros((1, 1), np.int64))


def _of_one(logits: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    return tf.gather(logits, at[:, 0], batch_dims=1)


def _value(response: dict[str, np.ndarray], at: np.ndarray) -> np.ndarray:
    return np.asarray(response["value"], np.float64).reshape(-1)


def _single(response: dict[str, np.ndarray], at: np.ndarray) -> np.ndarray:
    scores = np.asarray(response["scores"], np.float64)
    others = np.delete(scores, at[0], axis=1).sum(axis=1) if at[1] < 0 else scores[:, at[1]]
    return np.log(np.maximum(scores[:, at[0]], LEAST)) - np.log(np.maximum(others, LEAST))


def _several(response: dict[str, np.ndarray], at: np.ndarray) -> np.ndarray:
    score = np.asarray(response["scores"], np.float64)[:, at[0]]
    return np.log(np.maximum(score, LEAST)) - np.log(np.maximum(1 - score, 2 ** -25))  # 1 of float32 is more than 1 - 2 ** -25


def _selected(response: dict[str, np.ndarray]) -> list[int]:
    """The labels that hold; where none does, the likeliest one."""
    return np.flatnonzero(response["selected"][0]).tolist() or [_highest(response)]


def _highest(response: dict[str, np.ndarray]) -> int:
    return int(np.argmax(response["scores"][0]))
