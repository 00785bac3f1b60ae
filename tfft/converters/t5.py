"""T5 in Hugging Face's layout, which KerasHub does not read: what its config.json says, and its tensors by the paths of
tfft.models.t5's variables. Versions 1.0, 1.1 (also Flan) and mT5 (Raffel et al. 2020; Xue et al. 2021)."""

import numpy as np

from tfft.converters.tensors import Checkpoint
from tfft.errors import UserError

MODEL_TYPES = ("t5", "mt5")
PROJECTIONS = {"relu": ("relu", False), "gated-gelu": ("gelu_tanh", True), "gated-relu": ("relu", True),
               "gated-silu": ("silu", True), "gelu_new": ("gelu_tanh", False), "gelu": ("gelu", False)}
ATTENTION = {"q": "query", "k": "key", "v": "value", "o": "attention_output"}
TABLES = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")  # one and the same
HEAD = "lm_head.weight"
# what else a file may have: the table by its other names, and of version 1.0 one tensor that T5 itself does not use
MORE = (*TABLES, HEAD, "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight")
SETTINGS = ("vocabulary_size", "num_layers", "num_decoder_layers", "num_heads", "head_dim", "hidden_dim", "intermediate_dim",
            "dropout", "activation", "gated", "layer_norm_epsilon", "buckets", "max_distance", "scaled", "tie_weights")


def settings(config: dict, where: str) -> dict:
    """config.json -> the arguments of T5Backbone, but for tie_weights, which the tensors tell.

    Raises: UserError where it asks for what tfft.models.t5 does not compute.
    """
    projection = config.get("feed_forward_proj", "gated-gelu" if config["model_type"] == "mt5" else "relu")
    if projection not in PROJECTIONS:
        raise UserError(f"{where}: config.json has feed_forward_proj={projection!r}; T5's layers are known with "
                        f"{', '.join(PROJECTIONS)}.")
    activation, gated = PROJECTIONS[projection]
    # version 1.0 scales the decoder's output, others do not, which their files say by embeddings that are not tied
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return {"vocabulary_size": config["vocab_size"], "num_layers": config["num_layers"],
            "num_decoder_layers": config.get("num_decoder_layers") or config["num_layers"],
            "num_heads": config["num_heads"], "head_dim": config["d_kv"], "hidden_dim": config["d_model"],
            "intermediate_dim": config["d_ff"], "dropout": config.get("dropout_rate", 0.1), "activation": activation,
            "gated": gated, "layer_norm_epsilon": config.get("layer_norm_epsilon", 1e-6),
            "buckets": config.get("relative_attention_num_buckets", 32),
            "max_distance": config.get("relative_attention_max_distance", 128),
            "scaled": bool(scaled) and config["model_type"] == "t5"}


def table(checkpoint: Checkpoint) -> str:
    """What the token embeddings are called."""
    return next((name for name in TABLES if name in checkpoint), TABLES[0])


def tied(checkpoint: Checkpoint) -> bool:
    """Whether words are chosen by the embeddings themselves."""
    return HEAD not in checkpoint or np.array_equal(checkpoint[HEAD], checkpoint[table(checkpoint)])


def named(checkpoint: Checkpoint, made: dict) -> dict[str, tuple[str, bool]]:
    """{path of a variable: (name of its tensor, whether that is transposed)} for the settings of a T5Backbone."""
    names = {"token_embedding/embeddings": (table(checkpoint), False)}
    if not tied(checkpoint):
        names["token_embedding/reverse_embeddings"] = (HEAD, True)
    for stack, count in (("encoder", made["num_layers"]), ("decoder", made["num_decoder_layers"])):
        names[f"{stack}_relative_position_embedding/embeddings"] = (
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", False)
        names[f"{stack}_output_layer_norm/scale"] = (f"{stack}.final_layer_norm.weight", False)
        for layer in range(count):
            own, theirs = f"transformer_{stack}_layer_{layer}", f"{stack}.block.{layer}.layer"
            parts = [("self_attention", f"{theirs}.0.SelfAttention")]
            if stack == "decoder":
                parts.append(("cross_attention", f"{theirs}.1.EncDecAttention"))
            for part, prefix in parts:
                names |= {f"{own}/{part}/{ours}/kernel": (f"{prefix}.{name}.weight", True) for name, ours in ATTENTION.items()}
                names[f"{own}/{part}_layer_norm/scale"] = (f"{prefix.rpartition('.')[0]}.layer_norm.weight", False)
            feed = f"{theirs}.{len(parts)}"
            first = {"feedforward_intermediate_dense": "wi_0", "feedforward_gate_dense": "wi_1"} if made["gated"] else {
                "feedforward_intermediate_dense": "wi"}
            for ours, name in {**first, "feedforward_output_dense": "wo"}.items():
                names[f"{own}/{ours}/kernel"] = (f"{feed}.DenseReluDense.{name}.weight", True)
            names[f"{own}/feedforward_layer_norm/scale"] = (f"{feed}.layer_norm.weight", False)
    return names
