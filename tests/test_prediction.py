"""predict: rows keep their columns and their order whatever they hold; what has no text has no answer."""

import csv
import json

import keras
import numpy as np
import pytest
import tiny_run
from tiny_run import make_run

from tfft.errors import UserError
from tfft.serving import answers_file, prediction
from tfft.serving.prediction import Predictor, predict_file, predict_texts
from tfft.tasks.text_classification.labels import Labels
from tfft.tasks.text_classification.report import resolve_thresholds
from tfft.tasks.text_classification.values import several


@pytest.fixture(scope="module")
def run(tiny_preset, tmp_path_factory):
    """A run that was trained on rows chosen by `where`, with an id of their own."""
    return make_run(tiny_preset, tmp_path_factory.mktemp("runs") / "run", where="source=imdb", id_column="number")


@pytest.fixture
def predict(run, monkeypatch, tmp_path, capsys):
    """predict(input's name, its text, output's name) -> (rows of the output, what was said)."""
    monkeypatch.setattr(prediction, "open_run", lambda *_: run)
    monkeypatch.chdir(tmp_path)

    def predict(name: str, text: str, output: str = "out.csv", on_broken_row: str = "empty", probabilities: bool = False):
        (tmp_path / name).write_text(text, "utf-8")
        predict_file("run", "", name, output, probabilities=probabilities, batch_size=4, on_broken_row=on_broken_row)
        said = capsys.readouterr().err
        with open(tmp_path / output, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file)) if output.endswith(".csv") else [json.loads(line) for line in file]
        assert not list(tmp_path.glob(".*"))
        return rows, said
    return predict


def test_rows_without_text_have_an_empty_answer(predict):
    rows, said = predict("in.csv", "n,text\n0,good film\n1,\n2,  \n3,bad\n", probabilities=True)
    assert [row["n"] for row in rows] == ["0", "1", "2", "3"]
    assert set(rows[1]) == {"n", "text", "predicted_label", "probability", "probability:neg", "probability:pos"}
    for row, answered in zip(rows, (True, False, False, True), strict=True):
        assert [bool(value) for name, value in row.items() if name not in ("n", "text")] == [answered] * 4
    assert "2 rows have an empty answer; first: in.csv:3: column 'text' (its text) is empty" in said
    rows, said = predict("in.jsonl", '{"n": 0, "text": null}\n{"n": 1, "text": "good"}\n', "out.jsonl", probabilities=True)
    assert rows[0] == {"n": 0, "text": None, "predicted_label": None, "probability": None, "probabilities": None}
    assert rows[1]["probabilities"].keys() == {"neg", "pos"} and "1 row has an empty answer" in said


def test_rows_without_text_are_skipped_or_an_error(predict, tmp_path):
    text = "n,text\n0,good film\n1,\n2,bad\n"
    rows, said = predict("in.csv", text, on_broken_row="skip")
    assert [row["n"] for row in rows] == ["0", "2"] and "1 broken row skipped; first: in.csv:3" in said
    (tmp_path / "out.csv").unlink()
    with pytest.raises(UserError, match=r"^in.csv:3: this row is broken: .* with --on_broken_row=skip\.$"):
        predict("in.csv", text, on_broken_row="error")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv"]


@pytest.mark.parametrize("name, text, expected", [
    ("in.csv", "n,text\n0,good film\n1,bad,film\n2,\n3,bad\n", ["0", "", "2", "3"]),
    ("in.csv", "n,text\n0,good,film\n1,bad\n", ["", "1"]),  # before the columns are known
    ("in.tsv", "n\ttext\n0\tgood\n1\n", ["0", ""]),
    ("in.jsonl", '{"n": 0, "text": "good"}\n{"n": 1, "te\n[]\n{"n": 3, "text": "bad"}\n', ["0", "", "", "3"])])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rows_against_their_format_keep_their_place(predict, name, text, expected, suffix):
    rows, said = predict(name, text, f"out{suffix}")
    if suffix == ".csv":
        assert list(rows[0]) == ["n", "text", "predicted_label", "probability"]
    assert [str(row.get("n", "")) for row in rows] == expected
    for row, number in zip(rows, expected, strict=True):
        assert bool(row["predicted_label"]) == (number not in ("", "2"))
    assert "kept empty; first: " in said and f"first: {name}:" in said and "--config" not in said
    rows, _ = predict(name, text, f"out{suffix}", on_broken_row="skip")
    assert [str(row["n"]) for row in rows] == [number for number in expected if number not in ("", "2")]


def test_a_row_against_its_format_ends_the_command_where_it_is_to(predict):
    with pytest.raises(UserError, match="^in.csv:3: this row is broken: it has 3 fields where the header has 2.* Mend it"):
        predict("in.csv", "n,text\n0,good film\n1,bad,film\n", on_broken_row="error")


