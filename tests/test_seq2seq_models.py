"""Encoder-decoders: made of an encoder, or BART; decoded with the source read once as the whole model would do it."""

import json

import families
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from tfft.errors import UserError
from tfft.models.backbone import describe, load_backbone, rebuild
from tfft.models.decoding import generate
from tfft.models.encoder_decoder import encoder_decoder, spaced
from tfft.models.sampling import Sampling
from tfft.models.seq2seq import OUTPUT, Seq2SeqDecoder, load_seq2seq, seq2seq, start_and_ends

SOURCES = [[2, 5, 6, 3], [2, 7, 3], [2, 9, 11, 10, 8, 3]]
START, ROOM = 4, 6
KINDS = {"bert": 1, "xlm_roberta": 2, "bart": 0}  # and a seed of weights that make texts that differ


def drawn(backbone, seed: int):
    """With random weights, always the same. All tokens have embeddings of one length, so that texts are not one token alone."""
    draw = np.random.default_rng(seed)
    for variable in backbone.trainable_variables:
        kind = variable.path.rpartition("/")[2]
        mean, deviation = {"gamma": (1, 0.2), "beta": (0, 0.2), "bias": (0, 0.2), "embeddings": (0, 1)}.get(kind, (0, 0.5))
        value = draw.normal(mean, deviation, variable.shape)
        variable.assign(value / np.linalg.norm(value, axis=-1, keepdims=True) * 3 if kind == "embeddings" else value)
    return backbone


def backbone(kind: str, precision: str = "float32"):
    if kind == "bart":
        sizes = {name: size for name, size in families.COMMON.items() if name != "num_layers"}
        return drawn(keras_hub.models.BartBackbone(vocabulary_size=16, num_layers=2, **sizes, dtype=precision), KINDS[kind])
    return drawn(encoder_decoder(families.backbone(kind, precision=precision), 0, seed=1), KINDS[kind])


def padded(rows: list[list[int]]) -> tuple[tf.Tensor, tf.Tensor]:
    """On the right."""
    size = max(map(len, rows))
    return (tf.constant([row + [0] * (size - len(row)) for row in rows]),
            tf.constant([[1] * len(row) + [0] * (size - len(row)) for row in rows]))


def logits_of(model, source: list[int], targets: list[list[int]]) -> np.ndarray:
    """float32[B,V] of what follows, by the whole model of an unpadded source."""
    ids = np.array([source] * len(targets), np.int32)
    made = model({"token_ids": ids, "padding_mask": np.ones_like(ids), "decoder_token_ids": np.array(targets, np.int32)})
    return np.asarray(tf.matmul(made["hidden"][:, -1], made["table"], transpose_b=True), np.float32)


def greedy(model, source: list[int]) -> list[int]:
    target = [START]
    while len(target) <= ROOM:
        target.append(int(np.argmax(logits_of(model, source, [target]))))
    return target[1:]


def answers(model, jit: bool = False, beams: int = 1, count: int = ROOM) -> list[list[int]]:
    def made(ids, mask):
        first = tf.fill([ids.shape[0], 1], START)
        return generate(Seq2SeqDecoder(model, ids, mask, beams), first, tf.ones_like(first), Sampling(max_new_tokens=count),
                        (99,), room=count, beams=beams)

    return tf.function(made, autograph=False, jit_compile=jit)(*padded(SOURCES)).numpy().tolist()


@pytest.mark.parametrize("kind", ["bert", "bart"])
def test_texts_are_those_of_the_whole_model(kind):
    model = seq2seq(backbone(kind))
    wanted = [greedy(model, source) for source in SOURCES]
    assert len({str(row) for row in wanted}) > 1 and any(len(set(row)) > 1 for row in wanted)
    assert answers(model, jit=kind == "bert") == wanted  # with static shapes, as a TPU compiles it, or without


