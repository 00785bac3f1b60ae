"""How good embeddings are: correlation with scores, or exact search among the rows' own texts, in blocks."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from tfft.data import retrieval
from tfft.data.correlation import Correlation
from tfft.data.store import TokenStore
from tfft.tasks.base import MISTAKES, Evidence, Judged, Report
from tfft.tasks.embedding.rows import POSITIVE, TEXT
from tfft.vectors.exact import TEXTS, nearest, unit


def judge_scores(judged: Judged) -> Report:
    """Spearman's and Pearson's correlation of the cosine of each row's two texts with its score. The evidence of a row is how
    far its place among all scores is from that among all cosines, as a share of the rows, below 0."""
    cosine = np.concatenate([
        (unit(judged.units[part]) * unit(judged.units[part + 1])).sum(axis=1)
        for part in np.array_split(judged.of_rows()[0], 1 + len(judged.rows) // TEXTS)])
    score = np.asarray(judged.store.column("score")[judged.rows], np.float64)
    figures = Correlation(score, cosine)
    apart = np.abs(stats.rankdata(score) - stats.rankdata(cosine))
    evidence = Evidence(judged.rows, -apart / max(1, len(apart)), "rank", figures, lambda i: f"{score[i]:.3g}",
                        lambda i: f"cosine {cosine[i]:.3f}")
    return Report(figures(np.arange(len(judged.rows))), len(judged.rows), evidence=evidence, mistakes=[
        (judged.store.place(row), judged.store.string("text", row), evidence.right(i), evidence.given(i))
        for i, row in ((i, int(judged.rows[i])) for i in np.argsort(-apart, kind="stable")[:MISTAKES].tolist())])


def judge_search(judged: Judged) -> Report:
    """Each row's text is looked for among the texts that belong to any row, all hard negatives, and documents, whose rows come
    last; rows of one text are one query, texts that are the same are one, with the highest of their grades."""
    store = judged.store
    same, role = (np.asarray(store.column(name)[judged.examples]) for name in ("same", "role"))
    asked, found = np.flatnonzero(role == TEXT), np.flatnonzero(role != TEXT)
    queries, query_at, query_of = np.unique(same[asked], return_index=True, return_inverse=True)
    texts, text_at, text_of = np.unique(same[found], return_index=True, return_inverse=True)
    belongs = role[found] == POSITIVE
    row_of = np.searchsorted(judged.rows, store.row_of(judged.examples[found[belongs]]))
    relevant, grade = _graded(query_of[row_of].astype(np.int64) * len(texts) + text_of[belongs],
                              _grades(store, judged.rows[:len(asked)]))
    best, wanted = _best(relevant // len(texts), grade, len(queries))
    itself = np.minimum(np.searchsorted(texts, queries), len(texts) - 1)
    counts = _looked_up(np.arange(len(queries)) * len(texts) + itself, relevant, grade) > 0
    itself = np.where((texts[itself] == queries) & ~counts, itself, -1)
    nearest, cosine = search(judged.units, asked[query_at], found[text_at], itself, retrieval.DEPTH)
    pairs = np.arange(len(queries))[:, np.newaxis] * len(texts) + nearest
    gained = np.where(nearest >= 0, _looked_up(pairs, relevant, grade), 0)
    each, hits = retrieval.each(gained, best, wanted), gained > 0

    examples = judged.examples

    def answer(query: int) -> tuple[str, str]:
        rank = int(hits[query].argmax()) + 1 if hits[query].any() else 0
        other = store.row_of(examples[found[text_at[nearest[query, 0]]]][np.newaxis])[0]
        return f"found as number {rank}" if rank else f"not among {hits.shape[1]}", f"a text of {store.place(other)}"

    return _report(judged, len(asked), each, asked[query_at], ~hits[:, 0], cosine[:, 0], answer)


def _grades(store: TokenStore, rows: np.ndarray) -> np.ndarray:
    """float32: of all texts that belong to some rows, one after another."""
    begin, end = (np.asarray(store.column("grade_offsets")[rows + i]) for i in (0, 1))
    counts = end - begin
    return np.asarray(store.column("grade")[np.repeat(end - np.cumsum(counts), counts) + np.arange(counts.sum())])


def _graded(pairs: np.ndarray, grades: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(which there are, ascending; the highest grade of each). pairs [5 3 5], grades [1 2 3] -> [3 5], [2 3]"""
    order = np.lexsort((-grades, pairs))
    made, first = np.unique(pairs[order], return_index=True)
    return made, grades[order][first]