def test_lines_that_are_in_no_row_are_an_error(predict, tmp_path):
    (tmp_path / "in.csv").write_text('n,text\n0,good\n1,"bad\n2,fine\n3,poor\n')
    assert predict_file("run", "", "in.csv", "out.csv", probabilities=False, batch_size=4, on_broken_row="empty") == 1
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("on_broken_row", ["empty", "skip"])
@pytest.mark.parametrize("name, text, why", [
    ("in.csv", "n,text\n0,\n1,  \n", "None of the 2 rows of in.csv can be answered; first: in.csv:2: column 'text' (its text) "
                                     "is empty. Nothing was written to out.csv."),
    ("in.csv", "n,text\n0,good,film\n", "The one row of in.csv cannot be answered: in.csv:2: it has 3 fields"),
    ("in.jsonl", '{"text": null}\n{"te', "None of the 2 rows of in.jsonl can be answered; first: in.jsonl:"),
    ("in.csv", "n,text\n", "in.csv has no rows. Nothing was written to out.csv."), ("in.csv", "", "in.csv has no rows.")])
def test_an_output_is_replaced_by_answers_alone(predict, tmp_path, name, text, why, on_broken_row):
    (tmp_path / "out.csv").write_text("of before")
    with pytest.raises(UserError) as told:
        predict(name, text, on_broken_row=on_broken_row)
    assert str(told.value).startswith(why)
    assert (tmp_path / "out.csv").read_text() == "of before" and not list(tmp_path.glob(".*"))


def test_answers_are_the_models_own_in_the_rows_order(predict, run):
    texts = ["good film", "bad " * 30, "a film", "poor, poor film.", "the", "fine"] * 2
    expected = Predictor(run)([{"text": text} for text in texts])["scores"]
    assert np.ptp(expected[:, 0]) > 0.01
    rows, said = predict("in.jsonl", "".join(json.dumps({"text": t}) + "\n" for t in texts), "out.jsonl", probabilities=True)
    assert [row["text"] for row in rows] == texts and "12 rows in out.jsonl" in said
    np.testing.assert_allclose([row["probabilities"]["pos"] for row in rows], expected[:, 1], atol=2e-6)
    assert [row["predicted_label"] for row in rows] == [("neg", "pos")[i] for i in expected.argmax(1)]


def test_it_computes_as_a_server_does(run, monkeypatch):
    rows = [{"text": text} for text in ("good film", "bad " * 30, "a film", "the")]
    expected = Predictor(run, plainly=True)(rows)["scores"]

    def attend(*args, **kwargs):
        raise AssertionError("Keras's own attention, in which padding is computed too")

    monkeypatch.setattr(keras.layers.MultiHeadAttention, "call", attend)
    np.testing.assert_allclose(Predictor(run)(rows)["scores"], expected, atol=1e-6)
    with pytest.raises(AssertionError, match="own attention"):
        Predictor(run, plainly=True)(rows)


def test_no_column_is_lost(predict):
    text = '{"text": "good"}\n{"text": "bad", "extra": 1}\n'
    rows, _ = predict("in.jsonl", text)
    assert list(rows[0]) == ["text", "extra", "predicted_label", "probability"] and [row["extra"] for row in rows] == ["", "1"]
    assert predict("in.jsonl", text, "out.jsonl")[0][1]["extra"] == 1
    with pytest.raises(UserError, match="^in.csv:2: its column 'probability' has the name of a column of the answers"):
        predict("in.csv", "text,probability\ngood,1\n")
    rows, _ = predict("in.jsonl", '{"text": "good", "probabilities": "mine"}\n', "out.jsonl")
    assert rows[0]["probabilities"] == "mine"
    rows, _ = predict("in.jsonl", '{"text": "good", "tags": ["a", "b"]}\n{"text": "bad"}\n')
    assert [row["tags"] for row in rows] == ['["a", "b"]', ""]


def test_half_a_surrogate_pair_beside_the_text(predict):
    text = '{"text": "good", "note": "\\ud83d"}\n{"text": "bad \\ud83d"}\n{"text": "fine"}\n'
    rows, said = predict("in.jsonl", text, "out.jsonl")
    assert rows[0]["note"] == "\ud83d" and rows[0]["predicted_label"] and rows[2]["predicted_label"]
    assert rows[1]["text"] == "bad \ud83d" and rows[1]["predicted_label"] is None and "half a surrogate pair" in said
    assert predict("in.jsonl", text)[0][0]["note"] == "\\ud83d"


def test_a_wrong_column_is_told_without_flags_that_predict_lacks(predict):
    with pytest.raises(UserError, match=r"^in.csv: text_column: Unknown column 'text'. Did you mean 'texts'\? Known: n, texts. "
                                        "Columns and settings are those that the run was trained with"):
        predict("in.csv", "n,texts\n0,good\n")


