"""Which rows of a language model are answered when it is judged, and what of rows was cut."""

import numpy as np

from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.tasks.texts.judging import some_rows


def samples(store: TokenStore, rows: np.ndarray, number: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(row, tokens of the prompt, tokens of the right answer) of so many rows at most, always the same ones: those with an
    answer that is whole within its example, the last one of a conversation."""
    def read(row: int):
        example = int(store.examples_of(np.array([row]))[0])
        tokens, learnt = store.values("tokens", example), store.values("learnt", example)
        places = np.flatnonzero(learnt)
        if len(tokens) < int(store.column("full_length")[row]) or not len(places):
            return None
        first = places[np.flatnonzero(np.diff(places, prepend=-2) > 1)[-1]]
        return (tokens[:first], tokens[first:places[-1] + 1]) if places[0] > 0 and first > 0 else None

    return some_rows(rows, number, read)


def remarks(store: TokenStore, rows: np.ndarray) -> list[str]:
    """What was cut of rows. Raises: UserError where nothing is left to learn."""
    examples = store.examples_of(rows)
    offsets, learnt = store.column("learnt_offsets"), store.column("learnt")
    sums = np.concatenate([[0], np.cumsum(learnt, dtype=np.int64)])
    each = sums[offsets[examples + 1]] - sums[offsets[examples]]
    row_of = store.row_of(examples)
    last = np.flatnonzero(np.append(np.diff(row_of) != 0, True))
    total = np.add.reduceat(each, np.append(0, last[:-1] + 1))
    parts, lengths = np.diff(np.append(-1, last)), np.asarray(store.lengths[examples], np.int64)
    cut = (parts == 1) & (np.asarray(store.column("full_length")[rows]) > lengths[last])
    nothing = total == 0
    if nothing.all():
        raise UserError("Nothing of these rows is learnt: no response begins within config.data.max_length tokens. Make it "
                        "larger.")
    told = []
    if cut.any():
        told.append(f"{cut.sum():,} of {len(rows):,} rows are longer than data.max_length and lose their ends, such as "
                    f"{store.place(rows[np.argmax(cut)])}; of {int((cut & nothing).sum()):,} no response is left")
    if (nothing & ~cut).any():
        told.append(f"{int((nothing & ~cut).sum()):,} rows have nothing to learn, such as "
                    f"{store.place(rows[np.argmax(nothing & ~cut)])}")
    return told
