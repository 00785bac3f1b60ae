"""Byte pairs in a graph answer what Hugging Face's tokenizers answers."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfft.converters.pre_tokenizers import PATTERNS, pattern_of, stated
from tfft.errors import UserError
from tfft.models.backbone import load_tokenizer, open_tokenizer, save_tokenizer, tokenizer_fingerprint
from tfft.models.byte_pairs import BytePairs
from tfft.models.long_words import LONG, in_pieces

tokenizers = pytest.importorskip("tokenizers")

SPECIAL = ["<|end|>", "<|start|>", "<|end|>s", "<|12  3 e\u0301|>", "<t\u00f6k en>"]
CORPUS = ["It's what they're saying: I'LL go, don't you?  1234567 + 89 = 1234656.\n\n\n    return x ** 2  # (word)\r\n\tend",
          "caf\u00e9 na\u00efve \u4e2d\u6587\u5b57 \u0645\u0631\u062d\u0628\u0627 \U0001f600\U0001f44d \u0661\u0662\u0663",
          "\u00bd \u2163 aaaaaaaa -------- ======== \u00a0 \u2003 trailing   ", "the theme of these 'S 'T 'RE (The) \"the\"",
          *(f"def f{i}(x):\n    if x == {i}{i}:\n        return 'the {i}'\n" for i in range(30))]
PIECES = [" ", "  ", "\n", "\r\n", "\t", "\v", "\f", "\r", "\x00", "\x1c", "\x85", "\u00a0", "\u1680", "\u180e", "\u2003",
          "\u200b", "\u2028", "\u2029", "\u202f", "\u3000", "\ufeff", "\ufdd0", "\ufffe", "\ufffd", "the", "The", "return", "a",
          "s", "'", "'s", "'S", "'\u017f", "'LL", "'re", "'VE", "\u212a", "\u00e9", "e\u0301", "\u0301", "\u1100\u1161",
          "\u4e2d", "1", "12345", "\u0661", "\u00bd", "\u2163", "!", "(", "==", "-----", "_", "\U0001f600", "\U0010ffff",
          "\u0120", "\u00ff", "<|", "|>", *SPECIAL]
LETTERS = st.characters(max_codepoint=0xFFFF, categories=("L", "P", "Z"))
TEXTS = st.lists(st.lists(st.sampled_from(PIECES) | LETTERS, max_size=25).map("".join), max_size=8)


@functools.cache
def reference(pattern: str):
    """A small tokenizer trained by the reference."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=pattern == "llama3"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(CORPUS, tokenizers.trainers.BpeTrainer(
        vocab_size=420, show_progress=False, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    made.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in SPECIAL[:-1]])
    made.add_tokens([tokenizers.AddedToken(SPECIAL[-1], normalized=False)])
    entry = {**json.loads(made.to_str()), "pre_tokenizer": stated(pattern), "decoder": json.loads(
        tokenizers.decoders.ByteLevel().__getstate__()), "normalizer": {"type": "NFC"} if pattern == "qwen2" else None}
    return tokenizers.Tokenizer.from_str(json.dumps(entry))


def folder_of(made, folder: Path, roles: dict | None = None) -> str:
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "tokenizer_config.json").write_text(json.dumps(roles or {
        "bos_token": None, "eos_token": {"content": "<|end|>"}, "pad_token": "<|start|>"}))
    return str(folder)


@pytest.fixture(scope="module", params=sorted(PATTERNS))
def pair(request, tmp_path_factory):
    """The reference and ours."""
    made = reference(request.param)
    tokenizer = load_tokenizer(folder_of(made, tmp_path_factory.mktemp("tokenizer")))
    assert tokenizer.pattern == request.param
    return made, tokenizer


def answers(made, texts: list[str]) -> list[list[int]]:
    return [encoded.ids for encoded in made.encode_batch(texts, add_special_tokens=False)]


@settings(max_examples=100, deadline=None)
@given(texts=TEXTS)
@example(texts=["", " ", "  a", "a  ", "\n \na", "\n\n  b", "!\n\n x", "a" * 300, "= " * 40, "<|end|>\u0338 <|end|>st"])
@example(texts=[])
def test_it_answers_what_the_reference_answers(pair, texts):
    made, tokenizer = pair
    found = tokenizer(tf.constant(texts, tf.string))
    assert isinstance(found, tf.RaggedTensor) and found.dtype == tf.int32
    wanted = answers(made, texts)
    assert found.to_list() == wanted
    for kept in (True, False):
        again = tokenizer.detokenize(found, skip_special_tokens=not kept).numpy()
        assert [text.decode() for text in again] == made.decode_batch(wanted, skip_special_tokens=not kept)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 423), max_size=12), min_size=1, max_size=5))