def compare(model, target: list[int]) -> None:
    """What decoding makes of a target, one token at a time, with the whole model's, of sources padded or not."""
    ids, mask = padded(SOURCES)
    decoder = Seq2SeqDecoder(model, ids, mask)
    caches = decoder.caches(3, len(target) + 1)
    logits, caches = decoder(tf.constant([target[:2]] * 3), caches, tf.constant(0), None)
    for at in range(2, len(target)):
        logits, caches = decoder(tf.constant([target[at:at + 1]] * 3), caches, tf.constant(at), None)
    together = model({"token_ids": ids, "padding_mask": mask, "decoder_token_ids": tf.constant([target] * 3)})
    np.testing.assert_allclose(tf.matmul(together["hidden"][:, -1], together["table"], transpose_b=True), logits, atol=1e-4)
    for row, source in zip(logits.numpy(), SOURCES):
        np.testing.assert_allclose(row, logits_of(model, source, [target])[0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_one_token_at_a_time_are_those_of_the_whole_model(kind):
    compare(seq2seq(backbone(kind)), [START, 7, 5, 6])


def searched(model, source: list[int], beams: int, count: int) -> list[int]:
    """Beam search in plain Python, every text through the whole model."""
    going = [(0.0, [START])]
    for _ in range(count):
        made = []
        for (total, text), logits in zip(going, logits_of(model, source, [text for _, text in going]), strict=True):
            chances = tf.nn.log_softmax(logits).numpy()
            made += [(total + chances[token], [*text, token]) for token in range(len(logits))]
        going = sorted(made, key=lambda each: -each[0])[:beams]
    return going[0][1][1:]


def test_beams_ask_their_source_together():
    model = seq2seq(backbone("bert"))
    found = answers(model, beams=3, count=4)
    assert found == [searched(model, source, 3, 4) for source in SOURCES]
    assert found != answers(model, count=4)


@pytest.mark.parametrize("kind", ["bert", "xlm_roberta"])  # with segments and without
def test_describe_and_rebuild_give_the_same_outputs(kind):
    first = backbone(kind)
    second = rebuild(describe(first), "float32")
    assert [v.path for v in second.trainable_variables] == [v.path for v in first.trainable_variables]
    for a, b in zip(first.trainable_variables, second.trainable_variables, strict=True):
        b.assign(a)
    for name in ("num_layers", "num_decoder_layers", "max_sequence_length", "vocabulary_size", "dropout"):
        assert getattr(first, name) == getattr(second, name)
    ours, theirs = (logits_of(seq2seq(made), [2, 5, 3], [[START]]) for made in (first, second))
    np.testing.assert_array_equal(ours, theirs)
    assert rebuild(describe(first), "mixed_bfloat16").output["decoder_sequence_output"].dtype == "bfloat16"
    assert rebuild(describe(rebuild(describe(first), "mixed_bfloat16")), "float32").compute_dtype == "float32"


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm_roberta", "distilbert"])
def test_the_decoder_begins_as_the_encoder(family):
    encoder = families.backbone(family)
    ids = np.array([[2, 5, 6, 7, 3]], np.int32)
    causal = np.tril(np.ones((1, 5, 5), np.int32))
    made = encoder_decoder(encoder, 0, seed=1)
    x = made.embeddings_layer_norm(embedded(encoder, ids))
    for layer, own in zip(encoder.transformer_layers, made.decoder_transformer_layers, strict=True):
        wanted = layer(x, attention_mask=causal)
        own._cross_attention_layer._output_dense.kernel.assign(tf.zeros_like(own._cross_attention_layer._output_dense.kernel))
        own._cross_attention_layer_norm.call = lambda x: x
        x = own(x, tf.zeros((1, 2, families.WIDTH)))
        np.testing.assert_allclose(x, wanted, atol=1e-5)
    read = {"token_ids": ids, "padding_mask": np.ones_like(ids), "decoder_token_ids": ids}
    np.testing.assert_allclose(made(read)["decoder_sequence_output"], x, atol=1e-5)
    own = families.inputs(encoder, ids, [5])
    whole = encoder(own)
    np.testing.assert_allclose(made(read)["encoder_sequence_output"],
                               whole["sequence_output"] if isinstance(whole, dict) else whole, atol=1e-6)


def embedded(encoder, ids):
    if hasattr(encoder, "embeddings"):
        return encoder.embeddings(ids)
    tokens = encoder.token_embedding(ids)
    return tokens + encoder.position_embedding(tokens) + encoder.segment_embedding(np.zeros_like(ids))


def test_the_new_norm_lets_through_what_comes_in():
    encoder = families.backbone("bert")
    made = encoder_decoder(encoder, 0, seed=1).decoder_transformer_layers[0]
    x = made._self_attention_layer_norm(np.random.default_rng(0).normal(0, 1, (1, 50, families.WIDTH)).astype(np.float32))
    left = np.linalg.norm(made._cross_attention_layer_norm(x) - x) / np.linalg.norm(x)
    assert left < 0.3, left


def test_fewer_layers_are_evenly_spaced():
    assert spaced(12, 4) == [0, 4, 7, 11] and spaced(6, 3) == [0, 2, 5] and spaced(6, 1) == [0] and spaced(2, 2) == [0, 1]
    encoder = families.backbone("bert", layers=3)
    first, second = (encoder_decoder(encoder, 2, seed) for seed in (1, 2))
    for own, number in zip(first.decoder_transformer_layers, (0, 2), strict=True):
        np.testing.assert_array_equal(own._feedforward_output_dense.kernel,
                                      encoder.transformer_layers[number]._feedforward_output_dense.kernel)
    ours, again, other = (made.decoder_transformer_layers[1]._cross_attention_layer._query_dense.kernel.numpy()
                          for made in (first, encoder_decoder(encoder, 2, 1), second))
    np.testing.assert_array_equal(ours, again)
    assert not np.array_equal(ours, other) and 0.005 < ours.std() < 0.03
    with pytest.raises(UserError, match="decoder_layers=4: this BertBackbone has 3 to begin as"):
        encoder_decoder(encoder, 4, 0)


def test_what_cannot_be_taken_is_told():
    for family, told in (("deberta_v3", "no decoder can be made of the layers of a DebertaV3Backbone"),
                         ("albert", "of a AlbertBackbone"), ("electra", "embeddings of width 4 below layers of width 8")):
        with pytest.raises(UserError, match=f"{told}.* Choose a BERT"):
            encoder_decoder(families.backbone(family), 0, 0)
    with pytest.raises(UserError, match="a BertBackbone is no encoder-decoder that tfft knows. Choose BART"):
        seq2seq(families.backbone("bert"))


@pytest.fixture(scope="module")
def bart_folder(tmp_path_factory):
    """A BART's weights by their names in Hugging Face's layout, and what its config.json says."""
    own, folder = backbone("bart"), tmp_path_factory.mktemp("bart")
    inside = {"self_attention_layer": "self_attn", "self_attention": "self_attn", "cross_attention": "encoder_attn",
              "query": "q_proj", "key": "k_proj", "value": "v_proj", "attention_output": "out_proj",
              "self_attention_layer_norm": "self_attn_layer_norm", "cross_attention_layer_norm": "encoder_attn_layer_norm",
              "feedforward_intermediate_dense": "fc1", "feedforward_output_dense": "fc2",
              "feedforward_layer_norm": "final_layer_norm", "kernel": "weight", "bias": "bias", "gamma": "weight",
              "beta": "bias"}
    made = {"final_logits_bias": np.zeros((1, 16), np.float32)}
    for variable in own.trainable_variables:
        first, *rest = variable.path.split("/")
        value, stack = variable.numpy(), "decoder" if "decoder" in first else "encoder"
        if first == "token_embedding":
            name = "model.shared.weight"
        elif "position" in first:
            name, value = f"model.{stack}.embed_positions.weight", np.concatenate([np.full((2, 8), 9.0, np.float32), value])
        elif "embeddings" in first:
            name = f"model.{stack}.layernorm_embedding.{inside[rest[-1]]}"
        else:
            name = f"model.{stack}.layers.{first[-1]}.{'.'.join(inside[part] for part in rest)}"
            if rest[-1] == "kernel":
                value = value.reshape(-1, 8).T if "attention_output" in rest else value.reshape(value.shape[0], -1).T
        made[name] = np.ascontiguousarray(value.reshape(-1) if rest[-1] == "bias" else value)
    stated = {"model_type": "bart", "vocab_size": 16, "d_model": 8, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.1,
              "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
              "max_position_embeddings": 32}
    return own, folder, made, stated


def test_bart_of_a_folder(bart_folder):
    own, folder, weights, stated = bart_folder

    def loaded(tensors=weights, **changes):
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({**stated, **changes}))
        return load_seq2seq(str(folder), precision="float32", dropout=-1)

    for ours, theirs in zip(loaded().trainable_variables, own.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=theirs.path)
    for told, tensors, changes in (
            ("its final_logits_bias is not 0", {**weights, "final_logits_bias": np.ones((1, 16), np.float32)}, {}),
            ("encoder_layers=2 and decoder_layers=1", weights, {"decoder_layers": 1}),
            ("scale_embedding=True", weights, {"scale_embedding": True}),
            ("lacks the tensor model.decoder.layers.2.", weights, {"encoder_layers": 3, "decoder_layers": 3})):
        with pytest.raises(UserError, match=told):
            loaded(tensors, **changes)
    with pytest.raises(UserError, match="is a BartBackbone, which takes decoder_padding_mask, .*: not a text encoder"):
        loaded()
        load_backbone(str(folder), precision="float32", dropout=-1)


def test_start_and_ends():
    assert start_and_ends(families.tokenizer("bert")) == ((2,), (3,))
    assert start_and_ends(families.tokenizer("roberta")) == ((0,), (2,))
    tokenizer = families.models.BartTokenizer(vocabulary={"<s>": 0, "<pad>": 1, "</s>": 2, "a": 3, "b": 4, "ab": 5},
                                              merges=["a b"])
    assert start_and_ends(tokenizer) == ((2, 0), (2,))


def test_half_precision():
    whole, half = backbone("bert"), backbone("bert", precision := "mixed_bfloat16")
    model = seq2seq(half)
    logits, _ = (decoder := Seq2SeqDecoder(model, *padded(SOURCES)))(tf.constant([[START]] * 3), decoder.caches(3, 2), 0, None)
    assert logits.dtype == tf.float32 and model.get_layer(OUTPUT).compute_dtype == precision.removeprefix("mixed_")
    np.testing.assert_allclose(logits[0], logits_of(seq2seq(whole), SOURCES[0], [[START]])[0], atol=0.3)
