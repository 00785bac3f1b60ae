"""How good tagged rows are: entities by type and by kind of error, words, sentence labels."""

import functools
import heapq

import numpy as np
import tensorflow as tf

from tfft.data.scratch import let_go
from tfft.tasks.base import MISTAKES, Evidence, Judged, Report, Table
from tfft.tasks.token_classification.counts import RowCounts
from tfft.tasks.token_classification.decode import decode
from tfft.tasks.token_classification.scoring import EntityScorer

AT_ONCE = 256       # rows decoded together, at most
WORDS = 1 << 17     # words decoded together, unless one row has more


@functools.cache
def _decoder(tags: int):
    """`decode` for so many tags, as a graph that is traced once, though a training judges many times."""
    return tf.function(decode, autograph=False, reduce_retracing=True)


def judge(task, judged: Judged, transitions: np.ndarray | None) -> Report:
    """Decodes row by row from the emissions of all its windows, a few rows in memory at a time."""
    store, tags, gold = judged.store, task.tags, task.gold(judged.store)
    labels, worst = task._label_ids(store) if task.lead else None, []
    scorer, counts, decoded = EntityScorer(), RowCounts(tags.types, bool(task.lead)), _decoder(task.outputs)
    for rows, first, last in _some_rows(judged):
        emissions, lengths, leads = _gathered(task, judged, first, last)
        made = decoded(emissions, lengths, transitions)
        chosen, probabilities = (np.split(values.numpy(), np.cumsum(lengths)[:-1]) for values in made)
        for i, row in enumerate(rows):
            right = gold.of(row)
            known = right >= 0
            words = int((right == chosen[i])[known].sum()), int(known.sum())
            scorer.add_tokens(*words)
            true, answered = _true_spans(tags, right), _judged_spans(tags, chosen[i], known)
            scorer.add(true, answered)
            both = len(set(true) & set(answered))
            wrong = len(true) + len(answered) - 2 * both
            counts.add(true, answered, *words)
            if labels:
                counts.add_label(int(labels(row)), int(leads[i].argmax()), exact=not wrong)
            if wrong:
                sure = float(probabilities[i].min(initial=1.0))
                heapq.heappush(worst, (wrong, sure, -int(row), true, answered))
                if len(worst) > MISTAKES:
                    heapq.heappop(worst)
    worst = [entry[2:] for entry in sorted(worst, key=lambda entry: entry[:3], reverse=True)]
    return _report(task, judged, scorer, counts, worst)


def _true_spans(tags, right: np.ndarray) -> list:
    """The entities of a row's tag ids, -1 where one is not known: of words that can be judged."""
    return _judged_spans(tags, np.where(right >= 0, right, 0), right >= 0)


def _judged_spans(tags, ids: np.ndarray, known: np.ndarray) -> list:
    return [span for span in tags.spans(ids) if known[span[0]:span[1]].all()]


def _some_rows(judged: Judged):
    """(rows, their first example, the one after their last), as many at a time as memory is bounded."""
    first, last = judged.of_rows()
    begin = 0
    while begin < len(first):
        fits = np.searchsorted(judged.offsets[last[begin:begin + AT_ONCE]], judged.offsets[first[begin]] + WORDS, side="right")
        some = slice(begin, begin + max(1, int(fits)))
        yield judged.rows[some], first[some], last[some]
        let_go(judged.units)
        begin = some.stop


def _gathered(task, judged: Judged, first: np.ndarray, last: np.ndarray):
    """(emissions float32[u,T] of the words of rows whose examples are first[i] to last[i] - 1, int32[b] words of each, the
    sentences' logits float32[b,L] or None)."""
    offsets = judged.offsets
    begins, ends = offsets[first], offsets[last]
    lengths = (ends - begins - task.lead * (last - first)).astype(np.int32)
    units = np.asarray(judged.units[begins[0]:ends[-1]])
    if not task.lead:
        return units, lengths, None
    words = np.ones(len(units), bool)
    words[offsets[first[0]:last[-1]] - begins[0]] = False  # each window's first unit is of the sentence
    return units[words, :task.outputs], lengths, units[begins - begins[0], :len(task.tags.labels)]


def _report(task, judged: Judged, scorer: EntityScorer, counts: RowCounts, worst: list) -> Report:
    store, scores = judged.store, scorer.result()
    header = ("type", "precision", "recall", "f1", "right", "given", "true")
    lines = [tuple(line[key] for key in ("type", "precision", "recall", "f1", "right", "predicted", "support"))
             for line in scores["types"]]
    tables = [Table("types", header, lines)]
    if task.tags.scheme != "none":
        tables.append(Table("errors", ("error", "entities"), [(kind.replace("_", " "), count)
                                                              for kind, count in scores["errors"].items()]))
    mistakes = [(store.place(-row), store.texts(-row)[0][:300], _told(store, -row, true), _told(store, -row, answered))
                for row, true, answered in worst]
    every = counts.figures(np.arange(len(judged.rows)))
    names = ("f1", "precision", "recall", "macro_f1", "token_accuracy")
    metrics = {**{name: scores[name] or 0.0 for name in names}, **{k: v for k, v in every.items() if k not in names}}
    return Report(metrics, len(judged.rows), tables=tables, mistakes=mistakes,
                  details={"types": scores["types"], "errors": scores["errors"]}, evidence=_evidence(task, judged, counts))


def _evidence(task, judged: Judged, counts: RowCounts) -> Evidence:
    store, rows, gold = judged.store, judged.rows, task.gold(judged.store)
    return Evidence(rows, counts.f1(), "f1", counts.figures,
                    lambda i: _told(store, int(rows[i]), _true_spans(task.tags, gold.of(int(rows[i])))),
                    lambda i: _told(store, int(rows[i]), counts.answered(i)))


def _told(store, row: int, spans: list) -> str:
    """Entities as a person reads them: "London (LOC), Ann (PER)"."""
    text, starts, ends = store.texts(row)[0], store.values("word_start", row), store.values("word_end", row)
    return ", ".join(f"{text[starts[a]:ends[b - 1]]} ({kind})" for a, b, kind in spans)
