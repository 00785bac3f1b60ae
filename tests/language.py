"""A tiny random language model with a tokenizer of bytes and a chat template, as a folder in Hugging Face's layout."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

START, END = "<|im_start|>", "<|im_end|>"
CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
BYTES = sorted({*range(33, 127), *range(161, 173), *range(174, 256)})
LETTERS = {b: chr(b) if b in BYTES else chr(256 + sum(1 for other in range(b) if other not in BYTES)) for b in range(256)}
MERGES = ["g o", "o d", "go od", "b a", "ba d", "Ġ good", "Ġ bad", "u s", "us er", "e r"]
WIDTH, HEADS, KEYS, LAYERS = 16, 4, 2, 2


def vocabulary() -> dict[str, int]:
    return {token: number for number, token in enumerate(dict.fromkeys(
        [START, END, *LETTERS.values(), *(merge.replace(" ", "") for merge in MERGES)]))}


def write(folder: Path, template: str = CHATML, layers: int = LAYERS, width: int = WIDTH) -> Path:
    """Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json of a Llama."""
    folder.mkdir(parents=True, exist_ok=True)
    names, head, draw = vocabulary(), width // HEADS, np.random.default_rng(0)
    sizes = {"self_attn.q_proj": (width, width), "self_attn.k_proj": (KEYS * head, width),
             "self_attn.v_proj": (KEYS * head, width), "self_attn.o_proj": (width, width), "mlp.gate_proj": (2 * width, width),
             "mlp.up_proj": (2 * width, width), "mlp.down_proj": (width, 2 * width)}
    made = {"model.embed_tokens.weight": draw.normal(0, 0.3, (len(names), width)), "model.norm.weight": np.ones(width)}
    for layer in range(layers):
        for name, size in sizes.items():
            made[f"model.layers.{layer}.{name}.weight"] = draw.normal(0, 0.3, size)
        for name in ("input_layernorm", "post_attention_layernorm"):
            made[f"model.layers.{layer}.{name}.weight"] = np.ones(width)
    save_file({name: value.astype(np.float32) for name, value in made.items()}, folder / "model.safetensors")
    write_json(folder / "config.json", {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": len(names), "hidden_size": width,
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": KEYS, "head_dim": head,
        "intermediate_size": 2 * width, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
        "max_position_embeddings": 256, "rope_scaling": None, "hidden_act": "silu"})
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "added_tokens": [{"id": names[token], "content": token, "special": True, "single_word": False,
                                            "lstrip": False, "rstrip": False, "normalized": False} for token in (START, END)],
        "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True,
                                              "trim_offsets": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": names, "merges": MERGES}})
    write_json(folder / "tokenizer_config.json", {"bos_token": START, "eos_token": END, "pad_token": END,
                                                  "add_bos_token": False, "chat_template": template})
    return folder


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")
