"""What words are tagged with, as tfft check_data looks at it. Imports no TensorFlow."""

import numpy as np

from tfft.data.row_tokens import cut_out, digests, values_of
from tfft.data.store import Ragged, TokenStore
from tfft.tasks.base import Truth
from tfft.tasks.token_classification.tags import Gold, Tags

SHOWN = 5  # entities of a row


def truth(tags: Tags, gold: Gold, store: TokenStore, rows: np.ndarray) -> Truth:
    """The types of each row's entities; where words have a tag each, those."""
    words = cut_out(gold.ids, gold.offsets[rows], np.diff(gold.offsets)[rows])
    row = np.repeat(np.arange(len(rows)), words.lengths)
    starts = _starts(tags, words.flat, row)
    codes = Ragged((tags.types_of_tags[words.flat[starts]] - 1).astype(np.int32), np.bincount(row[starts], minlength=len(rows)))

    def shown(place: int) -> str:
        number = int(rows[place])
        begins, ends = (store.values(name, number) for name in ("word_start", "word_end"))
        text = store.string("text", number)
        parts = [f"{text[begins[a]:ends[b - 1]]!r} {kind}" for a, b, kind in tags.spans(gold.of(number))]
        return ", ".join(parts[:SHOWN]) + (" ..." if len(parts) > SHOWN else "") or "no entity"

    same = digests(words)
    if tags.labels:
        same = same ^ digests(values_of(store, "label", rows))
    return Truth("tag" if tags.scheme == "none" else "entity", same, shown, tags.types, codes)


def _starts(tags: Tags, ids: np.ndarray, row: np.ndarray) -> np.ndarray:
    """int64: the places of words that begin an entity, as `Tags.spans` finds them, of all rows at once."""
    kind = np.where(ids < 0, 0, tags.types_of_tags[ids])
    begin, end = tags.begins[ids], tags.ends[ids]
    first = np.concatenate([[True], row[1:] != row[:-1]])[:len(row)]
    before = np.concatenate([[0], kind[:-1]])[:len(row)]
    ended = np.concatenate([[False], end[:-1]])[:len(row)]
    return np.flatnonzero((kind > 0) & (begin | first | (kind != before) | ended))
