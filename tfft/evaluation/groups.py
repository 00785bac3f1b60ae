"""Whether groups of people are treated alike: rates of a label by group, and how far they are apart, as fairlearn defines them
(https://fairlearn.org, "Common fairness metrics"; Hardt, Price & Srebro 2016 for equalized odds and equal opportunity)."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from tfft.data.scratch import let_go, parts
from tfft.evaluation.resampling import RESAMPLES, Interval
from tfft.tasks.base import Chances

SHUFFLES = 999
DRAWN = 20_000_000  # pairs of a row and a label in all shuffles, from which on there are fewer
LEAST = 199
RATES = ("selection_rate", "tpr", "fpr", "accuracy")
GAPS = ("demographic_parity_difference", "demographic_parity_ratio", "equalized_odds_difference",
        "equal_opportunity_difference")


class Answers(NamedTuple):
    """Labels that rows are given and that hold of them, as pairs of a row and a label, int64[p] each: the label of pair i is
    given where given[i], holds where right[i], one of both at least. stratum int64[rows]: alike where the same labels hold."""

    names: tuple[str, ...]
    row: np.ndarray
    label: np.ndarray
    given: np.ndarray
    right: np.ndarray
    stratum: np.ndarray

    def only(self, name: str) -> "Answers":
        """Of one label alone."""
        mine = self.label == self.names.index(name)
        row, right = self.row[mine], self.right[mine]
        stratum = np.bincount(row, right, len(self.stratum)).astype(np.int64)
        return Answers((name,), row, np.zeros(len(row), np.int64), self.given[mine], right, stratum)


def answers(chances: Chances) -> Answers:
    """What is chosen by probabilities, and what holds."""
    n, number = chances.found.shape
    made: tuple[list, ...] = ([], [], [], [])
    for part in parts(n, number):
        if chances.thresholds is None:
            chosen, holds = (np.arange(number) == np.asarray(codes)[:, np.newaxis]
                             for codes in (chances.found[part].argmax(axis=1), chances.right[part]))
        else:
            chosen, holds = chances.found[part] >= chances.thresholds, chances.right[part] > 0.5
        row, label = np.nonzero(chosen | holds)
        for several, values in zip(made, (row + part.start, label, chosen[row, label], holds[row, label]), strict=True):
            several.append(values)
        let_go(chances.found)
    row, label, chosen, holds = map(np.concatenate, made)
    if chances.thresholds is None:
        return Answers(chances.names, row, label, chosen, holds, np.asarray(chances.right, np.int64))
    sets = np.zeros(n, np.uint64)
    words = np.random.default_rng(0).integers(1 << 63, size=number, dtype=np.uint64)
    np.add.at(sets, row[holds], words[label[holds]])
    return Answers(chances.names, row, label, chosen, holds, np.unique(sets, return_inverse=True)[1])


class Rates(NamedTuple):
    """float64[groups,labels] by name of RATES: NaN where there is nothing to divide by. size: rows of each group; of: what each
    rate is a share of."""

    size: np.ndarray
    rates: dict[str, np.ndarray]
    of: dict[str, np.ndarray]

    def gaps(self) -> dict[str, np.ndarray]:
        """float64[labels] by name of GAPS. Groups of which a rate is not known are left out of it."""
        selection, tpr, fpr = (self.rates[name] for name in ("selection_rate", "tpr", "fpr"))
        lowest, highest = _edges(selection)
        odds = np.fmax(_gap(tpr), _gap(fpr))
        return {"demographic_parity_difference": highest - lowest,
                "demographic_parity_ratio": np.divide(lowest, highest, out=np.full(len(lowest), np.nan), where=highest > 0),
                "equalized_odds_difference": odds, "equal_opportunity_difference": _gap(tpr)}


def rates(made: Answers, group: np.ndarray, number: int, often: np.ndarray | None = None) -> Rates:
    """Of rows int64[n] in so many groups; often float64[n]: how many times each row is there."""
    weight = np.ones(len(group)) if often is None else often
    labels = len(made.names)
    size = np.bincount(group, weight, number)[:, np.newaxis]
    cell, times = group[made.row] * labels + made.label, weight[made.row]
    given, right, hit = (np.bincount(cell, times * which, number * labels).reshape(number, labels)
                         for which in (made.given, made.right, made.given & made.right))
    of = {"selection_rate": size, "tpr": right, "fpr": size - right, "accuracy": size}
    part = {"selection_rate": given, "tpr": hit, "fpr": given - hit, "accuracy": size - given - right + 2 * hit}
    return Rates(size[:, 0], {name: _ratio(part[name], of[name]) for name in RATES},
                 {name: np.broadcast_to(of[name], right.shape) for name in RATES})


def by_resamples(made: Answers, group: np.ndarray, number: int, seed: int = 0) -> dict[str, np.ndarray]:
    """float64[draws,labels] by name of GAPS: of rows drawn with repetitions."""
    random, n = np.random.default_rng(seed), len(group)
    draws = [rates(made, group, number, np.bincount(random.integers(n, size=n), minlength=n).astype(np.float64)).gaps()
             for _ in range(_times(len(made.row), RESAMPLES))]
    return {name: np.array([draw[name] for draw in draws]) for name in GAPS}


def by_shuffles(made: Answers, group: np.ndarray, number: int, seed: int = 0, times: int = SHUFFLES) -> dict[str, np.ndarray]:
    """The same where groups do not matter: they are dealt out anew, for demographic parity among all rows, for the others among
    those of which the same labels hold."""
    random, n = np.random.default_rng(seed), len(group)
    order = np.argsort(made.stratum, kind="stable")
    draws = []
    for _ in range(_times(len(made.row), times)):
        among_all = rates(made, group[random.permutation(n)], number).gaps()
        within = np.empty_like(group)
        within[order] = group[np.lexsort((random.random(n), made.stratum))]
        draws.append({name: (among_all if name.startswith("demographic") else gaps)[name]
                      for gaps in (rates(made, within, number).gaps(),) for name in GAPS})
    return {name: np.array([draw[name] for draw in draws]) for name in GAPS}


def chance(seen: np.ndarray, shuffled: np.ndarray) -> float:
    """p of the gap of that label which is most apart, against that of each shuffle. float64[labels], [draws,labels]"""
    if np.isnan(seen).all():
        return float("nan")
    beyond = np.fmax.reduce(shuffled, axis=1) >= np.nanmax(seen) - 1e-12
    return float((beyond.sum() + 1) / (len(shuffled) + 1))


def gap_by_chance(score: np.ndarray, group: np.ndarray, number: int, seed: int = 0, times: int = SHUFFLES) -> float:
    """p of how far the groups' mean scores are apart, were groups dealt out anew."""
    random, sizes = np.random.default_rng(seed), np.bincount(group, minlength=number)

    def apart(dealt: np.ndarray) -> float:
        means = np.bincount(dealt, score, number) / np.maximum(1, sizes)
        return float(np.ptp(means[sizes > 0]))

    seen = apart(group) - 1e-12
    times = _times(len(score), times)
    return (sum(apart(group[random.permutation(len(group))]) >= seen for _ in range(times)) + 1) / (times + 1)


def wilson(rate: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's interval (1927) of a share of n rows.

    wilson(0.5, 10) -> (0.237, 0.763)
    """
    if not n or np.isnan(rate):
        return Interval(0.0, 1.0)
    z = float(stats.norm.ppf((1 + level) / 2))
    middle, half = rate + z * z / (2 * n), z * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)))
    return Interval(*(float(np.clip((middle + sign * half) / (1 + z * z / n), 0, 1)) for sign in (-1, 1)))


def _times(pairs: int, most: int) -> int:
    return max(LEAST, min(most, DRAWN // max(1, pairs)))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _edges(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) over groups, without NaN where there is anything."""
    return np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)


def _gap(values: np.ndarray) -> np.ndarray:
    lowest, highest = _edges(values)
    return highest - lowest
