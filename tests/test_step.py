"""The training step: golden losses, accumulation, clipping, L2, precision, what is not finite."""

import families
import keras
import numpy as np
import pytest
import tensorflow as tf
from steps import TASK, Rig, batches

from tfft.config import Model
from tfft.models.backbone import load_backbone
from tfft.models.heads import pooled_classifier

# Losses of the five batches of steps.batches() under steps.CONFIG, float32, no dropout; computed once by this code, with
# weights and batches from numpy generators of fixed seeds.
GOLDEN = [0.708030, 0.689253, 0.716725, 0.768321, 0.666461]


def same(first: dict, second: dict, atol: float) -> None:
    assert first.keys() == second.keys()
    for path in first:
        np.testing.assert_allclose(first[path], second[path], atol=atol, err_msg=path)


@pytest.fixture(scope="module")
def plain():
    """(rig after five steps, their losses)."""
    rig = Rig(batches())
    return rig, rig.losses(5)


def test_losses_of_five_steps_are_golden(plain):
    assert plain[1] == pytest.approx(GOLDEN, abs=2e-5)
    assert int(plain[0].step.numpy()) == 5


def test_a_loop_of_steps_reports_their_mean(plain):
    rig = Rig(batches(), use_loop=True)
    made = rig.train(5)
    assert made["loss"] == pytest.approx(np.mean(plain[1]), abs=1e-6)
    assert made["learning_rate"] == pytest.approx(0.01 * (1 - 4 / 10))
    same(rig.weights(), plain[0].weights(), 1e-6)


def test_accumulation_equals_the_large_batch(plain):
    rig = Rig(batches(), accumulation=2)
    assert rig.losses(5) == pytest.approx(plain[1], abs=1e-6)
    same(rig.weights(), plain[0].weights(), 1e-6)


def test_dropout_is_reproducible_and_differs_between_steps():
    same_batch = batches(1).repeat()
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        runs.append(Rig(same_batch, dropout=0.3, peak_learning_rate=0.0).losses(3))
    assert runs[0] == runs[1] and len(set(runs[0])) == 3


# ---- a linear model, whose numbers can be worked out by hand

ROWS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)
TARGETS = np.array([2.0, 1.0, 0.0], np.float32)
WEIGHTS = np.array([0.5, 0.25, 0.25], np.float32)


