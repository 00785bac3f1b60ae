"""The pictures of a study's page as inline SVG: history, parallel coordinates, importances. Their colours are the page's."""

import html
import math
from typing import Any

from tfft.config.space import Choice, Real, Whole, stored
from tfft.tuning.study import Trial

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 20, 40


def history(trials: list[Trial], metric: str, lower: bool) -> str:
    """Each trial's metric by its number, and the best so far as a line. Failed ones stand at the bottom as crosses."""
    ended = [trial for trial in trials if trial.metric is not None]
    if not ended:
        return ""
    low, high = _limits([trial.metric for trial in ended])
    last = max(1, max(trial.number for trial in trials))

    def x(number: int) -> float:
        return LEFT + number / last * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts, line, best = _axes(low, high, y), [], None
    for trial in (one for one in ended if one.state == "done"):
        better = best is None or (trial.metric < best if lower else trial.metric > best)
        if better:
            line += [f"{x(trial.number):.1f},{y(best):.1f}"] if best is not None else []
            best = trial.metric
            line.append(f"{x(trial.number):.1f},{y(best):.1f}")
    if best is not None:
        parts.append(f'<polyline class="best" points="{" ".join(line)} {x(last):.1f},{y(best):.1f}"/>')
    for trial in ended:
        kind = "dot" if trial.state == "done" else "dot poor"
        parts.append(f'<circle class="{kind}" cx="{x(trial.number):.1f}" cy="{y(trial.metric):.1f}" r="4">{_title(trial)}'
                     "</circle>")
    for trial in (one for one in trials if one.state == "failed"):
        parts.append(f'<text class="bad" x="{x(trial.number):.1f}" y="{HEIGHT - BOTTOM}">&#215;{_title(trial)}</text>')
    parts += [f'<text x="{x(0):.1f}" y="{HEIGHT - 22}">0</text><text x="{x(last):.1f}" y="{HEIGHT - 22}">{last}</text>',
              f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}">trial; {html.escape(metric)}, the line: the best so far</text>']
    return _svg(HEIGHT, parts)


def parallel(trials: list[Trial], kinds: dict[str, Any], metric: str, lower: bool) -> str:
    """A line for each trial through its values, to its metric on the right; the better, the more of the page's colour."""
    ended = sorted((trial for trial in trials if trial.metric is not None), key=lambda one: one.metric, reverse=lower)
    if not ended:
        return ""
    low, high = _limits([trial.metric for trial in ended])
    names = [*kinds, metric]
    step, height = (WIDTH - LEFT - 60) / max(1, len(names) - 1), 320
    parts = []
    for i, name in enumerate(names):
        ends = _ends(kinds[name]) if name in kinds else [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]
        x, label = LEFT + i * step, html.escape(name.rpartition(".")[2])
        parts += [f'<path class="axis" d="M{x:.1f} 40V{height - 30}"/>',
                  f'<text x="{x:.1f}" y="{14 + 13 * (i % 2)}">{label}</text>']
        parts += [f'<text class="tick" x="{x + 4:.1f}" y="{_y(place, height):.1f}">{html.escape(text)}</text>'
                  for place, text in ends]
    for trial in ended:
        places = [_place(kinds[name], trial.values.get(name)) for name in kinds] + [(trial.metric - low) / (high - low)]
        points = " ".join(f"{LEFT + i * step:.1f},{height - 12 if place is None else _y(place, height):.1f}"
                          for i, place in enumerate(places))
        share = (trial.metric - low) / (high - low)
        share = 1 - share if lower else share
        parts.append(f'<polyline class="run" style="opacity:{0.15 + 0.85 * share**3:.2f}" points="{points}">{_title(trial)}'
                     "</polyline>")
    return _svg(height, parts)


def bars(importances: dict[str, float]) -> str:
    """How much of the metric's variance each setting explains."""
    if not importances:
        return ""
    parts, left = [], 220
    for i, (name, share) in enumerate(importances.items()):
        y, width = 10 + 26 * i, max(1.0, share * (WIDTH - left - 60))
        parts.append(f'<text class="name" x="{left - 8}" y="{y + 14}">{html.escape(name)}</text><rect class="bar" x="{left}" '
                     f'y="{y}" width="{width:.1f}" height="18"/><text class="tick" x="{left + width + 6:.1f}" y="{y + 14}">'
                     f"{share:.0%}</text>")
    return _svg(20 + 26 * len(importances), parts)


def _limits(values: list[float]) -> tuple[float, float]:
    """A little more than the lowest and the highest."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _place(kind: Real | Whole | Choice, value: Any) -> float | None:
    """0 to 1 along the axis of a setting; None where it did not count."""
    if value is None:
        return None
    if isinstance(kind, Choice):
        at = [stored(one) for one in kind.values].index(stored(value))
        return (at + 0.5) / len(kind.values)
    if isinstance(kind, Real) and kind.log:
        return math.log(value / kind.low) / math.log(kind.high / kind.low)
    return (value - kind.low) / (kind.high - kind.low)


def _ends(kind: Real | Whole | Choice) -> list[tuple[float, str]]:
    """What stands at an axis: (place, text)."""
    if isinstance(kind, Choice):
        return [((i + 0.5) / len(kind.values), str(stored(value))) for i, value in enumerate(kind.values)]
    return [(0.0, f"{kind.low:g}"), (1.0, f"{kind.high:g}")]


def _y(place: float, height: int) -> float:
    return 44 + (1 - place) * (height - 84)


def _axes(low: float, high: float, y) -> list[str]:
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>']
    for i in range(5):
        value = low + (high - low) * i / 4
        parts.append(f'<text class="name" x="{LEFT - 6}" y="{y(value) + 4:.1f}">{value:.4g}</text>')
    return parts


def _title(trial: Trial) -> str:
    """What is shown where the mouse rests."""
    values = "\n".join(f"{name}={value}" for name, value in trial.values.items())
    metric = "" if trial.metric is None else f" {trial.metric:.4f}"
    return f"<title>trial {trial.number}: {trial.state}{metric}\n{html.escape(values)}</title>"


def _svg(height: float, parts: list[str]) -> str:
    return "\n".join([f'<svg viewBox="0 0 {WIDTH} {height}" role="img">', *parts, "</svg>"])
