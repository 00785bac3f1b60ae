"""What the runs of all folds say together: mean, deviation, and how sure that is. Imports no TensorFlow."""

import dataclasses
import json
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from tfft.config import Experiment
from tfft.training.summaries import table

CONFIDENCE = 0.95
RUNS_SHOWN = 20


class Estimate(NamedTuple):
    """mean and (sample) standard deviation over runs, and an interval for the mean."""

    mean: float
    deviation: float
    low: float
    high: float


def estimate(values: np.ndarray, shares: float = 0.0) -> Estimate:
    """Of float64[n], n at least 2, by Student's t with n - 1 degrees of freedom. shares: rows judged / rows trained on, where
    the variance of the mean is corrected for training rows that runs have in common: that of the values times 1/n + shares, not
    1/n (Nadeau & Bengio 2003, section 3).

    [0.8, 0.9] -> mean 0.85, deviation 0.0707, 0.85 -+ 12.7 * 0.05
    """
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation * (1 / len(values) + shares) ** 0.5
    return Estimate(mean, deviation, mean - reach, mean + reach)


@dataclasses.dataclass
class Summary:
    """folds: a Fold of each run; metrics: those that all of them have."""

    experiment: Experiment
    folds: list[Any]
    metrics: dict[str, Estimate]

    @staticmethod
    def of(experiment: Experiment, folds: list[Any]) -> "Summary":
        repeated = experiment.data.folds.repeats > 1
        shares = float(np.mean([one.rows / one.train_rows for one in folds])) if repeated else 0.0
        names = [name for name in folds[0].metrics if all(name in one.metrics for one in folds)]
        return Summary(experiment, folds, {
            name: estimate(np.array([one.metrics[name] for one in folds], np.float64), shares) for name in names})

    def _first(self) -> list[str]:
        """The metrics, that of eval.metric first."""
        main = self.experiment.eval.metric.rpartition("/")[2]
        return sorted(self.metrics, key=lambda name: name != main)

    @property
    def interval(self) -> str:
        """How intervals came about, and what they are worth."""
        if self.experiment.data.folds.repeats > 1:
            return ("95% by Student's t over all runs, corrected for the training rows they share (Nadeau & Bengio 2003)")
        return ("95% by Student's t over the folds. Their runs share training rows, so it is too narrow, by how much cannot be "
                "told from them (Bengio & Grandvalet 2004)")

    @property
    def chosen(self) -> str:
        """Whether rows that judge have chosen anything."""
        folds, weights = self.experiment.data.folds, self.experiment.export.weights
        if folds.chosen_on == "validation":
            return f"{weights} weights; what is chosen was chosen on the validation rows, which are in no fold"
        tuned = " Thresholds were tuned on them: a little too good." if any(one.tuned for one in self.folds) else ""
        if weights == "last":
            stopped = ("; when to stop was chosen on the rows that judge here: a little too good, unless config.eval.patience=0"
                       if self.experiment.eval.patience else "; no weights were chosen on the rows that judge here")
            return f"last weights{stopped}.{tuned}"
        return ("best weights: each run's were chosen on the very rows that judge it here, so the figures are a little too "
                "good. Judge the last ones with --weights=last (nothing is trained again), or have other rows choose with "
                "--config.data.folds.chosen_on=validation.")

    def told(self) -> str:
        names, repeated = self._first(), self.experiment.data.folds.repeats > 1
        shown = names[:4]
        lines = [(*([one.repeat] if repeated else []), one.fold, one.rows, *(one.metrics[name] for name in shown))
                 for one in self.folds[:RUNS_SHOWN]]
        header = (*(["repeat"] if repeated else []), "fold", "rows", *shown)
        more = [f"  ... {len(self.folds) - RUNS_SHOWN} more runs"] if len(self.folds) > RUNS_SHOWN else []
        figures = table([(name, *(getattr(self.metrics[name], part) for part in ("mean", "deviation", "low", "high")))
                         for name in names], ("", "mean", "deviation", "from", "to"))
        return "\n".join([f"{self.experiment.name}: {len(self.folds)} runs, each judged on the rows it held out",
                          table(lines, header), *more, figures, f"from, to: {self.interval}", self.chosen])

    def to_json(self, answers: str) -> str:
        folds = self.experiment.data.folds
        return json.dumps({
            "metric": self.experiment.eval.metric, "folds": folds.number, "repeats": folds.repeats,
            "weights": self.experiment.export.weights, "chosen_on": folds.chosen_on, "chosen": self.chosen,
            "interval": self.interval, "metrics": {name: one._asdict() for name, one in self.metrics.items()},
            "out_of_fold": answers, "runs": [dataclasses.asdict(one) for one in self.folds]}, indent=1)
