"""Texts in, answers out, in the run's own process; files of any size are streamed."""

import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tfft.assets import cache_folder
from tfft.data.sources import Row
from tfft.data.unknown import told, warning
from tfft.errors import UserError
from tfft.evaluation.predictor import Predictor, rounded
from tfft.files import local_path
from tfft.run.judge import check_writable
from tfft.run.other_rows import by_its_own_rule, in_own_words, other_rows
from tfft.run.workdir import Run, asked_with, open_run
from tfft.serving.answers_file import joined, plain, write_answers
from tfft.serving.asked_rows import AskedRows
from tfft.tasks.fields import LISTS
from tfft.training.summaries import Console

CHUNK = 4096  # rows in memory at once


def predict_texts(workdir: str, weights: str, rows: list[dict[str, str]], chosen: list[str] | None = None,
                  others: Sequence[str] = ()) -> int:
    """Prints one JSON line for each row. chosen: settings of the task to answer with, see tfft.config.answering; others: runs
    that answer together with the first."""
    return print_answers(Predictor(asked_with(open_run(workdir, weights, others), chosen or [])), rows)


def print_answers(predictor, rows: list[dict[str, str]]) -> int:
    """Prints one JSON line for each row; one without a text has an empty answer, as in a file. predictor: a Predictor, or
    whatever else has its `answers`."""
    sys.stdout.reconfigure(errors="backslashreplace")  # an argument that is no UTF-8 is no reason to stop
    asked = [not any(isinstance(value, str) and not value.strip() for value in row.values()) for row in rows]
    made = iter(predictor.answers([row for row, there in zip(rows, asked, strict=True) if there]))
    for row, there in zip(rows, asked, strict=True):
        answer = next(made)[0] if there else dict.fromkeys(nothing_asked(predictor)[0])
        print(json.dumps(plain({**row, **rounded(answer)}), ensure_ascii=False))
    console = Console()
    if not all(asked):
        console.say(f"{asked.count(False):,} of {len(rows):,} have an empty answer: a text is empty or blank")
    tell_unknown(predictor, "", console)
    return 0


def nothing_asked(predictor) -> tuple[dict, dict[str, float]]:
    """What is answered to empty texts: it shows which columns answers have."""
    answer, = predictor.answers([{name: [] if name in LISTS else "" for name in predictor.fields}])
    return answer


def predict_file(workdir: str, weights: str, source: str, output: str, *, probabilities: bool, batch_size: int,
                 on_broken_row: str, reading: dict[str, str] | None = None, chosen: list[str] | None = None,
                 others: Sequence[str] = ()) -> int:
    """Streams rows from a source to a csv or jsonl file, in their order; the file is there whole or not at all.

    on_broken_row: a row that cannot be answered is an "error", is left out ("skip"), or has an "empty" answer, so that input
    and output stay aligned. reading: settings of config.data that say how the source's files are read. chosen,
    others: as above.
    """
    target = local_path(output, "--output")
    check_writable(target)
    run = asked_with(open_run(workdir, weights, others), chosen or [])
    return answer_file(run, Predictor(run, batch_size), source, target, probabilities, on_broken_row, reading)


def answer_file(run: Run, predictor, source: str, target: Path, probabilities: bool, on_broken_row: str,
                reading: dict[str, str] | None) -> int:
    """The same of an open run and its Predictor, or whatever else answers its asked fields."""
    with other_rows(run.experiment.data, "error" if on_broken_row == "error" else "skip") as data:
        cache = cache_folder(data.cache)
        fields = run.reading(cache).fields
        data = by_its_own_rule(data, source, fields, cache, True, reading or {}, Console().say)
        rows = AskedRows(source, data, fields, cache, keep=on_broken_row == "empty")
        return answer_rows(predictor, rows, target, probabilities, in_own_words)


def answer_rows(predictor, rows: AskedRows, target: Path, probabilities: bool, words: Callable[[str], str]) -> int:
    """Writes the rows with a predictor's answers; returns the exit code: 1 where lines of the input are in no row.

    words: how what the rows lacked is told by the command in question. Raises: UserError where no row can be answered: what
    there was at the target stays.
    """
    console = Console()
    temporary = target.with_name(f".{target.name}.making")
    answered = Answered(predictor, rows, target.suffix, probabilities, console)
    try:
        write_answers(temporary, target.suffix, answered)
        if not answered.count:
            raise UserError(f"{rows.nothing()} Nothing was written to {target}.")
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    for line in rows.told():
        console.say(words(line))
    tell_unknown(predictor, rows.spec, console)
    console.say(f"{answered.written:,} rows in {target}, {answered.count:,} of them answered")
    if rows.lost:
        lost = words(f"{rows.lost.file}:{rows.lost.line}: {rows.lost.reason}")
        console.say(f"error: {target} is not aligned with its input: {lost}")
    return 1 if rows.lost else 0


def tell_unknown(predictor, spec: str, console: Console) -> None:
    """Says how much of the texts the tokenizer did not know, where the predictor counted it: of a file's always, else where it
    is much."""
    counted = getattr(predictor, "unknown", None)
    if counted is None:
        return
    if spec:
        console.say(told({spec: counted}))
    if warned := warning({spec or "the texts": counted}):
        console.say(warned)


class Answered:
    """Each row and its answer's columns (of None where it has none), a chunk in memory at a time.

    written, count: the rows so far, and those of them that are answered.
    """

    def __init__(self, predictor, source: AskedRows, suffix: str, probabilities: bool, console: Console):
        self._predictor, self._source, self._console = predictor, source, console
        self._nested, self._probabilities = suffix == ".jsonl", probabilities
        self.written = self.count = 0

    def __iter__(self) -> Iterator[tuple[Row, dict]]:
        rows = self._source.rows(asked_only=True)
        while chunk := list(itertools.islice(rows, CHUNK)):
            asked = [row.values for row in chunk if row.values]
            made = iter(self._predictor.answers(asked))
            for row in chunk:
                yield row, self._columns(*next(made)) if row.values else self._empty
            self.count += len(asked)
            self.written += len(chunk)
            self._console.say(f"{self.written:,} rows read, {self.count:,} answered")

    def _columns(self, answer: dict, each: dict[str, float]) -> dict:
        return columns_of(answer, each if self._probabilities else {}, "" if self._nested else self._predictor.separator)

    @functools.cached_property
    def _empty(self) -> dict:
        return dict.fromkeys(self._columns(*nothing_asked(self._predictor)))


def columns_of(answer: dict, each: dict[str, float], separator: str) -> dict:
    """An answer and probabilities as columns of a file. separator: what joins names in a csv field; '' for jsonl, which has
    lists and dicts."""
    answer, each = rounded(answer), {name: round(p, 6) for name, p in each.items()}
    if not separator:
        return {**answer, "probabilities": each} if each else answer
    answer = {name: joined(value, separator) for name, value in answer.items()}
    return {**answer, **{f"probability:{name}": p for name, p in each.items()}}
