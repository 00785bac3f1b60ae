"""Pooling by hand, and classifiers over every encoder family."""

import families
import numpy as np
import pytest
import tensorflow as tf

from tfft.config import Model
from tfft.errors import UserError
from tfft.models.backbone import load_backbone
from tfft.models.heads import Pooling, pooled_classifier

SEQUENCE = [[[1.0, -1.0], [3.0, -5.0], [9.0, 9.0]], [[-4.0, 2.0], [7.0, 7.0], [7.0, 7.0]]]
MASK = [[1, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("kind, expected", [
    ("mean", [[2, -3], [-4, 2]]),
    ("max", [[3, -1], [-4, 2]]),
    ("cls", [[1, -1], [-4, 2]]),
    ("weighted_mean", [[7 / 3, -11 / 3], [-4, 2]]),
])
def test_pooling_of_hand_typed_arrays(kind, expected):
    np.testing.assert_allclose(Pooling(kind)(tf.constant(SEQUENCE), tf.constant(MASK)), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "weighted_mean", "max"])
def test_pooling_of_bfloat16_is_done_in_float32(kind):
    ones = tf.ones([1, 600, 1], tf.bfloat16)  # summed in bfloat16 they would stop at 256
    pooled = Pooling(kind)(ones, tf.ones([1, 600], tf.int32))
    assert pooled.dtype == tf.float32 and float(pooled[0, 0]) == 1.0


def test_pooling_is_rebuilt_from_its_config():
    assert Pooling.from_config(Pooling("max", name="p").get_config()).kind == "max"


@pytest.fixture(scope="module", params=list(families.FAMILIES))
def encoder(request):
    return request.param, families.backbone(request.param)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "pooled"])
def test_every_family_with_every_pooling(encoder, pooling):
    family, backbone = encoder
    if pooling == "pooled" and not families.FAMILIES[family][3]:
        with pytest.raises(UserError, match="has no pooler"):
            pooled_classifier(backbone, Model(pooling=pooling), 3, seed=0)
        return
    model = pooled_classifier(backbone, Model(pooling=pooling), 3, seed=0)
    short = model(families.inputs(backbone, [[2, 5, 6, 7]], [4]))
    assert short.dtype == tf.float32 and short.shape == (1, 3) and np.isfinite(short).all() and np.ptp(short) > 1e-3
    padded = model(families.inputs(backbone, [[2, 5, 6, 7, 0, 0], [2, 6, 0, 0, 0, 0]], [4, 2]))
    np.testing.assert_allclose(padded[:1], short, atol=1e-5)  # padding changes nothing


def test_head_follows_its_seed(tiny_preset):
    def kernel(seed):
        backbone = load_backbone(tiny_preset, precision="float32", dropout=-1)
        return pooled_classifier(backbone, Model(), 3, seed).get_layer("head").kernel.numpy()

    first = kernel(1)
    np.testing.assert_array_equal(kernel(1), first)
    assert (kernel(2) != first).any() and 0.005 < first.std() < 0.03


def test_head_dropout_acts_in_training_alone(tiny_preset):
    backbone = load_backbone(tiny_preset, precision="float32", dropout=0.0)
    x = families.inputs(backbone, [[2, 5, 6, 3]], [4])
    wet, dry = (pooled_classifier(backbone, Model(head_dropout=rate), 3, seed=0) for rate in (0.5, 0.0))
    np.testing.assert_array_equal(dry(x, training=True), dry(x))
    np.testing.assert_array_equal(wet(x), wet(x))
    assert (wet(x, training=True).numpy() != wet(x).numpy()).any()


def test_logits_are_float32_under_mixed_precision(tiny_preset):
    backbone = load_backbone(tiny_preset, precision="mixed_bfloat16", dropout=0.0)
    x = families.inputs(backbone, [[2, 5, 6, 3]], [4])
    for pooling in ("mean", "cls", "max", "pooled"):
        model = pooled_classifier(backbone, Model(pooling=pooling), 2, seed=0)
        assert model(x).dtype == tf.float32
        assert all(v.dtype == "float32" for v in model.trainable_variables)
