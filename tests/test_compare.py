"""tfft compare: verdicts on runs whose difference is known, rows of other order and number, what is refused and told."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from commands import run
from test_report import Checked
from tiny_run import make_run

from tfft.config import resolve, to_json
from tfft.errors import UserError
from tfft.run import candidate, compare
from tfft.run.compared_slices import VALUES, by_value
from tfft.run.comparison import Pair
from tfft.tasks.base import Evidence
from tfft.training.summaries import Console

ROWS = [(f"{first} film {'a ' * (i % 5)}{i}", "pos" if first in ("good", "fine") else "neg", "old" if i % 4 else "new")
        for i, first in enumerate(["good", "bad", "fine", "poor"] * 60)]


def write(path, rows=ROWS, head=("text", "label", "age")) -> str:
    path.write_text("\n".join(",".join(line) for line in [head, *rows]) + "\n")
    return f"csv:{path.name}"


@pytest.fixture
def runs(tiny_preset, tmp_path, monkeypatch):
    """runs(names, settings of config.data) -> their paths, in a folder of their own; runs.made has each."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "train.csv", [(f"{text} more", label, age) for text, label, age in ROWS[:100]])
    made = {}

    def runs(*names: str, **settings):
        for name in names:
            made[name] = make_run(tiny_preset, tmp_path / name, **settings)
            (tmp_path / name / "best").mkdir()
            (tmp_path / name / "best" / "weights.safetensors").write_bytes(b"0" * 8)
        return [str(name) for name in names]
    monkeypatch.setattr(candidate, "open_run", lambda path, weights: made[path])
    runs.made = made
    return runs


@pytest.fixture
def compared(capsys):
    """compared(paths, ...) -> (exit code, what it printed, its JSON)."""
    def compared(paths, **given):
        given = {"data": "csv:test.csv", "split": "", "weights": "", "output": "found.json", "slices": (), "on_broken_row": "",
                 "reading": {}, "fail_if_worse": False, **given}
        code = compare.compare(paths, **given)
        return code, capsys.readouterr().out, json.loads(open("found.json").read())
    return compared


def answer(run, wrong) -> None:
    """The run answers what its rows are labelled with, but where wrong(number of the row)."""
    emit = run.task.judge

    def judge(judged, tuned, tune):
        report = emit(judged, tuned, tune)
        numbers = [int(judged.store.texts(row)[0].split()[-1]) for row in report.rows]
        good = np.array([not wrong(number) for number in numbers])
        given = np.where(good, report.targets, 1 - report.targets)
        judged = judged._replace(units=np.eye(2, dtype=np.float32)[given] * 4 - 2)
        return emit(judged, tuned, tune)
    run.task.judge = judge


def test_a_better_run_is_told_with_where_and_how_sure(runs, compared, tmp_path):
    paths = runs("a", "b")
    answer(runs.made["a"], lambda number: number % 4 == 0 or number % 10 == 5)  # wrong on all that is new
    answer(runs.made["b"], lambda number: number % 10 == 3)
    write(tmp_path / "test.csv")
    code, out, found = compared(paths, slices=("age",), fail_if_worse=True)
    pair, rows = found["comparisons"][0], np.arange(240)
    before, after = ~((rows % 4 == 0) | (rows % 10 == 5)), rows % 10 != 3
    assert code == 0 and pair["verdict"] == "better" and "b is better than a: accuracy +0." in out
    one, other = (part["metrics"]["accuracy"] for part in found["runs"])
    assert (one, other) == (before.mean(), after.mean()) and found["metric"] == "accuracy" and found["rows"] == 240
    assert (pair["rows_better"], pair["rows_worse"]) == ((after & ~before).sum(), (before & ~after).sum())
    assert pair["test"] == "McNemar's exact test" and pair["decided_by"] == pair["test"] and pair["rows_needed"] is None
    assert pair["interval"][0] < pair["difference"] < pair["interval"][1]
    ages = {part["slice"]: part for part in pair["slices"] if part["by"] == "age"}
    assert ages["new"]["rows"] == 60 and ages["new"]["difference"] > 0.8 and ages["old"]["rows"] == 180
    labels = {part["slice"]: part for part in pair["slices"] if part["by"] == "label"}
    assert labels.keys() == {"neg", "pos"} and sum(part["rows"] for part in labels.values()) == 240
    right = np.array([row[1] == "pos" for row in ROWS])
    assert labels["pos"]["before"] == before[right].mean() and labels["neg"]["after"] == after[~right].mean()
    assert sum(part["rows"] for part in pair["slices"] if part["by"] == "length") == 240
    assert len(pair["changed"]["better"]) == 20 and all(row["before"].split()[0] != row["right"] == row["after"].split()[0]
                                                        for row in pair["changed"]["better"])
    assert "test.csv:" in out and f"{found['runs'][0]['weights']:,}" in out and not pair["config"] and not pair["data"]
    code, out, found = compared(paths[::-1], fail_if_worse=True)
    assert code == 1 and found["comparisons"][0]["verdict"] == "worse" and "a is worse than b" in out
    assert compared(paths[::-1], output="found.html")[0] == 0
    page = (tmp_path / "found.html").read_text("utf-8")
    assert Checked(page).titles == ["Verdict", "Figures", "Slices of a", "Rows of a", "What differs in a"]
    assert "a is worse than b: accuracy -0." in page and '<span class="bad">worse</span>' in page
    assert page.count("<svg") == 1 + len(found["comparisons"][0]["slices"]) and "Nothing that decides a run." in page
    assert page.count("test.csv:") >= 20 and f"{found['runs'][0]['weights']:,}" in page