def _best(queries: np.ndarray, grades: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(float32[q,10]: the highest grades of each of `count` queries, 0 where there are no more; int[q]: how many it has).

    queries [0 0 1], ascending, grades [1 2 3] -> [[2 1 0 ...] [3 0 ...]], [2 1]
    """
    wanted = np.bincount(queries, minlength=count)
    order = np.lexsort((-grades, queries))
    place = np.arange(len(order)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    kept = place < 10
    best = np.zeros((count, 10), np.float32)
    best[queries[order][kept], place[kept]] = grades[order][kept]
    return best, wanted


def judge_labels(judged: Judged) -> Report:
    """Each text is looked for among all others; those of its label are right. Texts that are the same are one."""
    store = judged.store
    _, at = np.unique(np.asarray(store.column("same")[judged.examples]), return_index=True)
    labels = np.asarray(store.column("label")[store.row_of(judged.examples[at])])
    wanted = np.bincount(labels)[labels] - 1
    asked = np.flatnonzero(wanted > 0)
    if not len(asked):
        return Report({"ndcg_at_10": 0.0, "mrr_at_10": 0.0, "precision_at_1": 0.0}, len(judged.rows))
    nearest, cosine = search(judged.units, at[asked], at, asked, 10)
    hits = (labels[np.maximum(nearest, 0)] == labels[asked, np.newaxis]) & (nearest >= 0)
    best = np.arange(10) < wanted[asked, np.newaxis]
    each = {"ndcg_at_10": retrieval.ndcg(hits, best, 10), "mrr_at_10": retrieval.reciprocal_rank(hits, 10),
            "precision_at_1": hits[:, 0].astype(np.float64)}
    names = store.names("label")
    return _report(judged, len(judged.rows), each, at[asked], ~hits[:, 0], cosine[:, 0],
                   lambda i: (names[labels[asked[i]]], names[labels[nearest[i, 0]]]))


def search(units: np.ndarray, queries: np.ndarray, texts: np.ndarray, itself: np.ndarray, depth: int
           ) -> tuple[np.ndarray, np.ndarray]:
    """The nearest texts of each query by cosine, exactly: int64[q,k] places in `texts`, the nearest first, -1 where there are
    no more, and float32[q,k]. Memory is that of QUERIES x TEXTS similarities.

    units float32[u,D], perhaps on disk; queries, texts: places in it; itself int64[q]: a place in `texts` that does not count
    for the query, -1 for none.
    """
    return nearest(_Units(units, queries), _Units(units, texts), depth, itself)


class _Units:
    """Some of the units, of length 1, read in parts."""

    def __init__(self, units: np.ndarray, places: np.ndarray):
        self._units, self._places = units, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, part: slice) -> np.ndarray:
        return unit(self._units[self._places[part]])


def mean_loss(judged: Judged, members: np.ndarray, loss: Callable, rows: int) -> float:
    """The training loss, in batches of so many rows in their order. members int64[n,K]; loss(members, outputs float32[b*K,D])
    -> (losses, weights) float32[b] each."""
    total = weight = 0.0
    for begin in range(0, len(members), rows):
        part = members[begin:begin + rows]
        place = np.searchsorted(judged.examples, np.where(part >= 0, part, part[:, :1]).ravel())
        losses, weights = loss(part, np.asarray(judged.units[place]))
        total, weight = total + float(np.dot(losses, weights)), weight + float(weights.sum())
    return total / max(1e-20, weight)


def _looked_up(pairs: np.ndarray, known: np.ndarray, grades: np.ndarray) -> np.ndarray:
    """The grades of pairs, 0 for one that is not known. known: ascending, one at least."""
    place = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
    return np.where(known[place] == pairs, grades[place], 0)


def _report(judged: Judged, rows: int, each: dict[str, np.ndarray], units: np.ndarray, wrong: np.ndarray, cosine: np.ndarray,
            answer: Callable[[int], tuple[str, str]]) -> Report:
    """each: the figures of each query; units: where its text is; wrong bool[q]; cosine float32[q] of what was nearest;
    answer(query) -> (right, given). The evidence of a query is its first row's."""
    report = Report({name: float(values.mean()) for name, values in each.items()}, rows)
    report.mistakes = _mistakes(judged, units, wrong, cosine, answer)
    own = judged.store.row_of(judged.examples[units])
    order = np.argsort(own, kind="stable")
    report.evidence = Evidence(
        own[order], each["ndcg_at_10"][order], "ndcg_at_10",
        lambda places: {name: float(values[order[places]].mean()) for name, values in each.items()},
        lambda place: answer(int(order[place]))[0], lambda place: answer(int(order[place]))[1])
    return report


def _mistakes(judged: Judged, units: np.ndarray, wrong: np.ndarray, cosine: np.ndarray, answer: Callable) -> list[tuple]:
    """The most similar wrong answers. units: of each query; answer(query) -> (right, given)."""
    order = [i for i in np.argsort(-cosine, kind="stable").tolist() if wrong[i]][:MISTAKES]
    rows = judged.store.row_of(judged.examples[units[order]]) if order else []
    return [(judged.store.place(row), judged.store.string("text", row), *answer(i)) for i, row in zip(order, rows, strict=True)]
