"""BART in Hugging Face's layout: what its config.json says, and its tensors by the paths of KerasHub's variables. KerasHub
itself reads older folders alone, and says nothing of what it does not compute."""

from tfft.converters.tensors import Checkpoint
from tfft.errors import UserError

MODEL_TYPES = ("bart",)
USUAL = {"activation_function": "gelu", "scale_embedding": False, "decoder_start_token_id": 2}
LOGITS = "final_logits_bias"  # usually 0
TABLES = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")  # one and the same
ATTENTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "attention_output"}
OFFSET = 2  # places before the first one in the tables of positions


def settings(config: dict, where: str) -> dict:
    """config.json -> the arguments of KerasHub's BartBackbone. Raises: UserError where it asks for what that has not."""
    for name, usual in USUAL.items():
        if config.get(name, usual) != usual:
            raise UserError(f"{where}: config.json has {name}={config[name]!r}; BART's layers are known with {usual!r} alone.")
    for name in ("layers", "attention_heads", "ffn_dim"):
        both = config[f"encoder_{name}"], config[f"decoder_{name}"]
        if both[0] != both[1]:
            raise UserError(f"{where}: config.json has encoder_{name}={both[0]} and decoder_{name}={both[1]}; KerasHub's BART "
                            "has as many in both.")
    return {"vocabulary_size": config["vocab_size"], "num_layers": config["encoder_layers"],
            "num_heads": config["encoder_attention_heads"], "hidden_dim": config["d_model"],
            "intermediate_dim": config["encoder_ffn_dim"], "dropout": config.get("dropout", 0.1),
            "max_sequence_length": config["max_position_embeddings"]}


def named(checkpoint: Checkpoint, made: dict, where: str) -> tuple[dict[str, tuple[str, bool]], tuple[str, ...]]:
    """({path of a variable: (name of its tensor, whether that is transposed)}, names of further ones that a file may have).

    Raises: UserError where words have a logit of their own beside the products.
    """
    prefix = "model." if any(name.startswith("model.") for name in checkpoint) else ""
    if LOGITS in checkpoint and checkpoint[LOGITS].any():
        raise UserError(f"{where}: its {LOGITS} is not 0; KerasHub's BART adds nothing to the logits of words.")
    tables = (*(f"{prefix}{name}" for name in TABLES), TABLES[-1])
    names = {"token_embedding/embeddings": (next((name for name in tables if name in checkpoint), tables[0]), False)}

    def norm(own: str, theirs: str) -> None:
        names.update({f"{own}/gamma": (f"{prefix}{theirs}.weight", False), f"{own}/beta": (f"{prefix}{theirs}.bias", False)})

    def dense(own: str, theirs: str) -> None:
        names.update({f"{own}/kernel": (f"{prefix}{theirs}.weight", True), f"{own}/bias": (f"{prefix}{theirs}.bias", False)})

    for stack in ("encoder", "decoder"):
        names[f"{stack}_position_embedding/embeddings"] = (f"{prefix}{stack}.embed_positions.weight", False)
        norm(f"{stack}_embeddings_layer_norm", f"{stack}.layernorm_embedding")
        for layer in range(made["num_layers"]):
            own, theirs = f"transformer_{stack}_layer_{layer}", f"{stack}.layers.{layer}"
            parts = {"self_attention": "self_attn"} | ({"cross_attention": "encoder_attn"} if stack == "decoder" else {})
            for part, name in parts.items():
                inside = "self_attention_layer" if stack == "encoder" else part
                for theirs_too, ours in ATTENTION.items():
                    dense(f"{own}/{inside}/{ours}", f"{theirs}.{name}.{theirs_too}")
                norm(f"{own}/{part}_layer_norm", f"{theirs}.{name}_layer_norm")
            dense(f"{own}/feedforward_intermediate_dense", f"{theirs}.fc1")
            dense(f"{own}/feedforward_output_dense", f"{theirs}.fc2")
            norm(f"{own}/feedforward_layer_norm", f"{theirs}.final_layer_norm")
    return names, (*tables, LOGITS)
