#!/usr/bin/env python
"""How often the verdict of `tfft compare` is wrong of runs that are equally good, and right where one is better.

    tools/verdicts.py

No models: the answers of two runs are drawn by chance, rows being hard for both or easy for both.
"""

import numpy as np

from tfft.evaluation.pairs import paired_test, rows_needed
from tfft.evaluation.resampling import resampled
from tfft.run.comparison import Pair

ROWS, GAIN, TRIALS = 400, 0.03, 1000


def scores(random: np.random.Generator, n: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """float64[n] of 0 and 1 each: right for about 80% of the rows, and for `gain` more."""
    chance = np.clip(0.8 + 0.5 * (random.random(n) - 0.5), 0, 1)
    return tuple((random.random(n) < np.clip(chance + more, 0, 1)).astype(np.float64) for more in (0, gain))


def verdict(one: np.ndarray, other: np.ndarray) -> str:
    apart = other - one
    draws = resampled(lambda places: {"apart": apart[places].mean()}, len(apart))["apart"]
    test, p = paired_test(one, other)
    return Pair("a", "b", "accuracy", False, apart.mean(), tuple(np.quantile(draws, (0.025, 0.975))), test, p, p, True,
                apart.std(), len(apart), 0, 0, [], [], [], {}).judged(p, 1).verdict


def main() -> None:
    random = np.random.default_rng(0)
    alike = [verdict(*scores(random, ROWS, 0)) for _ in range(TRIALS)]
    print(f"{TRIALS} pairs of equally good runs on {ROWS} rows: {sum(one != 'cannot tell' for one in alike)} are told apart")
    one, other = scores(random, 1_000_000, GAIN)
    needed = rows_needed((other - one).mean(), (other - one).std())
    told = [verdict(*scores(random, needed, GAIN)) for _ in range(TRIALS)]
    print(f"{(other - one).mean():.4f} better, on the {needed:,} rows that are needed: told better in {told.count('better')}, "
          f"worse in {told.count('worse')} of {TRIALS}")


if __name__ == "__main__":
    main()
