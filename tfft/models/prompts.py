"""Prompt tuning (Lester et al. 2021): learnt vectors before those of the tokens, which all layers see."""

import re

import keras
import numpy as np
from keras import ops

from tfft.errors import UserError
from tfft.models.t5 import RelativeBias

COMMON = 5000  # a prompt begins as some of so many words, the first ones of the vocabulary, if not as a text


class Prompt(keras.layers.Layer):
    """f[B,S,H] -> f[B,P+S,H]: the learnt vectors, and what came in."""

    def __init__(self, length: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.vectors = self.add_weight((length, width), "zeros", name="vectors")
        self.built = True

    def call(self, inputs):
        shape = (ops.shape(inputs)[0], *self.vectors.shape)
        return ops.concatenate([ops.broadcast_to(self.vectors, shape), inputs], axis=1)

    def compute_output_shape(self, shape):
        return (shape[0], None if shape[1] is None else shape[1] + self.vectors.shape[0], shape[2])


def with_prompt(padding_mask, length: int):
    """int32[B,P+S] of int32[B,S]: the prompt is no padding."""
    return ops.pad(padding_mask, [[0, 0], [length, 0]], constant_values=1)


class Prompted:
    """A backbone whose encoder layers see a prompt; what comes out is of the tokens alone. It has the backbone's attributes
    but for the output, and the layer of the prompt besides."""

    def __init__(self, backbone, encoder: list, length: int):
        """encoder: those of the backbone's layers that are to see it."""
        self._backbone = backbone
        self.input, self.prompt, self._begin = backbone.input, None, None
        seeing, shortened, mask = {id(layer) for layer in encoder}, {}, backbone.input["padding_mask"]
        longer = with_prompt(mask, length)

        def short(value):
            """What another layer than these takes."""
            if id(value) not in shortened:
                return value
            if shortened[id(value)][1] is None:
                shortened[id(value)] = (value, value[:, length:])
            return shortened[id(value)][1]

        def call(layer, *args, **kwargs):
            if id(layer) not in seeing:
                return layer(*keras.tree.map_structure(short, args), **keras.tree.map_structure(short, kwargs))
            tokens, *others = args
            if self.prompt is None:
                self._begin = tokens
                self.prompt = Prompt(length, tokens.shape[-1], name="prompt", dtype=layer.dtype_policy)
            if id(tokens) not in shortened:
                tokens = self.prompt(tokens)
            others, kwargs = keras.tree.map_structure(lambda value: longer if value is mask else value, (others, kwargs))
            made = layer(tokens, *others, **kwargs)
            shortened[id(made)] = (made, None)
            return made

        model = keras.models.clone_model(backbone, input_tensors=backbone.input, clone_function=lambda layer: layer,
                                         call_function=call)
        self.output = keras.tree.map_structure(short, model.output)

    def __getattr__(self, name):
        return getattr(self._backbone, name)

    @property
    def layers(self) -> list:
        return [*self._backbone.layers, self.prompt]

    @property
    def variables(self) -> list:
        return [*self._backbone.variables, *self.prompt.variables]

    @property
    def trainable_variables(self) -> list:
        return [*self._backbone.trainable_variables, *self.prompt.trainable_variables]

    def begin_as(self, tokens: np.ndarray) -> None:
        """Has the prompt begin as what the encoder would see of int[P] tokens."""
        of_source = [name for name in self.input if not name.startswith("decoder_")]
        given = {name: np.ones_like(tokens) if name.endswith("padding_mask") else tokens if name.endswith("token_ids")
                 else np.zeros_like(tokens) for name in of_source}
        lowest = keras.Model({name: self.input[name] for name in of_source}, self._begin)
        made = lowest({name: value[None].astype(np.int32) for name, value in given.items()})
        self.prompt.vectors.assign(ops.cast(made[0], "float32"))


class PromptedSource(Prompted):
    """An encoder-decoder whose encoder reads a prompt before the source, and whose decoder sees what that makes of both (Lester
    et al. 2021 of T5). Tokens keep the places that they have without."""

    def __init__(self, backbone, lowest, length: int):
        """lowest: layer of the encoder."""
        self._backbone = backbone
        self.input, self.prompt, self._begin = backbone.input, None, None
        source = {name.removeprefix("encoder_"): value for name, value in self.input.items()}
        ids, mask = source["token_ids"], source["padding_mask"]
        longer_ids, longer = ops.pad(ids, [[0, 0], [length, 0]]), with_prompt(mask, length)

        def call(layer, *args, **kwargs):
            def long(value):
                if value is ids and isinstance(layer, RelativeBias):  # of so many tokens
                    return longer_ids
                return longer if value is mask else value

            args, kwargs = keras.tree.map_structure(long, (args, kwargs))
            if layer is lowest:
                self._begin = args[0]
                self.prompt = Prompt(length, args[0].shape[-1], name="prompt", dtype=layer.dtype_policy)
                args = (self.prompt(args[0]), *args[1:])
            return layer(*args, **kwargs)

        self.output = keras.models.clone_model(backbone, input_tensors=backbone.input, clone_function=lambda layer: layer,
                                               call_function=call).output


def own_backbone(backbone):
    """The backbone itself, where one with a prompt is given."""
    return backbone._backbone if isinstance(backbone, Prompted) else backbone


def prompt_of(backbone):
    """float32[P,H]: the vectors before its tokens; None where there are none."""
    return backbone.prompt.vectors.value if isinstance(backbone, Prompted) else None


def first_tokens(tokenizer, text: str, length: int, seed: int) -> np.ndarray:
    """int[length]: the tokens of the text, again and again; of '' common words, drawn. Raises: UserError where it has none."""
    if text:
        tokens = np.array(tokenizer(text)).ravel()
        if not len(tokens):
            raise UserError(f"config.adaptation.prompt_text={text!r} has no token. Give it words, or leave it empty.")
        return np.resize(tokens, length)
    words = [token for token in tokenizer.get_vocabulary() if re.fullmatch(r"[▁Ġ]?[^\W\d_]+", token)]
    common = sorted(tokenizer.token_to_id(word) for word in words)[:COMMON]  # byte-level vocabularies are in any order
    return np.random.default_rng(seed).choice(common, length, replace=len(common) < length)
