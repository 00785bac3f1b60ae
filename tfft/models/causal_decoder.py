"""A language model's next tokens: KerasHub's layers, with attention of our own over the keys and values of all tokens so far.

KerasHub's own attention with a cache repeats the keys of a group for each of its heads, and copies keys and values of all
tokens in each step. Here they stand apart, the heads of a group are the rows of one matrix, and a step writes one column.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import keras_hub
import tensorflow as tf

from tfft.models.causal_lm import FAMILIES, next_logits
from tfft.models.decoding import Room
from tfft.models.sampling import shape_at, zeros

HIDDEN = -1e9


class Attention(NamedTuple):
    """What an attention layer is made of. normalise: of queries and keys, where they are normalised; turn: its rotary layer,
    where it has one; window: how many tokens each sees, 0: all; cap: what scores are held below by a tanh, 0: nothing."""

    query: keras.layers.Layer
    key: keras.layers.Layer
    value: keras.layers.Layer
    output: keras.layers.Layer
    scale: float
    normalise: tuple[Callable, Callable] | None = None
    turn: keras.layers.Layer | None = None
    window: int = 0
    cap: float = 0.0


class Places(NamedTuple):
    """Where tokens int32[B,T] stand, for all layers. at: the first one's place; single: whether each row has one; angles: cos
    and sin f[1,T,1,size], the latter with the sign that it has in each half; hidden(window) float32[B,1,T,N]: 0 where a token
    sees a place, else HIDDEN."""

    at: tf.Tensor
    rows: int | tf.Tensor
    count: int | tf.Tensor
    single: bool
    angles: tuple[tf.Tensor, tf.Tensor] | None
    hidden: Callable[[int], tf.Tensor]


class CausalDecoder:
    """A language model of KerasHub, whose layers, and what stands in their matrices' places, compute."""

    def __init__(self, backbone):
        if not isinstance(backbone, FAMILIES):
            raise ValueError(f"the layers of a {type(backbone).__name__} are not known")
        self.backbone = backbone
        self._of_gpt2 = isinstance(backbone, keras_hub.models.GPT2Backbone)
        self._of_gemma = isinstance(backbone, keras_hub.models.GemmaBackbone)
        self._groups = backbone.num_heads if self._of_gpt2 else backbone.num_key_value_heads
        self._heads = backbone.num_heads if self._of_gpt2 else backbone.num_query_heads
        self._size = getattr(backbone, "head_dim", None) or backbone.hidden_dim // self._heads
        kind, self._layer = ((_gpt2, _layer_of_gpt2) if self._of_gpt2 else (_gemma, _layer_of_gemma) if self._of_gemma
                             else (_llama, _layer_of_llama))
        self._attentions = [kind(layer) for layer in backbone.transformer_layers]

    def caches(self, rows, places) -> list[tf.Tensor]:
        """Keys f[B x groups,N,size] and values of the same shape, of each layer."""
        shape = [rows * self._groups, places, self._size]
        dtype = keras.backend.standardize_dtype(self.backbone.compute_dtype)
        return [zeros(shape, dtype) for _ in range(2 * len(self._attentions))]

    def __call__(self, tokens: tf.Tensor, caches: list[tf.Tensor], at: tf.Tensor, room: Room
                 ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        x = self._embedded(tokens, at, room)
        rows, count = shape_at(tokens, 0), shape_at(tokens, 1)
        x, made = tf.reshape(x, [-1, x.shape[-1]]), []  # a row of one matrix is a token
        single = tokens.shape[1] == 1
        places = Places(at, rows, count, single, self._angles(count, at),
                        _hidden(at, count, room.there if single else room.there[:, :count]))
        for layer, own, keys, values in zip(self.backbone.transformer_layers, self._attentions, caches[::2], caches[1::2],
                                            strict=True):
            cache = [keys, values]
            x = self._layer(layer, x, lambda x, own=own, cache=cache: self._attend(own, x, cache, places))
            made += cache
        last = tf.reshape(x, [rows, count, x.shape[-1]])[:, -1]
        return next_logits(self.backbone, self.backbone.layer_norm(last)), made

    def reordered(self, caches: list[tf.Tensor], parents: tf.Tensor) -> list[tf.Tensor]:
        rows = tf.reshape(parents[:, tf.newaxis] * self._groups + tf.range(self._groups), [-1])
        return [tf.gather(cache, rows) for cache in caches]

    def _embedded(self, tokens: tf.Tensor, at: tf.Tensor, room: Room) -> tf.Tensor:
        one = self.backbone
        x = one.token_embedding(tokens)
        if self._of_gemma:  # as its backbone has it
            return x * tf.cast(float(one.hidden_dim) ** 0.5, x.dtype)
        if self._of_gpt2:
            places = tf.maximum(at + tf.range(shape_at(tokens, 1)) - room.shift[:, tf.newaxis], 0)
            table = tf.cast(tf.convert_to_tensor(one.position_embedding.position_embeddings), x.dtype)
            return one.embeddings_add((x, tf.gather(table, places)))
        return x

    def _angles(self, count, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor] | None:
        """All layers of a model turn alike."""
        if (turn := self._attentions[0].turn) is None:
            return None
        dtype = keras.backend.standardize_dtype(self.backbone.compute_dtype)
        cos, sin = turn._compute_cos_sin_embedding(tf.zeros([1, count, 1, self._size], dtype), start_index=at)
        half = self._size // 2
        return cos, sin * tf.constant([-1.0] * half + [1.0] * half, sin.dtype)

    def _attend(self, own: Attention, x: tf.Tensor, cache: list[tf.Tensor], places: Places) -> tf.Tensor:
        """f[B x T,H] -> the same. Changes the two of `cache` for those with the tokens' keys and values."""
        groups, size = self._groups, self._size
        query, key, value = (part(x[tf.newaxis]) for part in (own.query, own.key, own.value))
        if own.normalise:
            query, key = own.normalise[0](query), own.normalise[1](key)
        if places.angles is not None:
            query, key = self._turned(query, key, places)
        query = self._apart(query * tf.cast(own.scale, query.dtype), places)
        seen = []
        for place, new in enumerate((key, value)):
            cache[place], used = _put(cache[place], self._apart(new, places), places)
            seen.append(used)
        scores = tf.cast(tf.matmul(query, seen[0], transpose_b=True), tf.float32)
        scores = own.cap * tf.tanh(scores / own.cap) if own.cap else scores
        scores = tf.reshape(scores, [places.rows, self._heads, places.count, shape_at(seen[0], 1)])
        shares = tf.cast(tf.nn.softmax(scores + places.hidden(own.window)), x.dtype)
        shares = tf.reshape(shares, [places.rows * groups, -1, shape_at(seen[0], 1)])
        mixed = tf.matmul(shares, seen[1])
        if not places.single:
            mixed = tf.transpose(tf.reshape(mixed, [places.rows, self._heads, places.count, size]), [0, 2, 1, 3])
        return own.output(tf.reshape(mixed, [1, -1, self._heads, size]))[0]

    def _turned(self, query: tf.Tensor, key: tf.Tensor, places: Places) -> tuple[tf.Tensor, tf.Tensor]:
        """Queries and keys f[1,B x T,heads,size] at their places (Su et al. 2021). Gemma's have their halves one in the other
        besides, which no product of the two sees."""
        both = tf.reshape(tf.concat([query, key], axis=2), [places.rows, places.count, -1, self._size])
        cos, sin = places.angles
        first, second = tf.split(both, 2, axis=-1)
        both = both * cos + tf.concat([second, first], axis=-1) * sin
        return tuple(tf.split(both, [self._heads, self._groups], axis=2))

    def _apart(self, x: tf.Tensor, places: Places) -> tf.Tensor:
        """f[...], B x T x heads x size values -> [B x groups, heads of a group x T, size]"""
        if not places.single:
            x = tf.transpose(tf.reshape(x, [places.rows, places.count, -1, self._size]), [0, 2, 1, 3])
        return tf.reshape(x, [places.rows * self._groups, -1, self._size])


def _hidden(at: tf.Tensor, count, there: tf.Tensor) -> Callable[[int], tf.Tensor]:
    """`Places.hidden` of the places of which `there` int32[B,N] tells."""
    here, place, made = at + tf.range(count)[:, tf.newaxis], tf.range(shape_at(there, 1)), {}

    def hidden(window: int) -> tf.Tensor:
        if window not in made:
            seen = (place <= here) & (place > here - window) if window else place <= here
            made[window] = tf.where((there > 0)[:, tf.newaxis, tf.newaxis] & seen, 0.0, HIDDEN)
        return made[window]

    return hidden


def _put(cache: tf.Tensor, new: tf.Tensor, places: Places) -> tuple[tf.Tensor, tf.Tensor]:
    """(f[B x groups,N,size] with the new ones, those of them that are seen). Several come at once at the beginning alone."""
    if not places.single:
        return tf.concat([new, cache[:, places.count:]], axis=1), new
    rows = tf.range(shape_at(cache, 0))
    cache = tf.tensor_scatter_nd_update(cache, tf.stack([rows, tf.fill(tf.shape(rows), places.at)], axis=1), new[:, 0])
    return cache, cache


def _llama(layer) -> Attention:
    """Of Llama, Mistral, Qwen 2 and 3, which differ in whether and where they keep a window."""
    own = layer._self_attention_layer
    used = getattr(own, "use_sliding_window_attention", True)
    window = getattr(own, "sliding_window_size", None) or getattr(layer, "sliding_window", None)
    normalise = (own._query_dense_layer_norm, own._key_dense_layer_norm) if hasattr(own, "_query_dense_layer_norm") else None
    return Attention(own._query_dense, own._key_dense, own._value_dense, own._output_dense, own._inv_norm_factor, normalise,
                     own.rotary_embedding_layer, (window or 0) if used else 0)


def _gemma(layer) -> Attention:
    own = layer.attention
    width = own.head_dim if own.query_head_dim_normalize else own.hidden_dim // own.num_query_heads
    return Attention(own.query_dense, own.key_dense, own.value_dense, own.output_dense, width ** -0.5, None, own.rope_layer,
                     own.sliding_window_size if own.use_sliding_window_attention else 0, own.logit_soft_cap or 0.0)


def _gpt2(layer) -> Attention:
    own = layer._self_attention_layer
    return Attention(own._query_dense, own._key_dense, own._value_dense, own._output_dense, own._key_dim ** -0.5)


def _layer_of_llama(layer, x: tf.Tensor, attend: Callable) -> tf.Tensor:
    x += attend(layer._self_attention_layernorm(x))
    y = layer._feedforward_layernorm(x)
    gate = layer.activation(tf.cast(layer._feedforward_gate_dense(y), tf.float32))
    return x + layer._feedforward_output_dense(layer._feedforward_intermediate_dense(y) * tf.cast(gate, x.dtype))


def _layer_of_gemma(layer, x: tf.Tensor, attend: Callable) -> tf.Tensor:
    y = attend(layer.pre_attention_norm(x))
    x += layer.post_attention_norm(y) if layer.use_post_attention_norm else y
    y = layer.pre_ffw_norm(x)[tf.newaxis]
    y = layer.ffw_linear(keras.activations.gelu(layer.gating_ffw(y), approximate=True) * layer.gating_ffw_2(y))[0]
    return x + (layer.post_ffw_norm(y) if layer.use_post_ffw_norm else y)


def _layer_of_gpt2(layer, x: tf.Tensor, attend: Callable) -> tf.Tensor:
    x += attend(layer._self_attention_layer_norm(x))
    return x + layer._feedforward_output_dense(layer._feedforward_intermediate_dense(layer._feedforward_layer_norm(x)))
