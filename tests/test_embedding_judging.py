"""Figures of embeddings against a plain search, query by query; memory of exact search."""

import math

import numpy as np
import pytest
from scipy import stats

from tfft.data.retrieval import ndcg, reciprocal_rank, retrieval_scores
from tfft.tasks.base import Judged
from tfft.tasks.embedding import judging
from tfft.vectors import exact


class Store:
    """As much of a store as judging looks at. Each example: (row, role, text); grade: of each that belongs."""

    def __init__(self, examples, grade=None, **columns):
        rows, roles, texts = zip(*examples, strict=True)
        known = sorted(set(texts))
        self.columns = {"row": np.array(rows), "role": np.array(roles), "same": np.array([known.index(text) for text in texts]),
                        **{name: np.array(values) for name, values in columns.items()}}
        belong = np.bincount([row for row, role, _ in examples if role == 1], minlength=max(rows) + 1)
        self.columns["grade_offsets"] = np.append(0, np.cumsum(belong))
        self.columns["grade"] = np.ones(belong.sum(), np.float32) if grade is None else np.asarray(grade, np.float32)
        self.text = {row: text for row, role, text in examples if role == 0}

    def column(self, name):
        return self.columns[name]

    def row_of(self, examples):
        return self.columns["row"][examples]

    def names(self, name):
        return ["one", "two", "three"]

    def place(self, row):
        return f"a.csv:{row + 2}"

    def string(self, name, row):
        return self.text[row]


def judged(store, units) -> Judged:
    examples = np.arange(len(store.column("row")))
    rows = np.unique(store.column("row"))
    offsets = np.arange(len(examples) + 1)
    return Judged(store, rows, examples, np.asarray(units, np.float32), offsets, np.zeros(len(examples)), None)


def plain_search(examples, vectors, grade) -> dict:
    """What judge_search computes, with sorted lists and no blocks: trec_eval does not know that texts are the same."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = {text: vectors[i] for i, (_, role, text) in reversed([*enumerate(examples)]) if role}
    queries = {text: vectors[i] for i, (_, role, text) in reversed([*enumerate(examples)]) if not role}
    query_of = {row: text for row, role, text in examples if not role}
    right = {query: {} for query in queries}
    for (row, _, text), value in zip([example for example in examples if example[1] == 1], grade, strict=True):
        right[query_of[row]][text] = max(int(value), right[query_of[row]].get(text, 0))
    ranked = {}
    for query, vector in queries.items():
        among = [text for text in texts if text != query or text in right[query]]
        ranked[query] = sorted(among, key=lambda text: -vector @ texts[text])
    return retrieval_scores(ranked, right)


@pytest.mark.parametrize("rows, blocks", [(40, (512, 8192)), (40, (7, 16)), (150, (64, 33)), (1, (4, 4))])
def test_search_by_rows_equals_a_plain_search(monkeypatch, rows, blocks):
    """Rows repeat queries, share texts, with other grades too, and one query stands among the texts; documents follow."""
    monkeypatch.setattr(exact, "QUERIES", blocks[0])
    monkeypatch.setattr(exact, "TEXTS", blocks[1])
    draw, examples = np.random.default_rng(rows), []
    for row in range(rows):
        examples.append((row, 0, f"query {row % 31}"))
        examples += [(row, 1, f"text {draw.integers(0, 2 * rows)}") for _ in range(draw.integers(1, 4))]
        examples += [(row, 2, f"query {draw.integers(0, 31)}" if row % 5 == 0 else f"bad {row}")]
    examples += [(rows + i, 3, f"text {i}" if i % 2 else f"document {i}") for i in range(2 * rows)]
    grade = draw.integers(1, 4, sum(role == 1 for _, role, _ in examples))
    by_text = {text: draw.normal(size=5) for _, _, text in examples}
    vectors = np.array([by_text[text] for _, _, text in examples], np.float32)
    report = judging.judge_search(judged(Store(examples, grade), vectors))
    assert report.metrics == pytest.approx(plain_search(examples, vectors, grade), abs=1e-6) and report.judged == rows
    evidence = report.evidence
    assert evidence.figures(np.arange(len(evidence.rows))) == pytest.approx(report.metrics)
    assert evidence.rows.tolist() == list(range(min(rows, 31))) and evidence.score.mean() == pytest.approx(
        report.metrics[evidence.what])
    some = np.array([0, len(evidence.rows) - 1, 0])
    assert evidence.figures(some)["ndcg_at_10"] == pytest.approx(evidence.score[some].mean())


def test_search_by_hand():
    """Query a finds its text second, behind b's; query b finds its own first."""
    examples = [(0, 0, "a"), (0, 1, "to a"), (1, 0, "b"), (1, 1, "to b")]
    report = judging.judge_search(judged(Store(examples), [[1, 0], [0.6, 0.8], [1, 0.1], [9, 1]]))
    assert report.metrics["mrr_at_10"] == 0.75 and report.metrics["recall_at_1"] == 0.5 and report.metrics["recall_at_10"] == 1
    assert report.metrics["ndcg_at_10"] == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert report.mistakes == [("a.csv:2", "a", "found as number 2", "a text of a.csv:3")]


