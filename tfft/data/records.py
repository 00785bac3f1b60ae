"""What the readers of files give: records, broken rows, and words about a file."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple


class Record(NamedTuple):
    """Raw values by column. `line` counts from 1 (parquet and tfds: the row's number)."""

    values: dict[str, Any]
    file: str
    line: int


class Broken(NamedTuple):
    """A row that could not be used, where it starts, and why. undecodable: for its encoding."""

    file: str
    line: int
    reason: str
    undecodable: bool = False


class DecimalComma(str):
    """A field that is a number with a decimal comma (and perhaps points between thousands), by what separates the fields of
    its file."""


class Note(NamedTuple):
    """What a user should know of how a file was read."""

    file: str
    text: str


def own_names(names: Sequence[str]) -> list[str]:
    """Names of columns of which each is another: ["a", "", "a"] -> ["a (1)", "Unnamed: 1", "a (2)"]."""
    counts, seen, made = Counter(names), Counter(), []
    for place, name in enumerate(names):
        seen[name] += 1
        made.append(f"Unnamed: {place}" if not name else f"{name} ({seen[name]})" if counts[name] > 1 else name)
    return made
