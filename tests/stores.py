"""A token store from labels alone, through the real writer."""

import tempfile
from pathlib import Path

import numpy as np

from tfft.config import resolve
from tfft.data import fields
from tfft.data.fields import Field
from tfft.data.sources import Row, Source
from tfft.data.store import Encoded, Ragged, TokenStore, write_rows
from tfft.tasks.text_classification.labels import LabelColumn, infer_labels, infer_scale
from tfft.tasks.text_classification.rows import given_labels, label_columns, row_fields

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


def learnt(folder, spec: str, problem: str = "single_label", **data):
    """(label table, store, each row's labels by name or its value) of a source, as training learns them from all its rows."""
    experiment = resolve({"task": {"problem": problem}, "data": {"train": spec, **data}})
    store = read_store(folder, spec, experiment)
    rows = np.arange(len(store))
    if problem == "regression":
        return infer_scale(store, rows, True), store, store.column("value").tolist()
    labels = infer_labels(store, rows, given_labels(experiment, folder), experiment.data, several=problem == "multi_label")
    return labels, store, named(labels, store)


def read_store(folder, spec: str, experiment) -> TokenStore:
    """The store of a source under an experiment's settings, of texts that are all three tokens."""
    fields = row_fields(experiment, folder)
    place = Path(tempfile.mkdtemp(dir=folder))
    write_rows(place, Source(spec, experiment.data, fields, folder).rows(), fields,
               lambda chunks: (encoded([[2, 5, 3]] * len(rows)) for rows in chunks), label_columns, seed=0)
    return TokenStore(place)


def named(labels, store) -> list[tuple[str, ...]]:
    """The names of each row's labels."""
    column = LabelColumn(store, labels)
    return [tuple(labels.names[i] for i in column.of(row)) for row in range(len(store))]