def test_a_metric_that_is_no_mean_is_decided_by_the_bootstrap(runs, compared, tmp_path):
    paths = runs("a", "b")
    for name, wrong in (("a", 3), ("b", 20)):
        answer(runs.made[name], lambda number, wrong=wrong: number % wrong == 0 and number % 2 == 0)
    run = runs.made["a"]
    run.experiment = dataclasses.replace(run.experiment, eval=dataclasses.replace(run.experiment.eval, metric="macro_f1"))
    write(tmp_path / "test.csv")
    _, out, found = compared(paths)
    pair = found["comparisons"][0]
    assert found["metric"] == "macro_f1" and pair["decided_by"] == "bootstrap" and pair["verdict"] == "better"
    figures = [part["metrics"]["macro_f1"] for part in found["runs"]]
    assert pair["difference"] == pytest.approx(figures[1] - figures[0]) and pair["p"] == pytest.approx(2 / 1001)
    assert {part["metric"] for part in pair["slices"] if part["by"] == "label"} == {"accuracy"}


def test_what_chance_may_have_made_is_told_with_the_rows_needed(runs, compared, tmp_path):
    paths = runs("a", "b", "c")
    for name, wrong in (("a", 7), ("b", 8), ("c", 7)):
        answer(runs.made[name], lambda number, wrong=wrong: number % wrong == 0)
    write(tmp_path / "test.csv")
    _, out, found = compared(paths)
    near, same = found["comparisons"]
    assert near["verdict"] == same["verdict"] == "cannot tell" and near["p_holm"] >= near["p"]
    assert near["rows_needed"] > 1000 and "rows would be needed to tell, instead of 240" in " ".join(out.split())
    assert same["difference"] == 0 and same["rows_needed"] is None and "No difference was seen" in out
    assert "Holm's correction for 2 comparisons" in " ".join(out.split())


def test_rows_are_aligned_by_what_they_are(runs, compared, tmp_path, capsys):
    shuffled = [ROWS[i] for i in np.random.default_rng(0).permutation(len(ROWS))]
    write(tmp_path / "one.csv", ROWS + ROWS[:2])
    write(tmp_path / "two.csv", shuffled[:200] + ROWS[:2] + ROWS[:2])
    paths = [*runs("a", test="csv:one.csv"), *runs("b", test="csv:two.csv")]
    for name in paths:  # both answer alike
        answer(runs.made[name], lambda number: number % 3 == 0)
    _, out, found = compared(paths, data="")
    often = {row: 1 + (row in ROWS[:2]) for row in ROWS}
    expected = sum(min(often[row], ((shuffled[:200] + ROWS[:2] * 2).count(row))) for row in often)
    pair = found["comparisons"][0]
    assert found["rows"] == expected and (pair["rows_better"], pair["rows_worse"], pair["difference"]) == (0, 0, 0)
    assert f"compared on the {expected} rows that all were judged on; judged were: a 242, b 204" in " ".join(out.split())
    assert pair["config"] == ["data.test: 'csv:one.csv' -> 'csv:two.csv'"]


