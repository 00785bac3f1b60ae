"""Texts to words to word pieces to overlapping windows: the very ops that preprocessing and the exported model share.

TensorFlow core ops and the tokenizer's own tf-text ops, without loops over rows. Used where a word carries a tag, a role or
the end of an answer:

    words = WordSplitter("auto")(texts)
    pieces = tokenizer.pieces(words.words, words.spaced)
    windows = tokenizer.windows(pieces)
"""

import functools
import unicodedata
from typing import NamedTuple

import keras_hub
import numpy as np
import tensorflow as tf

from tfft.data.tokenize import DOUBLE_SEPARATOR, cleaned, start_and_end
from tfft.data.unknown import Unknown, unknown_id
from tfft.errors import UserError, unknown

MODES = ("auto", "whitespace", "characters", "punctuation")
# What a code point is to a splitter. JOIN stays with the one before it; EDGE is a word of its own at either end of a run.
SPACE, JOIN, EDGE, UNSPACED, LETTER, OTHER = range(6)
SIGILS = "@#"  # stay with the letter or digit that follows: @user, #tag
ZERO_WIDTH_JOINER = "\u200d"  # the variation selectors are marks (Mn) already
# Scripts written without spaces between words (Unicode's Scripts.txt; halfwidth and historic blocks included).
UNSPACED_SCRIPTS = {
    "Han": ((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B), (0x3400, 0x4DBF), (0x4E00, 0x9FFF),
            (0xF900, 0xFAFF), (0x16FE2, 0x16FF1), (0x20000, 0x3FFFD)),
    "Hiragana and Katakana": ((0x3031, 0x3035), (0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F)),
    "Thai": ((0x0E01, 0x0E5B),),
    "Lao": ((0x0E80, 0x0EFF),),
    "Khmer": ((0x1780, 0x17FF), (0x19E0, 0x19FF)),
    "Myanmar": ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),
}


class Words(NamedTuple):
    """words: ragged string[B,(W)]; start, end: ragged int32[B,(W)], offsets in the text in code points, end exclusive;
    spaced: ragged bool[B,(W)], whether white space or the beginning of the text stands before the word."""

    words: tf.RaggedTensor
    start: tf.RaggedTensor
    end: tf.RaggedTensor
    spaced: tf.RaggedTensor


