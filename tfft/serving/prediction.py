"""Texts in, answers out, in the run's own process; files of any size are streamed."""

import csv
import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder
from tfft.config import Data
from tfft.data.fields import Field
from tfft.data.formats import Broken, Record
from tfft.data.sources import Row, Source
from tfft.data.tokenize import features
from tfft.errors import UserError
from tfft.files import local_path
from tfft.run.judge import check_writable, in_own_words, other_rows
from tfft.run.workdir import Run, open_run
from tfft.tasks.base import Context, Structured
from tfft.training.summaries import Console

CHUNK = 4096  # rows in memory at once


class Predictor:
    """A run's model behind its encoder: rows -> what the task responds, as an export does."""

    def __init__(self, run: Run, batch_size: int = 64, calibration: Any = None):
        self.task, self._model, self._batch_size = run.task, run.model, batch_size
        self._context = Context(run.tuned, calibration, run.task.constants(run.model))
        reading = run.reading(cache_folder(run.experiment.data.cache))
        self.encoder, self.fields = reading.encoder, reading.encoder.fields
        self._encode = tf.function(self.encoder.asked, reduce_retracing=True)
        self._forward = tf.function(self._units, reduce_retracing=True)
        self._respond = tf.function(self._response, reduce_retracing=True)

    def _units(self, examples):
        inputs = features(examples, self.encoder.pad_id, tuple(self._model.input), multiple=8)
        return self.task.emit(self._model(inputs, training=False), self.task.extras(examples))

    def _response(self, examples, rows, units):
        return self.task.respond(examples, rows, units, self._context)

    def encode(self, rows: Sequence[dict[str, Any]]) -> tuple[dict, dict]:
        """(columns of examples, columns of rows), by the same ops as in training, inside a graph."""
        return self._encode(**self.encoder.strings(rows))

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
        """The response to rows (texts by field), in their order; computed by length, so that little padding is."""
        examples, of_rows = self.encode(rows)
        order = np.argsort(examples["length"].numpy(), kind="stable")
        made: list = [None] * len(order)
        counts = self.task.counts(examples)
        counts = np.ones(len(order), np.int64) if counts is None else counts.numpy()
        for begin in range(0, len(order), self._batch_size):
            chosen = order[begin:begin + self._batch_size]
            units = self._forward({name: tf.gather(column, chosen) for name, column in examples.items()}).numpy()
            for example, values in zip(chosen, units, strict=True):
                made[example] = values[:counts[example]]
        units = np.concatenate([*made, np.zeros((0, self.task.width), np.float32)])
        return {name: value.numpy() for name, value in self._respond(examples, of_rows, tf.constant(units)).items()}

    def answers(self, rows: Sequence[dict[str, Any]]) -> list[tuple[dict, dict[str, float]]]:
        """Each row's answer under names a reader understands, and each label's probability where there are labels."""
        return self.task.answers({name: decoded(value) for name, value in self(rows).items()}) if rows else []


def predict_texts(workdir: str, weights: str, rows: list[dict[str, str]]) -> int:
    """Prints one JSON line for each row."""
    return print_answers(Predictor(open_run(workdir, weights)), rows)


def print_answers(predictor, rows: list[dict[str, str]]) -> int:
    """Prints one JSON line for each row. predictor: a Predictor, or whatever else has its `answers`."""
    sys.stdout.reconfigure(errors="backslashreplace")  # an argument that is no UTF-8 is no reason to stop
    for row, (answer, _) in zip(rows, predictor.answers(rows), strict=True):
        print(json.dumps({**row, **_rounded(answer)}, ensure_ascii=False))
    return 0


class AskedRows(Source):
    """The rows of a source. Where `keep`, those without a text too: as rows without values, which no other row is."""

    def __init__(self, spec: str, data: Data, fields: tuple[Field, ...], cache: Path, keep: bool):
        super().__init__(spec, data, fields, cache)
        self._keep = keep
        self.empty_count = 0
        self._first_empty: Broken | None = None

    def _row(self, record: Record, asked_only: bool) -> Row | Broken:
        row = super()._row(record, asked_only)
        if isinstance(row, Row) or not self._keep:
            return row
        self.empty_count += 1
        self._first_empty = self._first_empty or row
        return Row("", {}, record.file, record.line, record.values)

    def report(self) -> list[str]:
        """What the rows read so far lacked, a line for each kind."""
        lines = self.told()
        if self._first_empty:
            first, rows = self._first_empty, "row has" if self.empty_count == 1 else "rows have"
            lines.append(f"{self.empty_count:,} {rows} an empty answer; first: {first.file}:{first.line}: {first.reason}")
        return lines


