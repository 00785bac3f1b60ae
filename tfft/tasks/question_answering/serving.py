"""What a served model answers to questions, in its graph and to its reader."""

import numpy as np
import tensorflow as tf

from tfft.tasks.base import NASTY
from tfft.tasks.question_answering.decode import decide

LONG = 1000  # characters: longer contexts are cut in proofs, but for one
OUTPUTS = ("answer", "score", "start", "end", "no_answer_score")
LISTS = {"answers": "answer", "scores": "score", "starts": "start", "ends": "end"}


def respond(examples: dict, rows: dict, units: tf.Tensor, n: int, threshold: float) -> dict[str, tf.Tensor]:
    """Units float32[N * (n + 1), 3] of all windows -> of each question answer string[B], score float32[B], start and end
    int32[B] and no_answer_score float32[B]; of its n best answers answers string[B,n], scores, starts and ends.

    start and end are code points of the context, end exclusive. Of the n best answers and of "no answer" score is the share
    that the softmax over their logits gives each; no_answer_score is the share of "no answer" beside the best answer alone.
    Where that is above the threshold, or no answer is possible, answer is "", start and end are -1 and score is the share of
    "no answer". Places of fewer than n answers hold "", 0 and -1.
    """
    count = tf.size(rows["context"])
    made = decide(units, examples["row"], examples["begin"], examples["first_length"], count, n)
    there = made.found
    first, last = (_at(rows["piece_word"], place) for place in (made.start, made.end))
    starts = tf.where(there, _at(rows["word_start"], first), -1)
    ends = tf.where(there, _at(rows["word_end"], last), -1)
    context = tf.repeat(rows["context"][:, tf.newaxis], n, axis=1)
    texts = tf.strings.substr(context, tf.maximum(starts, 0), tf.maximum(ends, 0) - tf.maximum(starts, 0), unit="UTF8_CHAR")
    answered = there[:, 0] & (made.no_answer <= threshold)
    return {"answer": tf.where(answered, texts[:, 0], ""), "score": tf.where(answered, made.score[:, 0], made.null),
            "start": tf.where(answered, starts[:, 0], -1), "end": tf.where(answered, ends[:, 0], -1),
            "no_answer_score": made.no_answer, "answers": tf.where(there, texts, ""), "scores": made.score,
            "starts": starts, "ends": ends}


def _at(ragged: tf.RaggedTensor, places: tf.Tensor) -> tf.Tensor:
    """Of ragged int32[B,(w)] what stands at places int32[B,n]; anything where there is none."""
    flat = tf.concat([ragged.flat_values, [0]], axis=0)
    at = ragged.row_starts()[:, tf.newaxis] + tf.cast(places, tf.int64)
    return tf.gather(flat, tf.minimum(at, tf.size(flat, tf.int64) - 1))


def recognises(outputs: set[str]) -> bool:
    return outputs >= {*OUTPUTS, *LISTS}


def answers(response: dict[str, np.ndarray]) -> list[tuple[dict, dict[str, float]]]:
    """{"answer", "score", "start", "end", "no_answer_score", "n_best": [{"answer", "score", "start", "end"}]}."""
    made = []
    for i in range(len(response["answer"])):
        best = [{"answer": response["answers"][i][j], "score": float(response["scores"][i][j]),
                 "start": int(response["starts"][i][j]), "end": int(response["ends"][i][j])}
                for j in range(len(response["scores"][i])) if response["starts"][i][j] >= 0]
        made.append(({"answer": response["answer"][i], "score": float(response["score"][i]),
                      "start": int(response["start"][i]), "end": int(response["end"][i]),
                      "no_answer_score": float(response["no_answer_score"][i]), "n_best": best}, {}))
    return made


def nasty() -> tuple[list, list]:
    """(questions, contexts): nasty questions on a plain context, nasty contexts under a plain question, both nasty. One context
    is 100,000 characters long; what else is long is cut: in batches of all sizes, windows without number would prove nothing
    more."""
    short = [text[:LONG] for text in NASTY]
    plain = "They met in Paris in 1912, and (so she says) left it on the 3rd of May."
    asked = [*NASTY, *["When did they leave?"] * len(short), *short[1:], short[0], "What is long?"]
    return asked, [*[plain] * len(NASTY), *short, *reversed(short), "a long \u4e2d text. " * 6250]


def difference(expected: dict[str, np.ndarray], got: dict[str, list], rows: list[int]) -> np.ndarray:
    """The largest difference of a score. Answers of scores so near that rounding may exchange them are told apart by no more
    than their scores are; another answer than those is infinitely far."""
    numbers = [np.asarray(got[name], np.float64).reshape(len(rows), -1) for name in ("score", "no_answer_score", "scores")]
    made = np.where(np.isfinite(np.concatenate(numbers, axis=1)).all(axis=1), 0.0, np.inf)
    for place, row in enumerate(rows):
        own, other = _scores(expected, row), _scores(got, place)
        full = len(own) == len(other) == len(expected["scores"][row])
        for key in own.keys() | other.keys():
            if key in own and key in other:
                apart = abs(own[key] - other[key])
            elif full:  # it is among the n best of one side alone: as good as the last of the other's, if both are right
                apart = own[key] - min(other.values()) if key in own else other[key] - min(own.values())
            else:
                apart = np.inf
            made[place] = max(made[place], apart)
        apart = abs(float(expected["no_answer_score"][row]) - float(got["no_answer_score"][place]))
        silent = [int(response["start"][at]) < 0 for response, at in ((expected, row), (got, place))]
        chosen = [(int(response["start"][at]), int(response["end"][at])) for response, at in ((expected, row), (got, place))]
        if silent[0] == silent[1]:
            apart = max(apart, abs(float(expected["score"][row]) - float(got["score"][place])))
        if not any(silent) and chosen[0] != chosen[1]:
            # what is not among the n best is no better than their last
            last = min(own.values()) if full and chosen[1] in other else -np.inf
            apart = max(apart, own[chosen[0]] - own.get(chosen[1], last))
        if silent[0] != silent[1] and not apart:  # the threshold lies between two equal scores
            apart = np.inf
        made[place] = max(made[place], apart)
    return made


def _scores(response: dict, row: int) -> dict[tuple[int, int], float]:
    """The n best answers' scores, by start and end."""
    return {(int(start), int(end)): float(score) for start, end, score in
            zip(response["starts"][row], response["ends"][row], response["scores"][row], strict=True) if int(start) >= 0}
