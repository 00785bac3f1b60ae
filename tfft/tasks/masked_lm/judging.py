"""How well hidden tokens are guessed: streamed, a part of the units in memory at a time."""

from collections.abc import Callable

import numpy as np

from tfft.data.scratch import let_go, parts
from tfft.tasks.base import MISTAKES, Judged, Report
from tfft.tasks.masked_lm.learnt import Vocabulary
from tfft.tasks.masked_lm.masking import Drawn
from tfft.tasks.texts.counts import TokenCounts

AROUND = 8  # tokens that are shown on either side of a mistake


def judge(judged: Judged, vocabulary: Vocabulary, context: Callable[[int, int], tuple[str, str]]) -> Report:
    """Perplexity, the exponential of the mean loss; accuracy; loss. context(example, number of a hidden token) -> (text around
    it, the token)."""
    units, counts = judged.units, TokenCounts(judged)
    worst: list[tuple[float, int]] = []  # (loss, unit)
    for part in parts(len(units), units.shape[1]):
        losses = counts.add(part)
        wrong = np.where(np.asarray(units[part, 1]) == 0, losses, -1)
        most = np.argsort(-wrong, kind="stable")[:MISTAKES]
        worst = sorted(worst + [(-float(wrong[i]), part.start + int(i)) for i in most if wrong[i] >= 0])[:MISTAKES]
        let_go(units)
    report = counts.report()
    for _, unit in worst:
        at = int(np.searchsorted(judged.offsets, unit, "right")) - 1
        example = int(judged.examples[at])
        text, token = context(example, unit - int(judged.offsets[at]))
        row = int(judged.store.row_of(np.array([example]))[0])
        report.mistakes.append((judged.store.place(row), text, token, vocabulary.tokens[int(units[unit, 2])]))
    return report


def around(vocabulary: Vocabulary, tokens: np.ndarray, drawn: Drawn, number: int) -> tuple[str, str]:
    """(what a model was shown around a hidden token, itself as a mask; the token)."""
    place = int(drawn.places[0, number])
    shown = np.where(drawn.shown[0, :len(tokens)] >= 0, drawn.shown[0, :len(tokens)], tokens)
    shown[place] = vocabulary.mask
    begin, end = max(1, place - AROUND), min(len(tokens) - 1, place + AROUND + 1)
    return vocabulary.spell(shown[begin:end]), vocabulary.tokens[int(tokens[place])]
