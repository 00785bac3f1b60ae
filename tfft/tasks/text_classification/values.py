"""What a value of the label column holds: a name, several names, a number. Of one row; what numbers stand for is decided when a
whole column is known (labels.py). Imports no TensorFlow."""

import csv
import re
from collections.abc import Callable
from typing import Any

from tfft.data import fields
from tfft.data.fields import Unusable
from tfft.data.literals import literal, looks_literal
from tfft.data.spelling import bit_of, number_of

# several 0 and 1 in one text, whatever stands between them: "0 1 1", "0;1;1", "1.0, 0.0"
BIT = r"\s*([01](\.0*)?|true|false)"
BITS = re.compile(rf"{BIT}(\s*[\s,;|]{BIT})+\s*", re.IGNORECASE)
MANY_BITS = re.compile(rf"{BIT}(\s*[\s,;|]{BIT}){{2,}}\s*", re.IGNORECASE)  # "0,1" could be a number
DIGITS = re.compile("[01]+")
ARRAY = re.compile(r"\s*\{([^{}:]*)\}\s*")  # as PostgreSQL writes one: {billing,"late delivery"}
BETWEEN = re.compile(r"\s*[\s,;|]\s*")


def single(value: Any, column: str, names_alone: bool) -> str:
    """The label of a row, as it is written. Raises: Unusable."""
    _there(value, column)
    text = isinstance(value, str) and not names_alone
    if isinstance(value, (list, tuple, dict)) or (text and isinstance(listed(value), list)):
        raise Unusable(f"column {column!r} is a list of labels; that needs config.task.problem=multi_label")
    if text and MANY_BITS.fullmatch(value):
        raise Unusable(f"column {column!r} holds {value!r:.40}, a 0 or 1 for each label; that needs "
                       "config.task.problem=multi_label (or, where it is a name, config.data.label_values=names)")
    name = _name(value)
    if not name:
        raise Unusable(f"column {column!r} (its label) is empty")
    return name


def several(value: Any, column: str, separator: str, ways: str) -> tuple[str, ...]:
    """The labels of a row, as they are written, each once; of numbers, and of true and false, all in their order: 1, 0, 1 says
    that the first and the third label hold. ways: config.data.label_values. Raises: Unusable."""
    _there(value, column, "; write an empty list or text where no label holds")
    if isinstance(value, bytes):
        value = fields.decoded(value)
    if isinstance(value, str):
        value = _parts(value, column, separator, ways)
    if isinstance(value, dict):
        value = _held(value, column)
    values = value if isinstance(value, (list, tuple)) else [value]
    if any(map(fields.missing, values)):
        raise Unusable(f"column {column!r} holds {value!r:.60}, in which a label is missing")
    names = [name for name in map(_name, values) if name]
    if all(number_of(name) is not None or bit_of(name) >= 0 for name in names):
        return tuple(names)
    return tuple(dict.fromkeys(names))


def held(value: Any, column: str) -> bool:
    """Whether the label holds that has a column of its own. Raises: Unusable."""
    _there(value, column)
    bit = -1 if isinstance(value, (list, tuple, dict)) else bit_of(fields.name(value))
    if bit < 0:
        raise Unusable(f"column {column!r} holds {value!r:.40}; a column of config.data.label_columns holds 1 where its label "
                       "holds, else 0")
    return bool(bit)


def of_columns(values: dict[str, Any], key: Callable[[str], str], columns: tuple[str, ...], one: bool) -> str | tuple[str, ...]:
    """The labels whose columns hold; the label, where `one` must. Raises: Unusable."""
    names = tuple(column for column in columns if values[key(column)])
    if not one:
        return names
    if len(names) != 1:
        found = f"its labels {names[0]!r} and {names[1]!r} both hold" if names else "none of its labels holds"
        raise Unusable(f"{found}; where any number may, set config.task.problem=multi_label")
    return names[0]


def listed(text: str) -> list | str | None:
    """A text that is a list of JSON, Python or numpy; the text again where it is in brackets and no such list; None for what is
    none at all."""
    text = text.strip()
    if not looks_literal(text):
        return None
    try:
        made = literal(text)
    except ValueError:
        if text[0] == "[" and BITS.fullmatch(text[1:-1]):
            return BETWEEN.split(text[1:-1].strip())
        return text if text[0] == "[" else None
    if isinstance(made, set):
        return sorted(made, key=str)
    return made if isinstance(made, (list, dict)) else None


def _parts(text: str, column: str, separator: str, ways: str) -> list | dict:
    found = listed(text)
    if isinstance(found, str):
        if ways == "names":
            found = None
        else:
            raise Unusable(f"column {column!r} holds {text!r:.60}, which is in brackets but no list of JSON or Python: its "
                           "names need quotes. Where brackets are part of names, set config.data.label_values=names")
    if found is not None:
        return found or []
    if ways != "names" and (array := ARRAY.fullmatch(text)):
        return _split(array[1], ",")
    if ways != "names" and BITS.fullmatch(text):
        return BETWEEN.split(text.strip())
    if ways == "multi_hot" and DIGITS.fullmatch(text.strip()):
        return list(text.strip())
    return _split(text, separator)


def _split(text: str, separator: str) -> list[str]:
    """The names that a separator joins; '"a,b",c' has two, where one is in quotes for what it holds."""
    parts = text.split(separator)
    if len(separator) > 1 or separator not in text or not any(part.lstrip().startswith('"') for part in parts):
        return parts
    try:
        made, = csv.reader([text], delimiter=separator, strict=True, skipinitialspace=True)
    except (csv.Error, ValueError, TypeError):
        return parts
    return made if any(separator in name for name in made) else parts


def _held(value: dict, column: str) -> list[str]:
    """The names of {"billing": 1, "delivery": 0} that hold."""
    bits = {name: -1 if isinstance(bit, (list, tuple, dict)) else bit_of(fields.name(bit)) for name, bit in value.items()}
    if not bits or min(bits.values()) < 0:
        raise Unusable(f"column {column!r} holds {value!r:.60}; an object of labels has a 0 or 1 for each of them")
    return [name for name, bit in bits.items() if bit]


def _name(value: Any) -> str:
    name = fields.name(value)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise Unusable("its label holds half a surrogate pair, which is no character") from error
    return name


def _there(value: Any, column: str, advice: str = "") -> None:
    if fields.missing(value):
        raise Unusable(f"column {column!r} (its label) is missing{advice}")
