"""Questions with their candidates -> examples, in the graph: what training, evaluation, prediction and exports use alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.fields import filled
from tfft.data.tokenize import TextTokenizer, Tokens, cleaned, string_array
from tfft.tasks.multiple_choice.rows import choices


class ChoiceTokenizer(TextTokenizer):
    """[CLS] question [SEP] candidate [SEP]; with a context [CLS] context [SEP] question candidate [SEP], as BERT's successors
    read RACE and SWAG. What is too long loses of its context first, then of its question; a candidate that leaves a quarter of
    the example to the question is whole."""

    def __init__(self, tokenizer, *, max_length: int, truncation: str):
        super().__init__(tokenizer, max_length=max_length, truncation=truncation, head_fraction=1.0, pairs=True)

    def __call__(self, questions: tf.Tensor, candidates: tf.Tensor, row: tf.Tensor, contexts: tf.Tensor | None = None, *,
                 counted: bool = False) -> Tokens:
        """questions, contexts: string[B]; candidates: string[N]; row: int[N], whose each is, ascending. unknown: int32[B,4]."""
        texts = [cleaned(one) for one in (questions, candidates, *([] if contexts is None else [contexts]))]
        ids = [self.ids(one) for one in texts]
        unknown = None
        if counted:
            of_rows, of_candidates, *more = (self._unknown(*pair) for pair in zip(texts, ids, strict=True))
            unknown = of_rows + tf.math.unsorted_segment_sum(of_candidates, row, tf.size(questions)) + sum(more)
        question, candidate, *context = (ids[0], ids[1], *ids[2:])
        question, *context = (tf.gather(one, row) for one in (question, *context))
        budget = self.max_length - self._special
        asked, given, read = (tf.cast(one.row_lengths(), tf.int32) for one in (question, candidate, *(context or [question])))
        keep = tf.minimum(given, budget - tf.minimum(asked, budget // 4))
        keep_asked = tf.minimum(asked, budget - keep)
        first, second = self._trim(question, keep_asked), self._trim(candidate, keep)
        full_length = asked + given + self._special
        if context:
            first, second = (self._trim(context[0], tf.minimum(read, budget - keep - keep_asked)),
                             tf.concat([first, second], axis=1))
            full_length += read
        left = self._join(first, self._start, self._separator)
        right = self._join(second, [], self._end)
        return Tokens(tf.concat([left, right], axis=1), tf.cast(left.row_lengths(), tf.int32), full_length, unknown)


class ChoiceEncoder(tf.Module):
    """The Encoder of multiple choice: every candidate of a row is an example, together with the question and the context.

    What is asked has candidates string[B,K], "" where a row has fewer; its examples have "place" int32[N], the
    candidate's column, and its rows "choices" string[B,K]. A row without any has one example of nothing.
    """

    def __init__(self, tokenizer, *, max_length: int, truncation: str, context: bool):
        super().__init__(name="choice_encoder")
        self.fields = ("question", "context", "choices") if context else ("question", "choices")
        self.tokenizer = ChoiceTokenizer(tokenizer, max_length=max_length, truncation=truncation)
        self.pad_id, self.max_length = self.tokenizer.pad_id, max_length
        self.signature = (*[tf.TensorSpec([None], tf.string)] * len(self.fields), tf.TensorSpec([None], tf.int32))

    def feed(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, ...]:
        """(questions[, contexts], all candidates, their rows)"""
        texts = [string_array([row[name] for row in rows]) for name in self.fields[:-1]]
        counts = [len(row["choices"]) for row in rows]
        return (*texts, string_array([text for row in rows for text in row["choices"]]),
                np.repeat(np.arange(len(rows), dtype=np.int32), counts))

    def __call__(self, questions: tf.Tensor, *rest: tf.Tensor, counted: bool = True) -> tuple[dict, dict]:
        *context, candidates, row = rest
        made = self.tokenizer(questions, candidates, row, *context, counted=counted)
        longest = tf.math.unsorted_segment_max(made.full_length, row, tf.size(questions))
        return ({"tokens": made.token_ids, "length": tf.cast(made.token_ids.row_lengths(), tf.int32),
                 "first_length": made.first_length, "row": row},
                {"full_length": longest, **({"unknown": made.unknown} if counted else {})})

    def strings(self, rows: Sequence[dict[str, Any]]) -> dict[str, tf.Tensor]:
        """What `asked` takes."""
        made = {name: string_array([row[name] for row in rows]) for name in self.fields[:-1]}
        listed = filled([listed_choices(row["choices"]) for row in rows])
        texts = string_array([text for each in listed for text in each])
        return {name: tf.constant(column, tf.string, column.shape)
                for name, column in {**made, "choices": texts.reshape(-1, len(listed[0]) if listed else 1)}.items()}

    def asked(self, question: tf.Tensor, choices: tf.Tensor, context: tf.Tensor | None = None, *,
              counted: bool = False) -> tuple[dict, dict]:
        choices = tf.strings.unicode_transcode(choices, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
        none = tf.cast(tf.equal(tf.shape(choices)[1], 0), tf.int32)
        choices = tf.concat([choices, tf.fill([tf.shape(choices)[0], none], "")], axis=1)
        there = choices != ""
        alone = ~tf.reduce_any(there, axis=1, keepdims=True) & (tf.range(tf.shape(choices)[1]) == 0)
        row, place = tf.unstack(tf.cast(tf.where(there | alone), tf.int32), num=2, axis=1)
        context = [] if context is None else [context]
        flat = tf.gather_nd(choices, tf.stack([row, place], axis=1))
        examples, rows = self(question, *context, flat, row, counted=counted)
        return {**examples, "place": place}, {**rows, "choices": choices}


def listed_choices(value: Any) -> list[str | bytes]:
    """The candidates of a row that is asked about, which may come from a store or the command line; [] of an empty one."""
    return list(value) if isinstance(value, (list, tuple)) else choices(value, "choices") if value else []
