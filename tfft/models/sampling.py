"""Which token comes next: the most probable one, or chance among those that are left."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

NEVER = np.float32(-1e30)
LONGEST_NGRAM = 8
FIRST = 256  # of the most probable tokens, among which chance mostly chooses: all of them need not be sorted then
BLOCK = 256  # tokens whose probabilities are summed first, where chance chooses among all


class Sampling(NamedTuple):
    """How answers are chosen: numbers, or tensors, so that a graph can take them as inputs: of a number for all rows, or one
    for each. Nothing that is chosen for a row changes another's answer.

    temperature 0 takes the most probable token; top_k 0, top_p 1, min_p 0, repetition_penalty 1 and no_repeat_ngram 0 are off.
    """

    max_new_tokens: Any = 128
    min_new_tokens: Any = 0
    temperature: Any = 0.0
    top_k: Any = 0
    top_p: Any = 1.0
    min_p: Any = 0.0
    repetition_penalty: Any = 1.0
    no_repeat_ngram: Any = 0
    seed: Any = 0
    length_penalty: Any = 1.0


FLOATS = ("temperature", "top_p", "min_p", "repetition_penalty", "length_penalty")


def column(value, dtype: tf.DType) -> tf.Tensor:
    """[1,1] of one number, [B,1] of one for each row."""
    return tf.reshape(tf.cast(value, dtype), [-1, 1])


def repeated(sampling: Sampling, rows, times: int) -> Sampling:
    """Of rows that each come so many times, one beside the other."""
    return Sampling(*(tf.repeat(tf.broadcast_to(column(value, tf.float32 if name in FLOATS else tf.int32)[:, 0], [rows]), times)
                      for name, value in sampling._asdict().items()))


def not_yet(logits: tf.Tensor, ends: tuple[int, ...], step, sampling: Sampling) -> tf.Tensor:
    """The logits float32[B,V] without the tokens that would end an answer before it has min_new_tokens. step: how many it has,
    a number or int32[B]."""
    early = column(step, tf.int32) < column(sampling.min_new_tokens, tf.int32)
    return tf.where(early & tf.constant(np.isin(np.arange(int(logits.shape[-1])), ends)), NEVER, logits)


def next_token(logits: tf.Tensor, history: tf.Tensor, there: tf.Tensor, length: tf.Tensor, keys: tf.Tensor, step,
               sampling: Sampling) -> tf.Tensor:
    """int32[B] of logits float32[B,V]. history int32[B,N]: all tokens so far, the first `length` of them; there bool[B,N]:
    which of them are no padding; keys uint32[B]: of `row_keys`; step: the number of the token in its answer, or int32[B]."""
    logits = constrained(logits, history, there, length, sampling)
    best, chance = tf.argmax(logits, axis=1, output_type=tf.int32), column(sampling.temperature, tf.float32)[:, 0] > 0
    return tf.cond(tf.reduce_any(chance), lambda: tf.where(chance, _by_chance(logits, keys, step, sampling), best),
                   lambda: best)


def constrained(logits: tf.Tensor, history: tf.Tensor, there: tf.Tensor, length: tf.Tensor, sampling: Sampling) -> tf.Tensor:
    """The logits with what the tokens so far forbid or make less probable."""
    penalty, ngram = column(sampling.repetition_penalty, tf.float32), column(sampling.no_repeat_ngram, tf.int32)
    there &= tf.range(shape_at(history, 1))[tf.newaxis] < length
    logits = tf.cond(tf.reduce_any(penalty != 1.0), lambda: _less(logits, history, there, penalty), lambda: logits)
    return tf.cond(tf.reduce_any(ngram > 0), lambda: _not_again(logits, history, there, length, ngram), lambda: logits)


def _less(logits: tf.Tensor, history: tf.Tensor, there: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """The logits of tokens that are there already are divided by the penalty where they are above 0, else multiplied (Keskar et
    al. 2019, section 4.1, with what libraries do for those below 0)."""
    lower = tf.where(logits > 0, logits / penalty, logits * penalty)
    return tf.where(_marked(history, there, logits), lower, logits)


def _not_again(logits: tf.Tensor, history: tf.Tensor, there: tf.Tensor, length: tf.Tensor, ngram: tf.Tensor) -> tf.Tensor:
    """No `ngram` tokens in a row twice: after a b, where a b c was, c is never taken."""
    place, same = tf.range(shape_at(history, 1)), there & (ngram > 0)
    for k in range(1, LONGEST_NGRAM):  # whether the k-th token before a place is the k-th before the next one
        before, last = tf.maximum(place - k, 0), tf.maximum(length - k, 0)
        equal = tf.gather(history, before, axis=1) == tf.gather(history, last, axis=1)[:, tf.newaxis]
        same &= (k >= ngram) | equal & tf.gather(there, before, axis=1) & (place >= k)[tf.newaxis]
    return tf.where(_marked(history, same, logits), NEVER, logits)


def _marked(history: tf.Tensor, where: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """bool[B,V]: tokens that stand at one of the places bool[B,N]."""
    rows = tf.repeat(tf.range(shape_at(history, 0)), shape_at(history, 1))
    at = tf.stack([rows, tf.reshape(tf.maximum(history, 0), [-1])], axis=1)
    return tf.tensor_scatter_nd_max(tf.zeros_like(like), at, tf.reshape(tf.cast(where, like.dtype), [-1])) > 0


def _by_chance(logits: tf.Tensor, keys: tf.Tensor, step: tf.Tensor, sampling: Sampling) -> tf.Tensor:
    """int32[B]: where a number that is drawn by row and step alone falls, when the probabilities of what is left are laid side
    by side. Which of three ways finds it is a matter of the row alone as well.

    Of all tokens where none is taken away; else of the FIRST most probable ones, where what is left is among these, or of all
    tokens in their order, which takes long.
    """
    temperature = tf.maximum(column(sampling.temperature, tf.float32), 1e-4)
    chances, drawn = tf.nn.softmax(logits / temperature), _uniform(keys, step)[:, tf.newaxis]
    words, top_k = int(logits.shape[-1]), column(sampling.top_k, tf.int32)
    free = (top_k <= 0) & (column(sampling.top_p, tf.float32) >= 1) & (column(sampling.min_p, tf.float32) <= 0)
    free = tf.broadcast_to(free[:, 0], tf.shape(drawn)[:1])

    def first(count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """(int32[B], bool[B]: whether all that is left is among so many)"""
        order = tf.math.top_k(logits, count).indices
        kept = left(tf.gather(chances, order, batch_dims=1), sampling)
        return (tf.gather(order, _place(kept, drawn), batch_dims=1),
                (kept[:, -1] <= 0) | ((top_k > 0) & (top_k <= count))[:, 0])

    def cut() -> tf.Tensor:
        few, enough = first(min(FIRST, words))
        if words <= FIRST:
            return few
        return tf.cond(tf.reduce_all(enough | free), lambda: few, lambda: tf.where(enough, few, first(words)[0]))

    made = tf.cond(tf.reduce_all(free), lambda: tf.zeros_like(logits[:, 0], tf.int32), cut)
    return tf.cond(tf.reduce_any(free), lambda: tf.where(free, _of_all(chances, drawn), made), lambda: made)


def _place(chances: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """int32[B]: where float32[B,1], 0 to 1, of the sum of float32[B,N] falls."""
    summed = tf.cumsum(chances, axis=1)
    place = tf.reduce_sum(tf.cast(summed <= drawn * summed[:, -1:], tf.int32), axis=1)
    last = tf.reduce_max(tf.where(chances > 0, tf.range(shape_at(chances, 1)), 0), axis=1)  # rounded, it could fall behind
    return tf.minimum(place, last)


def _of_all(chances: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """`_place`, found by a block first and then within it."""
    words = int(chances.shape[-1])
    blocks = tf.reshape(tf.pad(chances, [[0, 0], [0, -words % BLOCK]]), [-1, -(-words // BLOCK), BLOCK])
    sums = tf.reduce_sum(blocks, axis=2)
    block = _place(sums, drawn)
    before = tf.gather(tf.cumsum(sums, axis=1, exclusive=True), block, batch_dims=1)[:, tf.newaxis]
    within = tf.gather(blocks, block, batch_dims=1)
    share = (drawn * tf.cumsum(sums, axis=1)[:, -1:] - before) / tf.reduce_sum(within, axis=1, keepdims=True)
    return block * BLOCK + _place(within, tf.clip_by_value(share, 0.0, 1.0))


def left(chances: tf.Tensor, sampling: Sampling) -> tf.Tensor:
    """Probabilities float32[B,V] that descend, with 0 for those that are not among the top_k, not needed for top_p (Holtzman et
    al. 2020, section 3.1), or below min_p of the first; the first is always left."""
    number = tf.range(shape_at(chances, 1))[tf.newaxis]
    top_k = column(sampling.top_k, tf.int32)
    before = tf.cumsum(chances, axis=1, exclusive=True)
    kept = number < tf.where(top_k > 0, top_k, shape_at(chances, 1))
    kept &= before < column(sampling.top_p, tf.float32)
    kept &= chances >= column(sampling.min_p, tf.float32) * chances[:, :1]
    return tf.where(kept | (number == 0), chances, 0.0)


def row_keys(token_ids: tf.Tensor, padding_mask: tf.Tensor, seed, before=0) -> tf.Tensor:
    """uint32[B]: a number of each row's own prompt int32[B,S], padded on the left, and the seed; no other row matters.
    before, a number or int32[B]: how many of its last tokens are no prompt but the beginning of the answer."""
    from_end = tf.range(shape_at(token_ids, 1), 0, -1)[tf.newaxis] - column(before, tf.int32)
    mask = tf.cast(padding_mask, tf.int64) * tf.cast(from_end > 0, tf.int64)
    each = _mixed(tf.cast(token_ids, tf.uint32) * np.uint32(0x9E3779B1) + _mixed(tf.cast(from_end, tf.uint32)))
    summed = tf.reduce_sum(tf.cast(each, tf.int64) * mask, axis=1)
    return _mixed(tf.cast(summed % 2**32, tf.uint32) + _mixed(tf.cast(column(seed, tf.int32)[:, 0], tf.uint32)))


def _uniform(keys: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """float32[B], 0 to 1."""
    return tf.cast(_mixed(keys + _mixed(tf.cast(step, tf.uint32))) // np.uint32(256), tf.float32) / 2.0**24


def _mixed(x: tf.Tensor) -> tf.Tensor:
    """uint32 -> uint32, each bit of which depends on all: Wellons's lowbias32 (2018)."""
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, np.uint32(16))) * np.uint32(0x7FEB352D)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, np.uint32(15))) * np.uint32(0x846CA68B)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, np.uint32(16)))


def shape_at(t: tf.Tensor, axis: int):
    """A number where the shape is static."""
    return tf.shape(t)[axis] if t.shape[axis] is None else t.shape[axis]


def zeros(shape: list, dtype) -> tf.Tensor:
    """Of a shape in which numbers and scalar tensors are; static where it is all numbers."""
    return tf.zeros(shape if all(isinstance(n, int) for n in shape) else tf.stack(shape), dtype)
