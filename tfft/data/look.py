"""A look at a file's rows: what its columns hold. What they are for is each task's guess, in tasks/<task>/guess.py."""

import collections
import dataclasses
import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tfft.config import Data
from tfft.data.content import opened
from tfft.data.dialect import NONE, dialect
from tfft.data.encodings import Lines
from tfft.data.fields import Unusable, as_list, missing, name
from tfft.data.sources import Source
from tfft.errors import UserError

ROWS = 20_000  # looked at
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
                            "\U00020000-\U0003ffff]")
TOKENS_A_WORD = 1.35  # of WordPiece on English prose; `tfft plan` counts them


class Column:
    """The values of a column that are neither missing nor blank."""

    def __init__(self, column: str, values: list):
        self.name = column
        self.values = [v for v in values if not missing(v) and not (isinstance(v, str) and not v.strip())]
        self.missing = len(values) - len(self.values)

    @functools.cached_property
    def numbers(self) -> list[float] | None:
        """Its numbers; None where anything else is there."""
        made = [as_number(value) for value in self.values]
        return None if not made or None in made else made

    @functools.cached_property
    def lists(self) -> list[list] | None:
        """Its lists, also as JSON or Python writes them; None where anything else is there."""
        made = [as_list(value) for value in self.values]
        return None if not made or None in made else made

    @functools.cached_property
    def counts(self) -> collections.Counter:
        """How often each value is there, by its name; empty where values are no names."""
        try:
            return collections.Counter(name(value) for value in self.values)
        except Unusable:
            return collections.Counter()

    @functools.cached_property
    def is_text(self) -> bool:
        return bool(self.values) and self.lists is None and self.numbers is None and all(
            isinstance(value, str) for value in self.values)

    @functools.cached_property
    def words(self) -> float:
        """Words that a text has on average."""
        return sum(map(_words, self.values)) / max(1, len(self.values)) if self.is_text else 0.0

    def told(self, most: int = 5) -> str:
        """'3 values: a (5), b (4), c (1)'"""
        shown = ", ".join(f"{value[:30]} ({count:,})" for value, count in self.counts.most_common(most))
        return f"{len(self.counts):,} values: {shown}{', ...' if len(self.counts) > most else ''}"


@dataclasses.dataclass
class Look:
    """What a file holds. settings: of config.data, that read it so, by name; why: what these follow from, by name; words: what
    its reader has to say."""

    spec: str
    kind: str
    file: str
    rows: int
    columns: dict[str, Column]
    settings: dict[str, Any]
    why: dict[str, str]
    words: list[str]

    def named(self, *names: str) -> Column | None:
        """The column with one of these names, whatever their case."""
        known = {plain(column): column for column in self.columns}
        return next((self.columns[known[each]] for each in names if each in known), None)


class Guess(NamedTuple):
    """What rows can be for: what is learnt, by which settings of config.data and config.task, and why.

    learn: one word; score: the higher the better; texts: the columns whose lengths count; why: by setting.
    """

    task: str
    learn: str
    what: str
    score: float
    settings: dict[str, Any]
    texts: tuple[str, ...]
    why: dict[str, str]


def look(spec: str, cache: Path, **given: Any) -> Look:
    """Reads the first rows of a source, and finds what reads them. given: settings of config.data that are known.

    Raises: UserError where there are no rows, or some that cannot be read, unless on_broken_row=skip leaves them out.
    """
    source, records = _read(spec, cache, given)
    settings, why = dict(given), {}
    if source.kind in ("csv", "tsv"):
        if "header" not in given and (reason := _no_header(records)):
            settings["header"], why["header"] = False, reason
            source, records = _read(spec, cache, settings)
        delimiter = "" if "delimiter" in given else _delimiter(source.files[0], source.kind, settings)
        if delimiter and delimiter != {"csv": ",", "tsv": "\t"}[source.kind]:
            settings["delimiter"] = "tab" if delimiter == "\t" else delimiter
            why["delimiter"] = "what stands between the fields"
    names = dict.fromkeys(itertools.chain.from_iterable(records))
    columns = {each: Column(each, [record.get(each) for record in records]) for each in names}
    if source.broken_count and given.get("on_broken_row") != "skip":
        raise UserError(f"{source.broken_report()}. Mend the file, or leave such rows out with "
                        "--config.data.on_broken_row=skip.")
    words = [line for line in source.told() if line != source.broken_report()]
    return Look(source.spec, source.kind, source.files[0], len(records), columns, settings, why, words)


def _read(spec: str, cache: Path, settings: dict[str, Any]) -> tuple[Source, list[dict]]:
    source = Source(spec, dataclasses.replace(Data(), **{**settings, "on_broken_row": "skip"}), (), cache)
    records = [row.record for row in itertools.islice(source.rows(), ROWS)]
    if not records:
        raise UserError(f"{source.spec} holds no rows that can be read. {source.broken_report()}".strip())
    return source, records


def _no_header(records: list[dict]) -> str:
    """Why the names of the columns look like a row; '' where they do not."""
    for column in records[0]:
        values = {value for record in records if isinstance(value := record.get(column), str)}
        if as_number(column) is not None:
            return f"the first line has the number {column}"
        if len(column.split()) > 6:
            return f"the first line has a text, {column[:40]!r}"
        if len(values) <= len(records) / 2 and column in values:
            return f"the first line has {column[:40]!r}, which other rows have too"
    return ""


def _delimiter(file: str, kind: str, settings: dict[str, Any]) -> str:
    """What the reader of tables takes for the separator of a file's fields; '' where there is none."""
    with opened(file) as content:
        sample = Lines(content, file, settings.get("encoding", "utf-8")).sample()
    found = dialect(sample, kind, "auto", settings.get("quoting", "auto"), settings.get("header", True)).delimiter
    return "" if found == NONE else found


def as_number(value: Any) -> float | None:
    """A number, or a text that is one, with a decimal point or comma."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        return float(value.replace(",", ".")) if NUMBER.fullmatch(value) else None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def script(texts: list[str]) -> tuple[str, float]:
    """(the script that most letters are of, its share): ('THAI', 0.97)"""
    letters = [letter for text in texts[:500] for letter in text[:500] if letter.isalpha()]
    counts = collections.Counter(unicodedata.name(letter, "?").split()[0] for letter in letters)
    (found, count), = counts.most_common(1) or [("LATIN", 0)]
    return found, count / max(1, len(letters))


def plain(column: str) -> str:
    """'Review Text' -> 'review_text'"""
    return re.sub(r"[\W_]+", "_", column.strip().lower()).strip("_")


def _words(text: str) -> float:
    """Words of a text; of scripts without spaces two characters are taken for one."""
    dense = len(WITHOUT_SPACES.findall(text))
    return len(text.split()) + dense / 2


def tokens(texts: list[str]) -> Iterator[int]:
    """About how many tokens each text has."""
    for text in texts:
        dense = len(WITHOUT_SPACES.findall(text))
        yield round(2 + dense + TOKENS_A_WORD * len(WITHOUT_SPACES.sub(" ", text).split()))
