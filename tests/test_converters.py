"""Checkpoints of other formats become folders that KerasHub reads."""

import json
import struct

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tfft import assets
from tfft.errors import UserError
from tfft.models.backbone import load_backbone, load_tokenizer
from tfft.models.hugging_face import write_bert

HIDDEN, LAYERS, FEED_FORWARD, POSITIONS = 32, 2, 64, 16
PIECES = ["<s>", "<pad>", "</s>", "<unk>",
          "\u2581", "\u2581good", "\u2581film", "s", "\u6d59", "\u6c5f", "\u6d59\u6c5f", "<mask>"]


def packed(values: np.ndarray) -> bytes:
    """Blocks of 32 values: a float16 scale and 4 bits a value, which stand for -8 to 7 scales."""
    made = b""
    for block in values.reshape(-1, 32):
        scale = np.float16(max(np.abs(block).max() / 7, 1e-3))
        level = np.clip(np.round(block / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        made += scale.tobytes() + (level[:16] | level[16:] << 4).tobytes()
    return made


def make(path, seed: int = 0) -> dict[str, np.ndarray]:
    """Writes a tiny file of the format; returns its tensors, matrices as they are after packing to within a half scale."""
    draw = np.random.default_rng(seed)
    shapes = {"emb.word": (len(PIECES), HIDDEN), "emb.pos": (POSITIONS, HIDDEN), "emb.type": (2, HIDDEN)}
    for layer in range(LAYERS):
        shapes |= {f"l{layer}.{n}.w": (HIDDEN, HIDDEN) for n in ("q", "k", "v", "ao")}
        shapes |= {f"l{layer}.fi.w": (FEED_FORWARD, HIDDEN), f"l{layer}.fo.w": (HIDDEN, FEED_FORWARD)}
        shapes |= {f"l{layer}.{n}.b": (FEED_FORWARD if n == "fi" else HIDDEN,) for n in ("q", "k", "v", "ao", "fi", "fo")}
    norms = ["emb.ln", *(f"l{i}.{n}" for i in range(LAYERS) for n in ("aln", "oln"))]
    tensors = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for norm in norms:
        tensors |= {f"{norm}.w": np.ones(HIDDEN, np.float32), f"{norm}.b": np.zeros(HIDDEN, np.float32)}
    text = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, text)]).astype("<u4")
    scores = -np.arange(len(PIECES), dtype="<f4")
    head = struct.pack("<4sI7ifi5iQ", b"E5S1", 1, HIDDEN, LAYERS, 2, FEED_FORWARD, len(PIECES), POSITIONS, 2, 1e-12, 32,
                       len(PIECES), 0, 2, 1, 3, int(offsets[-1]))
    head += offsets.tobytes() + scores.tobytes() + b"".join(text) + struct.pack("<iI", 1, 4) + b"norm"
    data = {name: packed(v) if v.ndim == 2 else v.tobytes() for name, v in tensors.items()}
    size = len(head) + 4 + sum(2 + len(name) + struct.calcsize("<BIQQ") for name in data)
    directory, body = struct.pack("<i", len(data)), b""
    for name, value in data.items():
        directory += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", 0, 0, size + len(body), len(value))
        body += value
    path.write_bytes(head + directory + body)
    return tensors


def test_a_packed_e5_loads_with_its_own_vocabulary(tmp_path):
    tensors = make(tmp_path / "e5.bin")
    folder = assets.resolve_backbone(str(tmp_path / "e5.bin"), tmp_path / "cache")
    assert assets.resolve_backbone(str(tmp_path / "e5.bin"), tmp_path / "cache") == folder  # converted once
    assert assets.backbone_limits(folder) == (POSITIONS, LAYERS)
    tokenizer = load_tokenizer(folder)
    ids = tf.function(lambda texts: tokenizer(texts))(tf.constant(["good films", "\u6d59\u6c5f", "\uff47ood"])).to_list()
    assert ids == [[5, 6, 7], [4, 10], [5]]  # NFKC makes an ordinary g of a wide one
    assert (tokenizer.pad_token_id, tokenizer.start_token_id, tokenizer.end_token_id, tokenizer.mask_token_id) == (1, 0, 2, 11)
    backbone = load_backbone(folder, precision="float32", dropout=-1)
    assert type(backbone).__name__ == "BertBackbone" and backbone.num_layers == LAYERS
    table = backbone.token_embedding.embeddings.numpy()
    assert table.shape == (len(PIECES), HIDDEN)
    assert np.abs(table - tensors["emb.word"]).max() < 0.3
    assert np.corrcoef(table.ravel(), tensors["emb.word"].ravel())[0, 1] > 0.99
    bias = next(v for v in backbone.variables if "layer_1" in v.path and v.path.endswith("intermediate_dense/bias"))
    np.testing.assert_array_equal(bias.numpy(), tensors["l1.fi.b"])


@pytest.mark.parametrize("damage", [
    lambda data: data[:200], lambda data: data[:-100], lambda data: data[:4] + b"\2" + data[5:]])
def test_a_damaged_file_is_told(tmp_path, damage):
    make(tmp_path / "e5.bin")
    (tmp_path / "e5.bin").write_bytes(damage((tmp_path / "e5.bin").read_bytes()))
    with pytest.raises(UserError, match="e5.bin begins like a checkpoint .* but is damaged"):
        assets.resolve_backbone(str(tmp_path / "e5.bin"), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache" / "converted").iterdir()]


@pytest.mark.parametrize("lacking", ["", "pooler", "vocab.txt", "do_lower_case"])
def test_a_bert_without_what_is_usual_is_completed(tiny_preset, tmp_path, lacking):
    folder, cache = tmp_path / "model", tmp_path / "cache"
    folder.mkdir()
    backbone, tokenizer = load_backbone(tiny_preset, precision="float32", dropout=-1), load_tokenizer(tiny_preset)
    write_bert(backbone, tokenizer, {"cls.predictions.bias": np.arange(15, dtype=np.float32)}, folder)
    if lacking == "pooler":
        tensors = load_file(folder / "model.safetensors")
        save_file({name: value for name, value in tensors.items() if "pooler" not in name}, folder / "model.safetensors")
    elif lacking == "vocab.txt":
        (folder / "vocab.txt").unlink()
        (folder / "tokenizer.json").write_text(json.dumps({
            "model": {"type": "WordPiece", "vocab": {token: i for i, token in enumerate(tokenizer.get_vocabulary())}},
            "normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None}}))
    elif lacking:
        (folder / "tokenizer_config.json").unlink()
    found = assets.resolve_backbone(str(folder), cache)
    assert (found == str(folder)) == (not lacking) and assets.resolve_backbone(str(folder), cache) == found
    again = load_backbone(found, precision="float32", dropout=-1)
    for ours, theirs in zip(backbone.weights, again.weights, strict=True):
        if lacking != "pooler" or "pooled" not in ours.path:
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert load_tokenizer(found).get_vocabulary() == tokenizer.get_vocabulary() and load_tokenizer(found).lowercase
    assert "cls.predictions.bias" in load_file(f"{found}/model.safetensors")
