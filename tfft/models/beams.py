"""Beam search: the texts of the highest probability that is found, each divided by a power of its length."""

import numpy as np
import tensorflow as tf

from tfft.models.sampling import NEVER, Sampling, column, constrained, not_yet, repeated, shape_at


def search(decoder, token_ids: tf.Tensor, padding_mask: tf.Tensor, sampling: Sampling, ends: tuple[int, ...], *, room: int,
           beams: int) -> tf.Tensor:
    """int32[B,room], as `tfft.models.decoding.generate`: of each prompt the best text of `beams`.

    In each step the 2 x beams best continuations of a prompt's texts are looked at, so that `beams` go on whichever have ended.
    An ended one counts by log-probability / length ** length_penalty; a prompt is done when none that goes on can be better
    than the worst of `beams` ended ones (Wu et al. 2016, section 7, with this plainer penalty).
    """
    from tfft.models.decoding import prepared

    rows, size = shape_at(token_ids, 0), shape_at(token_ids, 1)
    token_ids, padding_mask = (tf.repeat(t, beams, axis=0) for t in (token_ids, padding_mask))
    kept = prepared(token_ids, padding_mask, room)
    logits, caches = decoder(token_ids, decoder.caches(rows * beams, size + room), tf.constant(0), kept)
    history = tf.concat([token_ids, tf.zeros([rows * beams, room], tf.int32)], axis=1)
    most = tf.minimum(column(sampling.max_new_tokens, tf.int32), room)
    power, words, each = column(sampling.length_penalty, tf.float32), int(logits.shape[-1]), repeated(sampling, rows, beams)
    ended = tf.constant(np.isin(np.arange(words), ends))

    def divided(sums, length):
        return sums / tf.cast(length, tf.float32) ** power

    def step(i, logits, history, sums, best, scores):
        """Chooses the tokens of step i. sums float32[B,K] of texts that go on; best int32[B,K,room] and scores float32[B,K] of
        ended ones. Returns also where the texts that go on come from, int32[B x K]."""
        logits = not_yet(constrained(logits, history, kept.there > 0, size + i, each), ends, i, each)
        chances = tf.nn.log_softmax(logits)
        total = tf.reshape(sums[:, :, tf.newaxis] + tf.reshape(chances, [rows, beams, words]), [rows, beams * words])
        top = tf.math.top_k(total, 2 * beams)
        parent, token = top.indices // words, top.indices % words
        flat = tf.reshape(tf.range(rows)[:, tf.newaxis] * beams + parent, [-1])
        texts = tf.gather(history, flat)
        texts = tf.where(tf.range(size + room)[tf.newaxis] == size + i, tf.reshape(token, [-1, 1]), texts)
        made = tf.reshape(tf.where(tf.range(room)[tf.newaxis] <= i, texts[:, size:], -1), [rows, 2 * beams, room])
        ends_here = tf.gather(ended, token) | (i + 1 >= most)
        new = tf.where(ends_here & (top.values > NEVER / 2) & (i < most), divided(top.values, i + 1), NEVER)
        both, together = tf.concat([scores, new], axis=1), tf.concat([best, made], axis=1)
        scores, chosen = tf.math.top_k(both, beams)
        best = tf.gather(together, chosen, batch_dims=1)
        sums, going = tf.math.top_k(tf.where(ends_here, NEVER, top.values), beams)
        flat = tf.reshape(tf.range(rows)[:, tf.newaxis] * 2 * beams + going, [-1])
        parents = tf.reshape(tf.range(rows)[:, tf.newaxis] * beams + tf.gather(parent, going, batch_dims=1), [-1])
        history = tf.gather(texts, flat)
        # what is still possible: no token is more probable than 1
        longest = tf.where(power > 0, tf.cast(most, tf.float32), tf.cast(i + 1, tf.float32))
        done = (scores[:, -1:] >= sums[:, :1] / longest ** power) | (i + 1 >= most)
        return history, sums, best, scores, parents, done

    def body(i, history, sums, best, scores, parents, done, *caches):
        caches = decoder.reordered(list(caches), parents)
        token = tf.gather(history, size + i, axis=1)[:, tf.newaxis]
        logits, caches = decoder(token, caches, size + i, kept)
        return i + 1, *step(i + 1, logits, history, sums, best, scores), *caches

    first = tf.concat([tf.zeros([rows, 1]), tf.fill([rows, beams - 1], NEVER)], axis=1)  # all beams are one text yet
    state = step(0, logits, history, first, tf.fill([rows, beams, room], -1), tf.fill([rows, beams], NEVER))
    _, _, _, best, scores, *_ = tf.while_loop(
        lambda i, history, sums, best, scores, parents, done, *_: ~tf.reduce_all(done), body,
        [tf.constant(0), *state, *caches], parallel_iterations=1)
    return best[:, 0]