def test_runs_on_different_rows_are_refused(runs, compared, tmp_path):
    write(tmp_path / "one.csv", ROWS)
    turned = [(text, "pos" if label == "neg" else "neg", age) for text, label, age in ROWS[:230]]
    write(tmp_path / "two.csv", turned + ROWS[230:])
    paths = [*runs("a", test="csv:one.csv"), *runs("b", test="csv:two.csv")]
    with pytest.raises(UserError, match=r"judged on different rows \(a 240, b 240\), of which 10 are the same .* 230 texts are "
                                        "the same with another right answer.*--data=csv:FILE"):
        compared(paths, data="")


def test_rows_that_a_run_was_trained_on_are_told(runs, compared, tmp_path):
    paths = [*runs("a", validation=""), *runs("b", train="csv:test.csv[:120]", validation="")]
    write(tmp_path / "test.csv")
    _, out, found = compared(paths)
    told = " ".join(out.split())
    assert "warning: 120 of these rows are asked in the training rows of b too" in told and "rows of a too" not in told
    assert found["comparisons"][0]["data"] == ["training rows: 100 -> 120; 100 of the first are not in the second by what is "
                                               "asked, 120 of the second not in the first"]


def test_numbers_are_compared_by_flipped_signs(runs, compared, tmp_path):
    paths = runs("a", "b", problem="regression")
    run = runs.made["b"]
    run.model.get_layer("head").kernel.assign(-run.model.get_layer("head").kernel)
    write(tmp_path / "test.csv", [(text, str(i % 7), age) for i, (text, _, age) in enumerate(ROWS)])
    found = compared(paths)[2]
    pair = found["comparisons"][0]
    assert pair["test"] == "paired sign-flip test" and not [part for part in pair["slices"] if part["by"] == "label"]


def test_the_verdict_needs_both_and_knows_what_is_lower():
    def pair(difference, between, corrected, lower=False):
        return Pair("a", "b", "loss", lower, difference, between, "", 0, 0, True, 1.0, 50, 0, 0, [], [], [], {}, corrected)

    assert pair(0.2, (0.1, 0.3), 0.01).verdict == "better" and pair(0.2, (0.1, 0.3), 0.01, lower=True).verdict == "worse"
    assert pair(0.2, (0.1, 0.3), 0.06).verdict == pair(0.2, (-0.1, 0.3), 0.01).verdict == "cannot tell"
    assert pair(0.2, (0.1, 0.3), 0.06).needed == 197 and pair(2.0, (0.1, 3), 0.06).needed == 51


def test_a_metric_that_some_resamples_do_not_have_is_told_without_rows_needed():
    """ROC AUC of six rows: some resamples have rows of one label alone."""
    right = np.array([0, 0, 0, 0, 0, 1])

    def candidate_of(name: str, score: np.ndarray) -> SimpleNamespace:
        def figures(places: np.ndarray) -> dict[str, float]:
            of, sure = right[places], score[places]
            if not 0 < of.sum() < len(of):
                return {}
            return {"roc_auc": float((sure[of == 1][:, None] > sure[of == 0]).mean())}

        good = ((score > 0.5) == right).astype(float)
        evidence = Evidence(np.arange(6), good, "accuracy", figures, lambda i: "", lambda i: "")
        store = SimpleNamespace(place=str, texts=lambda row: [str(row)])
        experiment = resolve({"data": {"train": "csv:a.csv"}})
        return SimpleNamespace(path=name, experiment=experiment, evidence=evidence, trained=None, store=store)

    one, other = (candidate_of(*given) for given in (("a", np.array([.6, .2, .3, .1, .4, .5])), ("b", np.arange(6) / 6)))
    pair = compare._pair(one, other, np.arange(6), np.arange(6), "roc_auc", False, [])
    assert pair.verdict == "cannot tell" and pair.needed is None and pair.to_dict()["interval"] is None
    assert "Some resamples of so few rows have no roc_auc" in pair.told_verdict()


def test_of_many_values_the_rest_is_one_part():
    made = by_value([str(i) for i in range(VALUES + 5)] + ["0", ""])
    assert made[0][0] == "0" and len(made) == VALUES + 1 and made[-1][0] == "6 other values" and len(made[-1][1]) == 6


def test_a_task_without_scores_of_rows_is_told_kindly(runs, compared, tmp_path):
    paths = runs("a", "b")
    task = runs.made["a"].task
    judge = task.judge

    def without(*given):
        report = judge(*given)
        report.evidence = None
        return report
    task.judge = without
    write(tmp_path / "test.csv")
    with pytest.raises(UserError, match="^a: the task text_classification does not yet tell how right .* tfft evaluate"):
        compared(paths)
    shutil.rmtree("b")
    with pytest.raises(UserError, match="b is not the workdir of a run"):
        compared(paths)


