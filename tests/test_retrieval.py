"""Figures of rankings against trec_eval's own, on random judgements and runs."""

import numpy as np
import pytest
import pytrec_eval

from tfft.data.retrieval import METRICS, retrieval_scores

THEIRS = {"ndcg_at_10": "ndcg_cut_10", "map_at_100": "map_cut_100", "precision_at_10": "P_10", "recall_at_1": "recall_1",
          "recall_at_10": "recall_10", "recall_at_100": "recall_100"}
MEASURES = {"ndcg_cut.10", "map_cut.100", "P.10", "recall.1,10,100"}


def as_trec_eval_ranks(run: dict[str, float]) -> list[str]:
    """Of documents with one score the last id comes first."""
    return [doc for _, doc in sorted(((score, doc) for doc, score in run.items()), reverse=True)]


def by_trec_eval(run, judgements) -> dict[str, float]:
    """Means over all judged queries, 0 for those of which nothing is ranked."""
    made = pytrec_eval.RelevanceEvaluator(judgements, MEASURES).evaluate(run)
    first = {query: {doc: docs[doc] for doc in as_trec_eval_ranks(docs)[:10]} for query, docs in run.items()}
    ranks = pytrec_eval.RelevanceEvaluator(judgements, {"recip_rank"}).evaluate(first)
    means = {ours: sum(values[theirs] for values in made.values()) / len(judgements) for ours, theirs in THEIRS.items()}
    return {**means, "mrr_at_10": sum(values["recip_rank"] for values in ranks.values()) / len(judgements)}


@pytest.mark.parametrize("seed, documents, depth, grades", [
    (0, 300, 150, [0, 1]), (1, 40, 40, [-1, 0, 0, 1, 2, 3]), (2, 12, 6, [1, 5]), (3, 2000, 300, [0, 0, 0, 0, 0, 4, 1]),
    (4, 5, 3, [0])])
def test_figures_are_those_of_trec_eval(seed, documents, depth, grades):
    """Scores are tied; some queries are not judged, of some nothing is ranked; documents are ranked but not judged, and judged
    but not ranked; some queries have nothing that is relevant."""
    draw = np.random.default_rng(seed)
    names = [f"d{i}" for i in range(documents)]
    judgements = {f"q{i}": {doc: int(draw.choice(grades)) for doc in draw.choice(names, draw.integers(1, min(200, documents)))}
                  for i in range(20)}
    run = {f"q{i}": {doc: float(draw.integers(0, 8)) for doc in draw.choice(names, depth)} for i in range(3, 25)}
    made = retrieval_scores({query: as_trec_eval_ranks(docs) for query, docs in run.items()}, judgements)
    assert list(made) == list(METRICS) and made == pytest.approx(by_trec_eval(run, judgements), abs=1e-6)
    assert (max(made.values()) > 0.05) == (grades != [0])


def test_grades_count_once_and_in_their_order():
    """Grade 3 second and grade 1 first, of three that are relevant; a document that is ranked again does not count again."""
    made = retrieval_scores({"q": ["a", "b", "a"], "not judged": ["a"]}, {"q": {"a": 1, "b": 3, "c": 2, "d": -1}})
    gained, best = 1 + 3 / np.log2(3), 3 + 2 / np.log2(3) + 1 / 2
    assert made["ndcg_at_10"] == pytest.approx(gained / best) and made["recall_at_10"] == pytest.approx(2 / 3)
    assert made["precision_at_10"] == pytest.approx(0.2) and made["map_at_100"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no query is judged"):
        retrieval_scores({"q": ["a"]}, {})
