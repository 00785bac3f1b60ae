"""What texts are made of: odd characters, mark-up, scripts. The bytes of many rows are looked at together."""

import dataclasses
import re
import unicodedata
from collections.abc import Callable

import numpy as np

from tfft.checks.findings import Example, Finding
from tfft.checks.rows import Rows, parts_by
from tfft.data.row_tokens import values_of

KEPT = 200  # examples of a finding in a file
# kinds of a character
OTHER, LETTER, CONTROL, LOST, HIDDEN = range(5)
UNSEEN = 255
ODD = {CONTROL: "control characters", LOST: "characters that were lost (U+FFFD)", HIDDEN: "invisible characters"}
# zero-width and direction marks; joiners (U+200C, U+200D) are part of emoji and of Indic and Persian words
INVISIBLE = [0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF]
MARKUP = {"tags": re.compile(rb"</?[a-zA-Z][^<>\0\n]{0,200}>|<!--"),
          "entities": re.compile(rb"&(?:[a-zA-Z]{2,8}|#\d{2,6}|#x[0-9a-fA-F]{2,5});"),
          "addresses": re.compile(rb"https?://[^\s\0]|\bwww\.[^\s\0]")}
BEYOND = "[^\x00-\x7f]{2,}"  # ASCII
# what names of letters begin with, where it is not their script
SCRIPTS = {"HIRAGANA": "JAPANESE", "KATAKANA": "JAPANESE", "FULLWIDTH": "LATIN", "FEMININE": "LATIN", "MASCULINE": "LATIN",
           **dict.fromkeys(("MODIFIER", "MATHEMATICAL", "SCRIPT", "DOUBLE", "BLACK", "TURNED", "LATIN-1"), "?")}
MOST = 64  # scripts that are told apart
FEW = 0.5  # a script that fewer letters of a text are of is not the text's


@dataclasses.dataclass
class Seen:
    """Places in the rows, by what is odd about them."""

    odd: dict[int, list[np.ndarray]]
    markup: dict[str, list[np.ndarray]]
    twice: list[np.ndarray]
    wordless: list[np.ndarray]
    script: list[np.ndarray]


def characters(rows: Rows, advance: Callable[[str, int, int], None]) -> list[Finding]:
    """All findings of the kind."""
    classes = Classes()
    seen = Seen({kind: [] for kind in ODD}, {name: [] for name in MARKUP}, [], [], [])
    for part in parts_by(sum(np.diff(rows.store.column(f"{name}_offsets")[:])[rows.rows] for name in rows.store.fields)):
        _look(rows, part, classes, seen)
        advance("looking at characters", part.stop, len(rows.rows))
    made = [_odd(rows, kind, _joined(places)) for kind, places in seen.odd.items()]
    made += [_markup(rows, name, _joined(places)) for name, places in seen.markup.items()]
    made += [_mojibake(rows, _joined(seen.twice)), _wordless(rows, _joined(seen.wordless)),
             _languages(rows, _joined(seen.script), classes.scripts)]
    return [one for one in made if one]


