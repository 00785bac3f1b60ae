"""Language models with a prefix or a prompt: what is computed is what the method says, alone, in a packed row, and decoded."""

import numpy as np
import pytest
import tensorflow as tf
from test_causal_lm_loss import FAMILIES, GROUPED, backbone, models
from test_decoding import PROMPTS, padded

from tfft.config import Adaptation, Model
from tfft.models.adaptation import choose_trained, sections
from tfft.models.causal_decoder import CausalDecoder
from tfft.models.causal_lm import OUTPUT, causal_lm, packed_causal_lm
from tfft.models.decoding import generate, prepared
from tfft.models.prompts import own_backbone
from tfft.models.sampling import Sampling

WINDOWED = {
    "mistral": (models.MistralBackbone, {**GROUPED, "sliding_window": 3}),
    "qwen": (models.QwenBackbone, {**GROUPED, "use_sliding_window_attention": True, "sliding_window_size": 3}),
    "qwen3": (models.Qwen3Backbone, {**GROUPED, "head_dim": 4, "sliding_window_size": 3}),
    "gemma": (models.GemmaBackbone, {**GROUPED, "head_dim": 4, "use_sliding_window_attention": True,
                                     "sliding_window_size": 3}),
}


def adapted(family: str, method: str, precision: str = "float32"):
    """(backbone with a prefix or prompt of three, far from nothing; the model)."""
    own = choose_trained(backbone(family, precision), Model(), Adaptation(method=method, prefix=3, bottleneck=5), seed=5)
    draw = np.random.default_rng(1)
    for variable in own.trainable_variables:
        variable.assign(draw.normal(0, 0.7, variable.shape))
    return own, causal_lm(own)


def logits(made) -> np.ndarray:
    return np.asarray(tf.matmul(made["hidden"], made["table"], transpose_b=True), np.float32)


def of(model, row: list[int]) -> np.ndarray:
    """float32[S,V] of a text by itself."""
    ids = np.array([row], np.int32)
    return logits(model({"token_ids": ids, "padding_mask": np.ones_like(ids)}))[0]


def capped(family: str, values: np.ndarray) -> np.ndarray:
    return 5 * np.tanh(values / 5) if family == "gemma2" else values


@pytest.mark.parametrize("method", ["prefix", "prompt"])
@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_is_the_whole_model(family, method):
    own, model = adapted(family, method)
    trained = {v.path.split("/")[0] for v in model.trainable_variables}
    assert trained == ({"prompt"} if method == "prompt" else {layer.name for layer in sections(own)[1]})
    plain = causal_lm(backbone(family))
    assert np.abs(of(model, PROMPTS[0]) - of(plain, PROMPTS[0])).max() > 0.1
    decoder, (ids, mask) = CausalDecoder(own), padded(PROMPTS)
    room = prepared(ids, mask, 3)
    made, caches = decoder(ids, decoder.caches(3, 9), tf.constant(0), room)
    for step, token in enumerate([6, 7, None]):
        for i, row in enumerate(PROMPTS):
            np.testing.assert_allclose(made[i], capped(family, of(model, [*row, 6, 7][:len(row) + step])[-1]), atol=1e-4)
        if token:
            made, caches = decoder(tf.constant([[token]] * 3), caches, tf.constant(6 + step), room)


