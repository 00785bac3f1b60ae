"""How names are spelled: which are numbers, and which are the same but for their spelling."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction

KINDS = {"forms": "forms of a character (full width, dashes)", "nfc": "how accents are coded", "case": "case",
         "number": "how a number is written", "quotes": "quotes", "blanks": "blanks", "invisible": "invisible characters"}
NUMERAL = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")
INTEGER = re.compile(r"(0|[1-9][0-9]{0,8})(\.0*)?")
TRUTH = {"true": 1, "false": 0}
QUOTES = str.maketrans("\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u201a", "\"\"\"\"\"'''")
DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))
SHOWN = 5  # groups that a warning names
NAMED = 8  # names that a message has


def some(names: Iterable[str]) -> str:
    """Some names, as a message has them: 'a', 'b' and 3 more."""
    first, more = (names := list(names))[:NAMED], len(names) - NAMED
    return f"{', '.join(map(repr, first))}{f' and {more} more' if more > 0 else ''}"


def number_of(name: str) -> Fraction | None:
    """'1', '1.0' and '1e0' are 1; what is no number is None."""
    return Fraction(Decimal(name)) if NUMERAL.fullmatch(name) else None


def truth_of(name: str) -> int | None:
    """'True' and 'TRUE' are 1, 'false' is 0."""
    return TRUTH.get(name.lower())


def bit_of(name: str) -> int:
    """0 or 1 for '0', '1.0', 'True' and their like; -1 for other names."""
    number = number_of(name) if truth_of(name) is None else truth_of(name)
    return int(number) if number in (0, 1) else -1


def index_of(name: str) -> int:
    """The id that a name can be: '2' and '2.0' are 2; -1 for '02', '-1', 'x'."""
    match = INTEGER.fullmatch(name)
    return int(match[1]) if match else -1


def folded(name: str, kinds: Iterable[str]) -> str:
    """A name without what differs by these kinds of spelling; itself where nothing else is in it."""
    made = name
    if "invisible" in kinds:
        made = "".join(c for c in made if c.isspace() or not _invisible(c))
    if "forms" in kinds:
        made = unicodedata.normalize("NFKC", made).translate(DASHES)
    elif "nfc" in kinds:
        made = unicodedata.normalize("NFC", made)
    if "blanks" in kinds:
        made = " ".join(made.split())
    if "quotes" in kinds:
        made = made.translate(QUOTES)
        if len(made) > 2 and made[0] == made[-1] and made[0] in "\"'`":
            made = made[1:-1].strip() if "blanks" in kinds else made[1:-1]
    if "case" in kinds:
        made = made.casefold()
        made = unicodedata.normalize("NFC", made) if "nfc" in kinds else made
    if "number" in kinds:
        number = number_of(made)
        made = made if number is None else f"{number}"
    return made or name


def _invisible(c: str) -> bool:
    return unicodedata.category(c) in ("Cf", "Cc") or "\ufe00" <= c <= "\ufe0f"  # formats, controls, variation selectors


def folding(names: Iterable[str], kinds: Iterable[str]) -> Callable[[str], str]:
    """`folded` beside these names: where they all are 0, 1, true and false, numbers by which they are the same too."""
    kinds = tuple(kinds)
    truths = "number" in kinds and all(bit_of(name) >= 0 for name in names)

    def fold(name: str) -> str:
        made = folded(name, kinds)
        return str(bit_of(made)) if truths and bit_of(made) >= 0 else made

    return fold


def alike(counts: dict[str, int]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(names that differ by their spelling alone, the most frequent first, by which kinds they do) of names with their counts.

    {"pos": 9, "Pos": 1, "neg": 5} -> [(("pos", "Pos"), ("case",))]
    """
    fold, groups = folding(counts, KINDS), {}
    for name in counts:
        groups.setdefault(fold(name), []).append(name)
    return [(tuple(sorted(group, key=lambda name: (-counts[name], name))), _kinds(group, counts))
            for group in groups.values() if len(group) > 1]


def _kinds(group: list[str], names: Iterable[str]) -> tuple[str, ...]:
    """The fewest kinds by which a group is one."""
    needed = list(KINDS)
    for kind in KINDS:
        fold = folding(names, [one for one in needed if one != kind])
        if len({fold(name) for name in group}) == 1:
            needed.remove(kind)
    return tuple(needed)


def told(groups: list[tuple[tuple[str, ...], tuple[str, ...]]], counts: dict[str, int]) -> str:
    """'pos' (9) and 'Pos' (1) by case; ..."""
    lines = []
    for group, kinds in groups[:SHOWN]:
        show = ascii if {"forms", "nfc", "invisible", "blanks"} & set(kinds) else repr  # what cannot be seen is written out
        shown = [f"{show(name)} ({counts[name]:,})" for name in group]
        lines.append(f"{', '.join(shown[:-1])} and {shown[-1]} by {' and '.join(KINDS[kind] for kind in kinds)}")
    return "; ".join(lines) + (f"; and {len(groups) - SHOWN} more" if len(groups) > SHOWN else "")


def warning(what: str, counts: dict[str, int], advice: Callable[[tuple[str, ...]], str]) -> str:
    """One line on names that differ by their spelling alone; '' where there are none. advice: of the kinds in question."""
    groups = alike(counts)
    kinds = tuple(kind for kind in KINDS if any(kind in by for _, by in groups))
    return f"{what} that differ by their spelling alone: {told(groups, counts)}. {advice(kinds)}" if groups else ""
