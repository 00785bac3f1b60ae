"""Which candidate a label means: its index, number, letter or text. Imports no TensorFlow."""

import string
from collections.abc import Sequence
from typing import Any

from tfft.data import fields
from tfft.data.fields import Unusable
from tfft.data.spelling import bit_of, index_of

READINGS = ("index", "number", "letter", "text", "flags")  # flags: a 0 or 1 for each candidate


def positions(label: Any, texts: Sequence[str], names: Sequence[str], how: str, column: str) -> tuple[list[int], str]:
    """(places of the right candidates, how the label was read: one of READINGS).

    names: what the candidates are labelled, () where they are not; how: config.data.label_values. A list is several labels,
    or a 0 or 1 for each candidate. Raises: Unusable, where a label is none of the candidates, or can be two of them.

    positions("B", ["red", "blue"], (), "auto", "label") -> ([1], "letter")
    """
    listed = fields.as_list(label)
    if listed is None:
        return _of_one(label, texts, names, how)
    bits = [-1 if fields.missing(one) else bit_of(fields.name(one)) for one in listed]
    if how == "auto" and len(bits) == len(texts) and -1 not in bits:
        return [place for place, bit in enumerate(bits) if bit], "flags"
    found = [_of_one(one, texts, names, how) for one in listed]
    if not found:
        return [], "flags"
    return sorted({place for places, _ in found for place in places}), found[0][1]


def _of_one(label: Any, texts: Sequence[str], names: Sequence[str], how: str) -> tuple[list[int], str]:
    name = fields.name(label)
    found = {reading: places for reading in READINGS[:4] if (places := _read(name, texts, names, reading))}
    if how != "auto":
        if how in found:
            return found[how], how
        raise Unusable(f"its label {name!r} is {_wanted(how, texts, names)} of none of its {len(texts)} candidates "
                       f"(config.data.label_values={how})")
    found.pop("number", None)  # what a file counts from 1 cannot be told from a row
    if name in names:
        return found["letter"], "letter"
    if not found:
        raise Unusable(f"its label {name!r} is none of its {len(texts)} candidates: neither {_wanted('index', texts, names)}, "
                       f"nor {_wanted('letter', texts, names)}, nor {_wanted('text', texts, names)}{_hint(name, texts)}")
    if any(places != next(iter(found.values())) for places in found.values()):
        told = " and ".join(f"as {reading} {texts[places[0]]!r:.40}" for reading, places in found.items())
        raise Unusable(f"its label {name!r} can be read {told}: set config.data.label_values to "
                       f"{' or '.join(found)}")
    return next(iter(found.items()))[::-1]


def _read(name: str, texts: Sequence[str], names: Sequence[str], reading: str) -> list[int]:
    """The places of the candidates that a label can mean, read in one way."""
    if reading == "text":
        return [place for place, text in enumerate(texts) if text.strip() == name]
    if reading == "letter":
        if name in names:
            return [names.index(name)]
        place = string.ascii_uppercase.find(name.upper()) if len(name) == 1 else -1
    else:
        place = index_of(name) - (reading == "number")
    return [place] if 0 <= place < len(texts) else []


def _wanted(reading: str, texts: Sequence[str], names: Sequence[str]) -> str:
    last = len(texts) - 1
    if reading == "letter":
        shown = ", ".join(names[:6]) if names else f"A to {string.ascii_uppercase[min(last, 25)]}"
        return f"the {'label' if names else 'letter'} ({shown})"
    return {"index": f"the index (0 to {last})", "number": f"the number (1 to {last + 1})", "text": "the text"}[reading]


def _hint(name: str, texts: Sequence[str]) -> str:
    if index_of(name) == len(texts):
        return ". If they are counted from 1: --config.data.label_values=number"
    return ""
