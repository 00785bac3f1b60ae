"""Conversations and texts -> tokens, and which of them are learnt; in the graph: what training, evaluation, prediction and
exports use alike."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import cleaned, string_array
from tfft.models.special_tokens import escape, with_special_tokens
from tfft.tasks.causal_lm.rendering import Rendering

BLANKS = r"^[\s\pZ]+|[\s\pZ]+$"


class ConversationEncoder(tf.Module):
    """The Encoder of language models. A row is in parts, each learnt or not, that are tokenised by themselves, as an answer is
    made behind a prompt; a conversation is cut at max_length, a plain text becomes several examples, `overlap` tokens of which
    are in the one before.

    Examples have "learnt" uint8[N,(n)]: 1 where a token is to be predicted; "row" int32[N]. What is asked keeps its end.
    """

    fields = ("prompt",)

    def __init__(self, tokenizer, rendering: Rendering, *, max_length: int, overlap: int):
        super().__init__(name="conversation_encoder")
        self.tokenizer, self._rendering = tokenizer, lambda: rendering  # a module saves what its attributes hold
        self.pad_id, self.max_length, self._overlap = int(tokenizer.pad_token_id), max_length, overlap
        self._begin = int(tokenizer.end_token_id if tokenizer.start_token_id is None else tokenizer.start_token_id)
        self.signature = (tf.TensorSpec([None, None], tf.string), tf.TensorSpec([None, None], tf.uint8))
        # outside a graph KerasHub's tokenizers take another path, which returns lists
        tokenize = with_special_tokens(tokenizer)
        self._ids = tf.function(lambda texts: tokenize(texts), input_signature=[tf.TensorSpec([None], tf.string)],
                                autograph=False)

    @property
    def rendering(self) -> Rendering:
        return self._rendering()

    def feed(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, ...]:
        """(parts string[B,P], "" where a row has fewer; learnt uint8[B,P])"""
        rendering = self.rendering
        made = [rendering.parts(row) for row in rows]
        width = max([1, *map(len, made)])
        texts = string_array([parts[i].text if i < len(parts) else "" for parts in made for i in range(width)])
        learnt = np.zeros((len(made), width), np.uint8)
        for i, parts in enumerate(made):
            learnt[i, :len(parts)] = [part.learn for part in parts]
        return texts.reshape(len(made), width), learnt

    def __call__(self, parts: tf.Tensor, learnt: tf.Tensor) -> tuple[dict, dict]:
        pieces = self._pieces(tf.reshape(parts, [-1]))
        flags = tf.repeat(tf.reshape(learnt, [-1]), pieces.row_lengths())
        splits = tf.gather(pieces.row_splits, tf.range(tf.shape(parts)[0] + 1) * tf.shape(parts)[1])
        tokens = self._not_empty(tf.RaggedTensor.from_row_splits(pieces.values, splits))
        learnt = _padded_to(tf.RaggedTensor.from_row_splits(flags, splits), tokens)
        length = tf.cast(tokens.row_lengths(), tf.int32)
        stride = self.max_length - self._overlap
        count = 1 + tf.maximum(0, -((self.max_length - length) // stride)) if self._overlap else tf.ones_like(length)
        number = tf.ragged.range(count)  # of each part within its text
        row = tf.cast(number.value_rowids(), tf.int32)
        begin = number.values * stride
        body = tf.minimum(tf.gather(length, row) - begin, self.max_length)
        at = tf.ragged.range(begin, begin + body)
        place = at.values + tf.gather(tf.cast(tokens.row_starts(), tf.int32), tf.gather(row, at.value_rowids()))
        fresh = (at.values - tf.gather(begin, at.value_rowids()) >= self._overlap) | (tf.gather(begin, at.value_rowids()) == 0)
        return ({"tokens": at.with_values(tf.gather(tokens.values, place)), "length": body, "first_length": body, "row": row,
                 "learnt": at.with_values(tf.gather(learnt.values, place) * tf.cast(fresh, tf.uint8))},
                {"full_length": length})

    def strings(self, rows: Sequence[dict[str, Any]]) -> dict[str, tf.Tensor]:
        """What `asked` takes."""
        asked = self.rendering.asked
        column = string_array([asked(one) if isinstance(one := row["prompt"], str) else one for row in rows])
        return {"prompt": tf.constant(column, tf.string, column.shape)}

    def asked(self, prompt: tf.Tensor, *, counted: bool = False) -> tuple[dict, dict]:
        """A prompt that begins as the template's own prompts do has all that belongs around it already, and is taken for one
        that a client has rendered: its control tokens are such."""
        around = self.rendering.prompting
        whole = tf.strings.regex_full_match(prompt, f"(?s){re.escape(around.mark)}.*") if around.mark else False
        own = tf.strings.regex_replace(prompt, BLANKS, "") if around.strip else prompt
        own = escape(cleaned(own), tuple(self.rendering.template.control))
        prompt = tf.where(whole, prompt, tf.strings.join([around.before, own, around.after]))
        tokens = self._not_empty(self._pieces(prompt))
        full = tf.cast(tokens.row_lengths(), tf.int32)
        tokens = tokens[:, -self.max_length:]
        length = tf.cast(tokens.row_lengths(), tf.int32)
        return {"tokens": tokens, "length": length, "first_length": length}, {"full_length": full}

    def _pieces(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """ragged int32[B,(n)]"""
        return tf.cast(self._ids(cleaned(texts)), tf.int32).with_row_splits_dtype(tf.int64)

    def _not_empty(self, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
        """A model sees one token at least."""
        none = tf.cast(tokens.row_lengths() == 0, tf.int64)
        begin = tf.fill([tf.reduce_sum(none)], self._begin)
        return tf.concat([tokens, tf.RaggedTensor.from_row_lengths(begin, none, validate=False)], axis=1)


def _padded_to(flags: tf.RaggedTensor, tokens: tf.RaggedTensor) -> tf.RaggedTensor:
    """uint8, 0 for tokens that were added."""
    more = tokens.row_lengths() - flags.row_lengths()
    zeros = tf.RaggedTensor.from_row_lengths(tf.zeros([tf.reduce_sum(more)], tf.uint8), more, validate=False)
    return tf.concat([flags, zeros], axis=1)
