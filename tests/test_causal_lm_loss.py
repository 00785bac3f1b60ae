"""The loss of the next token in parts, beside all logits at once; language models of several texts in a row."""

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.errors import UserError
from tfft.models import causal_lm
from tfft.models.causal_lm import OUTPUT, Loss, guesses, packed_causal_lm, token_losses

models = keras_hub.models
SIZES = {"vocabulary_size": 20, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 24}
GROUPED = {**SIZES, "num_query_heads": 4, "num_key_value_heads": 2}
FAMILIES = {
    "llama": (models.Llama3Backbone, {**GROUPED, "tie_word_embeddings": True}),
    "llama_untied": (models.Llama3Backbone, GROUPED),
    "qwen": (models.QwenBackbone, {**GROUPED, "tie_word_embeddings": True}),
    "qwen3": (models.Qwen3Backbone, {**GROUPED, "head_dim": 4, "tie_word_embeddings": True}),
    "mistral": (models.MistralBackbone, GROUPED),
    "gpt2": (models.GPT2Backbone, {**SIZES, "num_heads": 2, "max_sequence_length": 32}),
    "gemma": (models.GemmaBackbone, {**GROUPED, "head_dim": 4}),
    "gemma2": (models.GemmaBackbone, {**GROUPED, "head_dim": 4, "final_logit_soft_cap": 5.0, "use_post_ffw_norm": True,
                                      "use_post_attention_norm": True, "attention_logit_soft_cap": 20.0}),
}


def backbone(family: str, precision: str = "float32"):
    """Random weights, always the same."""
    kind, sizes = FAMILIES[family]
    made, draw = kind(**sizes, dtype=precision), np.random.default_rng(3)
    for variable in made.trainable_variables:
        variable.assign(draw.normal(0.0, 0.3, variable.shape))
    return made


def plain(hidden, table, ids, loss: Loss):
    """As the formulas say."""
    logits = tf.matmul(hidden, table, transpose_b=True)
    logits = loss.cap * tf.tanh(logits / loss.cap) if loss.cap else logits
    chances = tf.nn.log_softmax(logits)
    wanted = tf.one_hot(ids, table.shape[0]) * (1 - loss.smoothing) + loss.smoothing / table.shape[0]
    return -tf.reduce_sum(wanted * chances, axis=1) + loss.z_loss * tf.reduce_logsumexp(logits, axis=1) ** 2


@pytest.mark.parametrize("loss", [Loss(), Loss(0.1), Loss(0.0, 0.01), Loss(0.1, 0.02, 3.0)])
@pytest.mark.parametrize("at_once", [20, 60, 1 << 20])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_losses_in_parts_have_the_gradients_of_the_whole(loss, at_once, static, trained, monkeypatch):
    monkeypatch.setattr(causal_lm, "AT_ONCE", at_once)
    draw = np.random.default_rng(0)
    hidden, table = (tf.constant(draw.normal(0, 1, size), tf.float32) for size in ((7, 4), (20, 4)))
    ids, above = tf.constant(draw.integers(0, 20, 7), tf.int32), tf.constant(draw.normal(0, 1, 7), tf.float32)

    def slopes(compute):
        with tf.GradientTape() as tape:
            tape.watch((hidden, table))
            made = compute()
        return made, *tape.gradient(made, (hidden, table), above)

    spec = [tf.TensorSpec([7 if static else None, 4]), tf.TensorSpec([20, 4]), tf.TensorSpec([7 if static else None], tf.int32)]
    graph = tf.function(lambda h, t, i: token_losses(h, t, i, loss, trained), spec, autograph=False, jit_compile=static)
    wanted = slopes(lambda: plain(hidden, table, ids, loss))
    found = slopes(lambda: graph(hidden, table, ids))
    for ours, theirs in zip(found[:2 + trained], wanted):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    if loss == Loss():
        losses, best = guesses(hidden, table, ids)
        np.testing.assert_allclose(losses, wanted[0], rtol=1e-5)
        np.testing.assert_array_equal(best, tf.argmax(tf.matmul(hidden, table, transpose_b=True), axis=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_output_is_that_of_the_checkpoint(family):
    """Products of hidden and table are the logits that KerasHub's own head has."""
    own = backbone(family)
    model = causal_lm.causal_lm(own)
    ids = np.random.default_rng(0).integers(0, 20, (2, 6)).astype(np.int32)
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    made = model(inputs)
    logits = tf.matmul(made["hidden"], made["table"], transpose_b=True)
    cap = model.get_layer(OUTPUT).cap
    logits = cap * tf.tanh(logits / cap) if cap else logits
    np.testing.assert_allclose(logits, own.token_embedding(own(inputs), reverse=True), rtol=1e-5, atol=1e-5)
    assert model.get_layer(OUTPUT).trained and cap == (5.0 if family == "gemma2" else 0.0)
    assert {variable.path for variable in model.trainable_variables} == {variable.path for variable in own.trainable_variables}


@pytest.mark.parametrize("family", [name for name in FAMILIES if not name.startswith("gemma")])
def test_texts_that_share_a_row_are_as_by_themselves(family):
    own = backbone(family)
    model = causal_lm.causal_lm(own)
    packed = packed_causal_lm(model, own)
    draw = np.random.default_rng(0)
    texts = [draw.integers(0, 20, size).astype(np.int32) for size in (3, 5, 2)]
    row = np.concatenate([*texts, [0, 0]])[np.newaxis].astype(np.int32)
    document = np.repeat([1, 2, 3, 0], [3, 5, 2, 2])[np.newaxis].astype(np.int32)
    together = packed({"token_ids": row, "padding_mask": (document > 0).astype(np.int32), "document": document})["hidden"][0]
    at = 0
    for text in texts:
        alone = model({"token_ids": text[np.newaxis], "padding_mask": np.ones((1, len(text)), np.int32)})["hidden"][0]
        np.testing.assert_allclose(together[at:at + len(text)], alone, rtol=1e-5, atol=1e-5)
        at += len(text)


def test_what_cannot_be_continued_or_packed():
    reads = models.BertBackbone(20, 1, 1, 4, 4)
    with pytest.raises(UserError, match="a BertBackbone is no language model that tfft can continue texts with. Choose"):
        causal_lm.causal_lm(reads)
    gemma = backbone("gemma")
    with pytest.raises(UserError, match="config.task.pack=True knows the layers of Llama .*; this backbone is a GemmaBackbone"):
        packed_causal_lm(causal_lm.causal_lm(gemma), gemma)
