"""A text whose words are coloured by what they add to an answer: blue for it, orange against it, in light and in dark."""

from collections.abc import Iterable
from typing import NamedTuple

from tfft.pages.html import Markup, tag

STYLE = """
:root { --for: 37 99 235; --against: 234 108 20; }
@media (prefers-color-scheme: dark) { :root { --for: 96 150 255; --against: 240 130 50; } }
.text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 2; margin: .5rem 0; }
mark { color: var(--ink); background: none; border-radius: .25rem; padding: .1rem .05rem; }
mark.for { background: rgb(var(--for) / calc(var(--share) * .6)); }
mark.about { border-bottom: 2px solid; border-radius: 0; }
mark.against { background: rgb(var(--against) / calc(var(--share) * .6)); }
"""
LEGEND = (tag("mark", "blue", class_="for", style="--share:1"), " words speak for what is explained, ",
          tag("mark", "orange", class_="against", style="--share:1"), " ones against it; the stronger, the more. What is "
          "explained is underlined, where it is a part of the text. Point at a word for its number.")


class Piece(NamedTuple):
    """Of a text: a word with its attribution, that as a share -1..1 of the largest one, and whether what is explained is about
    it; what is between words has None for a share."""

    text: str
    share: float | None = None
    value: float = 0.0
    about: bool = False


def coloured(pieces: Iterable[Piece]) -> Markup:
    return tag("p", *(one.text if one.share is None else tag(
        "mark", one.text, class_=("for" if one.share > 0 else "against") + (" about" if one.about else ""),
        style=f"--share:{abs(one.share):.3f}", title=f"{one.value:+.3f}") for one in pieces), class_="text")
