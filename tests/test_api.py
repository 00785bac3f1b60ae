"""What notebooks call: rows of every task in all their shapes, errors in Python's words. The predictor is a fake one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tfft
from tfft import api
from tfft.config import resolve, to_json
from tfft.errors import UserError

ROOT = Path(__file__).parent.parent
TASKS = {
    "text": {"task": {}, "data": {"text_column": "review"}},
    "pair": {"task": {}, "data": {"text_pair_column": "reply"}},
    "words": {"task": {"name": "token_classification"}, "data": {}},
    "roles": {"task": {"name": "token_classification"}, "data": {"predicate_column": "verb"}},
    "question": {"task": {"name": "question_answering"}, "data": {"context_column": "page"}},
}


class Predictor:
    """Answers with what it was asked."""

    def __init__(self, fields):
        self.fields = fields

    def answers(self, rows):
        return [({"asked": tuple(row.values())}, {"p": 1.0}) for row in rows]


@pytest.fixture
def run(tmp_path, monkeypatch):
    def make(name):
        values = {**TASKS[name], "data": {**TASKS[name]["data"], "train": "csv:a.csv", "cache": str(tmp_path / "cache")}}
        (tmp_path / "config.json").write_text(to_json(resolve(values)))
        made = tfft.open_run(tmp_path)
        monkeypatch.setattr(made, "_open", lambda: (None, Predictor(tuple(field.name for field in made._fields))))
        return made

    return make


@pytest.mark.parametrize("task, row, given, asked", [
    ("text", "a film", {"text": "a film"}, ("a film",)),
    ("text", {"review": "a film", "n": 3}, {"review": "a film", "n": 3}, ("a film",)),
    ("text", {"text": "a film"}, {"text": "a film"}, ("a film",)),
    ("text", "", {"text": ""}, None),
    ("text", {"review": float("nan")}, {"review": float("nan")}, None),
    ("text", {"review": 3}, {"review": 3}, None),
    ("pair", ("a", "b"), {"text": "a", "text_pair": "b"}, ("a", "b")),
    ("pair", {"text": "a", "reply": "b"}, {"text": "a", "reply": "b"}, ("a", "b")),
    ("pair", ("a", " "), {"text": "a", "text_pair": " "}, None),
    ("words", "Ann sat", {"text": "Ann sat"}, ("Ann sat",)),
    ("words", {"words": ["Ann", "sat"]}, {"words": ["Ann", "sat"]}, (["Ann", "sat"],)),
    ("roles", ("Ann sat", 1), {"text": "Ann sat", "predicate": 1}, (["Ann", "sat"], 1)),
    ("roles", {"words": ["Ann", "sat"], "verb": 1}, {"words": ["Ann", "sat"], "verb": 1}, (["Ann", "sat"], 1)),
    ("question", ("who?", "Ann"), {"question": "who?", "context": "Ann"}, ("who?", "Ann")),
    ("question", {"question": "who?", "page": "Ann"}, {"question": "who?", "page": "Ann"}, ("who?", "Ann")),
])
def test_a_row_of_any_shape(run, task, row, given, asked):
    made = run(task)
    assert repr(made.predict(row)) == repr({**given, "asked": asked})
    assert repr(made.predict([row, row])) == repr([{**given, "asked": asked}] * 2)
    assert repr(made.predict([row], probabilities=True)) == repr([
        {**given, "asked": asked, "probabilities": {"p": 1.0} if asked else None}])


def test_frames_and_many_rows(run, monkeypatch, capsys):
    pandas = pytest.importorskip("pandas")
    run("text").predict(["a", "b"])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(api, "ROWS", 2)
    made = run("text")
    assert [answer["asked"] for answer in made.predict(pandas.Series(list("abcde")))] == [(letter,) for letter in "abcde"]
    assert "answering 5/5 (100%)" in capsys.readouterr().err
    answers = made.predict(pandas.DataFrame({"review": ["a", None, "c"], "n": [1, 2, 3]}))
    assert [(answer["n"], answer["asked"]) for answer in answers] == [(1, ("a",)), (2, None), (3, ("c",))]
    assert made.predict(pandas.DataFrame([["a", 1]], columns=["review", 7])) == [{"review": "a", "7": 1, "asked": ("a",)}]
    assert made.predict([]) == []


@pytest.mark.parametrize("task, rows, message", [
    ("text", ["a", {"reveiw": "a"}], "Row 2 has no 'review': this run answers text. It has 'reveiw'."),
    ("pair", "a", "Row 1 has 1 value, but this run answers text with text_pair: give rows such as {'text': ..., 'text_pair': "
     "...}."),
    ("text", [("a", "b")], "Row 1 has 2 values, but this run answers text: give rows such as {'text': ...}."),
    ("text", {"review": "a", "asked": 1}, "Row 1: its column 'asked' has the name of a column of the answers. Rename it."),
])
def test_mistakes_in_rows(run, task, rows, message):
    with pytest.raises(UserError) as error:
        run(task).predict(rows)
    assert str(error.value) == message


@pytest.mark.parametrize("call, message", [
    (lambda run: run.evaluate("csv:a.csv", split="test"), "Give data or split, not both."),
    (lambda run: run.evaluate(split="tets"), "Unknown split 'tets'. Did you mean 'test'? Known: train, validation, test."),
    (lambda run: run.evaluate("csv:a.csv", encodng="cp1252"), "Unknown way to read 'encodng'. Did you mean 'encoding'?"),
    (lambda run: run.evaluate("csv:a.csv", on_broken_row="empty"), "Unknown on_broken_row 'empty'. Known: error, skip."),
    (lambda run: tfft.open_run(run.workdir, "bets"), "weights='bets' must be 'best', 'last', or ''"),
    (lambda run: tfft.open_run("no/run"), "Train one first: tfft train --config=imdb:quick --workdir=..."),
    (lambda run: tfft.load_config("imbd"), "Unknown config 'imbd'. Did you mean 'imdb'?"),
    (lambda run: tfft.fine_tune({"data": {"trian": "csv:a.csv"}}), "Unknown setting 'trian'. Did you mean 'train'?"),
    (lambda run: tfft.fine_tune("my_csv:no/file.csv"), "No such file or folder: no/file.csv"),
    (lambda run: run.export(dtype="float8"), "weights: Unknown value 'float8'."),
])
def test_mistakes_are_told_in_python_words(run, call, message):
    with pytest.raises(UserError) as error:
        call(run("text"))
    assert message in str(error.value)


@pytest.mark.parametrize("told, here", [
    ("set --config.data.header=False, or --workdir.", "set config.data.header=False, or workdir."),
    ("Give --data=csv:F, or another --split.", "Give data=csv:F, or another split."),
    ("--label_column=a", "label_column=a"),
    ("run python -m tfft.calibrate --workdir=a --precision=1 first: --calibrated.", "run python -m tfft.calibrate --workdir=a "
     "--precision=1 first: calibrated."),
    ("a -- b --unknown", "a -- b --unknown")])
def test_flags_become_arguments(told, here):
    with pytest.raises(UserError) as error, api._in_python():
        raise UserError(told)
    assert str(error.value) == here


def test_a_config_is_given_in_any_form(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("tfft.run.fine_tune.fine_tune", lambda experiment, path: given.append((experiment, path)) or 130)
    config = tfft.load_config("my_csv:a.csv")
    for form in ("my_csv:a.csv", config, config.to_dict(), resolve(config)):
        with pytest.raises(KeyboardInterrupt):  # what an interrupted training is
            tfft.fine_tune(form)
    assert given == [(resolve(config), "runs/my_csv")] * 4


def test_history(run, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    assert run("text").history == [{"step": 1}, {"step": 2}]
    assert json.loads((tmp_path / "config.json").read_text())["data"]["text_column"] == "review"
    assert repr(run("text")) == f"<text_classification run in {tmp_path}>"


def test_no_tensorflow_before_something_is_computed(run, tmp_path):
    run("text")
    code = f"""import sys, tfft
made = tfft.open_run({str(tmp_path)!r})
try:
    made.predict({{"txt": 1}})
except tfft.errors.UserError:
    print([name for name in ("tensorflow", "keras") if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_process_that_trains_often_keeps_no_model(tiny_preset, reviews, tmp_path):
    import gc

    import keras

    def models() -> int:
        gc.collect()
        return sum(isinstance(each, keras.Model) for each in gc.get_objects())

    def train() -> int:
        config = tfft.load_config("my_csv")
        config.data.train, config.data.max_length, config.data.cache = f"csv:{reviews}", 24, str(tmp_path / "cache")
        config.model.backbone, config.train.steps = str(tiny_preset), 2
        made = tfft.fine_tune(config, str(tmp_path / "run"))
        assert made.predict("good film") == made.predict("good film")
        made.evaluate()
        return models()

    before = models()
    assert train() > before and models() == before
