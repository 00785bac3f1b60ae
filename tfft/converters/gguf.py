"""A language model as llama.cpp's GGUF file -> a folder in Hugging Face's layout: weights in float32, config, tokenizer.

Read by the package gguf (extra "gguf"). The format's page names the metadata; what is done to weights on their way into a file
is undone here: Llama's queries and keys have the two halves of each head interleaved, Gemma's norms are kept with 1 added.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tfft.converters.pre_tokenizers import OF_GGUF, stated
from tfft.errors import UserError

MAGIC = b"GGUF"
MODEL_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2"}
CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
           "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM"}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
OF_LAYER = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
            "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
            "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
            "ffn_down": "mlp.down_proj", "ffn_norm": "post_attention_layernorm"}
OF_GEMMA2 = {"post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
             "post_ffw_norm": "post_feedforward_layernorm"}
CONTROL, USER_DEFINED = 3, 4  # kinds of tokens that text is not split into pieces of
LLAMA3_ROPE = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192}


class _Metadata:
    """Values of the file by name; those of its architecture without the architecture's name."""

    def __init__(self, fields: dict):
        self._fields = fields
        self.architecture = self["general.architecture"]

    def __getitem__(self, name: str) -> Any:
        return self._fields[name].contents()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self._fields else default

    def of_model(self, name: str, default: Any = None) -> Any:
        """Raises: KeyError where it has no such value and no default is given."""
        name = f"{self.architecture}.{name}"
        return self[name] if default is None else self.get(name, default)


def convert(path: Path, folder: Path) -> None:
    """Writes config.json, model.safetensors and the tokenizer's files.

    Raises: UserError where the package is missing or the model is of a family that is not known; ValueError, KeyError or
    IndexError where the file is damaged.
    """
    try:
        import gguf
    except ImportError as error:
        raise UserError(f"{path.name} is a GGUF file, which the package gguf reads: pip install 'tfft[gguf]'") from error
    reader = gguf.GGUFReader(path)
    metadata = _Metadata(reader.fields)
    if metadata.architecture not in MODEL_TYPES:
        raise UserError(f"{path.name} holds a model of the architecture {metadata.architecture!r}. Those of "
                        f"{', '.join(MODEL_TYPES)} can be read.")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = _config(metadata, tensors)
    if "rope_freqs.weight" in tensors:
        config["rope_scaling"] = _rope_scaling(tensors.pop("rope_freqs.weight").data, config)
    _write_tokenizer(folder, metadata)
    _write_weights(folder / "model.safetensors", tensors, metadata, config, gguf.dequantize)
    (folder / "config.json").write_text(json.dumps(config, indent=1), "utf-8")


