"""The answers that were most wrong, for a person to read."""

import numpy as np

from tfft.data.store import TokenStore


def worst(task, store: TokenStore, report, count: int) -> list[tuple[str, str, str, str]]:
    """Up to `count` rows (place, text, label, answer), the most confident mistakes first."""
    targets, probabilities, names = report.targets, report.probabilities, task.labels.names
    if not len(targets):
        return []
    if task.problem == "regression":
        error = np.abs(probabilities[:, 0] - targets)
    elif task.problem == "multi_label":
        wrong = (probabilities >= report.thresholds) != (targets > 0.5)
        error = (wrong * np.abs(probabilities - targets)).max(axis=1)
    else:
        right = np.arange(len(targets)), targets
        error = np.where(probabilities.argmax(axis=1) != targets, 1 - probabilities[right], 0)
    made = []
    for i in np.argsort(-error, kind="stable")[:count]:
        if error[i] <= 0:
            break
        row = report.rows[i]
        text = store.string("text", row)
        if "pair" in store.meta["columns"]:
            text += " || " + store.string("pair", row)
        made.append((store.place(row), text[:300], *_answer(task.problem, names, targets[i], probabilities[i], report)))
    return made


def _answer(problem: str, names, target, probabilities, report) -> tuple[str, str]:
    if problem == "regression":
        return f"{target:.3f}", f"{probabilities[0]:.3f}"
    if problem == "multi_label":
        chosen = [f"{names[k]} {probabilities[k]:.2f}" for k in np.flatnonzero(probabilities >= report.thresholds)]
        return ", ".join(names[k] for k in np.flatnonzero(target > 0.5)), ", ".join(chosen)
    best = int(probabilities.argmax())
    return names[target], f"{names[best]} {probabilities[best]:.2f}"
