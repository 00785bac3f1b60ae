"""A token store from labels alone, through the real writer."""

import numpy as np

from tfft.data import fields
from tfft.data.fields import Field
from tfft.data.sources import Row
from tfft.data.store import Encoded, Ragged, TokenStore, write_rows
from tfft.tasks.text_classification.rows import label_columns

TEXT = (Field("text", "text_column", "text", fields.text),)
PAIR = (*TEXT, Field("text_pair", "text_pair_column", "pair", fields.text))


def encoded(ids: list[list[int]], dtype=np.uint16, **more) -> Encoded:
    """A chunk whose rows are one example each, of these tokens."""
    lengths = np.array([len(row) for row in ids], np.int32)
    flat = np.concatenate([*map(np.asarray, ids), np.zeros(0)]).astype(dtype)
    return Encoded({"tokens": Ragged(flat, lengths), "length": lengths, "first_length": lengths, **more},
                   {"full_length": lengths})


def make_store(folder, labels, seed: int = 0, texts=None) -> TokenStore:
    """A store of one row for each label: row i has the text 'text i', or texts[i], and between 3 and 9 tokens of the tiny
    vocabulary."""
    folder.mkdir()
    draw = np.random.default_rng(seed)

    def encode(chunks):
        for rows in chunks:
            lengths = draw.integers(1, 8, len(rows))
            yield encoded([[2, *draw.integers(5, 14, n), 3] for n in lengths])

    texts = texts or [f"text {i}" for i in range(len(labels))]
    rows = [Row(f"id{i}", {"text": texts[i], "label": label}, "file.csv", i + 2, {}) for i, label in enumerate(labels)]
    write_rows(folder, rows, TEXT, encode, label_columns, seed=0)
    return TokenStore(folder)
