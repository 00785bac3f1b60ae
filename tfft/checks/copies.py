"""Rows that are there more than once: within a split, in several (leaks), and with different answers (conflicts)."""

from collections.abc import Callable

import numpy as np

from tfft.checks.findings import Example, Finding, plural
from tfft.checks.nearly import BANDS, Sets, groups, near_pairs, without
from tfft.checks.rows import Rows, parts_by
from tfft.tasks.base import Task, Truth

KEPT = 1000  # examples of a finding in a file
STRANGE = 0.2  # share of unknown tokens; rows of more look alike whatever they say
Advance = Callable[[str, int, int], None]  # (what is done, how much of it, of how much)


def copies(task: Task, rows: Rows, truth: Truth | None, similarity: float, advance: Advance) -> list[Finding]:
    """All of the kind. similarity: from which on two texts are nearly the same; 0 does not look for such."""
    same = np.concatenate([task.identity(rows.store, rows.rows[part]) for part in rows.parts()])
    text = np.unique(same, return_inverse=True)[1]
    found = [_leaks(rows, text), _duplicates(rows, text), *_shared(task, rows, same)]
    if truth is not None:
        asked = text if truth.asked is None else np.unique(truth.asked, return_inverse=True)[1]
        found.append(_conflicts(rows, asked, truth))
    if similarity:
        found += _nearly(task, rows, text, similarity, advance)
    return [one for one in found if one]


def _training(rows: Rows) -> np.ndarray:
    """bool[n]"""
    return rows.split == rows.names.index("train")


def _leaks(rows: Rows, text: np.ndarray) -> Finding | None:
    """Rows of other splits whose text a training row has."""
    train = _training(rows)
    first = _first_of(text, np.flatnonzero(train))
    places = np.flatnonzero(~train & (first[text] >= 0))
    if not len(places):
        return None
    shown = tuple(rows.example(place, f"is {_place(rows, place, first[text[place]])}") for place in _some(places))
    return Finding("leak", "error", f"{rows.where(places)} have a text that is also in train", len(places),
                   int((~train).sum()), shown, "What is judged on them was learnt: take them out of one of the two")


def _duplicates(rows: Rows, text: np.ndarray) -> Finding | None:
    """Rows whose text an earlier row of their split has."""
    key = text.astype(np.int64) * len(rows.names) + rows.split
    first = _first_of(key, np.arange(len(key)))
    places = np.flatnonzero(first[key] < np.arange(len(key)))
    if not len(places):
        return None
    shown = tuple(rows.example(place, f"is {_place(rows, place, first[key[place]])}") for place in _some(places))
    return Finding("duplicate", _how_bad(len(places) / len(key), 0.05), f"{rows.where(places)} repeat an earlier row of their "
                   "split", len(places), len(key), shown, "Each counts once more than it should: leave them out")


def _shared(task: Task, rows: Rows, same: np.ndarray) -> list[Finding]:
    """Rows of other splits with a context that training rows have, and another question."""
    parts = [task.shared(rows.store, rows.rows[part]) for part in rows.parts()]
    if parts[0] is None:
        return []
    context, train = np.unique(np.concatenate(parts), return_inverse=True)[1], _training(rows)
    first = _first_of(context, np.flatnonzero(train))
    places = np.flatnonzero(~train & (first[context] >= 0) & ~np.isin(same, same[train]))
    if not len(places):
        return []
    shown = tuple(rows.example(place, f"as {_place(rows, place, first[context[place]])}") for place in _some(places))
    return [Finding("shared", "warning", f"{rows.where(places)} have the context of a training row", len(places),
                    int((~train).sum()), shown, "What is judged on them was read before: split by context, so that all "
                    "questions of one are in one split")]


def _conflicts(rows: Rows, asked: np.ndarray, truth: Truth) -> Finding | None:
    """Texts that are answered in several ways."""
    order = np.lexsort((truth.same, asked))
    differs = (asked[order][1:] == asked[order][:-1]) & (truth.same[order][1:] != truth.same[order][:-1])
    texts = np.unique(asked[order][1:][differs])
    if not len(texts):
        return None
    places = np.flatnonzero(np.isin(asked, texts))
    shown = []
    for i in np.flatnonzero(differs)[:KEPT]:
        a, b = sorted((int(order[i]), int(order[i + 1])))
        shown.append(rows.example(a, f"{truth.shown(a)}, but {truth.shown(b)} in {_place(rows, a, b)}"))
    what = f"{len(texts):,} text{'s' if len(texts) > 1 else ''} ({len(places):,} rows) with different {plural(truth.what)}"
    if not truth.strict:
        return Finding("conflict", "note", what, len(places), len(asked), tuple(shown), "Where one alone is right, keep that")
    return Finding("conflict", "error", what, len(places), len(asked), tuple(shown), "Decide which is right; the others are "
                   "noise to learn from, and mistakes to be judged by")


