"""Texts -> full rows of tokens, in the graph: what training, evaluation, prediction and exports use alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import cleaned, string_array
from tfft.data.words import WordTokenizer


class DocumentEncoder(tf.Module):
    """The Encoder of masked words: a text is cut into examples of max_length tokens and a last one of what is left.

    What is asked, in prediction and exports, may have the mask token in it, as "[MASK]": there of a text's examples its first
    one is kept and those with masks. Examples have "row" int32[N].
    """

    fields = ("text",)

    def __init__(self, tokenizer, *, max_length: int, mask: int):
        super().__init__(name="document_encoder")
        self.tokenizer = WordTokenizer(tokenizer, max_length=max_length, overlap=0, before=False)
        self.pad_id, self.max_length, self.mask = int(tokenizer.pad_token_id), max_length, mask
        self.mask_token = str(tokenizer.mask_token)
        self.signature = (tf.TensorSpec([None], tf.string),)

    def feed(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, ...]:
        return (string_array([row["text"] for row in rows]),)

    def __call__(self, texts: tf.Tensor) -> tuple[dict, dict]:
        return self._examples(tf.RaggedTensor.from_tensor(texts[:, tf.newaxis]), tf.ones_like(texts, tf.bool), True)

    def strings(self, rows: Sequence[dict[str, Any]]) -> dict[str, tf.Tensor]:
        """What `asked` takes."""
        column, = self.feed(rows)
        return {"text": tf.constant(column, tf.string, column.shape)}

    def asked(self, text: tf.Tensor, *, counted: bool = False) -> tuple[dict, dict]:
        parts = tf.strings.split(cleaned(text), self.mask_token)
        spaced = tf.strings.regex_full_match(parts.values, r"(?s)\s.*")
        examples, rows = self._examples(parts.with_values(tf.strings.strip(parts.values)),
                                        spaced | _among(parts.row_starts(), tf.size(parts.values)), counted)
        masks = tf.reduce_any(examples["tokens"] == self.mask, axis=1)
        kept = masks | _among(tf.searchsorted(examples["row"], tf.range(parts.nrows(tf.int32))), tf.size(examples["row"]))
        return {name: tf.ragged.boolean_mask(column, kept) if isinstance(column, tf.RaggedTensor)
                else tf.boolean_mask(column, kept) for name, column in examples.items()}, rows

    def _examples(self, parts: tf.RaggedTensor, spaced: tf.Tensor, counted: bool) -> tuple[dict, dict]:
        """Of texts in parts, string[B,(p)], between which masks stand; spaced bool[parts]: whether white space is before it."""
        there = tf.strings.length(parts.values) > 0  # a word without a piece is the unknown token, but nothing is nothing
        kept, spaced = (tf.ragged.boolean_mask(parts.with_values(each), parts.with_values(there))
                        for each in (parts.values, spaced))
        pieces = self.tokenizer.pieces(kept, spaced)
        unknown = {"unknown": self.tokenizer.unknown(kept, pieces)} if counted else {}
        counts = tf.scatter_nd(tf.where(there), pieces.values.row_lengths(), [tf.size(there, tf.int64)])
        ids = tf.RaggedTensor.from_row_lengths(pieces.values.values, counts)
        last = _among(parts.row_limits() - 1, tf.size(parts.values))
        masks = tf.RaggedTensor.from_row_lengths(
            tf.fill([tf.math.count_nonzero(~last)], self.mask), tf.cast(~last, tf.int64))
        whole = parts.with_values(tf.concat([ids, masks], axis=1)).merge_dims(1, 2)
        alone = tf.RaggedTensor.from_row_lengths(whole.values, tf.ones_like(whole.values, tf.int64))
        made = self.tokenizer.windows(whole.with_values(alone))
        length = tf.cast(made.token_ids.row_lengths(), tf.int32)
        return ({"tokens": made.token_ids, "length": length, "first_length": length, "row": made.row},
                {"full_length": made.full_length, **unknown})


def _among(places: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """bool[size]: true at these places, those of them that are within it."""
    places = tf.cast(places, tf.int32)
    places = tf.where(places < size, places, -1)
    return tf.math.unsorted_segment_sum(tf.ones_like(places), places, size) > 0
