"""Which words of the original texts the tokens of an example are part of."""

import difflib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import TRACE, TextEncoder, cleaned, string_array
from tfft.data.words import WordSplitter, WordTokenizer


class Word(NamedTuple):
    """text[start:end] of a field, in code points."""

    field: str
    start: int
    end: int


def of_words(pieces: tf.RaggedTensor, text: int) -> tf.RaggedTensor:
    """Pieces of words int32[B,(W),(P)] -> in their places where they are from: TRACE x text + the number of their word, as
    TextTokenizer.traced has it of tokens.

    [[[5 6] [7]]], 1 -> [[[TRACE TRACE] [TRACE + 1]]]
    """
    number = tf.repeat(tf.ragged.range(pieces.row_lengths()).values, pieces.values.row_lengths())
    return pieces.with_flat_values(TRACE * text + tf.cast(number, tf.int32))


class TextWords:
    """Texts -> their words, and which of them each token of a text is part of.

    No tokenizer here tells where in a text its tokens are. So the text is cut into words, whose places are known; the pieces of
    all words, one after another, are held against the tokens of the whole text. Where they differ, as where a tokenizer has
    one token for two punctuation marks, the words in question are taken as one: offsets are exact in every family.

    "Fine film?!" with tokens fine film ?! -> Fine 0:4, film 5:9, ?! 9:11
    """

    def __init__(self, tokenizer):
        self._splitter = WordSplitter("auto")
        self._pieces = WordTokenizer(tokenizer, max_length=8, overlap=0, before=False)

    def look(self, texts: tf.Tensor) -> tuple:
        """string[F] -> starts and ends of words, ragged int32[F,(W)], and their pieces, in a graph."""
        words = self._splitter(cleaned(texts))
        return words.start, words.end, self._pieces.pieces(words.words, words.spaced)

    @staticmethod
    def read(looked: tuple, number: int, name: str, ids: tf.Tensor) -> tuple[list[Word], np.ndarray]:
        """Of one of the texts, the field `name`, with token ids int32[n]: its words, and int64[n] the word of each token."""
        starts, ends, pieces = (one[number] for one in looked)
        groups, of_token = _together(ids.numpy().tolist(), pieces.to_list())
        start, end = starts.numpy().tolist(), ends.numpy().tolist()
        return [Word(name, start[first], end[last]) for first, last in groups], of_token


class WordPlaces:
    """Row of texts by field -> (the words of its texts in order, int64[S] the word of each token of its example, -1 of special
    tokens)."""

    def __init__(self, encoder: TextEncoder):
        self._fields, self._tokenizer = encoder.fields, encoder.tokenizer
        self._words = TextWords(encoder.tokenizer.tokenizer)
        self._look = tf.function(self._looked, autograph=False, input_signature=[tf.TensorSpec([len(self._fields)], tf.string)])

    def _looked(self, texts: tf.Tensor) -> tuple:
        """string[F] -> what `__call__` puts together: nested tensors of one row."""
        tokens, whole = self._tokenizer.traced(*(texts[i:i + 1] for i in range(len(self._fields))))
        return tokens[0], [ids[0] for ids in whole], self._words.look(texts)

    def __call__(self, row: dict[str, str]) -> tuple[list[Word], np.ndarray]:
        tokens, whole, looked = self._look(string_array([row[name] for name in self._fields]))
        words, owner, tokens = [], np.full(tokens.shape[0], -1, np.int64), tokens.numpy()
        for i, (name, ids) in enumerate(zip(self._fields, whole, strict=True)):
            made, of_token = self._words.read(looked, i, name, ids)
            here = tokens // TRACE == i + 1
            mine = of_token[tokens[here] % TRACE]
            owner[here] = np.where(mine < 0, -1, mine + len(words))
            words += made
        return words, owner


def _together(ids: list[int], pieces: list[list[int]]) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Token ids of a text, and of each of its words -> (first and last word of each group of words that no token is between,
    int64[n] the group of each token).

    [5 6 79], [[5] [6] [7] [9]] -> [(0, 0) (1, 1) (2, 3)], [0 1 2]
    """
    if not pieces:
        return [], np.full(len(ids), -1, np.int64)
    spelt = [piece for word in pieces for piece in word]
    word_of = [number for number, word in enumerate(pieces) for _ in word]
    first_of = np.zeros(len(ids), np.int64)
    joined = np.zeros(max(0, len(pieces) - 1), bool)  # whether a word goes with the next one
    steps = ([("equal", 0, len(ids), 0, len(ids))] if ids == spelt else
             difflib.SequenceMatcher(None, ids, spelt, autojunk=False).get_opcodes())
    for kind, begin, end, low, high in steps:
        if kind == "equal":
            first_of[begin:end] = word_of[low:high]
        elif begin < end:  # tokens that no word by itself has: those of the words that stand there, or else the next one
            first = word_of[min(low, len(spelt) - 1)]
            last = word_of[max(low, high - 1)] if low < high else first
            first_of[begin:end] = first
            joined[first:last] = True
    group = np.concatenate([[0], np.cumsum(~joined)])
    bounds = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
    return list(zip(bounds, [*(bound - 1 for bound in bounds[1:]), len(pieces) - 1])), group[first_of]
