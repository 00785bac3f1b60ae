"""Tag schemes: which one a file uses, what entities its tags mean, where they break it, which transitions it forbids.

    scheme   entity of 1   2        3 words                  note
    IOB2     B             B I      B I I                    also called BIO
    IOB1     I             I I      I I I                    B only right after an entity of the same type
    IOBES    S             B E      B I E                    also called BIOES
    BILOU    U             B L      B I L
    BMES     S             B E      B M E                    Chinese word segmentation, often without types
    BMEWO    W             B E      B M E
    IO       I or nothing  the same for every word           neighbours of one type are one entity
    none     every word's tag is its own type, O included    parts of speech

Tags are PREFIX-TYPE or PREFIX_TYPE; a prefix alone has the type "". Inside, a tag is (letter of BIES or O, type).
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from tfft.errors import unknown

LETTERS = {"IOB1": "BIII", "IOB2": "BIIB", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES", "BMEWO": "BMEW", "IO": "IIII",
           "none": ""}  # how a scheme writes the first, inner, last and only word of an entity
ALIASES = {"BIO": "IOB2", "BIOES": "IOBES", "BIOLU": "BILOU", "BIOUL": "BILOU"}
NAMES = (*LETTERS, *ALIASES)
PREFIXED = re.compile("([BILUESMW])[-_](.+)", re.DOTALL)
SUFFIXED = re.compile(".+[-_][BILUESMW]", re.DOTALL)
EXAMPLES = 5

Span = tuple[int, int, str]
"""(first word, word after the last, type)"""


def canonical(scheme: str) -> str:
    """The name under which a scheme is known here: "BIO" -> "IOB2". Raises: ValueError for an unknown one."""
    name = ALIASES.get(scheme, scheme)
    if name not in LETTERS:
        raise ValueError(unknown("tag scheme", scheme, NAMES))
    return name


def _letters(scheme: str) -> dict[str, str]:
    """A scheme's letters in those of IOBES: BILOU -> {"B": "B", "I": "I", "L": "E", "U": "S"}."""
    if scheme in ("IOB1", "IOB2"):
        return {"B": "B", "I": "I"}
    return dict(zip(LETTERS[scheme], "IIII" if scheme == "IO" else "BIES"))


@functools.lru_cache(maxsize=1 << 14)
def _split(tag: str, scheme: str) -> tuple[str, str]:
    """("L-PER", "BILOU") -> ("E", "PER"); ("O", ...) -> ("O", ""). Raises: ValueError where the scheme has no such tag."""
    if tag == "O":
        return "O", ""
    letters = _letters(scheme)
    found = PREFIXED.fullmatch(tag)
    if found and found[1] in letters:
        return letters[found[1]], found[2]
    if tag in letters:
        return letters[tag], ""
    if scheme == "IO" and tag:
        return "I", tag
    prefixes = ", ".join(dict.fromkeys(letters))
    raise ValueError(f"{tag!r} is no tag of scheme {scheme}: it should be O or begin with one of {prefixes} and a hyphen")


def to_spans(tags: Sequence[str], scheme: str) -> list[Span]:
    """The entities that tags mean, read as leniently as conlleval does.

    ["I-PER", "I-PER", "O", "B-LOC", "I-ORG"] -> [(0, 2, "PER"), (3, 4, "LOC"), (4, 5, "ORG")]

    A word belongs to the entity before it where the types agree, its letter does not begin one (B, S, U, W) and the letter
    before does not end one (E, L, S, U, W). Raises: ValueError for a tag that the scheme does not have.
    """
    scheme = canonical(scheme)
    if scheme == "none":
        return [(i, i + 1, tag) for i, tag in enumerate(tags)]
    spans, start = [], 0
    before, kind = "O", ""
    for i, tag in enumerate([*tags, "O"]):
        letter, new = _split(tag, scheme)
        if letter in "OBS" or before in "OES" or new != kind:
            if before != "O":
                spans.append((start, i, kind))
            start = i
        before, kind = letter, new
    return spans


