"""An encoder that was pretrained alone -> an encoder-decoder, whose decoder begins as its layers (Rothe et al. 2020,
"Leveraging pre-trained checkpoints for sequence generation tasks"; BERT2BERT, with one table of embeddings for both)."""

import json

import keras
import keras_hub
import numpy as np
from keras import ops

from tfft.errors import UserError

models = keras_hub.models
ENCODERS = (models.BertBackbone, models.RobertaBackbone, models.DistilBertBackbone, models.ElectraBackbone)
NEW = 0.02  # deviation of what no layer of the encoder has


@keras.saving.register_keras_serializable("tfft")
class Shown(keras.layers.Layer):
    """int32[B,T] -> int32[B,t]: what a decoder is shown of targets, -1 beyond them; where shapes are not static no more tokens
    than the longest has. [[7 8 -1 -1] [7 -1 -1 -1]] -> [[7 8] [7 0]]"""

    def call(self, tokens):
        if tokens.shape[0] is None:
            tokens = tokens[:, :ops.max(ops.sum(ops.cast(tokens >= 0, "int32"), axis=1))]
        return ops.maximum(tokens, 0)

    def compute_output_spec(self, tokens):
        return keras.KerasTensor((tokens.shape[0], None), "int32")


@keras.saving.register_keras_serializable("tfft")
class EncoderDecoderBackbone(models.Backbone):
    """{"token_ids", "padding_mask" int32[B,S], "decoder_token_ids" int32[B,T]} -> "encoder_sequence_output" f[B,S,H],
    "decoder_sequence_output" f[B,T,H]. Tokens of the decoder see those before them, and all of the source that is no padding.

    The embeddings of tokens, positions and segments are one and the same for both; the segment is always 0. The encoder's
    layers become layers of this model, as they are.
    """

    def __init__(self, encoder, num_decoder_layers: int, dtype=None, **kwargs):
        """encoder: one of ENCODERS, or what its get_config says, for a model of random weights."""
        if isinstance(encoder, dict):
            encoder = keras.saving.deserialize_keras_object(encoder)
        check_encoder(encoder)
        self.token_embedding = encoder.token_embedding
        own = encoder.embeddings if hasattr(encoder, "embeddings") else encoder
        self.position_embedding = own.position_embedding
        self.segment_embedding = getattr(encoder, "segment_embedding", None)
        self.embeddings_layer_norm, self.embeddings_dropout = encoder.embeddings_layer_norm, encoder.embeddings_dropout
        self.transformer_layers = list(encoder.transformer_layers)
        self.decoder_transformer_layers = [_decoder_layer(self.transformer_layers[0], f"transformer_decoder_layer_{i}")
                                           for i in range(num_decoder_layers)]
        inputs = {name: keras.Input((None,), dtype="int32", name=name)
                  for name in ("token_ids", "padding_mask", "decoder_token_ids")}

        def embedded(token_ids):
            if own is not encoder:
                x = own(token_ids)
            else:
                tokens = encoder.token_embedding(token_ids)
                x = encoder.embeddings_add((tokens, encoder.position_embedding(tokens),
                                            encoder.segment_embedding(ops.zeros_like(token_ids))))
            return encoder.embeddings_dropout(encoder.embeddings_layer_norm(x))

        read, x = embedded(inputs["token_ids"]), embedded(Shown(name="shown")(inputs["decoder_token_ids"]))
        for layer in self.transformer_layers:
            read = layer(read, padding_mask=inputs["padding_mask"])
        for layer in self.decoder_transformer_layers:
            x = layer(x, read, encoder_padding_mask=inputs["padding_mask"])
        super().__init__(inputs, {"encoder_sequence_output": read, "decoder_sequence_output": x},
                         dtype=dtype or encoder.dtype_policy, **kwargs)
        self.num_layers, self.num_decoder_layers = len(self.transformer_layers), num_decoder_layers
        self.num_heads, self.hidden_dim, self.dropout = encoder.num_heads, encoder.hidden_dim, encoder.dropout
        self.intermediate_dim, self.max_sequence_length = encoder.intermediate_dim, encoder.max_sequence_length
        self.vocabulary_size = int(encoder.token_embedding.input_dim)
        self._encoder = json.dumps(keras.saving.serialize_keras_object(encoder))

    def get_config(self):
        return {**super().get_config(), "encoder": json.loads(self._encoder), "num_decoder_layers": self.num_decoder_layers}

    @classmethod
    def from_config(cls, config):
        if "dtype" in config:
            encoder = config["encoder"]
            config = {**config, "encoder": {**encoder, "config": {**encoder["config"], "dtype": config["dtype"]}}}
        return super().from_config(config)


