"""What runs answer to the rows that they held out: of each fold as jsonl in its folder, of all as csv in their order."""

import heapq
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfft.data.prepare import Split
from tfft.data.sources import Row
from tfft.data.store import TokenStore
from tfft.run.workdir import Run
from tfft.serving.answers_file import joined, plain, write_answers
from tfft.serving.prediction import CHUNK, Predictor, columns_of
from tfft.tasks.base import Task

FILE = "out_of_fold.jsonl"


def answer(run: Run, split: Split) -> None:
    """Writes the run's answers to rows: lines {"row": its number in the store, "record": what it is, "answer": columns}."""
    predictor, target = Predictor(run), run.workdir.path / FILE
    temporary = target.with_name(f".{target.name}.making")
    with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        for begin in range(0, len(split.rows), CHUNK):
            rows = split.rows[begin:begin + CHUNK]
            asked = [dict(zip(split.store.fields, split.store.texts(row), strict=True)) for row in rows]
            made = predictor.answers(run.task.as_served(asked, predictor.encoder))
            for row, given, truth, texts in zip(rows.tolist(), made, truths(run.task, split.store, rows), asked, strict=True):
                record = {"place": split.store.place(row), "id": split.store.string("id", row), **texts, "truth": truth}
                columns = columns_of(*given, predictor.separator)
                file.write(json.dumps({"row": row, "record": plain(record), "answer": plain(columns)},
                                      ensure_ascii=False) + "\n")
    os.replace(temporary, target)


def truths(task: Task, store: TokenStore, rows: np.ndarray) -> list:
    """What rows are to be answered with, as a file has it: a number, a name, names joined; else as a person is shown it."""
    found = task.truth(store, rows)
    if found is None:
        return [""] * len(rows)
    if found.values is not None:
        return found.values.tolist()
    if not (found.one or found.several):
        return [found.shown(place) for place in range(len(rows))]
    names = [[found.names[code] for code in own if code >= 0]
             for own in np.split(found.codes.flat, np.cumsum(found.codes.lengths)[:-1])]
    return [(own[0] if own else "") if found.one else joined(own, task.separator) for own in names]


def join(parts: list[Path], folds: list[tuple[int, int]], target: Path) -> Path:
    """Puts the answers of all folds in one file: row by row, and a row that several repeats held out as often. folds: (fold,
    repeat) of each part."""
    several = any(repeat > 1 for _, repeat in folds)

    def lines(part: Path, fold: int, repeat: int) -> Iterator[tuple[tuple[int, int], dict]]:
        with open(part, encoding="utf-8") as file:
            for line in file:
                made = json.loads(line)
                made["record"] |= {"fold": fold, **({"repeat": repeat} if several else {})}
                yield (made["row"], repeat), made

    merged = heapq.merge(*(lines(part, *of) for part, of in zip(parts, folds, strict=True)), key=lambda one: one[0])
    temporary = target.with_name(f".{target.name}.making")
    write_answers(temporary, ".csv", ((Row("", {}, "", row, made["record"]), made["answer"]) for (row, _), made in merged))
    os.replace(temporary, target)
    return target
