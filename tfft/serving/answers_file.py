"""Rows with their answers as a csv or jsonl file: every column of a row is kept, whatever its values are."""

import base64
import csv
import datetime
import decimal
import json
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from tfft.data.sources import Row
from tfft.errors import UserError
from tfft.tasks.base import Structured


def write_answers(path: Path, suffix: str, answered: Iterable[tuple[Row, dict]]) -> None:
    """Writes rows, each with its answer's columns, as ".csv" or ".jsonl". A row without columns of its own, which could not be
    read, keeps its place.

    Raises: UserError where a row has a column with the name of one of the answers.
    """
    # half a surrogate pair, which a json file can hold, is written as json writes it
    with open(path, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        if suffix == ".csv":
            order = _write_csv(file, answered)
        else:
            for row, answer in answered:
                file.write(json.dumps(plain({**_checked(row, answer), **answer}), ensure_ascii=False) + "\n")
            return
    if order:
        _reorder(path, order)


def _checked(row: Row, answer: dict) -> dict[str, Any]:
    if taken := answer.keys() & row.record.keys():
        raise UserError(f"{row.file}:{row.line}: its column {min(taken)!r} has the name of a column of the answers. Rename it, "
                        "or leave it out of the input.")
    return row.record


def _write_csv(file: TextIO, answered: Iterable[tuple[Row, dict]]) -> dict[str, int]:
    """Writes rows; returns, where later rows have columns that the first has not, all columns in the order they should have,
    and the places that they have."""
    writer, early, first = csv.writer(file), [], 0
    own: dict[str, int] = {}  # columns of rows, and their places
    places: dict[str, int] = {}

    def write(record: dict, answer: dict) -> None:
        cells = dict.fromkeys(range(len(places)), "")
        cells |= {places[name]: cell(value) for name, value in (record | answer).items()}
        writer.writerow(cells.values())

    for row, answer in answered:
        record = _checked(row, answer)
        if not first and not record:
            early.append(answer)  # what columns there are is not known yet
            continue
        for name in record:
            own.setdefault(name, len(places))
            places.setdefault(name, len(places))
        if not first:
            for name in answer:
                places.setdefault(name, len(places))
            first = len(places)
            writer.writerow(places)
            for other in early:
                write({}, other)
        write(record, answer)
    return {} if len(places) == first else own | places


def _reorder(path: Path, order: dict[str, int]) -> None:
    """Writes a csv file anew: all columns, for all rows."""
    csv.field_size_limit(sys.maxsize)
    other = path.with_name(f"{path.name}.csv")
    try:
        with (open(path, encoding="utf-8", newline="") as old,
              open(other, "w", encoding="utf-8", newline="") as new):
            rows, writer = csv.reader(old), csv.writer(new)
            next(rows)
            writer.writerow(order)
            writer.writerows([cells[place] if place < len(cells) else "" for place in order.values()] for cells in rows)
        os.replace(other, path)
    finally:
        other.unlink(missing_ok=True)


def cell(value: Any) -> Any:
    """A value in a csv field: what is nested as JSON, what is missing empty."""
    if isinstance(value, (str, bool, int, decimal.Decimal)):
        return value
    value = plain(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def plain(value: Any) -> Any:
    """A value as JSON can have it: what is not finite is null, dates are in ISO 8601, bytes text (base64 where they are none),
    a Decimal a number where that says the same."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name if isinstance(name, str) else str(plain(name)): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            return None
        number = int(value) if value == value.to_integral_value() else float(value)
        return number if decimal.Decimal(repr(number)) == value else str(value)
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value)


def joined(value: Any, separator: str) -> Any:
    """A list of names or numbers as one text that the reader of labels takes apart again: as JSON where a name has the
    separator or a line break in it, or begins as a list would. Other values as they are."""
    if not isinstance(value, list) or isinstance(value, Structured) or any(isinstance(one, (dict, list)) for one in value):
        return value
    names = [str(one) for one in value]
    simple = all(name and name == name.strip() and name[0] not in "[({" and not set(name) & {separator, *separator, "\n", "\r"}
                 for name in names)
    return separator.join(names) if simple else json.dumps(value, ensure_ascii=False)