def _config(metadata: _Metadata, tensors: dict) -> dict:
    family, heads = metadata.architecture, metadata.of_model("attention.head_count")
    width = metadata.of_model("embedding_length")
    made = {
        "model_type": MODEL_TYPES[family], "architectures": [CLASSES[family]],
        "vocab_size": int(tensors["token_embd.weight"].shape[1]), "hidden_size": width,
        "num_hidden_layers": metadata.of_model("block_count"), "num_attention_heads": heads,
        "num_key_value_heads": metadata.of_model("attention.head_count_kv", heads),
        "head_dim": metadata.of_model("attention.key_length", width // heads),
        "intermediate_size": metadata.of_model("feed_forward_length"),
        "rms_norm_eps": float(np.float32(metadata.of_model("attention.layer_norm_rms_epsilon"))),
        "rope_theta": metadata.of_model("rope.freq_base", 10000.0), "tie_word_embeddings": "output.weight" not in tensors,
        "max_position_embeddings": metadata.of_model("context_length"), "rope_scaling": None, "hidden_act": "silu"}
    made["rms_norm_eps"] = float(f"{made['rms_norm_eps']:.6g}")  # 1e-5 and not what float32 makes of it
    if family in ("llama", "qwen2") and made["head_dim"] * heads != width:
        raise UserError(f"Its {heads} heads of width {made['head_dim']} do not make the model's width of {width}, as in "
                        f"KerasHub's {family}.")
    if family.startswith("gemma") and made["rope_theta"] != 10000.0:
        raise UserError(f"Its positions turn by rope.freq_base={made['rope_theta']:g}; KerasHub's {family} knows 10000 alone.")
    if family.startswith("qwen"):
        made |= {"use_sliding_window": False, "sliding_window": None}
    if family == "gemma2":
        made |= {"final_logit_softcapping": metadata.of_model("final_logit_softcapping"),
                 "attn_logit_softcapping": metadata.of_model("attn_logit_softcapping"),
                 "sliding_window": metadata.of_model("attention.sliding_window"),
                 # 27B, of 46 layers, divides by the width of a head as its parts share it; the others by the head's own
                 "query_pre_attn_scalar": width // heads if made["num_hidden_layers"] == 46 else made["head_dim"]}
    if (kind := metadata.of_model("rope.scaling.type", "none")) != "none":
        raise UserError(f"This model stretches its positions (rope.scaling.type={kind}), which cannot be read yet.")
    return made


def _rope_scaling(factors: np.ndarray, config: dict) -> dict:
    """Of Llama 3.1 and later: the file has only what each frequency is divided by. Raises: UserError for another rule."""
    dims = config["head_dim"]
    frequencies = config["rope_theta"] ** (-np.arange(0, dims, 2) / dims)
    made = {"factor": float(factors.max()), **LLAMA3_ROPE}
    turns = made["original_max_position_embeddings"] * frequencies / (2 * np.pi)  # of the original context
    low, high = made["low_freq_factor"], made["high_freq_factor"]
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    if factors.size != frequencies.size or not np.allclose(1 / ((1 - smooth) / made["factor"] + smooth), factors, rtol=1e-3):
        raise UserError("This model stretches its positions by a rule that is not Llama 3's, and cannot be read yet.")
    return made


def _name(name: str, family: str) -> str:
    """The tensor's name in Hugging Face's layout: blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight"""
    parts = name.split(".")
    if parts[0] in TOP:
        return ".".join([TOP[parts[0]], *parts[1:]])
    names = {**OF_LAYER, **(OF_GEMMA2 if family == "gemma2" else {})}
    if parts[0] != "blk" or len(parts) != 4 or parts[2] not in names:
        raise UserError(f"The file has a tensor {name}, which models of the architecture {family} that can be read have not.")
    return f"model.layers.{parts[1]}.{names[parts[2]]}.{parts[3]}"


def _value(tensor, metadata: _Metadata, config: dict, dequantize) -> np.ndarray:
    value, family = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32), metadata.architecture
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    part = tensor.name.split(".")[-2]
    if family == "llama" and part in heads:
        value = apart(value, heads[part])
    if family.startswith("gemma") and "norm" in part:
        value = value - 1
    return np.ascontiguousarray(value)


def apart(value: np.ndarray, heads: int) -> np.ndarray:
    """The rows of each head in their own order: of its first half and its second one in turn, first the one, then the other.

    one head: rows a0 b0 a1 b1 -> a0 a1 b0 b1
    """
    half = value.shape[0] // heads // 2
    return value.reshape(heads, half, 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def _write_weights(path: Path, tensors: dict, metadata: _Metadata, config: dict, dequantize) -> None:
    """A safetensors file of float32, written one tensor after another: memory is that of the largest."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        shape = [int(size) for size in reversed(tensor.shape)]
        size = 4 * int(np.prod(shape))
        header[_name(name, metadata.architecture)] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    stated = json.dumps(header).encode()
    stated += b" " * (-len(stated) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(stated)) + stated)
        for tensor in tensors.values():
            file.write(_value(tensor, metadata, config, dequantize).astype("<f4").data)


def _write_tokenizer(folder: Path, metadata: _Metadata) -> None:
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    named = {f"{name}_token": tokens[place] for name in ("bos", "eos", "unknown", "padding")
             if (place := metadata.get(f"tokenizer.ggml.{name}_token_id")) is not None}
    settings = {"bos_token": named.get("bos_token"), "eos_token": named.get("eos_token"),
                "unk_token": named.get("unknown_token"), "pad_token": named.get("padding_token"),
                "add_bos_token": metadata.get("tokenizer.ggml.add_bos_token", False),
                "chat_template": metadata.get("tokenizer.chat_template")}
    if metadata["tokenizer.ggml.model"] == "gpt2":
        (folder / "tokenizer.json").write_text(json.dumps(_byte_pairs(tokens, kinds, metadata), ensure_ascii=False), "utf-8")
    elif metadata["tokenizer.ggml.model"] == "llama" and metadata.architecture.startswith("gemma"):
        (folder / "tokenizer.model").write_bytes(_sentencepiece(tokens, metadata["tokenizer.ggml.scores"], kinds))
    else:
        raise UserError(f"The file has a tokenizer of the kind {metadata['tokenizer.ggml.model']!r} for the architecture "
                        f"{metadata.architecture}, which cannot be read yet.")
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if v is not None}, indent=1,
                                                             ensure_ascii=False), "utf-8")


def _byte_pairs(tokens: list[str], kinds: list[int], metadata: _Metadata) -> dict:
    """tokenizer.json. What the file does not say is told by its pattern: Qwen 2's has texts in NFC, and a word of Llama 3's
    that is a token is not split."""
    if (named := metadata.get("tokenizer.ggml.pre", "default")) not in OF_GGUF:
        raise UserError(f"The file's tokenizer cuts texts into words as {named!r} does (tokenizer.ggml.pre). Known are "
                        f"{', '.join(OF_GGUF)}.")
    pattern = OF_GGUF[named]
    added = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": kind == CONTROL}
             for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind in (CONTROL, USER_DEFINED)]
    return {"version": "1.0", "added_tokens": added, "normalizer": {"type": "NFC"} if pattern == "qwen2" else None,
            "pre_tokenizer": stated(pattern), "decoder": stated("gpt2"),
            "model": {"type": "BPE", "ignore_merges": pattern == "llama3", "merges": metadata["tokenizer.ggml.merges"],
                      "vocab": {token: i for i, token in enumerate(tokens)}}}


def _sentencepiece(tokens: list[str], scores: list[float], kinds: list[int]) -> bytes:
    """A SentencePiece model of byte pairs, whose kinds of pieces GGUF has taken over with their numbers."""
    from sentencepiece import sentencepiece_model_pb2 as protos

    made = protos.ModelProto()
    made.trainer_spec.model_type, made.trainer_spec.byte_fallback = made.trainer_spec.BPE, True
    made.trainer_spec.vocab_size = len(tokens)
    for place, name in ((tokens.index(token), name) for name, token in (("unk_id", "<unk>"), ("bos_id", "<bos>"),
                                                                       ("eos_id", "<eos>"), ("pad_id", "<pad>"))):
        setattr(made.trainer_spec, name, place)
    made.normalizer_spec.name, made.normalizer_spec.add_dummy_prefix = "identity", False
    made.normalizer_spec.remove_extra_whitespaces, made.normalizer_spec.escape_whitespaces = False, True
    for token, score, kind in zip(tokens, scores, kinds, strict=True):
        made.pieces.add(piece=token, score=score, type=kind)
    return made.SerializeToString()
