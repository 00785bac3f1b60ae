"""Texts are continued as the whole model would do it, whatever stands beside them in a batch."""

import numpy as np
import pytest
import tensorflow as tf
from test_causal_lm_loss import FAMILIES, GROUPED, backbone, models

from tfft.config import Adaptation
from tfft.models import adaptation
from tfft.models.causal_decoder import CausalDecoder
from tfft.models.decoding import generate, prepared
from tfft.models.sampling import Sampling

PROMPTS = [[3, 4, 5], [7], [1, 2, 3, 4, 5, 6]]
ROOM = 7


def padded(prompts: list[list[int]]) -> tuple[tf.Tensor, tf.Tensor]:
    """On the left."""
    size = max(map(len, prompts))
    return (tf.constant([[9] * (size - len(row)) + row for row in prompts]),
            tf.constant([[0] * (size - len(row)) + [1] * len(row) for row in prompts]))


def logits_of(own, row: list[int]) -> np.ndarray:
    """float32[V] of what follows, by the whole model."""
    ids = np.array([row], np.int32)
    hidden = own({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    return np.asarray(own.token_embedding(hidden[:, -1], reverse=True), np.float32)[0]


def greedy(own, row: list[int], count: int, ends=()) -> list[int]:
    row, first = list(row), len(row)
    while len(row) < first + count and (len(row) == first or row[-1] not in ends):
        row.append(int(np.argmax(logits_of(own, row))))
    return row[first:]


def answers(own, prompts, sampling, ends=(99,), jit=False, **more) -> list[list[int]]:
    graph = tf.function(lambda ids, mask: generate(CausalDecoder(own), ids, mask, sampling, ends, room=ROOM, **more),
                        autograph=False, jit_compile=jit)
    made = graph(*padded(prompts)).numpy()
    assert made.shape == (len(prompts), ROOM)
    return [[token for token in row.tolist() if token >= 0] for row in made]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_those_of_the_whole_model(family):
    own = backbone(family)
    wanted = [greedy(own, row, 6) for row in PROMPTS]
    assert len({tuple(row) for row in wanted}) > 1
    assert answers(own, PROMPTS, Sampling(max_new_tokens=6)) == wanted
    if family in ("llama", "gpt2", "gemma"):  # with static shapes, as a TPU compiles it; and each by itself
        assert answers(own, PROMPTS, Sampling(max_new_tokens=6), jit=True) == wanted
        assert [answers(own, [row], Sampling(max_new_tokens=6))[0] for row in PROMPTS] == wanted


@pytest.mark.parametrize("family", ["llama", "llama_untied", "gpt2", "gemma2"])
def test_logits_with_a_cache_are_those_without(family):
    own, row = backbone(family), [3, 1, 4, 1, 5]
    decoder = CausalDecoder(own)
    ids, mask = padded([row, [2]])
    kept = prepared(ids, mask, 3)
    logits, caches = decoder(ids, decoder.caches(2, 8), tf.constant(0), kept)
    np.testing.assert_allclose(logits[0], logits_of(own, row), atol=1e-4)
    np.testing.assert_allclose(logits[1], logits_of(own, [2]), atol=1e-4)
    for at, token in enumerate([6, 7]):
        logits, caches = decoder(tf.constant([[token], [token]]), caches, tf.constant(5 + at), kept)
    np.testing.assert_allclose(logits[0], logits_of(own, [*row, 6, 7]), atol=1e-4)
    np.testing.assert_allclose(logits[1], logits_of(own, [2, 6, 7]), atol=1e-4)


@pytest.mark.parametrize(("kind", "sizes"), [
    (models.MistralBackbone, {"sliding_window": 3}), (models.Qwen3Backbone, {"head_dim": 4, "sliding_window_size": 3}),
    (models.QwenBackbone, {"use_sliding_window_attention": True, "sliding_window_size": 3}),
    (models.GemmaBackbone, {"head_dim": 4, "use_sliding_window_attention": True, "sliding_window_size": 3})])
def test_windows(kind, sizes, monkeypatch):
    monkeypatch.setitem(FAMILIES, "windowed", (kind, {**GROUPED, "tie_word_embeddings": True, **sizes}))
    if kind is models.GemmaBackbone:
        FAMILIES["windowed"][1].pop("tie_word_embeddings")
    own, short = backbone("windowed"), [3, 1, 4, 1, 5, 9, 2]
    decoder, (ids, mask) = CausalDecoder(own), padded([short, [2, 6]])
    logits, caches = decoder(ids, decoder.caches(2, 9), tf.constant(0), prepared(ids, mask, 2))
    np.testing.assert_allclose(logits[0], logits_of(own, short), atol=1e-4)
    logits, _ = decoder(tf.constant([[8], [8]]), caches, tf.constant(7), prepared(ids, mask, 2))
    np.testing.assert_allclose(logits[0], logits_of(own, [*short, 8]), atol=1e-4)
    np.testing.assert_allclose(logits[1], logits_of(own, [2, 6, 8]), atol=1e-4)
    assert any(own.window == 3 for own in decoder._attentions)


def test_adapters_and_half_precision_decode_too():
    own = adaptation.choose_trained(backbone("llama"), settings(), Adaptation(method="lora"), 0)
    for variable in own.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(0, 0.5, variable.shape))
    assert answers(own, PROMPTS, Sampling(max_new_tokens=6)) == [greedy(own, row, 6) for row in PROMPTS]
    half = backbone("llama", "mixed_bfloat16")
    decoder = CausalDecoder(half)
    ids, mask = padded(PROMPTS)
    logits, _ = decoder(ids, decoder.caches(3, 8), tf.constant(0), prepared(ids, mask, 2))
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits[0], logits_of(half, PROMPTS[0]), atol=0.3)


