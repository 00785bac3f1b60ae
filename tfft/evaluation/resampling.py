"""How sure figures of so many rows are: the bootstrap (Efron 1979, "Bootstrap methods: another look at the jackknife")."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RESAMPLES = 1000
LEAST = 200         # resamples, of however many rows
DRAWN = 20_000_000  # rows in all resamples, from which on there are fewer of these
FEW = 100           # rows, below which an interval by percentile is too narrow


class Interval(NamedTuple):
    """Where a figure would lie in 95% of all samples of so many rows as these."""

    low: float
    high: float


def resampled(figures: Callable[[np.ndarray], dict[str, float]], n: int, *, resamples: int = RESAMPLES, seed: int = 0
              ) -> dict[str, np.ndarray]:
    """float64[r] by name: the figures of r draws of n from n rows, with repetitions. figures(places int64[n]) -> by name.

    The draws follow from n and the seed alone. So what two runs made of the same rows is compared by a function that gives the
    differences of their figures of these places. A figure that some draw does not have is left out.
    """
    random, made = np.random.default_rng(seed), []
    for _ in range(max(min(resamples, LEAST), min(resamples, DRAWN // max(1, n))) if n else 0):
        made.append(figures(random.integers(n, size=n)))
    names = [name for name in (made[0] if made else ()) if all(name in one for one in made)]
    return {name: np.array([one[name] for one in made], np.float64) for name in names}


def interval(figures: Callable[[np.ndarray], dict[str, float]], n: int, *, resamples: int = RESAMPLES, seed: int = 0,
             level: float = 0.95) -> dict[str, Interval]:
    """The interval of each figure of n rows, by percentile of its resamples.

    interval(lambda places: {"mean": x[places].mean()}, 10_000) -> {"mean": (m - 1.96 s, m + 1.96 s)}, s = x.std() / 100
    """
    return {name: between(values, level)
            for name, values in resampled(figures, n, resamples=resamples, seed=seed).items()}


def between(draws: np.ndarray, level: float = 0.95) -> Interval:
    """The middle part of resampled figures."""
    outside = (1 - level) / 2
    return Interval(*(float(end) for end in np.quantile(draws, (outside, 1 - outside))))
