"""evaluate: on the run's own splits and on other rows; what is said of both."""

import json

import numpy as np
import pytest
from conftest import write_reviews
from tiny_run import make_run

from tfft.errors import UserError
from tfft.run import judge as module
from tfft.run.judge import judge
from tfft.tasks.text_classification.report import LabelReport, label_table


@pytest.fixture(scope="module")
def run(tiny_preset, tmp_path_factory):
    return make_run(tiny_preset, tmp_path_factory.mktemp("runs") / "run", where="source=imdb", id_column="number")


@pytest.fixture
def evaluate(monkeypatch, tmp_path, capsys):
    """evaluate(run, ...) -> (what it printed, what it said), in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def evaluate(run, data="", split="", output="report.json", on_broken_row=""):
        monkeypatch.setattr(module, "open_run", lambda *_: run)
        judge(str(run.workdir.path), data=data, split=split, weights="", output=output, on_broken_row=on_broken_row)
        return capsys.readouterr()
    return evaluate


def test_other_rows_need_none_of_the_columns_that_chose_the_runs_own(run, evaluate, tmp_path):
    (tmp_path / "more.csv").write_text("text,label\ngood film,pos\nbad film,neg\nodd film,odd\n")
    out, error = evaluate(run, "csv:more.csv", output="reports/new/more.json")
    assert "csv:more.csv: 2 rows, weights of step 7" in out and "'odd' (1 rows)" in error and "precision" in out
    report = json.loads((tmp_path / "reports/new/more.json").read_text())
    assert [line["rows"] for line in report["per_label"]] == [1, 1] and "accuracy" in report["metrics"]


def test_rows_of_which_none_can_be_judged(run, evaluate, tmp_path):
    (tmp_path / "more.csv").write_text("text,label\nodd film,odd\neven film,even\n")
    with pytest.raises(UserError, match=r"^None of the 2 rows has a label that the model knows \(neg, pos\)\.$"):
        evaluate(run, "csv:more.csv")


def test_broken_rows_among_other_rows(run, evaluate, tmp_path):
    (tmp_path / "more.csv").write_text("text,label\ngood film,pos\n,neg\nbad,film,neg\nbad film,neg\n")
    with pytest.raises(UserError, match=r"^more.csv:3: this row is broken: .* with --on_broken_row=skip\.$"):
        evaluate(run, "csv:more.csv")
    for _ in range(2):  # tokenised, and read from the store of the time before
        out, error = evaluate(run, "csv:more.csv", on_broken_row="skip")
        assert "2 rows, weights" in out and "2 broken rows skipped; first: more.csv:3" in error


def test_a_wrong_column_is_told_without_flags_that_evaluate_lacks(run, evaluate, tmp_path):
    (tmp_path / "more.csv").write_text("text,stars\ngood film,pos\n")
    with pytest.raises(UserError, match="^more.csv: label_column: Unknown column 'label'. Known: text, stars. Columns "
                                        "and settings are those that the run was trained with.$"):
        evaluate(run, "csv:more.csv")


def test_rows_that_changed_since_training_are_told(tiny_preset, evaluate, tmp_path):
    write_reviews(tmp_path / "train.csv", 60)
    (tmp_path / "test.csv").write_text("text,label\ngood film,pos\nbad film,neg\n")
    run = make_run(tiny_preset, tmp_path / "run", validation="20%", test="csv:test.csv")
    evaluate(run, split="validation")
    stores = {json.loads((p / "meta.json").read_text())["rows"]: p.name for p in (tmp_path / "cache/stores").glob("[!.]*")}
    environment = tmp_path / "run/environment.json"
    environment.write_text(json.dumps({"stores": {"train": stores[60], "validation": stores[60], "test": stores[2]}}))
    out, error = evaluate(run, output="")
    assert out.startswith("test: 2 rows") and "changed" not in error and (tmp_path / "run/evaluation-test.json").exists()
    (tmp_path / "test.csv").write_text("text,label\ngood film,pos\nbad film,pos\n")
    assert "warning: the test rows are not those of the training" in evaluate(run)[1]
    write_reviews(tmp_path / "train.csv", 70)
    assert "warning: the train and validation and test rows" in evaluate(run, split="validation")[1]
    environment.unlink()
    assert "changed" not in evaluate(run)[1]


def test_a_split_that_the_run_lacks(tiny_preset, evaluate, tmp_path):
    write_reviews(tmp_path / "train.csv", 30)
    run = make_run(tiny_preset, tmp_path / "run", validation="")
    for split in ("", "validation"):
        with pytest.raises(UserError, match="The run has no validation split. Give rows with --data"):
            evaluate(run, split=split)


def test_where_the_report_cannot_be_is_told_before_the_evaluation(run, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "open_run", None)  # would fail if it were called
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write .*report.json: .*file is no folder. Name another file with --output"):
        judge(str(run.workdir.path), data="", split="", weights="", output=str(tmp_path / "file/report.json"))


def test_of_many_labels_the_worst_are_shown(run, evaluate, monkeypatch, tmp_path):
    lines = [{"label": f"label{i}", "precision": 0.5, "recall": 0.5, "f1": i / 50, "rows": 9 * (i > 2)} for i in range(50)]
    assert len(label_table(lines[:40]).lines) == 40 and label_table(lines[:40]).shown is None
    assert len(label_table(lines).lines) == 50
    rows = np.arange(2)
    report = LabelReport({"accuracy": 0.5}, 2, per_label=lines, rows=rows, targets=rows, probabilities=np.eye(2))
    monkeypatch.setattr(module, "judged", lambda *_: (report, rows))
    (tmp_path / "more.csv").write_text("text,label\ngood film,pos\nbad film,neg\n")
    printed = evaluate(run, "csv:more.csv")[0].splitlines()
    shown = printed[printed.index("the 15 of 50 labels with the lowest f1; the report has all of them:") + 1:-1]
    assert [line.split()[0] for line in shown] == ["label", *(f"label{i}" for i in range(3, 18))]
    assert len(json.loads((tmp_path / "report.json").read_text())["per_label"]) == 50


def test_the_evidence_of_all_rows_makes_the_metrics(run, tmp_path):
    (tmp_path / "more.csv").write_text("text,label\ngood film,pos\nbad film,neg\nfine film,neg\nodd,pos\n")
    report = module.examine(run, f"csv:{tmp_path}/more.csv", "", "", module.Console())
    evidence = report.evidence
    assert evidence.figures(np.arange(len(evidence.rows))) == pytest.approx(report.metrics)
    assert evidence.score.mean() == report.metrics[evidence.what] and len(evidence.rows) == report.judged
    wrong = int(np.argmin(evidence.score))
    assert (evidence.right(wrong) == evidence.given(wrong).split()[0]) == bool(evidence.score[wrong])
