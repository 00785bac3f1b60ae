"""The answers that were most wrong, for a person to read."""

import numpy as np

from tfft.data.scratch import parts
from tfft.data.store import TokenStore


def worst(problem: str, names: tuple[str, ...], store: TokenStore, report, count: int) -> list[tuple[str, str, str, str]]:
    """Up to `count` rows (place, text, label, answer), the most confident mistakes first."""
    targets, probabilities = report.targets, report.probabilities
    if not len(targets):
        return []
    if problem == "regression":
        error = np.abs(probabilities[:, 0] - targets)
    elif problem == "multi_label":
        error = np.zeros(len(targets))
        for part in parts(*targets.shape):
            wrong = (probabilities[part] >= report.thresholds) != (targets[part] > 0.5)
            error[part] = (wrong * np.abs(probabilities[part] - targets[part])).max(axis=1)
    else:
        right = np.arange(len(targets)), targets
        error = np.where(probabilities.argmax(axis=1) != targets, 1 - probabilities[right], 0)
    made = []
    for i in np.argsort(-error, kind="stable")[:count]:
        if error[i] <= 0:
            break
        row = report.rows[i]
        text = " || ".join(store.texts(row))
        made.append((store.place(row), text[:300], *shown(problem, names, targets[i], probabilities[i], report)))
    return made


def shown(problem: str, names, target, probabilities, report) -> tuple[str, str]:
    """(the right answer, the given one)."""
    if problem == "regression":
        return f"{target:.3f}", f"{probabilities[0]:.3f}"
    if problem == "multi_label":
        chosen = [f"{names[k]} {probabilities[k]:.2f}" for k in np.flatnonzero(probabilities >= report.thresholds)]
        return ", ".join(names[k] for k in np.flatnonzero(target > 0.5)), ", ".join(chosen)
    best = int(probabilities.argmax())
    return names[target], f"{names[best]} {probabilities[best]:.2f}"
