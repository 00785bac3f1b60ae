"""Prefix tuning (Li & Liang 2021): learnt keys and values that all tokens see besides those of the tokens, in every layer.

Before those of the tokens they stand where attention knows no places. Where it is rotary (Su et al. 2021), and turns queries
and keys by theirs, a prefix is compared with queries before these are turned: it is as near to every token as the token
itself. So neither padding on the left nor other texts in a row nor a window change what it says, and tokens keep their places.
(PEFT's prefix has the places 0 to P-1, and the tokens those from P on: there it is further from later tokens.)
"""

import keras
import tensorflow as tf
from keras import ops

from tfft.config.adaptation import Adaptation
from tfft.errors import UserError
from tfft.models.adapters import Inner, inside, put, seed_of
from tfft.models.causal_attention import ROTARY, Attention, parts
from tfft.models.places import Place, places
from tfft.models.t5 import T5Attention

HIDDEN = -1e9


class SeesPrefix(keras.layers.Layer):
    """Attention whose tokens see what stands before them, whatever its mask says of the others."""

    def __init__(self, attention, length: int):
        super().__init__(name=f"{attention.name}_prefixed", dtype=attention.dtype_policy)
        self.attention, self.length = attention, length
        self.built = True

    def call(self, query, value, attention_mask=None, training=None, **more):
        if attention_mask is not None:
            seen = ops.ones((*ops.shape(attention_mask)[:-1], self.length), attention_mask.dtype)
            attention_mask = ops.concatenate([seen, attention_mask], axis=-1)
        return self.attention(query, value, attention_mask=attention_mask, training=training, **more)


class BiasedSeesPrefix(keras.layers.Layer):
    """The same of T5's attention: what stands before is at no distance, and the bias of it 0."""

    def __init__(self, attention, length: int):
        super().__init__(name=f"{attention.name}_prefixed", dtype=attention.dtype_policy, autocast=False)
        self.attention, self.length = attention, length
        self.built = True

    def call(self, x, source, bias, training=None):
        return self.attention(x, source, ops.pad(bias, [[0, 0]] * 3 + [[self.length, 0]]), training=training)


class Prefix(Inner):
    """Keys, or values, beside those that a matrix of `width` inputs makes."""

    def __init__(self, length: int, width: int, inner: int, shape: tuple[int, int], seed: int, **kwargs):
        """shape: groups and size, what one is."""
        super().__init__(**kwargs)
        self.shape = shape
        self.add_before(length, width, inner, shape[0] * shape[1], seed)

    def seen(self):
        """f[P,groups,size]"""
        return ops.reshape(self.before(), (-1, *self.shape))


class RotaryWithPrefix(keras.layers.Layer):
    """Rotary attention whose tokens see keys and values besides."""

    def __init__(self, attention, config: Adaptation, path: str, seed: int):
        super().__init__(name=f"{attention.name}_prefixed", dtype=attention.dtype_policy)
        self.attention = attention
        own = parts(attention)
        shape, width = tuple(own.key.partial_output_shape[-2:]), own.output.kernel.shape[-1]
        with inside(*path.split("/")):
            self.keys, self.values = (
                Prefix(config.prefix, width, config.bottleneck, shape, seed_of(f"{path}/{name}", seed),
                       name=f"{name}_prefix", dtype=attention.dtype_policy) for name in ("key", "value"))
        self.built = True

    def call(self, hidden_states, attention_mask=None, cache=None, cache_update_index=None, training=None):
        """f[B,S,H] -> the same, with attention_mask [B,S,S]."""
        own, (keys, values) = parts(self.attention), (self.keys.seen(), self.values.seen())
        query, key, value = (part(hidden_states) for part in (own.query, own.key, own.value))
        if own.normalise:
            query, key = own.normalise[0](query), own.normalise[1](key)
        scale, (groups, size) = ops.cast(own.scale, query.dtype), self.keys.shape
        before, query = (self._grouped(each * scale) for each in (query, own.turn(query)))
        scores = ops.concatenate([ops.einsum("bqghd,pgd->bghqp", before, keys),
                                  ops.einsum("bqghd,bkgd->bghqk", query, own.turn(key))], axis=-1)
        scores = ops.cast(scores, "float32")
        scores = own.cap * ops.tanh(scores / own.cap) if own.cap else scores
        shares = ops.cast(ops.softmax(scores + self._hidden(attention_mask, own.window)), value.dtype)
        count = keys.shape[0]
        mixed = ops.einsum("bghqp,pgd->bqghd", shares[..., :count], values) + ops.einsum("bghqk,bkgd->bqghd",
                                                                                       shares[..., count:], value)
        mixed = ops.reshape(mixed, (*ops.shape(mixed)[:2], groups * mixed.shape[3], size))
        return own.output(own.drop(mixed, training=training))

    def _grouped(self, query):
        """f[B,S,heads,size] -> f[B,S,groups,heads of a group,size]"""
        groups, size = self.keys.shape
        return ops.reshape(query, (*ops.shape(query)[:2], groups, query.shape[2] // groups, size))

    def _hidden(self, mask, window: int):
        """float32[B,1,1,S,P+S]: 0 where a token sees another, or the prefix, else HIDDEN."""
        seen = ops.cast(mask, "bool")
        if window:
            place = ops.arange(ops.shape(mask)[-1])
            seen = ops.logical_and(seen, place[None] > place[:, None] - window)
        hidden = ops.where(seen, 0.0, HIDDEN)[:, None, None]
        return ops.pad(hidden, [[0, 0]] * 4 + [[self.keys.tokens.shape[0], 0]])


def put_prefix(layers: list, config: Adaptation, seed: int) -> list:
    """Puts a prefix into every attention of the layers; returns the new weights. Raises: UserError where none is known."""
    found = [place for layer in layers for place in places(layer)
             if isinstance(place.layer, (keras.layers.MultiHeadAttention, T5Attention, *ROTARY))]
    if not found:
        raise UserError("config.adaptation.method=prefix knows the attention of BERT, RoBERTa, DistilBERT, ELECTRA, ALBERT, "
                        "BART, T5 and language models; this backbone has another. Choose lora, which works for all.")
    return [weight for place in found for weight in _put_into(place, config, seed)]


def _put_into(attention: Place, config: Adaptation, seed: int) -> list:
    """Has an attention see a prefix; returns the weights of it."""
    if isinstance(attention.layer, ROTARY):
        made = RotaryWithPrefix(attention.layer, config, attention.path, seed)
        attention.put(made)
        return [*made.keys.trainable_variables, *made.values.trainable_variables]
    weights = []
    for place in places(attention.layer, attention.path.removesuffix(attention.layer.name)):
        if place.layer.name in ("key", "value"):
            weights += put(place, config, seed)
    sees = BiasedSeesPrefix if isinstance(attention.layer, T5Attention) else SeesPrefix
    attention.put(sees(attention.layer, config.prefix))
    return weights


def parts_of(attention) -> tuple[Attention, tuple[tf.Tensor, tf.Tensor] | None]:
    """(the parts of a language model's attention, keys and values f[P,groups,size] of its prefix, if it has one)."""
    if isinstance(attention, RotaryWithPrefix):
        return parts(attention.attention), (attention.keys.seen(), attention.values.seen())
    if not isinstance(attention, SeesPrefix):
        return parts(attention), None
    own = parts(attention.attention)
    return own._replace(key=own.key.layer, value=own.value.layer), (own.key.seen(), own.value.seen())