def check_encoder(encoder) -> None:
    """Raises: UserError where it is none of ENCODERS, or its embeddings are not as wide as its layers."""
    known = "Choose a BERT (MiniLM, E5), RoBERTa, XLM-R, DistilBERT or ELECTRA, or an encoder-decoder: BART or T5."
    if not isinstance(encoder, ENCODERS):
        raise UserError(f"config.model.backbone: no decoder can be made of the layers of a {type(encoder).__name__}. {known}")
    width = int(encoder.token_embedding.output_dim)
    if width != encoder.hidden_dim:
        raise UserError(f"config.model.backbone: this {type(encoder).__name__} has embeddings of width {width} below layers of "
                        f"width {encoder.hidden_dim}, so that they cannot be what its decoder chooses words by. {known}")


def _decoder_layer(encoder_layer, name: str):
    """A layer of a decoder with all that one of the encoder has, and attention to the source besides."""
    stated = encoder_layer.get_config()
    kept = ("intermediate_dim", "num_heads", "dropout", "activation", "layer_norm_epsilon", "normalize_first")
    return keras_hub.layers.TransformerDecoder(
        **{name: stated[name] for name in kept}, kernel_initializer=keras.initializers.TruncatedNormal(stddev=NEW),
        dtype=encoder_layer.dtype_policy, name=name)


def encoder_decoder(encoder, layers: int, seed: int) -> EncoderDecoderBackbone:
    """The encoder and a decoder of so many layers, 0: of as many. They begin as the encoder's, where there are fewer as ones
    evenly spaced from the lowest to the highest (as Shleifer & Rush 2020 shrink decoders): neighbours do nearly the same.

    Attention to the source is drawn from the seed. Its norm begins so that it lets through what comes in.
    12 layers, of which 4 -> 0 4 7 11
    Raises: UserError where the encoder has fewer, or is none of ENCODERS.
    """
    check_encoder(encoder)
    if layers > encoder.num_layers:
        raise UserError(f"config.task.decoder_layers={layers}: this {type(encoder).__name__} has {encoder.num_layers} to begin "
                        "as. Set at most so many; 0 takes all.")
    made = EncoderDecoderBackbone(encoder, layers or encoder.num_layers)
    draw = np.random.default_rng(seed)
    for number, layer in zip(spaced(encoder.num_layers, made.num_decoder_layers), made.decoder_transformer_layers, strict=True):
        _begin_as(layer, made.transformer_layers[number], draw)
    return made


def spaced(count: int, chosen: int) -> list[int]:
    """So many of `count` numbers, evenly spaced: 6, 3 -> [0, 2, 5]"""
    return [round(float(place)) for place in np.linspace(0, count - 1, chosen)]


def _begin_as(layer, encoder_layer, draw: np.random.Generator) -> None:
    """Gives a layer of the decoder the weights of one of the encoder, and draws those of its attention to the source."""
    own, cross, norm = layer._self_attention_layer, layer._cross_attention_layer, layer._self_attention_layer_norm
    pairs = [(own, encoder_layer._self_attention_layer), (norm, encoder_layer._self_attention_layer_norm),
             (layer._feedforward_intermediate_dense, encoder_layer._feedforward_intermediate_dense),
             (layer._feedforward_output_dense, encoder_layer._feedforward_output_dense),
             (layer._feedforward_layer_norm, encoder_layer._feedforward_layer_norm)]
    for mine, theirs in pairs:
        for variable, value in zip(mine.trainable_variables, theirs.trainable_variables, strict=True):
            variable.assign(value)
    for variable in cross.trainable_variables:
        kernel = len(variable.shape) > 1 and not variable.path.endswith("bias")
        variable.assign(np.clip(draw.normal(0, NEW, variable.shape), -2 * NEW, 2 * NEW) if kernel else np.zeros(variable.shape))
    # what comes in is u gamma + beta for values u of mean 0 and variance 1: one of this mean and deviation leaves it as it is
    gamma, beta = norm.gamma.numpy(), norm.beta.numpy()
    deviation = float(np.sqrt(np.mean(gamma**2) + np.var(beta)))
    layer._cross_attention_layer_norm.gamma.assign(np.full(gamma.shape, deviation))
    layer._cross_attention_layer_norm.beta.assign(np.full(beta.shape, float(np.mean(beta))))
