"""Correlations of some rows' values, with repetitions perhaps: ranks follow from counts, so that nothing is sorted again."""

import numpy as np


class Correlation:
    """Spearman's and Pearson's of two values of each row, as SciPy has them; 0 where they are not defined.

    Correlation([1, 2, 3], [10, 20, 40])(places [0, 1, 2]) -> {"spearman": 1.0, "pearson": 0.98}
    """

    def __init__(self, a: np.ndarray, b: np.ndarray):
        self._values = [np.asarray(values, np.float64) for values in (a, b)]
        self._codes = [np.unique(values, return_inverse=True)[1] for values in self._values]

    def __call__(self, places: np.ndarray) -> dict[str, float]:
        return {"spearman": _pearson(*(_ranks(codes[places]) for codes in self._codes)),
                "pearson": _pearson(*(values[places] for values in self._values))}


def _ranks(codes: np.ndarray) -> np.ndarray:
    """float64[n]: places in ascending order, those that are alike at their mean. [5 2 5] -> [2.5 1 2.5]"""
    counts = np.bincount(codes)
    return (np.cumsum(counts) - (counts - 1) / 2)[codes]


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    both = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / both, -1, 1)) if both > 0 else 0.0
