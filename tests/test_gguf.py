"""llama.cpp's files of language models become folders that KerasHub reads: the same model as the one they were made of."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from tfft import assets
from tfft.converters.gguf import OF_GEMMA2, OF_LAYER, _rope_scaling, apart
from tfft.errors import UserError
from tfft.models.backbone import load_backbone, load_tokenizer, tokenizer_fingerprint

gguf = pytest.importorskip("gguf")

WIDTH, HEADS, KEYS, FEED_FORWARD, LAYERS, HEAD = 64, 4, 2, 96, 2, 16
BYTES = sorted({*range(33, 127), *range(161, 173), *range(174, 256)})
LETTERS = {b: chr(b) if b in BYTES else chr(256 + sum(1 for other in range(b) if other not in BYTES)) for b in range(256)}
PAIRS = ["h e", "l l", "he ll", "hell o"]
WORDS = ["<|start|>", "<|stop|>", *LETTERS.values(), *(pair.replace(" ", "") for pair in PAIRS)]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def tensors(family: str, tied: bool) -> dict[str, np.ndarray]:
    """A tiny model's weights by their names in Hugging Face's layout."""
    draw, made = np.random.default_rng(0), {}

    def add(name: str, *shape: int, scale: float = 0.3):
        made[name] = draw.normal(0, scale, shape).astype(np.float32)

    add("model.embed_tokens.weight", len(WORDS), WIDTH)
    add("model.norm.weight", WIDTH)
    if not tied:
        add("lm_head.weight", len(WORDS), WIDTH)
    norms = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    if family == "gemma2":
        norms = {"attn_norm": "input_layernorm", **OF_GEMMA2}
    for layer in range(LAYERS):
        where = f"model.layers.{layer}"
        for name, rows in (("q", HEADS * HEAD), ("k", KEYS * HEAD), ("v", KEYS * HEAD)):
            add(f"{where}.self_attn.{name}_proj.weight", rows, WIDTH)
            if family == "qwen2":
                add(f"{where}.self_attn.{name}_proj.bias", rows)
        add(f"{where}.self_attn.o_proj.weight", WIDTH, HEADS * HEAD)
        for name in ("gate", "up"):
            add(f"{where}.mlp.{name}_proj.weight", FEED_FORWARD, WIDTH)
        add(f"{where}.mlp.down_proj.weight", WIDTH, FEED_FORWARD)
        for name in norms.values():
            add(f"{where}.{name}.weight", WIDTH)
        if family == "qwen3":
            add(f"{where}.self_attn.q_norm.weight", HEAD)
            add(f"{where}.self_attn.k_norm.weight", HEAD)
    return made


def interleaved(value: np.ndarray, heads: int) -> np.ndarray:
    """What is done to Llama's queries and keys: rows a0 a1 b0 b1 of a head -> a0 b0 a1 b1."""
    return value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def write(path, family: str, tied: bool, packed: bool = False, architecture: str = "", odd: bool = False,
          pre: str = "default", **more) -> dict[str, np.ndarray]:
    """Writes a GGUF file; returns its weights by Hugging Face's names."""
    weights, writer = tensors(family, tied), gguf.GGUFWriter(path, architecture or family)
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_key_length(2 * HEAD if odd else HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    if not family.startswith("gemma") or odd:
        writer.add_rope_freq_base(5000.0)
    if family == "gemma2":
        writer.add_final_logit_softcapping(30.0)
        writer.add_attn_logit_softcapping(50.0)
        writer.add_sliding_window(32)
    if family.startswith("gemma"):
        pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "\u2581", "a", "b", "ab", *(f"<0x{b:02X}>" for b in range(256))]
        writer.add_tokenizer_model("llama")
        writer.add_token_list(pieces)
        writer.add_token_scores([-float(i) for i in range(len(pieces))])
        writer.add_token_types([3, 3, 3, 2, 1, 1, 1, 1, *[6] * 256])
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(WORDS)
        writer.add_token_types([3, 3] + [1] * (len(WORDS) - 2))
        writer.add_token_merges(PAIRS)
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
    writer.add_chat_template(TEMPLATE)
    own = {v: k for k, v in {**OF_LAYER, **(OF_GEMMA2 if family == "gemma2" else {})}.items()}
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for name, value in weights.items():
        stem, _, kind = name.rpartition(".")
        parts = stem.split(".")
        mine = top.get(stem) or f"blk.{parts[2]}.{own['.'.join(parts[3:])]}"
        if family == "llama" and mine.endswith(("attn_q", "attn_k")):
            value = interleaved(value, HEADS if mine.endswith("q") else KEYS)
        if family.startswith("gemma") and "norm" in mine:
            value = value + 1
        if packed and value.ndim == 2:
            kind_of = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{mine}.{kind}", gguf.quantize(value, kind_of), raw_dtype=kind_of)
        else:
            writer.add_tensor(f"{mine}.{kind}", value)
    for name, value in more.items():
        writer.add_tensor(name.replace("__", "."), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


@pytest.mark.parametrize("family, tied", [("llama", True), ("llama", False), ("qwen2", True), ("qwen3", True), ("gemma", True),
                                          ("gemma2", True)])
def test_a_file_becomes_the_model_that_it_was_made_of(tmp_path, family, tied):
    weights = write(tmp_path / "model.gguf", family, tied)
    folder = assets.resolve_backbone(str(tmp_path / "model.gguf"), tmp_path / "cache")
    found = load_file(f"{folder}/model.safetensors")
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)  # 1 added and taken away
    backbone = load_backbone(folder, precision="float32", dropout=-1)
    assert backbone.layer_norm_epsilon == 1e-5
    if not family.startswith("gemma"):  # whose classes have no setting for it
        assert backbone.rope_max_wavelength == 5000.0 and backbone.tie_word_embeddings == tied
    assert assets.backbone_limits(folder) == (128, LAYERS)
    ids = np.array([[3, 4, 5, 6]], np.int32)
    assert np.isfinite(backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)}).numpy()).all()


