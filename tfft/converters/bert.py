"""A BERT in Hugging Face's layout that lacks what KerasHub reads -> a folder that has it.

Checkpoints with a head for masked words are saved without a pooler, and newer ones with tokenizer.json instead of vocab.txt.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from tfft.files import save_tensors

POOLER = "pooler.dense"


def completed(folder: Path, kept: Path) -> Path | None:
    """The folder that an incomplete one was completed to, under `kept`; None where it is complete, or no such BERT."""
    weights, tokenizer = folder / "model.safetensors", folder / "tokenizer.json"
    config, stated = _json(folder / "config.json"), _json(folder / "tokenizer_config.json")
    if config.get("model_type") != "bert" or "XLMRoberta" in stated.get("tokenizer_class", "") or not weights.is_file():
        return None
    try:
        with safe_open(str(weights), "np") as file:
            names = set(file.keys())
    except (OSError, SafetensorError):
        return None  # whoever loads it tells
    vocabulary = _json(tokenizer).get("model", {})
    spelt = (folder / "vocab.txt").is_file()
    pooled = any(name.endswith(f"{POOLER}.weight") for name in names)
    if pooled and spelt and "do_lower_case" in stated or not spelt and vocabulary.get("type") != "WordPiece":
        return None
    digest = hashlib.sha256()
    for path in (weights, tokenizer, folder / "vocab.txt", folder / "config.json", folder / "tokenizer_config.json"):
        digest.update(path.read_bytes() if path.is_file() else b"")
    final = kept / digest.hexdigest()
    if final.is_dir():
        return final
    kept.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=kept))
    try:
        tensors = load_file(weights)
        if not pooled:
            word = next(name for name in names if name.endswith("embeddings.word_embeddings.weight"))
            prefix, width = word.removesuffix("embeddings.word_embeddings.weight"), config["hidden_size"]
            tensors |= {f"{prefix}{POOLER}.weight": np.eye(width, dtype=np.float32),
                        f"{prefix}{POOLER}.bias": np.zeros(width, np.float32)}
        save_tensors(tensors, making / "model.safetensors", {"format": "pt"})
        (making / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
        known = vocabulary.get("vocab", {})
        lines = (folder / "vocab.txt").read_text("utf-8") if spelt else "".join(f"{t}\n" for t in sorted(known, key=known.get))
        (making / "vocab.txt").write_text(lines, "utf-8")
        normalizer = _json(tokenizer).get("normalizer") or {}
        lower = {"do_lower_case": normalizer.get("lowercase", True), "strip_accents": normalizer.get("strip_accents")}
        (making / "tokenizer_config.json").write_text(json.dumps({**lower, **stated}, indent=1), "utf-8")
        if not final.is_dir():  # another process may have been faster
            os.replace(making, final)
    except (StopIteration, KeyError, ValueError):
        return None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return final


def _json(path: Path) -> dict:
    try:
        made = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return made if isinstance(made, dict) else {}
