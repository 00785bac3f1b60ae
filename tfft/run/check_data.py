"""What is odd about the rows of an experiment, or of a run: the report of `tfft check_data`."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfft.assets import cache_folder
from tfft.checks.characters import characters
from tfft.checks.copies import copies
from tfft.checks.counts import answers, counted
from tfft.checks.findings import SHOWN, Finding, Findings, worst_first
from tfft.checks.rows import Rows, together
from tfft.checks.suspects import Beliefs, suspects
from tfft.config import Experiment, is_all_folds
from tfft.data.prepare import Preparer, Split, open_splits
from tfft.data.scratch import parts, scratch
from tfft.files import to_path
from tfft.models.backbone import load_tokenizer, tokenizer_fingerprint
from tfft.run.continued import learnt_from
from tfft.run.judge import check_writable, judged, own_splits, write_output
from tfft.run.workdir import Run, open_run
from tfft.tasks.base import Task, Truth
from tfft.tasks.table import TASKS
from tfft.training.summaries import Console, table

JUDGED = 50_000  # rows that simple methods are judged on at most
FAILED = 1       # the exit code where a check of --fail_on found something
WIDTH = 110
COUNTED = 12     # answers in the table


def check_experiment(experiment: Experiment, preset: str, cache: Path, *, similarity: float, fail_on: tuple[str, ...],
                     output: str) -> int:
    """Prints what is odd about the rows of an experiment; returns the exit code."""
    _check_output(output)
    console = Console()
    tokenizer = load_tokenizer(preset)
    kind = TASKS[experiment.task.name]
    reading = kind.readings(experiment, tokenizer, tokenizer_fingerprint(tokenizer), cache)
    splits = open_splits(Preparer(experiment.data, reading, cache, console.say))
    train = splits["train"]
    learnt = learnt_from(experiment, kind, lambda one: kind.infer(one, train.store, train.rows, cache))
    return _report(look_over(kind(experiment.task, learnt), splits, None, console, similarity), fail_on, output)


def check_run(path: str, *, similarity: float, fail_on: tuple[str, ...], output: str) -> int:
    """The same of the rows of a run, whose model says besides which answers it would not give."""
    _check_output(output)
    console = Console()
    run = open_run(path)
    cache = cache_folder(run.experiment.data.cache)
    splits = open_splits(Preparer(run.experiment.data, run.reading(cache), cache, console.say))
    return _report(look_over(run.task, splits, run, console, similarity), fail_on, output)


def look_over(task: Task, splits: dict[str, Split], run: Run | None, console: Console, similarity: float) -> Findings:
    """All findings. run: whose model is asked too."""
    rows = together(splits)
    truth = task.truth(rows.store, rows.rows)
    doing: list[str] = []

    def advance(what: str, done: int, total: int) -> None:
        if doing != [what]:
            doing[:] = [what]
            console.start(what, total)
        console.advance(done, "")
        if done == total:
            console.stop()
            doing.clear()

    found = [*copies(task, rows, truth, similarity, advance), *counted(task, rows, truth), *characters(rows, advance)]
    model = beliefs(run, task, splits, rows, truth, console) if run and truth else None
    doubted, told = suspects(task, rows, truth, model, advance)
    simple, on = _simple(task, splits)
    said = [told] if told else []
    if run and truth and model is None:
        said.append(f"the run's model gives no probabilities of {truth.what}s: only what is said without it is here")
    return Findings({name: len(split.rows) for name, split in splits.items()}, worst_first([*found, *doubted]),
                    answers(rows, truth), simple, on, tuple(said))


def beliefs(run: Run, task: Task, splits: dict[str, Split], rows: Rows, truth: Truth, console: Console) -> Beliefs | None:
    """What the run's model makes of all rows; None where it has no probabilities of single rows. Where the run is a
    cross-validation's, each training row is asked of a model that has not learnt from it."""
    if not truth.names or not (truth.one or truth.several):
        return None
    made = scratch((len(rows.rows), len(truth.names)))
    made[:] = np.nan
    folds = bool(run.members) and is_all_folds(run.experiment)
    for name, split in splits.items():
        place = np.flatnonzero(rows.split == rows.names.index(name))  # in the order of the split's own rows
        for model, own in _held_out(run) if folds and name == "train" else [(run, split)]:
            report, _ = judged(model, own, console)
            if (found := task.beliefs(report)) is None:
                return None
            at = place[np.searchsorted(split.rows, found[0])]
            for part in parts(len(at), len(truth.names)):
                made[at[part]] = found[1][part]
    return Beliefs(made, "the run of another fold" if folds else "the run's model")


