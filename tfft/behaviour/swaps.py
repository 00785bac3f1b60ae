"""Word swaps: what a text says of him, said of her. Counterfactual fairness of texts (Garg et al. 2019), with the exchange of
counterfactual data augmentation (Lu et al. 2018).

A file has words that may stand for each other in a line, and what they have in common in a column; a first line after # names
the columns. Words with a capital letter are found where the text has one too; others in any case, which the new word keeps.

    # male,female
    he,she              "He met Mary and her son" -> "She met John and his son"
    his,her
    John,Mary
"""

import csv
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from tfft.errors import UserError
from tfft.files import to_path


class Swaps(NamedTuple):
    """Words that may stand for each other, a line each, and the names of the columns."""

    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Each two columns."""
        return itertools.combinations(range(len(self.columns)), 2)

    def title(self, pair: tuple[int, int]) -> str:
        return " / ".join(self.columns[place] for place in pair)


class Exchange:
    """The words of two columns for each other, each way: text -> (text, the pairs of words that were found in it)."""

    def __init__(self, swaps: Swaps, pair: tuple[int, int]):
        self._into: dict[str, tuple[str, str]] = {}  # a word -> (the other one, both as a title)
        for line in swaps.lines:
            first, second = (line[place] if place < len(line) else "" for place in pair)
            if first and second and first != second:
                for word, other in ((first, second), (second, first)):
                    self._into.setdefault(word, (other, f"{first} / {second}"))
        self._by_start: dict[str, list[str]] = {}  # of long lists few words are looked for in a text
        for word in self._into:
            self._by_start.setdefault(next(iter(_words(word)), ""), []).append(word)

    def __call__(self, text: str) -> tuple[str, tuple[str, ...]]:
        pairs: dict[str, None] = {}

        def other(found: re.Match) -> str:
            word = found[0]
            known = word if word in self._into else next((one for one in self._into if _same(one, word)), None)
            if known is None:
                return word
            into, title = self._into[known]
            pairs[title] = None
            return into if word == known else as_written(into, word)

        there = [word for start in {"", *_words(text)} for word in self._by_start.get(start, ())]
        longest = sorted(there, key=lambda word: (-len(word), word))
        found = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)"
        made = re.sub(found, other, text, flags=re.IGNORECASE) if there else text
        return made, tuple(pairs)


def _words(text: str) -> list[str]:
    """Its words in lower case; none of what has no letter, as an emoji."""
    return re.findall(r"\w+", text.lower())


def _same(known: str, word: str) -> bool:
    """Whether a text's word is one of the file's: "He" and "HE" are "he"; "will" is not "Will", but "WILL" is."""
    return word.lower() == known.lower() and (known == known.lower() or word != word.lower())


def as_written(word: str, like: str) -> str:
    """A word in the case of another one: ("she", "He") -> "She", ("she", "HE") -> "SHE"."""
    if len(like) > 1 and like == like.upper() and like != like.lower():
        return word.upper()
    if like[:1] != like[:1].lower():
        return word[:1].upper() + word[1:]
    return word


def read_swaps(path: str) -> Swaps:
    """Reads a swap file. Raises: UserError."""
    try:
        text = to_path(path).read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UserError(f"The swap file {path} cannot be read: {error}") from error
    lines = text.splitlines()
    names: list[str] = []
    if lines and lines[0].lstrip().startswith("#"):
        names = [name.strip() for name in lines[0].lstrip().lstrip("#").split(",")]
        lines[0] = ""
    made = [(number, _trimmed(row)) for number, line in enumerate(lines, 1) for row in csv.reader([line])]
    return swaps_of(names, [(f"{path}:{number}", line) for number, line in made if any(line)], path)


def _trimmed(row: list[str]) -> list[str]:
    """Without blanks around words, and the empty cells at the end that spreadsheets leave."""
    words = [word.strip() for word in row]
    return words[:max((place for place, word in enumerate(words, 1) if word), default=0)]


def swaps_of(names: list[str], lines: list[tuple[str, list[str]]], origin: str) -> Swaps:
    """Swaps of (place, words) and perhaps names of the columns. Raises: UserError."""
    for place, words in lines:
        if len([word for word in words if word]) < 2:
            raise UserError(f"{place}: a line of a swap file has two words or more, with a comma between: he,she")
        if names and len(words) > len(names):
            raise UserError(f"{place}: {len(words)} words, but {len(names)} columns are named: {', '.join(names)}.")
    if not lines:
        raise UserError(f"{origin} has no words. A swap file has words that may stand for each other in a line: he,she")
    width = max(len(words) for _, words in lines)
    columns = names or [next((words[i] for _, words in lines if i < len(words) and words[i]), "") for i in range(width)]
    return Swaps(tuple(columns), tuple(tuple(words) for _, words in lines))
