"""Evaluates a trained run on a split or on other data, and prints what a person wants to know."""

import contextlib
import dataclasses
import json
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder
from tfft.config import split_share
from tfft.data.prepare import Preparer, Split, load_splits, tell_unknown
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.evaluation.evaluator import Evaluator
from tfft.evaluation.slices import by_length
from tfft.files import is_remote, to_path, write_text
from tfft.run.baseline import compared
from tfft.run.columns import check_columns
from tfft.run.ensemble import own_rows
from tfft.run.fairness import fairness, groups_told
from tfft.run.other_rows import by_its_own_rule, in_own_words, other_rows
from tfft.run.workdir import Run, Workdir, open_run
from tfft.tasks.base import Report
from tfft.training.summaries import Console, table

MISTAKES_SHOWN = 5
Page = Callable[[Run, str, "Looked", Path, Console], None]  # (run, what was judged, what was found, where it is written, ...)


def judge(path: str, *, data: str, split: str, weights: str, output: str, on_broken_row: str = "",
          reading: dict[str, str] | None = None, baseline: bool = True, others: Sequence[str] = (), page: "Page | None" = None,
          protected: tuple[str, ...] = (), positive: str = "") -> int:
    """Prints metrics, the label table and the worst mistakes; writes them all as JSON. Returns the exit code.

    others: runs that answer together with the first. reading: settings of config.data that say how the files of `data` are
    read; baseline: compare with simple methods; page: writes a page beside the JSON; protected, positive: see
    tfft.run.fairness.
    """
    console = Console()
    workdir = Workdir(path)
    name = data or split or ("test" if workdir.experiment().data.specs("test") else "validation")
    short = re.sub(r"[^\w.-]+", "-", name)[:80]
    target = to_path(output) if output else workdir.path / f"{'ensemble' if others else 'evaluation'}-{short}.json"
    check_writable(target)
    run = open_run(path, weights, others)
    looked = looked_at(run, data, name, on_broken_row, console, reading, baseline, protected, "--protected")
    report = looked.report
    if protected:
        report.details["groups"] = fairness(run.experiment, report.evidence, looked.split.store, looked.sources, protected,
                                            positive)
    print(told(run, name, report))
    write_output(target, report.to_json(data=name, step=run.step) + "\n")
    print(f"report: {target}")
    if page and run.experiment.eval.report:
        page(run, name, looked, target, console)
    return 0


def examine(run: Run, data: str, split: str, on_broken_row: str, console: Console, reading: dict[str, str] | None = None,
            baseline: bool = True) -> Report:
    """What a run makes of other data, or where there is none of a split of its own; with slices by length, and compared with
    simple methods."""
    return looked_at(run, data, split, on_broken_row, console, reading, baseline).report


@dataclasses.dataclass(frozen=True)
class Looked:
    """A report, and on which rows it is. split: these, with documents that they were judged together with; asked: without;
    splits: the run's own, {} where nobody has read them; sources: what the rows were read from, and where in their store those
    of each begin; seconds: that the model took, with its start."""

    report: Report
    split: Split
    asked: Split
    splits: dict[str, Split]
    sources: list[tuple[Source, int]]
    seconds: float


