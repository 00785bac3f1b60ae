"""Backbones of an architecture alone: variables that have shapes and no values, for what lowers and compiles a step and never
runs it. An 8B model is built in no memory: its variables are allocated and never touched.

    model.backbone=shape:llama-8b/config.json      Hugging Face's config.json, or a folder that has one
"""

import contextlib
import json
from pathlib import Path

import keras
import tensorflow as tf
from keras_hub.src.utils.transformers import (
    convert_gemma,
    convert_gpt2,
    convert_llama3,
    convert_mistral,
    convert_qwen,
    convert_qwen3,
)

from tfft.errors import UserError, unknown
from tfft.models.kernels import replaced

PREFIX = "shape:"
CONVERTERS = {"llama": convert_llama3, "mistral": convert_mistral, "qwen2": convert_qwen, "qwen3": convert_qwen3,
              "gpt2": convert_gpt2, "gemma": convert_gemma, "gemma2": convert_gemma}  # by model_type
LAYERS = {"gpt2": "n_layer"}  # what config.json calls their number; else num_hidden_layers


def read_shape(reference: str) -> dict:
    """The config.json that 'shape:PATH' names. Raises: UserError."""
    path = Path(reference.removeprefix(PREFIX)).expanduser()
    path = path / "config.json" if path.is_dir() else path
    try:
        made = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"config.model.backbone={reference}: {path} cannot be read as JSON: {error}. Name the config.json of a "
                        "model in Hugging Face's layout, or its folder.") from error
    kind = made.get("model_type") if isinstance(made, dict) else None
    if kind not in CONVERTERS:
        raise UserError(f"config.model.backbone={reference}: {unknown('model_type', str(kind), CONVERTERS)}")
    return made


def layers_of(shape: dict) -> int:
    return int(shape[LAYERS.get(shape["model_type"], "num_hidden_layers")])


def empty(shape, dtype=tf.float32) -> tf.Tensor:
    """A tensor of whatever is there: memory that nobody has written to is none."""
    with tf.device("cpu"):
        return tf.raw_ops.Empty(shape=tf.TensorShape(shape).as_list(), dtype=dtype, init=False)


@contextlib.contextmanager
def without_values():
    """Variables that are made inside have none."""
    def initialise(variable, _):
        variable._initialize(lambda: empty(variable._shape, variable._dtype))

    kind = keras.src.backend.Variable
    with replaced([(kind, "_initialize_with_initializer", initialise)]):
        yield


def shape_backbone(shape: dict, layers: int, *, precision: str, dropout: float):
    """The backbone of a config.json, with so many of its layers. Inside of `without_values`. Raises: UserError."""
    converter = CONVERTERS[shape["model_type"]]
    try:
        config = converter.convert_backbone_config({**shape, LAYERS.get(shape["model_type"], "num_hidden_layers"): layers})
    except (KeyError, ValueError) as error:
        raise UserError(f"config.model.backbone: its config.json lacks {error}, or has what is not known.") from error
    changes = {} if dropout < 0 else {"dropout": dropout}
    if "rms_norm_eps" in shape and shape["model_type"] != "gpt2":
        changes["layer_norm_epsilon"] = shape["rms_norm_eps"]
    return converter.backbone_cls(**{**config, **changes}, dtype=precision)
