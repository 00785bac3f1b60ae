"""Calibration: a temperature that makes probabilities honest, and the probability below which a model better says nothing."""

import dataclasses
import json

import numpy as np
from scipy import optimize, special

from tfft.errors import UserError

BINS = 15


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was fitted on validation rows for the weights of one step. Errors are expected calibration errors, 0 to 1.

    abstain_threshold, precision and coverage are None where no precision was asked for: answers whose highest probability,
    after the temperature, is below the threshold are withheld; `precision` of the others are right, `coverage` remain.
    """

    step: int
    rows: int
    temperature: float
    error_before: float
    error_after: float
    abstain_threshold: float | None = None
    precision: float | None = None
    coverage: float | None = None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1)

    def lines(self) -> list[tuple[str, float]]:
        """What a person is told."""
        made = [("temperature", self.temperature), ("calibration error before", self.error_before), ("after", self.error_after)]
        if self.abstain_threshold is not None:
            made += [("abstain threshold", self.abstain_threshold), ("precision of the answers given", self.precision),
                     ("share of rows answered", self.coverage)]
        return made

    def card(self) -> str:
        """What the model card says of it."""
        made = (f"Logits are divided by temperature {self.temperature:.4f}, fitted on {self.rows:,} validation rows: expected "
                f"calibration error {self.error_before:.4f} before, {self.error_after:.4f} after (on these rows).")
        if self.abstain_threshold is None:
            return made
        return (f"{made}\n\nBelow a highest score of {self.abstain_threshold:.4f} the label is empty and `abstained` is 1: "
                f"{self.coverage:.1%} of those rows are answered, {self.precision:.1%} of them right.")

    @classmethod
    def from_json(cls, text: str, origin: str) -> "Calibration":
        """What `to_json` wrote to the file `origin`. Raises: UserError where it is damaged."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise UserError(f"{origin} is damaged ({error}). Run the calibrate command again.") from error


def probabilities(problem: str, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """float64[n,L] of logits[n,L], by softmax or for each label alone."""
    scaled = np.asarray(logits, np.float64) / temperature
    return special.softmax(scaled, axis=1) if problem == "single_label" else special.expit(scaled)


def fit_temperature(problem: str, logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature with the lowest log loss (Guo et al. 2017, section 4.2), between 0.05 and 20.

    logits[n,L]; targets int[n] of one label, or float[n,L] of 0 and 1 where several may hold.
    """
    logits = np.asarray(logits, np.float64)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if problem == "single_label":
            return float(np.mean(special.logsumexp(scaled, axis=1) - scaled[np.arange(len(targets)), targets]))
        return float(np.mean(np.logaddexp(0, scaled) - scaled * targets))

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def calibration_error(problem: str, found: np.ndarray, targets: np.ndarray) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3) in BINS bins of equal width: how far stated probabilities
    are from observed frequencies. One label: of the answers' probabilities; several: of every label's in every row."""
    if problem == "single_label":
        stated, right = found.max(axis=1), found.argmax(axis=1) == targets
    else:
        stated, right = found.ravel(), np.asarray(targets).ravel() > 0.5
    bins = np.minimum((stated * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, stated - right, BINS)  # the sum of a bin's gaps is its size times their mean
    return float(np.abs(gaps).sum() / len(stated))


def abstain_threshold(found: np.ndarray, targets: np.ndarray, precision: float) -> tuple[float, float, float] | None:
    """(threshold, precision, coverage) with the most answers of which `precision` are right; None where there are none such.

    found[n,L] [[.9,.1],[.8,.2],[.6,.4]], targets [0,0,1], precision 1 -> (0.7, 1.0, 2/3)
    """
    confidence, right = found.max(axis=1), found.argmax(axis=1) == targets
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.append(ranked[1:] < ranked[:-1], True)  # a cut can only be where the confidence changes
    kept = np.flatnonzero(ends & (share >= precision))
    if not len(kept):
        return None
    last = int(kept[-1])
    below = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    return float((ranked[last] + below) / 2), float(share[last]), (last + 1) / len(ranked)


def calibrate(problem: str, logits: np.ndarray, targets: np.ndarray, step: int, precision: float) -> Calibration:
    """Fits all of it. precision 0: no abstaining. Raises: UserError where the precision cannot be had."""
    temperature = fit_temperature(problem, logits, targets)
    before, after = probabilities(problem, logits), probabilities(problem, logits, temperature)
    fitted = Calibration(step, len(targets), temperature, calibration_error(problem, before, targets),
                         calibration_error(problem, after, targets))
    if not precision:
        return fitted
    found = abstain_threshold(after, targets, precision)
    if found is None:
        best = float(np.mean(after.argmax(axis=1) == targets))
        raise UserError(f"However few answers are kept, their precision on the {len(targets):,} validation rows stays below "
                        f"{precision:g} (all kept: {best:.3f}). Ask for less.")
    return dataclasses.replace(fitted, abstain_threshold=found[0], precision=found[1], coverage=found[2])
