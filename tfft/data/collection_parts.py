"""What the readers of collections have in common: the files of one, a text with its id and place, words about what is odd."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tfft.data.content import opened
from tfft.data.encodings import Lines, readable
from tfft.errors import UserError

SHOWN = 3


class Text(NamedTuple):
    """A document or query: its text is '' where it has none."""

    id: str
    text: str
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


Read = Callable[[str, str, "Told"], Iterator[Text]]  # of a file: path, encoding


@dataclasses.dataclass(frozen=True)
class Parts:
    """Which files a collection consists of, and what reads them.

    queries: by the split that they are of, "" for all others; judgements: by split; kind: of the documents, for what their
    judgements mean; no_judgements: what to do where there are none.
    """

    documents: list[str]
    queries: dict[str, str]
    judgements: dict[str, str]
    read_documents: Read
    read_queries: Read
    kind: str
    no_judgements: str
    remarks: tuple[str, ...] = ()

    def queries_of(self, split: str) -> str:
        return self.queries.get(split) or self.queries[""]


class Told:
    """What is to be told: lines, and things that are counted with the first few named."""

    def __init__(self, said: list[str]):
        self._said = said
        self._counted: dict[str, list] = {}

    def say(self, line: str) -> None:
        if line not in self._said:
            self._said.append(line)

    def count(self, what: str, which: str) -> None:
        """One more of `what`: "documents without a text, left out"."""
        found = self._counted.setdefault(what, [0])
        found[0] += 1
        if len(found) <= SHOWN:
            found.append(which)

    def add(self, other: "Told") -> None:
        """All that another one has been told, of things that this one has not."""
        for line in other._said:
            self.say(line)
        self._counted |= other._counted

    def lines(self) -> list[str]:
        return self._said + [f"{what}: {count:,} ({shown(which, count)})" for what, (count, *which) in self._counted.items()]


def numbered(path: str, encoding: str, told: Told) -> Iterator[tuple[int, str]]:
    """The lines of a text file, packed or not, with their numbers and without their ends. Raises: UserError."""
    with readable(path, encoding), opened(path) as content:
        lines = Lines(content, path, encoding)
        for line in lines:
            if reason := lines.take_bad():
                advice = "" if "config.data.encoding" in reason else " Set --config.data.encoding to what the file is in."
                raise UserError(f"{path}:{lines.number}: {reason}.{advice}")
            yield lines.number, line.rstrip("\r\n")
        for word in lines.words():
            told.say(f"{os.path.basename(path)}: {word}")


def shown(some: Sequence[str], count: int) -> str:
    """The first few of so many, in words."""
    return ", ".join(some[:SHOWN]) + (", ..." if count > SHOWN else "")


def named(one: str, several: str, ids: Sequence[str]) -> str:
    """(query, queries, ["7", "9"]) -> "2 queries (7, 9) are"."""
    return f"{len(ids):,} {one if len(ids) == 1 else several} ({shown(ids, len(ids))}) {'is' if len(ids) == 1 else 'are'}"
