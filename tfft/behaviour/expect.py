"""What a test expects of an answer, and what of an answer stays where its text is changed.

An answer is what Task.answers gives: values by name, the first of which is what is answered, and the probability of each label
where there are labels. ({"predicted_label": "pos", "probability": 0.9}, {"neg": 0.1, "pos": 0.9})
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tfft.errors import UserError, unknown

Answer = tuple[dict[str, Any], dict[str, float]]
SLACK = 1e-9  # of sums of floats: 0.3 - 0.2 is at least 0.1


class Target(NamedTuple):
    """A number of an answer that a change moves: the probability of a label, or a value by its name."""

    name: str
    place: str  # where it is asked for


def first(answer: Answer) -> Any:
    """What is answered: a name, a text, a number, a list."""
    return next(iter(answer[0].values()))


def said(answer: Answer) -> Any:
    """What of an answer stays where its text is changed; None where it is a number or a vector. Of entities their types,
    in their order: their words change with the text."""
    found = [_said(value) for i, (name, value) in enumerate(answer[0].items()) if not i or name == "entities"]
    return None if found == [None] else found


def stays(before: Answer, after: Answer, of: Callable[[str], str] | None = None) -> bool:
    """Whether an answer says the same; of: a change of the text, after which a text that is answered may be changed alike."""
    one, other = said(before), said(after)
    return one == other or of is not None and not before[1] and _changed(one, of) == other


def _changed(value: Any, of: Callable[[str], str]) -> Any:
    return of(value) if isinstance(value, str) else [_changed(one, of) for one in value] if isinstance(value, list) else value


def _said(value: Any) -> Any:
    if isinstance(value, float) or _is_vector(value):
        return None
    if not isinstance(value, list):
        return value
    if all(isinstance(one, str) for one in value):
        return sorted(value)
    if all(isinstance(one, dict) for one in value):
        return [one.get("type", one) for one in value]
    return [one[0].get("token", one[0]) if isinstance(one, list) and one else one for one in value]  # the words of masks


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(one, float) for one in value)


def number(answer: Answer) -> float | None:
    """The number that is answered: a value, or how alike two texts are; None where it is none."""
    value = first(answer)
    return value if isinstance(value, float) else None


def apart(one: Answer, other: Answer) -> float:
    """How far two answers are from each other: of numbers their difference, of vectors 1 less the cosine, of labels the largest
    difference of a probability."""
    a, b = first(one), first(other)
    if _is_vector(a):
        scale = math.hypot(*a) * math.hypot(*b)
        return 1.0 - sum(x * y for x, y in zip(a, b, strict=True)) / scale if scale else float(a != b)
    if isinstance(a, float):
        return abs(a - b)
    return max((abs(p - other[1].get(name, 0.0)) for name, p in one[1].items()), default=0.0)


def measured(answer: Answer, target: Target) -> float:
    """The number that a target names. Raises: UserError where the answer has no such one."""
    values, each = answer
    if target.name in each:
        return each[target.name]
    numbers = {name: value for name, value in values.items() if isinstance(value, float)}
    if target.name in numbers:
        return numbers[target.name]
    if target.name == "value" and number(answer) is not None:
        return number(answer)
    raise UserError(f"{target.place}: {unknown('label or value of the answers', target.name, [*each, *numbers])}")


def shown(answer: Answer) -> str:
    """An answer for a person: "pos 0.93", "3.4200", "Paris [location]"."""
    values, each = answer
    value = first(answer)
    if _is_vector(value):
        return "a vector"
    told = []
    for i, (name, value) in enumerate(values.items()):
        if name == "entities":
            told.append(", ".join(f"{one['text']} [{one['type']}]" for one in value) or "no entities")
        elif not i:
            told.append(f"{value:.4f}" if isinstance(value, float) else ", ".join(map(str, value)) or "(none)"
                        if isinstance(value, list) else str(value) or "(none)")
    if isinstance(first(answer), str) and first(answer) in each:
        told.append(f"{each[first(answer)]:.2f}")
    return " ".join(told)


# ---- what is expected: each returns why an answer is wrong, or ''

def is_one(answer: Answer, names: list[str], place: str) -> str:
    """The label, candidate or text is one of these."""
    value = _text(answer, place)
    if answer[1]:
        for name in names:
            if name not in answer[1]:
                raise UserError(f"{place}: {unknown('label', name, answer[1])}")
    return "" if value in names or value.strip() in names else f"not {' or '.join(names)}"


def are(answer: Answer, names: list[str], place: str) -> str:
    """The labels are exactly these."""
    value = first(answer)
    if not isinstance(value, list) or any(not isinstance(one, str) for one in value):
        raise UserError(f"{place}: these answers are no lists of labels, but {shown(answer)[:60]!r}. For one write label:")
    return "" if sorted(value) == sorted(names) else f"not {', '.join(names) or 'none'}"


def contains(answer: Answer, texts: list[str], place: str) -> str:
    """All of these are among the labels, or in the text."""
    missing = [one for one in texts if one not in _held(answer, place)]
    return f"without {', '.join(missing)}" if missing else ""


def lacks(answer: Answer, texts: list[str], place: str) -> str:
    found = [one for one in texts if one in _held(answer, place)]
    return f"with {', '.join(found)}" if found else ""


def matches(answer: Answer, pattern: re.Pattern, place: str) -> str:
    return "" if pattern.search(_text(answer, place)) else f"no match of {pattern.pattern}"


def between(answer: Answer, bounds: tuple[float, float], place: str) -> str:
    """The number is in a range, its ends too."""
    value = number(answer)
    if value is None:
        raise UserError(f"{place}: these answers are no numbers, but {shown(answer)[:60]!r}. For a label's probability write "
                        "probability: {LABEL: [low, high]}")
    return "" if bounds[0] <= value <= bounds[1] else f"not {bounds[0]:g} to {bounds[1]:g}"


def probabilities(answer: Answer, ranges: dict[str, tuple[float, float]], place: str) -> str:
    wrong = []
    for name, (low, high) in ranges.items():
        value = measured(answer, Target(name, place))
        wrong += [] if low <= value <= high else [f"{name} {value:.2f}, not {low:g} to {high:g}"]
    return "; ".join(wrong)


def entities(answer: Answer, wanted: list[dict[str, str]], place: str) -> str:
    """Each of these is found; none where the list is empty."""
    found = answer[0].get("entities")
    if found is None:
        raise UserError(f"{place}: these answers have no entities, but {shown(answer)[:60]!r}.")
    if not wanted:
        return "entities, where none are" if found else ""
    missing = [one for one in wanted if not any(all(entity[name] == value for name, value in one.items()) for entity in found)]
    return f"without {'; '.join(' '.join(one.values()) for one in missing)}" if missing else ""


def _text(answer: Answer, place: str) -> str:
    value = first(answer)
    if not isinstance(value, str):
        raise UserError(f"{place}: these answers are no names or texts, but {shown(answer)[:60]!r}.")
    return value


def _held(answer: Answer, place: str) -> list | str:
    value = first(answer)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return _text(answer, place)


Check = Callable[[Answer, Any, str], str]
# the keys of `expect`: what checks an answer
CHECKS: dict[str, Check] = {
    "label": is_one, "choice": is_one, "answer": is_one, "labels": are, "contains": contains, "lacks": lacks,
    "matches": matches, "value": between, "probability": probabilities, "entities": entities}