class Classes:
    """What each character is, found when it is first seen: kind, script (a place in `scripts`) and byte of cp1252."""

    def __init__(self):
        self._kinds = np.full(0x110000, UNSEEN, np.uint8)
        self._scripts = np.zeros(0x110000, np.uint8)
        self._bytes = np.zeros(0x110000, np.uint8)
        self.scripts = ["?"]
        for byte in range(0x80, 0x100):
            text = bytes([byte]).decode("cp1252", "ignore") or chr(byte)  # five bytes are left as they are
            self._bytes[ord(text)] = byte

    def of(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(kinds, scripts, bytes) uint8[m] each, of code points."""
        kinds = self._kinds[points]
        for point in np.unique(points[kinds == UNSEEN]).tolist():
            self._kinds[point], self._scripts[point] = classify(point), self._script(point)
        return self._kinds[points], self._scripts[points], self._bytes[points]

    def _script(self, point: int) -> int:
        """A letter's place in `scripts`; 0 where that cannot be told, or it is none."""
        if not unicodedata.category(chr(point)).startswith("L"):
            return 0
        script = unicodedata.name(chr(point), "?").split()[0].split("-")[0]
        script = SCRIPTS.get(script, script)
        if script not in self.scripts and len(self.scripts) < MOST:
            self.scripts.append(script)
        return self.scripts.index(script) if script in self.scripts else 0


def classify(point: int) -> int:
    """The kind of a character."""
    category = unicodedata.category(chr(point))
    if point == 0xFFFD:
        return LOST
    if point in INVISIBLE:
        return HIDDEN
    if category == "Cc" and chr(point) not in "\t\n\r":
        return CONTROL
    return LETTER if category[0] in "LN" else OTHER


def _look(rows: Rows, part: slice, classes: Classes, seen: Seen) -> None:
    own = rows.rows[part]
    found = {name: np.zeros(len(own), bool) for name in MARKUP}
    odd = {kind: np.zeros(len(own), bool) for kind in ODD}
    twice, letters = np.zeros(len(own), bool), np.zeros(len(own), np.int64)
    scripts = np.zeros((len(own), MOST), np.int32)
    for name in rows.store.fields:
        flat, lengths = values_of(rows.store, name, own)
        text, row = flat.tobytes(), np.repeat(np.arange(len(own)), lengths)
        for kind, pattern in MARKUP.items():
            places = np.array([match.span() for match in pattern.finditer(text)], np.int64).reshape(-1, 2)
            begin, end = row[places[:, 0]], row[places[:, 1] - 1]
            found[kind][begin[begin == end]] = True
        of_character = row[(flat & 0xC0) != 0x80]
        points = np.frombuffer(text.decode("utf-8", "surrogatepass").encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds, script, byte = classes.of(points)
        for kind, there in odd.items():
            there[of_character[kinds == kind]] = True
        letters += np.bincount(of_character[kinds == LETTER], minlength=len(own))
        known = script > 0
        scripts += np.bincount(of_character[known] * MOST + script[known], minlength=scripts.size).reshape(scripts.shape)
        begins = double_encoded(byte)
        twice[of_character[begins[of_character[begins] == of_character[np.minimum(begins + 1, len(points) - 1)]]]] = True
    for there, kept in ((twice, seen.twice), (letters == 0, seen.wordless), *((odd[k], seen.odd[k]) for k in ODD),
                        *((found[k], seen.markup[k]) for k in MARKUP)):
        kept.append(np.flatnonzero(there) + part.start)
    most = scripts.argmax(axis=1)
    clear = scripts[np.arange(len(own)), most] > FEW * np.maximum(1, scripts.sum(axis=1))
    seen.script.append(np.where(clear, most, 0).astype(np.uint8))


def double_encoded(byte: np.ndarray) -> np.ndarray:
    """int64: where characters, taken for bytes of cp1252 (0: none from 0x80 on), are one character of UTF-8.

    "café" -> "cafÃ©", whose "Ã©" is C3 A9: 3
    """
    following = np.append(byte[1:], np.uint8(0))
    inner = (byte >= 0x80) & (byte < 0xC0)
    one, two, three = inner[1:], inner[2:], inner[3:]
    size = len(byte)
    made = (byte >= 0xC2) & (byte < 0xE0) & _padded(one, size)
    made |= (byte >= 0xE0) & (byte < 0xF0) & _padded(one, size) & _padded(two, size)
    made |= (byte >= 0xF0) & (byte < 0xF5) & _padded(one, size) & _padded(two, size) & _padded(three, size)
    return np.flatnonzero(made & (following > 0))


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(size - len(values), bool)])


def repaired(text: str) -> str:
    """What a text was before its bytes were read as cp1252: 'cafÃ©' -> 'café'. Parts that were not stay as they are."""
    return re.sub(BEYOND, _once, text)


