"""Groups that are to be treated alike: rates and gaps beside fairlearn's, intervals beside scipy's, a biased slice is found."""

import json

import fairlearn.metrics as fairlearn
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score
from tiny_run import make_run

from tfft.errors import UserError
from tfft.evaluation.groups import GAPS, answers, by_shuffles, chance, gap_by_chance, rates, wilson
from tfft.run import judge as module
from tfft.run.fairness import by_groups, groups_told
from tfft.tasks.base import Chances, Evidence

FUNCTIONS = {"demographic_parity_difference": fairlearn.demographic_parity_difference,
             "demographic_parity_ratio": fairlearn.demographic_parity_ratio,
             "equalized_odds_difference": fairlearn.equalized_odds_difference,
             "equal_opportunity_difference": fairlearn.equal_opportunity_difference}
FRAMES = {"selection_rate": fairlearn.selection_rate, "tpr": fairlearn.true_positive_rate, "fpr": fairlearn.false_positive_rate,
          "accuracy": accuracy_score}


def chances(several: bool, n: int = 600, seed: int = 0) -> tuple[Chances, np.ndarray, np.ndarray, np.ndarray]:
    """(chances of three labels, groups, what is chosen bool[n,3], what holds bool[n,3])."""
    random = np.random.default_rng(seed)
    group, found = random.integers(4, size=n), random.random((n, 3)).astype(np.float32)
    found[:, 1] += 0.2 * group
    if several:
        right = (random.random((n, 3)) < 0.4).astype(np.float32)
        return Chances(("x", "y", "z"), right, found, np.array([0.5, 0.7, 0.9])), group, found >= [0.5, 0.7, 0.9], right > 0.5
    right = random.integers(3, size=n).astype(np.int32)
    one_of = np.eye(3, dtype=bool)
    return Chances(("x", "y", "z"), right, found), group, one_of[found.argmax(axis=1)], one_of[right]


def evidence(made: Chances, chosen: np.ndarray, holds: np.ndarray) -> Evidence:
    score = (chosen == holds).all(axis=1).astype(np.float64)
    return Evidence(np.arange(len(score)), score, "accuracy", lambda places: {"accuracy": float(score[places].mean())}, str,
                    str, chances=made)


@pytest.mark.parametrize("several", [False, True])
def test_rates_and_gaps_are_fairlearns(several):
    made, group, chosen, holds = chances(several)
    seen = rates(answers(made), group, 4)
    gaps = seen.gaps()
    for k, name in enumerate(made.names):
        frame = fairlearn.MetricFrame(metrics=FRAMES, y_true=holds[:, k], y_pred=chosen[:, k], sensitive_features=group)
        for rate, values in seen.rates.items():
            np.testing.assert_allclose(values[:, k], frame.by_group[rate])
        alone = rates(answers(made).only(name), group, 4).gaps()
        for gap, function in FUNCTIONS.items():
            expected = function(holds[:, k], chosen[:, k], sensitive_features=group)
            assert gaps[gap][k] == pytest.approx(expected) == alone[gap][0], (name, gap)
    assert list(FUNCTIONS) == list(GAPS)


def test_a_rate_of_nothing_is_left_out():
    """fairlearn has 0 for it, and so a gap that nobody is behind."""
    made = Chances(("x", "y"), np.array([0, 0, 1, 1]), np.eye(2)[[0, 1, 1, 1]])
    seen = rates(answers(made), np.array([0, 0, 0, 1]), 2)
    assert np.isnan(seen.rates["tpr"][1, 0]) and seen.gaps()["equal_opportunity_difference"].tolist() == [0.0, 0.0]
    assert np.isnan(seen.rates["fpr"][1, 1]) and seen.gaps()["demographic_parity_ratio"].tolist() == [0.0, pytest.approx(2 / 3)]


@pytest.mark.parametrize("count, n", [(0, 5), (5, 10), (29, 30), (300, 1000)])
def test_intervals_of_shares_are_wilsons(count, n):
    expected = stats.binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_p_is_even_where_groups_do_not_matter():
    """Of 60 data sets made by chance, about 10% have a p below 10%."""
    below = np.zeros(2)
    for seed in range(60):
        random = np.random.default_rng(seed)
        right, group = random.integers(2, size=120).astype(np.int32), random.integers(3, size=120)
        found = np.eye(2)[np.where(random.random(120) < 0.7, right, 1 - right)]
        made = answers(Chances(("x", "y"), right, found)).only("y")
        made_score = (found.argmax(axis=1) == right).astype(np.float64)
        shuffled = by_shuffles(made, group, 3, times=199)
        p = chance(rates(made, group, 3).gaps()["equal_opportunity_difference"], shuffled["equal_opportunity_difference"])
        below += [p < 0.1, gap_by_chance(made_score, group, 3, times=199) < 0.1]
    assert (below >= 1).all() and (below <= 13).all()


