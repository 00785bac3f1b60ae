"""Encoder layers as an export runs them answer as Keras's own do."""

import functools

import families
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfft.config import Model
from tfft.models.heads import pooled_classifier
from tfft.models.inference import Arranged

IDS = np.random.default_rng(1).integers(5, 14, (4, 9))
LENGTHS = (9, 1, 4, 7)
ARRANGED = {"bert": 2, "distilbert": 2, "electra": 2, "albert": 2, "roberta": 2, "xlm_roberta": 2, "deberta_v3": 0}


def answers(model, inputs, compact=True) -> tuple[Arranged, np.ndarray, set[str]]:
    """(what was arranged, its answer, the ops of its graph)."""
    arranged = Arranged(model)
    joined = {key: functools.partial(lambda *pair: pair, *map(tf.constant, pair)) for key, pair in arranged.joined.items()}

    @tf.function
    def call(inputs):
        with arranged(joined, compact):
            return model(inputs, training=False)

    graph = call.get_concrete_function(inputs).graph
    return arranged, call(inputs).numpy(), [op.type for op in graph.get_operations()]


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("pooling, compact", [("mean", True), ("max", True), ("cls", True), ("mean", False)])
def test_every_family_answers_the_same(family, pooling, compact):
    model = pooled_classifier(families.backbone(family), Model(pooling=pooling), 3, seed=0)
    inputs = families.inputs(model, IDS, LENGTHS)
    arranged, got, ops = answers(model, inputs, compact)
    np.testing.assert_allclose(got, model(inputs, training=False), atol=2e-6)
    assert len(arranged.joined) == ARRANGED[family] and ("FusedBatchNormV3" in ops) == compact
    if ARRANGED[family]:
        assert ops.count("Where") == compact  # real tokens are looked for once
        # four products a layer, and no more than that and the head
        assert sum(op == "MatMul" for op in ops) <= 4 * families.LAYERS + 3


@pytest.mark.parametrize("compact", [True, False])
def test_layers_that_normalise_first_answer_the_same(compact):
    import keras

    inputs = {"x": keras.Input((None, 8)), "padding_mask": keras.Input((None,), dtype="int32")}
    made = keras_hub.layers.TransformerEncoder(16, 2, normalize_first=True, activation="gelu")(
        inputs["x"], padding_mask=inputs["padding_mask"])
    model = keras.Model(inputs, made * keras.ops.cast(inputs["padding_mask"], "float32")[:, :, None])
    values = {"x": tf.random.stateless_normal([4, 9, 8], [1, 2]),
              "padding_mask": tf.cast(tf.sequence_mask(LENGTHS, 9), tf.int32)}
    arranged, got, _ = answers(model, values, compact)
    assert len(arranged.joined) == 1
    np.testing.assert_allclose(got, model(values, training=False), atol=2e-6)


def test_no_token_at_all_is_no_crash():
    model = pooled_classifier(families.backbone("bert"), Model(), 2, seed=0)
    inputs = families.inputs(model, IDS, (0, 0, 0, 0))
    assert np.isfinite(answers(model, inputs)[1]).all()
    empty = {name: value[:0] for name, value in families.inputs(model, IDS, LENGTHS).items()}
    assert answers(model, empty)[1].shape == (0, 2)


def test_layers_with_lora_are_left_alone():
    model = pooled_classifier(families.backbone("bert"), Model(), 2, seed=0)
    model.layers[-1]  # built
    encoders = [layer for layer in model._flatten_layers() if isinstance(layer, keras_hub.layers.TransformerEncoder)]
    encoders[0]._self_attention_layer._query_dense.enable_lora(2)
    inputs = families.inputs(model, IDS, LENGTHS)
    arranged, got, _ = answers(model, inputs)
    assert len(arranged.joined) == 1
    np.testing.assert_allclose(got, model(inputs, training=False), atol=2e-6)
