"""Explanations as one HTML file that needs no network, in light and in dark."""

import html
import json

from tfft.explaining.explanation import Explanation
from tfft.explaining.terminal import headline, notes, parts

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
mark.against { background: rgb(var(--against) / calc(var(--share) * .6)); }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(explanations: list[Explanation], title: str) -> str:
    """The file's text."""
    title = _escaped(title)
    legend = ('<p class="soft"><mark class="for" style="--share:1">blue</mark> words speak for what is explained, '
              '<mark class="against" style="--share:1">orange</mark> ones against it; the stronger, the more. Point at a word '
              "for its number.</p>")
    body = "\n".join(_section(one) for one in explanations)
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" '
            f'content="{POLICY}">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{legend}\n{body}\n</body>\n"
            "</html>\n")


def _section(one: Explanation) -> str:
    lines = [f"<h2>{_escaped(json.dumps(one.answer, ensure_ascii=False))}</h2>",
             *(f'<p class="soft">{_escaped(line)}</p>' for line in (one.place, headline(one), *notes(one)) if line)]
    for field in one.row:
        named = f'<p class="soft">{_escaped(field)}</p>' if len(one.row) > 1 else ""
        lines.append(f'{named}<p class="text">{_marked(one, field)}</p>')
    if one.nearest:
        items = "".join(f'<li>{_escaped(" / ".join(near.texts))} <span class="soft">{_escaped(near.right)}, cosine '
                        f"{near.similarity:.3f}, {_escaped(near.place)}</span></li>" for near in one.nearest)
        lines.append(f'<p class="soft">nearest training rows</p><ol>{items}</ol>')
    return "<section>\n" + "\n".join(lines) + "\n</section>"


def _marked(one: Explanation, field: str) -> str:
    values = iter(value for word, value in zip(one.words, one.attribution, strict=True) if word.field == field)
    made = []
    for text, share in parts(one, field):
        text = _escaped(text)
        made.append(text if share is None else f'<mark class="{"for" if share > 0 else "against"}" '
                    f'style="--share:{abs(share):.3f}" title="{next(values):+.3f}">{text}</mark>')
    return "".join(made)


def _escaped(text: str) -> str:
    """Half a surrogate pair is in no file."""
    return html.escape(text.encode("utf-8", "replace").decode())
