"""Attributions by taking words away: how much smaller a number of the answer is without each of them (Zeiler & Fergus 2014; on
text Li et al. 2016). Asks nothing of a model but its answers.

A word is left out of the text. Where the number is that of a place in it, such as an entity's, the place must stay, and the
word is hidden instead (tfft.explaining.hiding).
"""

from collections.abc import Callable

import numpy as np

from tfft.data.word_places import Word


def without(row: dict[str, str], word: Word) -> dict[str, str]:
    """{"text": "a fine film"}, the word 2:6 -> {"text": "a  film"}"""
    text = row[word.field]
    return {**row, word.field: text[:word.start] + text[word.end:]}


def taken_together(words: list[Word], owner: np.ndarray, number: int) -> tuple[list[Word], np.ndarray]:
    """Words with neighbours taken for one, so that about `number` are left of those that some tokens are of; and int64[W + 1],
    which of them each word is in, -1 of none. owner: of which word each token is. 5 words, 3 -> ab cd e"""
    read = np.isin(np.arange(len(words)), owner)
    size = -(-int(read.sum()) // number)
    made, group, held = [], np.full(len(words) + 1, -1), 0
    for i, word in enumerate(words):
        if i and read[i] and read[i - 1] and word.field == words[i - 1].field and held < size:
            made[-1], held = made[-1]._replace(end=word.end), held + 1
        else:
            held = 1
            made.append(word)
        group[i] = len(made) - 1
    return made, group


def left_out(value: Callable[[list[dict[str, str]]], np.ndarray], row: dict[str, str], words: list[Word]
             ) -> tuple[np.ndarray, float]:
    """(float64[W], the value of the row): what it loses without each word. value: rows -> float64[B]."""
    values = value([row, *(without(row, word) for word in words)])
    return values[0] - values[1:], float(values[0])


def hidden_each(value: Callable[[np.ndarray], np.ndarray], count: int, words: np.ndarray) -> tuple[np.ndarray, float]:
    """The same with words hidden, of int64[w] among `count`. value: bool[n,count], the words that are hidden -> float64[n]."""
    values = value(np.concatenate([np.zeros((1, count), bool), np.eye(count, dtype=bool)[words]]))
    return values[0] - values[1:], float(values[0])