def test_packed_weights_are_unpacked(tmp_path):
    weights = write(tmp_path / "model.gguf", "llama", tied=True, packed=True)
    folder = assets.resolve_backbone(str(tmp_path / "model.gguf"), tmp_path / "cache")
    for name, value in load_file(f"{folder}/model.safetensors").items():
        np.testing.assert_allclose(value, weights[name], atol=0.01, err_msg=name)


def test_its_tokenizer_and_template_are_kept(tmp_path):
    write(tmp_path / "model.gguf", "llama", tied=True)
    folder = assets.resolve_backbone(str(tmp_path / "model.gguf"), tmp_path / "cache")
    tokenizer = load_tokenizer(folder)
    ids = tf.function(lambda texts: tokenizer(texts))(tf.constant(["hello", "hell h"])).to_list()
    assert [[WORDS[i] for i in row] for row in ids] == [["hello"], ["hell", "\u0120", "h"]]
    before = tokenizer_fingerprint(tokenizer)
    tokenizer.unsplittable_tokens.reverse()  # they come out of a set, in another order in each process
    assert tokenizer_fingerprint(tokenizer) == before
    stated = json.loads((tmp_path / folder / "tokenizer_config.json").read_text("utf-8"))
    assert (stated["bos_token"], stated["eos_token"], stated["chat_template"]) == ("<|start|>", "<|stop|>", TEMPLATE)


@pytest.mark.parametrize("pre, pattern", [("default", "gpt2"), ("smollm", "smollm"), ("llama-bpe", "llama3"),
                                          ("qwen2", "qwen2")])
def test_texts_are_cut_as_the_file_says(tmp_path, pre, pattern):
    write(tmp_path / "model.gguf", "llama", tied=True, pre=pre)
    folder = assets.resolve_backbone(str(tmp_path / "model.gguf"), tmp_path / "cache")
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.pattern, tokenizer.normal_form, tokenizer.whole_words) == (pattern, pre == "qwen2", pre == "llama-bpe")
    assert (tokenizer.start_token_id, tokenizer.end_token_id) == (0, 1)
    texts = ["hello<|stop|>", " hell 123  (hell)'S\n\n e\u0301"]
    assert [WORDS[i] for i in tokenizer(texts[0]).numpy()] == ["hello", "<|stop|>"]
    theirs = pytest.importorskip("tokenizers").Tokenizer.from_file(f"{folder}/tokenizer.json")
    assert tokenizer(texts).to_list() == [encoded.ids for encoded in theirs.encode_batch(texts)]
    assert tokenizer.detokenize(tokenizer(texts[0])).numpy().decode() == texts[0]