def looked_at(run: Run, data: str, split: str, on_broken_row: str, console: Console, reading: dict[str, str] | None = None,
              baseline: bool = True, columns: tuple[str, ...] = (), flag: str = "--slice") -> Looked:
    """What `examine` does, with what it was done on. columns: of the rows' sources, which `flag` names; that there are such is
    looked at first."""
    task, settings = run.task, run.experiment.data
    preparer = _preparer(run, lambda text: console.say(in_own_words(text) if data else text))
    if data:
        with other_rows(settings, on_broken_row or settings.on_broken_row) as others:
            fields = preparer.reading.fields
            others = by_its_own_rule(others, data, fields, preparer.cache, False, reading or {}, console.say)
            store = preparer.store(data, others)
            asked, splits = Split(data, store, np.arange(len(store))), None
            chosen = preparer.judged_with(asked, data, others)
            sources = [(preparer.source(data, others), 0)]
        tell_unknown({data: chosen}, console.say)
    else:
        if run.members:
            own_rows(run)
        splits = load_splits(preparer)
        asked = _chosen(run, splits, split, console.say)
        chosen = preparer.judged_with(asked)
        sources = sources_of(preparer, asked)
    check_columns(sources, columns, flag)
    if strangers := task.strangers(chosen.store, chosen.rows):
        console.say(strangers)
    begin = time.monotonic()
    report, _ = judged(run, chosen, console)
    seconds = time.monotonic() - begin
    report.details["slices"] = by_length(report.evidence, lambda rows: np.asarray(chosen.store.column("full_length")[rows]))
    report.details["compared"] = ""
    if run.members:
        report.details["members"] = [{"run": str(member.workdir.path), "metrics": judged(member, chosen, console)[0].metrics}
                                     for member in run.members]
    wanted = baseline and run.experiment.eval.baseline and task.baselines_version
    if wanted and (data or split != "train"):  # all do well on what they have learnt from
        with contextlib.suppress(UserError):  # the training rows cannot be read any more
            splits = splits or own_splits(run, lambda text: None)
            report.details["compared"] = compared(run.workdir, run.experiment, task, splits["train"], chosen, report.metrics)
    return Looked(report, chosen, asked, splits or {}, sources, seconds)


def sources_of(preparer: Preparer, split: Split) -> list[tuple[Source, int]]:
    """What the rows of one of the experiment's splits were read from, and where in its store those of each source begin."""
    made = []
    for source, data in preparer.data.by_source().items():
        spec = {"train": data.train, "validation": data.validation, "test": data.test}[split.name]
        if source and source not in split.sources:
            continue
        reading = preparer.reading.sources[source] if source else preparer.reading
        read = Source(data.train if split_share(spec) is not None else spec, data, reading.fields, preparer.cache)
        made.append((read, split.sources[source].start if source else 0))
    return made


def told(run: Run, name: str, report: Report) -> str:
    """A report for a person: metrics, by length, by label, and the worst mistakes."""
    metric, slices = run.experiment.eval.metric.rpartition("/")[2], report.details["slices"]
    parts = [f"{name}: {report.judged:,} rows, {run.told}", _figures(report)]
    parts += [_members(report, metric)] if run.members else []
    parts += [report.details["compared"]] if report.details["compared"] else []
    if len(slices) > 1 and all(metric in part["metrics"] for part in slices):
        parts.append(table([(part["slice"], part["rows"], part["metrics"][metric]) for part in slices],
                           ("length", "rows", metric)))
    parts += groups_told(report.details.get("groups", []))
    for part in report.tables:
        parts += [part.note] if part.note else []
        parts.append(table(part.shown or part.lines, part.header))
    if report.mistakes:
        parts.append("most confident mistakes:")
        parts += [f"  {place}  label {label or '(none)'}, answer {answer or '(none)'}: {text[:100]!r}"
                  for place, text, label, answer in report.mistakes[:MISTAKES_SHOWN]]
    return "\n".join(parts)


def _figures(report: Report) -> str:
    """The metrics; of a mixture with a column for each source."""
    if not report.by_source:
        return table(list(report.metrics.items()))
    rows = f"{report.judged:,}", *(f"{found['rows']:,}" for found in report.by_source.values())
    lines = [(name, f"{value:.4f}", *(f"{found['metrics'][name]:.4f}" if name in found["metrics"] else "-"
                                      for found in report.by_source.values())) for name, value in report.metrics.items()]
    return table([("rows", *rows), *lines], ("", "all", *report.by_source))


def _members(report: Report, metric: str) -> str:
    """What the members of an ensemble reach by themselves."""
    found = [(one["run"], one["metrics"][metric]) for one in report.details["members"] if metric in one["metrics"]]
    values = [value for _, value in found]
    return (f"{metric} of each run by itself, {np.mean(values):.4f} on average, {report.metrics[metric]:.4f} together:\n"
            f"{table(found)}")


