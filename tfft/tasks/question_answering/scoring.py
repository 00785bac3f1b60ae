"""Exact match and F1 of answers, as SQuAD's official evaluation computes them, but from 0 to 1 as all metrics here."""

import array
import collections
import math
import re
import string
from typing import NamedTuple

import numpy as np

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalise(text: str) -> str:
    """What the official evaluation compares: lower case, no ASCII punctuation, no English articles, single blanks.

    normalise("The  U.S. army!") -> "us army"
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def score(prediction: str, golds: list[str]) -> tuple[float, float]:
    """(exact match, F1) of a prediction, each the best over the gold answers; no gold answer: "" is the right prediction.

    As SQuAD 2.0's evaluation has it: gold answers of nothing but articles and punctuation (some questions of 1.1's
    development set have the answer ".") count as none, and F1 with an empty side is 1 if both are empty. 1.1's gives such a
    prediction exact match 1 and F1 0 for such a gold answer, and is the same in all else. Words are what stands between
    blanks: in Chinese, Japanese and other writing without them the F1 is an exact match of whole clauses (and punctuation of
    their own is not removed), so the evaluations of those data sets cut characters first, which is not done here.

    score("an old cat", ["The cat", "dog"]) -> (0.0, 0.667)
    """
    found = normalise(prediction)
    normal = [n for n in map(normalise, golds) if n] or [""]
    return float(found in normal), max(_f1(found.split(), gold.split()) for gold in normal)


def _f1(found: list[str], gold: list[str]) -> float:
    if not found or not gold:
        return float(found == gold)
    common = (collections.Counter(found) & collections.Counter(gold)).total()
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(gold)
    return 2 * precision * recall / (precision + recall)


class Threshold(NamedTuple):
    """A question whose no_answer_score is above `threshold` has no answer; `value` is the metric that this gives."""

    threshold: float
    value: float


class AnswerScorer:
    """Scores answers one by one; 25 bytes of memory a question, whatever its texts.

    scorer = AnswerScorer()
    scorer.add("q1", "a cat", ["the cat"], no_answer_score=-3.0)
    scorer.add("q2", "a dog", [], no_answer_score=2.0)
    scorer.result() -> {"exact_match": 0.5, "f1": 0.5, "has_answer_exact_match": 1.0, ..., "no_answer_f1": 0.0}
    scorer.best_threshold("f1") -> Threshold(-0.5, 1.0)
    """

    def __init__(self):
        self._values = {"exact_match": array.array("d"), "f1": array.array("d")}
        self._no_answer_scores = array.array("d")
        self._has_answer = array.array("b")

    def add(self, id: str, prediction: str, golds: list[str], no_answer_score: float = 0.0) -> None:
        """One question, to be added once. `golds` is [] where it has no answer, `prediction` "" where none was found.

        no_answer_score grows with the certainty that there is no answer (a probability, or the null span's score less the best
        span's): add the best span's text as prediction with it, and choose by threshold.
        """
        if not math.isfinite(no_answer_score):
            raise ValueError(f"The no-answer score of question {id!r} is {no_answer_score}. Were the logits finite?")
        for name, value in zip(self._values, score(prediction, golds), strict=True):
            self._values[name].append(value)
        self._no_answer_scores.append(no_answer_score)
        self._has_answer.append(bool(golds))

    def __len__(self) -> int:
        """How many questions were added."""
        return len(self._has_answer)

    @property
    def answerable(self) -> int:
        """How many of them have an answer."""
        return sum(self._has_answer)

    def result(self, threshold: float = math.inf) -> dict[str, float]:
        """Metrics from 0 to 1, by name: exact_match and f1; where questions with and without an answer were added also of
        either alone, as has_answer_... and no_answer_...

        A question whose no_answer_score is above the threshold counts as answered by "". Raises: ValueError without questions.
        """
        if not len(self):
            raise ValueError("No question was added, so there is nothing to score.")
        has, made = self.has_answer, self.each(threshold)
        parts = {"": slice(None)} if has.all() or not has.any() else {"": slice(None), "has_answer_": has, "no_answer_": ~has}
        return {part + name: float(values[rows].mean()) for part, rows in parts.items() for name, values in made.items()}

    def each(self, threshold: float = math.inf) -> dict[str, np.ndarray]:
        """exact_match and f1 float64[n] of each question, in the order they were added, as `result` counts them."""
        return {name: np.where(self.silent(threshold), ~self.has_answer, np.array(values))
                for name, values in self._values.items()}

    def silent(self, threshold: float) -> np.ndarray:
        """bool[n]: the questions whose no_answer_score is above the threshold."""
        return np.array(self._no_answer_scores) > threshold

    @property
    def has_answer(self) -> np.ndarray:
        """bool[n]: the questions that have an answer."""
        return np.array(self._has_answer, bool)

    def best_threshold(self, metric: str = "f1") -> Threshold:
        """The threshold with the best exact_match or f1 on the questions added, the least of equally good ones.

        As find_best_thresh of SQuAD 2.0's evaluation: starting from no answers at all, questions are answered one by one from
        the lowest no_answer_score up, and where the sum is highest is the cut. Deviations: the threshold lies midway between
        the scores on either side of the cut (1 beyond an outermost one), not on the lower one, so that a rounding error moves
        no question; the official 0.0 for "answer nothing" answers those with scores below 0; between equal scores there can
        be no cut; and a prediction of nothing but articles and punctuation is right where there is no answer, as in the
        metric itself. So result(threshold)[metric] is `value`, always.
        """
        if not len(self):
            raise ValueError("No question was added, so there is no threshold to choose.")
        scores, has = np.array(self._no_answer_scores), np.array(self._has_answer, bool)
        order = np.argsort(scores, kind="stable")
        scores = scores[order]
        gains = np.array(self._values[metric])[order] - ~has[order]
        totals = np.cumsum(np.append(float((~has).sum()), gains))  # totals[i]: the i lowest are answered
        cuts = np.append(np.append(True, scores[1:] > scores[:-1]), True)
        best = int(np.argmax(np.where(cuts, totals, -np.inf)))
        edges = np.concatenate([[min(scores[0] - 2, np.nextafter(scores[0], -np.inf))], scores, [scores[-1] + 2]])
        middle = edges[best] / 2 + edges[best + 1] / 2
        inside = edges[best] < middle < edges[best + 1]  # neighbouring floats have nothing between them
        return Threshold(float(middle if inside else edges[best]), float(totals[best] / len(self)))
