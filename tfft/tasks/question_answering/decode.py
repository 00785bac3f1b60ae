"""From start and end logits to the n best spans, of a window and of a text in several windows. In the graph, XLA included."""

from typing import NamedTuple

import tensorflow as tf

NONE = -1e9  # the score of a span that is missing; a logit of a real one is above NONE / 10


class Spans(NamedTuple):
    """The n best spans, best first: int32[N,n] first piece, int32[N,n] last piece (inclusive), float32[N,n] score; and
    float32[N], the score of "no answer here". Of spans with the same score the one with the lower start, then end, comes first.
    Where there are fewer than n, the last have the score NONE and the pieces 0 to 0."""

    start: tf.Tensor
    end: tf.Tensor
    score: tf.Tensor
    null: tf.Tensor


def best_spans(start_logits: tf.Tensor, end_logits: tf.Tensor, allowed: tf.Tensor, max_pieces: int, n: int) -> Spans:
    """The n best spans of each window: start <= end < start + max_pieces, allowed at both; score = the sum of both logits.

    float32[N,S], float32[N,S], int32[N,S] (1 at a piece of the context) -> spans in window pieces. null: the logits at piece 0
    ([CLS]), summed.

    Exact in memory N x (S + n x max_pieces): the n best spans begin at no more than n places, and those n places are the
    best by the best span that begins there, which is the start logit plus the maximum of the end logits over the
    max_pieces that follow. Only from those n are all ends looked at.

    start [0, 1, 2], end [0, 3, 1], allowed [0, 1, 1], max_pieces 2, n 2 -> (1, 1) score 4, (2, 2) score 3, null 0
    """
    start_logits, end_logits = tf.cast(start_logits, tf.float32), tf.cast(end_logits, tf.float32)
    starts = tf.where(allowed > 0, start_logits, NONE)
    ends = tf.where(allowed > 0, end_logits, NONE)
    starts = tf.pad(starts, [[0, 0], [0, n]], constant_values=NONE)  # so that there are n starts in a window of any length
    ends = tf.pad(ends, [[0, 0], [0, n + max_pieces - 1]], constant_values=NONE)
    best_end = tf.nn.max_pool1d(ends[:, :, None], ksize=max_pieces, strides=1, padding="VALID")[:, :, 0]

    chosen = _ascending(_largest(starts + best_end, n)[1])  # for the order of equals
    reached = chosen[:, :, None] + tf.range(max_pieces)  # int32[N,n,max_pieces]
    sums = tf.gather(starts, chosen, batch_dims=1)[:, :, None] + tf.gather(ends, reached, batch_dims=1)
    score, place = _largest(tf.reshape(sums, [-1, n * max_pieces]), n)

    found = score > NONE / 2
    start = tf.gather(chosen, place // max_pieces, batch_dims=1)
    return Spans(tf.where(found, start, 0), tf.where(found, start + place % max_pieces, 0), tf.where(found, score, NONE),
                 start_logits[:, 0] + end_logits[:, 0])


def _largest(values: tf.Tensor, n: int) -> tuple[tf.Tensor, tf.Tensor]:
    """float32[N,n], int32[N,n]: the n largest of float32[N,K], n <= K, the largest first, and where they are; of equals the
    first. Not tf.math.top_k: what XLA makes of it has a shape that depends on values, which no TPU takes.

    [[3 5 5]], n 2 -> [[5 5]], [[1 2]]
    """
    position = tf.range(tf.shape(values)[1])
    largest, places = [], []
    for _ in range(n):
        place = tf.argmax(values, axis=1, output_type=tf.int32)
        here = position == place[:, None]
        largest.append(tf.reduce_max(values, axis=1))
        places.append(place)
        values = tf.where(here, values.dtype.min, values)
    return tf.stack(largest, axis=1), tf.stack(places, axis=1)


def _ascending(values: tf.Tensor) -> tf.Tensor:
    """int32[N,n], all different in a row, in ascending order, without a sort for the same reason. [[7 2]] -> [[2 7]]"""
    rank = tf.reduce_sum(tf.cast(values[:, :, None] > values[:, None, :], tf.int32), axis=2)
    return tf.reduce_sum(tf.where(rank[:, :, None] == tf.range(values.shape[1]), values[:, :, None], 0), axis=1)


def merge_windows(spans: Spans, row: tf.Tensor, begin: tf.Tensor, body_start: tf.Tensor, rows: int | tf.Tensor) -> Spans:
    """The n best spans of each of `rows` texts, in the text's pieces, from the spans of its windows.

    row int32[N]: the text of each window, ascending; windows of rows outside 0 ... rows - 1 are left out, as padding.
    begin int32[N]: which piece of the text is the window's first body piece; body_start int32[N]: where the body begins in
    the window. A span that two windows have counts once, with the better score. `rows` may be a tensor where no static
    shape is needed. Exact: the n best of a text are among the n best of its windows.

    null is the least over the windows, as in BERT's SQuAD code: every window without the answer rightly has a high one, and
    the text has no answer only if not one window doubts it. For a text without a window it is 0.

    spans (3, 4) score 2.0 of window 0 (begin 0, body_start 3) and (1, 2) score 2.5 of window 1 (begin 0, body_start 1), both
    of row 0 -> (0, 1) score 2.5
    """
    n = spans.score.shape[1]
    inside = (row >= 0) & (row < rows)
    row = tf.where(inside, row, rows)  # the row behind the last one takes what is left out
    shift = (begin - body_start)[:, None]
    found = (spans.score > NONE / 2) & inside[:, None]
    texts = tf.reshape(tf.broadcast_to(row[:, None], tf.shape(spans.score)), [-1])
    start = tf.reshape(tf.where(found, spans.start + shift, 0), [-1])
    end = tf.reshape(tf.where(found, spans.end + shift, 0), [-1])
    score = tf.reshape(tf.where(found, spans.score, NONE), [-1])

    # Sorted by text, start, end and falling score, a span that equals the one before it is a duplicate.
    texts, start, end, score = _ordered((texts, start, end, score), (-score, end, start, texts))
    same = (texts[1:] == texts[:-1]) & (start[1:] == start[:-1]) & (end[1:] == end[:-1])
    score = tf.where(tf.concat([[False], same], 0)[:tf.size(score)], NONE, score)
    texts, start, end, score = _ordered((texts, start, end, score), (-score, texts))

    position = tf.range(tf.size(texts))
    rank = position - tf.gather(tf.math.unsorted_segment_min(position, texts, rows + 1), texts)
    slot = tf.where((rank < n) & (texts < rows), texts * n + rank, rows * n)[:, None]  # the last slot takes what is left out
    kept = tf.tensor_scatter_nd_update(tf.fill([rows * n + 1], NONE), slot, score)[:-1]
    start, end = (tf.where(kept > NONE / 2, tf.scatter_nd(slot, value, [rows * n + 1])[:-1], 0) for value in (start, end))
    null = tf.math.unsorted_segment_min(spans.null, row, rows + 1)[:-1]
    return Spans(*(tf.reshape(value, [rows, n]) for value in (start, end, kept)),
                 tf.where(null < null.dtype.max, null, 0.0))


class Decided(NamedTuple):
    """The n best answers of B texts: int32[B,n] first piece, int32[B,n] last piece (inclusive), float32[B,n] score, bool[B,n]
    found, False where there are fewer; float32[B] null, the share of "no answer" beside these scores, with which they sum to
    1; float32[B] no_answer: the same share beside the best answer alone."""

    start: tf.Tensor
    end: tf.Tensor
    score: tf.Tensor
    found: tf.Tensor
    null: tf.Tensor
    no_answer: tf.Tensor


def decide(units: tf.Tensor, row: tf.Tensor, begin: tf.Tensor, body_start: tf.Tensor, rows: int | tf.Tensor, n: int) -> Decided:
    """From what `to_units` made of windows, float32[N * (n + 1), 3], one after another; the rest as `merge_windows`."""
    windows = tf.reshape(units, [-1, n + 1, 3])
    places = tf.cast(windows[:, :n, :2], tf.int32)
    spans = merge_windows(Spans(places[..., 0], places[..., 1], windows[:, :n, 2], windows[:, n, 2]), row, begin, body_start,
                          rows)
    shares = tf.nn.softmax(tf.concat([spans.score, spans.null[:, tf.newaxis]], axis=1))
    no_answer = tf.nn.sigmoid(spans.null - spans.score[:, 0])
    return Decided(spans.start, spans.end, shares[:, :n], spans.score > NONE / 2, shares[:, n], no_answer)


def to_units(spans: Spans) -> tf.Tensor:
    """float32[N,n+1,3]: first piece, last piece and score of each span; (0, 0, null) last. Exact below 2^24 pieces a window."""
    null = tf.pad(spans.null[:, tf.newaxis, tf.newaxis], [[0, 0], [0, 0], [2, 0]])
    made = tf.stack([tf.cast(spans.start, tf.float32), tf.cast(spans.end, tf.float32), spans.score], axis=2)
    return tf.concat([made, null], axis=1)


def _ordered(values: tuple[tf.Tensor, ...], keys: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    """Vectors sorted by keys, all ascending, the last key first; equals keep their order."""
    order = tf.range(tf.size(keys[0]))
    for key in keys:
        order = tf.gather(order, tf.argsort(tf.gather(key, order), stable=True))
    return tuple(tf.gather(value, order) for value in values)
