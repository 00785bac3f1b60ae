"""Entities as character spans: reading the shapes that people write them in, and turning them into tags of words."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tfft.tasks.token_classification import schemes

START_KEYS = ("start", "start_offset", "begin")
END_KEYS = ("end", "end_offset")
TYPE_KEYS = ("label", "type", "entity", "tag", "labels", "entity_group")
LIST_KEYS = ("label", "labels", "entities", "spans")

Span = tuple[int, int, str]
"""(first character, character after the last, type)"""


def tags_of_spans(words: Sequence[tuple[int, int]], spans: Iterable[Span], length: int) -> tuple[list[str], list[str]]:
    """(IOB2 tags of words, problems) of a text of `length` characters. `words`, in order, are (start, end), ends exclusive.

    "New York wins": [(0, 3), (4, 8), (9, 13)], [(0, 8, "LOC")], 13 -> (["B-LOC", "I-LOC", "O"], [])

    Problems are

    - "empty": the span holds no word, or ends before it begins; it is dropped
    - "outside": it reaches beyond the text; it is dropped
    - "overlaps": it shares a word with a longer one (of equal ones the earlier); it is dropped
    - "crosses words": it begins or ends inside a word, and is widened to whole words

    White space at a span's ends and spans given twice are none.
    """
    starts, ends = [start for start, _ in words], [end for _, end in words]
    tags, problems, found = ["O"] * len(words), [], []
    for start, end, kind in dict.fromkeys(spans):
        first, stop = bisect_right(ends, start), bisect_left(starts, end)
        if end <= start:
            problems.append("empty")
        elif start < 0 or end > length:
            problems.append("outside")
        elif first >= stop:
            problems.append("empty")
        else:
            found.append((start - end, start, first, stop, kind))
            if starts[first] < start or ends[stop - 1] > end:
                problems.append("crosses words")
    for _, _, first, stop, kind in sorted(found, key=lambda span: span[:2]):
        if any(tag != "O" for tag in tags[first:stop]):
            problems.append("overlaps")
        else:
            tags[first:stop] = schemes.from_spans([(0, stop - first, kind)], stop - first, "IOB2")
    return tags, problems


def read_spans(value: Any, end_inclusive: bool, text: str) -> list[Span]:
    """The spans that a row's field holds, ends exclusive. Known shapes, also as a string of JSON:

        [{"start": 0, "end": 4, "label": "PER"}]                     also type, entity, tag; start_offset, end_offset
        [[0, 4, "PER"]]
        {"label": [[0, 4, "PER"]]}   {"entities": [...]}             doccano, spaCy
        {"name": {"Anna": [[0, 4]]}}                                 CLUENER: type -> what the text has there -> places
        [{"value": {"start": 0, "end": 4, "labels": ["PER"]}}]       Label Studio

    Raises: ValueError with the reason where it is none of these, or where the text has something else than is said.
    """
    spans = []
    for start, end, kind, surface in _shapes(value):
        end += end_inclusive
        there = text[start:end] if start >= 0 else ""
        if surface is not None and (surface != there or end > len(text)):
            written = f"{start} to {end - end_inclusive} (end {'inclusive' if end_inclusive else 'exclusive'})"
            raise ValueError(f"the text at {written} is {there!r} where the span says {surface!r}")
        spans.append((start, end, kind))
    return spans


def detect_end(rows: Iterable[tuple[Any, str]]) -> bool | None:
    """Whether ends are inclusive, from rows of (spans' field, text) whose spans say what the text has there; None: no telling.

    [({"name": {"Anna": [[0, 3]]}}, "Anna sat")] -> True, for text[0:3] is "Ann" and text[0:4] is "Anna"

    The majority decides; rows in no known shape are left to read_spans to tell of.
    """
    inclusive = exclusive = 0
    for value, text in rows:
        try:
            spans = list(_shapes(value))
        except ValueError:
            continue
        for start, end, _, surface in spans:
            if surface and start >= 0:
                exclusive += text[start:end] == surface
                inclusive += end < len(text) and text[start:end + 1] == surface
    return None if inclusive == exclusive else inclusive > exclusive


def _shapes(value: Any) -> Iterator[tuple[int, int, str, str | None]]:
    """(start, end as written, type, surface where it is told) of each span in any known shape."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"the spans {_short(value)} are no JSON ({error})") from error
    if isinstance(value, dict):
        lists = [key for key in LIST_KEYS if isinstance(value.get(key), (list, tuple))]
        if len(lists) == 1:
            value = value[lists[0]]
        elif all(isinstance(places, dict) for places in value.values()):
            yield from _by_surface(value)
            return
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"the spans {_short(value)} are in no known shape: write [{{\"start\": 0, \"end\": 4, \"label\": "
                         f"\"PER\"}}] or [[0, 4, \"PER\"]], and [] where there are none")
    for item in value:
        yield from _one(item)


def _by_surface(value: dict) -> Iterator[tuple[int, int, str, str]]:
    for kind, surfaces in value.items():
        for surface, places in surfaces.items():
            if not isinstance(places, (list, tuple)):
                raise ValueError(f"the places of {surface!r} are {_short(places)}: write a list such as [[0, 4]]")
            for place in places:
                if not isinstance(place, (list, tuple)) or len(place) != 2:
                    raise ValueError(f"the place {_short(place)} of {surface!r} should be [start, end]")
                yield _offset(place[0], "start", place), _offset(place[1], "end", place), _type(kind, place), surface


def _one(item: Any) -> Iterator[tuple[int, int, str, str | None]]:
    """The span of a list's element; several where it has several labels."""
    if isinstance(item, (list, tuple)):
        if len(item) != 3:
            raise ValueError(f"the span {_short(item)} should be [start, end, label]")
        yield _offset(item[0], "start", item), _offset(item[1], "end", item), _type(item[2], item), None
        return
    if not isinstance(item, dict):
        raise ValueError(f"the span {_short(item)} is neither an object nor a list")
    if isinstance(item.get("value"), dict):
        item = item["value"]
    start, end, kinds = (_member(item, keys) for keys in (START_KEYS, END_KEYS, TYPE_KEYS))
    surface = item["text"] if isinstance(item.get("text"), str) else None
    if isinstance(kinds, (list, tuple)) and not kinds:
        raise ValueError(f"the span {_short(item)} has no label")
    for kind in kinds if isinstance(kinds, (list, tuple)) else [kinds]:
        yield _offset(start, "start", item), _offset(end, "end", item), _type(kind, item), surface


def _member(item: dict, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if key in item:
            return item[key]
    raise ValueError(f"the span {_short(item)} has none of {', '.join(keys)}")


def _offset(value: Any, what: str, item: Any) -> int:
    """A whole number, also one that was read as 4.0."""
    if isinstance(value, bool) or not hasattr(value, "__index__") and not (isinstance(value, float) and value.is_integer()):
        raise ValueError(f"the span {_short(item)} has no whole number as its {what}")
    return int(value)


def _type(value: Any, item: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"the span {_short(item)} has no name as its label")
    return value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
