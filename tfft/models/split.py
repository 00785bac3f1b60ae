"""A model in two: what its lowest layers make of tokens, and the rest of it, which starts from there."""

import warnings

import keras

from tfft.models.adaptation import sections
from tfft.models.backbone import sequence_output

HIDDEN = "hidden"  # the input f[B,S,H] of the upper part


def split(backbone, model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """(inputs int32[B,S] -> f[B,S,H]; these and `hidden` -> what the model gives), of the model's own layers: as far as no
    layer is trained. The backbone's layers are frozen as they will be."""
    trained = [layer for layer in sections(backbone)[1] if layer.trainable]
    return _at(keras.tree.flatten(trained[0].input)[0] if trained else sequence_output(backbone), backbone, model, "frozen")


def above_embeddings(backbone, model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The same, cut below the lowest layer of the encoder."""
    return _at(keras.tree.flatten(sections(backbone)[1][0].input)[0], backbone, model, "embeddings")


def _at(cut, backbone, model: keras.Model, name: str) -> tuple[keras.Model, keras.Model]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tensor that becomes this input has another name
        upper = keras.Model({**model.input, HIDDEN: cut}, model.output, name=f"{model.name}_above")
    return keras.Model(backbone.input, cut, name=name), upper
