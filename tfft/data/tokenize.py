"""Texts to token ids with TensorFlow ops: the very function that training, evaluation, prediction and the export use."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfft.data.unknown import Unknown
from tfft.errors import UserError

# Tokenizers whose pretrained models saw two end tokens between the texts of a pair (as their KerasHub packers have it).
DOUBLE_SEPARATOR = ("RobertaTokenizer", "XLMRobertaTokenizer")
NOTHING_BEFORE = ("T5Tokenizer",)  # whose start token is the decoder's
TRACE = 1 << 24  # above every token id; see TextTokenizer.traced


class Tokens(NamedTuple):
    """token_ids: ragged int32[B,(n)], special tokens included; first_length: int32[B] tokens of the first segment
    (start and separator included; all tokens where there is one text); full_length: int32[B] tokens before truncation;
    unknown: int32[B,4], see tfft.data.unknown, where that was asked for."""

    token_ids: tf.RaggedTensor
    first_length: tf.Tensor
    full_length: tf.Tensor
    unknown: tf.Tensor | None = None


class TextTokenizer(tf.Module):
    """string[B] (and a second string[B] for pairs) -> Tokens, none longer than max_length.

    A pair too long is shortened where it is longest, as KerasHub's "round_robin" does. Only TensorFlow core ops and
    the tokenizer's own tf-text ops are used.
    """

    def __init__(self, tokenizer, *, max_length: int, truncation: str, head_fraction: float, pairs: bool):
        super().__init__(name="text_tokenizer")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.truncation = truncation
        self.head_fraction = head_fraction
        self.pairs = pairs
        self.pad_id = int(tokenizer.pad_token_id)
        self._start, self._end = start_and_end(tokenizer)
        self._separator = self._end * (2 if type(tokenizer).__name__ in DOUBLE_SEPARATOR else 1)
        self._special = len(self._start) + 1 + (len(self._separator) if pairs else 0)
        self._unknown = Unknown(tokenizer)
        if max_length <= self._special:
            raise UserError(f"config.data.max_length={max_length} leaves no room beside {self._special} special tokens.")

    def __call__(self, texts: tf.Tensor, second: tf.Tensor | None = None, *, counted: bool = False) -> Tokens:
        budget = self.max_length - self._special
        texts = cleaned(texts)
        first = self.ids(texts)
        unknown = self._unknown(texts, first) if counted else None
        first_length = tf.cast(first.row_lengths(), tf.int32)
        if not self.pairs:
            kept = self._trim(first, tf.minimum(first_length, budget))
            ids = self._join(kept, self._start, self._end)
            return Tokens(ids, tf.cast(ids.row_lengths(), tf.int32), first_length + self._special, unknown)
        second = cleaned(second)
        other = self.ids(second)
        unknown = unknown + self._unknown(second, other) if counted else None
        other_length = tf.cast(other.row_lengths(), tf.int32)
        keep_first, keep_other = self._shares(first_length, other_length, budget)
        left = self._join(self._trim(first, keep_first), self._start, self._separator)
        right = self._join(self._trim(other, keep_other), [], self._end)
        return Tokens(tf.concat([left, right], axis=1), tf.cast(left.row_lengths(), tf.int32),
                      first_length + other_length + self._special, unknown)

    @staticmethod
    def _shares(first: tf.Tensor, other: tf.Tensor, budget: int) -> tuple[tf.Tensor, tf.Tensor]:
        """How many tokens of a pair's texts are kept, of so many int32[B] each."""
        keep = tf.minimum(first, tf.maximum(budget - other, budget - budget // 2))
        return keep, tf.minimum(other, budget - keep)

    def traced(self, *texts: tf.Tensor) -> tuple[tf.RaggedTensor, list[tf.RaggedTensor]]:
        """Where the tokens of examples are from: ragged int32[B,(n)], the n-th token of the first text TRACE + n, of the second
        2 x TRACE + n, others as they are; and the token ids of each text, uncut.

        "a fine film" -> [101, TRACE, TRACE + 1, TRACE + 2, 102]
        """
        found: list[tf.RaggedTensor] = []

        def numbered(given: tf.Tensor) -> tf.RaggedTensor:
            found.append(self.ids(given))
            number = tf.ragged.range(found[-1].row_lengths())
            return number.with_values(TRACE * len(found) + tf.cast(number.values, tf.int32))

        other = copy.copy(self)
        other.ids = numbered
        return other(*texts).token_ids, found

    def ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Token ids without special tokens."""
        ids = self.tokenizer(texts)
        if not isinstance(ids, tf.RaggedTensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        return tf.cast(ids, tf.int32)

    def _trim(self, ids: tf.RaggedTensor, keep: tf.Tensor) -> tf.RaggedTensor:
        """Keeps `keep` int32[B] tokens of each row by the truncation rule.

        head_tail with head_fraction 0.5: [1 2 3 4 5 6], keep 4 -> [1 2 5 6]
        """
        fraction = {"head": 1.0, "tail": 0.0, "head_tail": self.head_fraction}[self.truncation]
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        head = tf.cast(tf.round(tf.cast(keep, tf.float32) * fraction), tf.int32)
        position = tf.ragged.range(lengths)
        row = position.value_rowids()
        flat = position.flat_values
        mask = (flat < tf.gather(head, row)) | (flat >= tf.gather(lengths - (keep - head), row))
        return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(ids.flat_values, mask), keep, validate=False)

    def _join(self, ids: tf.RaggedTensor, before: list[int], after: list[int]) -> tf.RaggedTensor:
        rows = ids.nrows(out_type=tf.int32)
        parts = [tf.tile([before], [rows, 1])] if before else []
        parts += [ids, tf.tile([after], [rows, 1])]
        return tf.concat(parts, axis=1)


def start_and_end(tokenizer) -> tuple[list[int], list[int]]:
    """The token before a text, of T5 none, and the one behind it. Raises: UserError where a tokenizer lacks it, as those of
    some language models do."""
    ids = tokenizer.start_token_id, tokenizer.end_token_id
    if None in ids:
        which = "start" if ids[0] is None else "end"
        raise UserError(f"config.model.backbone: its {type(tokenizer).__name__} has no {which} token, and this task puts one "
                        "around every text. Choose an encoder, such as BERT, RoBERTa or DistilBERT; a language model is for "
                        "the task causal_lm.")
    return [] if type(tokenizer).__name__ in NOTHING_BEFORE else [int(ids[0])], [int(ids[1])]


def cleaned(texts: tf.Tensor) -> tf.Tensor:
    """string[N] without what tokenizers stumble over: invalid UTF-8 is U+FFFD, as every Unicode decoder has it, and U+0000 a
    space: tf-text's regex_split drops all that follows it."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
    return tf.strings.regex_replace(texts, r"\x00", " ")


class Encoder(Protocol):
    """Rows -> examples with TensorFlow ops: the very function that training, evaluation, prediction and the export use.

    fields: the asked fields of a row, which are the inputs of an export, string[B] each. examples: their columns, "tokens" and
    "length" among them, and "row" (int32[N], ascending) where a row may be several; rows: columns of rows, "full_length" among
    them, and "unknown" int32[B,4], what tfft.data.unknown counts, of calls and where `asked` is to have it `counted` (an export
    is not). Ragged tensors become ragged columns. signature: of what `feed` makes of rows.
    """

    fields: tuple[str, ...]
    signature: tuple[tf.TensorSpec, ...]
    pad_id: int
    max_length: int

    def feed(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, ...]: ...

    def __call__(self, *fed: tf.Tensor) -> tuple[dict, dict]: ...

    def strings(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]: ...  # the same rows as inputs of `asked`

    def asked(self, *, counted: bool = False, **texts: tf.Tensor) -> tuple[dict, dict]: ...


class TextEncoder(tf.Module):
    """A text, or a pair of texts -> one example each: the Encoder of tasks that look at a text as a whole."""

    def __init__(self, tokenizer: TextTokenizer, fields: tuple[str, ...]):
        super().__init__(name="text_encoder")
        self.tokenizer, self.fields = tokenizer, fields
        self.pad_id, self.max_length = tokenizer.pad_id, tokenizer.max_length
        self.signature = (tf.TensorSpec([None], tf.string),) * len(fields)

    def feed(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, ...]:
        return tuple(string_array([row[name] for row in rows]) for name in self.fields)

    def __call__(self, *texts: tf.Tensor, counted: bool = True) -> tuple[dict, dict]:
        made = self.tokenizer(*texts, counted=counted)
        rows = {"full_length": made.full_length} | ({"unknown": made.unknown} if counted else {})
        return ({"tokens": made.token_ids, "length": tf.cast(made.token_ids.row_lengths(), tf.int32),
                 "first_length": made.first_length}, rows)

    def strings(self, rows: Sequence[dict[str, Any]]) -> dict[str, tf.Tensor]:
        return {name: tf.constant(column, tf.string, column.shape) for name, column in zip(self.fields, self.feed(rows))}

    def asked(self, *, counted: bool = False, **texts: tf.Tensor) -> tuple[dict, dict]:
        return self(*(texts[name] for name in self.fields), counted=counted)


def as_bytes(text: str | bytes) -> bytes:
    """UTF-8; what has none, such as half a surrogate pair, becomes a question mark."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def string_array(texts: Sequence[str | bytes]) -> np.ndarray:
    """Texts as an array that becomes a string tensor."""
    return np.array([as_bytes(text) for text in texts], dtype=object) if len(texts) else np.zeros(0, dtype="S1")


def features(examples: dict, pad_id: int, names: tuple[str, ...], multiple: int = 1) -> dict[str, tf.Tensor]:
    """Examples -> the backbone's inputs int32[N,S], S the longest of them rounded up to `multiple`."""
    tokens = examples["tokens"]
    lengths = tf.cast(tokens.row_lengths(), tf.int32)
    longest = tf.reduce_max(tf.concat([lengths, [1]], axis=0))
    width = (longest + multiple - 1) // multiple * multiple
    position = tf.range(width)[tf.newaxis]
    dense = tokens.to_tensor(pad_id)
    made = {
        "token_ids": tf.pad(dense, [[0, 0], [0, width - tf.shape(dense)[1]]], constant_values=pad_id),
        "padding_mask": tf.cast(position < lengths[:, tf.newaxis], tf.int32),
    }
    if "segment_ids" in names:
        after_first = position >= examples["first_length"][:, tf.newaxis]
        made["segment_ids"] = tf.cast(after_first & (position < lengths[:, tf.newaxis]), tf.int32)
    return made