def calibrate_run(path: str, weights: str, precision: float) -> int:
    """Fits a temperature, and for a wanted precision an abstain threshold, on the validation rows; keeps them with the run."""
    console = Console()
    run = open_run(path, weights)
    if run.members:
        raise UserError(f"{path} is a cross-validation: its runs have learnt from each other's validation rows, so there are "
                        "none to calibrate all of them on. Calibrate one of them.")
    report, _ = judged(run, own_split(run, "validation", console.say), console)
    found = run.task.calibrate(report, run.step, precision)
    try:
        write_text(run.workdir.calibration, found.to_json() + "\n")
    except OSError as error:
        raise UserError(f"Cannot write {run.workdir.calibration}: {error}.") from error
    print(f"{report.judged:,} validation rows, weights of step {found.step:,}")
    print(table(found.lines()))
    print(f"written to {run.workdir.calibration}; bake it into an export:\n"
          f"  python -m tfft.export --workdir={run.workdir.path} --calibrated")
    return 0


def own_split(run: Run, name: str, say: Callable[[str], None]) -> Split:
    """A split that the run was trained or judged with. Raises: UserError where it has no such split."""
    return _chosen(run, own_splits(run, say), name, say)


def judged_split(run: Run, name: str, say: Callable[[str], None]) -> Split:
    """The same as `examine` judges it: with the rows that others are judged together with."""
    preparer = _preparer(run, say)
    return preparer.judged_with(_chosen(run, load_splits(preparer), name, say))


def _chosen(run: Run, splits: dict[str, Split], name: str, say: Callable[[str], None]) -> Split:
    if name not in splits:
        raise UserError(f"The run has no {name} split. Give rows with --data=csv:FILE, or another --split.")
    _warn_of_changes(run.workdir, splits, say)
    return splits[name]


def own_splits(run: Run, say: Callable[[str], None]) -> dict[str, Split]:
    """The rows that a run was trained and judged with, by the names of their splits."""
    return load_splits(_preparer(run, say))


def _preparer(run: Run, say: Callable[[str], None]) -> Preparer:
    cache = cache_folder(run.experiment.data.cache)
    return Preparer(run.experiment.data, run.reading(cache), cache, say)


def judged(run: Run, chosen: Split, console: Console) -> tuple[Report, np.ndarray]:
    """(what a run makes of rows, the rows judged). Raises: UserError where none can be."""
    experiment = run.experiment
    evaluator = Evaluator(run.model, run.task, chosen.store, chosen.rows, pad_id=int(run.tokenizer.pad_token_id),
                          batch_size=experiment.eval.global_batch_size, max_length=experiment.data.max_length,
                          strategy=tf.distribute.get_strategy(), tuned=run.tuned,
                          progress=lambda done, total: console.advance(done, ""), sources=chosen.sources)
    if not len(evaluator.rows):
        raise UserError(f"None of the {len(chosen.rows):,} rows {run.task.nothing_to_judge()}.")
    console.start(f"evaluating {len(evaluator.rows):,} rows", evaluator.steps)
    evaluator.evaluate()
    console.stop()
    return evaluator.report, evaluator.rows


def check_writable(target: Path) -> None:
    """Tries, before anything is computed, whether a file can be written; makes its folder. Raises: UserError."""
    if is_remote(target):  # nothing there is like a file without a name: a mistake is told when it is written
        return
    try:
        if target.is_dir():
            raise UserError(f"Cannot write {target}: it is a folder. Name a file with --output.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except FileExistsError as error:
        raise UserError(f"Cannot write {target}: {target.parent} is no folder. Name another file with --output.") from error
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error.strerror or error}. Name another file with --output.") from error


def write_output(target: Path, text: str) -> None:
    """Half a surrogate pair, which a command line or a JSON file can hold, is written as JSON writes it.

    Raises: UserError where the file that --output names, or another in its place, cannot be written.
    """
    try:
        write_text(target, text.encode("utf-8", "backslashreplace").decode("utf-8"))
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error}. Name another file with --output.") from error


def _warn_of_changes(workdir: Workdir, splits: dict[str, Split], say: Callable[[str], None]) -> None:
    """Says which splits do not hold the rows, or the tokens, that they held in training."""
    try:
        before = json.loads((workdir.path / "environment.json").read_text())["stores"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing to compare with
    changed = [name for name, split in splits.items() if before.get(name) != split.store.folder.name]
    if changed:
        say(f"warning: the {' and '.join(changed)} rows are not those of the training: a file, the tokenizer or a library that "
            "reads them has changed since. The figures are of the rows as they are now.")
