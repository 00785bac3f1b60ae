"""Scores of entities, added up sentence by sentence: precision, recall and F1 over all and by type, and kinds of errors."""

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

Span = tuple[int, int, str]
"""(start, end exclusive, type)"""

ERRORS = ("missed", "spurious", "wrong_type", "wrong_boundary", "both_wrong")
RATIOS = ("precision", "recall", "f1")


class EntityScorer:
    """Counts entities. An entity is right where its start, end and type are; memory grows with types, not with sentences.

    Equal to seqeval's classification_report in mode="strict" for spans that were read strictly (schemes.strict_spans), and
    to conlleval for spans that were read as it does (schemes.to_spans).
    """

    def __init__(self):
        self.right, self.true, self.predicted = Counter(), Counter(), Counter()  # by type
        self.errors = dict.fromkeys(ERRORS, 0)
        self.tokens_right = self.tokens = 0

    def add(self, true: Iterable[Span], predicted: Iterable[Span]) -> None:
        """Adds one sentence. A span given twice counts once."""
        true, predicted = set(true), set(predicted)
        self.true.update(kind for _, _, kind in true)
        self.predicted.update(kind for _, _, kind in predicted)
        self.right.update(kind for _, _, kind in true & predicted)
        for error, count in errors(true - predicted, predicted - true).items():
            self.errors[error] += count

    def add_tokens(self, right: int, total: int) -> None:
        """Adds words: how many tags were right, of how many. They make the token accuracy."""
        self.tokens_right += right
        self.tokens += total

    def update(self, other: "EntityScorer") -> None:
        """Adds all that another one counted."""
        for own, more in ((self.right, other.right), (self.true, other.true), (self.predicted, other.predicted)):
            own.update(more)
        for error, count in other.errors.items():
            self.errors[error] += count
        self.add_tokens(other.tokens_right, other.tokens)

    def result(self) -> dict[str, Any]:
        """All scores, as fractions; 0 where there is nothing to divide by.

            {"precision": .., "recall": .., "f1": ..,       over all entities (micro)
             "macro_precision": .., ...,                    the types' mean, of every type that is true or predicted anywhere
             "weighted_precision": .., ...,                 the types' mean, weighted by support
             "right": 7, "predicted": 9, "support": 10,     entities
             "token_accuracy": 0.9,                         None without add_tokens
             "errors": {"missed": 1, ...},                  see errors()
             "types": [{"type": "PER", "precision": .., "recall": .., "f1": .., "right": .., "predicted": .., "support": ..}]}
        """
        types = [{"type": kind} | _scores(self.right[kind], self.predicted[kind], self.true[kind])
                 for kind in sorted(self.true | self.predicted)]
        support = self.true.total()
        result = _scores(self.right.total(), self.predicted.total(), support)
        for ratio in RATIOS:
            result[f"macro_{ratio}"] = _divide(sum(row[ratio] for row in types), len(types))
            result[f"weighted_{ratio}"] = _divide(sum(row[ratio] * row["support"] for row in types), support)
        accuracy = self.tokens_right / self.tokens if self.tokens else None
        return result | {"token_accuracy": accuracy, "errors": dict(self.errors), "types": types}


def errors(true: Iterable[Span], predicted: Iterable[Span]) -> dict[str, int]:
    """Pairs the entities of one sentence that are not right, each with one at most, and counts the kinds of errors.

    wrong_type: the same boundaries; wrong_boundary: they overlap and have one type; both_wrong: they overlap; missed: a true
    one without partner; spurious: a predicted one without. Pairs are made in this order, then the larger overlap first:

    [(0, 2, "PER"), (5, 6, "LOC")], [(0, 3, "PER"), (8, 9, "LOC")] -> 1 wrong_boundary, 1 missed, 1 spurious
    """
    true, predicted = sorted(true), sorted(predicted)
    pairs = sorted((_error(true[i], predicted[j]), -_overlap(true[i], predicted[j]), i, j)
                   for i, j in _touching(true, predicted))
    counts, free_true, free_predicted = dict.fromkeys(ERRORS, 0), set(range(len(true))), set(range(len(predicted)))
    for error, _, i, j in pairs:
        if i in free_true and j in free_predicted:
            free_true.remove(i)
            free_predicted.remove(j)
            counts[ERRORS[error]] += 1
    return counts | {"missed": len(free_true), "spurious": len(free_predicted)}


def _touching(true: list[Span], predicted: list[Span]) -> Iterator[tuple[int, int]]:
    """The places of pairs that overlap, without looking at every pair: a long text may hold thousands of entities."""
    starts = [start for start, _, _ in predicted]
    furthest = list(itertools.accumulate((end for _, end, _ in predicted), max))  # of all ends up to here
    for i, (start, end, _) in enumerate(true):
        for j in range(bisect_right(furthest, start), bisect_left(starts, end)):
            if _overlap(true[i], predicted[j]) > 0:
                yield i, j


def _error(true: Span, predicted: Span) -> int:
    """The place in ERRORS of what is wrong between two entities that overlap."""
    if true[:2] == predicted[:2]:
        return ERRORS.index("wrong_type")
    return ERRORS.index("wrong_boundary" if true[2] == predicted[2] else "both_wrong")


def _overlap(a: Span, b: Span) -> int:
    return min(a[1], b[1]) - max(a[0], b[0])


def _scores(right: int, predicted: int, support: int) -> dict[str, Any]:
    return {"precision": _divide(right, predicted), "recall": _divide(right, support),
            "f1": _divide(2 * right, predicted + support), "right": right, "predicted": predicted, "support": support}


def _divide(a: float, b: float) -> float:
    return a / b if b else 0.0