def test_what_is_refused_before_tensorflow(runs, tmp_path, cache):
    runs("a", "b")
    config = json.loads((tmp_path / "b/config.json").read_text())
    (tmp_path / "entities").mkdir()
    (tmp_path / "entities/config.json").write_text(to_json(resolve({"task": {"name": "token_classification"},
                                                                    "data": {"train": config["data"]["train"]}})))
    for names, message in ((("a",), "Name the runs, the one to compare with first"), (("a", "b", "a"), "a is named twice"),
                           (("a", "entities"), "the task of the one is text_classification, of the other token_classification"),
                           (("a", "none"), "none is not the workdir of a run")):
        said = run(["compare", *(str(tmp_path / name) for name in names)], cache, code=2)[1]
        assert message in said.replace(f"{tmp_path}/", "") and "loading TensorFlow" not in said


def made_up(path: str, metric: str, score, figures, task="token_classification") -> candidate.Candidate:
    """A run of which each row has a score, and some rows figures."""
    store, n = SimpleNamespace(column=lambda name: np.full(len(score), 5), place=str, texts=lambda row: [str(row)]), len(score)
    experiment = resolve({"task": {"name": task}, "data": {"train": "csv:a.csv"}, "eval": {"metric": metric}})
    evidence = Evidence(np.arange(n), score, metric, figures, str, str)
    return candidate.Candidate(path, experiment, evidence, store, [], None, np.arange(n), [""] * n, None, {})


def test_a_metric_is_not_the_mean_of_scores_of_its_name():
    """F1 of all entities is no mean of rows; of a loss, which is a row's score below 0, less is better."""
    def compared(metric, task, one, other, figure):
        return compare.comparison([made_up(name, metric, sign * made, lambda places, made=made: figure(made, places), task)
                                   for name, made in (("a", one), ("b", other))], "rows", (), Console(quiet=True))

    right, size = (np.random.default_rng(0).random(300) < 0.6) * 1.0, np.where(np.arange(300) % 3, 9.0, 1.0)
    better, sign = np.maximum(right, np.arange(300) % 5 == 0), 1
    found = compared("f1", "token_classification", right, better,
                     lambda made, places: {"f1": float(np.average(made[places], weights=size[places]))})
    pair, apart = found.pairs[0], better - right
    assert pair.difference == pytest.approx(np.average(apart, weights=size)) != pytest.approx(apart.mean())
    assert pair.verdict == "better" and not pair.mean
    sign = -1
    found = compared("loss", "causal_lm", 2 - right, 2 - better, lambda made, places: {"loss": float(made[places].mean())})
    pair = found.pairs[0]
    assert pair.difference < 0 and pair.lower and pair.verdict == "better" and pair.rows_better == apart.sum()
    found = compared("loss", "causal_lm", 2 - right, 2 - better, lambda made, places: {})
    assert found.metric == "loss, a row's mean" and found.pairs[0].difference > 0 and found.pairs[0].verdict == "better"


def test_language_models_with_other_tokens_are_told_apart_from_those_on_other_rows():
    def language(path, tokenizer, tokens, texts=100) -> candidate.Candidate:
        made = made_up(path, "loss", np.linspace(-2, -1, texts), lambda places: {"loss": 1.0}, "causal_lm")
        return dataclasses.replace(made, right=[f"{tokens[i % len(tokens)]} tokens" for i in range(texts)], tokenizer=tokenizer)

    with pytest.raises(UserError, match="a and b cannot be compared: .* their tokenizers are different. Of 100 texts"):
        compare.common_rows([language("a", "x", [7]), language("b", "y", [8])])
    places, said = compare.common_rows([language("a", "x", [7]), language("b", "y", [7, 7, 7, 8])])
    assert len(places[0]) == 75 and "25 texts are the same with other numbers of tokens, for the tokenizers are" in said[0]
    with pytest.raises(UserError, match="100 texts are the same with other numbers of tokens: config.data.max_length cuts"):
        compare.common_rows([language("a", "x", [7]), language("b", "x", [8])])
    assert compare.common_rows([language("a", "x", [7]), language("b", "y", [7])])[1] == []
