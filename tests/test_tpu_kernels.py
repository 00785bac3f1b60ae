"""The TPU kernels compute what Keras's layers compute."""

import families
import numpy as np
import pytest
import tensorflow as tf

from tfft.models.tpu_kernels import REPLACEMENTS, attend, lean_tpu, random_bytes, threshold


def drawn(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def slopes(function, *values):
    """(value, gradients) of a function under a fixed outer gradient."""
    with tf.GradientTape() as tape:
        tape.watch(values)
        made = function(*values)
        total = tf.reduce_sum(made * drawn(*made.shape, seed=9))
    return [made, *tape.gradient(total, values)]


def assert_close(ours, theirs, atol=2e-6):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=atol * max(1.0, np.abs(other).max()))


def test_attention_with_dropped_probabilities_is_its_formula():
    query, key, value = (drawn(2, 5, 3, 4, seed=i) for i in range(3))
    bias = tf.constant([[0.0, 0, 0, 0, -1e9], [0, 0, -1e9, -1e9, -1e9]])[:, None, None, :]
    keep = tf.constant(np.random.default_rng(7).integers(0, 2, (2, 3, 5, 5)), tf.bool)

    def formula(query, key, value):
        scores = tf.nn.softmax(tf.einsum("bqnh,bknh->bnqk", query, key) + bias)
        return tf.einsum("bnqk,bknh->bqnh", tf.where(keep, scores * 2, 0.0), value)

    def ours(*values):
        return attend(*values, *(tf.transpose(t, [0, 1, 3, 2]) for t in (bias, keep)), 2.0)

    assert_close(slopes(ours, query, key, value), slopes(formula, query, key, value))


def step(model, lean: bool, convert=np.asarray) -> list:
    """[output, gradients ...] of a backbone, float32."""
    values = families.inputs(model, [[2, 5, 6, 7, 8, 9, 10, 3], [2, 5, 6, 3, 0, 0, 0, 0]], [8, 4])
    with tf.GradientTape() as tape, lean_tpu(lean):
        output = model(values, training=True)
        output = output["sequence_output"] if isinstance(output, dict) else output
        loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 3 * tf.cast(values["padding_mask"], tf.float32)[:, :, None])
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return [convert(tf.cast(output, tf.float32)), *(convert(tf.convert_to_tensor(g)) for g in gradients if g is not None)]


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_backbones_answer_the_same_without_dropout(family):
    model = families.backbone(family, dropout=0.0)
    ours, theirs = step(model, True), step(model, False)
    assert len(ours) > 20
    assert_close(ours, theirs, 5e-5)


def test_bfloat16_is_as_near_to_float32_as_keras_is():
    exact = step(families.backbone("bert", dropout=0.0), False)
    model = families.backbone("bert", dropout=0.0, precision="mixed_bfloat16")

    def error(made):
        return sum(float(np.square(a - b).sum()) for a, b in zip(made, exact, strict=True)) ** 0.5

    ours, theirs = error(step(model, True)), error(step(model, False))
    assert 0 < ours < 1.1 * theirs


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 1 / 256, 0.9])
def test_thresholds_average_to_the_rate(rate):
    made = np.array([threshold(rate, tf.constant([123, 50 + i])) for i in range(300)])
    assert made.mean() == pytest.approx(256 * rate, abs=0.01)
    assert set(made) <= {int(256 * rate), int(256 * rate) + 1}


def test_dropout_drops_its_share_and_scales_the_rest():
    keep = tf.function(lambda seed: random_bytes([40, 64, 16], seed) >= threshold(0.3, seed), jit_compile=True)
    made = [keep(tf.constant([1, i])).numpy() for i in (1, 1, 2)]
    assert (made[0] == made[1]).all() and 0.3 < (made[0] != made[2]).mean() < 0.55  # 2 x 0.3 x 0.7 = 0.42
    assert np.mean(made) == pytest.approx(0.7, abs=0.01)


def test_layers_draw_anew_in_each_step_and_count_their_seeds_on():
    model = families.backbone("bert", dropout=0.3)
    compiled = tf.function(lambda: step(model, True, convert=tf.convert_to_tensor), jit_compile=True)
    made = [compiled()[0].numpy() for _ in range(3)]
    assert np.isfinite(made).all() and not np.array_equal(made[0], made[1]) and not np.array_equal(made[1], made[2])
    states = [v.numpy()[1] for v in model.non_trainable_variables if "seed_generator_state" in v.path]
    assert states == [3] * 7  # the embeddings', and three a layer


def test_nothing_stays_replaced():
    before = [getattr(owner, name) for owner, name, _ in REPLACEMENTS]
    with pytest.raises(ZeroDivisionError), lean_tpu():
        assert [getattr(owner, name) for owner, name, _ in REPLACEMENTS] == [kernel for _, _, kernel in REPLACEMENTS]
        raise ZeroDivisionError
    assert [getattr(owner, name) for owner, name, _ in REPLACEMENTS] == before
