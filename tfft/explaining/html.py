"""Explanations as one HTML file that needs no network, in light and in dark."""

import itertools
import json

from tfft.data.word_places import Word
from tfft.explaining.explanation import Explanation
from tfft.explaining.nearest import Neighbour
from tfft.explaining.terminal import headline, notes, parts
from tfft.pages import words
from tfft.pages.html import Markup, document, tag
from tfft.pages.words import Piece, coloured

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6470; --line: #cfd5dc; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a5adb8; --line: #454c55; --paper: #17191c; } }
body { margin: 0 auto; padding: 2rem 1rem; max-width: 52rem; background: var(--paper); color: var(--ink);
       font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
.soft { color: var(--soft); font-size: .9rem; margin: 0; overflow-wrap: anywhere; }
"""
POLICY = Markup('<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'">')


def page(explanations: list[Explanation], title: str) -> str:
    """The file's text."""
    legend = tag("p", *words.LEGEND, class_="soft")
    return document(title, STYLE + words.STYLE, tag("h1", title), legend, *map(_section, explanations), head=POLICY)


def _section(one: Explanation) -> Markup:
    lines = [tag("h2", json.dumps(one.answer, ensure_ascii=False)),
             *(tag("p", line, class_="soft") for line in (one.place, headline(one), *notes(one)) if line)]
    lines += texts(one)
    if one.nearest:
        lines += [tag("p", "nearest training rows", class_="soft"), tag("ol", *map(_near, one.nearest))]
    return tag("section", *lines)


def texts(one: Explanation, longest: int = 0) -> list[Markup]:
    """The texts of its row with their words in colours. longest: characters of a text that are shown, where it is about a part
    of it with that; 0: all."""
    made = []
    for field in one.row:
        found = ((word, value) for word, value in zip(one.words, one.attribution, strict=True) if word.field == field)
        pieces = [Piece(text) if share is None else _piece(one, text, share, *next(found)) for text, share in parts(one, field)]
        begin = one.about.start - longest // 2 if one.about and one.about.field == field else 0
        made += [tag("p", field, class_="soft")] if len(one.row) > 1 else []
        made.append(coloured(_cut(pieces, begin, longest) if longest else pieces))
    return made


def _piece(one: Explanation, text: str, share: float, word: Word, value: float) -> Piece:
    return Piece(text, share, float(value), one.is_about(word))


def _cut(pieces: list[Piece], begin: int, longest: int) -> list[Piece]:
    """The pieces that begin within `longest` characters of a text from `begin` on, or before its end."""
    starts = [0, *itertools.accumulate(len(piece.text) for piece in pieces)]
    begin = max(0, min(begin, starts[-1] - longest))
    made = [piece._replace(text=piece.text[:longest]) for piece, start in zip(pieces, starts, strict=False)
            if begin <= start < begin + longest]
    return [*([Piece("\u2026 ")] if begin else []), *made, *([Piece(" \u2026")] if begin + longest < starts[-1] else [])]


def _near(one: Neighbour) -> Markup:
    return tag("li", " | ".join(one.texts.values()), " ",
               tag("span", f"{one.answer}, {one.cosine:.3f}, {one.place}", class_="soft"))
