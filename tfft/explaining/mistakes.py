"""The surest mistakes of a report, explained for its page.

By occlusion: of all methods here it finds best what decides, is the cheapest (docs/results/explaining.md), and asks nothing of
a model but its answers.
"""

import itertools
import json
import time
from collections.abc import Sequence

import numpy as np

from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.evaluation.predictor import Opened
from tfft.explaining.explainer import Explainer
from tfft.explaining.explanation import Explanation
from tfft.explaining.html import texts
from tfft.explaining.terminal import headline, strongest
from tfft.pages.html import Markup, markup, tag
from tfft.tasks.fields import LISTS

TOKENS = 8192  # that a model reads for one explanation
SECONDS = 10   # after the first one, whose graphs are traced; then no other mistake is explained
LONGEST = 600  # characters of a text
ANSWERS = 2    # of one row that has several


def explained(run: Opened, store: TokenStore, rows: np.ndarray, mistakes: Sequence[tuple], count: int) -> dict[str, Markup]:
    """The texts of the first `count` mistakes with their words in colours, by their places; {} where the run's task cannot be
    explained. rows int64[n] of the store: the judged ones; mistakes: see Report."""
    try:
        explainer = Explainer(run, "occlusion", tokens=TOKENS)
    except UserError:
        return {}
    made, end = {}, None
    for where, *_ in mistakes[:count]:
        if end and time.monotonic() > end:
            break
        if (row := _row_at(store, rows, where)) is None:
            continue
        try:
            found = list(itertools.islice(explainer(_asked(store, row)), ANSWERS))
        except UserError:  # of an answer without anything to explain
            continue
        made[where] = markup([_told(one) for one in found])
        end = end or time.monotonic() + SECONDS
    return {where: one for where, one in made.items() if one}


def _row_at(store: TokenStore, rows: np.ndarray, where: str) -> int | None:
    """Which of the rows comes from a place, file:line."""
    line = int(where.rpartition(":")[2])
    same = np.asarray(rows)[np.asarray(store.column("line"))[rows] == line]
    return next((row for row in same.tolist() if store.place(row) == where), None)


def _asked(store: TokenStore, row: int) -> dict:
    return {name: json.loads(text) if name in LISTS else text
            for name, text in zip(store.fields, store.texts(row), strict=True)}


def _told(one: Explanation) -> Markup:
    most = strongest(one)
    return markup([*texts(one, LONGEST), tag("p", headline(one), f"; most: {most}" if most else "", class_="soft")])
