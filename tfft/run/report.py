"""<workdir>/report.html: what is said of a run, gathered and written as one page; see tfft.pages."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfft.checks.copies import copies
from tfft.checks.counts import answers, counted
from tfft.checks.findings import Findings, worst_first
from tfft.checks.rows import together
from tfft.config import TASKS, Experiment, default_experiment
from tfft.data.prepare import Split
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.evaluation.slices import compare, grouped
from tfft.explaining.mistakes import explained
from tfft.files import to_path, write_text
from tfft.pages.html import Markup
from tfft.pages.quality import main_metric
from tfft.pages.report import Found, report_page
from tfft.run.columns import column_values
from tfft.run.judge import Looked, check_writable, looked_at, own_splits, write_output
from tfft.run.workdir import Run, Workdir, open_run
from tfft.tasks.base import Report, quarters
from tfft.training.summaries import Console

CHECKED = 200_000  # rows of all splits, beyond which they are not looked over for a page
FOUND = "found.json"  # of tfft check_data --output, in the work directory
PAGE = "report.html"


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a page is about. name: of the rows that were judged; split: these, None where there are none; splits: those of the
    run; step: of the weights; opened: the run with them; sources: see Looked; columns: of the sources, whose values are
    slices."""

    workdir: Workdir
    experiment: Experiment
    task: Any
    name: str
    step: int
    report: Report | None
    split: Split | None
    splits: dict[str, Split]
    opened: Callable[[], Run] | None = None
    sources: list[tuple[Source, int]] = dataclasses.field(default_factory=list)
    columns: tuple[str, ...] = ()


def report_run(path: str, *, data: str, split: str, weights: str, columns: tuple[str, ...], output: str,
               on_broken_row: str = "", reading: dict[str, str] | None = None) -> int:
    """Judges a run and writes its page; returns the exit code."""
    console, workdir = Console(), Workdir(path)
    experiment = workdir.experiment()
    target = to_path(output) if output else workdir.path / PAGE
    check_writable(target)
    name = data or split or next((one for one in ("test", "validation") if experiment.data.specs(one)), "")
    run = open_run(path, weights)
    if name:
        looked = looked_at(run, data, name, on_broken_row, console, reading, columns=columns)
        subject = _subject(run, name, looked, columns)
    else:
        subject = Subject(workdir, experiment, run.task, "", run.step, None, None, _readable(run))
    write_output(target, page(subject, console.say))
    print(f"report: {target}")
    return 0


def beside(run: Run, name: str, looked: Looked, target: Path, console: Console) -> None:
    """Writes the page of an evaluation beside its JSON, and as the newest one of the run."""
    page = target.with_suffix(".html") if target.suffix != ".html" else target.with_name(f"{target.name}.html")
    tell(lambda: _subject(run, name, looked), list(dict.fromkeys((page, run.workdir.path / PAGE))), console)


def tell(subject: Callable[[], Subject], targets: list[Path], console: Console) -> None:
    """Writes a page, and says where; whatever goes wrong is told, and stops nothing."""
    begin = time.monotonic()
    try:
        made = page(subject(), console.say)
        for target in targets:
            write_text(target, made)
    except Exception as error:
        console.say(f"the report could not be made ({type(error).__name__}: {error}). tfft report makes it again.")
        return
    console.say(f"report: {targets[0]} (made in {time.monotonic() - begin:.1f} s)")


def page(subject: Subject, say: Callable[[str], None]) -> str:
    """The page's HTML."""
    experiment, report = subject.experiment, subject.report
    metric = experiment.eval.metric.rpartition("/")[2]
    kind = TASKS[experiment.task.name]
    told = [f"{experiment.task.name} in {subject.workdir.path}"]
    if report is not None:
        told.append(f"Judged on {subject.name}: {report.judged:,} rows, by the weights of step {subject.step:,}.")
    else:
        told.append("No rows were judged: the run has no validation or test rows. tfft report --data=csv:FILE judges others.")
    sliced = main_metric(report, (metric, *kind.metrics(experiment.task))) if report else ""
    findings, checked = _findings(subject)
    return report_page(Found(
        f"Report: {experiment.name}", told, metric, report, report.details.get("compared", "") if report else "", sliced,
        _slices(subject, sliced, sliced in kind.lower_is_better) if sliced else {}, _points(subject.workdir), findings, checked,
        list(_changed(default_experiment(experiment.task.name), experiment)), _environment(subject.workdir),
        _explained(subject, say)))