@pytest.mark.parametrize("family", WINDOWED)
def test_a_prefix_is_seen_through_any_window(family, monkeypatch):
    """Decoded as by the whole model, which without its prefix answers otherwise."""
    monkeypatch.setitem(FAMILIES, "windowed", WINDOWED[family])
    own, model = adapted("windowed", "prefix")
    row = [3, 1, 4, 1, 5, 9, 2]
    decoder, (ids, mask) = CausalDecoder(own), padded([row, [2, 6]])
    made, caches = decoder(ids, decoder.caches(2, 9), tf.constant(0), prepared(ids, mask, 2))
    np.testing.assert_allclose(made[0], of(model, row)[-1], atol=1e-4)
    made, _ = decoder(tf.constant([[8], [8]]), caches, tf.constant(7), prepared(ids, mask, 2))
    np.testing.assert_allclose(made, [of(model, [*row, 8])[-1], of(model, [2, 6, 8])[-1]], atol=1e-4)
    seen = of(model, row)
    first = sections(own)[1][0]
    values = first.attention.values if family == "gemma" else first._self_attention_layer.values
    values.up_bias.assign(values.up_bias + 1.0)
    assert (np.abs(of(model, row) - seen).max(axis=-1) > 1e-3).all()  # by every token


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gpt2"])
def test_every_text_of_a_packed_row_sees_the_prefix(family):
    own, model = adapted(family, "prefix")
    ids = np.array([[3, 4, 5, 7, 1, 2, 3, 0], [6, 6, 6, 6, 6, 6, 6, 2]], np.int32)
    document = np.array([[1, 1, 1, 2, 3, 3, 3, 0], [1, 1, 1, 1, 1, 1, 1, 2]], np.int32)
    packed = packed_causal_lm(model, own)
    assert {v.path for v in packed.trainable_variables} == {v.path for v in model.trainable_variables}
    made = logits(packed({"token_ids": ids, "padding_mask": (document > 0).astype(np.int32), "document": document}))
    for row in range(2):
        for text in range(1, document[row].max() + 1):
            inside = document[row] == text
            np.testing.assert_allclose(made[row, inside], of(model, ids[row, inside].tolist()), atol=1e-5)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_answers_are_those_of_the_whole_model(method):
    """Greedy, with static shapes, of one token alone, and by beams."""
    own, model = adapted("llama", method)

    def answers(prompts, jit=False, beams=1):
        graph = tf.function(lambda ids, mask: generate(CausalDecoder(own), ids, mask, Sampling(max_new_tokens=5), (99,), room=5,
                                                       beams=beams), autograph=False, jit_compile=jit)
        return graph(*padded(prompts)).numpy().tolist()

    wanted = []
    for row in PROMPTS:
        text = list(row)
        while len(text) < len(row) + 5:
            text.append(int(np.argmax(of(model, text)[-1])))
        wanted.append(text[len(row):])
    assert answers(PROMPTS, jit=True) == wanted and answers(PROMPTS[1:2]) == wanted[1:2]
    if method == "prompt":
        assert answers(PROMPTS, beams=2)[1:2] == answers(PROMPTS[1:2], beams=2)


def test_a_prefix_is_compared_with_queries_that_are_not_turned():
    """One layer's attention, written out for grouped heads."""
    own = adapted("qwen3", "prefix")[0]
    layer = sections(own)[1][0]._self_attention_layer
    inner, draw = layer.attention, np.random.default_rng(2)
    x = draw.normal(size=(2, 4, 16)).astype(np.float32)
    mask = np.array([np.tril(np.ones((4, 4))), np.tril(np.ones((4, 4))) * [1, 1, 0, 0]], np.int32)
    query, key = inner._query_dense_layer_norm(inner._query_dense(x)), inner._key_dense_layer_norm(inner._key_dense(x))
    query = query.numpy()
    turned, keys = inner.rotary_embedding_layer(query).numpy(), inner.rotary_embedding_layer(key).numpy()
    values, made = inner._value_dense(x).numpy(), np.zeros((2, 4, 4, 4), np.float32)
    more, of_more = layer.keys.seen().numpy(), layer.values.seen().numpy()
    assert more.shape == (3, 2, 4)
    for b, t, head in np.ndindex(2, 4, 4):
        group = head // 2
        scores = [query[b, t, head] @ each / 2 for each in more[:, group]]
        scores += [turned[b, t, head] @ keys[b, s, group] / 2 if mask[b, t, s] else -1e9 for s in range(4)]
        shares = np.exp(scores - np.max(scores))
        made[b, t, head] = shares / shares.sum() @ np.concatenate([of_more[:, group], values[b, :, group]])
    np.testing.assert_allclose(layer(x, attention_mask=mask), inner._output_dense(made), atol=1e-5)


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_half_precision(method):
    one, half = (adapted("llama", method, precision) for precision in ("float32", "mixed_bfloat16"))
    np.testing.assert_allclose(of(half[1], PROMPTS[2]), of(one[1], PROMPTS[2]), atol=0.4)
    decoder, (ids, mask) = CausalDecoder(half[0]), padded(PROMPTS)
    made, _ = decoder(ids, decoder.caches(3, 7), tf.constant(0), prepared(ids, mask, 1))
    assert made.dtype == tf.float32
    np.testing.assert_allclose(made[2], of(half[1], PROMPTS[2])[-1], atol=0.3)


def test_a_prompt_is_as_tokens_before_the_others():
    """Where places are relative, the model with a prompt of the tokens' own embeddings is the model with these tokens."""
    own, model = adapted("llama", "prompt")
    own.begin_as(np.array([5, 6, 7]))
    np.testing.assert_allclose(of(model, [3, 4]), of(causal_lm(own_backbone(own)), [5, 6, 7, 3, 4])[3:], atol=1e-5)
    assert model.get_layer(OUTPUT).backbone() is own
