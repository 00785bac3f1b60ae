"""Columns that a source has and its store has not: read once more, for reports by any column."""

import itertools

import numpy as np

from tfft.data.fields import Unusable, name
from tfft.data.sources import Source
from tfft.data.store import TokenStore
from tfft.errors import UserError, unknown

LONGEST = 80     # characters of a value
LOOKED_AT = 200  # rows of a source that may come before one with a column


def check_columns(sources: list[tuple[Source, int]], wanted: tuple[str, ...], flag: str = "--slice") -> None:
    """Raises: UserError where none of the first rows of any source has a wanted column."""
    known: dict[str, None] = {}
    for source, _ in sources if wanted else ():
        for row in itertools.islice(source.rows(), LOOKED_AT):
            known |= dict.fromkeys(row.record)
    for column in wanted:
        if column not in known:
            raise UserError(f"{flag}={column}: {unknown('column', column, list(known))}")


def column_values(sources: list[tuple[Source, int]], store: TokenStore, rows: np.ndarray, wanted: tuple[str, ...]
                  ) -> dict[str, list[str]]:
    """What the columns say of rows int64[n] of a store, as texts, "" where they say nothing.

    sources: what the store's rows were read from, in this order, and where those of each begin. Raises: UserError where they
    are not the store's any more.
    """
    made = {column: [""] * len(rows) for column in wanted}
    place_of = {row: place for place, row in enumerate(rows.tolist())}
    lines = store.column("line")  # not the file: one that was moved is the same, and so is its store
    for source, begin in sources if wanted else ():
        for number, row in enumerate(source.rows(), begin):
            if (place := place_of.get(number)) is None:
                continue
            if lines[number] != row.line:
                raise UserError(f"{row.file}:{row.line} is no longer the row that was tokenised: the file has changed "
                                "meanwhile. Run the command again.")
            for column in wanted:
                made[column][place] = _text(row.record.get(column))
    return made


def _text(value) -> str:
    try:
        return name(value)[:LONGEST]
    except Unusable:
        return str(value)[:LONGEST]
