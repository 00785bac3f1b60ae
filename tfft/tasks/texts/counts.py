"""How well the tokens of each row are predicted: what the metrics of a language model are sums of."""

import numpy as np

from tfft.data.scratch import let_go
from tfft.tasks.base import Evidence, Judged, Report

LARGEST = 700.0  # a loss whose exponential is a number still


class TokenCounts:
    """Of units (loss, right, ...), which are tokens, loss -1 where one is not learnt: losses, tokens and right ones of each
    row, added up a part of the units at a time."""

    def __init__(self, judged: Judged):
        self._judged = judged
        self._row = np.searchsorted(judged.rows, judged.store.row_of(judged.examples))  # int64[m], of each example
        self._sums = np.zeros((3, len(judged.rows)))  # losses, right ones, tokens

    def add(self, part: slice) -> np.ndarray:
        """Units of a part, which come one after another; returns their losses float32."""
        units, offsets = self._judged.units, self._judged.offsets
        first, last = np.searchsorted(offsets, part.start, "right") - 1, np.searchsorted(offsets, part.stop)
        inside = np.clip(offsets[first:last + 1], part.start, part.stop)
        row = np.repeat(self._row[first:last], np.diff(inside))
        losses = np.asarray(units[part, 0])
        real = losses >= 0
        for sums, values in zip(self._sums, (losses, np.asarray(units[part, 1]), np.ones(len(row))), strict=True):
            found = np.bincount(row[real], values[real])
            sums[:len(found)] += found
        let_go(units)
        return losses

    def report(self) -> Report:
        """Perplexity, accuracy and loss, with the evidence of each row that has tokens: its mean loss, below 0."""
        rows = np.flatnonzero(self._sums[2] > 0)
        sums = self._sums[:, rows]
        evidence = Evidence(
            self._judged.rows[rows], -sums[0] / sums[2], "loss", lambda places: _figures(*sums[:, places].sum(axis=1)),
            lambda i: f"{sums[2, i]:.0f} tokens",
            lambda i: f"{sums[1, i]:.0f} guessed right, loss {sums[0, i] / sums[2, i]:.3f}")
        return Report(_figures(*self._sums.sum(axis=1)), len(self._judged.rows), details={"tokens": int(sums[2].sum())},
                      evidence=evidence)


def _figures(losses: float, right: float, tokens: float) -> dict[str, float]:
    loss = float(losses / max(1, tokens))
    return {"perplexity": float(np.exp(min(loss, LARGEST))), "accuracy": float(right / max(1, tokens)), "loss": loss}
