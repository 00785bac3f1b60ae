"""Evidence: of some rows it makes the metrics that an evaluation of these alone would; of all rows, the metrics themselves."""

from types import SimpleNamespace

import numpy as np
import pytest

from tfft.data import scratch
from tfft.data.correlation import Correlation
from tfft.evaluation.slices import by_length, with_loss
from tfft.tasks.base import Judged
from tfft.tasks.text_classification import metrics
from tfft.tasks.text_classification.evidence import evidence
from tfft.tasks.text_classification.report import LabelReport
from tfft.tasks.texts.judging import judge


def classified(problem, n, number, seed=0):
    """A LabelReport of random answers, a few of which have the same probability."""
    draw = np.random.default_rng(seed)
    found = np.round(draw.random((n, number)).astype(np.float32), 2)
    names = tuple(f"label {i}" for i in range(number))
    if problem == "regression":
        targets, cut = np.round(draw.normal(size=n), 1), None
        found = np.round(targets[:, np.newaxis] + draw.normal(size=(n, 1)), 1)
    elif problem == "multi_label":
        targets, cut = (draw.random((n, number)) < 0.3).astype(np.float32), np.linspace(0.3, 0.9, number).astype(np.float32)
    else:
        targets, cut = draw.integers(max(1, number - 1), size=n).astype(np.int32), None  # the last label does not occur
    made, per_label = metrics.compute(problem, targets, found, names, cut)
    return LabelReport(made, n, per_label=per_label, thresholds=cut, rows=np.arange(n), targets=targets,
                       probabilities=found), names


@pytest.mark.parametrize("problem, number", [("single_label", 2), ("single_label", 3), ("single_label", 7), ("multi_label", 2),
                                             ("multi_label", 5), ("regression", 1)])
def test_figures_of_a_classifier_are_those_of_scikit_learn(problem, number, monkeypatch):
    report, names = classified(problem, 300, number)
    draw = np.random.default_rng(1)
    few = draw.integers(300, size=4)
    for limit in (scratch.IN_MEMORY, 0):
        monkeypatch.setattr(scratch, "IN_MEMORY", limit)
        made = evidence(problem, names, report)
        for places in (np.arange(300), draw.integers(300, size=300), few, few[:1]):
            expected = metrics.compute(problem, report.targets[places], report.probabilities[places], names,
                                       report.thresholds)[0]
            assert {**made.figures(places), **made.slow(places)} == pytest.approx(expected, abs=1e-9)
            assert ("auc" in made.figures(places)) == (number == 2 and "auc" in expected)
    every = made.figures(np.arange(300))
    assert made.score.mean() == pytest.approx({"error": -every.get("mae", 0)}.get(made.what, every.get(made.what)))


def test_correlations_of_nothing_and_of_one_value():
    values = np.array([1.0, 2, 3]), np.array([5.0, 5, 5])
    assert Correlation(*values)(np.arange(3)) == {"spearman": 0, "pearson": 0}
    assert Correlation(*values)(np.arange(1)) == {"spearman": 0, "pearson": 0}


def language(losses, right, rows_of):
    """What a language model made of tokens, an example a row; a loss of -1 is of a token that is not learnt."""
    counts = [len(one) for one in losses]
    units = np.array([pair for several in zip(losses, right, strict=True) for pair in zip(*several, strict=True)], np.float32)
    rows = np.unique(rows_of)
    return Judged(SimpleNamespace(row_of=lambda examples: np.asarray(rows_of)[examples]), rows, np.arange(len(losses)),
                  units.reshape(-1, 2), np.concatenate([[0], np.cumsum(counts)]), np.zeros(len(losses)), None)


def test_figures_of_tokens_are_of_their_sums(monkeypatch):
    monkeypatch.setattr("tfft.tasks.texts.judging.parts",
                        lambda rows, width: [slice(begin, min(begin + 3, rows)) for begin in range(0, rows, 3)])
    draw = np.random.default_rng(0)
    losses = [draw.exponential(size=n) for n in (4, 0, 7, 1, 5, 2)]
    losses[3][:] = -1  # nothing of that row is learnt
    losses[2][:2] = -1
    right = [draw.integers(0, 2, len(one)).astype(np.float32) for one in losses]
    report = judge(language(losses, right, [4, 5, 6, 7, 8, 8]))
    made = report.evidence
    assert made.rows.tolist() == [4, 6, 8] and report.details["tokens"] == 4 + 5 + 7 and report.judged == 5
    assert made.figures(np.arange(3)) == pytest.approx(report.metrics)
    every = np.concatenate(losses)
    assert report.metrics["loss"] == pytest.approx(every[every >= 0].mean(), rel=1e-6)
    assert report.metrics["accuracy"] == pytest.approx(np.concatenate(right)[every >= 0].mean())
    twice = np.concatenate([losses[0], losses[0], losses[4], losses[5]])
    assert made.figures(np.array([0, 2, 0]))["perplexity"] == pytest.approx(np.exp(twice.mean()), rel=1e-6)
    assert -made.score[0] == pytest.approx(losses[0].mean(), rel=1e-6) and "5 tokens" in made.right(1)


def test_the_loss_of_training_is_of_the_rows_examples():
    report, names = classified("single_label", 3, 2)
    judged = language([[1.0, 1.0], [3.0], [5.0, 5.0, 5.0], [7.0]], [[0] * n for n in (2, 1, 3, 1)], [0, 0, 1, 2])
    judged = judged._replace(losses=np.array([1.0, 3.0, 5.0, 7.0], np.float32))
    made = with_loss(evidence("single_label", names, report), judged)
    assert made.figures(np.arange(3))["loss"] == pytest.approx((2 * 1 + 3 + 3 * 5 + 7) / 7)
    assert made.figures(np.array([2, 0, 0]))["loss"] == pytest.approx((2 * (2 * 1 + 3) + 7) / 7)
    parts = by_length(made, lambda rows: np.array([4, 4, 9]))
    assert [(part["slice"], part["rows"]) for part in parts] == [("4 to 4 tokens", 2), ("9 to 9 tokens", 1)]
    assert parts[1]["metrics"]["loss"] == 7 and by_length(None, None) == []
