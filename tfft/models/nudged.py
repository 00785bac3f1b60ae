"""A model whose layers see its embeddings moved, for adversarial training (Miyato et al. 2017); of an encoder-decoder those of
the source."""

import keras
from keras import ops

from tfft.errors import UserError
from tfft.models.adaptation import ENCODER_LAYER

NUDGE = "nudge"


@keras.saving.register_keras_serializable("tfft")
class Nudge(keras.layers.Layer):
    """(f[B,S,H], direction float32[B,S,H], padding_mask int32[B,S]) -> f[B,S,H]: what came in + direction x its length over an
    example's real tokens, through which no gradient goes."""

    def call(self, embedded, direction, padding_mask):
        real = ops.cast(ops.expand_dims(padding_mask, -1), "float32")
        squares = ops.square(ops.cast(ops.stop_gradient(embedded), "float32")) * real
        length = ops.sqrt(ops.sum(squares, axis=(1, 2), keepdims=True))
        return embedded + ops.cast(direction * length, embedded.dtype)


def nudged(model: keras.Model) -> keras.Model:
    """The model, its very layers, with the input "nudge" float32[B,S,H] besides: a direction for what the lowest layer gets. At
    0 it is the model. Raises: UserError where no such layer is found."""
    lowest = next((layer for layer in model.layers if ENCODER_LAYER.search(layer.name)), None)
    if lowest is None:
        raise UserError("config.train.fgm moves what the lowest layers get, and this model has none that are known. Set it "
                        "to 0.")
    direction = keras.Input(keras.tree.flatten(lowest.input)[0].shape[1:], name=NUDGE, dtype="float32")
    with_direction, done = keras.Model({**model.input, NUDGE: direction}, [model.output, direction]), False

    def call(layer, *given, **more):
        nonlocal done
        if layer is lowest and not done:  # which may be all layers of the encoder, in ALBERT
            tokens, *others = given
            given, done = (Nudge(name="nudged")(tokens, direction, model.input["padding_mask"]), *others), True
        return layer(*given, **more)

    made = keras.models.clone_model(with_direction, input_tensors=with_direction.input, clone_function=lambda layer: layer,
                                    call_function=call)
    return keras.Model(made.input, made.output[0], name=model.name)
