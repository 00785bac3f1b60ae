"""Exact metrics over every row once, by scikit-learn and SciPy."""

import warnings

import numpy as np
from scipy import stats
from sklearn import exceptions, metrics


def tune_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """float32[L]: for each label the threshold with the best F1 on these rows; 0.5 where a label has no positive row.

    targets float32[n,L] of 0 and 1; probabilities float32[n,L]. A threshold lies midway between two neighbouring
    probabilities, so that rows a rounding error apart do not change sides.
    """
    chosen = np.full(targets.shape[1], 0.5, np.float32)
    for label in range(targets.shape[1]):
        truth = targets[:, label] > 0.5
        if not truth.any():
            continue
        order = np.argsort(-probabilities[:, label], kind="stable")
        values = probabilities[order, label].astype(np.float64)
        hits = np.cumsum(truth[order])
        f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
        ends = np.append(values[1:] < values[:-1], True)  # a cut can only be where the probability changes
        best = int(np.argmax(np.where(ends, f1, -1)))
        below = values[best + 1] if best + 1 < len(values) else 0.0
        middle = np.float32((values[best] + below) / 2)
        chosen[label] = middle if middle > below else values[best]  # neighbouring floats have nothing between them
    return chosen


def compute(problem: str, targets: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...],
            thresholds: np.ndarray | None = None) -> tuple[dict[str, float], list[dict]]:
    """(metrics by name, one dict per label). Regression: targets and probabilities are values in the data's own unit."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", exceptions.UndefinedMetricWarning)
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        if problem == "regression":
            return _regression(targets, probabilities[:, 0]), []
        if problem == "multi_label":
            return _multi_label(targets, probabilities, names, thresholds)
        return _single_label(targets, probabilities, names)


def _regression(targets: np.ndarray, values: np.ndarray) -> dict[str, float]:
    error = values.astype(np.float64) - targets
    enough = len(targets) > 1
    return {
        "spearman": _number(stats.spearmanr(targets, values).statistic) if enough else 0.0,
        "pearson": _number(stats.pearsonr(targets, values).statistic) if enough else 0.0,
        "mse": float(np.mean(error**2)),
        "mae": float(np.mean(np.abs(error))),
    }


def _single_label(targets: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...]):
    chosen = probabilities.argmax(axis=1)
    labels = np.arange(len(names))
    made = {
        "accuracy": float(np.mean(chosen == targets)),
        **_f1(targets, chosen, labels),
        "mcc": _number(metrics.matthews_corrcoef(targets, chosen)) if len(np.union1d(targets, chosen)) > 1 else 0.0,
    }
    present = np.unique(targets)
    if len(names) == 2 and len(present) == 2:
        made["auc"] = float(metrics.roc_auc_score(targets, probabilities[:, 1]))
    elif len(present) > 1:  # one against the rest, averaged over the labels that occur
        made["auc"] = float(np.mean([metrics.roc_auc_score(targets == k, probabilities[:, k]) for k in present]))
    return made, _per_label(targets, chosen, labels, names)


def _multi_label(targets, probabilities, names, thresholds):
    """Label by label: of rows x labels nothing but what is given is in memory at once."""
    cut = np.full(len(names), 0.5, np.float32) if thresholds is None else thresholds
    table, right, areas = [], np.ones(len(targets), bool), []
    for k in range(len(names)):
        truth, scores = np.asarray(targets[:, k]) > 0.5, np.asarray(probabilities[:, k])
        chosen = scores >= cut[k]
        right &= truth == chosen
        table.append((int((truth & chosen).sum()), int(chosen.sum()), int(truth.sum())))
        if 0 < truth.sum() < len(truth):
            areas.append(metrics.roc_auc_score(truth, scores))
    hits, given, present = (np.array(column, np.float64) for column in zip(*table, strict=True))
    f1 = ratio(2 * hits, given + present)
    made = {"macro_f1": float(f1.mean()), "micro_f1": float(ratio(2 * hits.sum(), given.sum() + present.sum())),
            "weighted_f1": float(ratio((f1 * present).sum(), present.sum())), "subset_accuracy": float(right.mean())}
    if areas:
        made["auc"] = float(np.mean(areas))
    lines = zip(names, ratio(hits, given), ratio(hits, present), f1, present, strict=True)
    return made, [{"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
                  for name, p, r, f, n in lines]


def ratio(part, whole):
    """part / whole; 0 where there is nothing to divide by."""
    return np.divide(part, whole, out=np.zeros_like(np.asarray(part, np.float64)), where=np.asarray(whole) > 0)


def _f1(targets, chosen, labels) -> dict[str, float]:
    return {f"{kind}_f1": float(metrics.f1_score(targets, chosen, average=kind, labels=labels, zero_division=0))
            for kind in ("macro", "micro", "weighted")}


def _per_label(targets, chosen, labels, names) -> list[dict]:
    table = metrics.precision_recall_fscore_support(targets, chosen, labels=labels, zero_division=0)
    return [{"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
            for name, p, r, f, n in zip(names, *table, strict=True)]


def _number(value: float) -> float:
    """0 where a correlation is undefined, as when every prediction is the same."""
    return float(value) if np.isfinite(value) else 0.0
