"""Words or texts -> windows of tokens, in the graph: the very ops that training, evaluation, prediction and exports use."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import cleaned, string_array
from tfft.data.word_places import of_words
from tfft.data.words import Words, WordSplitter, WordTokenizer


class WordEncoder(tf.Module):
    """The Encoder of tasks that tag words. A row is one example, or several windows of it.

    Examples have "places", ragged int32[N,(w)]: where in the window the first piece of each word stands that the window owns,
    and "word" int32[N], the number within its row of the first of them. Rows have "word_start" and "word_end", ragged
    int32[B,(W)]: where words stand in the text, in code points; words that were given stand in a text with one blank between
    two. roles: each row has a "predicate", the number of a word. Every window shows that word first, and where it stands among
    the others it has a mark on either side: [CLS] sat [SEP] the cat [MASK] sat [MASK] there [SEP].
    """

    fields = ("text",)

    def __init__(self, tokenizer, *, max_length: int, overlap: int, split: str, given_words: bool, roles: bool = False):
        super().__init__(name="word_encoder")
        self.splitter = WordSplitter(split)
        self.tokenizer = WordTokenizer(tokenizer, max_length=max_length, overlap=overlap, before=roles)
        self.pad_id, self.max_length = int(tokenizer.pad_token_id), max_length
        self.given_words, self.roles = given_words, roles
        self._mark = int(getattr(tokenizer, "mask_token_id", None) or tokenizer.end_token_id)
        if roles:
            self.fields = ("text", "predicate")
        strings, counts = tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64)
        self.signature = (strings, *([counts] if given_words else []), *([counts] if roles else []))

    def feed(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, ...]:
        texts = [row["text"] for row in rows]
        if not self.given_words:
            return (string_array(texts),)
        flat = string_array([word for words in texts for word in words])
        fed = flat, np.array([len(words) for words in texts], np.int64)
        return (*fed, np.array([row["predicate"] for row in rows], np.int64)) if self.roles else fed

    def __call__(self, strings: tf.Tensor, *numbers: tf.Tensor) -> tuple[dict, dict]:
        if not self.given_words:
            return self._encode(self.splitter(strings), counted=True)
        words = tf.RaggedTensor.from_row_lengths(strings, numbers[0], validate=False)
        return self._encode(_given(words), *numbers[1:], counted=True)

    def strings(self, rows: Sequence[dict[str, Any]]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """What `asked` takes, of rows whose texts are all str, or all lists of words."""
        texts = [row["text"] for row in rows]
        if any(isinstance(text, (str, bytes)) for text in texts) or not texts:
            made = {"text": tf.constant(string_array([t if isinstance(t, (str, bytes)) else " ".join(t) for t in texts]),
                                        tf.string, [len(texts)])}
        else:
            flat = tf.constant(string_array([word for words in texts for word in words]), tf.string)
            made = {"text": tf.RaggedTensor.from_row_lengths(flat, [len(words) for words in texts])}
        if self.roles:
            made["predicate"] = tf.constant([int(row["predicate"] or 0) for row in rows], tf.int64)
        return made

    def asked(self, text: tf.Tensor | tf.RaggedTensor, predicate: tf.Tensor | None = None, *,
              counted: bool = False) -> tuple[dict, dict]:
        """text: string[B], or words string[B,(W)]; predicate int64[B]: the number of a word where words are given, else where
        in the text, in code points, one of its characters stands. Rows have the "text" besides, string[B]."""
        given = isinstance(text, tf.RaggedTensor)
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
        words = _given(text) if given else self.splitter(text)
        if self.roles and not given:
            before = tf.cast(words.end, tf.int64) <= predicate[:, tf.newaxis]
            predicate = tf.reduce_sum(tf.cast(before, tf.int64), axis=1)
        examples, rows = self._encode(words, predicate, counted=counted)
        return examples, {**rows, "text": tf.strings.reduce_join(text, axis=1, separator=" ") if given else text}

    def traced(self, text: tf.Tensor | tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """As `asked`, without roles -> (ragged int32[N,(n)], where the tokens of examples are from, see word_places.of_words;
        word_start and word_end of rows)."""
        words = _given(text) if isinstance(text, tf.RaggedTensor) else self.splitter(cleaned(text))
        pieces = of_words(self.tokenizer.pieces(words.words, words.spaced), 1)
        return self.tokenizer.windows(pieces).token_ids, words.start, words.end

    def _encode(self, words: Words, predicate: tf.Tensor | None = None, *, counted: bool) -> tuple[dict, dict]:
        pieces = self.tokenizer.pieces(words.words, words.spaced)
        unknown = {"unknown": self.tokenizer.unknown(words.words, pieces)} if counted else {}
        before = None
        if self.roles:
            number = tf.ragged.range(pieces.row_lengths())
            chosen = number.values == tf.gather(predicate, number.value_rowids())
            before = _of(pieces, chosen)
            mark = tf.RaggedTensor.from_row_lengths(tf.fill([tf.math.count_nonzero(chosen)], self._mark),
                                                    tf.cast(chosen, tf.int64), validate=False)
            pieces = pieces.with_values(tf.concat([mark, pieces.values, mark], axis=1))
        made = self.tokenizer.windows(pieces, before)
        return ({"tokens": made.token_ids, "length": tf.cast(made.token_ids.row_lengths(), tf.int32),
                 "first_length": made.first_length, "row": made.row, "places": made.places, "word": made.words},
                {"full_length": made.full_length, "word_start": words.start, "word_end": words.end, **unknown})


def _of(pieces: tf.RaggedTensor, chosen: tf.Tensor) -> tf.RaggedTensor:
    """ragged int32[B,(q)]: the pieces of each row's chosen word, if it has one. chosen: bool of all rows' words."""
    rows = tf.boolean_mask(pieces.value_rowids(), chosen)
    words = tf.ragged.boolean_mask(pieces.values, chosen)
    at = tf.RaggedTensor.from_value_rowids(words, rows, pieces.nrows(), validate=False)
    return at.merge_dims(1, 2)


def _given(words: tf.RaggedTensor) -> Words:
    """Words as if they stood in a text with one blank between two."""
    length = tf.strings.length(words.flat_values, "UTF8_CHAR")
    after = tf.cumsum(length + 1)  # where the next one would begin, all texts end to end
    text_start = tf.gather(tf.concat([[0], after], axis=0), words.row_starts())
    start = after - length - 1 - tf.gather(text_start, words.value_rowids())
    return Words(words, words.with_flat_values(start), words.with_flat_values(start + length),
                 words.with_flat_values(tf.ones_like(start, tf.bool)))
