"""A linear-chain conditional random field over the tags of a text: likelihood, best path, and each tag's probability.

    score(tags) = start[tags_0] + sum over s of logits[s, tags_s] + sum over s of steps[tags_s-1, tags_s] + end[tags_last]
    p(tags)     = exp(score(tags)) / sum over all paths of exp(score(path))

Lafferty, McCallum and Pereira 2001, "Conditional Random Fields", section 3; over a network's logits as in Lample et al.
2016, "Neural Architectures for Named Entity Recognition", section 2.2. Transitions come as float32[B,T+2,T], the same for
every example: rows 0..T-1 are `steps` (from the row's tag to the column's), row T is `start`, row T+1 is `end`.

Everything is computed in float32, whatever comes in. What stands beyond an example's length is never looked at, be it NaN.

Time: S - 1 sequential steps over B * T * T numbers for the likelihood, and as many for its gradient, which is written out
below: one loop each, which XLA compiles with static shapes, and S * T * B numbers kept between them. On a TPU or GPU a step
is small (B = 32, T = 21: 14112 numbers), so the cost should grow with S and hardly with B or T (not measured there);
without XLA each step is a dozen kernels. Products of T by T matrices in log2(S) rounds would need T times the arithmetic
and T times the memory.
"""

import keras
import tensorflow as tf
from keras import ops

FORBIDDEN = -1e4  # finite, in float16 and bfloat16 too: a forbidden path costs that much, and no gradient is NaN