def strict_spans(tags: Sequence[str], scheme: str = "IOB2") -> list[Span]:
    """The entities that tags mean where what breaks the scheme is no entity, as seqeval reads them in mode="strict".

    IOB2: an entity is a B and the I of its type after it, ["I-PER", "O", "B-LOC", "I-ORG"] -> [(2, 3, "LOC")]. In schemes that
    mark ends an entity needs its end, too. Raises: ValueError for IOB1, IO and none, which have no such reading.
    """
    scheme = canonical(scheme)
    if scheme in ("IOB1", "IO", "none"):
        raise ValueError(f"scheme {scheme} has no strict reading")
    pairs = [_split(tag, scheme) for tag in tags]
    spans, i = [], 0
    while i < len(pairs):
        start, (letter, kind) = i, pairs[i]
        i += 1
        if letter not in "BS":
            continue
        while letter in "BI" and i < len(pairs) and pairs[i] in (("I", kind), ("E", kind)):
            letter, i = pairs[i][0], i + 1
        if scheme == "IOB2" or letter in "ES":
            spans.append((start, i, kind))
    return spans


def from_spans(spans: Iterable[Span], length: int, scheme: str) -> list[str]:
    """The tags of `length` words with these entities: [(1, 3, "PER")], 4, "IOBES" -> ["O", "B-PER", "E-PER", "O"].

    Raises: ValueError for spans that are empty, outside or overlap, and under "none" unless every word has its own.
    """
    scheme = canonical(scheme)
    tags, end = ["O"] * length, 0
    before = None
    for span in sorted(spans):
        start, stop, kind = span
        if not end <= start < stop <= length:
            raise ValueError(f"the span {span} {'overlaps another' if start < end else f'does not fit {length} words'}")
        if scheme == "none":
            tags[start:stop] = [kind] * (stop - start)
        else:
            touches = before == (start, kind)
            tags[start:stop] = [f"{letter}-{kind}" if kind else letter for letter in _written(stop - start, touches, scheme)]
        end, before = stop, (stop, kind)
    if scheme == "none" and sum(stop - start for start, stop, _ in spans) != length:
        raise ValueError("scheme none needs a span for every word")
    return tags


def _written(length: int, touches: bool, scheme: str) -> str:
    """The letters of an entity; `touches`: another of its type ends right before it."""
    if scheme == "IOB1":
        return ("B" if touches else "I") + "I" * (length - 1)
    first, inner, last, only = LETTERS[scheme]
    return only if length == 1 else first + inner * (length - 2) + last


def convert(tags: Sequence[str], scheme: str) -> list[str]:
    """Tags of any scheme in IOB2, what breaks the scheme repaired as conlleval reads it; under "none" as they are."""
    return list(tags) if canonical(scheme) == "none" else from_spans(to_spans(tags, scheme), len(tags), "IOB2")


def violations(tags: Sequence[str], scheme: str) -> list[int]:
    """The words whose tag may not follow the one before, and the last where an entity is not closed.

    ["O", "I-PER", "B-LOC"] -> IOB2: [1]; IOB1: [2]; IOBES: [1, 2]
    """
    scheme = canonical(scheme)
    if scheme == "none" or not tags:
        return []
    pairs = [("O", ""), *(_split(tag, scheme) for tag in tags), ("O", "")]
    wrong = [not _fits(before, after, scheme) for before, after in zip(pairs, pairs[1:])]
    wrong[-2] = wrong[-2] or wrong[-1]  # the end belongs to the last word
    return [i for i, bad in enumerate(wrong[:-1]) if bad]


def _fits(before: tuple[str, str], after: tuple[str, str], scheme: str) -> bool:
    """Whether a scheme lets one tag follow another. The tag before the first word and after the last is O."""
    continues = before[0] in "BI" and before[1] == after[1]  # an entity of the tag's type is open or may be
    if scheme == "IOB1":
        return after[0] != "B" or continues
    if scheme == "IOB2":
        return after[0] != "I" or continues
    if scheme == "IO":
        return True
    return continues and after[0] in "IE" if before[0] in "BI" else after[0] in "OBS"