def test_ndcg_of_several_texts():
    """Two belong: at places 1 and 3 of three looked at; the best would be places 1 and 2."""
    hits = np.array([[True, False, True]])
    assert ndcg(hits, np.array([[1, 1, 0]]), 3).mean() == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3)))
    assert ndcg(hits, np.ones((1, 10)), 2).mean() == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert reciprocal_rank(np.array([[False] * 4, [False, True, True, False]]), 10).mean() == 0.25


def test_scores():
    draw = np.random.default_rng(0)
    examples = [(row, role, f"{row} {role}") for row in range(30) for role in (0, 1)]
    vectors, score = draw.normal(size=(60, 4)), draw.integers(0, 6, 30).astype(float)
    report = judging.judge_scores(judged(Store(examples, score=score), vectors))
    cosine = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(vectors[::2], vectors[1::2])]
    assert report.metrics["spearman"] == pytest.approx(stats.spearmanr(score, cosine)[0], abs=1e-6)
    assert report.metrics["pearson"] == pytest.approx(stats.pearsonr(score, cosine)[0], abs=1e-6)
    assert len(report.mistakes) == 20 and report.mistakes[0][3].startswith("cosine ")
    assert report.evidence.figures(np.arange(30)) == report.metrics
    twice = np.array([3, 4, 4, 9, 21])
    assert report.evidence.figures(twice)["spearman"] == pytest.approx(
        stats.spearmanr(score[twice], np.array(cosine, np.float32)[twice])[0], abs=1e-6)
    same = judging.judge_scores(judged(Store(examples, score=np.ones(30)), vectors))
    assert same.metrics == {"spearman": 0.0, "pearson": 0.0}


def test_labels():
    """Texts on a circle at 0, 1, 2 and 10 degrees with labels 0 0 1 1, and one alone with its label."""
    angles = np.radians([0, 1, 2.5, 10, 180])
    store = Store([(row, 0, f"text {row}") for row in range(5)], label=[0, 0, 1, 1, 2])
    report = judging.judge_labels(judged(store, np.stack([np.cos(angles), np.sin(angles)], axis=1)))
    assert report.metrics["precision_at_1"] == 0.75  # the nearest to 2.5 is 1
    assert report.metrics["mrr_at_10"] == pytest.approx((1 + 1 + 1 / 3 + 1) / 4)
    assert report.mistakes == [("a.csv:4", "text 2", "two", "one")]
    made = report.evidence
    assert made.rows.tolist() == [0, 1, 2, 3] and (made.right(2), made.given(2)) == ("two", "one")
    assert made.figures(np.arange(4)) == pytest.approx(report.metrics) and made.figures(np.array([2, 2]))["mrr_at_10"] == 1 / 3


def test_exact_search_is_bounded_by_its_blocks(monkeypatch):
    """No array of similarities is larger than a block."""
    monkeypatch.setattr(exact, "QUERIES", 10)
    monkeypatch.setattr(exact, "TEXTS", 20)
    largest, original = [], np.argpartition
    monkeypatch.setattr(judging.np, "argpartition", lambda a, *args, **kw: largest.append(a.size) or original(a, *args, **kw))
    units = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    nearest, cosine = judging.search(units, np.arange(100), np.arange(100, 300), np.full(100, -1), 5)
    assert max(largest) == 200
    z = judging.unit(units)
    assert (nearest == np.argsort(-(z[:100] @ z[100:].T), axis=1, kind="stable")[:, :5]).all()
    assert (np.diff(cosine, axis=1) <= 0).all()