def linear_rig(targets=TARGETS, **settings) -> Rig:
    """y = x . w with w = [1, -1] and the loss weights . (y - target)^2. By hand: y = [1, -1, 0], errors [-1, -2, 0], loss
    0.5 + 1 = 1.5, gradient 2 x (0.5 x -1 x [1, 0] + 0.25 x -2 x [0, 1]) = [-1, -1], norm sqrt(2)."""
    x = keras.Input((2,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(1, use_bias=False)(x))
    model.layers[-1].kernel.assign([[1.0], [-1.0]])
    dataset = tf.data.Dataset.from_tensors(({"x": ROWS}, targets, WEIGHTS, np.arange(3))).repeat()
    return Rig(dataset, model=model, loss=lambda t, y: tf.square(y[:, 0] - t),
               **{"weight_decay": 0.0, "clip_norm": 0.0, **settings})


def gradient_seen(rig: Rig) -> np.ndarray:
    """The gradient that the first step handed to the optimizer: its first moment is (1 - beta_1) times that."""
    return rig.optimizer.momentum[0].numpy().ravel() / (1 - rig.config.beta_1)


def test_loss_gradient_and_norm_by_hand():
    rig = linear_rig()
    made = rig.train(1)
    assert made["loss"] == pytest.approx(1.5) and made["gradient_norm"] == pytest.approx(np.sqrt(2))
    np.testing.assert_allclose(gradient_seen(rig), [-1, -1], rtol=1e-5)
    np.testing.assert_allclose(rig.weights()[rig.model.trainable_variables[0].path].ravel(), [1.01, -0.99], rtol=1e-5)


def test_clipping_by_global_norm_by_hand():
    rig = linear_rig(clip_norm=0.5)
    assert rig.train(1)["gradient_norm"] == pytest.approx(np.sqrt(2))  # reported as it was before
    np.testing.assert_allclose(gradient_seen(rig), [-0.5 / np.sqrt(2)] * 2, rtol=1e-5)
    rig = linear_rig(clip_norm=2.0)
    rig.train(1)
    np.testing.assert_allclose(gradient_seen(rig), [-1, -1], rtol=1e-5)


def test_clipping_takes_one_norm_over_all_weights():
    one, two = Rig(batches(1), clip_norm=0.0), Rig(batches(1), clip_norm=0.1)
    norm = one.train(1)["gradient_norm"]
    two.train(1)
    assert norm > 0.1
    for a, b in zip(one.optimizer.momentum, two.optimizer.momentum, strict=True):
        np.testing.assert_allclose(b, a * (0.1 / norm), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_l2_by_hand(accumulation):
    # l2 / 2 x (1 + 1) is added to the loss, l2 x w = [0.5, -0.5] to the gradient, once however many micro-batches there are
    rig = linear_rig(l2=0.5, accumulation=accumulation)
    assert rig.train(1)["loss"] == pytest.approx(1.5 + 0.5)
    np.testing.assert_allclose(gradient_seen(rig), [-0.5, -1.5], rtol=1e-5)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_ewc_by_hand(accumulation):
    # 4 / 2 x (0.5 x 1^2 + 0.25 x 2^2) = 3 is added to the loss, 4 x [0.5 x 1, 0.25 x -2] = [2, -2] to the gradient
    rig = linear_rig(ewc=4.0, accumulation=accumulation)
    anchor = rig.optimizer.anchor
    anchor.before[0].assign([[0.0], [1.0]])
    anchor.importance[0].assign([[0.5], [0.25]])
    assert rig.train(1)["loss"] == pytest.approx(1.5 + 3.0)
    np.testing.assert_allclose(gradient_seen(rig), [1, -3], rtol=1e-5)


def test_l2_leaves_biases_and_norms_alone():
    rig, without = Rig(batches(1), l2=0.5, clip_norm=0.0), Rig(batches(1), clip_norm=0.0)
    start = without.weights()
    rig.train(1)
    without.train(1)
    for v, a, b in zip(rig.model.trainable_variables, rig.optimizer.momentum, without.optimizer.momentum, strict=True):
        expected = 0.5 * start[v.path] if v.path.endswith(("kernel", "embeddings")) else np.zeros(v.shape)
        np.testing.assert_allclose((a.numpy() - b.numpy()) / 0.1, expected, atol=2e-5, err_msg=v.path)


@pytest.mark.parametrize("use_loop", [False, True])
def test_first_step_that_is_not_finite_is_kept(use_loop):
    rig = linear_rig(use_loop=use_loop)
    rig.train(2)
    assert int(rig.trainer.first_bad_step.numpy()) == -1
    rig.model.trainable_variables[0].assign([[np.inf], [1.0]])
    rig.train(3)
    assert int(rig.trainer.first_bad_step.numpy()) == 2


def test_gradient_that_is_not_finite_counts_as_bad():
    rig = linear_rig()
    rig.trainer._loss = lambda t, y: tf.sqrt(tf.maximum(y[:, 0] - 1.0, 0.0))  # 0 at y = 1, with an infinite slope
    assert np.isfinite(rig.train(1)["loss"])
    assert int(rig.trainer.first_bad_step.numpy()) == 0


def test_zero_weight_rows_do_not_count():
    strange = TARGETS.copy()
    strange[2] = 1e6
    rows = tf.data.Dataset.from_tensors((
        {"x": ROWS}, strange, np.array([0.5, 0.25, 0.0], np.float32), np.array([0, 1, -1]))).repeat()
    rig = linear_rig()
    rig = Rig(rows, model=rig.model, loss=rig.trainer._loss, weight_decay=0.0, clip_norm=0.0)
    assert rig.train(1)["loss"] == pytest.approx(1.5)
    np.testing.assert_allclose(gradient_seen(rig), [-1, -1], rtol=1e-5)


# ---- real encoders

@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_every_family_trains_one_step(family):
    dataset = batches(1)
    names = families.backbone(family).input
    rig = Rig(dataset.map(lambda x, *rest: ({n: x[n] for n in names}, *rest)), family=family, dropout=0.1)
    start = rig.weights()
    iterator = iter(rig.trainer.train_dataset)
    rig.trainer.train_step(iterator)  # eagerly: nothing is traced
    assert int(rig.trainer.first_bad_step.numpy()) == -1
    for path, weights in rig.weights().items():
        assert np.isfinite(weights).all(), path
    unmoved = [p for p, w in rig.weights().items() if (w == start[p]).all()]
    assert unmoved == [p for p in unmoved if p.endswith("key/bias")]  # softmax does not see a shift of all scores


def test_mixed_bfloat16_step(tiny_preset):
    backbone = load_backbone(tiny_preset, precision="mixed_bfloat16", dropout=-1)
    model = pooled_classifier(backbone, Model(), 2, seed=0)
    seen = []

    def loss(targets, logits):
        seen.append(logits.dtype)
        return TASK.loss(targets, logits)

    rig = Rig(batches(1), model=model, loss=loss, precision="mixed_bfloat16")
    assert 0 < rig.train(1)["loss"] < 5 and int(rig.trainer.first_bad_step.numpy()) == -1
    assert set(seen) == {tf.float32}
    assert all(m.dtype == tf.float32 for m in rig.optimizer.momentum)
