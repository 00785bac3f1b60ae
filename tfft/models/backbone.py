"""Asset -> KerasHub backbone and tokenizer."""

import hashlib
import json
import tempfile
from pathlib import Path

import keras
import keras_hub

from tfft.assets import download_error
from tfft.converters.t5 import MODEL_TYPES as T5
from tfft.errors import UserError
from tfft.models.byte_pairs import is_byte_level, of_hugging_face
from tfft.models.from_tensors import MODEL_TYPES, load_tensors

# of a checkpoint in Hugging Face's layout: what says how conversations are written for it
CHAT = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
EPSILON_LEFT_OUT = ("llama", "gemma", "gemma2")  # by KerasHub's converters, which take 1e-6 whatever config.json says
OF_BYTE_PAIRS = ("llama", "qwen2", "qwen3", "qwen3_moe", "smollm3", "gpt2", "mistral")


def load_tokenizer(preset: str):
    """The KerasHub tokenizer of a preset: a local folder, hf://, kaggle:// or a KerasHub name. Its `chat` are the texts of CHAT
    by their names, where there is a chat template among them.

    KerasHub's converter of Hugging Face folders keeps accents where BERT's uncased models were pretrained without them
    (their do_lower_case strips accents unless strip_accents is false); here they are stripped as in pretraining. It looks for
    BERT's vocabulary wherever the model is a BERT; multilingual sentence encoders are BERTs with XLM-R's tokenizer.
    Byte-level tokenizers of language models are read here: KerasHub's answer differently.
    """
    tokenizer = _tokenizer(preset)
    found = {name: path.read_text("utf-8") for name in CHAT if (path := preset_file(preset, name))}
    tokenizer.chat = found if any("chat_template" in part for item in found.items() for part in item) else {}
    return tokenizer


def _tokenizer(preset: str):
    stated = _stated(preset, "tokenizer_config.json")
    if _stated(preset, "config.json").get("model_type") in T5:
        if not (pieces := preset_file(preset, "spiece.model")):
            raise UserError(f"{preset} has no spiece.model, the vocabulary that a T5's tokenizer is made of. Copy it from the "
                            "model's page.")
        return keras_hub.tokenizers.T5Tokenizer(str(pieces))
    if _stated(preset, "config.json").get("model_type") in OF_BYTE_PAIRS:
        made = _stated(preset, "tokenizer.json")
        if is_byte_level(made):
            return of_hugging_face(made, _roles(stated), f"{preset}/tokenizer.json")
    of_xlm_r = stated.get("tokenizer_class", "").startswith("XLMRobertaTokenizer")
    if of_xlm_r and _stated(preset, "config.json").get("model_type") == "bert":
        return keras_hub.tokenizers.XLMRobertaTokenizer(str(preset_file(preset, "sentencepiece.bpe.model")))
    tokenizer = _from_preset(keras_hub.tokenizers.Tokenizer, preset)
    if getattr(tokenizer, "strip_accents", None) is False:
        if stated.get("do_lower_case") and stated.get("strip_accents") is not False:
            config = {**tokenizer.get_config(), "strip_accents": True, "vocabulary": tokenizer.get_vocabulary()}
            tokenizer = type(tokenizer).from_config(config)
    return tokenizer


def _roles(stated: dict) -> dict:
    """What tokenizer_config.json says of special tokens; GPT-2's, which says nothing, has one for all."""
    named = {role: stated.get(name) for role, name in (("start_token", "bos_token"), ("end_token", "eos_token"),
                                                       ("pad_token", "pad_token"))}
    if "eos_token" not in stated:
        named |= {"start_token": "<|endoftext|>", "end_token": "<|endoftext|>"}
    return {role: token["content"] if isinstance(token, dict) else token for role, token in named.items()}


def _stated(preset: str, name: str) -> dict:
    """What a JSON file of a preset in Hugging Face's layout says; {} where there is none."""
    path = preset_file(preset, name)
    made = json.loads(path.read_text(encoding="utf-8")) if path else {}
    return made if isinstance(made, dict) else {}


def preset_file(preset: str, name: str) -> Path | None:
    """A file of a local folder or of the Hugging Face hub; None where it cannot be had."""
    if not preset.startswith("hf://"):
        path = Path(preset) / name
        return path if path.is_file() else None
    try:
        import huggingface_hub

        return Path(huggingface_hub.hf_hub_download(preset.removeprefix("hf://"), name))
    except Exception:  # of many kinds; KerasHub is asked next, and what it says is told
        return None


def weight_files(preset: str) -> list[Path]:
    """The safetensors files of a preset in Hugging Face's layout."""
    index = preset_file(preset, "model.safetensors.index.json")
    names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values())) if index else ["model.safetensors"]
    return [path for name in names if (path := preset_file(preset, name))]