def forbidden(tags: Sequence[str], scheme: str) -> np.ndarray:
    """bool[T+2,T], True where a scheme forbids a transition. [i,j]: tag i before tag j; [T,j]: j first; [T+1,i]: i last.

    ("O", "B-PER", "I-PER"), "IOB2" -> [[F, F, T], [F, F, F], [F, F, F], [F, F, T], [F, F, F]]
    """
    scheme = canonical(scheme)
    if scheme == "none":
        return np.zeros((len(tags) + 2, len(tags)), bool)
    pairs, border = [_split(tag, scheme) for tag in tags], ("O", "")
    rows = [[not _fits(before, after, scheme) for after in pairs] for before in [*pairs, border]]
    return np.array([*rows, [not _fits(last, border, scheme) for last in pairs]], bool)


def detect(sequences: Iterable[Sequence[str]]) -> tuple[str | None, str]:
    """The scheme of some sentences' tags, and why. See Detector.scheme."""
    detector = Detector()
    for tags in sequences:
        detector.add(tags)
    return detector.scheme()


class Detector:
    """Finds the scheme of tags that are added sentence by sentence. Its memory does not grow with them."""

    def __init__(self):
        self.prefixes, self.bare = Counter(), Counter()  # of tags with a type, of tags that are a letter alone
        self.outside = self.empty = self.plain = self.suffixed = 0
        self.examples: dict[str, None] = {}  # of plain tags: those with no prefix
        self.breaks = {"IOB1": 0, "IOB2": 0}

    def add(self, tags: Sequence[str]) -> None:
        before = ("O", "")
        for tag in tags:
            letter, kind = self._count(tag)
            for scheme in self.breaks:
                self.breaks[scheme] += not _fits(before, (letter, kind), scheme)
            before = letter, kind

    def _count(self, tag: str) -> tuple[str, str]:
        if tag == "O":
            self.outside += 1
        elif found := PREFIXED.fullmatch(tag):
            self.prefixes[found[1]] += 1
            return found[1], found[2]
        elif tag in tuple("BILUESMW"):
            self.bare[tag] += 1
            return tag, ""
        elif not tag:
            self.empty += 1
        else:
            self.plain += 1
            self.suffixed += bool(SUFFIXED.fullmatch(tag))
            if len(self.examples) < EXAMPLES:
                self.examples[tag] = None
        return "O", ""

    def scheme(self) -> tuple[str | None, str]:
        """(scheme, what speaks for it), or (None, why it cannot be told). IOB1 or IOB2: the one that is broken less often."""
        examples = ", ".join(self.examples)
        if not (self.outside or self.empty or self.plain or self.prefixes or self.bare):
            return None, "there are no tags"
        if self.empty:
            return None, f"empty tags: {self.empty}"
        if self.plain and self.suffixed == self.plain and not self.prefixes:
            return None, f"the prefix stands behind the type ({examples}): write B-PER instead of PER-B"
        if self.plain and self.prefixes:
            return None, f"some tags have no prefix ({examples}) while others have ({', '.join(sorted(self.prefixes))})"
        if self.plain and self.outside:
            return None, (f"the tags {examples} have no prefix, but O stands beside them: name the scheme, IO where neighbours "
                          f"of one type are one entity, none where every word has a tag of its own")
        if self.plain:
            return "none", f"no tag has a prefix ({examples})"
        if self.prefixes and self.bare:
            return None, f"some tags have a type, but {', '.join(sorted(self.bare))} has none"
        return self._of_letters(set(self.prefixes or self.bare))

    def _of_letters(self, letters: set[str]) -> tuple[str | None, str]:
        named = ", ".join(sorted(letters)) or "O alone"
        if letters <= set("BI"):
            scheme = min(("IOB2", "IOB1"), key=self.breaks.get)
            other = "IOB1" if scheme == "IOB2" else "IOB2"
            counts = f"tags that break it: {self.breaks[scheme]}, that break {other}: {self.breaks[other]}"
            return scheme, f"the prefixes are {named}; {counts}"
        if letters & set("EL") and "B" not in letters:
            return None, f"the prefixes are {named}: ends are marked, but beginnings are not (IOE is no scheme known here)"
        for scheme in ("IOBES", "BILOU", "BMES", "BMEWO"):
            if letters <= set(LETTERS[scheme]):
                return scheme, f"the prefixes are {named}"
        return None, f"the prefixes {named} belong to no scheme known here ({', '.join(LETTERS)})"
