"""A BERT of KerasHub's -> a folder in Hugging Face's layout, the other way round than KerasHub converts."""

import json
from pathlib import Path

import keras_hub
import numpy as np

from tfft.errors import UserError
from tfft.files import save_tensors

# of a layer: Hugging Face's name -> the attribute of KerasHub's, within its attention where that begins with _self
MATRICES = {"attention.self.query": "_query_dense", "attention.self.key": "_key_dense", "attention.self.value": "_value_dense",
            "attention.output.dense": "_output_dense"}
DENSES = {"intermediate.dense": "_feedforward_intermediate_dense", "output.dense": "_feedforward_output_dense"}
NORMS = {"attention.output.LayerNorm": "_self_attention_layer_norm", "output.LayerNorm": "_feedforward_layer_norm"}


def write_bert(backbone, tokenizer, head: dict[str, np.ndarray], folder: Path) -> None:
    """Writes config.json, model.safetensors, vocab.txt and tokenizer_config.json. head: further tensors, by their names.

    Raises: UserError where it is no BERT with a WordPiece vocabulary, whose layout this is.
    """
    if type(backbone) is not keras_hub.models.BertBackbone or type(tokenizer) is not keras_hub.tokenizers.BertTokenizer:
        raise UserError(f"--format=huggingface writes a BERT with a WordPiece vocabulary; this is a {type(backbone).__name__} "
                        f"with a {type(tokenizer).__name__}. Use --format=backbone.")
    prefix = "bert." if head else ""
    tensors = {f"{prefix}{name}": np.ascontiguousarray(value) for name, value in _weights(backbone).items()}
    save_tensors({**tensors, **{name: np.ascontiguousarray(value) for name, value in head.items()}},
                 folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({
        "model_type": "bert", "architectures": ["BertForMaskedLM" if head else "BertModel"],
        "vocab_size": backbone.vocabulary_size, "hidden_size": backbone.hidden_dim, "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads, "intermediate_size": backbone.intermediate_dim,
        "hidden_act": "gelu_pytorch_tanh", "hidden_dropout_prob": backbone.dropout,
        "attention_probs_dropout_prob": backbone.dropout, "max_position_embeddings": backbone.max_sequence_length,
        "type_vocab_size": backbone.num_segments, "layer_norm_eps": 1e-12, "pad_token_id": int(tokenizer.pad_token_id),
        "tie_word_embeddings": True}, indent=1) + "\n", "utf-8")
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokenizer.get_vocabulary()), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "BertTokenizer", "do_lower_case": tokenizer.lowercase, "strip_accents": tokenizer.strip_accents,
        "model_max_length": backbone.max_sequence_length}, indent=1) + "\n", "utf-8")


def _weights(backbone) -> dict[str, np.ndarray]:
    made = {"embeddings.word_embeddings.weight": backbone.token_embedding.embeddings,
            "embeddings.position_embeddings.weight": backbone.position_embedding.position_embeddings,
            "embeddings.token_type_embeddings.weight": backbone.segment_embedding.embeddings}
    made = {name: variable.numpy() for name, variable in made.items()}
    made |= _norm("embeddings.LayerNorm", backbone.embeddings_layer_norm) | _dense("pooler.dense", backbone.pooled_dense, 1)
    for number, layer in enumerate(backbone.transformer_layers):
        where, attention = f"encoder.layer.{number}", layer._self_attention_layer
        for name, attribute in MATRICES.items():
            made |= _dense(f"{where}.{name}", getattr(attention, attribute), 2 if attribute == "_output_dense" else 1)
        for name, attribute in DENSES.items():
            made |= _dense(f"{where}.{name}", getattr(layer, attribute), 1)
        for name, attribute in NORMS.items():
            made |= _norm(f"{where}.{name}", getattr(layer, attribute))
    return made


def _dense(name: str, layer, inputs: int) -> dict[str, np.ndarray]:
    """inputs: how many axes of the kernel are the layer's input; the others, heads and their values say, its output."""
    kernel = layer.kernel.numpy()
    size = int(np.prod(kernel.shape[:inputs]))
    return {f"{name}.weight": kernel.reshape(size, -1).T, f"{name}.bias": layer.bias.numpy().reshape(-1)}


def _norm(name: str, layer) -> dict[str, np.ndarray]:
    return {f"{name}.weight": layer.gamma.numpy(), f"{name}.bias": layer.beta.numpy()}