def _subject(run: Run, name: str, looked: Looked, columns: tuple[str, ...] = ()) -> Subject:
    splits = looked.splits or _readable(run)
    if name not in splits and "train" in splits:
        splits = {"train": splits["train"], name: looked.asked}
    return Subject(run.workdir, run.experiment, run.task, name, run.step, looked.report, looked.split, splits, lambda: run,
                   looked.sources, columns)


def _readable(run: Run) -> dict[str, Split]:
    """The run's own splits; {} where they cannot be read any more."""
    try:
        return own_splits(run, lambda text: None)
    except UserError:
        return {}


def _explained(subject: Subject, say: Callable[[str], None]) -> dict[str, Markup]:
    """The texts of the surest mistakes with their words explained. Without them the page is whole as well."""
    count, report = subject.experiment.eval.explained, subject.report
    if not (count and report and report.mistakes and subject.opened):
        return {}
    try:
        run = subject.opened()
        if run.step != subject.step:
            return {}  # the weights that were judged are not kept
        return explained(run, subject.split.store, subject.split.rows, report.mistakes, count)
    except UserError:
        return {}  # of this task, or this model, nobody can say which words it goes by
    except Exception as error:
        say(f"the mistakes in the report are not explained ({type(error).__name__}: {error})")
        return {}


def _slices(subject: Subject, metric: str, lower: bool) -> dict[str, list]:
    evidence, split = subject.report.evidence, subject.split
    ways = {"length": quarters(np.asarray(split.store.column("full_length")[evidence.rows]))}
    if split.sources:
        ways["source"] = [(name, np.flatnonzero((evidence.rows >= rows.start) & (evidence.rows < rows.stop)))
                          for name, rows in split.sources.items()]
    if subject.columns:
        values = column_values(subject.sources, split.store, evidence.rows, subject.columns)
        ways |= {column: grouped(found) for column, found in values.items()}
    return {title: compare(evidence, [group for group in groups if len(group[1])], metric, lower)
            for title, groups in ways.items()}


def _findings(subject: Subject) -> tuple[Findings | None, str]:
    """(what is odd about the rows, of what that is): what tfft check_data left in the work directory, else what is quickly
    counted."""
    try:
        return Findings.from_json((subject.workdir.path / FOUND).read_text("utf-8")), f"Of {FOUND}, by tfft check_data."
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or another file of that name
    splits = subject.splits
    how = f"tfft check_data --workdir={subject.workdir.path} --output={subject.workdir.path / FOUND}"
    if "train" not in splits:
        return None, f"The rows of the training could not be read. All checks: {how}"
    if sum(len(split.rows) for split in splits.values()) > CHECKED:
        return None, f"There are too many rows to look them over at once: {how}"
    rows = together(splits)
    truth = subject.task.truth(rows.store, rows.rows)
    found = [*copies(subject.task, rows, truth, 0, lambda *_: None), *counted(subject.task, rows, truth)]
    return Findings({name: len(split.rows) for name, split in splits.items()}, worst_first(found), answers(rows, truth)), (
        f"Copies and counts; for all checks, which the next report shows: {how}")


def _points(workdir: Workdir) -> list[dict]:
    """The lines of metrics.jsonl; of one of several tasks with what the run of all says of it."""
    own = workdir.points()
    if any(point.get("kind") == "train" for point in own):
        return own
    mine = f"{workdir.path.name}/loss"
    shared = [{**point, "loss": point[mine]} for point in Workdir(workdir.path.parent).points()
              if point.get("kind") == "train" and mine in point]
    return [*shared, *own]


def _environment(workdir: Workdir) -> dict:
    try:
        return json.loads((workdir.path / "environment.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _changed(usual: Any, own: Any, prefix: str = ""):
    """(setting, default, its value) of all that differ."""
    for field in dataclasses.fields(own):
        value, default = getattr(own, field.name), getattr(usual, field.name, None)
        if dataclasses.is_dataclass(value) and type(value) is type(default):
            yield from _changed(default, value, f"{prefix}{field.name}.")
        elif value != default:
            yield f"{prefix}{field.name}", default, value
