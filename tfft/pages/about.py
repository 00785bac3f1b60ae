"""How the run came about: training curves, what is odd about its rows, settings, versions."""

from collections.abc import Sequence
from typing import Any

from tfft.checks.findings import Findings
from tfft.pages import svg
from tfft.pages.html import Markup, figures, place, section, table, tag

CHARTS = 8     # of metrics
COUNTED = 30   # answers in a table
EXAMPLES = 3   # of a finding


def curves(points: Sequence[dict[str, Any]], metric: str) -> Markup:
    """points: the lines of metrics.jsonl."""
    train, judged = ([point for point in points if point.get("kind") == kind] for kind in ("train", "validation"))

    def line(name: str, several: list[dict], key: str) -> svg.Line:
        there = [point for point in several if isinstance(point.get(key), (int, float))]
        return svg.Line(name, [point["step"] for point in there], [point[key] for point in there], points=several is judged)

    loss = [line("training", train, "loss"), line("validation", judged, "loss")]
    names = [name for name in (judged[0] if judged else ()) if name not in ("step", "kind", "epoch", "best", "loss")
             and "/" not in name]
    names = sorted(names, key=lambda name: name != metric)
    charts = [svg.lines("Loss", loss, "step"), svg.lines("Learning rate", [line("rate", train, "learning_rate")], "step")]
    metrics = [svg.lines(name, [line(name, judged, name)], "step") for name in names[:CHARTS]]
    of_sources = {name for point in judged for name in point if name.endswith(f"/{metric}")}
    if of_sources:
        metrics.append(svg.lines(f"{metric} by source", [line(name.rpartition("/")[0], judged, name)
                                                         for name in sorted(of_sources)], "step"))
    best = [point["step"] for point in judged if point.get("best")]
    told = tag("p", f"The best {metric} of the validation rows is that of step {best[-1]:,}.") if best else ""
    return section("Training", told, figures(*charts, *metrics))


def data_checks(findings: Findings | None, told: str) -> Markup:
    """told: of what was looked at, or why nothing was."""
    if findings is None:
        return section("Data", tag("p", told)) if told else Markup("")
    rows = ", ".join(f"{name} {count:,}" for name, count in findings.splits.items())
    parts: list[Any] = [tag("p", f"Rows: {rows}. {told}")]
    counts = findings.answers.get("counts", {})
    first = next(iter(counts.values()), {})
    if first:
        names = list(dict.fromkeys(name for split in counts.values() for name in split))
        lines = [(name, *(split.get(name, 0) for split in counts.values())) for name in names[:COUNTED]]
        lines += [(f"{len(names) - COUNTED:,} more", *("" for _ in counts))] if len(names) > COUNTED else []
        parts.append(table((findings.answers["what"], *counts), lines))
    kinds = {"error": "bad", "warning": "bad", "note": None}
    lines = []
    for one in findings.found:
        shown = [tag("div", place(example.place), f" \u201c{example.text}\u201d {example.note}", class_="soft")
                 for example in one.examples[:EXAMPLES]]
        lines.append((tag("span", one.severity, class_=kinds[one.severity]), one.name, one.count, f"{one.share:.2%}",
                      [one.what, tag("div", f"{one.advice}.") if one.advice else "", *shown]))
    parts.append(table(("how bad", "check", "rows", "share", "what"), lines, long=("what",), stacked=True) if lines
                 else tag("p", "Nothing odd was found."))
    return section("Data", *parts)


def settings(changed: Sequence[tuple[str, Any, Any]], environment: dict[str, Any]) -> Markup:
    """changed: (setting, default, the run's)."""
    lines = [(tag("code", name), _value(own), _value(usual)) for name, usual, own in changed]
    versions = {"tfft": environment.get("tfft"), "git commit": environment.get("git_commit"),
                "python": environment.get("python"), **environment.get("packages", {}), "machine": environment.get("machine"),
                "cpus": environment.get("cpus"), "devices": ", ".join(map(str, environment.get("devices", ()))),
                "replicas": environment.get("replicas"), "hosts": environment.get("hosts")}
    known = [(name, str(value)) for name, value in versions.items() if value not in (None, "")]
    return section("Settings and versions", tag("p", "Settings that are not the task's defaults:") if lines else "",
                   table(("setting", "value", "default"), lines, long=("value",)),
                   tag("details", tag("summary", "Versions and machine"), table(("", ""), known, long=("",))))


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else repr(value)
