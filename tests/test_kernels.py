"""The CPU kernels compute what Keras's layers compute."""


import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from forked import Forked

from tfft.config import Model
from tfft.models.adaptation import freeze
from tfft.models.kernels import REPLACEMENTS, attend, fast_cpu, gelu_erf, gelu_tanh, keep_mask, normalise


def backbone(dropout: float, **changes):
    keras.utils.set_random_seed(3)
    return keras_hub.models.BertBackbone(vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32,
                                         dropout=dropout, max_sequence_length=16, **changes)


def inputs():
    mask = np.array([[1] * 12, [1] * 7 + [0] * 5, [1] + [0] * 11], np.int32)
    ids = np.random.default_rng(0).integers(1, 50, mask.shape).astype(np.int32) * mask
    return {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)}


def gradients(model, fast: bool):
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape, fast_cpu(fast):
        output = model(inputs(), training=True)["sequence_output"]
        loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 3 * inputs()["padding_mask"][:, :, None])
    made = tape.gradient(loss, variables)
    return output, [tf.convert_to_tensor(g).numpy() for g in made if g is not None]


def test_outputs_and_gradients_equal_keras():
    model = backbone(0.0)
    (plain, expected), (fast, got) = gradients(model, False), gradients(model, True)
    np.testing.assert_allclose(fast, plain, atol=1e-5)
    assert len(got) == len(expected) > 20
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * max(1.0, np.abs(theirs).max()))


def test_attention_with_dropped_scores_has_the_gradient_of_its_formula():
    random = np.random.default_rng(1)
    query, key, value, g = (tf.constant(random.normal(size=(2, 3, 5, 4)), tf.float32) for _ in range(4))
    bias = tf.constant([[0.0, 0, 0, 0, -1e9], [0, 0, -1e9, -1e9, -1e9]])[:, None, None, :]
    keep = tf.constant(random.integers(0, 2, (2, 3, 5, 5)), tf.float32) * 2

    def formula(query, key, value):
        return tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True) + bias) * keep, value)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch([query, key, value])
        ours, theirs = attend(query, key, value, bias, keep), formula(query, key, value)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for variable in (query, key, value):
        np.testing.assert_allclose(tape.gradient(ours, variable, g), tape.gradient(theirs, variable, g), atol=1e-5)


def with_gradients(function, *arguments, weights):
    """A function's value and what `weights`-ed sums of it have for gradients."""
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = function(*arguments)
        loss = tf.reduce_sum(y * weights)
    return [y.numpy(), *(g.numpy() for g in tape.gradient(loss, arguments))]


def assert_same(ours, theirs, atol=2e-6):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


@pytest.mark.parametrize(("ours", "approximate"), [(gelu_tanh, True), (gelu_erf, False)])
def test_gelu_is_tensorflows(ours, approximate):
    x = tf.constant([-80.0, -9, -3, -1, -0.1, 0, 0.1, 0.7, 1, 3, 9, 80])
    weights = tf.range(1.0, 13)
    assert_same(with_gradients(ours, x, weights=weights),
                with_gradients(lambda x: tf.nn.gelu(x, approximate=approximate), x, weights=weights), atol=2e-5)


def test_layer_normalisation_is_keras_own():
    random = np.random.default_rng(2)
    x, gamma, beta, weights = (tf.constant(random.normal(size=s), tf.float32) for s in ((6, 8), (8,), (8,), (6, 8)))
    assert_same(with_gradients(lambda *v: normalise(*v, 1e-3), 3 * x + 1, gamma, beta, weights=weights),
                with_gradients(lambda *v: keras.ops.layer_normalization(*v, epsilon=1e-3), 3 * x + 1, gamma, beta,
                               weights=weights))


@pytest.mark.parametrize("settings", [{"axis": 1}, {"center": False}, {"scale": False}, {"dtype": "bfloat16"}])
def test_unusual_layer_normalisation_takes_keras_own_path(settings):
    layer = keras.layers.LayerNormalization(**settings)
    x = tf.constant(np.random.default_rng(3).normal(size=(2, 3, 4)), tf.float32)
    plain = layer(x)
    with fast_cpu():
        np.testing.assert_array_equal(layer(x), plain)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.003])
def test_keep_mask_drops_at_the_rate(rate):
    dropped = np.mean([1 - tf.reduce_mean(tf.cast(keep_mask([50, 200], rate, tf.constant([7, i])), tf.float32)).numpy()
                       for i in range(300)])
    assert dropped == pytest.approx(rate, abs=4 * (rate / 3e6) ** 0.5 + 4 * 0.5 / 256 / 300**0.5)


def test_dropout_draws_anew_and_from_the_layers_own_state():
    model = backbone(0.3)
    states = [v for v in model.non_trainable_variables if "seed" in v.path]
    before = [s.numpy().copy() for s in states]
    first, second = gradients(model, True)[0].numpy(), gradients(model, True)[0].numpy()
    assert np.abs(first - second).max() > 0.01
    assert all((s.numpy() != b).any() for s, b in zip(states, before, strict=True))
    for state, value in zip(states, before, strict=True):
        state.assign(value)
    np.testing.assert_array_equal(gradients(model, True)[0].numpy(), first)


def test_frozen_layers_do_not_drop_out():
    model = backbone(0.5)
    freeze(model, Model(frozen_layers=-1))
    first, second = (trained_output(model) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def trained_output(model):
    with fast_cpu():
        return model(inputs(), training=True)["sequence_output"].numpy()


def test_bfloat16_and_inference_take_keras_own_path():
    model = backbone(0.0, dtype="mixed_bfloat16")
    np.testing.assert_array_equal(gradients(model, True)[0].numpy(), gradients(model, False)[0].numpy())
    model = backbone(0.5)
    with fast_cpu():
        fast = model(inputs(), training=False)["sequence_output"]
    np.testing.assert_allclose(fast, model(inputs(), training=False)["sequence_output"], atol=1e-5)


@pytest.mark.parametrize("fast", [True, False])
def test_each_replica_draws_its_own_mask(fast):
    code = (
        "import sys\n"
        "from tfft.config import Distribution\n"
        "from tfft.training.strategy import make_strategy\n"
        "two = make_strategy(Distribution(cpu_replicas=2))\n"
        "import keras\n"
        "import tensorflow as tf\n"
        "from tfft.models.kernels import dropout_per_replica, fast_cpu\n"
        "with two.scope():\n"
        "    layer = keras.layers.Dropout(0.5, seed=1)\n"
        "def replica():\n"
        "    with fast_cpu(sys.argv[1] == 'True'), dropout_per_replica():\n"
        "        return layer(tf.ones([4, 64]), training=True)\n"
        "first, second = two.experimental_local_results(tf.function(lambda: two.run(replica))())\n"
        "assert abs(float(tf.reduce_mean(first)) - 1) < 0.5\n"
        "assert 0.3 < float(tf.reduce_mean(tf.cast(first != second, tf.float32))) < 0.7\n"
        "states = two.experimental_local_results(layer.seed_generator.state.value)\n"
        "assert len(states) == 2 and all((s.numpy() == states[0].numpy()).all() for s in states)\n")
    Forked(["-c", code, str(fast)]).output()


def test_keras_is_as_it_was_afterwards_even_after_an_error():
    before = [getattr(owner, name) for owner, name, _ in REPLACEMENTS]
    with pytest.raises(ZeroDivisionError), fast_cpu():
        assert [getattr(owner, name) for owner, name, _ in REPLACEMENTS] != before
        1 / 0  # noqa: B018
    assert [getattr(owner, name) for owner, name, _ in REPLACEMENTS] == before
