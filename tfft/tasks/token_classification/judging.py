"""How good tagged rows are: entities by type and by kind of error, words, sentence labels."""

import dataclasses
import heapq

import numpy as np
import tensorflow as tf

from tfft.tasks.base import MISTAKES, Judged, Report, Table
from tfft.tasks.token_classification.decode import decode
from tfft.tasks.token_classification.scoring import EntityScorer

AT_ONCE = 256  # rows decoded together
PARTS = 4      # slices by length


@dataclasses.dataclass
class TagReport(Report):
    """found int32[n,3]: of each judged row the entities that are right, given, and true."""

    found: np.ndarray | None = None


def judge(task, judged: Judged, transitions: np.ndarray | None) -> TagReport:
    """Decodes row by row from the emissions of all its windows, a few rows in memory at a time."""
    store, tags, gold = judged.store, task.tags, task.gold(judged.store)
    scorer, found, worst = EntityScorer(), np.zeros((len(judged.rows), 3), np.int32), []
    labels = _Labels(task, store) if task.lead else None
    decoded = tf.function(lambda emissions, lengths: decode(emissions, lengths, transitions), reduce_retracing=True)
    first = np.searchsorted(store.row_of(judged.examples), judged.rows)  # of each row's examples
    last = np.append(first[1:], len(judged.examples))
    for begin in range(0, len(judged.rows), AT_ONCE):
        rows = judged.rows[begin:begin + AT_ONCE]
        emissions, lengths, leads = _gathered(task, judged, first[begin:begin + AT_ONCE], last[begin:begin + AT_ONCE])
        chosen, probabilities = (made.numpy() for made in decoded(emissions, lengths))
        if labels:
            labels.add(rows, leads)
        for i, row in enumerate(rows):
            right, given = gold.of(row), chosen[i, :lengths[i]]
            known = right >= 0
            scorer.add_tokens(int((right == given)[known].sum()), int(known.sum()))
            true, answered = tags.spans(np.where(known, right, 0)), _judged_spans(tags.spans(given), known)
            scorer.add(true, answered)
            if labels:
                labels.exact(set(true) == set(answered))
            both = len(set(true) & set(answered))
            found[begin + i] = both, len(answered), len(true)
            if wrong := len(true) + len(answered) - 2 * both:
                sure = float(probabilities[i, :lengths[i]].min(initial=1.0))
                heapq.heappush(worst, (wrong, sure, -int(row), true, answered))
                if len(worst) > MISTAKES:
                    heapq.heappop(worst)
    worst = [entry[2:] for entry in sorted(worst, key=lambda entry: entry[:3], reverse=True)]
    return _report(task, store, scorer, found, worst, labels)


def by_length(report: TagReport, lengths: np.ndarray) -> list[dict]:
    """The entities' figures for each quarter of the rows by length; rows of one length stay together."""
    bounds = np.unique(np.quantile(lengths, np.linspace(0, 1, PARTS + 1)[1:], method="higher")) if len(lengths) else []
    made, low = [], 0
    for high in bounds:
        chosen = np.flatnonzero((lengths > low) & (lengths <= high))
        right, given, true = report.found[chosen].sum(axis=0).tolist()
        precision, recall = right / max(1, given), right / max(1, true)
        figures = {"f1": 2 * right / max(1, given + true), "precision": precision, "recall": recall}
        made.append({"slice": f"{lengths[chosen].min()} to {high} tokens", "rows": len(chosen), "metrics": figures})
        low = high
    return made


def _gathered(task, judged: Judged, first: np.ndarray, last: np.ndarray):
    """(emissions float32[b,W,T], lengths int32[b], the sentences' logits float32[b,L] or None) of rows whose examples are
    first[i] to last[i] - 1."""
    offsets = judged.offsets
    begins, ends = offsets[first], offsets[last]
    lengths = (ends - begins - task.lead * (last - first)).astype(np.int32)
    emissions = np.zeros((len(first), int(lengths.max(initial=0)), task.outputs), np.float32)
    for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        units = np.asarray(judged.units[begin:end])
        if task.lead:  # each window's first unit is of the sentence
            units = np.delete(units, offsets[first[i]:last[i]] - begin, axis=0)
        emissions[i, :lengths[i]] = units[:, :task.outputs]
    leads = np.asarray(judged.units[begins])[:, :len(task.tags.labels)] if task.lead else None
    return emissions, lengths, leads


def _judged_spans(spans: list, known: np.ndarray) -> list:
    """Without those that touch a word whose right tag is not known."""
    return [span for span in spans if known[span[0]:span[1]].all()]


class _Labels:
    """How often sentence labels are right."""

    def __init__(self, task, store):
        self._ids, self.right, self.rows, self.both = task._label_ids(store), 0, 0, 0
        self._good: list[bool] = []

    def add(self, rows: np.ndarray, logits: np.ndarray) -> None:
        self._good = (logits.argmax(axis=1) == self._ids(rows)).tolist()[::-1]
        self.right, self.rows = self.right + sum(self._good), self.rows + len(rows)

    def exact(self, entities_right: bool) -> None:
        """Of the next row: whether its entities are right, beside its label."""
        self.both += entities_right & self._good.pop()


def _report(task, store, scorer: EntityScorer, found: np.ndarray, worst: list, labels: _Labels | None) -> TagReport:
    scores = scorer.result()
    metrics = {name: scores[name] for name in ("f1", "precision", "recall", "macro_f1")}
    if task.tags.scheme == "none":  # every word is its own entity: accuracy is all there is to say
        metrics = {"macro_f1": scores["macro_f1"]}
    metrics["token_accuracy"] = scores["token_accuracy"] or 0.0
    if labels:
        metrics |= {"sentence_accuracy": labels.right / max(1, labels.rows), "exact": labels.both / max(1, labels.rows)}
    header = ("type", "precision", "recall", "f1", "right", "given", "true")
    lines = [tuple(line[key] for key in ("type", "precision", "recall", "f1", "right", "predicted", "support"))
             for line in scores["types"]]
    tables = [Table("types", header, lines)]
    if task.tags.scheme != "none":
        tables.append(Table("errors", ("error", "entities"), [(kind.replace("_", " "), count)
                                                              for kind, count in scores["errors"].items()]))
    mistakes = [(store.place(-row), store.texts(-row)[0][:300], _told(store, -row, true), _told(store, -row, answered))
                for row, true, answered in worst]
    return TagReport(metrics, len(found), tables=tables, mistakes=mistakes, found=found,
                     details={"types": scores["types"], "errors": scores["errors"]})


def _told(store, row: int, spans: list) -> str:
    """Entities as a person reads them: "London (LOC), Ann (PER)"."""
    text, starts, ends = store.texts(row)[0], store.values("word_start", row), store.values("word_end", row)
    return ", ".join(f"{text[starts[a]:ends[b - 1]]} ({kind})" for a, b, kind in spans)
