"""Questions with contexts -> windows of tokens, in the graph: what training, evaluation, prediction and exports use alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import cleaned, string_array
from tfft.data.word_places import of_words
from tfft.data.words import WordSplitter, WordTokenizer


class QuestionEncoder(tf.Module):
    """The Encoder of question answering: [CLS] question [SEP] part of the context [SEP], as many windows as the context needs.

    Examples have "first_length" int32[N], where in the window the context begins, and "begin" int32[N], the number of the
    piece that stands there among all of the context. Rows have "word_start" and "word_end", ragged int32[B,(W)]: the words of
    the context in code points; "piece_word", ragged int32[B,(P)]: the word of each piece.
    """

    fields = ("question", "context")

    def __init__(self, tokenizer, *, max_length: int, overlap: int, question_limit: int, split: str):
        super().__init__(name="question_encoder")
        self.splitter = WordSplitter(split)
        self.tokenizer = WordTokenizer(tokenizer, max_length=max_length, overlap=overlap, before=True,
                                       before_limit=question_limit)
        self.pad_id, self.max_length = int(tokenizer.pad_token_id), max_length
        self.signature = (tf.TensorSpec([None], tf.string),) * 2

    def feed(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, ...]:
        return tuple(string_array([row[name] for row in rows]) for name in self.fields)

    def __call__(self, questions: tf.Tensor, contexts: tf.Tensor, counted: bool = True) -> tuple[dict, dict]:
        asked, words = self.splitter(questions), self.splitter(contexts)
        of_question = self.tokenizer.pieces(asked.words, asked.spaced)
        before = of_question.merge_dims(1, 2)
        pieces = self.tokenizer.pieces(words.words, words.spaced)
        made = self.tokenizer.windows(pieces, before)
        unknown = {"unknown": self.tokenizer.unknown(asked.words, of_question)
                   + self.tokenizer.unknown(words.words, pieces)} if counted else {}
        return ({"tokens": made.token_ids, "length": tf.cast(made.token_ids.row_lengths(), tf.int32),
                 "first_length": made.first_length, "row": made.row, "begin": made.begin},
                {"full_length": made.full_length, "word_start": words.start, "word_end": words.end,
                 "piece_word": self.tokenizer.word_of_piece(pieces, before), **unknown})

    def traced(self, question: tf.Tensor, context: tf.Tensor) -> tuple:
        """As `asked` -> (ragged int32[N,(n)], where the tokens of examples are from, see word_places.of_words: 1 the question,
        2 the context; the Words of both)."""
        asked, words = (self.splitter(cleaned(texts)) for texts in (question, context))
        before, pieces = (of_words(self.tokenizer.pieces(one.words, one.spaced), number)
                          for number, one in enumerate((asked, words), 1))
        return self.tokenizer.windows(pieces, before.merge_dims(1, 2)).token_ids, asked, words

    def strings(self, rows: Sequence[dict[str, Any]]) -> dict[str, tf.Tensor]:
        """What `asked` takes."""
        return {name: tf.constant(column, tf.string, column.shape)
                for name, column in zip(self.fields, self.feed(rows), strict=True)}

    def asked(self, question: tf.Tensor, context: tf.Tensor, *, counted: bool = False) -> tuple[dict, dict]:
        """As a call. Rows have the "context" besides, string[B]."""
        examples, rows = self(question, context, counted)
        return examples, {**rows, "context": tf.strings.unicode_transcode(context, "UTF-8", "UTF-8", errors="replace",
                                                                          replace_control_characters=False)}
