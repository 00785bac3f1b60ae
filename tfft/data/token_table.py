"""Groups the rows of a table with one token a row into records of whole sentences."""

from collections.abc import Iterable, Iterator
from typing import Any

from tfft.data.records import Broken, Note, Record
from tfft.errors import UserError, unknown

LOOKED_AT = 1000  # rows that may come before one with the column


def token_table(records: Iterable[Record | Broken | Note], sentence_column: str) -> Iterator[Record | Broken | Note]:
    """Groups a file's rows of one token each into one record a sentence, the columns as lists, the sentence's name as it is.

        Sentence #,Word,Tag
        Sentence: 1,EU,B-ORG    ->  Record({"Sentence #": "Sentence: 1", "Word": ["EU", "rejects"], "Tag": [...]}, file, 2)
        ,rejects,O

    A row belongs to the sentence of the row before it where its cell in `sentence_column` is empty or the same. A sentence
    whose name comes again later, apart, is Broken there; and where a row between tokens is Broken, so are the sentences that
    it stands in or beside, for either may have lost a token. Names are kept in memory, tokens only of one sentence.

    Raises: UserError where none of the first rows has such a column.
    """
    table = _Table(sentence_column)
    for record in records:
        if isinstance(record, Note):
            yield record
        elif isinstance(record, Broken):
            table.add_broken(record)
        else:
            yield from table.add(record)
    yield from table.close()


class _Table:
    """The sentence that is being gathered, and where those before it began."""

    def __init__(self, column: str):
        self.column, self.rows, self.name, self.reason, self.undecodable = column, [], "", "", False
        self.began: dict[str, int] = {}
        self.torn: Broken | None = None  # a broken row after which no other has come yet
        self.columns: dict[str, Any] | None = {}  # of the rows so far, until one has the column

    def add_broken(self, broken: Broken) -> None:
        if self.rows:
            self.reason, self.undecodable = self.reason or _torn(broken), self.undecodable or broken.undecodable
        self.torn = self.torn or broken

    def add(self, row: Record) -> Iterator[Record | Broken]:
        if self.columns is not None:
            self.columns |= dict.fromkeys(row.values)
            if self.column in row.values:
                self.columns = None
            elif len(self.rows) >= LOOKED_AT:
                self._raise_unknown()
        name = _cell(row.values.get(self.column))
        if not self.rows or (name and name != self.name):
            if self.rows:
                yield from self.close()
            self._start(name, row)
        self.torn = None
        self.rows.append(row)

    def _raise_unknown(self) -> None:
        raise UserError(f"{self.rows[0].file}:{self.rows[0].line}: {unknown('column', self.column, self.columns)}")

    def _start(self, name: str, row: Record) -> None:
        self.name, self.reason = name, _torn(self.torn) if self.torn else ""
        self.undecodable = bool(self.torn and self.torn.undecodable)
        if not name:
            self.reason = self.reason or f"column {self.column} is empty, and no row above it names a sentence"
        elif name in self.began:
            self.reason = self.reason or (f"sentence {name!r} began at line {self.began[name]} and ended before this row: "
                                          f"put the rows of a sentence together, or give each sentence its own name")
        self.began.setdefault(name, row.line)

    def close(self) -> Iterator[Record | Broken]:
        """Gives the sentence gathered so far; without any row, the broken one."""
        if self.rows and self.columns is not None:
            self._raise_unknown()
        if not self.rows:
            yield from [self.torn] if self.torn and not self.began else []
        elif self.reason:
            yield Broken(self.rows[0].file, self.rows[0].line, self.reason, self.undecodable)
        else:
            columns = dict.fromkeys(column for row in self.rows for column in row.values)
            values = {column: [row.values.get(column) for row in self.rows] for column in columns}
            yield Record(values | {self.column: self.name}, self.rows[0].file, self.rows[0].line)
        self.rows = []


def _torn(broken: Broken) -> str:
    return f"line {broken.line}, in this sentence or beside it, is broken: {broken.reason}"


def _cell(value: Any) -> str:
    """A sentence's name; '' for an empty cell, null or NaN."""
    return "" if value is None or value != value else str(value).strip()