def test_any_ids_are_spelled_as_the_reference_spells_them(pair, rows):
    made, tokenizer = pair
    found = tokenizer.detokenize(tf.ragged.constant(rows, tf.int32, ragged_rank=1)).numpy()
    assert [text.decode() for text in found] == made.decode_batch(rows, skip_special_tokens=False)


@pytest.mark.parametrize("letters", ["theret", "returnaf", "a", "ab=-", "\u4e2d\u6587e"])
def test_long_words_are_made_of_pieces(pair, letters):
    made, tokenizer = pair
    draw = np.random.default_rng(len(letters))
    texts = ["".join(draw.choice(list(letters), size)) for size in (3, 1025, 3000, 300)] + ["the " * 500]
    assert tokenizer(tf.constant(texts)).to_list() == answers(made, texts)
    if letters == "a":
        return
    seen, words = [], tf.constant([text.encode() for text in texts[:4]])

    def merge(words):
        seen.append(int(tf.reduce_max(tf.strings.length(words))))
        return tokenizer._merged(words)

    made = in_pieces(words, merge, lambda ids: tf.cast(tf.strings.length(tokenizer._bytes.lookup(ids)), tf.int64))
    assert made.to_list() == tokenizer._merged(words).to_list()
    assert len(seen) == 1 and seen[0] <= LONG  # no word was taken whole, because two pieces had nothing in common


def test_long_words_with_bytes_that_are_no_tokens():
    made = BytePairs({"a": 0, "b": 1, "ab": 2}, ["a b"])
    assert made(tf.constant(["abz" * 500, "ab" * 1000])).to_list() == [[2] * 500, [2] * 1000]


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.binary(max_size=12), min_size=1, max_size=4))
@example(texts=[b"\xff", b"a\xff b", b"\xed\xa0\x80", b"\xe2\x82a\xf0\x9f\x98", b"\x00"])
def test_bytes_that_are_no_text(pair, texts):
    made, tokenizer = pair
    assert tokenizer(tf.constant(texts)).to_list() == answers(made, [text.decode(errors="replace") for text in texts])


def test_in_a_pipeline_and_alone(pair):
    made, tokenizer = pair
    wanted = answers(made, CORPUS)
    rows = tf.data.Dataset.from_tensor_slices(CORPUS).batch(7).map(tokenizer, num_parallel_calls=2)
    assert [ids for batch in rows for ids in batch.to_list()] == wanted
    assert tokenizer(CORPUS[0]).numpy().tolist() == wanted[0]
    assert tokenizer.detokenize(tf.constant(wanted[0])).numpy().decode() == CORPUS[0]
    assert tokenizer.detokenize([wanted[0]]).numpy()[0].decode() == CORPUS[0]
    dense = tokenizer.detokenize(np.array([wanted[0][:3] + [tokenizer.end_token_id]]), skip_special_tokens=True)
    assert dense.numpy()[0].decode() == made.decode(wanted[0][:3])


def test_its_tokens(pair):
    made, tokenizer = pair
    assert dict(zip(tokenizer.get_vocabulary(), map(tokenizer.token_to_id, tokenizer.get_vocabulary()))) == made.get_vocab()
    assert tokenizer.vocabulary_size() == made.get_vocab_size() and tokenizer.id_to_token(70) == made.id_to_token(70)
    assert tokenizer.start_token_id is None
    assert tokenizer.end_token_id == made.token_to_id("<|end|>") and tokenizer.pad_token_id == made.token_to_id("<|start|>")
    for ask, what in ((tokenizer.token_to_id, "no such token"), (tokenizer.id_to_token, 10**6)):
        with pytest.raises(ValueError, match="not in the vocabulary"):
            ask(what)


