"""The report of a run: one page that says how good it is, where it fails, and how it came about."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tfft.checks.findings import Findings
from tfft.evaluation.slices import Slice
from tfft.pages import about, chances, quality, words
from tfft.pages.html import Markup, page
from tfft.tasks.base import Report


@dataclasses.dataclass
class Found:
    """What there is to say of a run. title: its name; told: lines beneath; metric: that which chooses weights, without a
    source; sliced: the metric of the slices; slices: by what, "length"; points: the lines of metrics.jsonl; changed: (setting,
    default, the run's); checked: of what findings are; explained: texts of mistakes with their words in colours, by place."""

    title: str
    told: Sequence[str]
    metric: str
    report: Report | None = None
    compared: str = ""
    sliced: str = ""
    slices: Mapping[str, list[Slice]] = dataclasses.field(default_factory=dict)
    points: Sequence[dict[str, Any]] = ()
    findings: Findings | None = None
    checked: str = ""
    changed: Sequence[tuple[str, Any, Any]] = ()
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    explained: Mapping[str, Markup] = dataclasses.field(default_factory=dict)


def report_page(found: Found) -> str:
    """The whole file."""
    report, made = found.report, []
    if report is not None:
        made.append(quality.quality(report, found.metric, found.compared, report.by_source))
        if found.slices:
            made.append(quality.slices(found.slices, found.sliced, quality.whole(report, found.sliced)))
        made += [quality.tables(report), *_of_chances(report), quality.mistakes(report, found.explained),
                 quality.written(report)]
    made += [about.curves(found.points, found.metric), about.data_checks(found.findings, found.checked),
             about.settings(found.changed, found.environment)]
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return page(found.title, found.told, made, f"Made by tfft {found.environment.get('tfft', '')} on {when} UTC.",
                words.STYLE if found.explained else "")


def _of_chances(report: Report) -> list[Markup]:
    own = report.evidence.chances if report.evidence is not None else None
    if own is None or not len(own.right):
        return []
    return [chances.confusion(own), chances.calibration(own), chances.thresholds(own)]
