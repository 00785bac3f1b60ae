"""Bayesian optimisation with a Gaussian process, for Optuna's samplers.

Optuna's own GPSampler needs PyTorch, a second framework beside TensorFlow. scikit-learn, which tfft has anyway, fits the
same model: a Matern-5/2 kernel with a length for each setting, and noise. What is tried next has the highest expected
improvement (Jones et al. 1998; Snoek et al. 2012, section 2) of many random points and of small steps away from the best one.
"""

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

POINTS, NEAR = 1000, 200  # random candidates, and steps away from the best trial
USUAL = 0.5  # where a trial stands in a setting that does not count for it


class GaussianProcessSampler(optuna.samplers.BaseSampler):
    """known: the distributions of all settings. The first `startup` trials are drawn at random."""

    def __init__(self, known: dict[str, BaseDistribution], seed: int, startup: int = 8):
        self._known, self._startup = known, startup
        self._random = optuna.samplers.RandomSampler(seed=seed)
        self._numbers = np.random.default_rng(seed)
        self._columns = [(name, i) for name, one in known.items() for i in range(_width(one))]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._known

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return self._random.sample_independent(study, trial, name, distribution)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, space: dict[str, BaseDistribution]) -> dict[str, Any]:
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        done = [one for one in ended if one.value is not None]
        if len(done) < self._startup:
            return {}
        lower = study.direction == optuna.study.StudyDirection.MINIMIZE
        values = np.array([t.value for t in done]) * (1 if lower else -1)  # less is better from here on
        places = np.array([self._place(t.params) for t in done])
        running = [self._place(t.params) for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
                   if t.number != trial.number]
        candidates = self._candidates(places[values.argmin()])
        chosen = candidates[improvement(places, values, np.array(running), candidates).argmax()]
        return self._params(chosen)

    def _place(self, params: dict[str, Any]) -> np.ndarray:
        """float[D]: each setting from 0 to 1, a categorical one as one of its values' columns."""
        parts: list[float] = []
        for name, one in self._known.items():
            if name not in params:
                parts += [USUAL] * _width(one)
            elif isinstance(one, CategoricalDistribution):
                parts += [float(i == one.choices.index(params[name])) for i in range(len(one.choices))]
            else:
                low, high, value = _scaled(one, one.low), _scaled(one, one.high), _scaled(one, params[name])
                parts.append((value - low) / (high - low))
        return np.array(parts)

    def _candidates(self, best: np.ndarray) -> np.ndarray:
        """float[N,D], each a place that a trial can have."""
        near = np.clip(best + self._numbers.normal(0, 0.1, (NEAR, len(best))), 0, 1)
        free = self._numbers.random((POINTS, len(best)))
        return np.array([self._place(self._params(place)) for place in np.concatenate([free, near])])

    def _params(self, place: np.ndarray) -> dict[str, Any]:
        made = {}
        for name, one in self._known.items():
            at = [i for i, (column, _) in enumerate(self._columns) if column == name]
            if isinstance(one, CategoricalDistribution):
                made[name] = one.choices[int(place[at].argmax())]
                continue
            low, high = _scaled(one, one.low), _scaled(one, one.high)
            value = low + float(place[at[0]]) * (high - low)
            value = float(np.exp(value)) if one.log else value
            made[name] = (min(max(value, one.low), one.high) if isinstance(one, FloatDistribution)
                          else min(one.low + round((value - one.low) / one.step) * one.step, one.high))
        return made


def improvement(places: np.ndarray, values: np.ndarray, running: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """float[N]: by how much each of the candidates float[N,D] is expected to fall below the best of the values float[n] known
    at places float[n,D]. Trials that are running are taken to end as the process expects, so that nobody tries the same."""
    from scipy.stats import norm
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel
    from threadpoolctl import threadpool_limits

    scale = values.std() or 1.0
    scaled = (values - values.mean()) / scale
    kernel = Matern(np.ones(places.shape[1]), (0.05, 20.0), nu=2.5) + WhiteKernel(0.1, (1e-4, 1.0))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=1, random_state=0)
    with warnings.catch_warnings(), threadpool_limits(1):  # of such small matrices threads make nothing but waiting
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound
        process.fit(places, scaled)
        if len(running):
            expected = process.predict(running)
            process = GaussianProcessRegressor(process.kernel_, optimizer=None).fit(
                np.concatenate([places, running]), np.concatenate([scaled, expected]))
        mean, deviation = process.predict(candidates, return_std=True)
        best = process.predict(places).min()  # of what is expected there: a lucky trial is no bar to jump over
    deviation = np.maximum(deviation, 1e-9)
    z = (best - mean) / deviation
    return deviation * (z * norm.cdf(z) + norm.pdf(z))


def _width(one: BaseDistribution) -> int:
    return len(one.choices) if isinstance(one, CategoricalDistribution) else 1


def _scaled(one: BaseDistribution, value: float) -> float:
    return float(np.log(value)) if one.log else float(value)