class WordSplitter(tf.Module):
    """string[B] -> Words. Words stand in order, none overlaps another, every character but white space is in one.

    - "whitespace": the longest runs without white space.
    - "auto": of such a run, punctuation, symbols and invisible characters at either end are a word each, within it they stay;
      @ and # stay with a letter or digit that follows; each character of a script without spaces is a word.
      "(@ann in the U.K., don't)" -> ( @ann in the U.K . , don't )    "#3東京です" -> #3 東 京 で す
    - "punctuation": as "auto", but punctuation, symbols and invisible characters are a word each wherever they stand.
      "Jay-Z's $24" -> Jay - Z ' s $ 24
    - "characters": each character is a word.

    Combining marks, variation selectors and the zero width joiner stay with the character before them, unless a run begins with
    one. White space is what Python's str.isspace says, and U+0000.

    Offsets count code points, as Python's str does: text[start:end] == word. Of bytes that are no UTF-8 each maximal part
    becomes one U+FFFD and counts as one, as in bytes.decode("utf-8", "replace"). Letters, marks and punctuation are those of
    the Unicode version of the Python that makes the splitter; an export keeps them.

    Raises: UserError for an unknown mode.
    """

    def __init__(self, mode: str):
        super().__init__(name="word_splitter")
        if mode not in MODES:
            raise UserError(unknown("way to split words", mode, MODES))
        self.mode = mode

    def __call__(self, texts: tf.Tensor) -> Words:
        codes = tf.strings.unicode_decode(texts, "UTF-8", errors="replace", replacement_char=0xFFFD,
                                          replace_control_characters=False)
        flat, row = codes.flat_values, codes.value_rowids()  # all texts end to end: [C]
        bounds, kinds = _kinds()
        kind = tf.gather(kinds, tf.searchsorted(bounds, flat, side="right") - 1)
        space = kind == SPACE
        spaced = _previous(space, True) | (row != _previous(row, -1))
        character = tf.where(~space & ((kind != JOIN) | spaced))[:, 0]  # where each begins, its marks left out: [K]
        begins = self._begins(*(tf.gather(each, character) for each in (kind, spaced, _previous(flat, 0))))
        first = tf.boolean_mask(character, begins)  # [W]
        solid = first - tf.gather(tf.cumsum(tf.cast(space, tf.int64)), first)  # the same with white space left out
        spelt = tf.RaggedTensor.from_row_starts(tf.boolean_mask(flat, ~space), solid, validate=False)
        text = tf.gather(row, first)
        start = first - tf.gather(codes.row_starts(), text)

        def by_text(values: tf.Tensor) -> tf.RaggedTensor:
            return tf.RaggedTensor.from_value_rowids(values, text, codes.nrows(), validate=False)

        return Words(by_text(tf.strings.unicode_encode(spelt, "UTF-8")), by_text(tf.cast(start, tf.int32)),
                     by_text(tf.cast(start + spelt.row_lengths(), tf.int32)), by_text(tf.gather(spaced, first)))

    def _begins(self, kind: tf.Tensor, spaced: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        """bool[K]: whether a word begins with the character; before int32[K] is the code point before it."""
        if self.mode == "characters":
            return tf.ones_like(spaced)
        if self.mode == "whitespace":
            return spaced
        alone = (kind == UNSPACED) | (kind == EDGE) if self.mode == "punctuation" else kind == UNSPACED
        breaks = spaced | alone | _previous(alone, False)
        if self.mode == "punctuation":
            return breaks
        run = tf.cumsum(tf.cast(breaks, tf.int32)) - 1
        place = tf.range(tf.size(kind))
        inner = kind != EDGE
        first = tf.gather(tf.math.segment_min(tf.where(inner, place, tf.size(kind)), run), run)
        last = tf.gather(tf.math.segment_max(tf.where(inner, place, -1), run), run)
        sigil = tf.reduce_any([before == ord(c) for c in SIGILS], axis=0) & (kind == LETTER) & (place == first)
        return breaks | ((place <= first) & ~sigil) | (place > last)


def _previous(values: tf.Tensor, first) -> tf.Tensor:
    """[7 8 9] -> [first 7 8]"""
    return tf.concat([tf.constant([first], values.dtype), values], axis=0)[:-1]


@functools.cache
def _kinds() -> tuple[np.ndarray, np.ndarray]:
    """int32[R], int32[R]: the first code point of each stretch of one kind, and the kind."""
    kinds = np.full(0x110000, OTHER, np.int32)
    for code in (*range(0x40000), *range(0xE0000, 0xF0000)):  # the other planes have no characters, or private ones
        kinds[code] = _kind(chr(code))
    for ranges in UNSPACED_SCRIPTS.values():
        for low, high in ranges:
            kinds[low:high + 1][kinds[low:high + 1] == LETTER] = UNSPACED
    bounds = np.flatnonzero(np.diff(kinds, prepend=-1)).astype(np.int32)
    return bounds, kinds[bounds]


def _kind(character: str) -> int:
    category = unicodedata.category(character)
    if character == "\0" or character.isspace():
        return SPACE
    if character == ZERO_WIDTH_JOINER or category[0] == "M":
        return JOIN
    if category[0] in "PS" or category in ("Cc", "Cf"):
        return EDGE
    return LETTER if category[0] in "LN" else OTHER


class Windows(NamedTuple):
    """N windows of B texts, those of a text one after the other.

    token_ids: ragged int32[N,(n)], special tokens included; first_length: int32[N] tokens of the first segment (all where
    nothing stands before the text); row: int32[N] the text that a window is of; places: ragged int32[N,(w)] where in the window
    the first piece of each word stands that the window owns; words: int32[N] number within its text of the first word owned;
    full_length: int32[B] tokens of the uncut text, with what stands before it and special tokens; begin: int32[N] number of the
    window's first piece among the pieces of its text; body: int32[N] how many of them it has; body_start: int32[N] where in
    the window they begin.
    """

    token_ids: tf.RaggedTensor
    first_length: tf.Tensor
    row: tf.Tensor
    places: tf.RaggedTensor
    words: tf.Tensor
    full_length: tf.Tensor
    begin: tf.Tensor
    body: tf.Tensor
    body_start: tf.Tensor


class WordTokenizer(tf.Module):
    """Words to pieces, pieces to windows of at most max_length tokens.

    tokenizer: KerasHub's. overlap: pieces that a window shares with the one before it; half of a window's room at most is
    taken. before: whether another text, such as a question, stands before the text in every window. before_limit: of how many
    pieces at most; 0: half of the room.

    Raises: UserError where a window has no room for a piece, or is no longer than the overlap.
    """

    def __init__(self, tokenizer, *, max_length: int, overlap: int, before: bool, before_limit: int = 0):
        super().__init__(name="word_tokenizer")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.overlap = overlap
        self.before = before
        self._start, self._end = start_and_end(tokenizer)
        self._separator = self._end * (2 if type(tokenizer).__name__ in DOUBLE_SEPARATOR else 1) if before else []
        self._special = 2 + len(self._separator)
        self._room = max_length - self._special
        self.before_limit = (before_limit or self._room // 2) if before else 0
        # outside a graph KerasHub's tokenizers take another path, which returns lists
        self._ids = tf.function(lambda texts: tokenizer(texts), input_signature=[tf.TensorSpec([None], tf.string)],
                                autograph=False)
        self._unknown, self._underline = Unknown(tokenizer), _underline_id(tokenizer)
        # KerasHub's byte-level BPE spells a space into the word after it, unless it was told to put one before every text
        self._spells_space = (isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer)
                              and not tokenizer.add_prefix_space)
        self._check()

    def _check(self) -> None:
        left = self._room - self.before_limit
        beside = f" and {self.before_limit} of the text before" if self.before else ""
        if left < 1 or self.before and self.before_limit < 1:
            raise UserError(f"config.data.max_length={self.max_length} leaves no room for a window of the text beside "
                            f"{self._special} special tokens{beside}. Use a larger config.data.max_length.")
        if not 0 <= self.overlap < left:
            raise UserError(f"config.data.window_overlap={self.overlap} must be at least 0 and less than the {left} tokens of "
                            f"text that a window of config.data.max_length={self.max_length} holds beside {self._special} "
                            f"special tokens{beside}.")

    def pieces(self, words: tf.RaggedTensor, spaced: tf.RaggedTensor) -> tf.RaggedTensor:
        """ragged string[B,(W)], ragged bool[B,(W)] -> ragged int32[B,(W),(P)], at least one piece a word.

        A word without a piece (empty, or of invisible characters) is the unknown token. Invalid UTF-8 becomes U+FFFD and U+0000
        a space, as in TextTokenizer. Where white space is part of a piece, a word has it just where `spaced` says so:
        "(Paris)" as ( Paris ) becomes ▁( Paris ). RoBERTa's first word of a text has none, as in running text.
        """
        flat = cleaned(words.values)
        if self._spells_space:
            after = spaced.values & (tf.ragged.range(words.row_lengths()).values > 0)
            flat = tf.strings.join([tf.where(after, " ", ""), flat])
        ids = tf.cast(self._ids(flat), tf.int32)
        none = tf.cast(ids.row_lengths() == 0, tf.int64)
        unknown_ids = tf.fill([tf.reduce_sum(none)], self._unknown.id)
        ids = tf.concat([ids, tf.RaggedTensor.from_row_lengths(unknown_ids, none, validate=False)], axis=1)
        if self._underline is not None:
            lone = (tf.gather(ids.values, ids.row_starts()) == self._underline) & (ids.row_lengths() > 1) & ~spaced.values
            dropped = tf.cast(lone, tf.int64)
            ids = _parts(ids.values, ids.row_starts() + dropped, ids.row_lengths() - dropped)
        return words.with_values(ids)

    def unknown(self, words: tf.RaggedTensor, pieces: tf.RaggedTensor) -> tf.Tensor:
        """int32[B,4]: what tfft.data.unknown counts, of the words of each text and their pieces."""
        counted = self._unknown(cleaned(words.values), pieces.values)
        return tf.math.unsorted_segment_sum(counted, words.value_rowids(), words.nrows())

    def windows(self, pieces: tf.RaggedTensor, before: tf.RaggedTensor | None = None) -> Windows:
        """ragged int32[B,(W),(P)] of at least one piece a word, and ragged int32[B,(q)] where `before` -> Windows.

        A window has room for `budget` pieces of the text, and begins `stride = budget - overlap` after the one before it. Each
        word is owned by one window, that in which its first piece is farthest from the edges; so the words owned, window after
        window, are all words in order. A word of more pieces than the budget is cut to it.

        pieces 1 2 3 4 5 6, a word each, budget 4, overlap 2, special tokens 0 and 9
        -> token_ids [0 1 2 3 4 9] [0 3 4 5 6 9], places [1 2 3] [2 3 4], words 0 3, begin 0 2
        """
        uncut = pieces.with_row_splits_dtype(tf.int32)
        cut, budget, shown = self._cut(uncut, before)
        text_start = tf.gather(cut.row_splits, uncut.row_starts())
        length = tf.gather(cut.row_splits, uncut.row_limits()) - text_start
        overlap = tf.minimum(self.overlap, budget // 2)
        stride = budget - overlap
        count = 1 + tf.maximum(0, -((budget - length) // stride))
        number = tf.ragged.range(count, row_splits_dtype=tf.int32)  # of each window within its text
        row = number.value_rowids()
        begin = number.values * tf.gather(stride, row)
        body = tf.minimum(tf.gather(length, row) - begin, tf.gather(budget, row))
        text = _parts(cut.values, tf.gather(text_start, row) + begin, body)
        first = _join([self._start, *([] if before is None else [tf.gather(shown, row), self._separator])], tf.size(row))
        token_ids = _join([first, text, self._end], tf.size(row))
        body_start = first.row_lengths()

        text_of_word = uncut.value_rowids()
        at = cut.row_starts() - tf.gather(text_start, text_of_word)  # of each word's first piece within its text
        owner = (at - tf.gather(overlap // 2, text_of_word)) // tf.gather(stride, text_of_word)
        owner = tf.clip_by_value(owner, 0, tf.gather(count - 1, text_of_word)) + tf.gather(number.row_starts(), text_of_word)
        at += tf.gather(body_start - begin, owner)
        places = tf.RaggedTensor.from_value_rowids(at, owner, tf.size(row), validate=False)
        return Windows(
            token_ids=token_ids.with_row_splits_dtype(tf.int64), row=row, begin=begin, body=body, body_start=body_start,
            first_length=token_ids.row_lengths() if before is None else body_start,
            places=places.with_row_splits_dtype(tf.int64), words=places.row_starts() - tf.gather(uncut.row_starts(), row),
            full_length=_totals(uncut) + self._special + (0 if before is None else _lengths(before)))

    def word_of_piece(self, pieces: tf.RaggedTensor, before: tf.RaggedTensor | None = None) -> tf.RaggedTensor:
        """ragged int32[B,(n)]: the number of the word that each piece of a text belongs to, in the pieces' order as in
        Windows.begin: long words are cut as in windows(), for which `before` must be the same.

        [[[5 6] [7]] [[8]]] -> [[0 0 1] [0]]
        """
        uncut = pieces.with_row_splits_dtype(tf.int32)
        cut, _, _ = self._cut(uncut, before)
        number = tf.ragged.range(uncut.row_lengths(), row_splits_dtype=tf.int32).values
        made = tf.RaggedTensor.from_row_splits(tf.gather(number, cut.value_rowids()),
                                               tf.gather(cut.row_splits, uncut.row_splits), validate=False)
        return made.with_row_splits_dtype(tf.int64)

    def _cut(self, pieces: tf.RaggedTensor, before: tf.RaggedTensor | None
             ) -> tuple[tf.RaggedTensor, tf.Tensor, tf.RaggedTensor | None]:
        """The pieces of each word of all texts, cut to the budget of its text; budget int32[B]; `before` cut to its limit."""
        if (before is not None) != self.before:
            raise ValueError("a text before is given exactly where before=True")
        budget = tf.fill([pieces.nrows()], self._room)
        if before is not None:
            before = before.with_row_splits_dtype(tf.int32)
            before = _parts(before.values, before.row_starts(), tf.minimum(before.row_lengths(), self.before_limit))
            budget -= before.row_lengths()
        words = pieces.values
        kept = tf.minimum(words.row_lengths(), tf.gather(budget, pieces.value_rowids()))
        return _parts(words.values, words.row_starts(), kept), budget, before


def _parts(values: tf.Tensor, starts: tf.Tensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """[5 6 7 8], starts 0 1, lengths 2 3 -> [[5 6] [6 7 8]]"""
    at = tf.ragged.range(starts, starts + lengths, row_splits_dtype=starts.dtype)
    return at.with_values(tf.gather(values, at.values))


def _join(parts: list, rows: tf.Tensor) -> tf.RaggedTensor:
    """Side by side: ragged parts of as many rows, and lists that every row has."""
    made = tf.concat([tf.tile([p], [rows, 1]) if isinstance(p, list) else p for p in parts], axis=1)
    return made if isinstance(made, tf.RaggedTensor) else tf.RaggedTensor.from_tensor(made, row_splits_dtype=tf.int32)


def _totals(pieces: tf.RaggedTensor) -> tf.Tensor:
    """int32[B]: pieces of each text."""
    return tf.gather(pieces.values.row_splits, pieces.row_limits()) - tf.gather(pieces.values.row_splits, pieces.row_starts())


def _lengths(rows: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(rows.row_lengths(), tf.int32)


def _underline_id(tokenizer) -> int | None:
    """The piece that SentencePiece puts before a word whose own first piece has no space in it; None where there is none."""
    if not isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
        return None
    underline = int(tokenizer.token_to_id("\u2581"))
    return None if underline == unknown_id(tokenizer) else underline
