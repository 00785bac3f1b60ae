"""Pieces of HTML. What is no Markup is text, and escaped: rows hold anything."""

import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class Markup(str):
    """Text that is HTML already."""


def markup(value: Any) -> Markup:
    """Anything as HTML: numbers as tables show them, several things one after another."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, (list, tuple)):
        return Markup("".join(map(markup, value)))
    return Markup(html.escape(shown(value)))


def shown(value: Any) -> str:
    """1234 -> '1,234', 0.12345 -> '0.1235', 1112.5 -> '1,112.5', 3.2e-05 as it is."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value).encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if abs(value) < 1e-3 or abs(value) >= 1e9:
        return f"{value:.3g}"
    return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.1f}"


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """tag("p", "a < b", class_="soft") -> <p class="soft">a &lt; b</p>"""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"' for key, value in attributes.items()
                    if value is not None and value != "")
    return Markup(f"<{name}{given}>{markup(children)}</{name}>")


def section(title: str, *children: Any) -> Markup:
    """A part of the page; '' where it would be empty."""
    if not (made := markup([child for child in children if child])):
        return Markup("")
    return tag("section", tag("h2", title), made, id=anchor(title))


def anchor(title: str) -> str:
    return "-".join(title.lower().split())


def table(header: Sequence[str], lines: Iterable[Sequence[Any]], *, long: Sequence[str] = (), stacked: bool = False) -> Markup:
    """A table whose columns of numbers stand to the right. long: columns with texts, which get the room; stacked: on a narrow
    screen the cells of a line stand one below another."""
    lines = [list(line) for line in lines]
    if not lines:
        return Markup("")
    numeric = [all(isinstance(line[i], (int, float)) or line[i] in ("", None) for line in lines) for i in range(len(header))]
    kinds = ["number" if numeric[i] else "long" if name in long else None for i, name in enumerate(header)]
    head = tag("tr", *(tag("th", name, class_=kind, scope="col") for name, kind in zip(header, kinds, strict=True)))
    body = [tag("tr", *(tag("td", value, class_=kind, data_name=name) for value, kind, name in
                        zip(line, kinds, header if stacked else [None] * len(header), strict=True))) for line in lines]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body), class_="texts" if stacked else None), class_="wide")


def place(where: str) -> Markup:
    """Where a row is, without the folders, which are told on hovering."""
    return tag("span", where.rpartition("/")[2], title=where if "/" in where else None)


def figures(*several: Markup) -> Markup:
    """Charts side by side, where there is room."""
    made = [one for one in several if one]
    return tag("div", *made, class_="charts") if made else Markup("")


def page(title: str, about: Sequence[Any], sections: Sequence[Markup], made: str, style: str = "") -> str:
    """The whole file. about: lines under the title; made: of when and by what it is; style: what it needs besides the usual."""
    there = [one for one in sections if one]
    titles = [html.unescape(one.split("<h2>", 1)[1].split("</h2>", 1)[0]) for one in there]
    links = tag("nav", *(tag("a", name, href=f"#{anchor(name)}") for name in titles), aria_label="Sections")
    style = (Path(__file__).parent / "page.css").read_text("utf-8") + style
    return document(title, style, tag("header", tag("h1", title), *(tag("p", line) for line in about if line)), links,
                    tag("main", *there), tag("footer", made))


def document(title: str, style: str, *body: Any, head: str = "") -> str:
    """A whole file that needs no network. head: what its head has besides."""
    usual = Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">')
    made = tag("head", usual, head, tag("title", title), Markup(f"<style>\n{style}</style>"))
    return f'<!doctype html>\n<html lang="en">\n{made}\n{tag("body", *body)}\n</html>\n'
