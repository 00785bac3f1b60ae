"""The training rows that a run's model finds nearest to a text: they are, they are kept, and they are the run's own."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest
from conftest import write_reviews
from tiny_run import make_run

from tfft.assets import cache_folder
from tfft.data.tokenize import features
from tfft.errors import UserError
from tfft.explaining import nearest, vectors
from tfft.explaining.nearest import Neighbours, lines
from tfft.explaining.vectors import Vectors
from tfft.run.judge import own_split
from tfft.serving import explain as command
from tfft.serving.prediction import Predictor
from tfft.training.summaries import Console


@pytest.fixture(scope="module")
def run(tiny_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_reviews(folder / "train.csv", 40)
    return make_run(tiny_preset, folder / "run", train=f"csv:{folder / 'train.csv'}")


def neighbours_of(run) -> Neighbours:
    console = Console(quiet=True)
    return Neighbours(run, own_split(run, "train", console.say), console)


def rows_of(run) -> list[dict]:
    with open(run.experiment.data.train.removeprefix("csv:"), encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_they_are_the_nearest_by_what_the_head_is_given(run):
    text, neighbours = "good films , a bad film", neighbours_of(run)
    found = neighbours({"text": text}, 5)
    rows, predictor = rows_of(run), Predictor(run, plainly=True)
    below = keras.Model(run.model.input, run.model.get_layer("head_dropout").input)

    def vectors(texts):
        inputs = features(predictor.encode([{"text": text} for text in texts])[0], 0, tuple(run.model.input))
        made = below(inputs).numpy()
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    numbers = [int(one.place.rsplit(":", 1)[1]) - 2 for one in found]  # after the header
    cosines = (vectors([row["text"] for row in rows]) @ vectors([text]).T)[:, 0]
    trained = [int(neighbours._split.store.place(row).rsplit(":", 1)[1]) - 2 for row in neighbours._split.rows]
    assert 20 < len(trained) < 40  # validation rows are none of them
    best = sorted(trained, key=lambda number: -cosines[number])[:5]
    np.testing.assert_allclose([one.cosine for one in found], cosines[best], atol=1e-5)
    np.testing.assert_allclose([one.cosine for one in found], cosines[numbers], atol=1e-5)
    assert [one.texts["text"] for one in found] == [rows[number]["text"] for number in numbers]
    assert [one.answer for one in found] == [repr(rows[number]["label"]) for number in numbers]


def test_vectors_are_kept_for_these_weights(run, monkeypatch):
    made = np.array(neighbours_of(run).vectors)  # no map of the file that is emptied below
    with monkeypatch.context() as patched:
        patched.setattr(Vectors, "__call__", lambda *_: pytest.fail("they are there"))
        assert np.array_equal(neighbours_of(run).vectors, made)
    for file in (cache_folder(run.experiment.data.cache) / "neighbours").glob("*.npy"):
        file.write_bytes(b"")  # as a machine leaves it that lost its power
    assert np.array_equal(neighbours_of(run).vectors, made)
    weight = next(one for one in run.backbone.trainable_variables if one.path.endswith("embeddings"))
    before = weight.numpy()
    weight.assign(before[::-1])
    assert not np.allclose(neighbours_of(run).vectors, made)
    weight.assign(before)


def test_windows_of_a_row_are_one_vector():
    made = vectors._mean(np.array([[2, 0], [0, 5], [0, 1]], np.float32), np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(made, [[2 ** -0.5, 2 ** -0.5], [0, 1]], atol=1e-6)


def test_lines_have_no_control_characters_and_an_end():
    one = nearest.Neighbour(3, "a.csv:4", {"text": "\x1b[31m" + "x" * 200, "text_pair": "y"}, "'pos'", 0.98765)
    line, = lines([one])
    assert line.startswith("0.988  'pos'   [31mxxx") and line.endswith("\u2026  (a.csv:4)") and "\x1b" not in line


def test_a_backbone_that_makes_no_vector_is_refused(run):
    given = {"encoder_token_ids": keras.Input([None], dtype="int32")}
    other = keras.Model(given, keras.ops.cast(given["encoder_token_ids"], "float32"))
    with pytest.raises(UserError, match="Leave --nearest out"):
        neighbours_of(dataclasses.replace(run, backbone=other))


def test_the_command_names_them(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "open_run", lambda *_: run)
    own = neighbours_of(run)({"text": "bad"}, 1)[0]  # a training row: it is its own nearest one
    rows = [own.texts, {"text": "<b>good</b>"}]
    for name in ("why.json", "why.html"):
        command.explain("run", "", rows, "", 0, method="occlusion", label="", output=str(tmp_path / name), nearest=3)
    made = json.loads((tmp_path / "why.json").read_text("utf-8"))
    assert [len(one["nearest"]) for one in made] == [3, 3]
    assert made[0]["nearest"][0]["text"] == rows[0]["text"] and made[0]["nearest"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    page = (tmp_path / "why.html").read_text("utf-8")
    assert page.count("<li>") == 6 and rows[0]["text"] in page and "<b>" not in page
    assert f"nearest training rows:\n    1.000  {own.answer}  {rows[0]['text'][:20]}" in capsys.readouterr().out
