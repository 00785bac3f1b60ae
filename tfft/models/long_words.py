"""Byte pairs of words of very many letters: of pieces that overlap, put together where two have a token in common.

Joining the pairs of a word takes a round for each of its different merges, and each round looks at the whole word: its time
grows faster than it. But tokens are a word's byte pairs already where each two neighbours are those of their own bytes ("So
many tokens, so little time", GitHub's blog, December 2024), provided that no merge makes a part of an earlier one. So those of
one piece up to a token that the next has at the same place, and those of the next from there on, are those of both together.

"banananab" and "ananabana" of "banananabana": b|an|an|an|ab and an|an|ab|an|a have the second "an" in common, and what follows
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

LONG = 1024  # bytes; shorter words are not cut
PIECE, STRIDE = 512, 384
NOWHERE = np.iinfo(np.int64).max


def in_pieces(words: tf.Tensor, merge: Callable[[tf.Tensor], tf.RaggedTensor], lengths: Callable[[tf.Tensor], tf.Tensor]
              ) -> tf.RaggedTensor:
    """merge(words): int64[W,(n)] of words string[W]. lengths(ids int64[n]): their bytes, int64[n]."""
    size = tf.strings.length(words)
    count = tf.where(size > LONG, -(-(size - PIECE) // STRIDE) + 1, 1)
    word = tf.repeat(tf.range(tf.size(words)), count)
    number = tf.range(tf.size(word)) - tf.gather(tf.cumsum(count, exclusive=True), word)
    room = tf.gather(tf.where(size > LONG, PIECE, size), word)
    pieces = tf.strings.substr(tf.gather(words, word), number * STRIDE, room)
    made = merge(pieces)

    def together() -> tuple[tf.Tensor, tf.Tensor]:
        offset = tf.gather(tf.cumsum(tf.cast(size, tf.int64), exclusive=True), word)
        kept, found = _kept(made, tf.cast(number, tf.int64), offset, lengths(made.values))
        found &= tf.reduce_all(tf.reduce_sum(made.with_values(lengths(made.values)), axis=1) == tf.cast(
            tf.strings.length(pieces), tf.int64))  # else bytes that are no tokens were left out
        rows = tf.cast(tf.boolean_mask(tf.gather(word, made.value_rowids()), kept), tf.int64)
        whole = tf.RaggedTensor.from_value_rowids(tf.boolean_mask(made.values, kept), rows, nrows=tf.size(words, tf.int64),
                                                  validate=False)
        return tf.cond(found, lambda: _parts(whole), lambda: _parts(merge(words)))

    values, splits = tf.cond(tf.reduce_any(size > LONG), together, lambda: _parts(made))
    return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


def _parts(ragged: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    return ragged.values, ragged.row_splits


def _kept(made: tf.RaggedTensor, number: tf.Tensor, offset: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(which of the pieces' tokens are the words', whether there is a token in common wherever two pieces meet). number
    int64[P]: of a piece in its word; offset int64[P]: the bytes of the words before its own."""
    piece = made.value_rowids()
    begins = tf.concat([[np.int64(0)], tf.cumsum(lengths)], 0)
    within = begins[:-1] - tf.gather(tf.gather(begins, made.row_starts()), piece)
    place = within + tf.gather(number * STRIDE + offset, piece)
    _, index, times = tf.unique_with_counts(place * 2**32 + made.values)
    common = (tf.gather(times, index) > 1) & (within < PIECE - STRIDE) & (tf.gather(number, piece) > 0)
    first = tf.math.unsorted_segment_min(tf.where(common, place, NOWHERE), piece, tf.size(number))
    first = tf.where(number == 0, np.int64(0), first)
    until = tf.where(tf.concat([number[1:], [0]], 0) == 0, NOWHERE, tf.concat([first[1:], [NOWHERE]], 0))
    kept = (place >= tf.gather(first, piece)) & (place < tf.gather(until, piece))
    return kept, tf.reduce_all(first < NOWHERE)
