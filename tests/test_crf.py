"""The conditional random field against brute force over all paths, in float64; under padding, XLA, low precision and export."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.models.crf import Transitions, log_likelihood, log_partition, marginals, viterbi
from tfft.tpu import lower

# O, B-X, I-X, B-Y, I-Y: an I needs its own B or I before it. Rows 5 and 6: how a text starts and ends.
BIO = tuple(tuple(tag in (2, 4) and before not in (tag - 1, tag) for tag in range(5)) for before in range(6)) + ((False,) * 5,)


def problem(batch: int, length: int, tags: int, seed: int = 0, scale: float = 2.0, forbidden=None):
    """(logits, tags, transitions) of random numbers."""
    draw = np.random.default_rng(seed)
    transitions = draw.normal(size=(tags + 2, tags))
    if forbidden is not None:
        transitions = np.where(forbidden, -1e4, transitions)
    return (draw.normal(scale=scale, size=(batch, length, tags)).astype("float32"), draw.integers(0, tags, (batch, length)),
            np.repeat(transitions[None], batch, 0).astype("float32"))


def path_score(logits, path, transitions) -> float:
    """The definition, word for word, in float64."""
    if not len(path):
        return 0.0
    tags, logits, transitions = logits.shape[-1], logits.astype("float64"), transitions.astype("float64")
    score = transitions[tags, path[0]] + transitions[tags + 1, path[-1]]
    score += sum(logits[s, tag] for s, tag in enumerate(path))
    return score + sum(transitions[a, b] for a, b in itertools.pairwise(path))


def brute_force(logits, length: int, transitions) -> dict:
    """Every path of one example and its log probability."""
    paths = list(itertools.product(range(logits.shape[-1]), repeat=length))
    scores = np.array([path_score(logits, path, transitions) for path in paths])
    return dict(zip(paths, scores - np.logaddexp.reduce(scores), strict=True))


def loss_and_gradients(logits, tags, lengths, transitions):
    with tf.GradientTape() as tape:
        tape.watch((logits, transitions))
        loss = log_likelihood(logits, tags, lengths, transitions)
        weighted = tf.reduce_sum(loss * tf.range(1.0, 1.0 + tf.cast(tf.shape(loss)[0], tf.float32)))
    return loss, *tape.gradient(weighted, (logits, transitions))


def tensors(logits, tags, lengths, transitions):
    return tf.constant(logits), tf.constant(tags, tf.int32), tf.constant(lengths, tf.int32), tf.constant(transitions)


def test_the_sum_over_all_paths_and_over_those_through_a_tag():
    """By counting; its slopes are marginals; and log odds of a tag that is all but certain, where 1 - p is 0 in float32."""
    logits, _, transitions = problem(2, 4, 5, forbidden=BIO)
    lengths = tf.constant([4, 2])
    given = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(given)
        total = log_partition(given, lengths, transitions)
    for i, length in enumerate(lengths.numpy()):
        scores = [path_score(logits[i], path, transitions[i]) for path in itertools.product(range(5), repeat=int(length))]
        assert total[i].numpy() == pytest.approx(np.logaddexp.reduce(scores), abs=1e-4)
    np.testing.assert_allclose(tape.gradient(total, given), marginals(logits, lengths, transitions), atol=1e-5)

    logits[0, 2, 1] += 40
    through, others = logits.copy(), logits.copy()
    through[:, 2, [0, 2, 3, 4]] = others[:, 2, 1] = -1e9
    odds = log_partition(through, lengths, transitions)[0] - log_partition(others, lengths, transitions)[0]
    paths = {path: path_score(logits[0], path, transitions[0]) for path in itertools.product(range(5), repeat=4)}
    expected = [np.logaddexp.reduce([score for path, score in paths.items() if (path[2] == 1) == there])
                for there in (True, False)]
    assert odds.numpy() == pytest.approx(expected[0] - expected[1], abs=1e-3) and odds > 30


@pytest.mark.parametrize("forbid", [False, True])
@pytest.mark.parametrize("tags, length", [(1, 3), (2, 1), (2, 5), (3, 4), (4, 5)])
def test_brute_force(tags, length, forbid):
    forbidden = None
    if forbid:
        forbidden = np.random.default_rng(tags).random((tags + 2, tags)) < 0.4
        forbidden[:, 0] = False
    logits, _, transitions = problem(length + 1, length, tags, forbidden=forbidden)
    lengths = np.arange(length + 1)  # every length, 0 included
    best, score = viterbi(logits, lengths, transitions)
    chances = marginals(logits, lengths, transitions).numpy()
    assert best.dtype == tf.int32 and score.dtype == tf.float32 and not chances[0].any() and float(score[0]) == 0
    for i, n in enumerate(lengths):
        expected = brute_force(logits[i], n, transitions[i])
        paths = np.zeros((len(expected), length), "int32")
        paths[:, :n] = list(expected)
        repeat = [np.repeat(t[i:i + 1], len(paths), 0) for t in (logits, lengths, transitions)]
        got = log_likelihood(repeat[0], paths, repeat[1], repeat[2]).numpy()
        np.testing.assert_allclose(got, list(expected.values()), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.exp(got.astype("float64")).sum(), 1, rtol=1e-5)

        winner = max(expected, key=expected.get)
        assert tuple(best[i, :n].numpy()) == winner and not best[i, n:].numpy().any()
        np.testing.assert_allclose(score[i], path_score(logits[i], winner, transitions[i]), rtol=1e-5, atol=1e-5)

        shares = np.zeros((length, tags))
        for path, log_p in expected.items():
            for s, tag in enumerate(path):
                shares[s, tag] += np.exp(log_p)
        np.testing.assert_allclose(chances[i], shares, atol=1e-5)


def test_gradients_are_finite_differences():
    logits, tags, transitions = problem(4, 4, 3)
    lengths = [4, 2, 1, 0]
    _, *got = loss_and_gradients(*tensors(logits, tags, lengths, transitions))
    for i, n in enumerate(lengths):
        inputs = [logits[i].astype("float64"), transitions[i].astype("float64")]

        def loss(path=tuple(tags[i, :n]), n=n, inputs=inputs):
            return brute_force(inputs[0], n, inputs[1])[path]

        for array, gradient in zip(inputs, got, strict=True):
            for place in np.ndindex(array.shape):
                value, around = array[place], []
                for array[place] in (value + 1e-5, value - 1e-5):
                    around.append(loss())
                array[place] = value
                assert (around[0] - around[1]) / 2e-5 * (i + 1) == pytest.approx(gradient[i].numpy()[place], abs=1e-4)


def test_docstring_examples():
    zeros = np.zeros((1, 4, 2), "float32")
    even = log_likelihood(np.zeros((1, 3, 2), "float32"), [[0, 1, 1]], [3], zeros)
    np.testing.assert_allclose(even, [np.log(1 / 8)], rtol=1e-6)
    np.testing.assert_allclose(marginals(np.zeros((1, 2, 2), "float32"), [1], zeros), [[[0.5, 0.5], [0, 0]]], rtol=1e-6)
    layer = Transitions(((0, 1), (0, 0), (0, 1), (0, 0)))
    path, score = viterbi([[[3.0, 0.0], [0.0, 1.0]]], [2], layer(np.zeros((1, 2, 2), "float32")))
    assert path.numpy().tolist() == [[0, 0]] and score.numpy().tolist() == [3]


def test_ties_go_to_the_lowest_tags_from_the_end():
    zeros = np.zeros((1, 5, 3), "float32")
    assert viterbi(zeros, [5], zeros)[0].numpy().tolist() == [[0] * 5]
    mirrored = np.array([[[1.0, 0], [0, 1], [0, 0], [0, 0]]], "float32")  # [0, 0] and [1, 1] score as much
    assert viterbi(np.zeros((1, 2, 2), "float32"), [2], mirrored)[0].numpy().tolist() == [[0, 0]]
    crossed = np.array([[[0.0, 1], [1, 0], [0, 0], [0, 0]]], "float32")  # [0, 1] and [1, 0] do
    assert viterbi(np.zeros((1, 2, 2), "float32"), [2], crossed)[0].numpy().tolist() == [[1, 0]]


def everything(logits, tags, lengths, transitions):
    path, score = viterbi(logits, lengths, transitions)
    loss, *gradients = loss_and_gradients(logits, tags, lengths, transitions)
    return {"loss": loss, "logits": gradients[0], "transitions": gradients[1], "path": path, "score": score,
            "marginals": marginals(logits, lengths, transitions)}


@pytest.mark.parametrize("garbage", [0.0, 1e30, np.nan, np.inf, -np.inf])
def test_padding_changes_nothing(garbage):
    logits, tags, transitions = problem(3, 4, 3)
    lengths = [4, 2, 0]
    short = everything(*tensors(logits, tags, lengths, transitions))
    padded, padded_tags = np.full((3, 7, 3), garbage, "float32"), np.full((3, 7), -1)
    padded_tags[1] = 10**6
    for i, n in enumerate(lengths):
        padded[i, :n], padded_tags[i, :n] = logits[i, :n], tags[i, :n]
    for name, value in everything(*tensors(padded, padded_tags, lengths, transitions)).items():
        value = value.numpy()
        if name in ("logits", "path", "marginals"):
            assert not value[:, 4:].any() and not value[1, 2:].any() and not value[2].any()
            value = value[:, :4]
        np.testing.assert_allclose(value, short[name], rtol=1e-6, atol=1e-6, err_msg=name)
    assert not short["transitions"][2].numpy().any() and float(short["loss"][2]) == 0


def test_row_does_not_depend_on_its_batch():
    logits, tags, transitions = problem(4, 5, 3)
    lengths = [5, 3, 1, 4]
    together = everything(*tensors(logits, tags, lengths, transitions))
    for i in range(4):
        alone = everything(*tensors(logits[i:i + 1], tags[i:i + 1], lengths[i:i + 1], transitions[i:i + 1]))
        for name, value in alone.items():
            weight = i + 1 if name in ("logits", "transitions") else 1
            np.testing.assert_allclose(value[0] * weight, together[name][i], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_is_computed_in_float32(dtype):
    logits, tags, transitions = problem(3, 40, 5, forbidden=BIO)
    low = tf.cast(logits, dtype), tf.constant(tags, tf.int32), tf.constant([40, 7, 0]), tf.cast(transitions, dtype)
    same = tf.cast(low[0], tf.float32), *low[1:3], tf.cast(low[3], tf.float32)
    expected = everything(*same)
    for name, value in everything(*low).items():
        if name in ("logits", "transitions"):
            assert value.dtype == dtype  # as any gradient is
            value = tf.cast(value, tf.float32)
            np.testing.assert_array_equal(value, tf.cast(tf.cast(expected[name], dtype), tf.float32))
        else:
            assert value.dtype == (tf.int32 if name == "path" else tf.float32)
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("length", [1, 6])
def test_xla_gives_the_same(length):
    logits, tags, transitions = problem(3, length, 5, forbidden=BIO)
    inputs = tensors(logits, tags, [length, length // 2, 0], transitions)
    expected = everything(*inputs)
    for name, value in tf.function(everything, jit_compile=True)(*inputs).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_lowers_with_static_shapes():
    def lowered(length):
        return lower.hlo_of(everything, (tf.TensorSpec((4, length, 5)), tf.TensorSpec((4, length), tf.int32),
                                         tf.TensorSpec((4,), tf.int32), tf.TensorSpec((4, 7, 5))))

    hlo = lowered(16)
    assert not any(op in hlo for op in (b"set-dimension-size", b"get-dimension-size", b"dynamic-reshape"))
    assert len(lowered(64)) < 1.02 * len(hlo)  # loops, not copies of their bodies


def test_unknown_shapes_give_the_same():
    logits, tags, transitions = problem(3, 6, 5, forbidden=BIO)
    inputs = tensors(logits, tags, [6, 3, 0], transitions)
    graph = tf.function(everything, input_signature=[
        tf.TensorSpec((None, None, 5)), tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32),
        tf.TensorSpec((None, 7, 5))])
    for length in (6, 1):  # a loop of no steps, too
        cut = inputs[0][:, :length], inputs[1][:, :length], tf.minimum(inputs[2], length), inputs[3]
        expected = everything(*cut)
        for name, value in graph(*cut).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_long_texts_are_as_exact_as_short_ones():
    logits, tags, transitions = problem(2, 512, 5, scale=10.0, forbidden=BIO)
    lengths = np.array([512, 300])
    steps, start, end = (part.astype("float64") for part in (transitions[0, :5], transitions[0, 5], transitions[0, 6]))
    best = viterbi(logits, lengths, transitions)[0].numpy()
    shifted = logits + 1000.0 * (np.arange(512) % 2)[None, :, None].astype("float32")
    got = log_likelihood(tf.constant(shifted), best, lengths, transitions)
    for i, n in enumerate(lengths):
        sums = start + shifted[i, 0]
        for s in range(1, n):
            sums = np.logaddexp.reduce(sums[:, None] + steps, 0) + shifted[i, s]
        expected = path_score(shifted[i], best[i, :n], transitions[i]) - np.logaddexp.reduce(sums + end)
        assert -50 < expected < -1 and abs(float(got[i]) - expected) < 1e-3
    chances = marginals(logits, lengths, transitions).numpy()
    np.testing.assert_allclose(chances[0].sum(-1), 1, atol=1e-4)
    np.testing.assert_allclose(chances[1, :300].sum(-1), 1, atol=1e-4)


def test_probabilities_of_a_long_text_are_one_in_all():
    """Rounding of thousands of steps, each a product of probabilities, does not add up."""
    logits, _, transitions = problem(2, 6000, 9, scale=3.0)
    made = marginals(logits, np.array([6000, 2500]), transitions).numpy().sum(-1)
    np.testing.assert_allclose(made[0], 1, atol=1e-6)
    np.testing.assert_allclose(made[1], np.arange(6000) < 2500, atol=1e-6)


compiled_viterbi = tf.function(viterbi)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_forbidden_transition_is_never_on_the_best_path(data):
    tags, length = 4, 8
    forbidden = np.array(data.draw(st.lists(st.booleans(), min_size=24, max_size=24))).reshape(6, 4)
    forbidden[:, 0] = False  # so that there is a path
    draw = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    size = data.draw(st.sampled_from([1.0, 30.0, 1e3]))
    logits = draw.uniform(-size, size, (1, length, tags)).astype("float32")
    logits[..., 0] -= data.draw(st.sampled_from([0.0, size]))  # the way out is dear
    n = data.draw(st.integers(1, length))
    transitions = np.where(forbidden, -1e4, draw.normal(size=(6, 4)))[None].astype("float32")
    path, score = compiled_viterbi(tf.constant(logits), tf.constant([n]), tf.constant(transitions))
    path = path.numpy()[0, :n]
    assert not forbidden[tags, path[0]] and not forbidden[tags + 1, path[-1]]
    assert not any(forbidden[a, b] for a, b in itertools.pairwise(path))

    best = np.where(forbidden[tags], -np.inf, transitions[0, tags] + logits[0, 0].astype("float64"))
    for s in range(1, n):
        best = np.max(best[:, None] + np.where(forbidden[:tags], -np.inf, transitions[0, :tags]), 0) + logits[0, s]
    best = np.max(np.where(forbidden[tags + 1], -np.inf, best + transitions[0, tags + 1]))
    np.testing.assert_allclose(score, [best], rtol=1e-5, atol=1e-4)


def test_no_logits_buy_a_forbidden_transition():
    logits = np.tile(np.array([[-1e3, 1e3]], "float32"), (30, 1))[None]  # tag 1 throughout gains 6e4, and costs one -1e4
    transitions = Transitions(((0, 0), (0, 0), (0, 1), (0, 0)))(logits)
    assert viterbi(logits, [30], transitions)[0].numpy().tolist() == [[0] + [1] * 29]
    transitions = Transitions(((0, 1), (0, 0), (0, 1), (0, 0)))(logits)
    path, score = viterbi(logits, [30], transitions)
    assert path.numpy().tolist() == [[0] * 30] and score.numpy().tolist() == [-3e4]


def test_all_is_finite_where_every_path_is_forbidden():
    logits, tags, _ = problem(2, 50, 3)
    transitions = np.full((2, 5, 3), -1e4, "float32")
    for name, value in everything(*tensors(logits, tags, [50, 1], transitions)).items():
        assert np.isfinite(value).all(), name
    np.testing.assert_allclose(marginals(logits, [50, 1], transitions).numpy()[0].sum(-1), 1, rtol=0.05)


def test_forbidden_gold_path_costs_a_finite_loss():
    logits, _, transitions = problem(1, 3, 5, forbidden=BIO)
    loss, *gradients = loss_and_gradients(*tensors(logits, [[0, 2, 0]], [3], transitions))
    assert -1.01e4 < float(loss[0]) < -0.99e4 and all(np.isfinite(g).all() and np.abs(g).max() <= 3 for g in gradients)


def crf_model(tags: int = 5) -> keras.Model:
    x = keras.Input((None, 3), name="x")
    logits = keras.layers.Dense(tags, name="head", dtype="float32")(x)
    return keras.Model({"x": x}, {"logits": logits, "transitions": Transitions(BIO, name="crf")(logits)})


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_layer_is_float32_under_every_policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        layer = Transitions(BIO)
        table = layer(tf.zeros([2, 3, 5], keras.config.dtype_policy().compute_dtype))
    finally:
        keras.config.set_dtype_policy("float32")
    assert layer.table.dtype == "float32" and table.dtype == tf.float32 and table.shape == (2, 7, 5)
    np.testing.assert_array_equal(table[1], np.where(BIO, np.float32(-1e4), 0))


def test_no_gradient_reaches_a_forbidden_entry():
    layer = Transitions(BIO)
    logits, _, _ = problem(2, 4, 5)
    with tf.GradientTape() as tape:
        loss = log_likelihood(logits, [[0, 2, 2, 4], [2, 0, 4, 1]], [4, 4], layer(logits))  # forbidden paths, at that
    gradient = tape.gradient(loss, layer.table.value).numpy()
    assert not gradient[np.array(BIO)].any() and np.abs(gradient[~np.array(BIO)]).min() > 0


def test_layer_is_rebuilt_from_its_config_and_its_weights(tmp_path):
    model = crf_model()
    assert model.output["transitions"].shape == (None, 7, 5)
    table = np.random.default_rng(0).normal(size=(7, 5))
    model.get_layer("crf").table.assign(table)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    loaded, fresh = keras.models.load_model(tmp_path / "m.keras"), crf_model()
    fresh.load_weights(tmp_path / "m.weights.h5")
    x = {"x": np.ones((2, 4, 3), "float32")}
    for other in (loaded, fresh):
        np.testing.assert_array_equal(other(x)["transitions"], model(x)["transitions"])
    np.testing.assert_allclose(model(x)["transitions"][1], np.where(BIO, -1e4, table), rtol=1e-6)
    layer, again = model.get_layer("crf"), loaded.get_layer("crf")
    assert again.forbidden == BIO and again.get_config() == layer.get_config()


@pytest.mark.parametrize("forbidden", [((0, 0), (0, 0)), ((0,), (0, 0), (0, 0), (0, 0)), ()])
def test_table_of_another_shape_is_refused(forbidden):
    with pytest.raises(ValueError, match=r"bool\[T\+2,T\]"):
        Transitions(forbidden)


def test_logits_of_another_number_of_tags_are_refused():
    with pytest.raises(ValueError, match="for 5 tags, and the logits are for 3"):
        Transitions(BIO)(np.zeros((1, 2, 3), "float32"))


def test_exported_model_gives_the_same(tmp_path):
    class Served(tf.Module):
        def __init__(self):
            super().__init__()
            self.model = crf_model()

        @tf.function(input_signature=[tf.TensorSpec((None, None, 3)), tf.TensorSpec((None,), tf.int32),
                                      tf.TensorSpec((None, None), tf.int32)])
        def answer(self, x, lengths, tags):
            outputs = self.model({"x": x})
            logits, transitions = outputs["logits"], outputs["transitions"]
            path, score = viterbi(logits, lengths, transitions)
            return {"path": path, "score": score, "marginals": marginals(logits, lengths, transitions),
                    "log_likelihood": log_likelihood(logits, tags, lengths, transitions)}

    served = Served()
    served.model.get_layer("crf").table.assign(np.random.default_rng(0).normal(size=(7, 5)))
    x = np.random.default_rng(1).normal(size=(3, 6, 3)).astype("float32")
    lengths, tags = tf.constant([6, 2, 0]), tf.constant(problem(3, 6, 5)[1], tf.int32)
    expected = served.answer(x, lengths, tags)
    tf.saved_model.save(served, str(tmp_path), signatures={"serving_default": served.answer})
    loaded = tf.saved_model.load(str(tmp_path))
    signature = loaded.signatures["serving_default"]
    for got in (loaded.answer(x, lengths, tags), signature(x=tf.constant(x), lengths=lengths, tags=tags)):
        for name, value in expected.items():
            np.testing.assert_array_equal(got[name], value, err_msg=name)
