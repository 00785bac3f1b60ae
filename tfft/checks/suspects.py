"""Answers that models doubt which did not learn them: confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning:
Estimating Uncertainty in Dataset Labels").

A linear model of TF-IDF features, learnt from the other folds of the training rows, scores each label of each row; one factor
for all makes probabilities of the scores. A label is *confident* for a row where it is as probable as it is, on average, for
the rows that have it. A row is doubted where the most probable label is a confident one and another than its own. Where a
fine-tuned model is asked too, a row is doubted where both give it another label, and ordered by the model's probabilities. That
model has learnt from the training rows, mistakes among them, and repeats some; rows of other splits it has not seen.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from tfft.checks.features import Features
from tfft.checks.findings import Finding
from tfft.checks.rows import Rows, parts_by
from tfft.data.row_tokens import row_tokens
from tfft.data.scratch import parts, scratch
from tfft.tasks.base import Task, Truth

FOLDS = 5
LEARNT = 40_000  # training rows at most that a fold's model learns from
SHARPENED = 5_000  # rows that the factor is found on
FEWEST = 50      # rows with an answer; of fewer a model of other folds says nothing
BETTER = 0.5     # how much of what a constant answer gets wrong the linear model must get right, for its doubts alone to count
EXPLAINED = 0.25  # the same of the squared spread of values
KEPT = 1000      # rows of a finding in a file
FAR = 5.0        # deviations, of values

READ = ("Read them from the top, the most doubtful first, for as long as every few are wrong; what a person has not read is no "
        "mistake yet")

Advance = Callable[[str, int, int], None]


class Beliefs(NamedTuple):
    """probabilities float32[n,L] of rows, of the names of `truth`; nan where nobody said. what: whose they are."""

    probabilities: np.ndarray
    what: str


def suspects(task: Task, rows: Rows, truth: Truth | None, model: Beliefs | None, advance: Advance
             ) -> tuple[list[Finding], str]:
    """(findings, what is to be known of how they were made)."""
    if truth is None or not (truth.one or truth.several or truth.values is not None):
        return _at_odds(task, rows, truth), ""
    goals = _goals(truth)
    known = np.isfinite(goals).all(axis=1) if truth.values is not None else goals.any(axis=1) | truth.several
    train = rows.split == rows.names.index("train")
    if (known & train).sum() < FEWEST:
        return [], f"{truth.what}s are not doubted: {int((known & train).sum()):,} training rows are too few"
    linear = out_of_fold(rows, goals, known & train, advance)
    if linear is None:
        return [], f"{truth.what}s are not doubted: the texts of the training rows have nothing that tells them apart"
    if truth.values is not None:
        return _far_values(rows, truth, goals[:, 0], linear[:, 0], train)
    if not truth.several:
        right = goals[known].argmax(axis=1)
        reached = float((linear[known].argmax(axis=1) == right).mean())
        constant = float(np.bincount(right).max() / len(right))
        if model is None and reached < constant + BETTER * (1 - constant):
            return [], (f"{truth.what}s are not doubted: a linear model gets {reached:.1%} right, a constant answer "
                        f"{constant:.1%}")
        told = f"a linear model gets {reached:.1%} of the {truth.what}s of rows right that it did not learn from"
        doubted, margin, better = confident(goals, linear, known)
    else:
        doubted, margin, better = _of_several(goals, linear)
        told = ""
    alone = int(doubted.sum())
    if model is not None and truth.several:
        doubted &= _calls_wrong(goals, model.probabilities)
    elif model is not None:
        wrong, margin, better = _both_call_wrong(goals, linear, model.probabilities)
        doubted = wrong & known
    return _found(rows, truth, doubted, margin, better, model, alone), told


def _at_odds(task: Task, rows: Rows, truth: Truth | None) -> list[Finding]:
    """What the task doubts by itself."""
    doubts = task.doubts(rows.store, rows.rows) if truth else []
    if not doubts:
        return []
    places = np.unique([place for place, *_ in doubts])
    shown = tuple(rows.example(place, why, at) for place, at, why in doubts[:KEPT])
    what = f"{rows.where(places)} have words tagged otherwise than in most other places"
    return [Finding("suspect", "warning", what, len(places), len(rows.rows), shown, READ)]


def _goals(truth: Truth) -> np.ndarray:
    """float32[n,L] of 0 and 1, or the values float32[n,1] in deviations from their mean."""
    if truth.values is not None:
        return ((truth.values - truth.values.mean()) / max(truth.values.std(), 1e-30)).astype(np.float32)[:, np.newaxis]
    made = scratch((len(truth.codes.lengths), len(truth.names)), np.float32)
    row = np.repeat(np.arange(len(made)), truth.codes.lengths)
    there = truth.codes.flat >= 0
    made[row[there], truth.codes.flat[there]] = 1
    return made


def out_of_fold(rows: Rows, goals: np.ndarray, learnable: np.ndarray, advance: Advance
                ) -> np.ndarray | None:
    """float32[n,L]: what a linear model makes of each row, learnt from training rows of other folds, at most LEARNT in all.
    Rows of one text are in one fold. None where they are all of one, or no word of theirs says anything."""
    from sklearn.linear_model import Ridge

    draw = np.random.default_rng(0)
    fold = (np.asarray(rows.store.column("text_hash")[rows.rows]) % np.uint64(FOLDS)).astype(np.int64)
    places = np.flatnonzero(learnable)
    if len(places) > LEARNT:
        places = np.sort(draw.choice(places, LEARNT, replace=False))
    sample = row_tokens(rows.store, rows.rows[places])
    features = Features(sample)
    if not features.width or len(np.unique(fold[places])) < 2:
        return None
    learnt, models = features.of(sample), []
    for number in range(FOLDS):
        own = fold[places] != number
        models.append(Ridge(alpha=1.0, solver="sparse_cg", tol=1e-2).fit(learnt[own], goals[places[own]]))
        advance("cross-validating", number + 1, FOLDS)
    made = scratch(goals.shape, np.float32)
    for part in parts_by(np.asarray(rows.store.column("full_length")[rows.rows])):
        asked = features.of(row_tokens(rows.store, rows.rows[part]))
        for number in range(FOLDS):
            own = np.flatnonzero(fold[part] == number)
            if len(own):
                made[part.start + own] = models[number].predict(asked[own]).reshape(len(own), -1)
        advance("doubting", part.stop, len(rows.rows))
    return made


def confident(goals: np.ndarray, scores: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(doubted bool[n], margin float32[n], the label that is meant instead int64[n]), of one label a row.

    margin: the score of its label less that of the best other one: the lower, the more doubtful. (Scores order better than
    what is made of them: docs/results/data.md.)
    """
    size, factor = goals.shape[1], sharpness(goals, scores, known)
    sums, counts = np.zeros(size), np.zeros(size)
    for part in parts(*goals.shape):
        sums += (goals[part] * special.softmax(factor * scores[part], axis=1))[known[part]].sum(axis=0, dtype=np.float64)
        counts += goals[part][known[part]].sum(axis=0, dtype=np.float64)
    threshold = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    doubted, margin, better = np.zeros(len(goals), bool), np.zeros(len(goals), np.float32), np.zeros(len(goals), np.int64)
    for part in parts(*goals.shape):
        own, found = goals[part].argmax(axis=1), np.array(scores[part])
        at = np.arange(len(own))
        likely = special.softmax(factor * found, axis=1)
        sure = np.where(likely >= threshold, likely, -np.inf)
        best = sure.argmax(axis=1)
        doubted[part] = known[part] & np.isfinite(sure[at, best]) & (best != own) & (likely.argmax(axis=1) != own)
        given = found[at, own].copy()
        found[at, own] = -np.inf
        margin[part], better[part] = given - found.max(axis=1), np.where(best != own, best, found.argmax(axis=1))
    return doubted, margin, better


