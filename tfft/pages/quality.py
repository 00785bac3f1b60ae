"""How good the model is: metrics with intervals, results by slices, tables of the task, mistakes."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfft.evaluation.resampling import FEW, interval
from tfft.evaluation.slices import Slice
from tfft.pages import svg, words
from tfft.pages.html import Markup, place, section, table, tag
from tfft.tasks.base import Report

LONGEST = 300  # lines of a table


def quality(report: Report, metric: str, compared: str, by_source: Mapping[str, dict]) -> Markup:
    """The metrics, the one that chooses weights first."""
    evidence, between = report.evidence, {}
    if evidence is not None:
        between = interval(evidence.figures, len(evidence.rows))
    names = sorted(report.metrics, key=lambda name: name != metric)
    lines = []
    for name in names:
        value, found = report.metrics[name], between.get(name)
        part = [tag("b", name) if name == metric else name, value, *([found.low, found.high] if found else ["", ""])]
        inside = found and name != "loss" and all(0 <= one <= 1 for one in (value, *found))
        part.append(svg.spread(value, *found, (0, 1)) if inside else "")
        lines.append([*part, *(source["metrics"].get(name, "") for source in by_source.values())])
    header = ["", "value", "from", "to", "95% interval, 0 to 1", *by_source]
    few = tag("p", f"Of only {report.judged:,} rows, all these figures are rough: read the intervals, which are too narrow "
                   "themselves of so few, not the figures.", class_="note") if report.judged < FEW else ""
    how = tag("p", "An interval is where 95% of the figures lie that samples of as many rows have, drawn from these with "
                   "repetitions. Where there is none, a figure takes too long or is no figure of rows.", class_="soft")
    said = tag("p", f"{metric} beside simple methods: {compared}.") if compared else ""
    return section("How good", few, said, table(header, lines), how if between else "")


def slices(several: Mapping[str, list[Slice]], metric: str, whole: float) -> Markup:
    """A table for each way to take the rows apart."""
    parts = []
    for title, found in several.items():
        if len(found) < 2:
            continue
        ends = [end for one in found for end in (one.interval or (one.value, one.value))] + [whole]
        low, high = min(ends), max(ends)
        words = {"worse": tag("span", "worse than the rest", class_="bad"), "few": "too few rows to tell",
                 "better": tag("span", "better than the rest", class_="good"), "": ""}
        lines = [(one.title, one.rows, one.value, *(one.interval or ("", "")),
                  svg.spread(one.value, *one.interval, (low, high), whole) if one.interval else "",
                  "" if one.rest is None else one.rest, words[one.verdict]) for one in found]
        parts += [tag("h3", f"By {title}"),
                  table((title, "rows", metric, "from", "to", "", "the rest", ""), lines, long=(title,))]
    if not parts:
        return Markup("")
    how = tag("p", f"{metric} of some of the rows; the broken line is that of all of them. A slice is called worse or better "
                   "where chance would hardly make it so, however many slices are looked at. tfft report --slice=COLUMN "
                   "looks at any column of the rows.", class_="soft")
    return section("Slices", how, *parts)


def tables(report: Report) -> Markup:
    """What the task itself shows."""
    parts = [part for one in report.tables if one.title != "answers" for part in (
        tag("h3", one.title.capitalize()), table(one.header, one.lines[:LONGEST]))]
    return section("Details", *parts)


def mistakes(report: Report, explained: Mapping[str, Markup]) -> Markup:
    """The surest ones. explained: what stands for the text of a row, by its place."""
    lines = [(place(where), explained.get(where, text), right or "(none)", given or "(none)")
             for where, text, right, given in report.mistakes]
    told = tag("p", "The answers that are most wrong, first those the model was surest of. Read them: some are mistakes of the "
                    "rows.", class_="soft")
    legend = tag("p", "Why it answers so: ", *words.LEGEND, class_="soft") if explained else ""
    made = table(("row", "text", "right", "answer"), lines, long=("text",), stacked=True)
    return section("Mistakes", told, legend, made) if lines else Markup("")


def written(report: Report) -> Markup:
    """Answers to a sample of rows."""
    lines = [(place(one["row"]), one["prompt"], one["response"], one["answer"]) for one in report.details.get("answers", ())]
    made = table(("row", "prompt", "right", "answer"), lines, long=("prompt", "right", "answer"), stacked=True)
    return section("Sample answers", made)


def whole(report: Report, metric: str) -> float:
    """The metric of all rows of the evidence."""
    evidence = report.evidence
    return evidence.figures(np.arange(len(evidence.rows)))[metric]


def main_metric(report: Report, wanted: Sequence[str]) -> str:
    """The first of the wanted metrics that rows can be asked for; '' without any."""
    if report.evidence is None or not len(report.evidence.rows):
        return ""
    known = report.evidence.figures(np.arange(len(report.evidence.rows)))
    return next((name for name in (*wanted, report.evidence.what) if name in known), next(iter(known), ""))
