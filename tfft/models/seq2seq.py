"""An encoder-decoder as a model of the next token of a target, and its decoding with the source read once."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import keras_hub
import tensorflow as tf

from tfft.errors import UserError
from tfft.models.backbone import load_any
from tfft.models.causal_lm import OUTPUT, NextToken, next_logits
from tfft.models.encoder_decoder import EncoderDecoderBackbone, Shown, encoder_decoder
from tfft.models.from_tensors import of_keras_hub
from tfft.models.prefixes import BiasedSeesPrefix, SeesPrefix
from tfft.models.prompts import Prompted, own_backbone, with_prompt
from tfft.models.sampling import shape_at, zeros
from tfft.models.t5 import NEVER, T5Attention, T5Backbone, hidden_padding

Bart = keras_hub.models.BartBackbone
FAMILIES = (EncoderDecoderBackbone, Bart, T5Backbone)
SHOWN = "decoder_token_ids"  # the input that is a target
INPUTS = ("token_ids", "padding_mask", SHOWN)


def check_seq2seq(backbone) -> None:
    """Raises: UserError where it is none of FAMILIES."""
    if not isinstance(own := own_backbone(backbone), FAMILIES):
        raise UserError(f"config.model.backbone: a {type(own).__name__} is no encoder-decoder that tfft knows. Choose BART, "
                        "T5, or an encoder to make one of (BERT, RoBERTa, XLM-R, DistilBERT, ELECTRA).")


def seq2seq(backbone) -> keras.Model:
    """{"token_ids", "padding_mask" int32[B,S], "decoder_token_ids" int32[B,T]} -> what NextToken makes of f[B,T,H].

    The target's padding needs no mask: what follows a token is not seen by it, and padding is not learnt.
    Raises: UserError where the backbone is no encoder-decoder.
    """
    check_seq2seq(backbone)
    own = own_backbone(backbone)
    inputs, hidden = _of_bart(backbone) if isinstance(own, Bart) else (
        backbone.input, backbone.output["decoder_sequence_output"])
    if isinstance(own, T5Backbone):
        hidden = hidden * backbone.scale
    layer = NextToken(backbone, name=OUTPUT, dtype=backbone.dtype_policy)
    return keras.Model(inputs, layer(hidden), name="seq2seq")


def _of_bart(backbone) -> tuple[dict, keras.KerasTensor]:
    """(inputs, f[B,T,H]): KerasHub's has other names, and a mask of the target."""
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUTS}
    tokens = backbone.token_embedding(inputs["token_ids"])
    read = backbone.encoder_embeddings_add((tokens, backbone.encoder_position_embedding(tokens)))
    read = backbone.encoder_embeddings_dropout(backbone.encoder_embeddings_layer_norm(read))
    mask = inputs["padding_mask"]
    if isinstance(backbone, Prompted):
        read, mask = backbone.prompt(read), with_prompt(mask, backbone.prompt.vectors.shape[0])
    for layer in backbone.encoder_transformer_layers:
        read = layer(read, padding_mask=mask)
    tokens = backbone.token_embedding(Shown(name="shown")(inputs["decoder_token_ids"]))
    x = backbone.decoder_embeddings_add((tokens, backbone.decoder_position_embedding(tokens)))
    x = backbone.decoder_embeddings_dropout(backbone.decoder_embeddings_layer_norm(x))
    for layer in backbone.decoder_transformer_layers:
        x = layer(x, read, encoder_padding_mask=mask)
    return inputs, x


