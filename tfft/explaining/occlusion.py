"""Attributions by leaving words out: how much smaller a number of the answer is without each of them (Zeiler & Fergus 2014; on
text Li et al. 2016). Asks nothing of a model but its answers."""

import numpy as np

from tfft.data.word_places import Word


def without(row: dict[str, str], word: Word) -> dict[str, str]:
    """{"text": "a fine film"}, the word 2:6 -> {"text": "a  film"}"""
    text = row[word.field]
    return {**row, word.field: text[:word.start] + text[word.end:]}


def occluded(predictor, explained, row: dict[str, str], words: list[Word], at: int) -> tuple[np.ndarray, float]:
    """(float64[W], value): what the number `at` of `explained` loses without each word. predictor: rows -> response."""
    values = explained.response(predictor([row, *(without(row, word) for word in words)]), at)
    return values[0] - values[1:], float(values[0])
