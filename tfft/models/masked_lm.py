"""The head that guesses hidden tokens: dense, activation and layer norm, then products with the token embeddings, and a bias
(Devlin et al. 2019). Products are taken at hidden places alone, by whoever has the outputs: `logits_at`."""

import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from safetensors import SafetensorError, safe_open

from tfft.errors import UserError
from tfft.models.backbone import preset_file, sequence_output
from tfft.models.packed import packed_encoder

FILE = "masked_lm.safetensors"  # of the head, in a backbone folder in KerasHub's format
DENSE, NORM, OUTPUT = "masked_lm_dense", "masked_lm_norm", "masked_lm_output"
# (layer, variable) -> the names that checkpoints have for it; a dense kernel is transposed there
NAMES = {
    (DENSE, "kernel"): ("cls.predictions.transform.dense.weight", "lm_head.dense.weight", "vocab_transform.weight",
                        "predictions.dense.weight"),
    (DENSE, "bias"): ("cls.predictions.transform.dense.bias", "lm_head.dense.bias", "vocab_transform.bias",
                      "predictions.dense.bias"),
    (NORM, "gamma"): ("cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.gamma",
                      "lm_head.layer_norm.weight", "vocab_layer_norm.weight", "predictions.LayerNorm.weight"),
    (NORM, "beta"): ("cls.predictions.transform.LayerNorm.bias", "cls.predictions.transform.LayerNorm.beta",
                     "lm_head.layer_norm.bias", "vocab_layer_norm.bias", "predictions.LayerNorm.bias"),
    (OUTPUT, "bias"): ("cls.predictions.bias", "cls.predictions.decoder.bias", "lm_head.bias", "lm_head.decoder.bias",
                       "vocab_projector.bias", "predictions.bias"),
}


@keras.saving.register_keras_serializable("tfft")
class AtToken(keras.layers.Layer):
    """(f[B,S,H], token_ids int32[B,S]) -> f[B,H]: where the first token of this id stands; without one the sequence's first."""

    def __init__(self, token: int, **kwargs):
        super().__init__(**kwargs)
        self.token = token

    def call(self, sequence, token_ids):
        place = keras.ops.argmax(keras.ops.cast(keras.ops.equal(token_ids, self.token), "int32"), axis=1)
        chosen = keras.ops.one_hot(place, keras.ops.shape(sequence)[1], dtype=sequence.dtype)
        return keras.ops.matmul(chosen[:, None], sequence)[:, 0]

    def get_config(self):
        return {**super().get_config(), "token": self.token}


@keras.saving.register_keras_serializable("tfft")
class TiedOutput(keras.layers.Layer):
    """f[B,S,E] -> "hidden" float32[B,S,E], "table" float32[V,E], the token embeddings themselves, and "bias" float32[V]."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self._embedding = lambda: embedding  # the backbone has it: here it is no layer of its own
        self.words = int(embedding.input_dim)

    def build(self, shape):
        self.bias = self.add_weight(shape=(self.words,), initializer="zeros", name="bias")

    def call(self, hidden):
        return {"hidden": hidden, "table": keras.ops.cast(self._embedding().embeddings, "float32"),
                "bias": keras.ops.convert_to_tensor(self.bias)}


@keras.saving.register_keras_serializable("tfft")
class WordOutput(TiedOutput):
    """f[B,E] -> logits float32[B,L] of L tokens of the vocabulary: those of `logits_at`, of these alone."""

    def __init__(self, embedding, tokens: tuple[int, ...], **kwargs):
        super().__init__(embedding, **kwargs)
        self.tokens = tokens

    def call(self, hidden):
        table = keras.ops.take(self._embedding().embeddings, self.tokens, axis=0)
        bias = keras.ops.take(self.bias, self.tokens, axis=0)
        return keras.ops.matmul(hidden, keras.ops.transpose(keras.ops.cast(table, "float32"))) + bias


def _gelu(x):
    return keras.activations.gelu(x, approximate=True)  # as KerasHub's encoders have it


def masked_lm(backbone, seed: int) -> keras.Model:
    """{inputs int32[B,S]} -> what TiedOutput makes. The head is drawn as BERT's own is, until `load_head`."""
    outputs = TiedOutput(backbone.token_embedding, name=OUTPUT)(_transformed(sequence_output(backbone), backbone, seed))
    return keras.Model(backbone.input, outputs, name="masked_lm")


