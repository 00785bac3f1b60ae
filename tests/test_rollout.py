"""Attention rollout: it is the product of what each layer mixes, and models that cannot tell are refused."""

import dataclasses

import keras
import keras_hub
import numpy as np
import pytest
from tiny_run import make_run

from tfft.config import Adaptation
from tfft.data.tokenize import features
from tfft.errors import UserError
from tfft.explaining.explainer import Explainer
from tfft.explaining.rollout import Rollout
from tfft.models.adaptation import sections
from tfft.serving.prediction import Predictor

TEXT = "Good films, a bad film"


@pytest.fixture(scope="module")
def run(tiny_preset, tmp_path_factory):
    return make_run(tiny_preset, tmp_path_factory.mktemp("runs") / "run")


def inputs_of(run, text: str, multiple: int = 8) -> dict:
    predictor = Predictor(run, plainly=True)
    return features(predictor.encode([{"text": text}])[0], 0, tuple(run.model.input), multiple=multiple)


def test_it_is_what_the_layers_mix(run):
    """Attention computed here from the layers' own matrices, in float64."""
    inputs, rolled = inputs_of(run, TEXT), 1.0
    real = inputs["padding_mask"].numpy()[0] > 0
    for layer in sections(run.backbone)[1]:
        hidden = keras.Model(run.backbone.input, keras.tree.flatten(layer.input)[0])(inputs).numpy()[0].astype(float)
        attention = layer._self_attention_layer
        query, key = (np.einsum("sd,dnh->nsh", hidden, dense.kernel.numpy()) + dense.bias.numpy()[:, np.newaxis]
                      for dense in (attention._query_dense, attention._key_dense))
        scores = np.exp(query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])) * real
        scores = (scores / scores.sum(axis=-1, keepdims=True)).mean(axis=0)
        rolled = (scores + np.eye(len(real))) / 2 @ (rolled if layer is not sections(run.backbone)[1][0] else np.eye(len(real)))
    made = Rollout(run)(inputs)
    np.testing.assert_allclose(made, rolled[real].mean(axis=0), atol=1e-5)
    assert made.sum() == pytest.approx(1, abs=1e-5) and not made[~real].any()
    first = dataclasses.replace(run.experiment, model=dataclasses.replace(run.experiment.model, pooling="cls"))
    np.testing.assert_allclose(Rollout(dataclasses.replace(run, experiment=first))(inputs), rolled[0], atol=1e-5)


def test_the_model_is_the_same_and_its_words_have_their_tokens(run):
    inputs = inputs_of(run, TEXT)
    made, before = Rollout(run).model(inputs)["output"], run.backbone(inputs)
    np.testing.assert_allclose(made["sequence_output"], before["sequence_output"], atol=1e-6)
    one, = Explainer(run, "attention_rollout")({"text": TEXT})
    by_leaving_out, = Explainer(run, "occlusion")({"text": TEXT})
    assert one.value == pytest.approx(by_leaving_out.value, abs=1e-5)
    assert (one.attribution > 0).all() and 0 < one.attribution.sum() < 1 and one.rest is None
    assert [one.text(word) for word in one.words] == ["Good", "films", ",", "a", "bad", "film"]


def test_layers_that_are_used_again_are_followed_each_time(run):
    shared = keras_hub.models.AlbertBackbone(vocabulary_size=15, num_layers=3, num_heads=2, embedding_dim=4, hidden_dim=8,
                                             intermediate_dim=16, max_sequence_length=32)
    inputs = inputs_of(run, TEXT)
    made = Rollout(dataclasses.replace(run, backbone=shared))
    assert len(made.model.output["scores"]) == 3 and made(inputs).sum() == pytest.approx(1, abs=1e-5)


def test_models_that_do_not_tell_are_refused(run):
    other = keras_hub.models.DebertaV3Backbone(vocabulary_size=15, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16,
                                               max_sequence_length=32)
    prompted = dataclasses.replace(run.experiment, adaptation=Adaptation(method="prompt"))
    for refused in (dataclasses.replace(run, backbone=other), dataclasses.replace(run, experiment=prompted)):
        with pytest.raises(UserError, match="Use --method=occlusion"):
            Rollout(refused)
