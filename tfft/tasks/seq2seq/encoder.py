"""Sources and targets -> tokens, in the graph: what training, evaluation, prediction and exports use alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import TextTokenizer, cleaned, string_array
from tfft.data.unknown import Unknown


class PairEncoder(tf.Module):
    """The Encoder of encoder-decoders: a row is one example, whose tokens are the source's.

    Examples have "target" ragged int32[N,(n)] besides, the token that ends it included; rows "full_target" int32[N], its
    tokens before it was cut.
    """

    fields = ("text",)

    def __init__(self, tokenizer, *, max_length: int, target_length: int, prefix: str, end: int):
        super().__init__(name="pair_encoder")
        self.source = TextTokenizer(tokenizer, max_length=max_length, truncation="head", head_fraction=1.0, pairs=False)
        self.pad_id, self.max_length = self.source.pad_id, max_length
        self._target_length, self._prefix, self._end = target_length, prefix, end
        self._unknown = Unknown(tokenizer)
        self.signature = (tf.TensorSpec([None], tf.string),) * 2

    def feed(self, rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, ...]:
        return tuple(string_array([row[name] for row in rows]) for name in ("text", "target"))

    def __call__(self, texts: tf.Tensor, targets: tf.Tensor) -> tuple[dict, dict]:
        examples, rows = self.asked(texts, counted=True)
        targets = cleaned(targets)
        ids = self.source.ids(targets)
        kept = ids[:, :self._target_length - 1]
        end = tf.fill([ids.nrows(), 1], self._end)
        return ({**examples, "target": tf.concat([kept, end], axis=1)},
                {"full_length": rows["full_length"], "full_target": tf.cast(ids.row_lengths(), tf.int32) + 1,
                 "unknown": rows["unknown"] + self._unknown(targets, ids)})

    def strings(self, rows: Sequence[dict[str, Any]]) -> dict[str, tf.Tensor]:
        """What `asked` takes."""
        column = string_array([row["text"] for row in rows])
        return {"text": tf.constant(column, tf.string, column.shape)}

    def asked(self, text: tf.Tensor, *, counted: bool = False) -> tuple[dict, dict]:
        made = self.source(tf.strings.join([self._prefix, text]) if self._prefix else text, counted=counted)
        length = tf.cast(made.token_ids.row_lengths(), tf.int32)
        return ({"tokens": made.token_ids, "length": length, "first_length": length},
                {"full_length": made.full_length, **({"unknown": made.unknown} if counted else {})})
