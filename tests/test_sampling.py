"""Which tokens are left to chance, beside numbers worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfft.models import sampling
from tfft.models.sampling import NEVER, Sampling, constrained, left, next_token, not_yet, row_keys

CHANCES = [[0.5, 0.25, 0.15, 0.07, 0.03]]


@pytest.mark.parametrize(("changed", "kept"), [
    ({}, 5), ({"top_k": 2}, 2), ({"top_k": 9}, 5), ({"top_p": 0.7}, 2), ({"top_p": 0.76}, 3), ({"top_p": 0.01}, 1),
    ({"min_p": 0.2}, 3), ({"min_p": 1.0}, 1), ({"top_k": 4, "top_p": 0.8, "min_p": 0.4}, 2)])
def test_what_is_left(changed, kept):
    made = left(tf.constant(CHANCES), Sampling(**changed)).numpy()
    np.testing.assert_array_equal(made, np.where(np.arange(5) < kept, np.float32(CHANCES), 0))


def limited(logits, history, length, there=None, **changed):
    history = tf.constant([history])
    there = tf.ones_like(history, tf.bool) if there is None else tf.constant([there]) > 0
    return constrained(tf.constant([logits], tf.float32), history, there, tf.constant(length), Sampling(**changed)).numpy()[0]


def test_repetition_is_penalised():
    logits = [2.0, -2.0, 1.0, 4.0]
    np.testing.assert_array_equal(limited(logits, [0, 1, 3, 3], 2, repetition_penalty=2.0), [1.0, -4.0, 1.0, 4.0])
    np.testing.assert_array_equal(limited(logits, [0, 1, 3, 3], 3, repetition_penalty=2.0), [1.0, -4.0, 1.0, 2.0])
    # padding is nothing that was said
    np.testing.assert_array_equal(limited(logits, [0, 1, 3, 3], 2, [0, 1, 1, 1], repetition_penalty=2.0), [2.0, -4.0, 1.0, 4.0])
    np.testing.assert_array_equal(limited(logits, [0, 1, 3, 3], 2), logits)


@pytest.mark.parametrize(("ngram", "history", "length", "forbidden"), [
    (2, [0, 1, 0, 9, 9], 3, [1]), (2, [0, 1, 0, 2, 0], 5, [1, 2]), (3, [0, 1, 2, 0, 1], 5, [2]), (3, [0, 1, 0, 2, 0], 5, []),
    (1, [0, 2, 9, 9, 9], 2, [0, 2]), (4, [1, 9, 9, 9, 9], 1, [])])
def test_no_ngram_stands_twice(ngram, history, length, forbidden):
    history = [min(token, 3) for token in history]
    made = limited([1.0] * 4, history, length, no_repeat_ngram=ngram)
    assert [i for i in range(4) if made[i] == NEVER] == forbidden


def test_ngrams_do_not_begin_in_padding():
    assert limited([1.0] * 4, [2, 1, 2], 3, [0, 1, 1], no_repeat_ngram=2).tolist() == [1.0, 1.0, 1.0, 1.0]
    assert limited([1.0] * 4, [2, 1, 2], 3, no_repeat_ngram=2).tolist() == [1.0, NEVER, 1.0, 1.0]


def test_chance_has_the_probabilities():
    logits = tf.math.log(tf.tile(tf.constant(CHANCES), [4000, 1]))
    ids = tf.range(4000)[:, tf.newaxis]
    keys = row_keys(ids, tf.ones_like(ids), 3)
    made = next_token(logits, ids, tf.ones_like(ids, tf.bool), tf.constant(1), keys, 0, Sampling(temperature=1.0)).numpy()
    np.testing.assert_allclose(np.bincount(made, minlength=5) / 4000, CHANCES[0], atol=0.03)
    warm = next_token(logits, ids, tf.ones_like(ids, tf.bool), tf.constant(1), keys, 0, Sampling(temperature=2.0)).numpy()
    root = np.sqrt(CHANCES[0])
    np.testing.assert_allclose(np.bincount(warm, minlength=5) / 4000, root / root.sum(), atol=0.03)
    later = next_token(logits, ids, tf.ones_like(ids, tf.bool), tf.constant(2), keys, 1, Sampling(temperature=1.0)).numpy()
    assert 0.2 < (made == later).mean() < 0.5  # 0.34 by chance


WIDE = tf.constant(np.random.default_rng(1).normal(0, 2, (40, 1000)), tf.float32)


def chosen(rows: slice, **changed) -> list[int]:
    """Of rows of WIDE, each with a prompt of its own."""
    logits, ids = WIDE[rows], tf.range(40)[rows, tf.newaxis]
    keys = row_keys(ids, tf.ones_like(ids), changed.get("seed", 0))
    return next_token(logits, ids, tf.ones_like(ids, tf.bool), tf.constant(1), keys, 2, Sampling(**changed)).numpy().tolist()


@pytest.mark.parametrize("changed", [
    {"top_k": 40}, {"top_k": 700}, {"top_p": 0.3}, {"top_p": 0.98}, {"min_p": 0.05}, {"min_p": 0.001},
    {"top_k": 300, "top_p": 0.9}, {"temperature": 3.0, "top_p": 0.9}, {"temperature": 0.2, "top_p": 0.9}])
def test_chance_among_the_first_is_chance_among_all(changed):
    changed = {"temperature": 1.0, **changed}
    logits = WIDE.numpy().astype(np.float64) / changed["temperature"]
    order = np.argsort(-logits, axis=1, kind="stable")
    chances = np.take_along_axis(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), order, axis=1)
    kept = left(tf.constant(chances, tf.float32), Sampling(**changed)).numpy()
    ids = tf.range(40)[:, tf.newaxis]
    drawn = sampling._uniform(row_keys(ids, tf.ones_like(ids), 0), 2).numpy()[:, np.newaxis]
    place = (np.cumsum(kept, axis=1) <= drawn * kept.sum(axis=1, keepdims=True)).sum(axis=1)
    assert chosen(slice(None), **changed) == order[np.arange(40), place].tolist()


def test_chance_among_all_has_the_probabilities():
    logits = tf.tile(WIDE[:1], [20000, 1])
    ids = tf.range(20000)[:, tf.newaxis]
    keys = row_keys(ids, tf.ones_like(ids), 0)
    made = next_token(logits, ids, tf.ones_like(ids, tf.bool), tf.constant(1), keys, 0, Sampling(temperature=1.0)).numpy()
    wanted = tf.nn.softmax(WIDE[0]).numpy()
    assert np.abs(np.bincount(made, minlength=1000) / 20000 - wanted).max() < 0.008
    never = tf.where(tf.range(1000) % 3 > 0, NEVER, logits)
    made = next_token(never, ids, tf.ones_like(ids, tf.bool), tf.constant(1), keys, 0, Sampling(temperature=1.0)).numpy()
    assert set(made % 3) == {0}


def test_each_row_has_options_of_its_own():
    options = {"temperature": [0.0, 1.0, 2.0, 1.0, 1.0, 3.0], "top_k": [0, 5, 400, 0, 0, 0], "seed": [0, 1, 2, 3, 4, 5],
               "top_p": [0.9, 1.0, 1.0, 0.99, 1.0, 0.5], "min_p": [0.0, 0.0, 0.0, 0.0, 0.0, 0.1],
               "repetition_penalty": [1.0, 1.5, 1.0, 2.0, 1.0, 1.0], "no_repeat_ngram": [0, 0, 1, 0, 0, 2]}
    together = chosen(slice(0, 6), **options)
    assert together == [chosen(slice(i, i + 1), **{name: values[i] for name, values in options.items()})[0] for i in range(6)]
    early = not_yet(tf.ones([2, 4]), (3,), 1, Sampling(min_new_tokens=[1, 2])).numpy()
    assert early[:, 3].tolist() == [1.0, NEVER]


def test_compiled_it_is_the_same():
    ids = tf.range(40)[:, tf.newaxis]
    options = Sampling(temperature=tf.constant([0.0, 1.0, 1.0, 2.0] * 10), top_p=tf.constant([1.0, 0.9, 1.0, 0.99] * 10))

    def choose(logits):
        keys = row_keys(ids, tf.ones_like(ids), 0)
        return next_token(logits, ids, tf.ones_like(ids, tf.bool), tf.constant(1), keys, 2, options)

    assert tf.function(choose, autograph=False, jit_compile=True)(WIDE).numpy().tolist() == choose(WIDE).numpy().tolist()


def test_keys_are_of_the_prompt_whatever_has_been_answered():
    asked = row_keys(tf.constant([[5, 6]]), tf.constant([[1, 1]]), 1)
    mask = tf.constant([[0, 1, 1, 1], [1, 1, 1, 1]])
    later = row_keys(tf.constant([[9, 5, 6, 7], [5, 6, 7, 7]]), mask, 1, tf.constant([1, 2]))
    assert later.numpy().tolist() == asked.numpy().tolist() * 2


def test_keys_know_nothing_of_padding():
    short = row_keys(tf.constant([[5, 6]]), tf.constant([[1, 1]]), 1)
    long = row_keys(tf.constant([[9, 9, 5, 6], [9, 9, 6, 5]]), tf.constant([[0, 0, 1, 1]] * 2), 1)
    assert short[0] == long[0] != long[1]
