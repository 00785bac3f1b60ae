"""The rows of a file that are asked about, with a place for those that cannot be."""

import re
from collections.abc import Iterator
from pathlib import Path

from tfft.config import Data
from tfft.data.fields import Field
from tfft.data.records import Broken, Record
from tfft.data.sources import Row, Source

LOST = re.compile(r"lines are lost|lines \d+ to \d+ are lost|lines between look like rows")  # what a reason says where it is so


class AskedRows(Source):
    """The rows of a source. Where `keep`, those that cannot be answered too: as rows without values, which no other row is;
    one against its file's format has no columns either."""

    def __init__(self, spec: str, data: Data, fields: tuple[Field, ...], cache: Path, keep: bool):
        super().__init__(spec, data, fields, cache)
        self._keep = keep
        self.read = self.empty_count = 0
        self._first_empty: Broken | None = None
        self._unread: list[Row] = []
        self.lost: Broken | None = None  # where lines of a file are in no row at all

    def rows(self, asked_only: bool = False) -> Iterator[Row]:
        for row in super().rows(asked_only):
            yield from self._counted(row)
        yield from self._counted()

    def _counted(self, *rows: Row) -> list[Row]:
        """The rows, after those before them that could not be read."""
        rows = [*self._unread, *rows]
        self._unread = []
        self.read += len(rows)
        return rows

    def _row(self, record: Record, asked_only: bool) -> Row | Broken:
        row = super()._row(record, asked_only)
        if isinstance(row, Row) or not self._keep:
            return row
        self.empty_count += 1
        self._first_empty = self._first_empty or row
        return Row("", {}, record.file, record.line, record.values)

    def _note(self, broken: Broken) -> None:
        super()._note(broken)
        if LOST.search(broken.reason):
            self.lost = self.lost or broken
        if self._keep:
            self._unread.append(Row("", {}, broken.file, broken.line, {}))
        else:
            self.read += 1

    def nothing(self) -> str:
        """Why no row that was read can be answered."""
        first = next(iter(self.broken), self._first_empty)
        return (f"None of the {self.read:,} rows of {self.spec} can be answered; first: {_told(first)}." if first else
                f"{self.spec} has no rows.")

    def broken_report(self) -> str:
        if not self._keep or not self.broken_count:
            return super().broken_report()
        rows = "row against its file's format is" if self.broken_count == 1 else "rows against their file's format are"
        return f"{self.broken_count:,} {rows} kept empty; first: {_told(self.broken[0])}"

    def told(self) -> list[str]:
        lines = super().told()
        if self._first_empty:
            rows = "row has" if self.empty_count == 1 else "rows have"
            lines.append(f"{self.empty_count:,} {rows} an empty answer; first: {_told(self._first_empty)}")
        return lines


def _told(broken: Broken) -> str:
    return f"{broken.file}:{broken.line}: {broken.reason}"
