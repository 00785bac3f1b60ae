"""Continues texts, one token at a time."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import tensorflow as tf

from tfft.models.sampling import Sampling, column, next_token, not_yet, row_keys, shape_at

Stopped = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Room(NamedTuple):
    """there int32[B,N]: which places of the cache are no padding, the places to come among them; shift int32[B]: how many are
    padding, on the left."""

    there: tf.Tensor
    shift: tf.Tensor


class Decoder(Protocol):
    """What computes the logits of a next token; its caches are whatever it needs of the tokens before."""

    def caches(self, rows, places) -> list[tf.Tensor]:
        """Nothing yet, with room for so many tokens in each of so many rows. A beam search has each prompt several times, one
        beside the other: rows is then a multiple of the prompts."""

    def __call__(self, tokens: tf.Tensor, caches: list[tf.Tensor], at: tf.Tensor, room: Room
                 ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(logits float32[B,V] of what follows, caches) of tokens int32[B,T] at the places from `at` on: first the prompt's,
        from 0 on, then one at a time."""

    def reordered(self, caches: list[tf.Tensor], parents: tf.Tensor) -> list[tf.Tensor]:
        """Those of rows parents int32[B] of `caches`."""


def generate(decoder: Decoder, token_ids: tf.Tensor, padding_mask: tf.Tensor, sampling: Sampling, ends: tuple[int, ...], *,
             room: int, beams: int = 1, stopped: Stopped | None = None,
             asked: tuple[tf.Tensor, tf.Tensor] | None = None, before=0) -> tf.Tensor:
    """int32[B,room]: what follows prompts int32[B,S], padded on the left; -1 beyond the token that ends an answer.

    ends: such tokens; beams: of a beam search, where above 1; stopped(tokens int32[B,room] so far, how many) -> bool[B]: where
    an answer is at its end besides; asked: (tokens, padding mask) on which chance depends, where that is not the prompt: the
    source, where an encoder read it; before, a number or int32[B]: how many of a prompt's last tokens are its answer's first
    ones: with the same seed chance goes on as if all were made at once. An answer is at its end when it has its row's
    max_new_tokens, those before not counted. Has static shapes where the prompts have, and ends when all answers have.
    """
    if beams > 1:
        from tfft.models.beams import search

        return search(decoder, token_ids, padding_mask, sampling, ends, room=room, beams=beams)
    rows, size = shape_at(token_ids, 0), shape_at(token_ids, 1)
    kept, keys = prepared(token_ids, padding_mask, room), _keys(token_ids, padding_mask, sampling.seed, asked, before)
    logits, caches = decoder(token_ids, decoder.caches(rows, size + room), tf.constant(0), kept)
    history = tf.concat([token_ids, tf.fill([rows, room], 0)], axis=1)
    there, most = kept.there > 0, tf.minimum(column(sampling.max_new_tokens, tf.int32)[:, 0], room)
    before = column(before, tf.int32)[:, 0]
    number = tf.range(room)[tf.newaxis]

    def chosen(step, logits, history, done, made):
        """With the token of a step."""
        logits = not_yet(logits, ends, before + step, sampling)
        token = next_token(logits, history, there, size + step, keys, before + step, sampling)
        made = tf.where((number == step) & ~done[:, tf.newaxis], token[:, tf.newaxis], made)
        history = tf.where(tf.range(size + room)[tf.newaxis] == size + step, token[:, tf.newaxis], history)
        done |= tf.reduce_any(token[:, tf.newaxis] == tf.constant(ends, tf.int32)[tf.newaxis], axis=1) | (step + 1 >= most)
        return token, history, done if stopped is None else done | stopped(made, step + 1), made

    def body(step, token, history, done, made, *caches):
        logits, caches = decoder(token[:, tf.newaxis], list(caches), size + step, kept)
        token, history, done, made = chosen(step + 1, logits, history, done, made)
        return step + 1, token, history, done, made, *caches

    token, history, done, made = chosen(0, logits, history, tf.fill([rows], False), tf.fill([rows, room], -1))
    _, _, _, _, made, *_ = tf.while_loop(
        lambda step, token, history, done, *_: ~tf.reduce_all(done), body,
        [tf.constant(0), token, history, done, made, *caches], parallel_iterations=1)
    return made


def _keys(token_ids: tf.Tensor, padding_mask: tf.Tensor, seed, asked: tuple | None, before) -> tf.Tensor:
    return row_keys(*asked, seed) if asked else row_keys(token_ids, padding_mask, seed, before)


def prepared(token_ids: tf.Tensor, padding_mask: tf.Tensor, room: int) -> Room:
    """Of prompts padded on the left, with room for so many tokens."""
    mask = tf.cast(padding_mask, tf.int32)
    there = tf.concat([mask, tf.ones([shape_at(token_ids, 0), room], tf.int32)], axis=1)
    return Room(there, shape_at(token_ids, 1) - tf.reduce_sum(mask, axis=1))
