"""Texts as people also write them: with typos, in other case, without punctuation, with blanks amiss, with words lost or
moved. Each text draws from a generator of its own, seeded by (seed, kind, text): the same text is always changed alike.

    changed("a good film", "upper", 1.0, seed=0) -> "A GOOD FILM"
"""

import bisect
import itertools
import random
import re
import unicodedata
from collections.abc import Callable

# of each letter those beside it on a keyboard
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
KEYS = {row[i]: row[max(0, i - 1):i] + row[i + 1:i + 2] for row in ROWS for i in range(len(row))}
Draw = random.Random


def typo(word: str, draw: Draw) -> str:
    """A word with one slip: two letters exchanged, one lost, one there twice, or the key beside it. Words of fewer than two
    letters stay; digits and marks do too. "film" -> "flim", say."""
    letters = [i for i, char in enumerate(word) if char.isalpha()]
    if len(letters) < 2:
        return word
    i = draw.choice(letters)
    char, kind = word[i], draw.choice(("exchange", "lose", "double", "beside"))
    near = KEYS.get(char.lower(), "")
    if kind == "beside" and near:
        hit = draw.choice(near)
        return f"{word[:i]}{hit.upper() if char.isupper() else hit}{word[i + 1:]}"
    if kind == "exchange":
        pairs = [j for j in letters if j + 1 in letters and word[j] != word[j + 1]]
        if pairs:
            j = draw.choice(pairs)
            return f"{word[:j]}{word[j + 1]}{word[j]}{word[j + 2:]}"
    return f"{word[:i]}{word[i + 1:]}" if kind == "lose" else f"{word[:i]}{char}{word[i:]}"


def typos(words: list[str], draw: Draw, share: float) -> list[str]:
    """A typo in a share of the words, in one at least."""
    able = [i for i, word in enumerate(words) if sum(map(str.isalpha, word)) > 1]
    chosen = set(draw.sample(able, _count(share, len(words), len(able))))
    return [typo(word, draw) if i in chosen else word for i, word in enumerate(words)]


def lower(words: list[str], draw: Draw, share: float) -> list[str]:
    return [word.lower() for word in words]


def upper(words: list[str], draw: Draw, share: float) -> list[str]:
    return [word.upper() for word in words]


def punctuation(words: list[str], draw: Draw, share: float) -> list[str]:
    """Without a share of the marks inside words and at their ends, one at least; words that are marks alone stay."""
    marks = [(i, j) for i, word in enumerate(words) if any(map(str.isalnum, word))
             for j, char in enumerate(word) if _mark(char)]
    lost = set(draw.sample(marks, _count(share, len(marks), len(marks))))
    return ["".join(char for j, char in enumerate(word) if (i, j) not in lost) for i, word in enumerate(words)]


def bare(text: str, draw: Draw, share: float) -> str:
    """Without a share of its marks, those that stand alone too. "good, bad ." -> "good bad" """
    marks = [i for i, char in enumerate(text) if _mark(char)]
    lost = set(draw.sample(marks, _count(share, len(marks), len(marks))))
    made = "".join(char for i, char in enumerate(text) if i not in lost)
    return re.sub(r"(?<=\S)[ \t]{2,}|[ \t]+$", " ", made).strip(" ") if lost else text


def whitespace(text: str, draw: Draw, share: float) -> str:
    """A share of the gaps between words, one at least, is lost or twice as wide."""
    pieces = re.split(r"(?<=\S)(\s+)(?=\S)", text)
    gaps = len(pieces) // 2
    for gap in draw.sample(range(gaps), _count(share, gaps, gaps)):
        pieces[2 * gap + 1] = draw.choice(("", pieces[2 * gap + 1] * 2))
    return "".join(pieces)


def words(text: str, draw: Draw, share: float) -> str:
    """A share of the words, one at least, is lost or changes places with the next one. Texts of one word stay."""
    made = text.split()
    if len(made) < 2:
        return text
    for _ in range(_count(share, len(made), len(made))):
        i = draw.randrange(len(made) - 1)
        if draw.random() < 0.5 and len(made) > 2:
            del made[i]
        else:
            made[i], made[i + 1] = made[i + 1], made[i]
    return " ".join(made)


# inside words, so that each word stays where it is; and those of a whole text
INSIDE: dict[str, Callable[[list[str], Draw, float], list[str]]] = {
    "typos": typos, "lower": lower, "upper": upper, "punctuation": punctuation}
WHOLE: dict[str, Callable[[str, Draw, float], str]] = {"punctuation": bare, "whitespace": whitespace, "words": words}
KINDS = tuple(dict.fromkeys([*INSIDE, *WHOLE]))
LIGHT = {"typos": 0.05, "lower": 1.0, "upper": 1.0, "punctuation": 1.0, "whitespace": 0.05, "words": 0.05}


def changed(text: str, kind: str, share: float, seed: int) -> str:
    """A text changed in one of KINDS; it stays as it is where nothing of it can be."""
    draw = random.Random(f"{seed}/{kind}/{text}")
    if kind in WHOLE:
        made = WHOLE[kind](text, draw, share)
    else:
        pieces = re.split(r"(\s+)", text)
        made = "".join(_woven(pieces, INSIDE[kind](pieces[::2], draw, share)))
    return made if made.strip() else text


def changed_words(given: list[str], kind: str, share: float, seed: int) -> list[str] | None:
    """The same of words, which stay as many, each in its place; None where the kind moves words."""
    if kind not in INSIDE:
        return None
    made = INSIDE[kind](given, random.Random(f"{seed}/{kind}/{' '.join(given)}"), share)
    return [word if word.strip() else old for word, old in zip(made, given, strict=True)]


def changed_inside(text: str, kind: str, share: float, seed: int) -> tuple[str, Callable[[int], int]] | None:
    """A text whose words alone are changed, and where what begins or ends at a character of it does then; None where the kind
    moves words, or marks.

    "a good film" without the g: ("a ood film", ...), in which 7, where "film" began, is 6
    """
    pieces = re.split(r"(\W+)", text)
    made = None if kind in WHOLE else changed_words(pieces[::2], kind, share, seed)
    if made is None:
        return None
    new = _woven(pieces, made)
    begins, places = ([0, *itertools.accumulate(map(len, several))] for several in (pieces, new))

    def place(at: int) -> int:
        piece = bisect.bisect_right(begins, at) - 1
        return places[piece] if begins[piece] == at else min(places[piece] + at - begins[piece], places[piece + 1])

    return "".join(new), place


def _woven(pieces: list[str], fresh: list[str]) -> list[str]:
    """Pieces (word, gap, word, ...) with other words."""
    made = list(pieces)
    made[::2] = fresh
    return made


def _count(share: float, of: int, most: int) -> int:
    return min(most, max(1, round(share * of)))


def _mark(char: str) -> bool:
    return unicodedata.category(char).startswith("P")
