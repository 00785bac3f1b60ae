"""What export asks of the process that proves it, and what it leaves behind when it fails. Whole exports: test_commands.py."""

import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tiny_run import make_run

from tfft.errors import UserError
from tfft.serving import saved_model
from tfft.serving.prediction import Predictor
from tfft.serving.saved_model import NASTY, ServedModel, export


@pytest.fixture(scope="module")
def run(tiny_preset, tmp_path_factory):
    return make_run(tiny_preset, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def asked(run, monkeypatch):
    """The calls of the proving process, which answers as the trained model does, plus asked.error."""
    class Asked(list):
        error, code = 0.0, 0

    calls = Asked()
    right = Predictor(run)(NASTY)

    def answer(command, **details):
        calls.append((command, details))
        made = (right + calls.error).tolist()
        return subprocess.CompletedProcess(command, calls.code, json.dumps({"together": made, "alone": made}), "x\nNo such op")

    monkeypatch.setattr(saved_model, "open_run", lambda *_, **__: run)
    monkeypatch.setattr(saved_model.tf.saved_model, "save", lambda served, folder, signatures: tf.io.gfile.makedirs(folder))
    monkeypatch.setattr(saved_model.subprocess, "run", answer)
    return calls


def test_the_proving_process_has_no_gpu_and_nothing_beside_its_script(asked, tmp_path, capsys):
    for version in ("1", "2"):
        assert export("run", str(tmp_path / "out"), "") == 0
        assert f"the weights of step 7 to {tmp_path}/out/{version}" in capsys.readouterr().out
    command, details = asked[0]
    assert command[1] == "-P" and details["env"]["CUDA_VISIBLE_DEVICES"] == "-1" and "PATH" in details["env"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["1", "2"]


@pytest.mark.parametrize("error, code, message", [
    (0.01, 0, "The export answers otherwise than the trained model .by 0.01. on '.*', together. Nothing was published"),
    (np.nan, 0, "The export answers otherwise"), (0.0, 1, "The export does not load on its own: No such op. Nothing was")])
def test_a_failed_proof_leaves_nothing(asked, tmp_path, error, code, message):
    asked.error, asked.code = error, code
    with pytest.raises(UserError, match=message):
        export("run", str(tmp_path / "out"), "")
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_is_told_and_leaves_nothing(asked, tmp_path, monkeypatch):
    def save(served, folder, signatures):
        tf.io.gfile.makedirs(folder)
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nmore")

    monkeypatch.setattr(saved_model.tf.saved_model, "save", save)
    with pytest.raises(UserError, match="Cannot write the export in .*out: No space left on device.$"):
        export("run", str(tmp_path / "out"), "")
    assert not asked and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("thresholds, selected", [(None, 0.5), (np.array([0.0, 1.0], np.float32), [0.0, 1.0])])
def test_labels_are_selected_by_the_same_thresholds_as_in_prediction(tiny_preset, tmp_path, thresholds, selected):
    run = make_run(tiny_preset, tmp_path / "run", "multi_label", thresholds)
    texts = ["good film", "bad", ""]
    made = ServedModel(run).serve(tf.constant(texts))
    assert made["selected"].numpy().tolist() == (made["probabilities"].numpy() >= selected).astype(int).tolist()
    predictor = Predictor(run)
    answers = [",".join(predictor.answer(p)["predicted_labels"]) for p in predictor(texts)]
    assert [label.decode() for label in made["label"].numpy()] == answers