def test_a_folder_of_an_older_version_is_not_taken(tmp_path):
    write(tmp_path / "model.gguf", "llama", tied=True)
    old = tmp_path / "cache" / "converted" / hashlib.sha256((tmp_path / "model.gguf").read_bytes()).hexdigest()
    old.mkdir(parents=True)
    assert load_tokenizer(assets.resolve_backbone(str(tmp_path / "model.gguf"), tmp_path / "cache")).pattern == "gpt2"


def test_a_sentencepiece_vocabulary_is_written_anew(tmp_path):
    write(tmp_path / "model.gguf", "gemma", tied=True)
    folder = assets.resolve_backbone(str(tmp_path / "model.gguf"), tmp_path / "cache")
    tokenizer = load_tokenizer(folder)
    ids = tf.function(lambda texts: tokenizer(texts))(tf.constant(["ab a", "\u00e9"])).to_list()
    assert ids == [[7, 4, 5], [8 + 0xC3, 8 + 0xA9]]  # what has no piece is bytes


def test_halves_of_heads_are_put_apart():
    value = np.arange(8)[:, None]
    np.testing.assert_array_equal(interleaved(value, 2)[:, 0], [0, 2, 1, 3, 4, 6, 5, 7])
    np.testing.assert_array_equal(apart(interleaved(value, 2), 2), value)


def test_stretched_positions_of_llama_3_are_known_by_their_factors():
    config = {"head_dim": 64, "rope_theta": 500000.0}
    frequencies = 500000.0 ** (-np.arange(0, 64, 2) / 64)
    waves = 2 * np.pi / frequencies
    smooth = np.clip((8192 / waves - 1) / 3, 0, 1)
    scaling = _rope_scaling(1 / ((1 - smooth) / 32 + smooth), config)
    assert scaling["factor"] == 32 and scaling["rope_type"] == "llama3"
    with pytest.raises(UserError, match="by a rule that is not Llama 3's"):
        _rope_scaling(np.linspace(1, 32, 32), config)


def test_what_cannot_be_read_is_told(tmp_path):
    write(tmp_path / "other.gguf", "llama", tied=True, architecture="mamba")
    with pytest.raises(UserError, match="architecture 'mamba'. Those of llama, qwen2"):
        assets.resolve_backbone(str(tmp_path / "other.gguf"), tmp_path / "cache")
    write(tmp_path / "more.gguf", "llama", tied=True, blk__0__ssm__weight=np.zeros(4, np.float32))
    with pytest.raises(UserError, match="a tensor blk.0.ssm.weight, which models of the architecture llama"):
        assets.resolve_backbone(str(tmp_path / "more.gguf"), tmp_path / "cache")
    for family, told in (("llama", "heads of width 32 do not make the model's width of 64"), ("gemma", "freq_base=5000")):
        write(tmp_path / f"{family}.gguf", family, tied=True, odd=True)
        with pytest.raises(UserError, match=told):
            assets.resolve_backbone(str(tmp_path / f"{family}.gguf"), tmp_path / "cache")
    write(tmp_path / "cut.gguf", "llama", tied=True, pre="tekken")
    with pytest.raises(UserError, match="as 'tekken' does .* Known are default, gpt-2, smollm, llama-bpe, qwen2"):
        assets.resolve_backbone(str(tmp_path / "cut.gguf"), tmp_path / "cache")
    data = (tmp_path / "more.gguf").read_bytes()
    (tmp_path / "short.gguf").write_bytes(data[:len(data) // 2])
    with pytest.raises(UserError, match="short.gguf begins like a checkpoint .* but is damaged"):
        assets.resolve_backbone(str(tmp_path / "short.gguf"), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "converted").iterdir()]