def predict_file(workdir: str, weights: str, source: str, output: str, *, probabilities: bool, batch_size: int,
                 on_broken_row: str) -> int:
    """Streams rows from a source to a csv or jsonl file, in their order; the file is there whole or not at all.

    on_broken_row: a row without text is an "error", is left out ("skip"), or has an "empty" answer, so that input and
    output stay aligned; one against its file's format has nothing to keep, and is left out unless it is an error.
    """
    target = local_path(output, "--output")
    check_writable(target)
    run = open_run(workdir, weights)
    with other_rows(run.experiment.data, "error" if on_broken_row == "error" else "skip") as data:
        cache = cache_folder(data.cache)
        rows = AskedRows(source, data, run.reading(cache).fields, cache, keep=on_broken_row == "empty")
        return answer_rows(Predictor(run, batch_size), rows, target, probabilities, in_own_words)


def answer_rows(predictor, rows: AskedRows, target: Path, probabilities: bool, words: Callable[[str], str]) -> int:
    """Writes the rows with a predictor's answers. words: how what the rows lacked is told by the command in question."""
    console = Console()
    temporary = target.with_name(f".{target.name}.making")
    try:
        # half a surrogate pair, which a json file can hold, is written as json writes it
        with open(temporary, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            done = _write(file, target.suffix, _answers(predictor, rows, target.suffix, probabilities, console))
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    for line in rows.report():
        console.say(words(line))
    console.say(f"{done:,} rows in {target}")
    return 0


def _answers(predictor, source: AskedRows, suffix: str, probabilities: bool, console: Console) -> Iterator[tuple[Row, dict]]:
    """Each row and its answer's columns (of None where it has no text), a chunk in memory at a time."""
    def columns(answer: dict, each: dict[str, float]) -> dict:
        answer, each = _rounded(answer), {name: round(p, 6) for name, p in each.items()} if probabilities else {}
        if suffix == ".jsonl":
            return {**answer, "probabilities": each} if each else answer
        return {**answer, **{f"probability:{name}": p for name, p in each.items()}}

    @functools.cache
    def empty() -> dict:
        return dict.fromkeys(columns(*predictor.answers([dict.fromkeys(predictor.fields, "")])[0]))

    rows: Iterator[Row] = source.rows(asked_only=True)
    done = 0
    while chunk := list(itertools.islice(rows, CHUNK)):
        made = iter(predictor.answers([row.values for row in chunk if row.values]))
        for row in chunk:
            yield row, columns(*next(made)) if row.values else empty()
        done += len(chunk)
        console.say(f"{done:,} rows answered")


def _write(file, suffix: str, answers: Iterator[tuple[Row, dict]]) -> int:
    """Writes rows with their answers as csv (lists joined by commas) or jsonl; returns their number.

    Raises: UserError where a column of a row would be lost.
    """
    writer, count, header = None, 0, {}
    for row, answer in answers:
        count += 1
        if taken := answer.keys() & row.record.keys():
            raise UserError(f"{row.file}:{row.line}: its column {min(taken)!r} has the name of a column of the answers. Rename "
                            "it, or leave it out of the input.")
        line = {**row.record, **answer}
        if suffix == ".jsonl":
            file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            continue
        if writer is None:
            header = line.keys()
            writer = csv.DictWriter(file, list(header), restval="")
            writer.writeheader()
        if more := line.keys() - header:
            raise UserError(f"{row.file}:{row.line}: the first row has no column {min(more)!r} as this one has, and a csv file "
                            "has one header. Write --output=FILE.jsonl instead.")
        writer.writerow({k: _cell(v) for k, v in line.items()})
    return count


def _cell(value):
    """A value in a csv field: lists joined by commas, or as JSON where they hold more than names and numbers."""
    plain = isinstance(value, list) and not isinstance(value, Structured)
    if plain and not any(isinstance(one, (dict, list)) for one in value):
        return ",".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def decoded(values: np.ndarray) -> np.ndarray:
    """bytes -> str, for those that are UTF-8."""
    if values.dtype != object:
        return values
    made = np.empty(values.shape, object)
    for place, value in np.ndenumerate(values):
        made[place] = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return made


def _rounded(value):
    """An answer with its numbers rounded, lists and dicts in it too."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return type(value)(_rounded(one) for one in value) if isinstance(value, list) else value
