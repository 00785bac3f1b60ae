"""Tiny random T5s as folders in Hugging Face's layout, and what they compute, in plain NumPy after the paper (Raffel et al.
2020, section 2.1)."""

import json
import math
from pathlib import Path

import families
import numpy as np
from safetensors.numpy import save_file

WIDTH, HEADS, SIZE, INNER, WORDS = 12, 2, 4, 20, 40
VARIANTS = {  # what config.json says besides, and whether the file has a table of its own to choose words by
    "first": ({"model_type": "t5", "feed_forward_proj": "relu"}, False),
    "flan": ({"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, True),
    "gated_tied": ({"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": True}, False),
    "mt5": ({"model_type": "mt5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, True),
}


def config(variant: str, layers: int = 1, decoder_layers: int = 2) -> dict:
    return {"vocab_size": WORDS, "d_model": WIDTH, "d_kv": SIZE, "num_heads": HEADS, "d_ff": INNER, "num_layers": layers,
            "num_decoder_layers": decoder_layers, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20,
            "dropout_rate": 0.2, "layer_norm_epsilon": 1e-3, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
            "is_encoder_decoder": True, "architectures": ["T5ForConditionalGeneration"], **VARIANTS[variant][0]}


def tensors(variant: str, stated: dict) -> dict[str, np.ndarray]:
    draw, gated = np.random.default_rng(7), stated["feed_forward_proj"].startswith("gated")

    def normal(*shape: int, mean: float = 0.0, scale: float = 0.4):
        return draw.normal(mean, scale, shape).astype(np.float32)

    made = {"shared.weight": normal(WORDS, WIDTH, scale=1.0)}
    if VARIANTS[variant][1]:
        made["lm_head.weight"] = normal(WORDS, WIDTH, scale=1.0)
    for stack, count in (("encoder", stated["num_layers"]), ("decoder", stated["num_decoder_layers"])):
        made[f"{stack}.final_layer_norm.weight"] = normal(WIDTH, mean=1.0)
        made[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = normal(8, HEADS, scale=1.0)
        attentions = ["SelfAttention", "EncDecAttention"] if stack == "decoder" else ["SelfAttention"]
        for block in range(count):
            where = f"{stack}.block.{block}.layer"
            for number, kind in enumerate(attentions):
                for name in "qkv":
                    made[f"{where}.{number}.{kind}.{name}.weight"] = normal(HEADS * SIZE, WIDTH)
                made[f"{where}.{number}.{kind}.o.weight"] = normal(WIDTH, HEADS * SIZE)
            for number in range(len(attentions) + 1):
                made[f"{where}.{number}.layer_norm.weight"] = normal(WIDTH, mean=1.0)
            for name in ("wi_0", "wi_1") if gated else ("wi",):
                made[f"{where}.{len(attentions)}.DenseReluDense.{name}.weight"] = normal(INNER, WIDTH)
            made[f"{where}.{len(attentions)}.DenseReluDense.wo.weight"] = normal(WIDTH, INNER)
    return made


def write(folder: Path, variant: str) -> tuple[dict, dict]:
    """Returns what config.json says, and the tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    stated = config(variant)
    made = tensors(variant, stated)
    save_file(made, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(stated))
    (folder / "spiece.model").write_bytes(families.sentencepiece_model(
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>"))
    return stated, made


def logits(stated: dict, weights: dict, source: list[int], target: list[int]) -> np.ndarray:
    """float64[T,V]"""
    read = np.array([weights["shared.weight"][token] for token in source], float)
    for block in range(stated["num_layers"]):
        read = layer(stated, weights, f"encoder.block.{block}.layer", read, distances(stated, weights, "encoder", len(source)))
    read = norm(stated, weights["encoder.final_layer_norm.weight"], read)
    x = np.array([weights["shared.weight"][token] for token in target], float)
    bias = distances(stated, weights, "decoder", len(target))
    bias = np.where(np.tri(len(target), dtype=bool), bias, -np.inf)
    for block in range(stated["num_decoder_layers"]):
        x = layer(stated, weights, f"decoder.block.{block}.layer", x, bias, read)
    x = norm(stated, weights["decoder.final_layer_norm.weight"], x)
    if stated["model_type"] == "t5" and stated.get("tie_word_embeddings", True):
        x = x / math.sqrt(WIDTH)
    return x @ weights.get("lm_head.weight", weights["shared.weight"]).T


def layer(stated, weights, where, x, bias, read=None):
    x = x + attention(weights, f"{where}.0.SelfAttention", norm(stated, weights[f"{where}.0.layer_norm.weight"], x), None, bias)
    last = 1
    if read is not None:
        normal = norm(stated, weights[f"{where}.1.layer_norm.weight"], x)
        x, last = x + attention(weights, f"{where}.1.EncDecAttention", normal, read, 0.0), 2
    normal = norm(stated, weights[f"{where}.{last}.layer_norm.weight"], x)
    feed = f"{where}.{last}.DenseReluDense"
    if f"{feed}.wi.weight" in weights:
        inner = np.maximum(normal @ weights[f"{feed}.wi.weight"].T, 0)
    else:
        first = normal @ weights[f"{feed}.wi_0.weight"].T
        inner = first / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (first + 0.044715 * first**3)))
        inner = inner * (normal @ weights[f"{feed}.wi_1.weight"].T)
    return x + inner @ weights[f"{feed}.wo.weight"].T


def attention(weights, where, x, read, bias):
    read = x if read is None else read
    query, key, value = (of @ weights[f"{where}.{name}.weight"].T for name, of in (("q", x), ("k", read), ("v", read)))
    made = []
    for head in range(HEADS):
        part = slice(head * SIZE, (head + 1) * SIZE)
        scores = query[:, part] @ key[:, part].T + (bias[head] if np.ndim(bias) else bias)
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        made.append(chances / chances.sum(axis=1, keepdims=True) @ value[:, part])
    return np.concatenate(made, axis=1) @ weights[f"{where}.o.weight"].T


def norm(stated, weight, x):
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + stated["layer_norm_epsilon"]) * weight


def distances(stated, weights, stack, length) -> np.ndarray:
    """float64[heads,S,S]"""
    table = weights[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    made = np.zeros((HEADS, length, length))
    for i in range(length):
        for j in range(length):
            made[:, i, j] = table[number(i - j, stack == "encoder", 8, 20)]
    return made


def number(back: int, both: bool, count: int, longest: int) -> int:
    """Of a distance, in one of `count` groups."""
    if both:
        half = count // 2
        return (half if back < 0 else 0) + number(abs(back), False, half, longest)
    back, exact = max(back, 0), count // 2
    if back < exact:
        return back
    return min(count - 1, exact + int((count - exact) * math.log(back / exact) / math.log(longest / exact)))