def start_and_ends(tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(the tokens that a target stands behind, those that end it): of BART </s> <s>, as it was pretrained, of T5 its padding;
    of an encoder what its texts begin with: [CLS] to [SEP], <s> to </s>."""
    end = int(tokenizer.end_token_id)
    if isinstance(tokenizer, keras_hub.tokenizers.BartTokenizer):
        return (end, int(tokenizer.start_token_id)), (end,)
    if isinstance(tokenizer, keras_hub.tokenizers.T5Tokenizer):
        return (int(tokenizer.pad_token_id),), (end,)
    return (int(tokenizer.start_token_id),), (end,)


class Heads(NamedTuple):
    """Of an attention, or what stands in its matrices' places. query, key, value: f[B,T,H] -> f[B,T,heads,size]; output: back;
    the scores are multiplied by `scale`; prefix: keys and values f[heads,P,size] that stand before, where there are some."""

    query: Callable
    key: Callable
    value: Callable
    output: Callable
    scale: float
    prefix: list[tf.Tensor] | None = None

    @property
    def length(self) -> int:
        """P"""
        return self.prefix[0].shape[1] if self.prefix else 0

    def behind_prefix(self, keys: tf.Tensor, values: tf.Tensor) -> list[tf.Tensor]:
        """f[B,heads,P+N,size] of both f[B,heads,N,size]."""
        if not self.prefix:
            return [keys, values]
        rows = shape_at(keys, 0)
        return [tf.concat([tf.repeat(before[tf.newaxis], rows, axis=0), own], axis=2)
                for before, own in zip(self.prefix, (keys, values), strict=True)]

    def bias(self, bias: tf.Tensor) -> tf.Tensor:
        """float32[...,P+N] of [...,N]: the prefix is seen by all."""
        return tf.pad(bias, [[0, 0]] * 3 + [[self.length, 0]]) if self.prefix else bias


def _heads(attention) -> Heads:
    own, prefix = attention, None
    if isinstance(attention, (SeesPrefix, BiasedSeesPrefix)):
        own = attention.attention
    of_t5 = isinstance(own, T5Attention)
    query, key, value = (own.query, own.key, own.value) if of_t5 else (own._query_dense, own._key_dense, own._value_dense)
    if own is not attention:
        prefix = [tf.cast(one.seen(), own.compute_dtype) for one in (key, value)]
        prefix = [tf.transpose(tf.reshape(one, [one.shape[0], own.heads, own.size]) if of_t5 else one, [1, 0, 2])
                  for one in prefix]
        key, value = key.layer, value.layer
    if of_t5:
        parts = ((lambda x, of=of: own.apart(of(x))) for of in (query, key, value))
        return Heads(*parts, own.joined, 1.0, prefix)
    return Heads(query, key, value, own._output_dense, own._inverse_sqrt_key_dim, prefix)


class Seq2SeqDecoder:
    """A decoder (tfft.models.decoding) of an encoder-decoder for sources int32[B,S], which it reads once.

    beams: how many targets of each source it is called with, one beside the other. The room's padding is not looked at: a
    target has none on the left.
    """

    def __init__(self, model: keras.Model, token_ids: tf.Tensor, padding_mask: tf.Tensor, beams: int = 1):
        """model: what `seq2seq` made."""
        backbone = model.get_layer(OUTPUT).backbone()
        own = self._backbone = own_backbone(backbone)
        self._beams, self._of_t5 = beams, isinstance(own, T5Backbone)
        self._layers = [(_heads(layer.self_attention if self._of_t5 else layer._self_attention_layer),
                         _heads(layer.cross_attention if self._of_t5 else layer._cross_attention_layer))
                        for layer in own.decoder_transformer_layers]
        read = _encoder(backbone)(token_ids, padding_mask)
        self._sources = [heads.behind_prefix(*(tf.transpose(part(read), [0, 2, 1, 3]) for part in (heads.key, heads.value)))
                         for _, heads in self._layers]
        if isinstance(backbone, Prompted):
            padding_mask = with_prompt(padding_mask, backbone.prompt.vectors.shape[0])
        self._padding = hidden_padding(padding_mask)

    def caches(self, rows, places) -> list[tf.Tensor]:
        """Keys f[B,heads,P+N,size] and values of each layer: the prefix, if it has one, and nothing yet."""
        made = []
        for (heads, _), (keys, _) in zip(self._layers, self._sources, strict=True):
            shape = [rows, keys.shape[1], places, keys.shape[3]]
            made += heads.behind_prefix(*[zeros(shape, keys.dtype)] * 2)
        return made

    def __call__(self, tokens: tf.Tensor, caches: list[tf.Tensor], at: tf.Tensor, room) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(logits float32[B,V] of what follows, caches) of tokens int32[B,T] at the places from `at` on."""
        at = tf.convert_to_tensor(at)
        mine, places = at + tf.range(shape_at(tokens, 1)), tf.range(shape_at(caches[0], 2) - self._layers[0][0].length)
        bias = tf.where(places <= mine[:, tf.newaxis], 0.0, NEVER)[tf.newaxis, tf.newaxis]
        if self._of_t5:
            bias += self._backbone.decoder_bias.at(mine, places)
        x, made = self._embedded(tokens, mine), []
        for number, layer in enumerate(self._backbone.decoder_transformer_layers):
            through = self._through_t5 if self._of_t5 else self._through
            x, new = through(layer, number, x, caches[2 * number:2 * number + 2], at, bias)
            made += new
        last = x[:, -1]
        if self._of_t5:
            last = self._backbone.decoder_layer_norm(last) * self._backbone.scale
        return next_logits(self._backbone, last), made

    def reordered(self, caches: list[tf.Tensor], parents: tf.Tensor) -> list[tf.Tensor]:
        """Those of rows parents int32[B] of `caches`."""
        return [tf.gather(cache, parents) for cache in caches]

    def _embedded(self, tokens: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """f[B,T,H] of tokens at places int32[T]."""
        one = self._backbone
        x = one.token_embedding(tokens)
        if self._of_t5:
            return x
        of_bart = isinstance(one, Bart)
        position = one.decoder_position_embedding if of_bart else one.position_embedding
        x += tf.cast(tf.gather(tf.convert_to_tensor(position.position_embeddings), places), x.dtype)
        if of_bart:
            return one.decoder_embeddings_layer_norm(x)
        if one.segment_embedding is not None:
            x += one.segment_embedding(tf.zeros_like(tokens))
        return one.embeddings_layer_norm(x)

    def _through(self, layer, number: int, x: tf.Tensor, cache: list[tf.Tensor], at: tf.Tensor, bias: tf.Tensor
                 ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(what a TransformerDecoder makes of f[B,T,H], its cache with these tokens)."""
        made, cache = _own(self._layers[number][0], x, cache, at, bias)
        x = layer._self_attention_layer_norm(x + made)
        x = layer._cross_attention_layer_norm(x + self._of_source(number, x))
        inner = layer._feedforward_output_dense(layer._feedforward_intermediate_dense(x))
        return layer._feedforward_layer_norm(x + inner), cache

    def _through_t5(self, layer, number: int, x: tf.Tensor, cache: list[tf.Tensor], at: tf.Tensor, bias: tf.Tensor
                    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The same of a T5Layer."""
        made, cache = _own(self._layers[number][0], layer.self_attention_layer_norm(x), cache, at, bias)
        x += made
        x += self._of_source(number, layer.cross_attention_layer_norm(x))
        return x + layer.feed_forward(layer.feedforward_layer_norm(x)), cache

    def _of_source(self, number: int, x: tf.Tensor) -> tf.Tensor:
        """What attention to the sources makes of f[B,T,H]. The targets of one source ask its keys together."""
        heads, source = self._layers[number][1], self._sources[number]
        query = heads.query(x)
        shape = [shape_at(query, axis) for axis in range(4)]
        asked = tf.transpose(tf.reshape(query, [-1, self._beams * shape[1], *shape[2:]]), [0, 2, 1, 3])
        made = tf.transpose(_attended(asked * heads.scale, *source, heads.bias(self._padding)), [0, 2, 1, 3])
        return heads.output(tf.reshape(made, shape))


def _own(heads: Heads, x: tf.Tensor, cache: list[tf.Tensor], at: tf.Tensor, bias: tf.Tensor
         ) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """(what attention to the tokens so far makes of f[B,T,H], keys and values with these tokens')."""
    query, *new = (tf.transpose(part(x), [0, 2, 1, 3]) for part in heads[:3])
    cache = [_put(old, one, at + heads.length) for old, one in zip(cache, new, strict=True)]
    return heads.output(tf.transpose(_attended(query * heads.scale, *cache, heads.bias(bias)), [0, 2, 1, 3])), cache


def _attended(query: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """softmax(query keys^T + bias) values, f[B,heads,T,size], with probabilities in float32."""
    scores = tf.cast(tf.matmul(query, keys, transpose_b=True), tf.float32) + bias
    return tf.matmul(tf.cast(tf.nn.softmax(scores), values.dtype), values)


def _put(cache: tf.Tensor, new: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """f[B,heads,N,size] with f[B,heads,T,size] at the places from `at` on."""
    shape, count = [shape_at(cache, axis) for axis in range(4)], shape_at(new, 2)
    rows = shape[0] * shape[1]
    places = tf.range(rows)[:, tf.newaxis] * shape[2] + (at + tf.range(count))[tf.newaxis]
    flat = tf.tensor_scatter_nd_update(tf.reshape(cache, [-1, shape[3]]), tf.reshape(places, [-1, 1]),
                                       tf.reshape(new, [-1, shape[3]]))
    return tf.reshape(flat, shape)


def _encoder(backbone) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """(token_ids, padding_mask) -> f[B,S,H]."""
    prefix = "encoder_" if isinstance(own_backbone(backbone), Bart) else ""
    names = [f"{prefix}{name}" for name in ("token_ids", "padding_mask")]
    model = keras.Model({name: backbone.input[name] for name in names}, backbone.output["encoder_sequence_output"])
    return lambda *values: model(dict(zip(names, values, strict=True)), training=False)


def load_seq2seq(preset: str, *, precision: str, dropout: float, layers: int = 0, seed: int = 0):
    """The pretrained encoder-decoder, or one made of an encoder, whose decoder then has so many layers (0: as many as it)
    and a part drawn from the seed. `dropout` -1 keeps its own.

    Raises: UserError where the preset cannot be had, or is neither.
    """
    backbone = load_any(preset, precision=precision, dropout=dropout)
    if isinstance(backbone, keras_hub.models.T5Backbone):
        backbone = of_keras_hub(backbone, precision)
    return backbone if isinstance(backbone, FAMILIES) else encoder_decoder(backbone, layers, seed)
