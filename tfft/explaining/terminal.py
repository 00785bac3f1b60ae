"""An explanation for a terminal: words on colours where there are any, else with numbers."""

import json
import textwrap

import numpy as np

from tfft.explaining.explanation import COMPLETE, Explanation
from tfft.explaining.nearest import lines

FOR, AGAINST = (195, 153, 117, 75), (230, 223, 216, 209)  # of 256 colours: blues and oranges, which everybody can tell apart
SHARE = 0.1  # of the largest attribution: words of less are plain
STRONGEST, WIDTH = 5, 110


def told(explanation: Explanation, colours: bool) -> str:
    """What is answered, the texts with what their words add, the strongest words."""
    one = explanation
    made = [f"{one.place}{': ' if one.place else ''}{json.dumps(one.answer, ensure_ascii=False)}", f"  {headline(one)}"]
    for field in one.row:
        text = _coloured(one, field) if colours else _numbered(one, field)
        named = f"{field}: " if len(one.row) > 1 else ""
        made += [f"    {named}{text}"] if colours else textwrap.wrap(
            named + text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    made.append(f"  most: {strongest(one)}")
    near = ["  nearest training rows:", *(f"    {line}" for line in lines(one.nearest))] if one.nearest else []
    return "\n".join([*made, *(f"  {note}" for note in notes(one)), *near])


def headline(one: Explanation) -> str:
    what = f"{one.what} {one.value:+.2f}" if one.what == one.name else f"{one.name}: {one.what} {one.value:+.2f}"
    whole = f", {one.rest:+.2f} without its words ({one.steps} steps)" if one.rest is not None else ""
    return f"why {what}{whole}, by {one.method.replace('_', ' ')}"


def strongest(one: Explanation) -> str:
    """'dull +1.38, but +0.86, ...': the words that add or take most."""
    order = np.argsort(-np.abs(one.attribution), kind="stable")[:STRONGEST]
    return ", ".join(f"{_shown(one.text(one.words[i]))} {one.attribution[i]:+.2f}" for i in order)


def notes(one: Explanation) -> list[str]:
    found = [*([one.unseen] if one.unseen else []), *one.notes]
    if one.missing > COMPLETE:
        found.append(f"note: after {one.steps} steps the attributions still miss {one.missing:.1%} of the difference that they "
                     "should sum to: read them as rough")
    return found


def parts(one: Explanation, field: str) -> list[tuple[str, float | None]]:
    """A text in pieces, each word with its share -1..1 of the largest attribution, what stands between with None."""
    most, text = max(float(np.abs(one.attribution).max(initial=0)), 1e-12), one.row[field]
    made, at = [], 0
    for word, value in zip(one.words, one.attribution, strict=True):
        if word.field == field:
            made += [(text[at:word.start], None)] if at < word.start else []
            made.append((text[word.start:word.end], float(value) / most))
            at = word.end
    return [*made, (text[at:], None)] if at < len(text) else made


def _coloured(one: Explanation, field: str) -> str:
    made, words = [], (word for word in one.words if word.field == field)
    for text, share in parts(one, field):
        codes = ["4"] if share is not None and one.is_about(next(words)) else []  # underlined
        if share is not None and abs(share) >= SHARE:
            codes.append(f"38;5;16;48;5;{(FOR if share > 0 else AGAINST)[min(3, int(abs(share) * 4))]}")
        text = _shown(text)
        made.append(f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes else text)
    return "".join(made)


def _numbered(one: Explanation, field: str) -> str:
    """a dreadful[+2.10] film"""
    most = max(float(np.abs(one.attribution).max(initial=0)), 1e-12)
    return "".join(_shown(text) if share is None or abs(share) < SHARE else f"{_shown(text)}[{share * most:+.2f}]"
                   for text, share in parts(one, field))


def _shown(text: str) -> str:
    """Without what would move a terminal's cursor or colours."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