def word_classifier(backbone, mask: int, tokens: tuple[int, ...], seed: int) -> keras.Model:
    """{inputs int32[B,S]} -> logits float32[B,L]: how well each of L tokens fits where the mask stands, by the same head
    (Schick & Schütze 2021)."""
    hidden = AtToken(mask, name="at_mask", dtype="float32")(sequence_output(backbone), backbone.input["token_ids"])
    outputs = WordOutput(backbone.token_embedding, tokens, name=OUTPUT)(_transformed(hidden, backbone, seed))
    return keras.Model(backbone.input, outputs, name="classifier")


def _transformed(hidden, backbone, seed: int):
    """f[...,H] -> float32[...,E]"""
    dense = keras.layers.Dense(int(backbone.token_embedding.output_dim), activation=_gelu, name=DENSE, dtype="float32",
                               kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02, seed=seed))
    return keras.layers.LayerNormalization(epsilon=1e-12, name=NORM, dtype="float32")(dense(hidden))


def packed_masked_lm(model: keras.Model, backbone) -> keras.Model:
    """The same model, of the same weights, of rows that several texts share. Raises: UserError; see packed_encoder."""
    inputs, x = packed_encoder(backbone)
    for name in (DENSE, NORM, OUTPUT):
        x = model.get_layer(name)(x)
    return keras.Model(inputs, x, name="masked_lm")


def logits_at(outputs: dict[str, tf.Tensor], places: tf.Tensor) -> tf.Tensor:
    """float32[B,P,V] of places int32[B,P]."""
    hidden = tf.gather(outputs["hidden"], places, batch_dims=1)
    return tf.matmul(hidden, outputs["table"], transpose_b=True) + outputs["bias"]


def read_head(preset: str) -> dict[str, np.ndarray]:
    """What a checkpoint has of such a head, by the names of BERT's checkpoints, whatever its own are.

    Raises: UserError where the checkpoint cannot be read.
    """
    found = {}
    for path in _files(preset):
        try:
            with safe_open(str(path), "np") as file:
                known = set(file.keys())
                for names in NAMES.values():
                    if there := [name for name in names if name in known]:
                        found[names[0]] = file.get_tensor(there[0]).astype("float32")
        except (OSError, SafetensorError) as error:
            raise UserError(f"Cannot read {path}: {error}. Copy the model anew.") from error
    return found if len(found) == len(NAMES) else {}


def load_head(model: keras.Model, preset: str) -> bool:
    """Puts the head that a checkpoint has into the model; whether it has one, whole and of this shape. Raises: UserError."""
    return put_head(model, read_head(preset))


def put_head(model: keras.Model, found: dict[str, np.ndarray]) -> bool:
    """The same of what `head_weights` gave."""
    own = head_weights(model)
    if {name: value.shape for name, value in found.items()} != {name: value.shape for name, value in own.items()}:
        return False
    for (layer, name), names in NAMES.items():
        value = found[names[0]]
        getattr(model.get_layer(layer), name).assign(value.T if value.ndim == 2 else value)
    return True


def head_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """The same of a model."""
    made = {names[0]: getattr(model.get_layer(layer), name).numpy() for (layer, name), names in NAMES.items()}
    return {name: value.T.copy() if value.ndim == 2 else value for name, value in made.items()}


def _files(preset: str) -> list[Path]:
    """The safetensors files of a preset that may have a head."""
    index = preset_file(preset, "model.safetensors.index.json")
    names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values())) if index else ["model.safetensors", FILE]
    return [path for name in names if (path := preset_file(preset, name))]
