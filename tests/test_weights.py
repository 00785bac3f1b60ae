"""Weights in a safetensors file: whole or absent, for the same model only."""

import os

import families
import keras
import numpy as np
import pytest

from tfft.config import Model
from tfft.errors import UserError
from tfft.models.heads import pooled_classifier
from tfft.training.weights import load_weights, save_weights


def classifier(family="bert", outputs=2, seed=3) -> keras.Model:
    return pooled_classifier(families.backbone(family, seed=seed), Model(), outputs, seed)


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_round_trip_into_another_model(family, tmp_path):
    first, second = classifier(family, seed=1), classifier(family, seed=2)
    path = tmp_path / "best" / "weights.safetensors"
    save_weights(path, first.variables, {"step": "7", "tuned": '{"thresholds": [0.5]}'})
    assert load_weights(path, second.variables) == {"step": "7", "tuned": '{"thresholds": [0.5]}'}
    x = families.inputs(first, [[2, 5, 6, 3]], [4])
    np.testing.assert_array_equal(first(x), second(x))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_others_may_read_it(tmp_path):
    """As far as the umask lets them: safetensors' own files are 0600."""
    before = os.umask(0o027)
    try:
        save_weights(tmp_path / "weights.safetensors", classifier().variables, {})
    finally:
        os.umask(before)
    assert (tmp_path / "weights.safetensors").stat().st_mode & 0o777 == 0o640


def test_saving_again_replaces(tmp_path):
    path = tmp_path / "weights.safetensors"
    model = classifier()
    save_weights(path, model.variables, {"step": "1"})
    model.get_layer("head").bias.assign([4.0, 5.0])
    save_weights(path, model.variables, {"step": "2"})
    model.get_layer("head").bias.assign([0.0, 0.0])
    assert load_weights(path, model.variables) == {"step": "2"}
    assert model.get_layer("head").bias.numpy().tolist() == [4.0, 5.0]


@pytest.mark.parametrize("other, message", [
    (lambda: classifier(outputs=3), r"head/bias has shape \(2,\) there and \(3,\) here"),
    (lambda: classifier("distilbert"), r"of another model: embeddings_layer|of another model: .* none"),
])
def test_weights_of_another_model_are_refused(tmp_path, other, message):
    path = tmp_path / "weights.safetensors"
    save_weights(path, classifier().variables, {})
    model = other()
    before = [v.numpy() for v in model.trainable_variables]
    with pytest.raises(UserError, match=message):
        load_weights(path, model.variables)
    for was, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(variable, was)  # nothing was half loaded


def test_missing_and_damaged_files_are_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    model = classifier()
    with pytest.raises(UserError, match="There are no weights at .*weights.safetensors. Has the run finished"):
        load_weights(path, model.variables)
    save_weights(path, model.variables, {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="Cannot read the weights at .*weights.safetensors"):
        load_weights(path, model.variables)


def test_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "best").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="Cannot write the weights to .*best/weights.safetensors"):
        save_weights(tmp_path / "best" / "weights.safetensors", classifier().variables, {})


def test_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    model = classifier()
    save_weights(path, model.variables, {"step": "1"})

    def full(values, file, metadata):
        with open(file, "wb") as half:
            half.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfft.training.weights.save_tensors", full)
    with pytest.raises(UserError, match="Cannot write the weights.*No space left.*run the same command again"):
        save_weights(path, model.variables, {"step": "2"})
    assert load_weights(path, model.variables) == {"step": "1"}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