def _once(match: re.Match) -> str:
    try:
        raw = b"".join(char.encode("cp1252", "ignore") or bytes([ord(char)]) for char in match[0])
        return raw.decode("utf-8")
    except (UnicodeError, ValueError):
        return match[0]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)


def _odd(rows: Rows, kind: int, places: np.ndarray) -> Finding | None:
    if not len(places):
        return None

    def shown(place: int) -> Example:
        found = {c: i for i, c in reversed(list(enumerate(rows.text(place)))) if classify(ord(c)) == kind}
        names = [f"U+{ord(c):04X}" + (f" ({c.encode('latin-1').decode('cp1252', 'replace')!r} in cp1252)"
                                      if "\x80" <= c < "\xa0" else "") for c in sorted(found)]
        return rows.example(place, ", ".join(names[:4]), min(found.values(), default=0))

    advice = {CONTROL: "Take them out: a tokenizer drops some and learns others",
              HIDDEN: "Take them out: texts that look alike are not the same",
              LOST: "What stood there is gone: read the source once more in its own encoding"}[kind]
    return Finding("characters", "warning", f"{rows.where(places)} have {ODD[kind]}", len(places), len(rows.rows),
                   tuple(map(shown, places[:KEPT])), advice)


def _markup(rows: Rows, name: str, places: np.ndarray) -> Finding | None:
    if not len(places):
        return None
    advice = {"tags": "Take them out, unless those whom the model serves write them",
              "addresses": "Replace them by a word such as URL where it is not they that tell the answer",
              "entities": "Write the characters they stand for (html.unescape in Python)"}[name]

    def shown(place: int) -> Example:
        found = re.search(MARKUP[name].pattern.decode(), rows.text(place))
        return rows.example(place, at=found.start() if found else 0)

    severity = "warning" if name == "entities" else "note"
    return Finding("markup", severity, f"{rows.where(places)} have {name} of the web", len(places), len(rows.rows),
                   tuple(map(shown, places[:KEPT])), advice)


def _mojibake(rows: Rows, places: np.ndarray) -> Finding | None:
    if not len(places):
        return None

    def shown(place: int) -> Example:
        text = rows.text(place)
        was, at = repaired(text), next((match.start() for match in re.finditer(BEYOND, text) if _once(match) != match[0]), 0)
        return rows.example(place, f"was {was[max(0, at - 10):at + 20]!r}", at)

    return Finding("mojibake", "error", f"{rows.where(places)} have UTF-8 that was once read as cp1252", len(places),
                   len(rows.rows), tuple(map(shown, places[:KEPT])),
                   "Read the source as UTF-8 and write it once more; ftfy mends what is left")


def _wordless(rows: Rows, places: np.ndarray) -> Finding | None:
    if not len(places):
        return None
    return Finding("wordless", "warning", f"{rows.where(places)} have no letter or digit", len(places), len(rows.rows),
                   tuple(rows.example(place) for place in places[:KEPT]), "Leave them out, unless signs alone are an answer")


def _languages(rows: Rows, script: np.ndarray, names: list[str]) -> Finding | None:
    """Rows whose letters are of another script than those of most rows."""
    counts = np.bincount(script, minlength=len(names))
    counts[0] = 0
    most = int(counts.argmax())
    others = {_titled(names[i]): int(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i] and i != most}
    places = np.flatnonzero((script > 0) & (script != most))
    if not len(places) or {names[most], *(name.upper() for name in others)} <= {"CJK", "JAPANESE"}:
        return None
    told = ", ".join(f"{name} {count:,}" for name, count in list(others.items())[:5])
    return Finding("language", "note", f"{rows.where(places)} are in another script than most, {_titled(names[most])}: {told}",
                   len(places), len(rows.rows), tuple(rows.example(place) for place in places[:KEPT]),
                   "A backbone of one language makes little of another: leave them out, or take a multilingual one",
                   {"scripts": {_titled(names[most]): int(counts[most]), **others}})


def _titled(script: str) -> str:
    return script if script == "CJK" else script.title()
