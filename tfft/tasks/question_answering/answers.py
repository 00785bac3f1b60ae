"""Where an answer stands in its context, although a data set may say so wrongly, otherwise or not at all."""

import collections
import functools
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

EXACT, REALIGNED, AMBIGUOUS, ABSENT = "exact", "re-aligned", "ambiguous", "absent"
KINDS = (EXACT, REALIGNED, AMBIGUOUS, ABSENT)
NEAR = 20  # characters: a start that is further off may mean another place


class Aligned(NamedTuple):
    """context[start:end] is the answer. "ambiguous" and "absent" have start = end = -1."""

    start: int
    end: int
    kind: str


# What one reader of the same text counts otherwise than Python counts characters. The sum over a text's pieces is its own.
COUNTS: tuple[Callable[[str], int], ...] = (
    lambda text: len(text.encode("utf-8", "surrogatepass")),
    lambda text: len(text.encode("utf-16-le", "surrogatepass")) // 2,  # JavaScript, Java
    lambda text: len(text) - text.count("\r\n"),  # CRLF read as one line end
    lambda text: len(text) + text.count("\n") - text.count("\r\n"),  # a line end read as CRLF
    lambda text: len(unicodedata.normalize("NFC", text)),
    lambda text: len(unicodedata.normalize("NFD", text)),
    lambda text: len(re.sub(r"\s+", " ", text)),
)
SIGNS = str.maketrans({
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc`\u00b4", "'"), **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufe0e\ufe0f\ufeff"),  # what is not seen: left out
})


def align(context: str, text: str, start: int) -> Aligned:
    """The characters of `context` that are the answer `text`, which a data set says begins at `start` (below 0: not said).

    "exact": context[start:start + len(text)] is the text. "re-aligned": it is not, but one place fits. Looked for, in this
    order: (1) where a start is given, a place near it: one that `start` names if bytes, UTF-16 units, CRLF, composed
    accents or runs of blanks are counted otherwise, else the nearest of those at most 20 characters off, if no other is as
    near; (2) any place, if there is but one. Each first in the text as it stands, then after canonical decomposition (NFD)
    and with runs of white space as one blank, then with compatible characters (NFKD), quotes and dashes alike, then
    without case. A place near a given start in a later form comes before a far one in an earlier form. "ambiguous": several
    places fit and none is near. "absent": none fits. The span found is always one of the original context.

    align("He said: ‘go  home’.", "'Go home'", -1) -> Aligned(9, 19, "re-aligned")
    """
    if start >= 0 and text.strip() and context.startswith(text, start):
        return Aligned(start, start + len(text), EXACT)
    if start >= 0:
        for places in _places(context, text):
            if place := _counted_otherwise(context, places, start) or _nearest(places, start):
                return Aligned(*place, REALIGNED)
    for places in _places(context, text):
        if places:
            return Aligned(*places[0], REALIGNED) if len(places) == 1 else Aligned(-1, -1, AMBIGUOUS)
    return Aligned(-1, -1, ABSENT)


def _places(context: str, text: str) -> Iterator[list[tuple[int, int]]]:
    """(start, end) of all places of a text in a context, ascending: as it stands, then in each form."""
    if not text.strip():
        return
    yield [(at, at + len(text)) for at in _occurrences(context, text)]
    for form in (_canonical, _compatible, _caseless):
        sought = _in_form(text, form).text.strip()
        if sought:
            whole = _in_form(context, form)
            found = (whole.span(at, at + len(sought)) for at in _occurrences(whole.text, sought))
            yield [span for span in found if span]


def _occurrences(context: str, text: str) -> Iterator[int]:
    """Where a text occurs, overlapping ones included."""
    at = context.find(text)
    while at >= 0:
        yield at
        at = context.find(text, at + 1)


def _nearest(places: list[tuple[int, int]], start: int) -> tuple[int, int] | None:
    near = sorted((abs(place[0] - start), place) for place in places if abs(place[0] - start) <= NEAR)
    return near[0][1] if near and (len(near) == 1 or near[0][0] < near[1][0]) else None


def _counted_otherwise(context: str, places: list[tuple[int, int]], start: int) -> tuple[int, int] | None:
    """The place that begins at `start` in another way of counting; None if there is none, or several."""
    pieces = [context[a:b] for a, b in itertools.pairwise([0, *(begin for begin, _ in places)])]
    named = {place for count in COUNTS
             for place, at in zip(places, itertools.accumulate(map(count, pieces))) if at == start}
    return named.pop() if len(named) == 1 else None


class _Form(NamedTuple):
    """A text in a form. Its character i comes from the characters begins[i] up to ends[i] of the original."""

    text: str
    begins: list[int]
    ends: list[int]

    def span(self, begin: int, end: int) -> tuple[int, int] | None:
        """The original's characters for text[begin:end]; None where they would cut a character or part it from its marks."""
        if begin and self.begins[begin] < self.ends[begin - 1]:
            return None
        if end < len(self.text) and (self.begins[end] < self.ends[end - 1] or _continues(self.text[end])):
            return None
        return min(self.begins[begin:end]), max(self.ends[begin:end])


def _continues(char: str) -> bool:
    """Whether a decomposed character belongs to the one before it: a mark, or a Hangul vowel or final consonant."""
    return unicodedata.combining(char) > 0 or "\u1160" <= char <= "\u11ff"


def _canonical(char: str) -> str:
    return unicodedata.normalize("NFD", char)


def _compatible(char: str) -> str:
    return unicodedata.normalize("NFKD", char.translate(SIGNS))


def _caseless(char: str) -> str:
    return unicodedata.normalize("NFKD", _compatible(char).casefold())


@functools.lru_cache(maxsize=8)  # the questions of one context follow one another
def _in_form(text: str, form: Callable[[str], str]) -> _Form:
    """Each character in the form, marks in canonical order, every run of white space as one blank.

    _in_form("a\\r\\n\\u00e9", _canonical) -> _Form("a e\\u0301", [0, 1, 3, 3], [1, 3, 4, 4])
    """
    made: list[tuple[str, int, int]] = []
    marks = 0  # how many characters at the end of `made` are marks whose order is still open
    for at, char in enumerate(text):
        for one in char if char.isascii() and form is _canonical else form(char):
            if one.isspace():
                if made and made[-1][0] == " ":
                    made[-1] = (" ", made[-1][1], at + 1)
                    continue
                one = " "
            made.append((one, at, at + 1))
            marks = marks + 1 if not one.isascii() and unicodedata.combining(one) else 0
            if marks > 1:
                made[-marks:] = sorted(made[-marks:], key=lambda part: unicodedata.combining(part[0]))
    chars, begins, ends = zip(*made) if made else ((), (), ())
    return _Form("".join(chars), list(begins), list(ends))


class Alignment:
    """Counts answers by kind, with the first example of each that is not exact."""

    def __init__(self):
        self.counts: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, str] = {}

    def add(self, aligned: Aligned, text: str, where: str) -> None:
        """One answer; `where` names it for the report: a file and line, or a question's id."""
        self.counts[aligned.kind] += 1
        if aligned.kind != EXACT and aligned.kind not in self.examples:
            shown = text if len(text) <= 40 else text[:37] + "..."
            at = f", found at {aligned.start}" if aligned.start >= 0 else ""
            self.examples[aligned.kind] = f"{shown!r} of {where}{at}"

    def line(self) -> str:
        """One line: "3 answers: 1 exact, 1 re-aligned (e.g. 'go' of q7, found at 12), 1 absent (e.g. 'come' of q9)"."""
        total = sum(self.counts.values())
        parts = [f"{self.counts[kind]:,} {kind}" + (f" (e.g. {self.examples[kind]})" if kind in self.examples else "")
                 for kind in KINDS if self.counts[kind]]
        return f"{total:,} answer{'s' * (total != 1)}{': ' * bool(parts)}{', '.join(parts)}"