def test_a_biased_group_is_found_and_told():
    made, group, chosen, holds = chances(several=False)
    random = np.random.default_rng(1)
    found = made.found.copy()
    found[np.arange(600), made.right] += (random.random(600) < 0.8) * 2  # right for most
    biased = (group == 2) & (random.random(600) < 0.6)
    found[biased, 0] = 9  # but many of one group are x whatever they are
    chosen = np.eye(3, dtype=bool)[found.argmax(axis=1)]
    one = evidence(made._replace(found=found), chosen, holds)
    names = np.array(["left", "right", "middle", "none"])[group].tolist()
    result, both = by_groups(one, {"side": names, "odd": [str(i % 2) for i in range(600)]}, "accuracy", False, "")[::2]
    assert result["worst_group"]["group"] == "middle" and result["metric"] == "accuracy" and result["metric_gap"]["p"] < 0.01
    gaps = result["gaps"]
    assert gaps["demographic_parity_difference"]["label"] == "x" and all(gaps[name]["p"] <= 0.05 for name in GAPS)
    assert gaps["demographic_parity_difference"]["interval"][0] > 0.2 and both["column"] == "side and odd"
    assert len(both["groups"]) == 8 and both["groups"][0]["group"] == "left, 0"
    out = " ".join("\n".join(groups_told([result])).split())
    assert "worst group: middle, accuracy 0." in out and "more than chance (p < 0.05): accuracy, demographic parity" in out
    even = by_groups(one, {"odd": [str(i % 2) for i in range(600)]}, "accuracy", False, "y")[0]
    assert even["label"] == "y" and "nothing here is more than chance" in "\n".join(groups_told([even]))
    with pytest.raises(UserError, match="--positive: Unknown label 'w'. .*Known: x, y, z"):
        by_groups(one, {"side": names}, "accuracy", False, "w")
    with pytest.raises(UserError, match="the column has 600 different values; 50 groups are the most"):
        by_groups(one, {"side": [str(i) for i in range(600)]}, "accuracy", False, "")


def test_evaluate_reads_groups_from_the_rows(tiny_preset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = make_run(tiny_preset, tmp_path / "run")
    lines = [f"{'good' if i % 2 else 'bad'} film {'a ' * (i % 3)},{'pos' if i % 2 else 'neg'},{'old' if i % 5 else ''}"
             for i in range(100)]
    (tmp_path / "more.csv").write_text("\n".join(["text,label,age", *lines]) + "\n")
    monkeypatch.setattr(module, "open_run", lambda *_: run)
    asked = {"data": "csv:more.csv", "split": "", "weights": "", "output": "report.json"}
    module.judge("run", **asked, protected=("age",))
    out, (found,) = capsys.readouterr().out, json.loads((tmp_path / "report.json").read_text())["groups"]
    assert [(group["group"], group["rows"], group["few"]) for group in found["groups"]] == [("(none)", 20, True),
                                                                                           ("old", 80, False)]
    assert "by age, rates of label" in out and "fewer than 30 rows, which say little: (none)" in out
    assert found["groups"][1]["rates"]["tpr"]["of"] == 40
    monkeypatch.setattr(module, "judged", None)  # would fail if it were called
    with pytest.raises(UserError, match="^--protected=ago: Unknown column 'ago'. Did you mean 'age'?"):
        module.judge("run", **asked, protected=("ago",))


def test_groups_of_numbers_have_a_metric_alone(tiny_preset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = make_run(tiny_preset, tmp_path / "run", problem="regression")
    lines = [f"{'good' if i % 2 else 'bad'} film,{i % 7},{i % 3}" for i in range(90)]
    (tmp_path / "more.csv").write_text("\n".join(["text,label,age", *lines]) + "\n")
    monkeypatch.setattr(module, "open_run", lambda *_: run)
    module.judge("run", data="csv:more.csv", split="", weights="", output="report.json", protected=("age",))
    (found,) = json.loads((tmp_path / "report.json").read_text())["groups"]
    assert "gaps" not in found and found["worst_group"]["group"] in "012" and 0 < found["metric_gap"]["p"] <= 1
    assert "worst group: " in capsys.readouterr().out


def test_a_metric_that_no_group_has_gives_way_to_the_score():
    score = np.array([1.0, 0, 1, 1] * 10)
    one = Evidence(np.arange(40), score, "accuracy", lambda places: {"auc": 0.5} if len(set(places % 2)) == 2 else {}, str, str)
    (found,) = by_groups(one, {"half": [str(i % 2) for i in range(40)]}, "auc", False, "")
    worst = found["worst_group"]
    assert found["metric"] == "accuracy of a row, on average" and (worst["group"], worst["value"]) == ("1", 0.5)


def test_less_of_a_loss_is_better():
    """A language model's rows have -loss as their score, and the loss itself as a figure."""
    loss = np.array([1.0, 2.0] * 30)
    one = Evidence(np.arange(60), -loss, "loss", lambda places: {"loss": float(loss[places].mean())}, str, str)
    (found,) = by_groups(one, {"half": [str(i % 2) for i in range(60)]}, "loss", True, "")
    assert found["worst_group"]["group"] == "1" and found["worst_group"]["value"] == 2 and found["metric_gap"]["p"] == 0.001
