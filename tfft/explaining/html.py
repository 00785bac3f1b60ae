"""Explanations as one HTML file that needs no network, in light and in dark."""

import json
from collections.abc import Iterator

from tfft.explaining.explanation import Explanation
from tfft.explaining.nearest import Neighbour
from tfft.explaining.terminal import headline, notes, parts
from tfft.pages.html import Markup, document, tag

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6470; --line: #cfd5dc; --paper: #fff; --for: 37 99 235;
        --against: 234 108 20; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a5adb8; --line: #454c55; --paper: #17191c;
        --for: 96 150 255; --against: 240 130 50; } }
body { margin: 0 auto; padding: 2rem 1rem; max-width: 52rem; background: var(--paper); color: var(--ink);
       font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
.soft { color: var(--soft); font-size: .9rem; margin: 0; overflow-wrap: anywhere; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 2; margin: .5rem 0; }
mark { color: inherit; background: none; border-radius: .25rem; padding: .1rem .05rem; }
mark.for { background: rgb(var(--for) / calc(var(--share) * .6)); }
mark.about { border-bottom: 2px solid; border-radius: 0; }
mark.against { background: rgb(var(--against) / calc(var(--share) * .6)); }
"""
POLICY = Markup('<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'">')


def page(explanations: list[Explanation], title: str) -> str:
    """The file's text."""
    legend = tag("p", tag("mark", "blue", class_="for", style="--share:1"), " words speak for what is explained, ",
                 tag("mark", "orange", class_="against", style="--share:1"), " ones against it; the stronger, the more. What "
                 "is explained is underlined, where it is a part of the text. Point at a word for its number.", class_="soft")
    return document(title, STYLE, tag("h1", title), legend, *map(_section, explanations), head=POLICY)


def _section(one: Explanation) -> Markup:
    lines = [tag("h2", json.dumps(one.answer, ensure_ascii=False)),
             *(tag("p", line, class_="soft") for line in (one.place, headline(one), *notes(one)) if line)]
    for field in one.row:
        lines += [tag("p", field, class_="soft")] if len(one.row) > 1 else []
        lines.append(tag("p", *_marked(one, field), class_="text"))
    if one.nearest:
        lines += [tag("p", "nearest training rows", class_="soft"), tag("ol", *map(_near, one.nearest))]
    return tag("section", *lines)


def _near(one: Neighbour) -> Markup:
    return tag("li", " | ".join(one.texts.values()), " ",
               tag("span", f"{one.answer}, {one.cosine:.3f}, {one.place}", class_="soft"))


def _marked(one: Explanation, field: str) -> Iterator[Markup | str]:
    words = ((word, value) for word, value in zip(one.words, one.attribution, strict=True) if word.field == field)
    for text, share in parts(one, field):
        if share is None:
            yield text
            continue
        word, value = next(words)
        kind = ("for" if share > 0 else "against") + (" about" if one.is_about(word) else "")
        yield tag("mark", text, class_=kind, style=f"--share:{abs(share):.3f}", title=f"{value:+.3f}")
