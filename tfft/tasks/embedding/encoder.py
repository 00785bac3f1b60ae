"""Texts of rows -> examples, in the graph: what training, evaluation, prediction and exports use alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import TextTokenizer, string_array
from tfft.errors import UserError
from tfft.tasks.embedding.rows import TEXT, texts_of


class EmbeddingEncoder(tf.Module):
    """The Encoder of embeddings: every text of a row is an example, behind the prompt of its role.

    Examples have "role" int32[N] (rows.TEXT, POSITIVE, NEGATIVE or DOCUMENT) and "same" int64[N], alike where two texts are the
    same: a hash of their token ids without the prompt's. texts(values): (role, text) of each text of a row. What is asked, in
    prediction and exports, is one text or two: `asked`.
    """

    fields = ("text",)

    def __init__(self, tokenizer, *, max_length: int, prompts: tuple[str, str], texts=texts_of):
        super().__init__(name="embedding_encoder")
        self._texts = texts
        self.tokenizer = TextTokenizer(tokenizer, max_length=max_length, truncation="head", head_fraction=1.0, pairs=False)
        self.prompts, self.pad_id, self.max_length = prompts, self.tokenizer.pad_id, max_length
        # in a graph: eagerly some tokenizers answer with lists
        lengths = tf.function(lambda texts: self.tokenizer(texts).token_ids.row_lengths(), autograph=False)
        own = lengths(tf.constant([prompt.strip() for prompt in prompts])).numpy().astype(np.int32)
        if max(own) >= max_length:
            raise UserError(f"config.data.max_length={max_length} leaves no room for a text behind the prompt "
                            f"{max(prompts, key=len)!r}.")
        self._before = own - 1  # the start token and the prompt's own
        self.signature = (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int32),
                          tf.TensorSpec([], tf.int32))

    def feed(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, ...]:
        """(texts, their roles, their rows, the number of rows)"""
        made = [(text, role, i) for i, row in enumerate(rows) for role, text in self._texts(row)]
        texts, roles, of = zip(*made, strict=True) if made else ((), (), ())
        return string_array(texts), np.array(roles, np.int32), np.array(of, np.int32), np.int32(len(rows))

    def __call__(self, texts: tf.Tensor, roles: tf.Tensor, row: tf.Tensor, count: tf.Tensor) -> tuple[dict, dict]:
        examples, full_length, unknown = self._encoded(texts, roles, counted=True)
        own = tf.ragged.boolean_mask(examples["tokens"], self._own(examples["tokens"], roles))
        joined = tf.strings.reduce_join(tf.strings.as_string(own), axis=1, separator=" ")
        same = tf.strings.to_hash_bucket_fast(joined, 2**62)
        longest = tf.math.unsorted_segment_max(full_length, row, count)
        return ({**examples, "row": row, "role": roles, "same": same},
                {"full_length": longest, "unknown": tf.math.unsorted_segment_sum(unknown, row, count)})

    def _encoded(self, texts: tf.Tensor, roles: tf.Tensor, *, counted: bool) -> tuple[dict, tf.Tensor, tf.Tensor | None]:
        """(tokens, length and first_length of examples, their tokens before anything was cut, what of them is unknown)."""
        if any(self.prompts):
            texts = tf.strings.join([tf.where(roles == TEXT, *self.prompts), texts])
        made = self.tokenizer(texts, counted=counted)
        length = tf.cast(made.token_ids.row_lengths(), tf.int32)
        return {"tokens": made.token_ids, "length": length, "first_length": length}, made.full_length, made.unknown

    def _own(self, tokens: tf.RaggedTensor, roles: tf.Tensor) -> tf.RaggedTensor:
        """Ragged bool[N,(n)]: which tokens are the text's."""
        before = tf.where(roles == TEXT, *self._before)
        place = tf.ragged.range(tf.cast(tokens.row_lengths(), tf.int32), row_splits_dtype=tokens.row_splits.dtype)
        return place.with_flat_values(place.flat_values >= tf.gather(before, place.value_rowids()))

    def strings(self, rows: Sequence[dict[str, Any]]) -> dict[str, tf.Tensor]:
        """What `asked` takes: text, text_pair, or both, whichever the rows have."""
        names = [name for name in ("text", "text_pair") if rows and rows[0].get(name) is not None] or ["text"]
        return {name: tf.constant(column, tf.string, column.shape)
                for name in names for column in [string_array([row[name] for row in rows])]}

    def asked(self, text: tf.Tensor | None = None, text_pair: tf.Tensor | None = None, *,
              counted: bool = False) -> tuple[dict, dict]:
        """Examples of the texts, then of the second ones. Rows have "pairs" where both are asked."""
        given = [one for one in (text, text_pair) if one is not None]
        roles = [tf.fill(tf.shape(one), role) for role, one in enumerate((text, text_pair)) if one is not None]
        examples, full_length, unknown = self._encoded(tf.concat(given, axis=0), tf.concat(roles, axis=0), counted=counted)
        return examples, {"full_length": full_length, **({"pairs": tf.size(text)} if len(given) == 2 else {}),
                          **({"unknown": unknown} if counted else {})}
