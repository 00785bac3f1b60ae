"""What is counted: answers by split, those that are rare or new, what is cut off or unknown to the tokenizer."""

import numpy as np

from tfft.checks.findings import Finding, plural
from tfft.checks.rows import Rows
from tfft.data.unknown import MUCH, shares
from tfft.tasks.base import Task, Truth

RARE = 8      # training rows of an answer; with fewer it is hardly learnt
LITTLE = 0.001  # a share of unknown tokens or characters that is no word worth
CUT = 0.1     # a share of rows cut off that is warned of
UNEVEN = 1.5  # times that of all rows
ENOUGH = 20   # rows of an answer, for a share of them to say something
KEPT = 20     # examples of a finding in a file
NAMED = 5     # answers in a sentence


def answers(rows: Rows, truth: Truth | None) -> dict:
    """How often each answer is there: {"what": "label", "counts": {"train": {name: count}}}; of numbers their spread."""
    if truth is None:
        return {}
    made: dict[str, dict] = {}
    for i, name in enumerate(rows.names):
        own = rows.split == i
        if truth.values is not None:
            values = truth.values[own]
            made[name] = {"least": float(values.min()), "mean": float(values.mean()), "largest": float(values.max())}
        elif truth.names:
            counts = _counts(truth, own)
            made[name] = {truth.names[k]: int(counts[k]) for k in np.argsort(-counts, kind="stable")}
    return {"what": truth.what, "counts": made}


def counted(task: Task, rows: Rows, truth: Truth | None) -> list[Finding]:
    """All findings of the kind."""
    made = [*_rare(task, rows, truth), _cut(task, rows, truth), _unknown(rows)]
    return [one for one in made if one] + _odd(task, rows)


def _counts(truth: Truth, own: np.ndarray) -> np.ndarray:
    """int64[names]: of rows bool[n], how many have each name."""
    chosen = truth.codes.flat[np.repeat(own, truth.codes.lengths)]
    return np.bincount(chosen[chosen >= 0], minlength=len(truth.names))


def _rare(task: Task, rows: Rows, truth: Truth | None) -> list[Finding]:
    """Names that hardly a training row has; rows of other splits with a name that the training rows lack."""
    made = []
    train = rows.split == rows.names.index("train")
    if truth is not None and truth.names and truth.kinds:
        counts = _counts(truth, train)
        rare = [k for k in np.argsort(counts, kind="stable") if 0 < counts[k] < RARE]
        if rare:
            told = ", ".join(f"{truth.names[k]!r} {counts[k]}" for k in rare[:NAMED]) + (" ..." if len(rare) > NAMED else "")
            word = truth.what if len(rare) == 1 else plural(truth.what)
            made.append(Finding("rare", "warning", f"{len(rare):,} {word} with fewer than {RARE} training rows: {told}",
                                int(counts[rare].sum()), int(train.sum()), (), "Add rows, or join them with others",
                                {"counts": {truth.names[k]: int(counts[k]) for k in rare}}))
    for name in rows.names:
        own = rows.of(name)
        if name != "train" and (told := task.strangers(rows.store, own)):
            lost = len(own) - len(task.can_judge(rows.store, own))
            made.append(Finding("unseen", "warning", f"{name}: {told}", max(1, lost), len(own)))
    return made


def _cut(task: Task, rows: Rows, truth: Truth | None) -> Finding | None:
    """Rows that are longer than data.max_length, and the answers whose rows are so most often."""
    cut = np.concatenate([task.cut(rows.store, rows.rows[part]) for part in rows.parts()])
    if not cut.any():
        return None
    share, by_name, told = float(cut.mean()), {}, ""
    if truth is not None and truth.names:
        some, every = _counts(truth, cut), _counts(truth, np.ones(len(cut), bool))
        by_name = {truth.names[k]: {"cut": int(some[k]), "rows": int(every[k])} for k in np.flatnonzero(every)}
        uneven = [k for k in np.flatnonzero(every >= ENOUGH) if some[k] / every[k] > max(UNEVEN * share, share + CUT)]
        uneven.sort(key=lambda k: -some[k] / every[k])
        told = ", ".join(f"{truth.names[k]!r} {some[k] / every[k]:.0%}" for k in uneven[:NAMED])
    places = np.flatnonzero(cut)
    lengths = np.asarray(rows.store.column("full_length")[rows.rows[places]])
    order = np.argsort(-lengths, kind="stable")[:KEPT]
    shown = tuple(rows.example(places[i], f"{lengths[i]:,} tokens") for i in order)
    what = f"{rows.where(places)} are longer than data.max_length and lose a part"
    return Finding("truncated", "warning" if share >= CUT or told else "note", what + (f"; above all {told}" if told else ""),
                   len(places), len(cut), shown, "Raise data.max_length, or choose by data.truncation which part is kept",
                   {"by_answer": by_name})


def _unknown(rows: Rows) -> Finding | None:
    """Rows of which the tokenizer knows little."""
    if "unknown" not in rows.store:
        return None
    counts = np.concatenate([np.asarray(rows.store.column("unknown")[rows.rows[part]]) for part in rows.parts()])
    tokens, letters = shares(counts)
    each = np.maximum(counts[:, 0] / np.maximum(1, counts[:, 1]), counts[:, 2] / np.maximum(1, counts[:, 3]))
    places = np.flatnonzero(each >= MUCH)
    if max(tokens, letters) < LITTLE:
        return None
    order = np.argsort(-each[places], kind="stable")[:KEPT]
    return Finding("unknown", "warning" if max(tokens, letters) >= MUCH else "note",
                   f"{tokens:.2%} of all tokens and {letters:.2%} of all characters are unknown to the tokenizer; of "
                   f"{len(places):,} rows {MUCH:.0%} and more", len(places), len(counts),
                   tuple(rows.example(place, f"{each[place]:.0%}") for place in places[order]),
                   "Such parts look alike to the model: take a backbone of their language, or add words (tfft extend)",
                   {"tokens": tokens, "characters": letters})


def _odd(task: Task, rows: Rows) -> list[Finding]:
    """What the task itself has to say."""
    return [Finding("odd", "warning", f"{name}: {line.removeprefix('warning: ')}", 0,
                    len(rows.of(name))) for name in rows.names for line in task.oddities(name, rows.store, rows.of(name))]
