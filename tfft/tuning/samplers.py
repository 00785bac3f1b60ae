"""What is tried next, and which trials are stopped early: Optuna's samplers and pruners by the names of --method, --pruner."""

import warnings

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tfft.config.space import Choice, Real, Space, Whole, conditions, plain, stored
from tfft.tuning.gaussian import GaussianProcessSampler

METHODS = {"tpe": "tree-structured Parzen estimator (Bergstra et al. 2011)", "gp": "Gaussian process", "random": "at random",
           "grid": "all combinations"}
PRUNERS = {"asha": "asynchronous successive halving (Li et al. 2020)", "median": "worse than the median of earlier trials",
           "none": "all trials are finished"}
ETA = 3  # asha: of the trials that reach a rung the best third goes on, to three times as many evaluations


def make_sampler(method: str, space: Space, seed: int, begun: int) -> optuna.samplers.BaseSampler:
    """begun: how many trials there are already. A sampler chooses one trial, so that what is tried next is a function of the
    seed and of what was tried before, in a study that was killed and run again too."""
    seed = (seed * 1_000_003 + begun * 7919) % 2**32
    if method == "gp":
        return GaussianProcessSampler(distributions(space), seed)
    if method == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group: settings with the same conditions
            return optuna.samplers.TPESampler(seed=seed, group=any(map(conditions, space.values())))
    return optuna.samplers.RandomSampler(seed=seed)


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    """A pruner of trials that report the number of their evaluation: 1, 2, 3, ..."""
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=3)
    return optuna.pruners.NopPruner()


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Of all settings, without their conditions."""
    return {name: distribution(plain(kind)) for name, kind in space.items()}


def distribution(kind: Real | Whole | Choice) -> BaseDistribution:
    if isinstance(kind, Real):
        return FloatDistribution(kind.low, kind.high, log=kind.log)
    if isinstance(kind, Whole):
        return IntDistribution(kind.low, kind.high - (kind.high - kind.low) % kind.step, step=kind.step)
    return CategoricalDistribution([stored(value) for value in kind.values])
