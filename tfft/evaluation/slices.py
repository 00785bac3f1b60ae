"""Metrics of some of the judged rows: of those of a length, of those with one value of a column."""

from collections.abc import Callable

import numpy as np

from tfft.tasks.base import Evidence, Judged, quarters


def with_loss(evidence: Evidence | None, judged: Judged) -> Evidence | None:
    """Evidence whose figures have the loss of training besides, of the examples that the rows are."""
    if evidence is None:
        return None
    order = np.argsort(evidence.rows)
    owner = judged.store.row_of(judged.examples)
    place = np.minimum(np.searchsorted(evidence.rows, owner, sorter=order), len(order) - 1)
    own = evidence.rows[order[place]] == owner  # some rows may have no evidence
    weights = np.diff(judged.offsets) * own
    total, weight = (np.bincount(order[place], values, len(order)) for values in (judged.losses * weights, weights))

    def figures(places: np.ndarray) -> dict[str, float]:
        return {**evidence.figures(places), "loss": float(total[places].sum() / max(1, weight[places].sum()))}

    return evidence._replace(figures=figures)


def by_length(evidence: Evidence | None, lengths: Callable[[np.ndarray], np.ndarray]) -> list[dict]:
    """The metrics of four parts of the rows by length: "slice", "rows", "metrics" each. lengths(rows of the store) -> int."""
    if evidence is None:
        return []
    return [{"slice": title, "rows": len(places), "metrics": {**evidence.figures(places), **evidence.slow(places)}}
            for title, places in quarters(lengths(evidence.rows))]