def _nearly(task: Task, rows: Rows, text: np.ndarray, similarity: float, advance: Advance) -> list[Finding]:
    """The same of texts that are nearly the same; each text is looked at once."""
    chosen = np.sort(np.unique(text, return_index=True)[1])  # the first row of each text
    place_of = np.zeros(len(chosen), np.int64)
    place_of[text[chosen]] = np.arange(len(chosen))
    own = place_of[text]  # int64[n]: the place of a row's text
    known = _known(rows, chosen)
    size = int(np.asarray(rows.store.lengths[rows.store.examples_of(rows.rows)]).sum(dtype=np.int64))
    sets = Sets(len(chosen), size)
    for part in parts_by(np.asarray(rows.store.column("full_length")[rows.rows[chosen]])):
        own_rows = rows.rows[chosen[part]]
        sets.add(without(task.wording(rows.store, own_rows), known[part]), task.shared(rows.store, own_rows))
        advance("hashing texts", part.stop, len(chosen))
    first, second, alike = near_pairs(sets, similarity, lambda band: advance("comparing texts", band, BANDS))
    if not len(first):
        return []
    train, others = np.zeros(len(chosen), bool), np.zeros(len(chosen), bool)
    train[own[_training(rows)]] = True
    others[own[~_training(rows)]] = True
    return [one for one in (_near_leaks(rows, own, chosen, (first, second, alike), train),
                            _near_duplicates(rows, own, chosen, (first, second, alike))) if one]


def _known(rows: Rows, places: np.ndarray) -> np.ndarray:
    """bool[m]: whether the tokenizer knows enough of rows for their tokens to tell them apart."""
    if "unknown" not in rows.store:
        return np.ones(len(places), bool)
    counts = np.asarray(rows.store.column("unknown")[rows.rows[places]])
    return counts[:, 0] <= STRANGE * counts[:, 1]


def _near_leaks(rows: Rows, own: np.ndarray, chosen: np.ndarray, pairs: tuple, train: np.ndarray) -> Finding | None:
    """Rows of other splits whose text is nearly one of train, and is not itself there."""
    first, second, alike = pairs
    partner, most = np.full(len(chosen), -1, np.int64), np.zeros(len(chosen))
    for a, b in ((first, second), (second, first)):
        kept = ~train[a] & train[b]
        order = np.argsort(alike[kept], kind="stable")  # the most alike is written last
        a, b, how = a[kept][order], b[kept][order], alike[kept][order]
        better = how > most[a]
        partner[a[better]], most[a[better]] = b[better], how[better]
    places = np.flatnonzero((partner[own] >= 0) & ~_training(rows))
    if not len(places):
        return None
    places = places[np.argsort(-most[own[places]], kind="stable")]
    shown = tuple(_beside(rows, place, int(chosen[partner[own[place]]]), most[own[place]]) for place in places[:KEPT])
    return Finding("near_leak", _how_bad(len(places) / int((~_training(rows)).sum()), 0.01),
                   f"{rows.where(places)} have a text that is nearly one of train", len(places),
                   int((~_training(rows)).sum()), shown, "Where the two are one text, take it out of one of the splits")


def _near_duplicates(rows: Rows, own: np.ndarray, chosen: np.ndarray, pairs: tuple) -> Finding | None:
    """Rows of one split with a text that is nearly another one's: all of a group but one."""
    first, second, alike = pairs
    inside = rows.split[chosen[first]] == rows.split[chosen[second]]
    first, second, alike = first[inside], second[inside], alike[inside]
    if not len(first):
        return None
    group = groups(len(chosen), first, second)
    head = _first_of(group, np.arange(len(chosen)))
    places = chosen[np.flatnonzero(head[group] < np.arange(len(chosen)))]
    order = np.argsort(-alike, kind="stable")[:KEPT]
    shown = tuple(_beside(rows, int(chosen[second[i]]), int(chosen[first[i]]), alike[i]) for i in order)
    return Finding("near_duplicate", "note", f"{rows.where(places)} nearly repeat another row of their split", len(places),
                   len(rows.rows), shown, "Harmless where texts are made from a pattern; else leave them out")


def _beside(rows: Rows, place: int, other: int, alike: float) -> Example:
    return rows.example(place, f"{alike:.0%} like {_place(rows, place, other)} {rows.example(other).text!r}")


def _first_of(codes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """int64[codes in all]: the first of `places` that has each code; -1 where none has."""
    made = np.full(int(codes.max(initial=-1)) + 1, -1, np.int64)
    made[codes[places[::-1]]] = places[::-1]
    return made


def _place(rows: Rows, place: int, other: int) -> str:
    """Where another row is: 'train, line 12' of the same file."""
    own, there = (rows.store.place(int(rows.rows[each])).rpartition(":") for each in (place, other))
    return f"{rows.names[rows.split[other]]}{f', line {there[2]}' if own[0] == there[0] else ' ' + ':'.join(there[::2])}"


def _some(places: np.ndarray) -> np.ndarray:
    return places[:KEPT]


def _how_bad(share: float, much: float) -> str:
    return "warning" if share >= much else "note"
