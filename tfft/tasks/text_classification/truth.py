"""What rows are labelled with, as tfft check_data looks at it. Imports no TensorFlow."""

import numpy as np

from tfft.data.row_tokens import digests
from tfft.data.splits import mixed
from tfft.data.store import Ragged, TokenStore
from tfft.tasks.base import Truth
from tfft.tasks.text_classification.labels import LabelColumn, Labels

SHOWN = 5  # labels of a row


def truth(problem: str, labels: Labels, store: TokenStore, rows: np.ndarray) -> Truth:
    """A value, a label (-1 where the table has no such), or any number of labels of each row."""
    if problem == "regression":
        values = np.asarray(store.column("value")[rows], np.float64)
        return Truth("value", mixed(values.view(np.uint64)), lambda place: f"{values[place]:g}", values=values)
    column = LabelColumn(store, labels)
    if problem == "single_label":
        ids = column.single(rows)
        codes, known = Ragged(ids, np.ones(len(ids), np.int64)), ids >= 0
        return Truth("label", mixed(ids.astype(np.int64).astype(np.uint64)), lambda place: repr(labels.names[ids[place]])
                     if known[place] else "unknown", labels.names, codes, one=True)
    codes = column.codes(rows)
    begins = np.cumsum(codes.lengths) - codes.lengths

    def shown(place: int) -> str:
        own = codes.flat[begins[place]:begins[place] + codes.lengths[place]]
        return ", ".join(repr(labels.names[i]) for i in own[:SHOWN]) or "none"

    return Truth("label", digests(codes), shown, labels.names, codes, several=True)