@keras.saving.register_keras_serializable("tfft")
class Transitions(keras.layers.Layer):
    """logits f[B,S,T] -> float32[B,T+2,T]: one trainable table of scores, repeated for each example; zero to begin with.

    forbidden: bool[T+2,T] as nested tuples. Where it is true the score is -1e4, always: no gradient reaches that entry.
    The table is float32 under every precision policy.

    T = 2, forbidden ((0, 1), (0, 0), (0, 1), (0, 0)): tag 1 may not follow tag 0 and may not be the first
    -> for each example [[0, -1e4], [0, 0], [0, -1e4], [0, 0]]
    """

    def __init__(self, forbidden: tuple[tuple[bool, ...], ...], **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.forbidden = tuple(tuple(bool(entry) for entry in row) for row in forbidden)
        rows, widths = len(self.forbidden), {len(row) for row in self.forbidden}
        if widths != {rows - 2}:
            raise ValueError(f"forbidden is bool[T+2,T]; here it has {rows} rows of {sorted(widths)} entries")

    def build(self, logits_shape):
        tags = len(self.forbidden) - 2
        if logits_shape[-1] != tags:
            raise ValueError(f"forbidden is for {tags} tags, and the logits are for {logits_shape[-1]}")
        self.table = self.add_weight(shape=(tags + 2, tags), initializer="zeros", name="transitions")

    def call(self, logits):
        scores = ops.where(ops.convert_to_tensor(self.forbidden), FORBIDDEN, self.table)
        return ops.broadcast_to(scores, (ops.shape(logits)[0], *scores.shape))

    def compute_output_shape(self, logits_shape):
        return (logits_shape[0], len(self.forbidden), len(self.forbidden) - 2)

    def get_config(self):
        return {**super().get_config(), "forbidden": self.forbidden}


def log_likelihood(logits: tf.Tensor, tags: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """(logits f[B,S,T], tags int32[B,S], lengths int32[B], transitions f[B,T+2,T]) -> float32[B]: log p(tags | logits).

    lengths are 0..S. Tags beyond them may be anything; a length of 0 gives 0. A path over forbidden entries has a log
    probability of about -1e4 for each. The gradient is the observed count of each tag and transition less its expected one.

    T = 2, all scores 0, length 3: 8 paths, so log(1/8)
    """
    return _log_likelihood(_float32(logits), _float32(transitions), tf.cast(tags, tf.int32), tf.cast(lengths, tf.int32))


def viterbi(logits: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(logits f[B,S,T], lengths int32[B], transitions f[B,T+2,T]) -> (tags int32[B,S], scores float32[B]): the best path.

    Tags are 0 beyond the length; a length of 0 scores 0. Of equally good paths it is the one with the lowest last tag, of these
    the one with the lowest tag before it, and so on. A transition that scores -5e3 or less is never taken, however large the
    logits, unless there is no path without one. (Forney 1973, "The Viterbi algorithm".)

    T = 2, logits [[3, 0], [0, 1]], steps from 0 to 1 forbidden: [0, 0], and the score is 3
    """
    logits, transitions, lengths = _float32(logits), _float32(transitions), tf.cast(lengths, tf.int32)
    real, last = _places(logits, lengths)
    logits = tf.where(real[..., None], logits, 0.0)
    strict = tf.where(transitions <= FORBIDDEN / 2, -1e30, transitions)
    scores = tf.transpose(_forward(logits, strict, _best)[1], [0, 2, 1])
    final = _first_best(_at_last(scores, tf.transpose(last)[..., None]) + strict[:, -1])
    into = tf.transpose(strict[:, :-2], [0, 2, 1])

    def step(following, here):
        scores, is_last = here
        return tf.where(is_last, final, _first_best(scores + tf.gather(into, following, batch_dims=1)))

    path = tf.scan(step, (scores, tf.transpose(last)), tf.zeros_like(final), reverse=True)
    tags = tf.where(real, tf.transpose(path), 0)
    return tags, _score(logits, transitions, *_counts(tags, real, last, logits.shape[-1]))


def marginals(logits: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """(logits f[B,S,T], lengths int32[B], transitions f[B,T+2,T]) -> float32[B,S,T]: p(the tag at s is t); 0 beyond the length.

    Forward sums (Rabiner 1989, "A tutorial on hidden Markov models", section III), then, in place of his backward variable,
    p(i at s) = sum over j of p(j at s+1) p(i at s | j at s+1): probabilities throughout, with nothing to overflow.

    T = 2, all scores 0, length 1 of 2: [[0.5, 0.5], [0, 0]]
    """
    logits, transitions = _float32(logits), _float32(transitions)
    real, last = _places(logits, tf.cast(lengths, tf.int32))
    sums = _forward(tf.where(real[..., None], logits, 0.0), transitions, _log_sum_exp)
    return _backward(sums, transitions, last)[0]


def log_partition(logits: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """(logits f[B,S,T], lengths int32[B], transitions f[B,T+2,T]) -> float32[B]: log of the sum over all paths of exp(score).

    With the logits of all tags but one at one place at -1e9 it is that of the paths through this one; less the log of
    all, the log of the tag's marginal probability, exact where that is 1 in float32 or 0. The gradient is that of the loop.

    T = 2, all scores 0, length 3: 8 paths, so log(8)
    """
    logits, transitions, lengths = _float32(logits), _float32(transitions), tf.cast(lengths, tf.int32)
    real, last = _places(logits, lengths)
    return _total(_forward(tf.where(real[..., None], logits, 0.0), transitions, _log_sum_exp), transitions, real, last, lengths)


@tf.custom_gradient
def _log_likelihood(logits, transitions, tags, lengths):
    real, last = _places(logits, lengths)
    logits = tf.where(real[..., None], logits, 0.0)
    logits -= tf.reduce_max(logits, -1, keepdims=True)  # changes no probability, and keeps the two sums below small
    path, moves = _counts(tags, real, last, logits.shape[-1])
    sums = _forward(logits, transitions, _log_sum_exp)
    total = _total(sums, transitions, real, last, lengths)

    def gradient(upstream):
        expected_path, expected_moves = _backward(sums, transitions, last)
        scale = upstream[:, None, None]
        return scale * (path - expected_path), scale * (moves - expected_moves), None, None

    return _score(logits, transitions, path, moves) - total, gradient


def _total(sums: tuple, transitions, real, last, lengths) -> tf.Tensor:
    """float32[B]: log of the sum over all paths, of what `_forward` made."""
    _, scores, best = sums
    final = _at_last(scores, tf.transpose(last)[:, None]) + tf.transpose(transitions[:, -1])
    return tf.reduce_sum(tf.where(tf.transpose(real), best, 0.0), 0) + tf.where(lengths > 0, _log_sum_exp(final), 0.0)


def _forward(logits, transitions, join) -> tuple:
    """(before, scores float32[S,T,B], best float32[S,B]): all the paths to each tag at s, joined by logsumexp or by max.

    before[s] leaves out the tag's own logit. scores[s] has it, less best[s], so that the best score is 0 at every s and
    float32 is as exact at the end of a long text as at its beginning. The batch is innermost, which is fastest.
    """
    logits, transitions = tf.transpose(logits, [1, 2, 0]), tf.transpose(transitions, [1, 2, 0])
    steps, start = transitions[:-2], transitions[-2]

    length = logits.shape[0] or tf.shape(logits)[0]

    def step(s, before, found):
        scores = before + tf.gather(logits, s - 1)
        scores -= tf.reduce_max(scores, 0)
        before = join(scores[:, None] + steps)
        return s + 1, before, found.write(s, before)

    found = tf.TensorArray(tf.float32, length, element_shape=start.shape).write(0, start)
    found = tf.while_loop(lambda s, *_: s < length, step, (1, start, found), maximum_iterations=length - 1)[-1]
    before = found.stack()
    scores = before + logits
    best = tf.reduce_max(scores, 1)
    return before, scores - best[:, None], best


def _backward(sums: tuple, transitions, last) -> tuple:
    """(float32[B,S,T], float32[B,T+2,T]): the expected counts of each tag at each place, and of each transition."""
    before, scores, _ = sums
    transitions, last = tf.transpose(transitions, [1, 2, 0]), tf.transpose(last)[:, None]
    steps, end = transitions[:-2], tf.nn.softmax(_at_last(scores, last) + transitions[-1], 0)
    ends = tf.where(last, end, 0.0)
    length = ends.shape[0] or tf.shape(ends)[0]

    def step(s, after, found, moves):
        pairs = tf.exp(tf.gather(scores, s)[:, None] + steps - tf.gather(before, s + 1)) * after  # [from,to,B]
        here = tf.reduce_sum(pairs, 1) + tf.gather(ends, s)
        here = tf.math.divide_no_nan(here, tf.reduce_sum(here, 0))  # 1 in all, or the last bits of a long text add up
        return s - 1, here, found.write(s, here), moves + pairs

    found = tf.TensorArray(tf.float32, length, element_shape=ends.shape[1:]).write(length - 1, ends[-1])
    _, first, found, moves = tf.while_loop(lambda s, *_: s >= 0, step, (length - 2, ends[-1], found, tf.zeros_like(steps)),
                                           maximum_iterations=length - 1)
    moves = tf.concat([moves, first[None], tf.reduce_sum(ends, 0)[None]], 0)
    return tf.transpose(found.stack(), [2, 0, 1]), tf.transpose(moves, [2, 0, 1])


def _counts(tags, real, last, size: int) -> tuple:
    """A path's tags and transitions, as 0 and 1 float32[B,S,T] and as counts float32[B,T+2,T]."""
    path = tf.where(real[..., None], tf.one_hot(tags, size), 0.0)
    moves = tf.matmul(path[:, :-1], path[:, 1:], transpose_a=True)
    return path, tf.concat([moves, path[:, :1], tf.reduce_sum(tf.where(last[..., None], path, 0.0), 1, keepdims=True)], 1)


def _score(logits, transitions, path, moves) -> tf.Tensor:
    return tf.reduce_sum(logits * path, [1, 2]) + tf.reduce_sum(transitions * moves, [1, 2])


def _places(logits, lengths) -> tuple:
    """(within the length, at its last place), bool[B,S] each. Length 2 of 3: [1, 1, 0] and [0, 1, 0]"""
    places = tf.range(logits.shape[1] or tf.shape(logits)[1])[None]
    return places < lengths[:, None], places == lengths[:, None] - 1


def _at_last(scores, last) -> tf.Tensor:
    """Those of each example's last place, of [S,...]; zeros where its length is 0."""
    return tf.reduce_sum(tf.where(last, scores, 0.0), 0)


def _best(x) -> tf.Tensor:
    return tf.reduce_max(x, 0)


def _log_sum_exp(x) -> tf.Tensor:
    """Over the first axis, of finite numbers. tf.reduce_logsumexp takes more ops, for the sake of infinities."""
    best = tf.reduce_max(x, 0)
    return best + tf.math.log(tf.reduce_sum(tf.exp(x - best), 0))


def _first_best(x) -> tf.Tensor:
    return tf.argmax(x, -1, output_type=tf.int32)


def _float32(x) -> tf.Tensor:
    return tf.cast(x, tf.float32)
