"""How good embeddings are: correlation with scores, or exact search among the rows' own texts, in blocks."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from tfft.tasks.base import MISTAKES, Judged, Report
from tfft.tasks.embedding.rows import TEXT

QUERIES, TEXTS = 512, 8192  # of a block of similarities
DEPTH = 100  # texts that are looked at, of each query


def judge_scores(judged: Judged) -> Report:
    """Spearman's and Pearson's correlation of the cosine of each row's two texts with its score."""
    cosine = np.concatenate([
        (unit(judged.units[part]) * unit(judged.units[part + 1])).sum(axis=1)
        for part in np.array_split(judged.of_rows()[0], 1 + len(judged.rows) // TEXTS)])
    score = np.asarray(judged.store.column("score")[judged.rows], np.float64)
    made = {"spearman": _correlation(stats.spearmanr, score, cosine), "pearson": _correlation(stats.pearsonr, score, cosine)}
    apart = np.abs(stats.rankdata(score) - stats.rankdata(cosine))
    worst = np.argsort(-apart, kind="stable")[:MISTAKES]
    return Report(made, len(judged.rows), mistakes=[
        (judged.store.place(row), judged.store.string("text", row), f"{score[i]:.3g}", f"cosine {cosine[i]:.3f}")
        for i, row in zip(worst.tolist(), judged.rows[worst].tolist(), strict=True)])


def judge_search(judged: Judged) -> Report:
    """Each row's text is looked for among the texts that belong to any row and all hard negatives; rows of one text are one
    query, texts that are the same are one."""
    store = judged.store
    same, role = (np.asarray(store.column(name)[judged.examples]) for name in ("same", "role"))
    asked, found = np.flatnonzero(role == TEXT), np.flatnonzero(role != TEXT)
    queries, query_at, query_of = np.unique(same[asked], return_index=True, return_inverse=True)
    texts, text_at, text_of = np.unique(same[found], return_index=True, return_inverse=True)
    belongs = role[found] == 1
    row_of = np.searchsorted(judged.rows, store.row_of(judged.examples[found[belongs]]))
    relevant = np.unique(query_of[row_of].astype(np.int64) * len(texts) + text_of[belongs])
    wanted = np.bincount(relevant // len(texts), minlength=len(queries))
    itself = np.minimum(np.searchsorted(texts, queries), len(texts) - 1)
    itself = np.where((texts[itself] == queries) & ~_among(np.arange(len(queries)) * len(texts) + itself, relevant), itself, -1)
    nearest, cosine = search(judged.units, asked[query_at], found[text_at], itself, DEPTH)
    hits = _among(np.arange(len(queries))[:, np.newaxis] * len(texts) + nearest, relevant) & (nearest >= 0)
    made = {"ndcg_at_10": ndcg(hits, wanted, 10), "mrr_at_10": reciprocal_rank(hits, 10),
            **{f"recall_at_{k}": float((hits[:, :k].sum(axis=1) / wanted).mean()) for k in (1, 10, DEPTH)}}
    report = Report(made, len(judged.rows))

    def answer(query: int) -> tuple[str, str]:
        rank = int(hits[query].argmax()) + 1 if hits[query].any() else 0
        other = store.row_of(judged.examples[found[text_at[nearest[query, 0]]]][np.newaxis])[0]
        return f"found as number {rank}" if rank else f"not among {hits.shape[1]}", f"a text of {store.place(other)}"

    report.mistakes = _mistakes(judged, asked[query_at], ~hits[:, 0], cosine[:, 0], answer)
    return report


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
    made = {"ndcg_at_10": ndcg(hits, wanted[asked], 10), "mrr_at_10": reciprocal_rank(hits, 10),
            "precision_at_1": float(hits[:, 0].mean())}
    names = store.names("label")
    report = Report(made, len(judged.rows))
    report.mistakes = _mistakes(judged, at[asked], ~hits[:, 0], cosine[:, 0],
                                lambda i: (names[labels[asked[i]]], names[labels[nearest[i, 0]]]))
    return report


def search(units: np.ndarray, queries: np.ndarray, texts: np.ndarray, itself: np.ndarray, depth: int
           ) -> tuple[np.ndarray, np.ndarray]:
    """The nearest texts of each query by cosine, exactly: int64[q,k] places in `texts`, the nearest first, -1 where there are
    no more, and float32[q,k]. Memory is that of QUERIES x TEXTS similarities.

    units float32[u,D], perhaps on disk; queries, texts: places in it; itself int64[q]: a place in `texts` that does not count
    for the query, -1 for none.
    """
    depth = min(depth, len(texts))
    nearest, cosine = np.full((len(queries), depth), -1, np.int64), np.full((len(queries), depth), -np.inf, np.float32)
    for begin in range(0, len(texts), TEXTS):
        block = unit(units[texts[begin:begin + TEXTS]])
        for first in range(0, len(queries), QUERIES):
            mine = slice(first, first + QUERIES)
            scores = unit(units[queries[mine]]) @ block.T
            left_out = itself[mine] - begin
            inside = np.flatnonzero((left_out >= 0) & (left_out < block.shape[0]))
            scores[inside, left_out[inside]] = -np.inf
            best = np.argpartition(-scores, min(depth, block.shape[0]) - 1, axis=1)[:, :depth]
            ids = np.concatenate([nearest[mine], best + begin], axis=1)
            values = np.concatenate([cosine[mine], np.take_along_axis(scores, best, axis=1)], axis=1)
            order = np.lexsort((ids, -values), axis=1)[:, :depth]
            nearest[mine], cosine[mine] = np.take_along_axis(ids, order, axis=1), np.take_along_axis(values, order, axis=1)
    return np.where(np.isfinite(cosine), nearest, -1), cosine


def ndcg(hits: np.ndarray, wanted: np.ndarray, k: int) -> float:
    """Normalised discounted cumulative gain at k, of judgements that are 0 or 1 (Järvelin & Kekäläinen 2002), the mean over
    queries. hits bool[q,n], the nearest first; wanted int[q]: how many texts belong to each.

    hits [[0 1]], wanted [1] -> 1 / log2(3) = 0.63
    """
    gain = 1 / np.log2(np.arange(2, k + 2))
    best = np.cumsum(gain)[np.minimum(wanted, k) - 1]
    return float((hits[:, :k] @ gain[:hits.shape[1]] / best).mean())


def reciprocal_rank(hits: np.ndarray, k: int) -> float:
    """The mean of 1 / the place of the first hit, 0 where none is among k. [[0 1 1]] -> 0.5"""
    hits = hits[:, :k]
    return float(np.where(hits.any(axis=1), 1 / (1 + hits.argmax(axis=1)), 0).mean())


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


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32[n,D] of length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _among(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """bool: which values are among others, of which there is one at least."""
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return ascending[place] == values


def _correlation(kind: Callable, a: np.ndarray, b: np.ndarray) -> float:
    """0 where it is undefined: of fewer than two rows, or where one side is the same in all."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(kind(a, b)[0])


def _mistakes(judged: Judged, units: np.ndarray, wrong: np.ndarray, cosine: np.ndarray, answer: Callable) -> list[tuple]:
    """The most similar wrong answers. units: of each query; answer(query) -> (right, given)."""
    order = [i for i in np.argsort(-cosine, kind="stable").tolist() if wrong[i]][:MISTAKES]
    rows = judged.store.row_of(judged.examples[units[order]]) if order else []
    return [(judged.store.place(row), judged.store.string("text", row), *answer(i)) for i, row in zip(order, rows, strict=True)]
