"""Freezing, layer-wise learning rates, weight decay: which weights they hold for, by name."""

import families
import keras
import pytest

from tfft.config import Model
from tfft.errors import UserError
from tfft.models.adaptation import decays, freeze, learning_rate_multipliers, sections
from tfft.models.heads import pooled_classifier

FAMILIES = list(families.FAMILIES)


def part_of(path: str, family: str) -> str:
    """'0', '1', 'head' or 'embeddings': where a weight of a classifier belongs, by its name alone."""
    first = path.split("/")[0]
    if first in ("head", "pooled_dense"):
        return "head"
    if family == "albert" and first.startswith("group_"):
        return first.split("_")[1]
    return first.rsplit("_", 1)[1] if "_layer_" in first and first[-1].isdigit() else "embeddings"


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(request):
    """(family, its backbone, which no test may freeze)."""
    return request.param, families.backbone(request.param)


def test_sections_hold_every_layer_with_weights_once(encoder):
    family, backbone = encoder
    embeddings, layers, above = sections(backbone)
    assert [part_of(layer.name, family) for layer in layers] == ["0", "1"]
    found = [w.path for layer in (*embeddings, *layers, *above) for w in layer.weights]
    assert sorted(found) == sorted(w.path for w in backbone.weights)
    assert {part_of(w.path, family) for layer in embeddings for w in layer.trainable_weights} == {"embeddings"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("settings, trained", [
    ({}, {"embeddings", "0", "1", "head"}),
    ({"freeze_embeddings": True}, {"0", "1", "head"}),
    ({"frozen_layers": 1}, {"1", "head"}),
    ({"frozen_layers": 2}, {"head"}),
    ({"frozen_layers": -1}, {"head"}),
])
def test_freezing_leaves_what_is_named(family, settings, trained):
    backbone = families.backbone(family)
    config = Model(**settings)
    freeze(backbone, config)
    model = pooled_classifier(backbone, config, 2, seed=0)
    assert {part_of(v.path, family) for v in model.trainable_variables} == trained


def test_all_but_the_head_includes_the_pooler():
    backbone = families.backbone("bert")
    config = Model(frozen_layers=-1, pooling="pooled")
    freeze(backbone, config)
    model = pooled_classifier(backbone, config, 2, seed=0)
    assert [v.path for v in model.trainable_variables] == ["head/kernel", "head/bias"]


def test_frozen_layers_do_not_drop_out():
    backbone = families.backbone("deberta_v3")
    freeze(backbone, Model(frozen_layers=1))
    embeddings, layers, _ = sections(backbone)

    def rates(part):
        return {inner.rate for layer in part for inner in layer._flatten_layers() if isinstance(inner, keras.layers.Dropout)}

    assert rates(embeddings) == {0.0} and rates(layers[:1]) == {0.0} and rates(layers[1:]) == {0.1}
    x = families.inputs(backbone, [[1, 5, 6, 2]], [4])
    lower = keras.Model(backbone.input, layers[0].output)
    assert (lower(x, training=True).numpy() == lower(x).numpy()).all()
    assert (backbone(x, training=True).numpy() != backbone(x).numpy()).any()


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(UserError, match="frozen_layers=3, but BertBackbone has 2 layers"):
        freeze(families.backbone("bert"), Model(frozen_layers=3))


def test_learning_rate_multipliers_by_name(encoder):
    family, backbone = encoder
    model = pooled_classifier(backbone, Model(), 2, seed=0)
    made = learning_rate_multipliers(backbone, model.trainable_variables, 0.5)
    by_part = {"head": 1.0, "1": 0.5, "0": 0.25, "embeddings": 0.125}
    assert made == [by_part[part_of(v.path, family)] for v in model.trainable_variables]
    assert set(made) == set(by_part.values())
    assert set(learning_rate_multipliers(backbone, model.trainable_variables, 1.0)) == {1.0}
    made = learning_rate_multipliers(backbone, model.trainable_variables, 1.0, 10.0)
    by_part = {part_of(v.path, family) == "head": rate for v, rate in zip(model.trainable_variables, made, strict=True)}
    assert by_part == {True: 10.0, False: 1.0}


def test_weight_decay_spares_biases_and_norms(encoder):
    _, backbone = encoder
    model = pooled_classifier(backbone, Model(), 2, seed=0)
    last = {True: set(), False: set()}
    for variable in model.trainable_variables:
        last[decays(variable)].add(variable.path.rsplit("/", 1)[1])
    assert last[True] == {"kernel", "embeddings", *({"rel_embedding"} & last[True])}
    assert last[False] == {"bias", "gamma", "beta"}
