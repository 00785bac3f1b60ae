"""The same metrics on parts of the rows: short texts and long ones."""

import numpy as np

from tfft.tasks.text_classification import metrics

PARTS = 4


def by_length(problem: str, report, names: tuple[str, ...], lengths: np.ndarray) -> list[dict]:
    """One dict for each quarter of the rows by length: the slice's name, its rows and its metrics.

    lengths: int[n] tokens of the report's rows, before truncation. Rows of one length stay together, so there may be
    fewer parts.
    """
    bounds = np.unique(np.quantile(lengths, np.linspace(0, 1, PARTS + 1)[1:], method="higher")) if len(lengths) else []
    made, low = [], 0
    for high in bounds:
        chosen = np.flatnonzero((lengths > low) & (lengths <= high))
        found, _ = metrics.compute(problem, report.targets[chosen], report.probabilities[chosen], names, report.thresholds)
        made.append({"slice": f"{lengths[chosen].min()} to {high} tokens", "rows": len(chosen), "metrics": found})
        low = high
    return made