def save_tokenizer(tokenizer, folder: Path) -> None:
    """Writes tokenizer.json and the vocabulary files."""
    assets = folder / "assets"
    assets.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps(keras.saving.serialize_keras_object(tokenizer), indent=1))
    tokenizer.save_assets(str(assets))
    for name, text in getattr(tokenizer, "chat", {}).items():
        (folder / name).write_text(text, "utf-8")


def open_tokenizer(folder: Path):
    """The tokenizer that `save_tokenizer` wrote. Raises UserError where the folder is not complete."""
    try:
        tokenizer = keras.saving.deserialize_keras_object(json.loads((folder / "tokenizer.json").read_text()))
        tokenizer.load_assets(str(folder / "assets"))
        tokenizer.chat = {name: (folder / name).read_text("utf-8") for name in CHAT if (folder / name).exists()}
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the tokenizer in {folder}: {error}. Run the train command of this workdir "
                        "again.") from error
    return tokenizer


def load_backbone(preset: str, *, precision: str, dropout: float):
    """The pretrained backbone. `dropout` -1 keeps its own.

    Raises: UserError where the preset cannot be had or is no text encoder.
    """
    backbone = load_any(preset, precision=precision, dropout=dropout)
    inputs = sorted(backbone.input) if isinstance(backbone.input, dict) else [backbone.input.name]
    if not {"token_ids", "padding_mask"} <= set(inputs) or "decoder_token_ids" in inputs:
        raise UserError(f"{preset} is a {type(backbone).__name__}, which takes {', '.join(inputs)}: not a text encoder. "
                        "Choose an encoder such as BERT, RoBERTa, DistilBERT, ALBERT, ELECTRA or DeBERTa.")
    return backbone


def load_any(preset: str, *, precision: str, dropout: float):
    """The same, of any kind. Raises: UserError where the preset cannot be had."""
    changes = {} if dropout < 0 else {"dropout": dropout}
    stated = _stated(preset, "config.json")
    if stated.get("model_type") in MODEL_TYPES:
        return load_tensors(stated, weight_files(preset), preset, precision=precision, dropout=dropout)
    if stated.get("model_type") in EPSILON_LEFT_OUT and "rms_norm_eps" in stated:
        changes["layer_norm_epsilon"] = stated["rms_norm_eps"]
    return _from_preset(keras_hub.models.Backbone, preset, dtype=precision, **changes)


def _from_preset(kind, preset: str, **kwargs):
    try:
        return kind.from_preset(preset, **kwargs)
    except Exception as error:  # KerasHub lets through whatever its hub clients and converters raise
        if Path(preset).is_dir():
            raise UserError(f"Cannot load {preset}: {error}. It must be a folder in KerasHub format (config.json, "
                            "model.weights.h5, tokenizer.json, assets/) or Hugging Face format (config.json, "
                            "model.safetensors, the tokenizer's files) of a model type that KerasHub converts.") from error
        raise download_error(preset, error) from error


def describe(backbone) -> str:
    """The backbone's architecture as JSON, without weights."""
    made = keras.saving.serialize_keras_object(backbone)
    if isinstance(backbone, keras_hub.models.LlamaBackbone):  # whose get_config leaves it out
        made["config"]["tie_word_embeddings"] = backbone.tie_word_embeddings
    return json.dumps(made, indent=1)


def rebuild(description: str, precision: str):
    """The backbone that `describe` wrote, with random weights."""
    config = json.loads(description)
    config["config"]["dtype"] = precision
    return keras.saving.deserialize_keras_object(config)


def tokenizer_fingerprint(tokenizer) -> str:
    """Hash of everything that decides what the tokenizer answers: its class, settings, vocabulary files and library."""
    digest = hashlib.blake2b(digest_size=16)
    config = tokenizer.get_config()
    config.pop("name", None)
    of_bytes = isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer)
    if of_bytes and not isinstance(tokenizer, keras_hub.models.RobertaTokenizer):
        # KerasHub has those of language models in a set, whose order is another in each process
        config["unsplittable_tokens"] = sorted(config.get("unsplittable_tokens") or [])
    digest.update(json.dumps([type(tokenizer).__name__, keras_hub.__version__, config], sort_keys=True, default=str).encode())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_assets(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def sequence_output(backbone):
    """Symbolic f[B,S,H]: the output of the last layer for each token."""
    return backbone.output["sequence_output"] if isinstance(backbone.output, dict) else backbone.output


def pooled_output(backbone):
    """Symbolic f[B,H] of the backbone's own pooler.

    Raises: UserError where the backbone has none.
    """
    if not isinstance(backbone.output, dict) or "pooled_output" not in backbone.output:
        raise UserError(f"config.model.pooling=pooled: {type(backbone).__name__} has no pooler. Use mean, cls or max.")
    return backbone.output["pooled_output"]
