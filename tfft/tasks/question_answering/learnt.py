"""What is learnt from the training rows beside the weights: whether questions can be without an answer. Saved with the run."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np

from tfft.config import Experiment
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.files import read_record, write_record
from tfft.tasks.question_answering.answers import ABSENT, AMBIGUOUS, EXACT, KINDS, REALIGNED
from tfft.tasks.question_answering.rows import answer_texts

FILE = "answers.json"


@dataclasses.dataclass(frozen=True)
class Answers:
    """no_answer: whether the model may say that there is none. rows: training rows; empty: those without an answer; unplaced:
    those whose answers all are at no certain place of the context; widened: those whose answer begins or ends inside a word;
    kinds: how many answers were found how; notes: what else to tell."""

    no_answer: bool
    rows: int = 0
    empty: int = 0
    unplaced: int = 0
    widened: int = 0
    kinds: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        write_record(folder / FILE, self)

    @staticmethod
    def load(folder: Path) -> "Answers":
        return read_record(folder / FILE, Answers)


def infer_answers(experiment: Experiment, store: TokenStore, rows: np.ndarray) -> Answers:
    """Counts the answers of the training rows. Raises: UserError where none can be learnt from, or, under on_broken_row=error,
    where a row's answers are at no certain place."""
    kinds, examples = Counter(), {}
    empty, unplaced, widened = 0, [], 0
    for row in rows.tolist():
        found = store.values("answer_kind", row)
        kinds.update(found.tolist())
        empty += not len(found)
        for number, kind in enumerate(found.tolist()):
            if KINDS[kind] != EXACT and kind not in examples:
                examples[kind] = f"{answer_texts(store, row)[number]!r:.60} of {store.place(row)}"
        if span := first_place(store, row):
            starts, ends = store.values("word_start", row), store.values("word_end", row)
            widened += not (_holds(starts, span[0]) and _holds(ends, span[1]))
        elif len(found):
            unplaced.append(row)
    placed = len(rows) - empty - len(unplaced)
    task = experiment.task
    if unplaced and experiment.data.on_broken_row == "error":
        row = unplaced[0]
        kind = KINDS[int(store.values("answer_kind", row)[0])]
        why = "is not in its context" if kind == ABSENT else "is at several places of its context, and no start tells which"
        raise UserError(f"{store.place(row)}: the answer {answer_texts(store, row)[0]!r:.60} {why}; {len(unplaced):,} of "
                        f"{len(rows):,} training rows are like that. Mend them, or leave such rows out of the training with "
                        "--config.data.on_broken_row=skip")
    if not placed:
        raise UserError(f"No answer of the {len(rows):,} training rows is in its context. Is config.data.answers_column="
                        f"{experiment.data.answers_column} the right column?")
    notes = [f"answers {KINDS[kind]}: {kinds[kind]:,}, such as {examples[kind]}" for kind in sorted(examples)]
    return Answers(task.no_answer == "yes" or task.no_answer == "auto" and empty > 0, len(rows), empty, len(unplaced), widened,
                   {name: kinds[number] for number, name in enumerate(KINDS) if kinds[number]}, tuple(notes))


def first_place(store: TokenStore, row: int) -> tuple[int, int] | None:
    """Where the first answer that is in the context stands in it, in characters."""
    starts = store.values("answer_start", row)
    known = np.flatnonzero(starts >= 0)
    return (int(starts[known[0]]), int(store.values("answer_end", row)[known[0]])) if len(known) else None


def _holds(ascending: np.ndarray, value: int) -> bool:
    at = int(np.searchsorted(ascending, value))
    return at < len(ascending) and int(ascending[at]) == value


def describe(answers: Answers) -> str:
    """Lines for the log."""
    counted = ", ".join(f"{answers.kinds.get(kind, 0):,} {told}" for kind, told in
                        ((EXACT, "where they say"), (REALIGNED, "found elsewhere"), (AMBIGUOUS, "at several places"),
                         (ABSENT, "not in their context")) if answers.kinds.get(kind))
    lines = [f"answers: {counted}" + (f"; {answers.empty:,} questions have none" if answers.empty else "")]
    if answers.unplaced:
        lines.append(f"training rows: {answers.unplaced:,} left out, whose answer is at no certain place")
    if answers.widened:
        lines.append(f"training rows: {answers.widened:,} answers begin or end inside a word, widened to whole words")
    return "\n".join([*lines, *(f"training rows: {note}" for note in answers.notes)])
