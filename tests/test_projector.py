"""The embeddings projector: TensorBoard's plugin reads what a run leaves (of a whole training: test_report.py)."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from projecting import Projector
from tiny_run import make_run

from tfft.run.judge import looked_at
from tfft.run.projector import project
from tfft.training.summaries import Board, Console

NASTY = 'good\tfilm\r\nbad \x00 "film"\u2028the'


@pytest.fixture(scope="module")
def run(tiny_preset, tmp_path_factory):
    return make_run(tiny_preset, tmp_path_factory.mktemp("projector") / "run")


@pytest.fixture(scope="module")
def looked(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [(NASTY, "pos"), *((f"{word} film", "neg") for word in ("good", "bad", "a", "fine"))]
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return looked_at(run, f"jsonl:{path}", "rows", "", Console(quiet=True), baseline=False)


def board_of(tmp_path):
    board = Board(tmp_path)
    board.scalars("validation", 1, {"loss": 1.0})
    board.flush()
    return tmp_path / "validation"


def test_several_tasks_stand_beside_each_other_and_cells_hold_anything(run, looked, tmp_path, capsys):
    folder, console = board_of(tmp_path), Console()
    for name, count in (("topics", 3), ("über/all", 9), ("topics", 4)):
        project(lambda: run, name, looked.split, looked.report, count, folder, console)
    found = Projector(tmp_path)
    assert [one["tensorName"] for one in found.config("validation")["embeddings"]] == ["über/all", "topics"]
    assert found.tensor("validation", "topics").shape == (4, 8) and found.tensor("validation", "über/all").shape == (5, 8)
    rows = found.rows("validation", "über/all")
    assert rows[0]["text"] == 'good film bad "film" the' and rows[0]["right"] == "pos" and len(rows) == 5
    assert {row["text"] for row in found.rows("validation", "topics")} < {row["text"] for row in rows}
    np.testing.assert_allclose(np.linalg.norm(found.tensor("validation", "über/all"), axis=1), 1, atol=1e-3)
    assert capsys.readouterr().err.count("projector: the vectors of") == 3


def test_what_goes_wrong_is_told_and_stops_nothing(run, looked, tmp_path, capsys):
    given = {"encoder_token_ids": keras.Input([None], dtype="int32", name="encoder_token_ids")}
    other = dataclasses.replace(run, backbone=keras.Model(given, keras.ops.cast(given["encoder_token_ids"], "float32")))
    for opened, said in ((lambda: other, "makes no one vector of a text"), (lambda: 1 / 0, "ZeroDivisionError")):
        project(opened, "topics", looked.split, looked.report, 3, board_of(tmp_path), Console())
        assert said in capsys.readouterr().err
    project(lambda: run, "topics", looked.split, looked.report, 3, tmp_path / "nowhere", Console())
    assert "the vectors could not be written (FileNotFoundError" in capsys.readouterr().err
    assert Projector(tmp_path).runs() == []


def test_rows_without_evidence_have_texts_and_places(run, looked, tmp_path):
    report = dataclasses.replace(looked.report, evidence=None)
    project(lambda: run, "topics", looked.split, report, 9, board_of(tmp_path), Console(quiet=True))
    rows = Projector(tmp_path).rows("validation", "topics")
    assert len(rows) == 5 and rows[1].keys() == {"text", "place"} and rows[1]["place"].endswith("rows.jsonl:2")
