"""Texts in, answers out, in the run's own process; files of any size are streamed."""

import csv
import dataclasses
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder
from tfft.data.sources import Row, Source
from tfft.data.tokenize import TextTokenizer, features
from tfft.errors import UserError
from tfft.training.summaries import Console
from tfft.workdir import Run, open_run

CHUNK = 4096  # rows in memory at once


class Predictor:
    """A run's model behind its tokenizer: texts -> probabilities float32[n,L], or values float32[n,1]."""

    def __init__(self, run: Run, batch_size: int = 64):
        data = run.experiment.data
        self.task, self.thresholds, self._model, self._batch_size = run.task, run.thresholds, run.model, batch_size
        self.text_tokenizer = TextTokenizer(run.tokenizer, max_length=data.max_length, truncation=data.truncation,
                                            head_fraction=data.head_fraction, pairs=bool(data.text_pair_column))
        strings = tf.TensorSpec([None], tf.string)
        self._tokenise = tf.function(self._tokens, input_signature=[strings, strings])
        self._forward = tf.function(self._logits, reduce_retracing=True)

    def _tokens(self, texts, second):
        return self.text_tokenizer(texts, second if self.text_tokenizer.pairs else None)

    def _logits(self, inputs):
        return self.task.probabilities(self._model(inputs, training=False))

    def __call__(self, texts: list[str], second: list[str] | None = None) -> np.ndarray:
        """Answers in the order of `texts`; computed by length, so that little padding is."""
        encoded = [t.encode("utf-8", "replace") for t in texts]
        other = [t.encode("utf-8", "replace") for t in second or []]
        tokens = self._tokenise(tf.constant(encoded, tf.string, [len(encoded)]), tf.constant(other, tf.string, [len(other)]))
        order = np.argsort(tokens.token_ids.row_lengths().numpy(), kind="stable")
        made = np.zeros((len(texts), self.task.outputs), np.float32)
        for begin in range(0, len(order), self._batch_size):
            chosen = order[begin:begin + self._batch_size]
            part = type(tokens)(tf.gather(tokens.token_ids, chosen), tf.gather(tokens.first_length, chosen),
                                tf.gather(tokens.full_length, chosen))
            inputs = features(part, self.text_tokenizer.pad_id, tuple(self._model.input), multiple=8)
            made[chosen] = self._forward(inputs).numpy()
        return made

    def answer(self, probabilities: np.ndarray) -> dict:
        """One row's answer under names a reader understands."""
        if self.task.problem == "regression":
            return {"predicted_value": float(probabilities[0])}
        names = self.task.labels.names
        if self.task.problem == "multi_label":
            cut = np.full(len(names), 0.5) if self.thresholds is None else self.thresholds
            chosen = np.flatnonzero(probabilities >= cut)
            return {"predicted_labels": [names[k] for k in chosen], "probability": [float(probabilities[k]) for k in chosen]}
        best = int(probabilities.argmax())
        return {"predicted_label": names[best], "probability": float(probabilities[best])}


def predict_texts(workdir: str, weights: str, texts: list[str], second: list[str] | None) -> int:
    """Prints one JSON line for each text."""
    predictor = Predictor(open_run(workdir, weights))
    for text, probabilities in zip(texts, predictor(texts, second), strict=True):
        print(json.dumps({"text": text, **_rounded(predictor.answer(probabilities))}, ensure_ascii=False))
    return 0


def predict_file(workdir: str, weights: str, source: str, output: str, *, probabilities: bool, batch_size: int,
                 on_broken_row: str) -> int:
    """Streams rows from a source to a csv or jsonl file, in their order; the file is there whole or not at all."""
    console = Console()
    run = open_run(workdir, weights)
    data = dataclasses.replace(run.experiment.data, where="", id_column="", on_broken_row=on_broken_row)
    rows = Source(source, data, None, cache_folder(data.cache))
    predictor = Predictor(run, batch_size)
    target = Path(output)
    temporary = target.with_name(f".{target.name}.making")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            done = _write(file, target.suffix, _answers(predictor, rows, probabilities, console))
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"Cannot write {target}: {error}.") from error
    except UserError as error:
        raise UserError(str(error).replace("--config.data.on_broken_row", "--on_broken_row")) from error
    finally:
        temporary.unlink(missing_ok=True)
    if rows.broken_count:
        console.say(rows.broken_report())
    console.say(f"{done:,} answers in {target}")
    return 0


def _answers(predictor: Predictor, source: Source, probabilities: bool, console: Console) -> Iterator[dict]:
    """Each row's own columns and its answer, a chunk in memory at a time."""
    rows: Iterator[Row] = source.rows(labels=False)
    done = 0
    while chunk := list(itertools.islice(rows, CHUNK)):
        second = [r.text_pair or "" for r in chunk] if predictor.text_tokenizer.pairs else None
        for row, values in zip(chunk, predictor([r.text for r in chunk], second), strict=True):
            answer = _rounded(predictor.answer(values))
            if probabilities and predictor.task.labels.names:
                answer["probabilities"] = {n: round(float(p), 6) for n, p in zip(predictor.task.labels.names, values,
                                                                                  strict=True)}
            yield {**row.record, **answer}
        done += len(chunk)
        console.say(f"{done:,} rows answered")


def _write(file, suffix: str, answers: Iterator[dict]) -> int:
    """Writes answers as csv (lists joined by commas, one column a label's probability) or jsonl; returns their number."""
    writer, count = None, 0
    for answer in answers:
        count += 1
        if suffix == ".jsonl":
            file.write(json.dumps(answer, ensure_ascii=False, default=str) + "\n")
            continue
        flat = {**answer, **{f"probability:{n}": p for n, p in answer.pop("probabilities", {}).items()}}
        flat.pop("probabilities", None)
        flat = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in flat.items()}
        if writer is None:
            writer = csv.DictWriter(file, list(flat), restval="", extrasaction="ignore")
            writer.writeheader()
        writer.writerow(flat)
    return count


def _rounded(answer: dict) -> dict:
    return {k: round(v, 6) if isinstance(v, float) else [round(x, 6) if isinstance(x, float) else x for x in v]
            if isinstance(v, list) else v for k, v in answer.items()}
