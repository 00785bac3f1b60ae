"""Which token comes next: the most probable one, or chance among those that are left."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

NEVER = np.float32(-1e30)
LONGEST_NGRAM = 8


class Sampling(NamedTuple):
    """How answers are chosen: numbers, or scalar tensors, so that a graph can take them as inputs.

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


def not_yet(logits: tf.Tensor, ends: tuple[int, ...], step, sampling: Sampling) -> tf.Tensor:
    """The logits float32[B,V] without the tokens that would end an answer before it has min_new_tokens."""
    early = tf.cast(step, tf.int32) < tf.cast(sampling.min_new_tokens, tf.int32)
    return tf.where(early & tf.constant(np.isin(np.arange(int(logits.shape[-1])), ends)), NEVER, logits)


def next_token(logits: tf.Tensor, history: tf.Tensor, there: tf.Tensor, length: tf.Tensor, keys: tf.Tensor, step,
               sampling: Sampling) -> tf.Tensor:
    """int32[B] of logits float32[B,V]. history int32[B,N]: all tokens so far, the first `length` of them; there bool[B,N]:
    which of them are no padding; keys uint32[B]: of `row_keys`; step: the number of the token in its answer."""
    logits = constrained(logits, history, there, length, sampling)
    return tf.cond(tf.cast(sampling.temperature, tf.float32) <= 0, lambda: tf.argmax(logits, axis=1, output_type=tf.int32),
                   lambda: _by_chance(logits, keys, step, sampling))


def constrained(logits: tf.Tensor, history: tf.Tensor, there: tf.Tensor, length: tf.Tensor, sampling: Sampling) -> tf.Tensor:
    """The logits with what the tokens so far forbid or make less probable."""
    penalty, ngram = tf.cast(sampling.repetition_penalty, tf.float32), tf.cast(sampling.no_repeat_ngram, tf.int32)
    there &= tf.range(shape_at(history, 1))[tf.newaxis] < length
    logits = tf.cond(tf.not_equal(penalty, 1.0), lambda: _less(logits, history, there, penalty), lambda: logits)
    return tf.cond(ngram > 0, lambda: _not_again(logits, history, there, length, ngram), lambda: logits)


def _less(logits: tf.Tensor, history: tf.Tensor, there: tf.Tensor, penalty: tf.Tensor) -> tf.Tensor:
    """The logits of tokens that are there already are divided by the penalty where they are above 0, else multiplied (Keskar et
    al. 2019, section 4.1, with what libraries do for those below 0)."""
    lower = tf.where(logits > 0, logits / penalty, logits * penalty)
    return tf.where(_marked(history, there, logits), lower, logits)


def _not_again(logits: tf.Tensor, history: tf.Tensor, there: tf.Tensor, length: tf.Tensor, ngram: tf.Tensor) -> tf.Tensor:
    """No `ngram` tokens in a row twice: after a b, where a b c was, c is never taken."""
    place, same = tf.range(shape_at(history, 1)), there
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
    """Of the tokens that are left, sorted, the one in whose share of the probability a number falls that is drawn by row and
    step alone."""
    logits = logits / tf.maximum(tf.cast(sampling.temperature, tf.float32), 1e-4)
    order = tf.argsort(logits, axis=1, direction="DESCENDING", stable=True)
    chances = left(tf.nn.softmax(tf.gather(logits, order, batch_dims=1)), sampling)
    summed = tf.cumsum(chances, axis=1)
    drawn = _uniform(keys, step)[:, tf.newaxis] * summed[:, -1:]
    place = tf.minimum(tf.reduce_sum(tf.cast(summed <= drawn, tf.int32), axis=1), shape_at(logits, 1) - 1)
    return tf.cast(tf.gather(order, place, batch_dims=1), tf.int32)


def left(chances: tf.Tensor, sampling: Sampling) -> tf.Tensor:
    """Probabilities float32[B,V] that descend, with 0 for those that are not among the top_k, not needed for top_p (Holtzman et
    al. 2020, section 3.1), or below min_p of the first; the first is always left."""
    number = tf.range(shape_at(chances, 1))[tf.newaxis]
    top_k = tf.cast(sampling.top_k, tf.int32)
    before = tf.cumsum(chances, axis=1, exclusive=True)
    kept = (number < tf.where(top_k > 0, top_k, shape_at(chances, 1)))
    kept &= (before < tf.cast(sampling.top_p, tf.float32)) & (chances >= tf.cast(sampling.min_p, tf.float32) * chances[:, :1])
    return tf.where(kept | (number == 0), chances, 0.0)


def row_keys(token_ids: tf.Tensor, padding_mask: tf.Tensor, seed) -> tf.Tensor:
    """uint32[B]: a number of each row's own prompt int32[B,S], padded on the left, and the seed; no other row matters."""
    from_end = tf.cast(tf.range(shape_at(token_ids, 1), 0, -1), tf.uint32)
    each = _mixed(tf.cast(token_ids, tf.uint32) * np.uint32(0x9E3779B1) + _mixed(from_end)[tf.newaxis])
    summed = tf.reduce_sum(tf.cast(each, tf.int64) * tf.cast(padding_mask, tf.int64), axis=1)
    return _mixed(tf.cast(summed % 2**32, tf.uint32) + _mixed(tf.cast(seed, tf.uint32)))


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
