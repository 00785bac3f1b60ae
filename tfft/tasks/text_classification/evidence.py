"""What a classifier's metrics are made of, row by row."""

import numpy as np

from tfft.data.scratch import parts
from tfft.tasks.base import Evidence
from tfft.tasks.text_classification import metrics
from tfft.tasks.text_classification.mistakes import shown


def evidence(problem: str, names: tuple[str, ...], report) -> Evidence:
    """report: a LabelReport. A row's score is 1 where its label, or all its labels, are right, else 0; of numbers how far they
    are from the right one, below 0."""
    targets, found = report.targets, report.probabilities
    if problem == "regression":
        what, score = "error", -np.abs(found[:, 0] - targets)
    elif problem == "multi_label":
        what, score = "subset_accuracy", np.ones(len(targets))
        for part in parts(*targets.shape):
            score[part] = ((found[part] >= report.thresholds) == (targets[part] > 0.5)).all(axis=1)
    else:
        what, score = "accuracy", (found.argmax(axis=1) == targets).astype(np.float64)

    def figures(places: np.ndarray) -> dict[str, float]:
        return metrics.compute(problem, targets[places], found[places], names, report.thresholds)[0]

    return Evidence(report.rows, score, what, figures, *(
        lambda place, i=i: shown(problem, names, targets[place], found[place], report)[i] for i in (0, 1)))
