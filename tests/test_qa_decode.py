"""The n best spans are those that trying all of them finds, in a window and over the windows of a text."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.tasks.question_answering.decode import NONE, Spans, best_spans, merge_windows

COMPILED = tf.function(best_spans, jit_compile=True)


def all_spans(start, end, allowed, max_pieces: int) -> list[tuple]:
    """(-score, start, end) of every span of one window, best first."""
    return sorted((-np.float32(start[s] + end[e]), s, e) for s in range(len(start))
                  for e in range(s, min(s + max_pieces, len(start))) if allowed[s] and allowed[e])


def filled(found: list[tuple], n: int) -> list[tuple]:
    """The n best as (start, end, score), with missing ones."""
    made = [(s, e, -negative) for negative, s, e in found[:n]]
    return made + [(0, 0, np.float32(NONE))] * (n - len(made))


def listed(spans: Spans) -> list[list[tuple]]:
    """(start, end, score) of each row's spans."""
    return [list(zip(*one)) for one in zip(*(value.numpy().tolist() for value in (spans.start, spans.end, spans.score)))]


def windows(seed: int, count: int, length: int, ties: bool):
    """Logits and what is allowed: from nothing at all to everything, with gaps."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 5, (2, count, length)).astype(np.float32)
    if ties:
        logits = np.round(logits / 4)
    allowed = (random.random((count, length)) < random.choice([0.0, 0.1, 0.7, 1.0], (count, 1))).astype(np.int32)
    return logits[0], logits[1], allowed


def check(start, end, allowed, max_pieces: int, n: int, made: Spans) -> None:
    for row, spans in enumerate(listed(made)):
        assert spans == filled(all_spans(start[row], end[row], allowed[row], max_pieces), n)
    np.testing.assert_array_equal(made.null, start[:, 0] + end[:, 0])
    assert (made.start.dtype, made.end.dtype, made.score.dtype, made.null.dtype) == (tf.int32, tf.int32, tf.float32, tf.float32)


def test_by_hand():
    made = best_spans(tf.constant([[0.0, 1.0, 2.0]]), tf.constant([[0.0, 3.0, 1.0]]), tf.constant([[0, 1, 1]]), 2, 2)
    assert listed(made) == [[(1, 1, 4.0), (2, 2, 3.0)]] and made.null.numpy().tolist() == [0.0]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 12), st.integers(1, 14), st.integers(1, 7), st.booleans())
def test_best_spans_are_those_of_trying_all(seed, count, length, max_pieces, n, ties):
    start, end, allowed = windows(seed, count, length, ties)
    check(start, end, allowed, max_pieces, n, best_spans(*map(tf.constant, (start, end, allowed)), max_pieces, n))


@pytest.mark.parametrize("max_pieces, n", [(1, 1), (4, 3), (30, 5)])
@pytest.mark.parametrize("ties", [False, True])
def test_best_spans_compiled(max_pieces, n, ties):
    start, end, allowed = windows(3, 5, 16, ties)
    check(start, end, allowed, max_pieces, n, COMPILED(*map(tf.constant, (start, end, allowed)), max_pieces, n))


def test_best_spans_of_a_length_not_known_beforehand():
    @tf.function(input_signature=[tf.TensorSpec([None, None])] * 2 + [tf.TensorSpec([None, None], tf.int32)])
    def call(start, end, allowed):
        return best_spans(start, end, allowed, 5, 4)

    for count, length in ((2, 9), (1, 1), (3, 2)):
        start, end, allowed = windows(5, count, length, True)
        check(start, end, allowed, 5, 4, call(start, end, allowed))
    empty = call(np.zeros((0, 9), np.float32), np.zeros((0, 9), np.float32), np.zeros((0, 9), np.int32))
    assert [value.shape for value in empty] == [(0, 4), (0, 4), (0, 4), (0,)]


def test_logits_of_lower_precision_are_scored_in_float32():
    start, end, allowed = windows(7, 3, 9, False)
    start, end = tf.cast(start, tf.bfloat16), tf.cast(end, tf.bfloat16)
    made = best_spans(start, end, tf.constant(allowed), 3, 4)
    check(tf.cast(start, tf.float32).numpy(), tf.cast(end, tf.float32).numpy(), allowed, 3, 4, made)


def test_memory_does_not_hold_every_span():
    start, end, allowed = map(tf.constant, windows(9, 64, 512, False))
    for max_pieces in (30, 512):
        made = tf.function(best_spans).get_concrete_function(start, end, allowed, max_pieces, 20)
        largest = max(out.shape.num_elements() or 0 for op in made.graph.get_operations() for out in op.outputs)
        assert largest <= 64 * max(20 * max_pieces, 512 + 20 + max_pieces)  # all spans are 64 x 512 x max_pieces


def texts(seed: int, counts: list[int], length: int, n: int, max_pieces: int, ties: bool):
    """Windows of texts with counts[i] windows each, overlapping by half, with the logits of the pieces, a little changed."""
    random = np.random.default_rng(seed)
    start, end, allowed = windows(seed, sum(counts), length, ties)
    row = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    begin = np.concatenate([np.arange(count) * (length // 2) for count in counts] or [[]]).astype(np.int32)
    body_start = random.integers(0, 3, len(row)).astype(np.int32)
    allowed = allowed * (np.arange(length) >= body_start[:, None])
    spans = best_spans(*map(tf.constant, (start, end, allowed.astype(np.int32))), max_pieces, n)
    expected = []
    for text in range(len(counts)):
        best = {}
        for at in np.flatnonzero(row == text):
            for negative, s, e in all_spans(start[at], end[at], allowed[at], max_pieces):
                place = (int(s + begin[at] - body_start[at]), int(e + begin[at] - body_start[at]))
                best[place] = min(best.get(place, np.inf), negative)
        expected.append(filled(sorted((negative, s, e) for (s, e), negative in best.items()), n))
    nulls = [(start[row == text, 0] + end[row == text, 0]).min(initial=np.inf) for text in range(len(counts))]
    return spans, row, begin, body_start, expected, [0.0 if null == np.inf else null for null in nulls]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.lists(st.one_of(st.integers(0, 3), st.just(17)), min_size=1, max_size=5), st.integers(2, 9),
       st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_merged_windows_are_those_of_trying_all(seed, counts, length, n, max_pieces, ties):
    spans, row, begin, body_start, expected, nulls = texts(seed, counts, length, n, max_pieces, ties)
    made = merge_windows(spans, row, begin, body_start, len(counts))
    assert listed(made) == expected
    assert made.null.numpy().tolist() == nulls


@pytest.mark.parametrize("ties", [False, True])
def test_merge_compiled_and_with_rows_not_known_beforehand(ties):
    spans, row, begin, body_start, expected, nulls = texts(1, [1, 9, 0, 2], 8, 3, 5, ties)
    given = [spans, *map(tf.constant, (row, begin, body_start))]
    made = tf.function(lambda *given: merge_windows(*given, 4), jit_compile=True)(*given)
    assert listed(made) == expected and made.null.numpy().tolist() == nulls
    assert made.score.shape == (4, 3)
    made = tf.function(merge_windows, reduce_retracing=True)(*given, tf.constant(4))
    assert listed(made) == expected and made.null.numpy().tolist() == nulls


def test_merge_by_hand():
    """Window 0 has two pieces of question before its body, window 1 one; text piece 3 is in both."""
    spans = Spans(tf.constant([[5, 2], [2, 1]]), tf.constant([[5, 3], [2, 2]]), tf.constant([[2.0, 1.0], [2.5, 2.25]]),
                  tf.constant([-1.0, 4.0]))
    made = merge_windows(spans, tf.constant([0, 0]), tf.constant([0, 2]), tf.constant([2, 1]), 1)
    assert listed(made) == [[(3, 3, 2.5), (2, 3, 2.25)]]  # not (3, 3) twice
    assert made.null.numpy().tolist() == [-1.0]


@pytest.mark.parametrize("row", [[0, 5], [-1, 0], [0, 1]])
def test_padding_windows_are_left_out(row):
    spans = Spans(tf.constant([[1], [1]]), tf.constant([[1], [1]]), tf.constant([[2.0], [2.0]]), tf.constant([-3.0, -3.0]))
    spans = spans._replace(score=tf.where(tf.constant(row)[:, None] == 0, 2.0, 9.0),
                           null=tf.where(tf.constant(row) == 0, 1.0, -3.0))
    made = merge_windows(spans, tf.constant(row), tf.constant([0, 0]), tf.constant([0, 0]), 1)
    assert listed(made) == [[(1, 1, 2.0)]] and made.null.numpy().tolist() == [1.0]


def test_merge_of_no_windows_at_all():
    none = tf.zeros([0], tf.int32)
    spans = Spans(tf.zeros([0, 2], tf.int32), tf.zeros([0, 2], tf.int32), tf.zeros([0, 2]), tf.zeros([0]))
    made = merge_windows(spans, none, none, none, 2)
    assert listed(made) == [[(0, 0, NONE)] * 2] * 2 and made.null.numpy().tolist() == [0.0, 0.0]