def _held_out(run: Run) -> list[tuple[Run, Split]]:
    """Each run of the first repeat of a cross-validation, and the rows it held out."""
    return [(member, own_splits(member, lambda text: None)[member.experiment.data.folds.split])
            for member in run.members[:run.experiment.data.folds.number]]


def _simple(task: Task, splits: dict[str, Split]) -> tuple[dict[str, dict[str, float]], str]:
    """(what simple methods reach, the split that they are judged on)."""
    name = next((name for name in ("validation", "test") if name in splits), "")
    if not name or not task.baselines_version:
        return {}, ""
    split = splits[name]
    rows = task.can_judge(split.store, split.rows)
    if not len(rows):
        return {}, ""
    if len(rows) > JUDGED:
        rows = np.sort(np.random.default_rng(0).choice(rows, JUDGED, replace=False))
    return task.baselines((splits["train"].store, splits["train"].rows), (split.store, rows)), name


def _check_output(output: str) -> None:
    """Before anything is looked at, which may take minutes. Raises: UserError."""
    if output:
        check_writable(to_path(output))


def _report(findings: Findings, fail_on: tuple[str, ...], output: str) -> int:
    print(told(findings))
    if output:
        target = to_path(output)
        write_output(target, findings.to_json() + "\n")
        print(f"\nall of it, with more examples: {target}")
    failed = list(dict.fromkeys(one.name for one in findings.found if one.name in fail_on))
    if failed:
        print(f"\nfailed: {', '.join(failed)} (--fail_on)")
    return FAILED if failed else 0


def told(findings: Findings) -> str:
    """For a terminal: rows, answers, a table of findings, then each with examples and advice."""
    made = ["rows: " + ", ".join(f"{name} {count:,}" for name, count in findings.splits.items())]
    made += _answers(findings.answers)
    if not findings.found:
        made.append("nothing odd was found")
    else:
        made.append(table([(one.severity, one.name, *((f"{one.count:,}", f"{one.share:.2%}") if one.count else ("", "")))
                           for one in findings.found],
                          ("", "check", "rows", "share")))
        folder = _folder(findings.found)
        made += [_finding(one, folder) for one in findings.found]
    for name, metrics in findings.simple.items():
        shown = ", ".join(f"{metric} {value:.4f}" for metric, value in list(metrics.items())[:2])
        made.append(f"{name} reaches, on {findings.judged}: {shown}")
    return "\n\n".join([*made, *findings.told])


def _finding(one: Finding, folder: str) -> str:
    """What it is, examples and advice; of a note one example."""
    lines = textwrap.wrap(f"{one.severity}: {one.name}: {one.what}", WIDTH, subsequent_indent="  ")
    for example in one.examples[:SHOWN if one.severity != "note" else 1]:
        text = f"{example.place} {example.text!r}{'  ' if example.note else ''}{example.note}"
        lines += textwrap.wrap(text.replace(folder, "") if folder else text, WIDTH, initial_indent="    ",
                               subsequent_indent="      ", break_long_words=False, break_on_hyphens=False)
    if one.advice and one.severity != "note":
        lines += textwrap.wrap(f"{one.advice}.", WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def _folder(found: Iterable[Finding]) -> str:
    """The folder, with its slash, of all files that examples are from; '' where they are from several."""
    folders = {example.place.rpartition("/")[0] for one in found for example in one.examples}
    return f"{folders.pop()}/" if len(folders) == 1 and folders != {""} else ""


def _answers(answers: dict) -> Iterable[str]:
    """How often each is there, those of the training rows first; nothing where there are none."""
    counts = answers.get("counts", {})
    if not counts:
        return []
    names = list(counts["train"])
    shown = names if len(names) <= COUNTED else [*names[:COUNTED - 4], *names[-3:]]
    lines = [(name if name.isprintable() else ascii(name), *(counts[split].get(name, 0) for split in counts)) for name in shown]
    if len(names) > COUNTED:
        lines.insert(COUNTED - 4, (f"... {len(names) - COUNTED + 1:,} more", *("" for _ in counts)))
    return [table(lines, (answers["what"], *counts))]
