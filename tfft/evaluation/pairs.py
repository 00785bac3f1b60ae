"""Whether one of two runs is better, by what both made of the same rows: exact tests, several comparisons, rows needed."""

import itertools

import numpy as np
from scipy import stats

FLIPS = 9_999            # random signs
FEWEST = 999             # of however many rows
DRAWN = 200_000_000      # signs in all, from which on there are fewer flips
EXACT = 12               # differences of which every choice of signs is tried
AT_ONCE = 1 << 22        # signs in memory
ALPHA, POWER = 0.05, 0.8


def mcnemar(one: int, other: int) -> float:
    """The two-sided p of McNemar's exact test (1947): of `one + other` rows that one of two runs alone answers rightly,
    each is as likely either's.

    mcnemar(1, 9) -> 2 * (1 + 10) / 2**10 = 0.0215
    """
    return min(1.0, 2 * float(stats.binom.cdf(min(one, other), one + other, 0.5)))


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """The two-sided p of the paired permutation test (Fisher 1935): how often the mean of float64[n] differences would be as
    far from 0, were each as likely of the other sign. Of few differences all signs are tried; else some are drawn, and what was
    seen counts as one of them (Phipson & Smyth 2010)."""
    values = differences[differences != 0].astype(np.float64)
    seen = abs(values.sum()) * (1 - 1e-12)
    if len(values) <= EXACT:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(values))), np.float64)
        return float((np.abs(signs @ values) >= seen).mean())
    flips = max(FEWEST, min(FLIPS, DRAWN // len(values)))
    random, beyond = np.random.default_rng(seed), 0
    for begin in range(0, flips, step := max(1, AT_ONCE // len(values))):
        count = min(step, flips - begin)
        negative = np.unpackbits(np.frombuffer(random.bytes(-(-count * len(values) // 8)), np.uint8), count=count * len(values))
        sums = values.sum() - 2 * (negative.reshape(count, -1) @ values)
        beyond += int((np.abs(sums) >= seen).sum())
    return (beyond + 1) / (flips + 1)


def paired_test(one: np.ndarray, other: np.ndarray, seed: int = 0) -> tuple[str, float]:
    """(its name, p) of the test that suits scores float64[n] of the same rows: McNemar's where a row is right or wrong."""
    if ((one == 0) | (one == 1)).all() and ((other == 0) | (other == 1)).all():
        return "McNemar's exact test", mcnemar(int((one > other).sum()), int((other > one).sum()))
    return "paired sign-flip test", sign_flip(other - one, seed)


def of_draws(draws: np.ndarray) -> float:
    """The two-sided p by the bootstrap: how often resampled differences are on the other side of 0, once at least."""
    least = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (len(draws) + 1))


def holm(several: list[float]) -> list[float]:
    """p of several comparisons so that any wrong one among them is as rare as one alone would be (Holm 1979).

    holm([0.01, 0.04, 0.03]) -> [0.03, 0.06, 0.06]
    """
    made, highest = [0.0] * len(several), 0.0
    for place, i in enumerate(sorted(range(len(several)), key=several.__getitem__)):
        highest = max(highest, min(1.0, (len(several) - place) * several[i]))
        made[i] = highest
    return made


def rows_needed(difference: float, deviation: float, comparisons: int = 1) -> int | None:
    """How many rows would tell a mean difference from 0, were it the true one: with power 80%, alpha 5% for all comparisons
    together. deviation: of one row's difference. None where there is no difference, or it is not known how they vary.

    rows_needed(0.02, 0.4) -> ((1.96 + 0.84) * 0.4 / 0.02) ** 2 = 3,140
    """
    if not difference or not np.isfinite([difference, deviation]).all():
        return None
    quantiles = stats.norm.ppf(1 - ALPHA / (2 * comparisons)) + stats.norm.ppf(POWER)
    return int(np.ceil((quantiles * deviation / difference) ** 2))
