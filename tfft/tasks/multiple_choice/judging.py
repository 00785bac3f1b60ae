"""How well candidates are ranked: accuracy, MRR, MAP and the loss, exactly; simple rankings; the surest mistakes."""

import json

import numpy as np

from tfft.data.store import TokenStore
from tfft.tasks.base import MISTAKES, Evidence, Judged, Report, Table
from tfft.tasks.multiple_choice.members import right_examples

NAMES = ("accuracy", "mrr", "map")
PLACES = 12  # told one by one


def judge(judged: Judged, binary: bool) -> Report:
    """A row is right where its best candidate is a right one; of candidates with the same score the first comes first."""
    store, (first, last) = judged.store, judged.of_rows()
    scores = np.asarray(judged.units[:, 0], np.float64)
    right = right_examples(store)[judged.examples]
    ranked = Ranked(scores, right, first, last)
    each = ranked.each | {"loss": losses(scores, right, first, binary)}
    made = {name: float(values.mean()) for name, values in each.items()}
    report = Report(made, len(judged.rows))
    report.tables = _places(ranked, right, first)
    report.mistakes = _mistakes(judged, ranked, right, scores)
    report.evidence = _evidence(judged, ranked, right, each)
    return report


def _evidence(judged: Judged, ranked: "Ranked", right: np.ndarray, each: dict[str, np.ndarray]) -> Evidence:
    first, last = judged.of_rows()
    store, rows = judged.store, judged.rows

    def texts(place: int) -> list[str]:
        return choice_texts(store, int(rows[place]))

    return Evidence(
        rows, each["accuracy"], "accuracy",
        lambda places: {name: float(values[places].mean()) for name, values in each.items()},
        lambda i: " / ".join(text for text, good in zip(texts(i), right[first[i]:last[i]], strict=True) if good),
        lambda i: texts(i)[ranked.best[i] - first[i]])


class Ranked:
    """Candidates of rows by falling score. first, last int64[n]: row i's are first[i] to last[i] - 1; best int64[n]: where each
    row's best is among all; each: see ChoiceReport.

    MRR is the mean of 1 / the rank of the first right one, MAP that of the mean precision at each right one.
    """

    def __init__(self, scores: np.ndarray, right: np.ndarray, first: np.ndarray, last: np.ndarray):
        row = np.repeat(np.arange(len(first)), last - first)
        order = np.lexsort((-scores, row))
        self.best, hits = order[first], right[order]
        rank = np.arange(len(scores)) - first[row] + 1
        found = np.cumsum(hits)
        found -= (found[first] - hits[first])[row]  # right ones of the row so far
        several = np.maximum(1, np.add.reduceat(right.astype(np.int64), first)) if len(first) else np.zeros(0)
        self.each = {"accuracy": right[self.best].astype(np.float64),
                     "mrr": np.bincount(row, (hits & (found == 1)) / rank, len(first)),
                     "map": np.bincount(row, hits * found / rank, len(first)) / several}


def losses(scores: np.ndarray, right: np.ndarray, first: np.ndarray, binary: bool) -> np.ndarray:
    """float64[n]: the loss of training of each row, of all its candidates. scores, right: of all candidates, row by row."""
    row = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(scores))))
    if binary:
        each = np.logaddexp(0, scores) - right * scores
        return np.bincount(row, each) / np.bincount(row)
    largest = np.maximum.reduceat(scores, first)
    whole = largest + np.log(np.add.reduceat(np.exp(scores - largest[row]), first))
    return whole - np.bincount(row, right * scores) / np.maximum(1, np.bincount(row, right))


def simple(train: tuple[TokenStore, np.ndarray], judged: tuple[TokenStore, np.ndarray]) -> dict[str, dict[str, float]]:
    """What is reached at random, by the place that is right most often in the training rows, and by the words that a candidate
    shares with its question. (store, rows) each."""
    store, rows = judged
    counts = np.asarray(store.column("candidates")[rows], np.int64)
    last = np.cumsum(counts)
    first = last - counts
    right = right_examples(store)[store.examples_of(rows)]
    places = np.arange(last[-1]) - np.repeat(first, counts)
    known, chosen = train
    begins = known.column("right_offsets")[chosen]
    usual = np.bincount(known.column("right")[begins[np.diff(known.column("right_offsets"))[chosen] > 0]]).argmax()

    def shared(row: int) -> list[float]:
        asked = set(store.string("question", row).lower().split())
        return [len(asked & set(text.lower().split())) for text in choice_texts(store, row)]

    words = np.array([count for row in rows.tolist() for count in shared(row)])
    chance = np.bincount(np.repeat(np.arange(len(rows)), counts), right) / counts
    return {"a choice at random": {"accuracy": float(chance.mean())},
            **{name: {key: float(values.mean()) for key, values in Ranked(scores, right, first, last).each.items()}
               for name, scores in ((f"always number {usual + 1}", (places == usual).astype(np.float64)),
                                    ("most words shared with the question", words.astype(np.float64)))}}


def choice_texts(store: TokenStore, row: int) -> list[str]:
    """A row's candidates."""
    return json.loads(store.string("choices", row))


def _places(ranked: Ranked, right: np.ndarray, first: np.ndarray) -> list[Table]:
    """How often each place is right and chosen: a model that has learnt places instead of texts shows here."""
    chosen = ranked.best - first
    place = np.arange(len(right)) - np.repeat(first, np.diff(np.append(first, len(right))))
    width = int(place.max(initial=0)) + 1
    if width > PLACES:
        return []
    rights = np.bincount(place[right], minlength=width)
    return [Table("places", ("place of the candidate", "right", "chosen"),
                  [(i + 1, int(rights[i]), int((chosen == i).sum())) for i in range(width)])]


def _mistakes(judged: Judged, ranked: Ranked, right: np.ndarray, scores: np.ndarray) -> list[tuple[str, str, str, str]]:
    """Those whose best candidate is furthest above the best right one."""
    store, (first, last) = judged.store, judged.of_rows()
    wrong = np.flatnonzero(ranked.each["accuracy"] == 0)
    best_right = np.maximum.reduceat(np.where(right, scores, -np.inf), first)[wrong] if len(wrong) else wrong
    made = []
    for i in wrong[np.argsort(best_right - scores[ranked.best[wrong]], kind="stable")][:MISTAKES].tolist():
        row = int(judged.rows[i])
        texts, own = choice_texts(store, row), right[first[i]:last[i]]
        made.append((store.place(row), store.string("question", row)[:300],
                     " / ".join(text for text, good in zip(texts, own, strict=True) if good), texts[ranked.best[i] - first[i]]))
    return made
