"""Columns of the judged rows that the store does not keep: they are read once more from where the rows came from."""

import itertools
from collections.abc import Sequence

import numpy as np

from tfft.config import Data, split_share
from tfft.data.fields import Unusable, name
from tfft.data.prepare import Preparer
from tfft.data.sources import Source
from tfft.data.store import TokenStore
from tfft.errors import UserError, unknown

LOOKED_AT = 200  # rows of a source that may come before one with a column


def own_sources(preparer: Preparer, split: str) -> list[Source]:
    """The sources whose rows, one after another, the store of one of an experiment's own splits has."""
    made = []
    for source, data in preparer.data.by_source().items():
        reading = preparer.reading.sources[source] if source else preparer.reading
        if spec := _spec(data, split):
            made.append(Source(spec, data, reading.fields, preparer.cache))
    return made


def _spec(data: Data, split: str) -> str:
    """The source of a split; of one that is a share of the training rows, theirs."""
    spec = {"train": data.train, "validation": data.validation, "test": data.test}[split]
    return spec if not spec or split_share(spec) is None else data.train


def columns(sources: Sequence[Source], store: TokenStore, rows: np.ndarray, wanted: Sequence[str]) -> dict[str, list[str]]:
    """The values of columns, as text, for some rows int64[n] of the store of these sources, in their order; '' where a row has
    none. All rows of the sources are read.

    columns([Source("csv:a.csv", ...)], store, np.array([2, 0]), ["group"]) -> {"group": ["old", "young"]}
    Raises: UserError where no row has such a column, or a file has changed since the store was made.
    """
    if not wanted:
        return {}
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows.tolist()):
        places.setdefault(row, []).append(place)
    made, known, number = {column: [""] * len(rows) for column in wanted}, {}, 0
    lines = store.column("line")
    for source in sources:
        for row in source.rows():
            if number in places:
                if lines[number] != row.line:
                    raise UserError(f"{row.file}:{row.line}: the file is not the one whose rows were judged: it has changed "
                                    "meanwhile. Judge once more.")
                known |= dict.fromkeys(row.record)
                for column in wanted:
                    value = _text(row, column)
                    for place in places[number]:
                        made[column][place] = value
            number += 1
    _check(sources, wanted, known)
    return made


def check_columns(sources: Sequence[Source], wanted: Sequence[str]) -> None:
    """Tells, before anything long begins, of a column that none of the first rows has. Raises: UserError."""
    if wanted:
        known: dict[str, None] = {}
        for source in sources:
            for row in itertools.islice(source.rows(), LOOKED_AT):
                known |= dict.fromkeys(row.record)
        _check(sources, wanted, known)


def _check(sources: Sequence[Source], wanted: Sequence[str], known: dict[str, None]) -> None:
    for column in wanted:
        if column not in known:
            raise UserError(f"{sources[0].spec}: {unknown('column', column, known)}")


def _text(row, column: str) -> str:
    try:
        return name(row.record.get(column))
    except Unusable as error:
        raise UserError(f"{row.file}:{row.line}: column {column!r} cannot make groups of rows: {error}.") from error