def test_where_the_output_cannot_be_is_told_first(predict, monkeypatch, tmp_path):
    monkeypatch.setattr(prediction, "open_run", None)  # would fail if it were called
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    for output, why in (("file/out.csv", "file is no folder"), ("file/a/out.csv", "Not a directory"),
                        ("folder.csv", "it is a folder")):
        with pytest.raises(UserError, match=f"^Cannot write {output}: {why}. Name a"):
            predict("in.csv", "text\ngood\n", output)


def answer(run, logits: list[float]) -> tuple[dict, dict]:
    """What a run answers where its model gives these logits to every text."""
    head = run.model.get_layer("head")
    head.kernel.assign(np.zeros(head.kernel.shape))
    head.bias.assign(logits)
    made, = Predictor(run).answers([{"text": "good film"}])
    return made


def test_several_labels_and_values(tiny_preset, tmp_path):
    logits = [-np.log(3), np.log(3)]  # probabilities of 1/4 and 3/4
    every = make_run(tiny_preset, tmp_path / "a", "multi_label", {"thresholds": [0.0, 1.1]})
    assert answer(every, logits) == ({"predicted_labels": ["x"], "probability": [pytest.approx(0.25)]},
                                     pytest.approx({"x": 0.25, "y": 0.75}))
    half = make_run(tiny_preset, tmp_path / "b", "multi_label")
    assert answer(half, logits)[0] == {"predicted_labels": ["y"], "probability": [pytest.approx(0.75)]}
    value = make_run(tiny_preset, tmp_path / "c", "regression")
    assert answer(value, [-1.0]) == ({"predicted_value": 1.5}, {}) and resolve_thresholds(value.task, value.tuned) is None


@pytest.mark.parametrize("value, separator, text", [
    (["a", "b c"], ";", "a;b c"), (["a,b", "c"], ";", "a,b;c"), (["a,b", "c"], ",", '["a,b", "c"]'),
    (["a\nb"], ",", '["a\\nb"]'),
    (["[x]"], ",", '["[x]"]'), ([], ",", ""), ([0.25, 0.5], ";", "0.25;0.5"), ([0.25, 0.5], ".", "[0.25, 0.5]"),
    (["a", "b"], " | ", "a | b"), (["a|b"], " | ", '["a|b"]'), ("a", ",", "a"), ([{"a": 1}], ",", [{"a": 1}])])
def test_names_in_one_field_can_be_taken_apart(value, separator, text):
    assert answers_file.joined(value, separator) == text
    if isinstance(text, str) and isinstance(value, list):
        assert several(text, "label", separator, "auto") == tuple(map(str, value))


def test_several_labels_in_a_csv_file_are_joined_as_the_run_s_are(predict, tiny_preset, tmp_path, monkeypatch):
    labels = Labels(("x", "y,z"), (4, 3), rows=7, separator=";")
    monkeypatch.setitem(tiny_run.LABELS, "multi_label", labels)
    run = make_run(tiny_preset, tmp_path / "several", "multi_label", {"thresholds": [0.0, 0.0]})
    monkeypatch.setattr(prediction, "open_run", lambda *_: run)
    rows, _ = predict("in.csv", "text\ngood film\n")
    assert rows[0]["predicted_labels"] == "x;y,z" and rows[0]["probability"].count(";") == 1
    assert predict("in.csv", "text\ngood film\n", "out.jsonl")[0][0]["predicted_labels"] == ["x", "y,z"]
    assert Predictor(run)([{"text": "good"}])["label"].tolist() == [b"x;y,z"]


def test_no_rows_have_no_answers(run):
    assert Predictor(run).answers([]) == []


def test_texts_that_are_no_text(run, monkeypatch, capsys):
    """An argument that is no UTF-8 is answered; one that is empty as a row of a file that is."""
    monkeypatch.setattr(prediction, "open_run", lambda *_: run)
    predict_texts("run", "", [{"text": text} for text in ("good", "", "\udcff film", " \t")])
    out, said = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert [a["text"] for a in answers] == ["good", "", "\udcff film", " \t"]
    assert all(a.keys() == {"text", "predicted_label", "probability"} for a in answers)
    assert [a["predicted_label"] is None for a in answers] == [False, True, False, True]
    assert "2 of 4 have an empty answer: a text is empty or blank" in said


def test_what_the_tokenizer_does_not_know_is_told(predict, run, monkeypatch, capsys):
    _, said = predict("in.csv", "text\ngood film\nbad film\n")
    assert "unknown to the tokenizer: in.csv 0.0% of the tokens, 0.0% of the characters" in said and "warning" not in said
    _, said = predict("in.csv", "text\ngood \u0e17\u0e32\u0e07\nbad film\n")
    assert "unknown to the tokenizer: in.csv 25.0% of the tokens, 21.4% of the characters" in said
    assert "warning: the tokenizer does not know much of in.csv" in said and "multilingual-e5-small" in said
    monkeypatch.setattr(prediction, "open_run", lambda *_: run)
    predict_texts("run", "", [{"text": "\u4e2d"}, {"text": "good"}])
    assert "warning: the tokenizer does not know much of the texts:" in capsys.readouterr().err