class Served(tf.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer
        self.ids = tf.function(lambda texts: self.tokenizer(texts).to_tensor(-1), autograph=False,
                               input_signature=[tf.TensorSpec([None], tf.string)])
        self.texts = tf.function(self.tokenizer.detokenize, autograph=False,
                                 input_signature=[tf.TensorSpec([None, None], tf.int32)])


ELSEWHERE = """
import json, sys
import tensorflow as tf, tensorflow_text
served = tf.saved_model.load(sys.argv[1] + "/served")
ids = served.ids(tf.constant(json.loads(sys.argv[2])))
texts = [text.decode() for text in served.texts(ids).numpy()]
assert "tfft" not in sys.modules and "keras_hub" not in sys.modules
print(json.dumps([ids.numpy().tolist(), texts]))
"""


def test_it_is_the_same_in_another_process(tmp_path):
    made = reference("qwen2")
    tokenizer = load_tokenizer(folder_of(made, tmp_path))
    save_tokenizer(tokenizer, tmp_path / "kept")
    again = open_tokenizer(tmp_path / "kept")
    assert type(again) is type(tokenizer) and again.get_config() == tokenizer.get_config()
    assert again(CORPUS).to_list() == answers(made, CORPUS)
    tf.saved_model.save(Served(again), str(tmp_path / "served"))
    texts = [*CORPUS[:3], "<|start|>e\u0301 <|end|>"]
    ran = subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path), json.dumps(texts)], capture_output=True, text=True)
    assert not ran.returncode, ran.stderr
    ids, spelled = json.loads(ran.stdout.splitlines()[-1])
    assert [[i for i in row if i >= 0] for row in ids] == answers(made, texts)
    assert spelled == [*texts[:3], "<|start|>\u00e9 <|end|>"]


def test_the_fingerprint_is_of_what_it_answers(tmp_path):
    """Sets are in another order in each process."""
    tokenizer = load_tokenizer(folder_of(reference("gpt2"), tmp_path))
    config, words = tokenizer.get_config(), (dict(tokenizer.vocabulary), list(tokenizer.merges))

    def fingerprint(**changes):
        made = type(tokenizer).from_config({**config, **changes})
        made.set_vocabulary_and_merges(*words)
        return tokenizer_fingerprint(made)

    same = {name: config[name][::-1] for name in ("unsplittable_tokens", "control_tokens")}
    assert config["control_tokens"] != same["control_tokens"]
    assert fingerprint(**same) == fingerprint() == tokenizer_fingerprint(tokenizer)
    others = [fingerprint(**change) for change in ({"pattern": "qwen2"}, {"normal_form": True}, {"whole_words": True},
                                                   {"unsplittable_tokens": []}, {"end_token": None})]
    assert len({fingerprint(), *others}) == 6


def test_a_token_that_comes_before_its_own_parts():
    """Merges whose result is part of an earlier merge: the leftmost is joined, then the earlier one."""
    letters = ["a", "b", "c", "x"]
    merges = ["ab c", "x abc", "abc a", "b c", "a bc", "a a", "aa aa"]
    vocabulary = {t: i for i, t in enumerate([*letters, "bc", "ab", "aa", "abc", "xabc", "abca", "aaaa"])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [tuple(merge.split()) for merge in merges]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    draw = np.random.default_rng(0)
    texts = ["abcabc", "xabcabcabc", "aaaaaaa", "abcq", *("".join(draw.choice(letters, 12)) for _ in range(300))]
    assert BytePairs(vocabulary, merges)(texts).to_list() == answers(made, texts)


def test_the_pattern_is_read_from_the_file(tmp_path):
    assert [pattern_of(stated(name)) for name in PATTERNS] == list(PATTERNS)
    assert pattern_of({"type": "ByteLevel", "add_prefix_space": False}) == "gpt2"
    assert pattern_of({"type": "ByteLevel", "add_prefix_space": True}) is pattern_of(None) is None
    made = reference("gpt2")
    entry = json.loads(made.to_str())
    prefixed = {"type": "ByteLevel", "add_prefix_space": True}
    for changed, told in (({"pre_tokenizer": prefixed}, "tokenizer.json cuts .*ByteLevel"),
                          ({"normalizer": {"type": "Lowercase"}}, "the normalizer Lowercase"),
                          ({"added_tokens": [{**entry["added_tokens"][0], "lstrip": True}]}, "lstrip")):
        (tmp_path / "tokenizer.json").write_text(json.dumps({**entry, **changed}))
        (tmp_path / "config.json").write_text('{"model_type": "llama"}')
        with pytest.raises(UserError, match=told):
            load_tokenizer(str(tmp_path))
