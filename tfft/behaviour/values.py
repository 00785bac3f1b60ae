"""Values of a YAML file's sections, by what they are to be. All raise UserError with the line of one that is something else."""

import re
from typing import Any

from tfft.behaviour.located import Section

ALL = -1  # rows


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def text(section: Section, key: str, empty: bool = False) -> str:
    """A text; a whole number is one too."""
    if key not in section:
        section.fail("", f"{key}: is missing.")
    return _as_text(section, key, section[key], empty)


def texts(section: Section, key: str) -> list[str]:
    """A list of texts, or the one that stands there; [] where there is no such key."""
    value = section.get(key, [])
    return [_as_text(section, key, one, False) for one in (value if isinstance(value, list) else [value])]


def named_texts(section: Section, key: str) -> dict[str, list[str]]:
    """Lists of texts by name."""
    found = section.get(key, Section())
    if not isinstance(found, Section):
        section.fail(key, "lists of words by name are expected: {feeling: [love, like]}")
    return {name: texts(found, name) or found.fail(name, "it is empty.") for name in found}


def number(section: Section, key: str) -> float:
    if not _is_number(section[key]):
        section.fail(key, f"a number is expected, not {section[key]!r:.40}.")
    return float(section[key])


def whole(section: Section, key: str, default: int) -> int:
    value = section.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        section.fail(key, f"a whole number is expected, not {value!r:.40}.")
    return value


def row_count(section: Section, key: str) -> int:
    """A number of rows, ALL, or 0 where there is no such key."""
    if section.get(key) == "all":
        return ALL
    if key in section and not whole(section, key, 0):
        section.fail(key, "a number of rows above 0, or all, is expected.")
    return whole(section, key, 0)


def share(section: Section, key: str, default: float) -> float:
    """0.05 of 0.05 and of 5%."""
    value = section.get(key, default)
    if is_text(value) and re.fullmatch(r"\d+(\.\d+)?\s*%", value):
        value = float(value.rstrip("% ")) / 100
    if not _is_number(value) or not 0 <= value <= 1:
        section.fail(key, f"a share such as 5% or 0.05 is expected, not {value!r:.40}.")
    return float(value)


def span(section: Section, key: str, value: Any) -> tuple[float, float]:
    """[low, high]"""
    if not (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]):
        section.fail(key, f"a range [low, high] is expected, not {value!r:.40}.")
    return float(value[0]), float(value[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_text(section: Section, key: str, value: Any, empty: bool) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not is_text(value) or not (value.strip() or empty):
        odd = " Write yes, no, on, off, true and false in quotes." if isinstance(value, bool) else ""
        section.fail(key, f"a text is expected{'' if value is None else f', not {value!r:.40}'}.{odd}")
    return value
