"""Backbones of encoder-decoders whose folders in Hugging Face's layout KerasHub does not read, or not all of."""

import math
from collections.abc import Iterable
from pathlib import Path

import keras_hub

from tfft.converters import bart, t5
from tfft.converters.tensors import Checkpoint
from tfft.errors import UserError
from tfft.models.t5 import T5Backbone

MODEL_TYPES = (*t5.MODEL_TYPES, *bart.MODEL_TYPES)


def load_tensors(stated: dict, files: list[Path], where: str, *, precision: str, dropout: float):
    """The backbone of what config.json says, one of MODEL_TYPES, and safetensors files. `dropout` -1 keeps its own.

    Raises: UserError where the files are not of such a model.
    """
    checkpoint, changed = Checkpoint(files), {} if dropout < 0 else {"dropout": dropout}
    try:
        if stated["model_type"] in bart.MODEL_TYPES:
            made = bart.settings(stated, where)
            names, more = bart.named(checkpoint, made, where)
            kind = keras_hub.models.BartBackbone
        else:
            made = {**t5.settings(stated, where), "tie_weights": t5.tied(checkpoint)}
            names, more, kind = t5.named(checkpoint, made), t5.MORE, T5Backbone
    except KeyError as error:
        raise UserError(f"{where}: config.json has no {error}. Copy the model anew.") from error
    _check_names(checkpoint, names, more, where)
    backbone = kind(**{**made, **changed}, dtype=precision)
    for variable in backbone.trainable_variables:
        name, turned = names[variable.path]
        value = checkpoint[name].T if turned else checkpoint[name]
        if name.endswith("embed_positions.weight"):
            value = value[bart.OFFSET:]
        shape = tuple(variable.shape)
        if value.shape != shape and (value.ndim == len(shape) or value.size != math.prod(shape)):
            raise UserError(f"{where}: the tensor {name} has another shape than its config.json says. Copy the model anew.")
        variable.assign(value.reshape(shape))
    return backbone


def _check_names(checkpoint: Checkpoint, names: dict[str, tuple[str, bool]], more: Iterable[str], where: str) -> None:
    """Raises: UserError where a tensor is lacking, or none of the backbone's."""
    wanted = {name for name, _ in names.values()}
    for name in sorted(wanted.symmetric_difference(checkpoint) - (set(more) - wanted)):
        fault = "lacks the tensor" if name in wanted else "has a tensor that no model of its config.json has:"
        raise UserError(f"{where} {fault} {name}. Copy the model anew.")


def of_keras_hub(theirs, precision: str) -> T5Backbone:
    """tfft's T5 of the weights of KerasHub's, which has no scale of its own: it goes with tied weights there too."""
    activation = next((name for name, made in (("gelu_tanh", "gelu_approximate"), ("gelu", "gelu"), ("silu", "silu"))
                       if theirs.activation.__name__ == made), "relu")
    tied = theirs.tie_embedding_weights
    ours = T5Backbone(theirs.vocabulary_size, theirs.num_layers, theirs.num_layers, theirs.num_heads,
                      theirs.key_value_dim or theirs.hidden_dim // theirs.num_heads, theirs.hidden_dim, theirs.intermediate_dim,
                      dropout=theirs.dropout, activation=activation, gated=theirs.use_gated_activation,
                      layer_norm_epsilon=theirs.layer_norm_epsilon, tie_weights=tied, scaled=tied, dtype=precision)
    pairs = list(zip(ours.token_embedding.weights, theirs.token_embedding.weights, strict=True))
    for mine, other, bias, norms in (
            (ours.encoder_transformer_layers, theirs.encoder_transformer_layers, ours.encoder_bias,
             (ours.encoder_layer_norm, theirs.encoder_layer_norm)),
            (ours.decoder_transformer_layers, theirs.decoder_transformer_layers, ours.decoder_bias,
             (ours.decoder_layer_norm, theirs.decoder_layer_norm))):
        pairs += [(bias.table, other[0].self_attention.relative_attention_bias), (norms[0].scale, norms[1].weight)]
        for layer, given in zip(mine, other, strict=True):
            pairs += _pairs_of_layer(layer, given)
    for variable, value in pairs:
        variable.assign(value)
    return ours


def _pairs_of_layer(layer, given) -> list[tuple]:
    """(variable of a T5Layer, the same of KerasHub's)"""
    made = [(layer.intermediate.kernel, given.input_projector.kernel),
            (layer.output_dense.kernel, given.output_projector.kernel),
            (layer.feedforward_layer_norm.scale, given.layer_norm.weight)]
    if layer.gate is not None:
        made.append((layer.gate.kernel, given.gate_projector.kernel))
    parts = [(layer.self_attention, given.self_attention, layer.self_attention_layer_norm, given.self_attention_layer_norm)]
    if layer.cross_attention is not None:
        parts.append((layer.cross_attention, given.cross_attention, layer.cross_attention_layer_norm,
                      given.cross_attention_layer_norm))
    for mine, other, norm, given_norm in parts:
        made += [(mine.query.kernel, other.query_projector.kernel), (mine.key.kernel, other.key_projector.kernel),
                 (mine.value.kernel, other.value_projector.kernel), (norm.scale, given_norm.weight),
                 (mine.attention_output.kernel, other.output_projector.kernel)]
    return made
