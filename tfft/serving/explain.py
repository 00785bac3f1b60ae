"""What `tfft explain` does."""

import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tfft.assets import cache_folder
from tfft.errors import UserError
from tfft.explaining.explainer import Explainer
from tfft.explaining.explanation import Explanation
from tfft.explaining.html import page
from tfft.explaining.nearest import Neighbours
from tfft.explaining.terminal import told
from tfft.files import to_path
from tfft.run.judge import check_writable, own_split, write_output
from tfft.run.other_rows import by_its_own_rule, other_rows
from tfft.run.workdir import Run, open_run
from tfft.serving.asked_rows import AskedRows
from tfft.training.summaries import Console


def explain(workdir: str, weights: str, given: list[dict[str, str]], data: str, count: int, *, method: str, label: str,
            output: str, nearest: int = 0, against: str = "", word: str = "", at: tuple[int, int] | None = None) -> int:
    """Prints why a run answers rows as it does: those given, or the first `count` of a source. Returns the exit code.

    output: a file for all of it besides, .html or .json. nearest: how many training rows are named with each. label, against,
    word, at: what is wanted, see tfft.tasks.reasons.
    """
    target = to_path(output) if output else None
    if target:
        check_writable(target)
    run = open_run(workdir, weights)
    explainer = Explainer(run, method, label, against=against, word=word, at=at)
    neighbours = Neighbours(run, own_split(run, "train", Console().say), Console()) if nearest else None
    rows = rows_of(run, data, count) if data else [(row, "") for row in given]
    made: list[Explanation] = []
    sys.stdout.reconfigure(errors="backslashreplace")
    for row, place in rows:
        near = tuple(neighbours(row, nearest)) if neighbours else ()
        for one in explainer(row, place):
            one = dataclasses.replace(one, nearest=near)
            print(told(one, sys.stdout.isatty() and not os.environ.get("NO_COLOR")) + "\n", flush=True)
            made.append(one)
        if explainer.nothing:
            print(f"{place}{': ' if place else ''}{explainer.nothing}\n", flush=True)
    if target:
        _write(target, made, f"Why {Path(workdir).name} answers so")
    return 0


def rows_of(run: Run, data: str, count: int) -> Iterator[tuple[dict[str, str], str]]:
    """The first rows of a source that can be asked, with their places in it."""
    with other_rows(run.experiment.data, "skip") as settings:
        cache = cache_folder(settings.cache)
        fields = run.reading(cache).fields
        settings = by_its_own_rule(settings, data, fields, cache, True, {}, Console().say)
        rows = AskedRows(data, settings, fields, cache, keep=False)
        found = list(itertools.islice(rows.rows(asked_only=True), count))
        if not found:
            raise UserError(rows.nothing())
    return ((row.values, f"{row.file}:{row.line}") for row in found)


def _write(target, explanations: list[Explanation], title: str) -> None:
    text = page(explanations, title) if target.suffix == ".html" else json.dumps(
        [one.to_json() for one in explanations], indent=1, ensure_ascii=False) + "\n"
    write_output(target, text)
    print(f"all of it: {target}")