def settings():
    from tfft.config import Model

    return Model()


def test_answers_end():
    own = backbone("qwen3")
    whole = [greedy(own, row, 6) for row in PROMPTS]
    end = whole[1][1]
    assert answers(own, PROMPTS, Sampling(max_new_tokens=6), ends=(end,)) == [greedy(own, row, 6, (end,)) for row in PROMPTS]
    assert answers(own, PROMPTS, Sampling(max_new_tokens=2)) == [row[:2] for row in whole]
    assert answers(own, PROMPTS, Sampling(max_new_tokens=99)) == [greedy(own, row, ROOM) for row in PROMPTS]
    assert answers(own, PROMPTS, Sampling(max_new_tokens=6, min_new_tokens=3), ends=(end,))[1] != whole[1][:2]
    assert all(end not in row[:3] for row in answers(own, PROMPTS, Sampling(max_new_tokens=6, min_new_tokens=3), ends=(end,)))
    stopped = answers(own, PROMPTS, Sampling(max_new_tokens=6), stopped=lambda made, count: count >= tf.constant([1, 3, 2]))
    assert stopped == [row[:n] for row, n in zip(whole, (1, 3, 2))]


def test_chance_is_of_the_seed_and_the_prompt_alone():
    own = backbone("llama")
    free = Sampling(max_new_tokens=7, temperature=3.0, seed=5)
    together = answers(own, PROMPTS, free)
    assert together == answers(own, PROMPTS, free) == [answers(own, [row], free)[0] for row in PROMPTS]
    assert answers(own, PROMPTS[::-1], free)[::-1] == together
    of_a_source = answers(own, PROMPTS, free, asked=padded([[1], [1], [2]]))
    assert together != of_a_source and of_a_source[0] == answers(own, PROMPTS, free, asked=padded([[1], [4, 4], [2]]))[0]
    others = [answers(own, PROMPTS, free._replace(seed=seed)) for seed in range(6)]
    assert len({str(each) for each in others}) == 6
    assert answers(own, PROMPTS, free._replace(top_k=1)) == [greedy(own, row, 7) for row in PROMPTS]
    assert answers(own, PROMPTS, free._replace(temperature=1e-4)) == [greedy(own, row, 7) for row in PROMPTS]


def test_each_row_has_options_of_its_own():
    own = backbone("llama")
    options = {"max_new_tokens": [2, 7, 4], "temperature": [0.0, 3.0, 2.0], "seed": [1, 2, 3], "top_k": [0, 0, 3]}
    alone = [answers(own, [row], Sampling(**{name: values[i] for name, values in options.items()}))[0]
             for i, row in enumerate(PROMPTS)]
    assert answers(own, PROMPTS, Sampling(**options)) == alone and [len(row) for row in alone] == [2, 7, 4]
    options = {"max_new_tokens": [2, 5, 3], "length_penalty": [1.0, 2.0, 0.0], "no_repeat_ngram": [0, 0, 1]}
    alone = [answers(own, [row], Sampling(**{name: values[i] for name, values in options.items()}), (16, 3, 12), beams=3)[0]
             for i, row in enumerate(PROMPTS)]
    assert answers(own, PROMPTS, Sampling(**options), (16, 3, 12), beams=3) == alone


def test_what_is_made_in_parts_is_what_is_made_at_once():
    own, free = backbone("llama"), Sampling(max_new_tokens=7, temperature=3.0, seed=5, min_new_tokens=5)
    whole, made = answers(own, PROMPTS, free, ends=(3, 16)), [[], [], []]
    for count in (3, 1, 3):
        more = answers(own, [p + m for p, m in zip(PROMPTS, made)], free._replace(max_new_tokens=count), ends=(3, 16),
                       before=tf.constant([len(m) for m in made]))
        made = [m if set(m) & {3, 16} else m + new for m, new in zip(made, more)]
    assert made == whole


def searched(own, prompt: list[int], beams: int, count: int, ends: tuple[int, ...], power: float) -> list[int]:
    """Beam search in plain Python, every text through the whole model."""
    going, ended = [(0.0, [])], []
    for step in range(count):
        made = []
        for total, text in going:
            logits = logits_of(own, prompt + text).astype(np.float64)
            chances = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
            made += [(total + chances[token], [*text, token]) for token in range(len(logits))]
        made = sorted(made, key=lambda each: -each[0])[:2 * beams]
        for total, text in made:
            if text[-1] in ends or step + 1 == count:
                ended.append((total / len(text) ** power, text))
        ended = sorted(ended, key=lambda each: -each[0])[:beams]
        going = [each for each in made if each[1][-1] not in ends][:beams]
    return ended[0][1]


@pytest.mark.parametrize(("beams", "power"), [(2, 1.0), (3, 0.0), (4, 2.0)])
def test_beam_search_is_that_of_plain_python(beams, power):
    own = backbone("llama")
    ends = (16, 3, 12)
    found = answers(own, PROMPTS, Sampling(max_new_tokens=5, length_penalty=power), ends, beams=beams)
    assert found == [searched(own, row, beams, 5, ends, power) for row in PROMPTS]
    assert found != [greedy(own, row, 5, ends) for row in PROMPTS]
    if beams == 2:
        assert answers(own, PROMPTS, Sampling(max_new_tokens=5), ends, beams=beams, jit=True) == found
