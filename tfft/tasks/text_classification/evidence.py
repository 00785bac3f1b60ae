"""What a classifier's metrics are made of, row by row; those of some rows follow from counts."""

import functools
from collections.abc import Callable

import numpy as np

from tfft.data.correlation import Correlation
from tfft.data.scratch import let_go, parts, scratch
from tfft.tasks.base import Chances, Evidence
from tfft.tasks.text_classification import metrics
from tfft.tasks.text_classification.mistakes import shown

AREAS = 2  # labels, of more of which the AUC takes long

Figures = Callable[[np.ndarray], dict[str, float]]


def evidence(problem: str, names: tuple[str, ...], report) -> Evidence:
    """report: a LabelReport. A row's score is 1 where its label, or all its labels, are right, else 0; of numbers how far they
    are from the right one, below 0."""
    targets, found = report.targets, report.probabilities
    slow: Figures = lambda places: {}  # noqa: E731
    if problem == "regression":
        what, score, chances = "error", -np.abs(found[:, 0] - targets), None
        make = functools.partial(_of_values, targets, found[:, 0])
    else:
        several = problem == "multi_label"
        cut = np.asarray(report.thresholds, np.float32) if several else None
        chances = Chances(names, targets, found, cut)
        what, score = ("subset_accuracy", _all_right(chances)) if several else (
            "accuracy", (found.argmax(axis=1) == targets).astype(np.float64))
        make = functools.partial(_of_several if several else _of_one, chances, score)
        if len(names) > AREAS:
            def slow(places: np.ndarray) -> dict[str, float]:
                made = metrics.compute(problem, targets[places], found[places], names, cut)[0]
                return {name: value for name, value in made.items() if name == "auc"}
    made = functools.cache(make)  # when it is asked for: most evaluations of a training are not

    return Evidence(report.rows, score, what, lambda places: made()(places), *(
        lambda place, i=i: shown(problem, names, targets[place], found[place], report)[i] for i in (0, 1)), slow, chances)


def _all_right(chances: Chances) -> np.ndarray:
    """float64[n]: 1 where all labels of a row are right."""
    made = np.ones(len(chances.right))
    for part in parts(*chances.right.shape):
        made[part] = ((chances.found[part] >= chances.thresholds) == (chances.right[part] > 0.5)).all(axis=1)
    return made


def _of_values(targets: np.ndarray, values: np.ndarray) -> Figures:
    correlation, error = Correlation(targets, values), values.astype(np.float64) - targets
    return lambda places: {**correlation(places), "mse": float(np.mean(error[places]**2)),
                           "mae": float(np.mean(np.abs(error[places])))}


def _of_one(chances: Chances, right: np.ndarray) -> Figures:
    """Of rows with one label."""
    truth, chosen, number = np.asarray(chances.right), chances.found.argmax(axis=1), len(chances.names)
    area = _Area(np.asarray(chances.found[:, 1]), truth == 1) if number == AREAS else None

    def figures(places: np.ndarray) -> dict[str, float]:
        here = truth[places]
        given, present = (np.bincount(codes, minlength=number).astype(np.float64) for codes in (chosen[places], here))
        hits = np.bincount(here, right[places], number)
        f1, n = metrics.ratio(2 * hits, given + present), float(len(places))
        accuracy = float(hits.sum() / n)
        made = {"accuracy": accuracy, "macro_f1": float(f1.mean()), "micro_f1": accuracy,
                "weighted_f1": float(f1 @ present / n)}
        spread = float(np.sqrt((n * n - given @ given) * (n * n - present @ present)))
        made["mcc"] = float((hits.sum() * n - given @ present) / spread) if spread > 0 else 0.0
        return made | (area(places) if area else {})

    return figures


def _of_several(chances: Chances, right: np.ndarray) -> Figures:
    """Of rows with any number of labels: what is chosen, and what holds, as pairs of a row and a label."""
    n, number = chances.right.shape
    given, present = [], []
    for part in parts(n, number):
        chosen, holds = chances.found[part] >= chances.thresholds, chances.right[part] > 0.5
        for made, which in ((given, chosen), (present, holds)):
            row, label = np.nonzero(which)
            made.append((row + part.start, label, holds[row, label]))
        let_go(chances.found, chances.right)
    (given_row, given_label, hit), (row, label, _) = (
        [_joined([one[i] for one in several], dtype) for i, dtype in enumerate((np.int32, np.int32, bool))]
        for several in (given, present))
    areas = [_Area(np.asarray(chances.found[:, k]), np.asarray(chances.right[:, k]) > 0.5) for k in range(number)] \
        if number <= AREAS else []

    def figures(places: np.ndarray) -> dict[str, float]:
        often = np.bincount(places, minlength=n).astype(np.float64)
        weight = often[given_row]
        chosen, held = np.bincount(given_label, weight, number), np.bincount(label, often[row], number)
        hits = np.bincount(given_label, weight * hit, number)
        f1 = metrics.ratio(2 * hits, chosen + held)
        made = {"macro_f1": float(f1.mean()), "micro_f1": float(metrics.ratio(2 * hits.sum(), chosen.sum() + held.sum())),
                "weighted_f1": float(metrics.ratio((f1 * held).sum(), held.sum())),
                "subset_accuracy": float(right[places].mean())}
        found = [one["auc"] for area in areas if (one := area(places))]
        return made | ({"auc": float(np.mean(found))} if found else {})

    return figures


def _joined(several: list[np.ndarray], dtype) -> np.ndarray:
    """One behind another; on disk where they are many."""
    made, at = scratch((sum(map(len, several)),), dtype), 0
    for one in several:
        made[at:at + len(one)] = one
        at += len(one)
    return made


class _Area:
    """The area under the ROC curve: how often a row that holds is above one that does not, of rows with repetitions."""

    def __init__(self, scores: np.ndarray, truth: np.ndarray):
        values, self._code = np.unique(scores, return_inverse=True)
        self._truth, self._values = truth, len(values)

    def __call__(self, places: np.ndarray) -> dict[str, float]:
        """{} where all rows are of one kind."""
        code, truth = self._code[places], self._truth[places]
        over, under = (np.bincount(code[which], minlength=self._values) for which in (truth, ~truth))
        pairs = float(over.sum()) * float(under.sum())
        return {"auc": float(over @ (np.cumsum(under) - under / 2) / pairs)} if pairs else {}
