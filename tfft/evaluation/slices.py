"""Metrics of some of the judged rows: of those of a length, of those with one value of a column."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from tfft.evaluation.pairs import ALPHA, holm
from tfft.evaluation.resampling import LEAST, Interval, interval, resampled
from tfft.tasks.base import Evidence, Judged, quarters

SLICED = 300  # resamples of a slice
ASKED = 10    # rows of a slice, below which nothing is concluded
VALUES = 20   # of a column that are slices each


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


class Slice(NamedTuple):
    """Some rows beside the rest: a figure of theirs, with its interval, and that of all others. verdict: whether they are
    "worse" or "better" beyond chance, "" where that cannot be told, "few" where they are too few to ask."""

    title: str
    rows: int
    value: float
    interval: Interval | None
    rest: float | None
    verdict: str = ""


def compare(evidence: Evidence, groups: list[tuple[str, np.ndarray]], metric: str, lower: bool) -> list[Slice]:
    """Groups of places of the evidence's rows, each against all other rows. lower: less of the metric is better.

    A group is judged by how far its figure is from that of the rest, in standard errors that a group of this size drawn by
    chance would have: se x sqrt(n / m + n / (n - m)), se being that of all n rows, by resampling. Of several groups the
    thresholds are Holm's (1979), so that of however many groups without a difference hardly one is told.
    """
    n = len(evidence.rows)
    figure = _figure(evidence, metric)
    spread = resampled(figure, n, resamples=LEAST).get(metric, np.zeros(0))
    error, found, chances = float(spread.std()) if len(spread) else 0.0, [], []
    every = figure(np.arange(n)).get(metric, float("nan"))
    for title, places in groups:
        m, others = len(places), np.ones(n, bool)
        others[places] = False
        value = figure(places).get(metric, float("nan"))
        rest = figure(np.flatnonzero(others)).get(metric, float("nan")) if m < n else None
        between = interval(lambda drawn, own=places: figure(own[drawn]), m, resamples=SLICED).get(metric)
        found.append(Slice(title, m, value, between, rest, "few" if m < ASKED and m < n else ""))
        known = error > 0 and rest is not None and m >= ASKED and np.isfinite(value - rest)
        apart = (value - rest) / (error * np.sqrt(n / m + n / (n - m))) if known else 0.0
        chances.append((2 * stats.norm.sf(abs(apart)), (apart < 0) != lower))
    corrected = holm([p for p, _ in chances])
    return [one._replace(verdict="worse" if worse else "better") if p <= ALPHA and np.isfinite(every) else one
            for one, p, (_, worse) in zip(found, corrected, chances, strict=True)]


def _figure(evidence: Evidence, metric: str) -> Callable[[np.ndarray], dict[str, float]]:
    """The metric alone of some rows; {} where they do not have it, as of no row."""
    def figure(places: np.ndarray) -> dict[str, float]:
        made = evidence.figures(places) if len(places) else {}
        return {metric: made[metric]} if metric in made else {}

    return figure


def grouped(values: list[str]) -> list[tuple[str, np.ndarray]]:
    """(title, places) of the rows by what a column says of each: the most frequent values, or where there are many and all are
    numbers, four parts of these.

    ["a", "b", "a", ""] -> ("a", [0 2]), ("(nothing)", [3]), ("b", [1])
    """
    known, codes, counts = np.unique(np.array(values, object).astype(str), return_inverse=True, return_counts=True)
    if len(known) > VALUES and (numbers := _numbers(known)) is not None:
        own = numbers[codes]
        there = np.flatnonzero(np.isfinite(own))
        bounds = np.unique(np.quantile(own[there], (0.25, 0.5, 0.75, 1), method="higher"))
        part = np.searchsorted(bounds, own[there])
        made = [(f"{own[chosen].min():g} to {own[chosen].max():g}", chosen)
                for chosen in (there[part == i] for i in range(len(bounds)))]
        return made + ([("(nothing)", np.flatnonzero(~np.isfinite(own)))] if len(there) < len(own) else [])
    order = np.argsort(-counts, kind="stable")
    made = [(str(known[k]) or "(nothing)", np.flatnonzero(codes == k)) for k in order[:VALUES]]
    if len(order) > VALUES:
        made.append((f"({len(order) - VALUES:,} other values)", np.flatnonzero(np.isin(codes, order[VALUES:]))))
    return made


def _numbers(values: np.ndarray) -> np.ndarray | None:
    """Texts as float64, "" as nan; None where one is no number."""
    try:
        return np.array([float(value) if value else float("nan") for value in values])
    except ValueError:
        return None