def sharpness(goals: np.ndarray, scores: np.ndarray, known: np.ndarray) -> float:
    """What scores are multiplied by to be logits, by the likelihood of the labels of rows that were not learnt from."""
    some = np.flatnonzero(known)[::max(1, int(known.sum()) // SHARPENED)]
    found, own = np.array(scores[some], np.float64), np.array(goals[some]).argmax(axis=1)

    def loss(factor: float) -> float:
        return float(np.mean(special.logsumexp(factor * found, axis=1) - factor * found[np.arange(len(own)), own]))

    return float(optimize.minimize_scalar(loss, bounds=(0.5, 100), method="bounded").x)


def _of_several(goals: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same where any number of labels may hold: each is there or not, and the most doubtful one speaks for its row. Only
    that one is lacking is doubted: that a text shows no word of a label it has says little to a linear model."""
    doubted, margin = np.zeros(len(goals), bool), np.full(len(goals), np.inf, np.float32)
    better = np.zeros(len(goals), np.int64)
    for k in range(goals.shape[1]):
        own = np.array(goals[:, k])
        if not 0 < own.sum() < len(own):
            continue
        two = np.stack([1 - own, own], 1)
        score = np.array(scores[:, k])
        found, how, _ = confident(two, np.stack([1 - score, score], 1), np.ones(len(own), bool))
        found &= own == 0
        worse = found & (how < margin)
        doubted |= found
        margin[worse], better[worse] = how[worse], k
    return doubted, margin, better


def _both_call_wrong(goals: np.ndarray, linear: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(where both give another label than the row has, bool[n]; margin, in the model's probabilities; the model's label)."""
    wrong, margin, better = np.zeros(len(goals), bool), np.full(len(goals), np.inf), np.zeros(len(goals), np.int64)
    for part in parts(*goals.shape):
        own, probabilities = goals[part].argmax(axis=1), np.nan_to_num(np.array(found[part]))
        at, best = np.arange(len(own)), probabilities.argmax(axis=1)
        said = np.isfinite(found[part]).all(axis=1)
        wrong[part] = said & (best != own) & (linear[part].argmax(axis=1) != own)
        margin[part], better[part] = probabilities[at, own] - probabilities[at, best], best
    return wrong, margin, better


def _calls_wrong(goals: np.ndarray, found: np.ndarray) -> np.ndarray:
    """bool[n]: where a model gives other labels than a row of several has."""
    made = np.zeros(len(goals), bool)
    for part in parts(*goals.shape):
        said = np.isfinite(found[part]).all(axis=1)
        made[part] = said & ((found[part] >= 0.5) != (goals[part] > 0.5)).any(axis=1)
    return made


def _found(rows: Rows, truth: Truth, doubted: np.ndarray, margin: np.ndarray, better: np.ndarray, model: Beliefs | None,
           alone: int) -> list[Finding]:
    """The rows that are doubted, the most doubtful first. alone: how many the linear model doubts by itself."""
    places = np.flatnonzero(doubted)
    if not len(places):
        return []
    places = places[np.argsort(margin[places], kind="stable")]

    def note(place: int) -> str:
        name = truth.names[better[place]]
        given = truth.shown(place)
        return f"{given}, {'and' if truth.several else 'rather'} {name!r}?"

    who = (f"a linear model and {model.what} both call" if model is not None else
           "a linear model that did not learn from them calls")
    return [Finding("suspect", "warning", f"{rows.where(places)} have a {truth.what} that {who} wrong, and another one likely",
                    len(places), len(doubted), tuple(rows.example(place, note(place)) for place in places[:KEPT]),
                    READ, {"linear_model_alone": alone})]


def _far_values(rows: Rows, truth: Truth, goals: np.ndarray, found: np.ndarray, train: np.ndarray
                ) -> tuple[list[Finding], str]:
    """Values far from what the linear model expects, in deviations of what it is off by (1.48 times the median)."""
    off = goals - found
    explained = 1 - (_spread(off[train]) / max(_spread(goals[train]), 1e-30)) ** 2
    if explained < EXPLAINED:
        return [], f"{truth.what}s are not doubted: a linear model explains {max(0.0, explained):.0%} of how they spread"
    spread = _spread(off) or 1.0
    places = np.flatnonzero(np.abs(off) > FAR * spread)
    told = f"a linear model explains {explained:.0%} of how {truth.what}s spread"
    if not len(places):
        return [], told
    places = places[np.argsort(-np.abs(off[places]), kind="stable")]
    mean, deviation = truth.values.mean(), truth.values.std()
    shown = tuple(rows.example(place, f"{truth.shown(place)}, expected about {found[place] * deviation + mean:.3g}")
                  for place in places[:KEPT])
    return [Finding("suspect", "warning", f"{rows.where(places)} have a {truth.what} more than {FAR:g} deviations from what a "
                    "linear model expects", len(places), len(goals), shown, READ)], told


def _spread(values: np.ndarray) -> float:
    """The deviation that a few values, however large, do not change: 1.48 times the median distance from the median."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
