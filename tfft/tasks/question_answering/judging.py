"""How good answers are: exact match and F1, the threshold for no answer, parts by length, the surest mistakes."""

import numpy as np
import tensorflow as tf

from tfft.data.scratch import let_go
from tfft.tasks.base import MISTAKES, Evidence, Judged, Report, Table
from tfft.tasks.question_answering.decode import decide
from tfft.tasks.question_answering.rows import answer_texts
from tfft.tasks.question_answering.scoring import AnswerScorer

AT_ONCE = 1024  # rows whose windows are merged together
NAMES = ("f1", "exact_match")
_decided = tf.function(decide, autograph=False, reduce_retracing=True)  # traced once, though a training judges many times


def judge(judged: Judged, n: int, threshold: float, tune: str) -> Report:
    """threshold: the no_answer_score above which a question counts as having no answer. tune: under which name the best one
    for f1 on these rows is to be kept; '' uses the one given."""
    store, rows = judged.store, judged.rows
    first, last = judged.of_rows()
    scorer, spans, shares = AnswerScorer(), np.zeros((len(rows), 2), np.int32), np.zeros((len(rows), 2), np.float32)
    for begin in range(0, len(rows), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        low, high = first[part][0], last[part][-1]
        examples = judged.examples[low:high]
        units = np.array(judged.units[judged.offsets[low]:judged.offsets[high]])
        let_go(judged.units)
        windows = (np.asarray(store.column(name)[examples], np.int32) for name in ("begin", "first_length"))
        number = np.searchsorted(rows[part], store.row_of(examples)).astype(np.int32)
        made = _decided(units, number, *windows, tf.constant(len(rows[part]), tf.int32), n)
        starts, ends, scores, found, nulls, no_answers = (values.numpy() for values in made)
        for i, row in enumerate(rows[part].tolist()):
            span = characters(store, row, int(starts[i, 0]), int(ends[i, 0])) if found[i, 0] else (0, 0)
            spans[begin + i], shares[begin + i] = span, (scores[i, 0], nulls[i])
            scorer.add(store.place(row), store.string("context", row)[span[0]:span[1]], answer_texts(store, row),
                       float(no_answers[i]))
    tuned = None
    if tune:
        if 0 < scorer.answerable < len(scorer):
            threshold = scorer.best_threshold("f1").threshold
        tuned = {tune: [threshold]}
    return _report(judged, scorer, threshold, tuned, spans, shares)


def characters(store, row: int, first: int, last: int) -> tuple[int, int]:
    """Where pieces first to last of a context stand in it."""
    word = store.values("piece_word", row)
    return int(store.values("word_start", row)[word[first]]), int(store.values("word_end", row)[word[last]])


def _report(judged: Judged, scorer: AnswerScorer, threshold: float, tuned: dict[str, list] | None, spans: np.ndarray,
            shares: np.ndarray) -> Report:
    metrics, each, silent = scorer.result(threshold), scorer.each(threshold), scorer.silent(threshold)
    metrics = {**{name: metrics[name] for name in NAMES}, **metrics}
    counts = {"has_answer_": scorer.answerable, "no_answer_": len(scorer) - scorer.answerable}
    lines = [(told, counts[part], *(metrics[part + name] for name in NAMES), answered) for told, part, answered in
             (("with an answer", "has_answer_", int((~silent & scorer.has_answer).sum())),
              ("without", "no_answer_", int((~silent & ~scorer.has_answer).sum()))) if f"{part}f1" in metrics]
    tables = [Table("questions", ("questions", "rows", *NAMES, "answered"), lines)] if lines else []
    details = {} if np.isinf(threshold) else {"no_answer_threshold": threshold}
    return Report(metrics, len(scorer), tables=tables, tuned=tuned, details=details,
                  mistakes=_mistakes(judged, each, silent, spans, shares),
                  evidence=_evidence(judged, each, silent, spans))


def _evidence(judged: Judged, each: dict[str, np.ndarray], silent: np.ndarray, spans: np.ndarray) -> Evidence:
    store, rows = judged.store, judged.rows
    return Evidence(
        rows, each["f1"], "f1", lambda places: {name: float(each[name][places].mean()) for name in NAMES},
        lambda i: " / ".join(dict.fromkeys(answer_texts(store, int(rows[i])))),
        lambda i: "" if silent[i] else store.string("context", int(rows[i]))[spans[i, 0]:spans[i, 1]])


def _mistakes(judged: Judged, each: dict[str, np.ndarray], silent: np.ndarray, spans: np.ndarray, shares: np.ndarray) -> list:
    """Those with the least f1, the surest first."""
    store = judged.store
    sure = np.where(silent, shares[:, 1], shares[:, 0])
    wrong = np.flatnonzero((each["f1"] < 1) & (each["exact_match"] < 1))
    worst = wrong[np.lexsort((wrong, -sure[wrong], each["f1"][wrong]))][:MISTAKES]
    made = []
    for i in worst.tolist():
        row = int(judged.rows[i])
        question, context = store.string("question", row), store.string("context", row)
        given = "" if silent[i] else context[spans[i, 0]:spans[i, 1]]
        made.append((store.place(row), f"{question} | {context}"[:300], " / ".join(dict.fromkeys(answer_texts(store, row))),
                     given))
    return made
