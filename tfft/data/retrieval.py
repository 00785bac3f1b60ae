"""How good rankings are, by graded judgements, as trec_eval computes it.

    retrieval_scores({"q": ["d7", "d2"]}, {"q": {"d2": 1}}) -> {"ndcg_at_10": 0.63, "mrr_at_10": 0.5, ...}

A document with a grade above 0 is relevant. All figures are means over queries, 0 for a query without relevant documents.
"""

from collections.abc import Mapping, Sequence

import numpy as np

DEPTH = 100  # what is looked at of a ranking
METRICS = ("ndcg_at_10", "mrr_at_10", "map_at_100", "precision_at_10", "recall_at_1", "recall_at_10", "recall_at_100")


def retrieval_scores(ranked: Mapping[str, Sequence[str]], judgements: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """METRICS over the judged queries. ranked: of each query the ids of documents, the best first; one that comes again counts
    once. A judged query of which nothing is ranked counts 0 (trec_eval -c); one that is not judged is left out.

    Raises: ValueError where nothing is judged.
    """
    if not judgements:
        raise ValueError("no query is judged")
    found, best = (np.zeros((len(judgements), DEPTH), np.float32) for _ in range(2))
    wanted = np.zeros(len(judgements), np.int64)
    for row, (query, graded) in enumerate(judgements.items()):
        grades = [graded.get(doc, 0) for doc in list(dict.fromkeys(ranked.get(query, ())))[:DEPTH]]
        found[row, :len(grades)] = grades
        ideal = sorted((grade for grade in graded.values() if grade > 0), reverse=True)
        wanted[row] = len(ideal)
        best[row, :len(ideal)] = ideal[:DEPTH]
    return scores(np.maximum(found, 0), best, wanted)


def scores(found: np.ndarray, best: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """METRICS of rankings; see `each`."""
    return {name: float(values.mean()) for name, values in each(found, best, wanted).items()}


def each(found: np.ndarray, best: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """float64[q] by name: what METRICS are means of. found float32[q,n]: grades of what was found, the first first, 0 for what
    is not relevant; best float32[q,m]: those of all that is relevant, the highest first, of 10 where there are; wanted int[q]:
    how many are."""
    hits = found[:, :DEPTH] > 0
    place = np.arange(1, hits.shape[1] + 1)
    precision = np.where(hits, np.cumsum(hits, axis=1) / place, 0).sum(axis=1)
    relevant = np.maximum(wanted, 1)
    return {"ndcg_at_10": ndcg(found, best, 10), "mrr_at_10": reciprocal_rank(hits, 10), "map_at_100": precision / relevant,
            "precision_at_10": hits[:, :10].sum(axis=1) / 10,
            **{f"recall_at_{k}": hits[:, :k].sum(axis=1) / relevant for k in (1, 10, 100)}}


def ndcg(found: np.ndarray, best: np.ndarray, k: int) -> np.ndarray:
    """float64[q]: normalised discounted cumulative gain at k (Järvelin & Kekäläinen 2002). The gain is the grade itself, as in
    trec_eval (others take 2^grade - 1), its discount log2(1 + place). Shapes as in `each`.

    found [[0 1]], best [[1]] -> [1 / log2(3)] = [0.63]
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    gained, possible = (part[:, :k] @ discount[:min(k, part.shape[1])] for part in (found, best))
    return np.divide(gained, possible, out=np.zeros(len(found)), where=possible > 0)


def reciprocal_rank(hits: np.ndarray, k: int) -> np.ndarray:
    """float64[q]: 1 / the place of the first hit, 0 where none is among k. [[0 1 1]] -> [0.5]"""
    hits = hits[:, :k]
    return np.where(hits.any(axis=1), 1 / (1 + hits.argmax(axis=1)), 0)
