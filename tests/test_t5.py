"""T5s in Hugging Face's layout compute what plain NumPy does after the paper, are decoded alike, and trained."""

import json

import keras_hub
import numpy as np
import pytest
import t5
import tensorflow as tf
from keras_hub.src.utils.keras_utils import gelu_approximate
from test_seq2seq_models import logits_of, padded

from tfft import assets
from tfft.errors import UserError
from tfft.models import t5 as own
from tfft.models.backbone import describe, load_backbone, load_tokenizer, rebuild
from tfft.models.decoding import generate
from tfft.models.sampling import Sampling
from tfft.models.seq2seq import Seq2SeqDecoder, load_seq2seq, seq2seq, start_and_ends

SOURCES = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1], [30, 31, 1], [20, 4, 1]]
TARGET = [0, 7, 3, 9, 4, 12, 12, 5, 6, 30, 31, 2, 8]


@pytest.mark.parametrize("variant", t5.VARIANTS)
def test_a_folder_becomes_the_model_that_it_has(tmp_path, variant):
    stated, weights = t5.write(tmp_path, variant)
    backbone = load_seq2seq(assets.resolve_backbone(str(tmp_path), tmp_path / "cache"), precision="float32", dropout=-1)
    model = seq2seq(backbone)
    assert backbone.dropout == 0.2 and backbone.token_embedding.tie_weights == ("lm_head.weight" not in weights)
    ids, mask = padded(SOURCES)
    made = model({"token_ids": ids, "padding_mask": mask, "decoder_token_ids": tf.constant([TARGET] * 3)})
    given = tf.matmul(made["hidden"], made["table"][tf.newaxis], transpose_b=True)
    decoder, half = Seq2SeqDecoder(model, ids, mask), len(TARGET) // 2
    stepped, caches = decoder(tf.constant([TARGET[:half]] * 3), decoder.caches(3, len(TARGET) + 2), tf.constant(0), None)
    for at in range(half, len(TARGET)):
        stepped, caches = decoder(tf.constant([TARGET[at:at + 1]] * 3), caches, tf.constant(at), None)
    for row, source in enumerate(SOURCES):
        wanted = t5.logits(stated, weights, source, TARGET)
        np.testing.assert_allclose(given[row], wanted, atol=1e-4)
        np.testing.assert_allclose(stepped[row], wanted[-1], atol=1e-4)


def test_texts_are_those_of_the_whole_model(tmp_path):
    stated, weights = t5.write(tmp_path, "flan")
    model = seq2seq(load_seq2seq(str(tmp_path), precision="float32", dropout=-1))

    def answers(ids, mask):
        start = tf.zeros([ids.shape[0], 1], tf.int32)
        return generate(Seq2SeqDecoder(model, ids, mask), start, tf.ones_like(start), Sampling(max_new_tokens=5), (1,), room=5)

    wanted = []
    for source in SOURCES:
        target = [0]
        while len(target) < 6 and target[-1] != 1:
            target.append(int(np.argmax(t5.logits(stated, weights, source, target)[-1])))
        wanted.append(target[1:] + [-1] * (6 - len(target)))
    assert len({str(row) for row in wanted}) > 1
    found = tf.function(answers, autograph=False, jit_compile=True)(*padded(SOURCES))  # as a TPU compiles it
    assert found.numpy().tolist() == wanted


def test_numbers_of_distances():
    distances = np.arange(-200, 200)
    for both in (False, True):
        for count, longest in ((32, 128), (8, 20)):
            found = own.bucket(tf.constant(distances), both, count, longest).numpy().tolist()
            assert found == [t5.number(int(each), both, count, longest) for each in distances]


