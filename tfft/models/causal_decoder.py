"""A language model's next tokens: KerasHub's layers, with attention of our own over the keys and values of all tokens so far.

KerasHub's own attention with a cache repeats the keys of a group for each of its heads, and copies keys and values of all
tokens in each step. Here they stand apart, the heads of a group are the rows of one matrix, and a step writes one column.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import keras_hub
import tensorflow as tf

from tfft.models.causal_attention import Attention
from tfft.models.causal_lm import FAMILIES, next_logits
from tfft.models.decoding import Room
from tfft.models.prefixes import HIDDEN, parts_of
from tfft.models.prompts import own_backbone, prompt_of
from tfft.models.sampling import shape_at, zeros


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
        self.backbone, self._prompt = own_backbone(backbone), prompt_of(backbone)
        if not isinstance(self.backbone, FAMILIES):
            raise ValueError(f"the layers of a {type(backbone).__name__} are not known")
        self._of_gpt2 = isinstance(self.backbone, keras_hub.models.GPT2Backbone)
        self._of_gemma = isinstance(self.backbone, keras_hub.models.GemmaBackbone)
        self._groups = self.backbone.num_heads if self._of_gpt2 else self.backbone.num_key_value_heads
        self._heads = self.backbone.num_heads if self._of_gpt2 else self.backbone.num_query_heads
        self._size = getattr(self.backbone, "head_dim", None) or self.backbone.hidden_dim // self._heads
        self._dtype = keras.backend.standardize_dtype(self.backbone.compute_dtype)
        self._layer = _layer_of_gpt2 if self._of_gpt2 else _layer_of_gemma if self._of_gemma else _layer_of_llama
        attentions = [layer.attention if self._of_gemma else layer._self_attention_layer
                      for layer in self.backbone.transformer_layers]
        self._attentions, prefixes = zip(*map(parts_of, attentions), strict=True)
        self._prefixes = [prefix and tuple(tf.transpose(tf.cast(each, self._dtype), [1, 0, 2]) for each in prefix)
                          for prefix in prefixes]  # f[groups,P,size]

    def caches(self, rows, places) -> list[tf.Tensor]:
        """Keys f[B x groups,N,size] and values of the same shape, of each layer. A prompt has places of its own; a prefix,
        the same for all rows, is in no cache."""
        shape = [rows * self._groups, places + self._before, self._size]
        return [zeros(shape, self._dtype) for _ in range(2 * len(self._attentions))]

    def __call__(self, tokens: tf.Tensor, caches: list[tf.Tensor], at: tf.Tensor, room: Room
                 ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        x, there = self._embedded(tokens, at, room), room.there
        if self._prompt is not None:
            x, at, there = self._after_prompt(x, at, room)
        rows, count, single = shape_at(x, 0), shape_at(x, 1), x.shape[1] == 1
        x, made = tf.reshape(x, [-1, x.shape[-1]]), []  # a row of one matrix is a token
        places = Places(at, rows, count, single, self._angles(count, at),
                        _hidden(at, count, there if single else there[:, :count]))
        for layer, own, prefix, keys, values in zip(self.backbone.transformer_layers, self._attentions, self._prefixes,
                                                    caches[::2], caches[1::2], strict=True):
            cache = [keys, values]
            x = self._layer(layer, x, functools.partial(self._attend, own, prefix, cache, places))
            made += cache
        last = tf.reshape(x, [rows, count, x.shape[-1]])[:, -1]
        return next_logits(self.backbone, self.backbone.layer_norm(last)), made

    def reordered(self, caches: list[tf.Tensor], parents: tf.Tensor) -> list[tf.Tensor]:
        rows = tf.reshape(parents[:, tf.newaxis] * self._groups + tf.range(self._groups), [-1])
        return [tf.gather(cache, rows) for cache in caches]

    @property
    def _before(self) -> int:
        """How many vectors the prompt has."""
        return 0 if self._prompt is None else self._prompt.shape[0]

    def _after_prompt(self, x: tf.Tensor, at: tf.Tensor, room: Room) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(f[B,T,H] with the prompt's P vectors between padding and tokens at the beginning, the place of the first one,
        Room.there with P places more)."""
        rows, count = shape_at(x, 0), shape_at(x, 1)
        there = tf.pad(room.there, [[0, 0], [0, self._before]], constant_values=1)
        if tf.get_static_value(at) != 0:
            return x, at + self._before, there
        both = tf.concat([tf.repeat(tf.cast(self._prompt, x.dtype)[tf.newaxis], rows, axis=0), x], axis=1)
        place, shift = tf.range(self._before + count)[tf.newaxis], room.shift[:, tf.newaxis]
        chosen = tf.where(place < shift, place + self._before, tf.where(place < shift + self._before, place - shift, place))
        return tf.gather(both, chosen, batch_dims=1), at, there

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
        cos, sin = turn._compute_cos_sin_embedding(tf.zeros([1, count, 1, self._size], self._dtype), start_index=at)
        half = self._size // 2
        return cos, sin * tf.constant([-1.0] * half + [1.0] * half, sin.dtype)

    def _attend(self, own: Attention, prefix: tuple[tf.Tensor, tf.Tensor] | None, cache: list[tf.Tensor], places: Places,
                x: tf.Tensor) -> tf.Tensor:
        """f[B x T,H] -> the same. Changes the two of `cache` for those with the tokens' keys and values."""
        query, key, value = (part(x[tf.newaxis]) for part in (own.query, own.key, own.value))
        if own.normalise:
            query, key = own.normalise[0](query), own.normalise[1](key)
        asked = query
        if places.angles is not None:
            query, key = self._turned(query, key, places)
        scale, seen = tf.cast(own.scale, query.dtype), []
        query = self._apart(query * scale, places)
        for place, new in enumerate((key, value)):
            cache[place], used = _put(cache[place], self._apart(new, places), places)
            seen.append(used)
        scores, hidden = tf.matmul(query, seen[0], transpose_b=True), places.hidden(own.window)
        length = prefix[0].shape[1] if prefix else 0
        if prefix:
            scores = tf.concat([self._times(self._apart(asked * scale, places), prefix[0], True), scores], axis=-1)
            hidden = tf.pad(hidden, [[0, 0]] * 3 + [[length, 0]])
        scores = tf.cast(scores, tf.float32)
        scores = own.cap * tf.tanh(scores / own.cap) if own.cap else scores
        width = shape_at(scores, 2)
        scores = tf.reshape(scores, [places.rows, self._heads, places.count, width])
        shares = tf.cast(tf.nn.softmax(scores + hidden), x.dtype)
        shares = tf.reshape(shares, [places.rows * self._groups, -1, width])
        mixed = tf.matmul(shares[..., length:], seen[1])
        if prefix:
            mixed += self._times(shares[..., :length], prefix[1])
        if not places.single:
            mixed = tf.transpose(tf.reshape(mixed, [places.rows, self._heads, places.count, self._size]), [0, 2, 1, 3])
        return own.output(tf.reshape(mixed, [1, -1, self._heads, self._size]))[0]

    def _times(self, x: tf.Tensor, of_groups: tf.Tensor, transpose: bool = False) -> tf.Tensor:
        """f[B x groups,n,a] times f[groups,a,b], or the transpose of f[groups,b,a] -> f[B x groups,n,b]"""
        made = tf.matmul(tf.reshape(x, [-1, self._groups, *_last_two(x)]), of_groups, transpose_b=transpose)
        return tf.reshape(made, [-1, *_last_two(made)])

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


def _last_two(x: tf.Tensor) -> tuple:
    """Its sizes."""
    return shape_at(x, -2), shape_at(x, -1)


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
