"""A token store from labels alone, through the real writer."""

import numpy as np

from tfft.data.sources import Row
from tfft.data.store import TokenStore, write_rows


def make_store(folder, labels, seed: int = 0) -> TokenStore:
    """A store of one row for each label: row i has the text 'text i' and between 3 and 9 tokens of the tiny vocabulary."""
    folder.mkdir()
    draw = np.random.default_rng(seed)

    def tokenise(chunks):
        for texts, _ in chunks:
            lengths = draw.integers(1, 8, len(texts))
            ids = [[2, *draw.integers(5, 14, n), 3] for n in lengths]
            yield np.concatenate(ids).astype(np.int32), lengths + 2, lengths + 2, lengths + 2

    rows = [Row(f"id{i}", f"text {i}", None, label, "file.csv", i + 2, {}) for i, label in enumerate(labels)]
    write_rows(folder, rows, tokenise, vocabulary_size=15, pairs=False, seed=0)
    return TokenStore(folder)
