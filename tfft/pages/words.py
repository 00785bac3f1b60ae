"""A text whose words are coloured by what they add to an answer: blue for it, orange against it, in light and in dark."""

from collections.abc import Iterable

from tfft.pages.html import Markup, tag

STYLE = """
:root { --for: 37 99 235; --against: 234 108 20; }
@media (prefers-color-scheme: dark) { :root { --for: 96 150 255; --against: 240 130 50; } }
.text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 2; margin: .5rem 0; }
mark { color: var(--ink); background: none; border-radius: .25rem; padding: .1rem .05rem; }
mark.for { background: rgb(var(--for) / calc(var(--share) * .6)); }
mark.against { background: rgb(var(--against) / calc(var(--share) * .6)); }
"""
LEGEND = (tag("mark", "blue", class_="for", style="--share:1"), " words speak for what is explained, ",
          tag("mark", "orange", class_="against", style="--share:1"), " ones against it; the stronger, the more. Point at a "
          "word for its number.")


def coloured(pieces: Iterable[tuple[str, float | None, float]]) -> Markup:
    """A text in pieces: (what stands there, its share -1..1 of the largest attribution, the attribution); what is between words
    has None for a share."""
    return tag("p", *(text if share is None else tag(
        "mark", text, class_="for" if share > 0 else "against", style=f"--share:{abs(share):.3f}", title=f"{value:+.3f}")
        for text, share, value in pieces), class_="text")
