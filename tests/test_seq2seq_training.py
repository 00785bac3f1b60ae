"""Encoder-decoders are trained: adapters, frozen layers, learning rates by depth, the CPU's kernels, half precision."""

import keras
import numpy as np
import pytest
import t5
import tensorflow as tf
from test_seq2seq_models import KINDS, SOURCES, START, backbone, compare, padded

from tfft.config import Adaptation, Model
from tfft.config.adaptation import MERGED
from tfft.models import adaptation
from tfft.models.adapters import merge
from tfft.models.causal_lm import OUTPUT, Loss, token_losses
from tfft.models.kernels import fast_cpu
from tfft.models.prompts import own_backbone
from tfft.models.seq2seq import Seq2SeqDecoder, load_seq2seq, seq2seq

TARGETS = [[START, 7, 5], [START, 6, 9], [START, 4, 4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("t5")
    t5.write(made, "flan")
    return str(made)


def any_of(kind: str, folder: str, precision: str = "float32", dropout: float = 0.0):
    if kind == "t5":
        return load_seq2seq(folder, precision=precision, dropout=dropout)
    return backbone(kind, precision)


def slopes(model, training: bool = True) -> tuple[float, list]:
    """(loss, gradients of what is trained)"""
    ids, mask = padded(SOURCES)
    with tf.GradientTape() as tape:
        made = model({"token_ids": ids, "padding_mask": mask, "decoder_token_ids": tf.constant(TARGETS)}, training=training)
        hidden = tf.reshape(made["hidden"], [-1, made["hidden"].shape[-1]])
        loss = tf.reduce_mean(token_losses(hidden, made["table"], tf.reshape(tf.roll(TARGETS, -1, axis=1), [-1]), Loss()))
    found = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return float(loss), [None if one is None else tf.convert_to_tensor(one).numpy() for one in found]


@pytest.mark.parametrize("kind", ["bert", "t5"])  # BART's layers are those of the first
def test_the_kernels_of_a_cpu_compute_the_same(kind, folder):
    made = any_of(kind, folder, dropout=0.1)
    for layer in made._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 1e-9  # taken for dropout, but nothing is dropped
    model = seq2seq(made)
    loss, usual = slopes(model)
    assert all(one is not None for one in usual)
    with fast_cpu():
        fast, found = slopes(model)
    assert loss == pytest.approx(fast, abs=1e-5)
    for variable, ours, theirs in zip(model.trainable_variables, found, usual, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=variable.path)


@pytest.mark.parametrize("kind, precision", [("bert", "mixed_bfloat16"), ("t5", "mixed_float16")])
def test_half_precision_is_trained(kind, precision, folder):
    made = any_of(kind, folder, precision)
    whole, _ = slopes(seq2seq(any_of(kind, folder)), training=False)
    loss, found = slopes(seq2seq(made), training=False)
    assert loss == pytest.approx(whole, rel=0.1) and all(np.isfinite(one).all() for one in found)


def disturbed(model) -> None:
    draw = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + draw.normal(0, 0.3, variable.shape))


@pytest.mark.parametrize("kind, method", [("bert", "lora"), ("bert", "bitfit"), ("bart", "ia3"), ("t5", "dora"),
                                          ("t5", "adapters")])
def test_adapters_are_found_and_decoded(kind, method, folder):
    made = adaptation.choose_trained(any_of(kind, folder), Model(), Adaptation(method=method, rank=2, bottleneck=2), 0)
    model = seq2seq(made)
    paths = [v.path for v in model.trainable_variables]
    assert len(set(paths)) == len(paths)
    layers = [layer.name for layer in adaptation.sections(made)[1]]
    assert {path.split("/")[0] for path in paths} == set(layers)
    if method in ("lora", "dora"):  # all matrices, those that look at the source too
        for number in range(made.num_layers, len(layers)):
            inside = {path.split("/")[1] for path in paths if path.startswith(f"{layers[number]}/")}
            assert {"self_attention", "cross_attention"} < inside
            assert any(name.startswith("feedforward_output") for name in inside)
    assert not model.get_layer(OUTPUT).trained  # the words' embeddings
    disturbed(model)
    compare(model, TARGETS[0])
    if method in MERGED:
        ids, mask = padded(SOURCES)
        inputs = {"token_ids": ids, "padding_mask": mask, "decoder_token_ids": tf.constant(TARGETS)}
        expected = model(inputs)["hidden"].numpy()
        merge(adaptation.sections(made)[1])
        np.testing.assert_allclose(model(inputs)["hidden"], expected, atol=1e-4)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
@pytest.mark.parametrize("kind", ["bert", "bart", "t5"])
def test_what_comes_before_is_seen_and_decoded(kind, method, folder):
    usual = np.asarray(seq2seq(any_of(kind, folder))(given(TARGETS))["hidden"])
    made = adaptation.choose_trained(any_of(kind, folder), Model(), Adaptation(method=method, prefix=3, bottleneck=4), 0)
    model, layers = seq2seq(made), adaptation.sections(made)[1]
    paths = [v.path for v in model.trainable_variables]
    assert {path.split("/")[0] for path in paths} == ({"prompt"} if method == "prompt" else {layer.name for layer in layers})
    if method == "prefix":  # of the decoder's own tokens and of the source
        inside = {path.split("/")[1] for path in paths if path.startswith(f"{layers[-1].name}/")}
        assert inside == {"self_attention", "cross_attention"}
    assert not model.get_layer(OUTPUT).trained and all(one is not None for one in slopes(model, training=False)[1])
    disturbed(model)
    assert np.abs(np.asarray(model(given(TARGETS))["hidden"]) - usual).max() > 0.01
    compare(model, TARGETS[0])
    decoder = Seq2SeqDecoder(model, *padded(SOURCES), beams=2)
    twice = tf.repeat(tf.constant([TARGETS[0]] * 3), 2, axis=0)
    logits, _ = decoder(twice, decoder.caches(6, 4), tf.constant(0), None)
    np.testing.assert_allclose(logits[::2], decoder_logits(model, TARGETS[0]), atol=1e-4)
    half = adaptation.choose_trained(any_of(kind, folder, "mixed_bfloat16"), Model(), Adaptation(method=method, prefix=3), 0)
    half = seq2seq(half)
    assert np.isfinite(slopes(half, training=False)[0])
    assert np.isfinite(decoder_logits(half, TARGETS[0])).all()


def given(targets: list[list[int]]) -> dict:
    ids, mask = padded(SOURCES)
    return {"token_ids": ids, "padding_mask": mask, "decoder_token_ids": tf.constant(targets)}


def decoder_logits(model, target: list[int]) -> np.ndarray:
    """float32[B,V] of what follows the target, decoded at once."""
    decoder = Seq2SeqDecoder(model, *padded(SOURCES))
    return decoder(tf.constant([target] * 3), decoder.caches(3, len(target) + 1), tf.constant(0), None)[0].numpy()


def test_a_prompt_is_read_as_tokens_before_the_source(folder):
    """Where T5 knows distances alone, the model with a prompt of tokens' embeddings is the model of a source with these."""
    made = adaptation.choose_trained(any_of("t5", folder), Model(), Adaptation(method="prompt", prefix=2), 0)
    made.begin_as(np.array([7, 8]))
    longer, (ids, mask) = seq2seq(own_backbone(made)), padded([[7, 8, *source] for source in SOURCES])
    expected = longer({"token_ids": ids, "padding_mask": mask, "decoder_token_ids": tf.constant(TARGETS)})["hidden"]
    np.testing.assert_allclose(seq2seq(made)(given(TARGETS))["hidden"], expected, atol=1e-5)


@pytest.mark.parametrize("kind", [*KINDS, "t5"])
def test_layers_are_counted_from_the_encoders_lowest_to_the_decoders_highest(kind, folder):
    made = any_of(kind, folder)
    embeddings, layers, above = adaptation.sections(made)
    assert layers == [*(made.transformer_layers if hasattr(made, "transformer_layers") else made.encoder_transformer_layers),
                      *made.decoder_transformer_layers]
    everything = [id(v) for layer in (*embeddings, *layers, *above) for v in layer.weights]
    assert len(everything) == len(set(everything)) == len(made.weights)
    factors = adaptation.learning_rate_multipliers(made, made.trainable_variables, 0.5)
    for variable, factor in zip(made.trainable_variables, factors, strict=True):
        depth = next((number for number, layer in enumerate(layers) if any(variable is one for one in layer.weights)), -1)
        expected = 0.5 ** (len(layers) - depth)
        if "output_layer_norm" in variable.path:
            expected = 1.0
        assert factor == expected, variable.path
    adaptation.freeze(made, Model(frozen_layers=1))
    frozen = {v.path.split("/")[0] for v in made.weights if not v.trainable and "seed" not in v.path}
    assert layers[0].name in frozen and layers[1].name not in frozen
    assert all("embedding" in name for name in frozen - {layers[0].name})
    assert not seq2seq(made).get_layer(OUTPUT).trained
