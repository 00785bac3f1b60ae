"""The parts of rows that runs are compared on: by length, by label, by any column."""

from collections import Counter

import numpy as np

from tfft.run.candidate import Candidate
from tfft.run.columns import column_values
from tfft.tasks.base import quarters

VALUES = 20  # of a column that are parts of their own, those with most rows


def slices_of(one: Candidate, at: np.ndarray, wanted: tuple[str, ...]) -> list[tuple[str, str, np.ndarray]]:
    """(kind, title, places among the compared rows) of each part. at int64[n]: where these are in the evidence."""
    rows = one.evidence.rows[at]
    made = [("length", title, places) for title, places in quarters(np.asarray(one.store.column("full_length"))[rows])]
    for column, values in column_values(one.sources, one.store, rows, wanted).items():
        made += [(column, value, places) for value, places in by_value(values)]
    return made + [("label", name, places) for name, places in _by_label(one, at)]


def by_value(values: list[str]) -> list[tuple[str, np.ndarray]]:
    """(value, its places) of each, those with most rows first; of more than VALUES values the rest is one part.

    by_value(["x", "y", "x"]) -> [("x", [0, 2]), ("y", [1])]
    """
    common = [value for value, _ in Counter(values).most_common()]
    named = common if len(common) <= VALUES + 1 else common[:VALUES]
    array = np.array(values, object)
    made = [(value or "(none)", np.flatnonzero(array == value)) for value in named]
    if len(named) < len(common):
        made.append((f"{len(common) - len(named):,} other values", np.flatnonzero(~np.isin(array, named))))
    return made


def _by_label(one: Candidate, at: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Where what is counted of answers are labels of whole rows: the rows that have each."""
    truth = one.truth
    if not truth or not truth.names or not (truth.one or truth.several):
        return []
    row = np.repeat(np.arange(len(truth.codes.lengths)), truth.codes.lengths)
    where = np.full(len(one.evidence.rows), -1)
    where[at] = np.arange(len(at))
    made = []
    for code, name in enumerate(truth.names):
        places = np.unique(where[row[truth.codes.flat == code]])
        if len(places := places[places >= 0]):
            made.append((name, places))
    return made
