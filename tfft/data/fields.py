"""Fields: what a task reads of a row, and how a value of a column becomes one.

    Field("text", "text_column", "review", text)      the column "review", named by config.data.text_column, as a text
"""

import dataclasses
import decimal
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfft.data.literals import literal, looks_literal
from tfft.data.records import DecimalComma


class Unusable(Exception):
    """Why a row is broken."""


class Undecodable(Unusable):
    """It is broken for its encoding."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One value of a row.

    name: under which a row has it; setting: of config.data that names its column; column: that name.
    read(value, column): what it becomes; raises Unusable. asked: it is part of what is asked; what is not (labels, say) is
    known in training and evaluation alone. text(value): an asked field as one text, for ids, reports and leak checks.
    details: all else that decides what `read` makes of a value; part of a store's fingerprint. A function, where it is in a
    file that prediction does without. finish(values): what becomes of the value when all fields of the row have been read;
    raises Unusable. otherwise: the column of a file that has no `column`. spread: the setting that names columns of 0 and 1
    instead, for a message about a file that has such. more: columns whose values `read` gets besides, as one list; where a
    file has `otherwise`, it gets that alone.
    """

    name: str
    setting: str
    column: str
    read: Callable[[Any, str], Any]
    asked: bool = True
    text: Callable[[Any], str] = str
    details: tuple | Callable[[], tuple] = ()
    finish: Callable[[dict[str, Any]], Any] | None = None
    otherwise: str = ""
    spread: str = ""
    more: tuple[str, ...] = ()


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, decimal.Decimal)) and math.isnan(value))


def text(value: Any, column: str) -> str:
    """A text that is not blank. Raises: Unusable."""
    if isinstance(value, str):
        if value and not value.isspace():
            return value
        raise Unusable(f"column {column!r} (its text) is {'blank' if value else 'empty'}")
    if missing(value):
        raise Unusable(f"column {column!r} (its text) is missing")
    if isinstance(value, bytes):
        return text(decoded(value), column)
    raise Unusable(f"column {column!r} holds {value!r:.40}, which is no text")


def decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Undecodable("its text is not valid UTF-8") from error


def name(value: Any) -> str:
    """A label, id or `where` value as text: 3, 3.0 and Decimal('3.00') are '3', what is missing is ''. Raises: Unusable."""
    if isinstance(value, str):
        return value.strip()
    if missing(value):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else _shortest(float(value))
    if isinstance(value, decimal.Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return str(int(value)) if whole else str(value.normalize())
    if isinstance(value, bytes):
        return decoded(value).strip()
    if isinstance(value, (dict, list, tuple)):
        raise Unusable(f"it holds {value!r:.40} where a name is expected")
    return str(value)


def label(value: Any, column: str, what: str = "its label") -> str:
    """A name that is not empty. Raises: Unusable."""
    made = name(value)
    if not made:
        raise Unusable(f"column {column!r} ({what}) is empty")
    return made


def _shortest(value: float) -> str:
    """0.3, also where it was a float32 once: 0.30000001192092896."""
    exact, short = repr(value), str(np.float32(value)) if abs(value) < 1e38 else ""
    return short if len(exact) > 15 and float(np.float32(value)) == value else exact


def as_list(value: Any) -> list | None:
    """A list, also as a string of JSON, of Python ("['EU', 'rejects']") or of numpy; None for what is no list."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, str) and looks_literal(value) and not value.lstrip().startswith(("(", "{")):
        try:
            made = literal(value)
        except ValueError:
            return None
        return made if isinstance(made, list) else None
    return None


def read_all(fields: Sequence[Field], values: dict[str, Any], column: Callable[[Field], str]) -> dict[str, Any]:
    """What the fields read of a row's values, by their names. column: where a field stands. Raises: Unusable."""
    made = {}
    for field in fields:
        where = column(field)
        value = values.get(where)
        if field.more and where == field.column:
            value = [value, *map(values.get, field.more)]
        made[field.name] = field.read(value, where)
    for field in fields:
        if field.finish:
            made[field.name] = field.finish(made)
    return made


def number(value: Any, column: str) -> float:
    """A finite number; with a decimal comma where the file's delimiter says so. Raises: Unusable."""
    try:
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
            raise ValueError
        made = float(value.replace(".", "").replace(",", ".") if isinstance(value, DecimalComma) else value)
    except OverflowError as error:
        raise Unusable(f"column {column!r} holds a number that is too large") from error
    except (TypeError, ValueError) as error:
        written, advice = value.strip() if isinstance(value, str) else "", ""
        if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?", written):
            advice = f": if it is {written.replace(',', '')}, write it so; if the comma is a decimal one, write a point"
        elif re.fullmatch(r"[-+]?\d+,\d+", written):
            advice = ": write a decimal point, or separate the fields by semicolons"
        raise Unusable(f"column {column!r} holds {value!r:.40}, which is no number{advice}") from error
    if not math.isfinite(made):
        raise Unusable(f"column {column!r} holds {value!r:.40}, which is not finite")
    return made


def filled(column: list) -> list:
    """Lists of texts as lists of one length, 1 at least, filled up with ""; other values as they are.

    [["a"], ["b", "c"]] -> [["a", ""], ["b", "c"]]
    """
    width = max([1, *(len(value) for value in column if isinstance(value, list))])
    return [[*value, *[""] * (width - len(value))] if isinstance(value, list) else value for value in column]
