"""How good tagged rows are: entities by type and by kind of error, words, sentence labels."""

import dataclasses
import functools
import heapq

import numpy as np
import tensorflow as tf

from tfft.data.scratch import let_go
from tfft.tasks.base import MISTAKES, Judged, Report, Table, quarters
from tfft.tasks.token_classification.decode import decode
from tfft.tasks.token_classification.scoring import EntityScorer

AT_ONCE = 256       # rows decoded together, at most
WORDS = 1 << 17     # words decoded together, unless one row has more


@dataclasses.dataclass
class TagReport(Report):
    """parts: the metrics of each quarter of the rows by length, as Task.slice gives them."""

    parts: list[dict] = dataclasses.field(default_factory=list)


@functools.cache
def _decoder(tags: int):
    """`decode` for so many tags, as a graph that is traced once, though a training judges many times."""
    return tf.function(decode, autograph=False, reduce_retracing=True)


def judge(task, judged: Judged, transitions: np.ndarray | None) -> TagReport:
    """Decodes row by row from the emissions of all its windows, a few rows in memory at a time."""
    store, tags, gold = judged.store, task.tags, task.gold(judged.store)
    parts, part_of_row = _parts(task, judged)
    labels, worst = task._label_ids(store) if task.lead else None, []
    decoded = _decoder(task.outputs)
    for rows, first, last in _some_rows(judged):
        emissions, lengths, leads = _gathered(task, judged, first, last)
        made = decoded(emissions, lengths, transitions)
        chosen, probabilities = (np.split(values.numpy(), np.cumsum(lengths)[:-1]) for values in made)
        for i, row in enumerate(rows):
            part, right = parts[part_of_row[row]], gold.of(row)
            known = right >= 0
            part.scorer.add_tokens(int((right == chosen[i])[known].sum()), int(known.sum()))
            true, answered = ([span for span in tags.spans(ids) if known[span[0]:span[1]].all()]  # of words that can be judged
                              for ids in (np.where(known, right, 0), chosen[i]))
            part.scorer.add(true, answered)
            both = len(set(true) & set(answered))
            wrong = len(true) + len(answered) - 2 * both
            if labels:
                part.add_label(int(labels(row)), int(leads[i].argmax()), exact=not wrong)
            if wrong:
                sure = float(probabilities[i].min(initial=1.0))
                heapq.heappush(worst, (wrong, sure, -int(row), true, answered))
                if len(worst) > MISTAKES:
                    heapq.heappop(worst)
    worst = [entry[2:] for entry in sorted(worst, key=lambda entry: entry[:3], reverse=True)]
    return _report(task, store, parts, worst, len(judged.rows))


class _Part:
    """What is counted of rows of like length."""

    def __init__(self, title: str, rows: int):
        self.title, self.rows = title, rows
        self.scorer = EntityScorer()
        self.labels = self.labels_right = self.exact = 0
        self.loss = self.loss_weight = 0.0

    def add_label(self, right: int, given: int, exact: bool) -> None:
        """exact: whether the row's entities are right. Labels that no training row had cannot be judged."""
        self.labels += right >= 0
        self.labels_right += right == given
        self.exact += exact and right == given

    def update(self, other: "_Part") -> None:
        self.scorer.update(other.scorer)
        self.labels, self.labels_right = self.labels + other.labels, self.labels_right + other.labels_right
        self.exact += other.exact

    def metrics(self, scores: dict, with_labels: bool) -> dict[str, float]:
        made = {name: scores[name] for name in ("f1", "precision", "recall", "macro_f1")}
        made["token_accuracy"] = scores["token_accuracy"] or 0.0
        if with_labels:
            made |= {"sentence_accuracy": self.labels_right / max(1, self.labels), "exact": self.exact / max(1, self.labels)}
        return made


def _parts(task, judged: Judged) -> tuple[list[_Part], np.ndarray]:
    """(quarters of the rows by length, which of them each row of the store is in); rows of one length stay together."""
    lengths = np.asarray(judged.store.column("full_length"))
    part_of_row, parts = np.zeros(len(lengths), np.int64), []
    for title, places in quarters(lengths[judged.rows]):
        part_of_row[judged.rows[places]] = len(parts)
        parts.append(_Part(title, len(places)))
    weights, example_part = np.diff(judged.offsets), part_of_row[judged.store.row_of(judged.examples)]
    for i, part in enumerate(parts):
        mine = example_part == i
        part.loss_weight = float(weights[mine].sum())
        part.loss = float(np.sum(judged.losses[mine] * weights[mine], dtype=np.float64))
    return parts, part_of_row


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


def _report(task, store, parts: list[_Part], worst: list, rows: int) -> TagReport:
    whole = _Part("all", rows)
    for part in parts:
        whole.update(part)
    scores = whole.scorer.result()
    header = ("type", "precision", "recall", "f1", "right", "given", "true")
    lines = [tuple(line[key] for key in ("type", "precision", "recall", "f1", "right", "predicted", "support"))
             for line in scores["types"]]
    tables = [Table("types", header, lines)]
    if task.tags.scheme != "none":
        tables.append(Table("errors", ("error", "entities"), [(kind.replace("_", " "), count)
                                                              for kind, count in scores["errors"].items()]))
    mistakes = [(store.place(-row), store.texts(-row)[0][:300], _told(store, -row, true), _told(store, -row, answered))
                for row, true, answered in worst]
    slices = [{"slice": part.title, "rows": part.rows, "metrics": {**part.metrics(part.scorer.result(), bool(task.lead)),
                                                                   "loss": part.loss / max(1.0, part.loss_weight)}}
              for part in parts]
    return TagReport(whole.metrics(scores, bool(task.lead)), rows, tables=tables, mistakes=mistakes, parts=slices,
                     details={"types": scores["types"], "errors": scores["errors"]})


def _told(store, row: int, spans: list) -> str:
    """Entities as a person reads them: "London (LOC), Ann (PER)"."""
    text, starts, ends = store.texts(row)[0], store.values("word_start", row), store.values("word_end", row)
    return ", ".join(f"{text[starts[a]:ends[b - 1]]} ({kind})" for a, b, kind in spans)
