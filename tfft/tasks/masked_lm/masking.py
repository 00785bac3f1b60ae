"""Which tokens are hidden, and what is shown in their place: a function of (seed, epoch, example), whatever the batch.

BERT (Devlin et al. 2019, section 3.1): of each example a share of the tokens; whole words, or spans of words (SpanBERT, Joshi
et al. 2020, section 3.1; here an example's words are cut into spans that end after each word with the same chance, and some of
them are drawn).
"""

from typing import NamedTuple

import numpy as np

from tfft.config import MaskedLM
from tfft.data.splits import mixed
from tfft.tasks.masked_lm.learnt import Vocabulary

LONGEST = 10  # tokens: a longer word, of a script without blanks say, is hidden token by token
ORDER, CUT, KIND, TOKEN = range(4)  # what a random number is for


class Drawn(NamedTuple):
    """places, ids int32[B,S]: where hidden tokens stand, in their order, and which they are; -1 beyond them. shown int32[B,S]:
    what the inputs have in a token's place, -1 where it stays."""

    places: np.ndarray
    ids: np.ndarray
    shown: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """int64[B]"""
        return (self.ids >= 0).sum(axis=1)

    def in_rows(self, several: np.ndarray, lengths: np.ndarray) -> "Drawn":
        """The same where examples of so many tokens follow one another, several int[b] of them in each row."""
        made = Drawn(*(np.full((len(several), self.ids.shape[1]), -1, np.int32) for _ in range(3)))
        counts, ends = self.counts, np.cumsum(several)
        for row, end in enumerate(ends.tolist()):
            at = filled = 0
            for example in range(end - int(several[row]), end):
                hidden, size = int(counts[example]), int(lengths[example])
                made.places[row, filled:filled + hidden] = self.places[example, :hidden] + at
                made.ids[row, filled:filled + hidden] = self.ids[example, :hidden]
                made.shown[row, at:at + size] = self.shown[example, :size]
                at, filled = at + size, filled + hidden
        return made