def test_describe_and_rebuild_give_the_same_outputs(tmp_path):
    t5.write(tmp_path, "flan")
    first = load_seq2seq(str(tmp_path), precision="float32", dropout=0.3)
    second = rebuild(describe(first), "float32")
    assert [v.path for v in second.trainable_variables] == [v.path for v in first.trainable_variables]
    assert first.dropout == second.dropout == 0.3 and second.layer_norm_epsilon == 1e-3
    for a, b in zip(first.trainable_variables, second.trainable_variables, strict=True):
        b.assign(a)
    first, second = (logits_of(seq2seq(made), SOURCES[0], [[0, 4]]) for made in (first, second))
    np.testing.assert_array_equal(first, second)


def test_half_precision(tmp_path):
    precision = "mixed_bfloat16"
    stated, weights = t5.write(tmp_path, "first")
    model = seq2seq(load_seq2seq(str(tmp_path), precision=precision, dropout=-1))
    assert model.output["hidden"].dtype == precision.removeprefix("mixed_")
    made = logits_of(model, SOURCES[0], [TARGET])[0]
    np.testing.assert_allclose(made, t5.logits(stated, weights, SOURCES[0], TARGET)[-1], atol=0.1)


@pytest.mark.parametrize("gated", [True, False])
def test_a_preset_of_keras_hub_becomes_the_same_model(tmp_path, gated):
    theirs = keras_hub.models.T5Backbone(
        vocabulary_size=t5.WORDS, num_layers=1, num_heads=2, hidden_dim=12, intermediate_dim=20, key_value_dim=4,
        activation=gelu_approximate if gated else "relu", use_gated_activation=gated, tie_embedding_weights=not gated)
    draw = np.random.default_rng(0)
    for variable in theirs.trainable_variables:
        variable.assign(draw.normal(0.5 if variable.path.endswith("weight") else 0, 0.5, variable.shape))
    theirs.save_to_preset(str(tmp_path))
    model = seq2seq(load_seq2seq(str(tmp_path), precision="float32", dropout=-1))
    (ids, mask), target = padded(SOURCES), tf.constant([TARGET] * 3)
    made = model({"token_ids": ids, "padding_mask": mask, "decoder_token_ids": target})
    wanted = theirs({"encoder_token_ids": ids, "encoder_padding_mask": mask, "decoder_token_ids": target,
                     "decoder_padding_mask": tf.ones_like(target)})["decoder_sequence_output"]
    np.testing.assert_allclose(made["hidden"], wanted if gated else wanted / 12**0.5, atol=1e-4)


def test_its_tokenizer_is_sentencepiece(tmp_path):
    t5.write(tmp_path, "first")
    tokenizer = load_tokenizer(str(tmp_path))
    assert start_and_ends(tokenizer) == ((0,), (1,))
    ids = tf.function(lambda texts: tokenizer(texts))(tf.constant(["the film was good"]))
    assert tf.function(tokenizer.detokenize)(ids).numpy()[0] == b"the film was good"


def test_what_is_none_is_told(tmp_path):
    stated, weights = t5.write(tmp_path, "first")
    with pytest.raises(UserError, match="is a T5Backbone, which takes decoder_token_ids, padding_mask, token_ids: not a text"):
        load_backbone(str(tmp_path), precision="float32", dropout=-1)

    def loaded(told: str, tensors: dict, **settings):
        t5.save_file(tensors, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps({**stated, **settings}))
        with pytest.raises(UserError, match=told):
            load_seq2seq(str(tmp_path), precision="float32", dropout=-1)

    loaded("feed_forward_proj='gated-swiglu'; T5's layers are known with relu", weights, feed_forward_proj="gated-swiglu")
    loaded("another shape than its config.json says", weights, d_ff=24)
    loaded("lacks the tensor decoder.block.2.layer", weights, num_decoder_layers=3)
    loaded("has a tensor that no model of its config.json has: decoder.block.1.layer.0", weights, num_decoder_layers=1)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="Cannot read .*model.safetensors"):
        load_seq2seq(str(tmp_path), precision="float32", dropout=-1)
    (tmp_path / "spiece.model").unlink()
    with pytest.raises(UserError, match="has no spiece.model"):
        load_tokenizer(str(tmp_path))
