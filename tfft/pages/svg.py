"""Charts as inline SVG, coloured by the page's style, so that they follow light and dark. A chart says on hovering what a point
or a bar is; all of them fit a telephone."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from tfft.pages.html import Markup, markup, shown, tag

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 34
POINTS = 300  # of a line
LETTERS = 24  # of a label beside a matrix


class Line(NamedTuple):
    """A line of a chart; points: whether each is marked."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    points: bool = False


class _Axes:
    """Where values stand in a chart."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]):
        self._x, self._y = _apart(*x), _apart(*y)

    def x(self, value: float) -> float:
        low, high = self._x
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self._y
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def drawn(self, below: str) -> list[Markup]:
        """Lines, numbers, and what the x axis is."""
        made = []
        for value in ticks(*self._y):
            made += [_line(LEFT, self.y(value), WIDTH - RIGHT, self.y(value), "grid"),
                     tag("text", _number(value), x=LEFT - 6, y=self.y(value) + 4, text_anchor="end")]
        for value in ticks(*self._x, count=6):
            made.append(tag("text", _number(value), x=self.x(value), y=HEIGHT - BOTTOM + 15, text_anchor="middle"))
        return [*made, _line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis"),
                tag("text", below, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 3, text_anchor="middle")]


def lines(title: str, several: Sequence[Line], below: str, *, x: tuple[float, float] | None = None,
          y: tuple[float, float] | None = None, guide: Sequence[tuple[float, float]] = ()) -> Markup:
    """Lines over one axis; '' where there is no point. guide: a dashed line through such points."""
    several = [_thin(line) for line in (_finite(line) for line in several) if len(line.x)]
    if not several:
        return Markup("")
    every = [value for line in several for value in line.y]
    low, high = min(every), max(every)
    room = (high - low) * 0.06
    axes = _Axes(x or (min(min(line.x) for line in several), max(max(line.x) for line in several)),
                 y or (low - room if low else low, high + room))
    made = axes.drawn(below)
    if guide:
        made.append(tag("polyline", points=" ".join(f"{axes.x(a)},{axes.y(b)}" for a, b in guide), class_="guide"))
    for number, line in enumerate(several):
        where = [(axes.x(a), axes.y(b)) for a, b in zip(line.x, line.y, strict=True)]
        parts = [tag("polyline", points=" ".join(f"{a},{b}" for a, b in where))] if len(where) > 1 else []
        if line.points or len(where) == 1:
            told = (f"{line.name}: {shown(float(b))} at {below} {_number(a)}" for a, b in zip(line.x, line.y, strict=True))
            parts += [tag("circle", tag("title", text), cx=a, cy=b, r=3) for (a, b), text in zip(where, told, strict=True)]
        made.append(tag("g", *parts, class_=f"s{number % 6}"))
    return _figure(title, made, [line.name for line in several])


def bars(title: str, left: Sequence[float], heights: Sequence[float], told: Sequence[str], below: str, *, width: float,
         y: tuple[float, float] | None = None, guide: Sequence[tuple[float, float]] = ()) -> Markup:
    """Bars that stand from left[i] to left[i] + width; told: what each says on hovering."""
    if not len(heights):
        return Markup("")
    axes = _Axes((min(left), max(left) + width), y or (0, max([*heights, 1e-9])))
    made = axes.drawn(below)
    floor = axes.y(0)
    for begin, height, text in zip(left, heights, told, strict=True):
        top = axes.y(height)
        made.append(tag("rect", tag("title", text), x=axes.x(begin) + 1, y=top, class_="bar",
                        width=max(1.0, round(axes.x(begin + width) - axes.x(begin) - 2, 1)), height=round(floor - top, 1)))
    if guide:
        made.append(tag("polyline", points=" ".join(f"{axes.x(a)},{axes.y(b)}" for a, b in guide), class_="guide"))
    return _figure(title, [tag("g", *made, class_="s0")], [])


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]], rows: str, columns: str) -> Markup:
    """How often names of the rows meet those of the columns: each cell as strong as its share of its row, what is not on the
    diagonal in the other colour."""
    size, names = 34, [name if len(name) <= LETTERS else f"{name[:LETTERS - 1]}\u2026" for name in names]
    side = 30 + round(6.8 * max(map(len, names)))
    top = 36 + round(5.2 * max(map(len, names)))
    made = [tag("text", columns, x=side, y=13), tag("text", rows, transform=f"translate(11 {top + len(names) * size / 2}) "
                                                                            "rotate(-90)", text_anchor="middle")]
    for i, name in enumerate(names):
        made += [tag("text", name, transform=f"translate({side + i * size + size / 2} {top - 6}) rotate(-45)"),
                 tag("text", name, x=side - 7, y=top + i * size + size / 2 + 4, text_anchor="end")]
    for i, line in enumerate(counts):
        for j, count in enumerate(line):
            share = count / max(1, sum(line))
            x, y = side + j * size, top + i * size
            told = f"{rows} {names[i]}, {columns} {names[j]}: {count:,} ({share:.1%} of the row)"
            made.append(tag("rect", tag("title", told), x=x, y=y, width=size, height=size,
                            fill_opacity=round(0.06 + 0.94 * share, 3), class_="cell" if i == j else "cell wrong"))
            if count:
                text = f"{count:,}" if count < 10_000 else f"{count / 1000:.0f}k"
                made.append(tag("text", text, x=x + size / 2, y=y + size / 2 + 4, pointer_events="none",
                                class_="value over" if share > 0.45 else "value", font_size=12 if len(text) < 5 else 10))
    wide, high = side + len(names) * size + top - 10, top + len(names) * size + 4
    drawn = tag("svg", *made, viewBox=f"0 0 {wide} {high}", width=wide, height=high, class_="own", role="img",
                aria_label=f"{rows} against {columns}")
    return tag("div", drawn, class_="wide")


def spread(value: float, low: float, high: float, ends: tuple[float, float], whole: float | None = None) -> Markup:
    """A value with its interval, for a cell of a table; ends: of the axis that all cells have; whole: a line across."""
    wide, high_ = 170, 18
    first, last = _apart(*ends)

    def at(x: float) -> float:
        return round(5 + (min(max(x, first), last) - first) / (last - first) * (wide - 10), 1)

    made = [_line(0, high_ / 2, wide, high_ / 2, "grid")]
    made += [_line(at(whole), 0, at(whole), high_, "whole")] if whole is not None else []
    made += [tag("rect", x=at(low), y=high_ / 2 - 2.5, width=max(1.0, round(at(high) - at(low), 1)), height=5, rx=2.5,
                 class_="bar", fill_opacity=0.45), tag("circle", cx=at(value), cy=high_ / 2, r=4)]
    told = f"{shown(float(value))}, from {shown(float(low))} to {shown(float(high))}"
    return tag("svg", tag("title", told), *made, viewBox=f"0 0 {wide} {high_}", width=wide, height=high_, class_="own s0",
               role="img")


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values from low to high, about so many: (0, 0.83) -> [0, 0.2, 0.4, 0.6, 0.8]"""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((nice * power for nice in (1, 2, 5) if nice * power >= rough * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _figure(title: str, drawn: list[Markup], names: list[str]) -> Markup:
    legend = [tag("div", *(tag("span", name, class_=f"s{i % 6}") for i, name in enumerate(names)), class_="legend")] \
        if len(names) > 1 else []
    chart = tag("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    return tag("figure", tag("figcaption", tag("b", title), *legend), chart)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return markup(tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind))


def _apart(low: float, high: float) -> tuple[float, float]:
    """Two ends that are not one."""
    if high - low > 1e-12 * max(abs(low), abs(high), 1e-300):
        return low, high
    return (low - abs(low) * 0.1, high + abs(high) * 0.1) if low else (0.0, 1.0)


def _finite(line: Line) -> Line:
    kept = [(float(a), float(b)) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return line._replace(x=[a for a, _ in kept], y=[b for _, b in kept])


def _thin(line: Line) -> Line:
    """The line through so many of its points as a screen shows, with its last one."""
    every = -(-len(line.x) // POINTS)
    keep = sorted({*range(0, len(line.x), every), len(line.x) - 1})
    return line._replace(x=[line.x[i] for i in keep], y=[line.y[i] for i in keep])


def _number(value: float) -> str:
    """Of an axis: 0.2, 1,500, 3e-05."""
    if value == 0:
        return "0"
    if abs(value) >= 1e-3:
        return f"{value:,.10g}" if abs(value) < 1e6 else f"{value:.3g}"
    return f"{value:.2g}"
