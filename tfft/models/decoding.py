"""Continues texts: a backbone's own layers over a cache of the keys and values of all tokens so far, one token at a time."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import keras_hub
import tensorflow as tf

from tfft.models.causal_lm import FAMILIES, logit_cap, output_weights
from tfft.models.kernels import replaced
from tfft.models.sampling import Sampling, next_token, not_yet, row_keys, shape_at

Stopped = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Room(NamedTuple):
    """there int32[B,N]: which places of the cache are no padding, the places to come among them; shift int32[B]: how many are
    padding, on the left."""

    there: tf.Tensor
    shift: tf.Tensor


class Decoder:
    """A language model of KerasHub, whose layers, and what stands in their matrices' places, compute."""

    def __init__(self, backbone):
        self.backbone = backbone
        self._of_gpt2 = isinstance(backbone, keras_hub.models.GPT2Backbone)
        self._of_gemma = isinstance(backbone, keras_hub.models.GemmaBackbone)
        if not isinstance(backbone, FAMILIES):
            raise ValueError(f"the layers of a {type(backbone).__name__} are not known")
        self._cap = logit_cap(backbone)

    def caches(self, rows, places) -> list[tf.Tensor]:
        """f[B,2,N,heads,size] of each layer: nothing yet."""
        one = self.backbone
        heads = one.num_heads if self._of_gpt2 else one.num_key_value_heads
        size = getattr(one, "head_dim", None) or one.hidden_dim // (one.num_heads if self._of_gpt2 else one.num_query_heads)
        dtype = keras.backend.standardize_dtype(one.compute_dtype)
        return [tf.zeros(tf.stack([rows, 2, places, heads, size]) if not all(isinstance(n, int) for n in (rows, places))
                         else [rows, 2, places, heads, size], dtype) for _ in range(one.num_layers)]

    def __call__(self, tokens: tf.Tensor, caches: list[tf.Tensor], at: tf.Tensor, room: Room
                 ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(logits float32[B,V] of what follows, caches) of tokens int32[B,T] at the places from `at` on."""
        x, made = self._embedded(tokens, at, room), []
        with replaced(((keras.ops, "slice_update", _put),)):
            for layer, cache in zip(self.backbone.transformer_layers, caches, strict=True):
                if self._of_gemma:
                    x, cache = layer(x, padding_mask=room.there, cache=cache, cache_update_index=at)
                else:
                    x, cache = layer(x, decoder_attention_mask=room.there[:, tf.newaxis], self_attention_cache=cache,
                                     self_attention_cache_update_index=at, training=False)
                made.append(cache)
        return self._logits(self.backbone.layer_norm(x[:, -1:])), made

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

    def _logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """float32[B,V] of f[B,1,H]."""
        table = tf.cast(tf.convert_to_tensor(output_weights(self.backbone)), hidden.dtype)
        if self.backbone.token_embedding.tie_weights:  # on a CPU twice as fast as x times the table
            made = tf.transpose(tf.matmul(table, hidden[:, 0], transpose_b=True))
        else:
            made = tf.matmul(hidden[:, 0], table)
        made = tf.cast(made, tf.float32)
        return self._cap * tf.tanh(made / self._cap) if self._cap else made


def _put(cache: tf.Tensor, start: list, new: tf.Tensor) -> tf.Tensor:
    """f[B,N,heads,size] with f[B,T,heads,size] at the places from start[1] on, which is 0 where T is not 1. TensorFlow's own
    operation for it is XLA's: it is compiled for each shape, and not every server has it."""
    if new.shape[1] == 1:
        here = tf.range(shape_at(cache, 1)) == start[1]
        return tf.where(here[tf.newaxis, :, tf.newaxis, tf.newaxis], new, cache)
    return tf.concat([new, cache[:, shape_at(new, 1):]], axis=1)


def generate(decoder: Decoder, token_ids: tf.Tensor, padding_mask: tf.Tensor, sampling: Sampling, ends: tuple[int, ...], *,
             room: int, beams: int = 1, stopped: Stopped | None = None) -> tf.Tensor:
    """int32[B,room]: what follows prompts int32[B,S], padded on the left; -1 beyond the token that ends an answer.

    ends: such tokens; beams: of a beam search, where above 1; stopped(tokens int32[B,room] so far, how many) -> bool[B]: where
    an answer is at its end besides. Has static shapes where the prompts have, and ends when all answers have.
    """
    if beams > 1:
        from tfft.models.beams import search

        return search(decoder, token_ids, padding_mask, sampling, ends, room=room, beams=beams)
    rows, size = shape_at(token_ids, 0), shape_at(token_ids, 1)
    kept, keys = prepared(token_ids, padding_mask, room), row_keys(token_ids, padding_mask, sampling.seed)
    logits, caches = decoder(token_ids, decoder.caches(rows, size + room), tf.constant(0), kept)
    history = tf.concat([token_ids, tf.fill([rows, room], 0)], axis=1)
    there, most = kept.there > 0, tf.minimum(tf.cast(sampling.max_new_tokens, tf.int32), room)
    number = tf.range(room)[tf.newaxis]

    def chosen(step, logits, history, done, made):
        """With the token of a step."""
        logits = not_yet(logits, ends, step, sampling)
        token = next_token(logits, history, there, size + step, keys, step, sampling)
        made = tf.where((number == step) & ~done[:, tf.newaxis], token[:, tf.newaxis], made)
        history = tf.where(tf.range(size + room)[tf.newaxis] == size + step, token[:, tf.newaxis], history)
        done = done | tf.reduce_any(token[:, tf.newaxis] == tf.constant(ends, tf.int32)[tf.newaxis], axis=1)
        return token, history, done if stopped is None else done | stopped(made, step + 1), made

    def body(step, token, history, done, made, *caches):
        logits, caches = decoder(token[:, tf.newaxis], list(caches), size + step, kept)
        token, history, done, made = chosen(step + 1, logits, history, done, made)
        return step + 1, token, history, done, made, *caches

    token, history, done, made = chosen(0, logits, history, tf.fill([rows], False), tf.fill([rows, room], -1))
    _, _, _, _, made, *_ = tf.while_loop(
        lambda step, token, history, done, *_: (step + 1 < most) & ~tf.reduce_all(done), body,
        [tf.constant(0), token, history, done, made, *caches], parallel_iterations=1)
    return made


def prepared(token_ids: tf.Tensor, padding_mask: tf.Tensor, room: int) -> Room:
    """Of prompts padded on the left, with room for so many tokens."""
    mask = tf.cast(padding_mask, tf.int32)
    there = tf.concat([mask, tf.ones([shape_at(token_ids, 0), room], tf.int32)], axis=1)
    return Room(there, shape_at(token_ids, 1) - tf.reduce_sum(mask, axis=1))
