"""Texts in, answers out, in the run's own process; files of any size are streamed."""

import csv
import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder
from tfft.config import Data
from tfft.data.formats import Broken, Record
from tfft.data.sources import Row, Source
from tfft.data.tokenize import TextTokenizer, Tokens, features
from tfft.errors import UserError
from tfft.evaluation.evaluator import resolve_thresholds
from tfft.evaluation.judge import check_writable, in_own_words, other_rows
from tfft.files import local_path
from tfft.training.summaries import Console
from tfft.workdir import Run, open_run

CHUNK = 4096  # rows in memory at once


def as_bytes(text: str | bytes) -> bytes:
    """UTF-8; what has none, such as half a surrogate pair, becomes a question mark."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


class Predictor:
    """A run's model behind its tokenizer: texts -> probabilities float32[n,L], or values float32[n,1]."""

    def __init__(self, run: Run, batch_size: int = 64, temperature: float = 1.0):
        self.task, self._model, self._batch_size, self._temperature = run.task, run.model, batch_size, temperature
        self.thresholds = resolve_thresholds(run.task, run.thresholds)
        self.text_tokenizer = TextTokenizer.of(run.tokenizer, run.experiment.data)
        strings = tf.TensorSpec([None], tf.string)
        self._tokenise = tf.function(self._tokens, input_signature=[strings, strings])
        self._forward = tf.function(self._logits, reduce_retracing=True)

    def _tokens(self, texts, second):
        return self.text_tokenizer(texts, second if self.text_tokenizer.pairs else None)

    def _logits(self, inputs):
        logits = self._model(inputs, training=False)
        return self.task.probabilities(logits / self._temperature if self.task.problem != "regression" else logits)

    def tokens(self, texts: list[str | bytes], second: list[str | bytes] | None = None) -> Tokens:
        """By the same ops as in training, inside a graph."""
        encoded, other = ([as_bytes(t) for t in column] for column in (texts, second or []))
        return self._tokenise(tf.constant(encoded, tf.string, [len(encoded)]), tf.constant(other, tf.string, [len(other)]))

    def __call__(self, texts: list[str | bytes], second: list[str | bytes] | None = None) -> np.ndarray:
        """Answers in the order of `texts`; computed by length, so that little padding is."""
        tokens = self.tokens(texts, second)
        order = np.argsort(tokens.token_ids.row_lengths().numpy(), kind="stable")
        made = np.zeros((len(texts), self.task.outputs), np.float32)
        for begin in range(0, len(order), self._batch_size):
            chosen = order[begin:begin + self._batch_size]
            part = type(tokens)(tf.gather(tokens.token_ids, chosen), tf.gather(tokens.first_length, chosen),
                                tf.gather(tokens.full_length, chosen))
            inputs = features(part, self.text_tokenizer.pad_id, tuple(self._model.input), multiple=8)
            made[chosen] = self._forward(inputs).numpy()
        return made

    @property
    def pairs(self) -> bool:
        """Whether it takes two texts."""
        return self.text_tokenizer.pairs

    def answers(self, texts: list[str], second: list[str] | None) -> list[tuple[dict, dict[str, float]]]:
        """Each text's answer, and each label's probability."""
        return [(self.answer(p), dict(zip(self.task.labels.names, p.tolist()))) for p in self(texts, second)]

    def answer(self, probabilities: np.ndarray) -> dict:
        """One row's answer under names a reader understands."""
        if self.task.problem == "regression":
            return {"predicted_value": float(probabilities[0])}
        names = self.task.labels.names
        if self.task.problem == "multi_label":
            chosen = np.flatnonzero(probabilities >= self.thresholds)
            return {"predicted_labels": [names[k] for k in chosen], "probability": [float(probabilities[k]) for k in chosen]}
        best = int(probabilities.argmax())
        return {"predicted_label": names[best], "probability": float(probabilities[best])}


def predict_texts(workdir: str, weights: str, texts: list[str], second: list[str] | None) -> int:
    """Prints one JSON line for each text."""
    return print_answers(Predictor(open_run(workdir, weights)), texts, second)


def print_answers(predictor, texts: list[str], second: list[str] | None) -> int:
    """Prints one JSON line for each text. predictor: a Predictor, or whatever else has its `pairs` and `answers`."""
    sys.stdout.reconfigure(errors="backslashreplace")  # an argument that is no UTF-8 is no reason to stop
    for text, (answer, _) in zip(texts, predictor.answers(texts, second), strict=True):
        print(json.dumps({"text": text, **_rounded(answer)}, ensure_ascii=False))
    return 0


class AskedRows(Source):
    """The rows of a source. Where `keep`, those without a text too: as rows of the text "", which no other row has."""

    def __init__(self, spec: str, data: Data, cache: Path, keep: bool):
        super().__init__(spec, data, None, cache)
        self._keep = keep
        self.empty_count = 0
        self._first_empty: Broken | None = None

    def _row(self, record: Record, labels: bool) -> Row | Broken:
        row = super()._row(record, labels)
        if isinstance(row, Row) or not self._keep:
            return row
        self.empty_count += 1
        self._first_empty = self._first_empty or row
        return Row("", "", None, None, record.file, record.line, record.values)

    def report(self) -> list[str]:
        """What the rows read so far lacked, a line for each kind."""
        lines = [self.broken_report()] if self.broken_count else []
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
        rows = AskedRows(source, data, cache_folder(data.cache), keep=on_broken_row == "empty")
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
        return dict.fromkeys(columns(*predictor.answers([""], [""] if predictor.pairs else None)[0]))

    rows: Iterator[Row] = source.rows(labels=False)
    done = 0
    while chunk := list(itertools.islice(rows, CHUNK)):
        asked = [row for row in chunk if row.text]
        second = [row.text_pair or "" for row in asked] if predictor.pairs else None
        made = iter(predictor.answers([row.text for row in asked], second))
        for row in chunk:
            yield row, columns(*next(made)) if row.text else empty()
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
        writer.writerow({k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in line.items()})
    return count


def _rounded(answer: dict) -> dict:
    return {k: round(v, 6) if isinstance(v, float) else [round(x, 6) if isinstance(x, float) else x for x in v]
            if isinstance(v, list) else v for k, v in answer.items()}
