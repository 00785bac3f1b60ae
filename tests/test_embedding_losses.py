"""Losses of whole batches against numbers worked out in plain Python, row by row; what is no negative."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from tfft.config import Embedding
from tfft.tasks.embedding import losses

DRAW = np.random.default_rng(4)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def targets(same, there=None, **more) -> dict:
    same = np.array(same, np.int32)
    there = np.ones_like(same) if there is None else np.array(there, np.int32)
    return tf.nest.map_structure(tf.constant, {"same": same, "there": there, **more})


def computed(kind, wanted, vectors, **settings) -> np.ndarray:
    flat = vectors.reshape(-1, vectors.shape[-1]).astype(np.float32)
    return losses.of_batch(Embedding(**settings), kind, wanted, tf.constant(flat)).numpy()


def softmax_loss(own, others):
    return math.log(sum(map(math.exp, [own, *others]))) - own


def test_ranking_by_hand():
    """Three rows of a query, a text that belongs and a hard negative (absent in row 2). Negatives of row 0: those of rows
    1 and 2 that are there, and its own."""
    vectors = DRAW.normal(size=(3, 3, 4))
    z = unit(vectors)
    made = computed("pairs", targets([[0, 1, 2], [3, 4, 5], [6, 7, -1]], [[1, 1, 1], [1, 1, 1], [1, 1, 0]]), vectors,
                    loss="ranking", temperature=0.2)
    texts = [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]
    for row in range(3):
        scores = {place: z[row, 0] @ z[place] / 0.2 for place in texts}
        own = scores.pop((row, 1))
        assert made[row] == pytest.approx(softmax_loss(own, scores.values()), rel=1e-5)


def test_symmetric_ranking_is_the_mean_of_both_directions():
    vectors = DRAW.normal(size=(3, 2, 4))
    z = unit(vectors)
    made = computed("pairs", targets([[0, 1], [2, 3], [4, 5]]), vectors, loss="ranking", symmetric=True, temperature=0.5)
    for row in range(3):
        both = [softmax_loss(z[row, 0] @ z[row, 1] / 0.5, [z[row, a] @ z[other, b] / 0.5 for other in range(3) if other != row])
                for a, b in ((0, 1), (1, 0))]
        assert made[row] == pytest.approx(sum(both) / 2, rel=1e-5)


@pytest.mark.parametrize("same, there, expected", [
    ([[0, 1], [2, 3]], None, [[0, 1], [1, 0]]),                          # two rows of other texts
    ([[0, 1], [2, 1]], None, [[0, 0], [0, 0]]),                          # the same text belongs to both
    ([[0, 1], [0, 3]], None, [[0, 0], [0, 0]]),                          # two texts belong to one query
    ([[0, 1], [2, 0]], None, [[0, 0], [1, 0]]),                          # what belongs to the other is the query itself
    ([[0, 1], [-1, -1]], [[1, 1], [0, 0]], [[0, 0], [1, 0]]),            # filling is no negative
])
def test_false_negatives_are_masked(same, there, expected):
    made = losses.strangers(targets(same, there))
    assert tf.cast(made, tf.int32).numpy()[:, :, 0].tolist() == expected


def test_false_hard_negatives_are_masked():
    """Row 0's hard negative is what belongs to it; row 1's is the query of row 0, and a good negative of row 1 itself. Of two
    rows of one query the hard negatives are negatives of both."""
    made = losses.strangers(targets([[0, 1, 1], [2, 3, 0], [0, 4, 5]])).numpy().astype(int)
    assert made[:, :, 1].tolist() == [[0, 0, 1], [1, 1, 1], [1, 0, 1]]
    assert made[:, :, 0].tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_texts_of_one_label_are_no_negatives():
    made = losses.strangers(targets([[0, 1], [2, 3], [4, 5]], label=np.array([7, 8, 7], np.int32)))
    assert made.numpy()[:, :, 0].astype(int).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_repeated_row_changes_nothing_but_its_own_weight(symmetric):
    """The same pair twice: as if it were there once."""
    vectors = DRAW.normal(size=(3, 2, 4))
    once = computed("pairs", targets([[0, 1], [2, 3], [4, 5]]), vectors, loss="ranking", symmetric=symmetric)
    twice = computed("pairs", targets([[0, 1], [2, 3], [4, 5], [0, 1]]), np.concatenate([vectors, vectors[:1]]), loss="ranking",
                     symmetric=symmetric)
    assert twice[[0, 3]] == pytest.approx(once[[0, 0]], rel=1e-5)


def test_cosine_contrastive_and_cosent_by_hand():
    vectors, score = DRAW.normal(size=(4, 2, 3)), np.array([0.1, 0.9, 0.9, 0.5], np.float32)
    there = [[1, 1], [1, 1], [1, 1], [0, 0]]
    wanted = targets(np.arange(8).reshape(4, 2), there, score=score)
    cosine = (unit(vectors)[:, 0] * unit(vectors)[:, 1]).sum(axis=1)
    np.testing.assert_allclose(computed("scored", wanted, vectors, loss="cosine"), (cosine - score)**2, rtol=1e-4)
    near, far = (1 - cosine)**2 / 2, np.maximum(0, 0.7 - (1 - cosine))**2 / 2
    np.testing.assert_allclose(computed("scored", wanted, vectors, loss="contrastive", margin=0.7),
                               np.where(score >= 0.5, near, far), rtol=1e-4)
    pairs = [(i, j) for i, j in itertools.permutations(range(3), 2) if score[i] > score[j]]
    expected = math.log(1 + sum(math.exp((cosine[j] - cosine[i]) / 0.3) for i, j in pairs))
    np.testing.assert_allclose(computed("scored", wanted, vectors, loss="cosent", temperature=0.3), [expected] * 4, rtol=1e-4)


def test_triplets_by_hand():
    vectors = DRAW.normal(size=(2, 4, 3))
    z = unit(vectors)
    wanted = targets([[0, 1, 2, 3], [4, 5, 6, 7]], [[1, 1, 1, 1], [1, 1, 0, 0]])
    made = computed("pairs", wanted, vectors, loss="triplet", margin=0.6)
    own = [max(0, 0.6 + z[0, 0] @ z[0, k] - z[0, 0] @ z[0, 1]) for k in (2, 3)]
    mined = max(0, 0.6 + max(z[1, 0] @ z[0, k] for k in (1, 2, 3)) - z[1, 0] @ z[1, 1])
    assert made == pytest.approx([np.mean(own), mined], abs=1e-5)


def test_losses_of_labels_by_hand():
    """Row 3 alone has its label, and no partner."""
    vectors, label = DRAW.normal(size=(4, 2, 3)), np.array([0, 1, 0, 2], np.int32)
    same, there = [[0, 1], [2, 3], [4, 0], [5, -1]], [[1, 1]] * 3 + [[1, 0]]
    wanted, z = targets(same, there, label=label), unit(vectors)
    hard, mean = (computed("labelled", wanted, vectors, loss=loss, margin=0.8) for loss in ("triplet", "contrastive"))
    for row in range(4):
        alike, apart = [], []
        for other, k in itertools.product(range(4), range(2)):
            if there[other][k] and same[other][k] != same[row][0]:
                (alike if label[other] == label[row] else apart).append(z[row, 0] @ z[other, k])
        expected = max(0, 0.8 + max(apart) - min(alike)) if alike else 0
        assert hard[row] == pytest.approx(expected, abs=1e-5)
        far = np.mean([max(0, 0.8 - (1 - c))**2 / 2 for c in apart])
        assert mean[row] == pytest.approx(far + (np.mean([(1 - c)**2 / 2 for c in alike]) if alike else 0), abs=1e-5)


def test_matryoshka_is_the_sum_over_widths():
    vectors, wanted = DRAW.normal(size=(3, 2, 6)), targets([[0, 1], [2, 3], [4, 5]])
    whole = computed("pairs", wanted, vectors, loss="ranking", matryoshka=(2, 4))
    parts = [computed("pairs", wanted, vectors[..., :width], loss="ranking") for width in (2, 4, 6)]
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-5)
    np.testing.assert_allclose(whole, computed("pairs", wanted, vectors, loss="ranking", matryoshka=(2, 4, 6)), rtol=1e-6)


@pytest.mark.parametrize("kind, loss", [("pairs", "ranking"), ("pairs", "triplet"), ("scored", "cosent"),
                                        ("scored", "contrastive"), ("labelled", "triplet"), ("labelled", "contrastive"),
                                        ("labelled", "ranking")])
def test_gradients_are_finite_where_texts_are_equal_or_absent(kind, loss):
    settings = dataclasses.replace(Embedding(), loss=loss, symmetric=loss == "ranking")
    more = {"scored": {"score": np.zeros(3, np.float32)}, "labelled": {"label": np.zeros(3, np.int32)}}.get(kind, {})
    wanted = targets([[0, 0], [0, 1], [-1, -1]], [[1, 1], [1, 0], [0, 0]], **more)
    outputs = tf.constant(np.concatenate([np.ones((4, 3)), np.zeros((2, 3))]).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        made = losses.of_batch(settings, kind, wanted, outputs)
    assert np.isfinite(made).all() and np.isfinite(tape.gradient(made, outputs)).all()
