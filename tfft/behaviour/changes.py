"""Changes of what is asked: one of the perturbations, or what a test says: appended, put before, replaced, swapped.

A row is what is asked by name: {"text": "A fine film."} or {"question": ..., "context": ...}. Of a question it alone
is changed, of other rows every text, of a prompt that is messages what the user says.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tfft.behaviour.perturb import changed
from tfft.behaviour.swaps import Exchange, as_written

Row = dict[str, Any]
OF_TEXT = Callable[[str], str]


class Change(NamedTuple):
    """A change, as it is told, and of a text. everywhere: of all that is asked, and of an answer in its words, unless
    fields are named: a name that is exchanged in a question is so in its context."""

    title: str
    of: OF_TEXT
    everywhere: bool = False

    def __call__(self, row: Row, fields: tuple[str, ...] = ()) -> Row:
        """The row with its fields changed: those named, else as above."""
        chosen = fields or (tuple(row) if self.everywhere else changed_fields(row))
        return {name: of_field(name, value, self.of) if name in chosen else value for name, value in row.items()}


def changed_fields(row: Row) -> tuple[str, ...]:
    """What of a row is changed, where nobody says."""
    return ("question",) if "question" in row else tuple(name for name, value in row.items() if isinstance(value, str))


def of_field(name: str, value: Any, of: OF_TEXT) -> Any:
    """A field changed: a text, each of several, or what the user says in messages as JSON."""
    if isinstance(value, list):
        return [of_field(name, one, of) for one in value]
    if not isinstance(value, str):
        return value
    if name == "prompt" and (messages := _messages(value)):
        return json.dumps([{**one, "content": of(one["content"])} if one.get("role") == "user" else one for one in messages],
                          ensure_ascii=False)
    return of(value)


def _messages(value: str) -> list[dict] | None:
    if not value.lstrip().startswith("["):
        return None
    try:
        made = json.loads(value)
    except ValueError:
        return None
    known = isinstance(made, list) and all(isinstance(one, dict) and isinstance(one.get("content"), str) for one in made)
    return made if known else None


def perturbed(kind: str, share: float, seed: int) -> Change:
    told = f" {share:.0%}" if kind not in ("lower", "upper") else ""
    return Change(f"{kind}{told}", lambda text: changed(text, kind, share, seed))


def appended(more: str) -> Change:
    return Change(f"append {more!r}", lambda text: f"{text}{'' if more[:1].isspace() or text[-1:].isspace() else ' '}{more}")


def put_before(more: str) -> Change:
    return Change(f"prepend {more!r}", lambda text: f"{more}{'' if more[-1:].isspace() or text[:1].isspace() else ' '}{text}")


def replaced(words: dict[str, str]) -> Change:
    """Whole words by others, in any case, which is kept."""
    longest = sorted(words, key=len, reverse=True)
    found = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)", re.IGNORECASE)
    lowered = {word.lower(): other for word, other in words.items()}

    def other(match: re.Match) -> str:
        return words[match[0]] if match[0] in words else as_written(lowered[match[0].lower()], match[0])

    told = ", ".join(f"{word} -> {into}" for word, into in list(words.items())[:3])
    return Change(f"replace {told}", lambda text: found.sub(other, text))


def exchanged(exchange: Exchange, title: str) -> Change:
    return Change(f"swap {title}", lambda text: exchange(text)[0], everywhere=True)
