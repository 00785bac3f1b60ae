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