def budget(tokens, share: float):
    """How many of so many tokens, a number or several, are hidden at most. budget(20, 0.15) -> 3"""
    return np.maximum(1, (tokens * round(share * 1000) + 500) // 1000)


def draw(rows: list[np.ndarray], examples: np.ndarray, length: int, settings: MaskedLM, vocabulary: Vocabulary, *, seed: int,
         epoch: int | np.ndarray) -> Drawn:
    """Hides tokens of B examples. rows: their tokens int[n]; examples int64[B]: their numbers, which the draw depends on, as it
    does on the epoch, perhaps int64[B], one of each."""
    counts = np.array([len(row) for row in rows], np.int64)
    tokens = np.concatenate(rows).astype(np.int64)
    row = np.repeat(np.arange(len(rows)), counts)
    place = np.arange(len(tokens)) - np.repeat(np.cumsum(counts) - counts, counts)
    chance = _Chance(seed, epoch[row] if np.ndim(epoch) else epoch, np.asarray(examples)[row], place)
    unit, begins = _units(tokens, row, settings, vocabulary, chance)
    chosen = _chosen(unit, row, budget(counts - 2, settings.share), begins, settings.hide == "spans", chance)
    hidden = np.flatnonzero(chosen)
    drawn = Drawn(*(np.full((len(rows), length), -1, np.int32) for _ in range(3)))
    of, at = row[hidden], place[hidden]
    rank = np.arange(len(hidden)) - np.searchsorted(of, of)
    drawn.places[of, rank], drawn.ids[of, rank] = at, tokens[hidden]
    # a span is shown in one way as a whole, of a word each token by itself
    kind = chance(KIND, _first(unit)[unit[hidden]] if settings.hide == "spans" else hidden)
    other = vocabulary.usual[(chance(TOKEN, hidden) * len(vocabulary.usual)).astype(np.int64)]
    drawn.shown[of, at] = np.where(kind < settings.mask_share, vocabulary.mask,
                                   np.where(kind < settings.mask_share + settings.random_share, other, -1))
    return drawn


class _Chance:
    """Random numbers float64[n], 0 to 1, of tokens: by seed, epoch, example, place and purpose."""

    def __init__(self, seed: int, epoch: int | np.ndarray, example: np.ndarray, place: np.ndarray):
        base = mixed(np.array([seed], np.uint64)) + np.asarray(epoch, np.uint64)
        self._keys = mixed(mixed(base) + example.astype(np.uint64)) + place.astype(np.uint64) * np.uint64(4)

    def __call__(self, purpose: int, at=slice(None)) -> np.ndarray:
        """Those of the tokens `at` some places."""
        return (mixed(self._keys[at] + np.uint64(purpose)) >> np.uint64(11)) / 2.0**53


def _units(tokens: np.ndarray, row: np.ndarray, settings: MaskedLM, vocabulary: Vocabulary, chance: _Chance
           ) -> tuple[np.ndarray, np.ndarray]:
    """(int64[n]: the number of what a token is hidden together with, ascending; -1 of special tokens, which never are.
    bool[n]: where a part of it begins that stays whole.)"""
    usual = ~vocabulary.special[tokens]
    before = np.append(False, usual[:-1] & (row[1:] == row[:-1]))
    begins = word = usual
    if settings.hide != "tokens":
        word = usual & (~before | vocabulary.begins[tokens])
        number = np.cumsum(word) - 1
        long = np.bincount(np.maximum(number[usual], 0), minlength=1)[np.maximum(number, 0)] > LONGEST
        word |= usual & long
        begins = word
        if settings.hide == "spans":
            begins = word & (~before | (chance(CUT) < settings.span_end))
            nth = np.cumsum(word) - np.cumsum(word)[np.maximum.accumulate(np.where(begins, np.arange(len(word)), 0))]
            begins |= word & (nth % settings.span_words == 0)
    return np.where(usual, np.cumsum(begins) - 1, -1), word | ~usual


def _chosen(unit: np.ndarray, row: np.ndarray, budgets: np.ndarray, begins: np.ndarray, cut: bool, chance: _Chance
            ) -> np.ndarray:
    """bool[n]: the tokens of units in a random order, each that still fits into what its example may hide. Where `cut`, also of
    the first that does not fit what fits of it, in whole words; where nothing fits, its first tokens in any case."""
    usual = unit >= 0
    first = _first(unit)
    if not len(first):
        return usual
    of, size = row[first], np.bincount(unit[usual])
    order = np.lexsort((chance(ORDER, first), of))
    taken, left = np.zeros(len(first), bool), budgets.copy()
    open_ = np.ones(len(first), bool)
    while True:
        fits = order[open_[order] & (size[order] <= left[of[order]])]
        if not len(fits):
            break
        total = np.cumsum(size[fits])
        begin = np.searchsorted(of[fits], of[fits])  # of each example's, in this order
        take = fits[total - total[begin] + size[fits[begin]] <= left[of[fits]]]
        taken[take] = True
        open_[:] = False
        open_[fits] = True
        open_[take] = False
        left -= np.bincount(of[take], size[take], len(left)).astype(np.int64)
    chosen = usual & taken[unit]
    rest = order[~taken[order]]
    for one in rest[np.append(True, np.diff(of[rest]) > 0)[:len(rest)]].tolist():  # the first of each example
        begin, room = first[one], left[of[one]]
        end = begin + room
        while end > begin and not begins[end]:
            end -= 1
        if room == budgets[of[one]] and end == begin:
            end += room
        chosen[begin:end if cut or room == budgets[of[one]] else begin] = True
    return chosen


def _first(unit: np.ndarray) -> np.ndarray:
    """int64[units]: the first token of each. [-1 0 0 1 -1 2] -> [1 3 5]"""
    return np.flatnonzero((unit >= 0) & (unit != np.append(-1, np.maximum.accumulate(unit)[:-1])))
