"""Which encoding lines that are no UTF-8 are likely in: a guess that is told with what it makes of them, never acted on."""

import codecs
import re
import unicodedata

WESTERN = ("cp1252", "cp1254", "cp1250", "mac_roman", "cp850")
SCRIPTS = {"cp1251": "CYRILLIC", "koi8_r": "CYRILLIC", "cp1253": "GREEK", "cp1255": "HEBREW LETTER", "cp1256": "ARABIC",
           "cp874": "THAI", "cp1250": "LATIN"}
OTHERS = (*SCRIPTS, "shift_jis", "gb18030", "big5", "euc_jp", "cp949")
INSIDE = re.compile(r"(?<=[^\W\d_])[‚„“”…€£§°«»](?=[^\W\d_])")  # between letters, where they do not belong
USUAL = frozenset("“”„‘’–—…€£°«»§·¿¡©®™\xa0 。，、！？：；「」『』（）《》")


def is_utf8(some: bytes, whole: bool = False) -> bool:
    """Whether bytes, which may end in the midst of a character unless they are all there are, are UTF-8."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(some, whole)
    except UnicodeDecodeError:
        return False
    return True


def suggestion(raw: bytes, head: bytes) -> str:
    """What a line that is no UTF-8 would be in the encoding that its file seems to be in, and how to say so; '' where it shows
    none."""
    lines = [line for line in head.split(b"\n") if not line.isascii() and not is_utf8(line)][:200]
    guessed = guess(b"\n".join([raw.rstrip(b"\r\n"), *lines]))
    if not guessed:
        return ""
    line = raw.decode(guessed, "replace").strip()
    at = next((i for i, c in enumerate(line) if not c.isascii()), 0)
    begin = max(0, at - 20)
    return f" (in {guessed} it reads {line[begin:begin + 40]!r}: if that is right, set --config.data.encoding={guessed})"


def guess(some: bytes) -> str:
    """The encoding in which lines that are no UTF-8 look most like text; '' where none does.

    Western letters with accents stand alone among ASCII ones; other scripts and Chinese come in runs of high bytes.
    """
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", some)]
    alone = bool(runs) and sum(runs) < 1.7 * len(runs)
    scores = {}
    for encoding in WESTERN if alone else OTHERS:
        try:
            scores[encoding] = _likeness(some.decode(encoding), encoding)
        except UnicodeDecodeError:
            continue
    best = max(scores, key=scores.__getitem__, default="")
    return best if best and scores[best] > 0.6 else ""


def _likeness(text: str, encoding: str) -> float:
    """How much the characters beyond ASCII look like a language's, 0 to 1."""
    high = [c for c in text if c >= "\x80"]
    if not high:
        return 0.0
    common = {"gb18030": ("gb2312", 0xB0, 0xD7), "big5": ("big5", 0xA4, 0xC6)}.get(encoding)
    odd = _odd_pairs(text) + (len(INSIDE.findall(text)) if encoding in WESTERN else 0)
    return (sum(_usual(c, encoding, common) for c in high) - 0.3 * odd) / len(high)


def _usual(character: str, encoding: str, common: tuple[str, int, int] | None) -> float:
    if character in USUAL:
        return 1.0
    name = unicodedata.name(character, "")
    if common:  # their frequent characters stand in the first rows of their tables
        lead = character.encode(common[0], "ignore")[:1]
        return 0.95 if lead and common[1] <= lead[0] <= common[2] else 0.2
    if encoding in ("shift_jis", "euc_jp"):
        return 1.0 if name.startswith(("HIRAGANA", "KATAKANA")) else 0.75 if name.startswith("CJK") else 0.2
    if encoding in WESTERN:
        turkish = encoding == "cp1254" and character in "ğışİĞŞ"
        own = turkish or (character.encode("cp1252", "ignore") and character not in "þýð")
        latin = (1.0 if own else 0.8) if name.startswith("LATIN") else 0.2
        return latin - 0.05 * WESTERN.index(encoding)
    if encoding == "cp949":  # its first rows hold the frequent syllables, the others what they leave over
        return 0.97 if name.startswith("HANGUL SYLLABLE") and len(character.encode("euc_kr", "ignore")) == 2 else 0.2
    return 0.9 if name.startswith(SCRIPTS[encoding]) else 0.2


def _odd_pairs(text: str) -> int:
    """How often a capital follows a small letter, or two scripts stand side by side: so bytes of other encodings look."""
    pairs = [(a, b) for a, b in zip(text, text[1:]) if a.isalpha() and b.isalpha() and not (a.isascii() and b.isascii())]
    return sum(a.islower() and b.isupper() or (a.isascii() != b.isascii() and "LATIN" not in unicodedata.name(max(a, b), ""))
               for a, b in pairs)
