"""Layers that are computed again for the backward pass: the numbers are those of layers that keep everything."""

import families
import numpy as np
import pytest
import tensorflow as tf
import test_causal_lm_loss as language
from steps import Rig, batches
from test_step import same
from test_xla import DYNAMIC, rig_of

from tfft.config import Adaptation, Model, Train
from tfft.models.adaptation import sections
from tfft.models.backbone import sequence_output
from tfft.models.kernels import fast_cpu
from tfft.models.remat import rematerialised
from tfft.tpu import lower
from tfft.training.strategy import set_up

SETTINGS = {
    "plain": {},
    "micro-batches": {"accumulation": 2},
    "lora": {"method": Adaptation(method="lora", rank=2, dropout=0.2), "layers": 1},
    "halves": {"halves": True, "layers": 1},
    "adversarial": {"fgm": 0.1, "layers": 1},
    "frozen": {"adaptation": Model(frozen_layers=1)},
    "xla": {"xla": True, "layers": 1},
}


def backbone(family: str):
    if family in families.FAMILIES:
        return families.backbone(family, 0.3, layers=1 if family != "albert" else 2)
    kind, sizes = language.FAMILIES[family]
    made, draw = kind(**{**sizes, "num_layers": 1}, dropout=0.3), np.random.default_rng(3)
    for variable in made.trainable_variables:
        variable.assign(draw.normal(0.0, 0.3, variable.shape))
    return made


@pytest.mark.parametrize("family", [*families.FAMILIES, *(f for f in language.FAMILIES if f not in ("llama_untied", "qwen3"))])
def test_every_family_has_the_same_gradients(family):
    """Of two calls in a row: the second draws other masks than the first, and so does what is computed again of it."""
    own = backbone(family)
    layers, model = sections(own)[1], tf.keras.Model(own.input, sequence_output(own))
    assert layers
    given = families.inputs(own, np.random.default_rng(0).integers(5, 14, (3, 7)), [7, 4, 1])
    states = [v for v in own.variables if "seed_generator" in v.path]
    before = [v.numpy() for v in states]

    @tf.function(autograph=False)
    def slopes(again):
        with tf.GradientTape() as tape, fast_cpu(), rematerialised(layers if again else [], fast_cpu, False):
            made = [model(given, training=True) for _ in range(2)]
            total = sum(tf.reduce_sum(tf.sin(output) * weight) for output, weight in zip(made, (1.0, 2.0), strict=True))
        return made, tape.gradient(total, [v.value for v in model.trainable_variables])

    found = []
    for again in (False, True):
        for state, value in zip(states, before, strict=True):
            state.assign(value)
        made, gradients = slopes(again)
        found.append(([*made, *(tf.convert_to_tensor(g) for g in gradients if g is not None)], [v.numpy() for v in states]))
    assert np.abs(found[0][0][0] - found[0][0][1]).max() > 0.01 or family in ("gemma", "gemma2")
    assert len(found[0][0]) == len(found[1][0]) > 8
    for one, other in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)  # sums of many numbers
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("name", SETTINGS)
def test_training_has_the_same_course(name):
    found = []
    for remat in (False, True):
        set_up(Train(seed=1))  # seeds of dropout layers
        rig = Rig(batches(), dropout=0.2, remat=remat, **SETTINGS[name])
        others = {str(i): v.numpy() for i, v in enumerate(rig.model.non_trainable_variables)}
        found.append((rig.losses(4), rig.weights(), others))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6) and len(set(found[0][0])) == 4
    same(found[0][1], found[1][1], 1e-6)
    same(found[0][2], found[1][2], 0.0 if name != "frozen" else 1e-6)


def test_a_layer_is_computed_again_when_its_slopes_are_there():
    """And not before, however many cores wait for work."""
    own, order = families.backbone("bert", 0.1), []
    layers, model = sections(own)[1], tf.keras.Model(own.input, sequence_output(own))
    given = families.inputs(own, np.random.default_rng(0).integers(5, 14, (3, 7)), [7, 4, 1])

    def noted(x, name):
        with tf.control_dependencies([tf.numpy_function(lambda: order.append(name), [], [])]):
            return tf.identity(x)

    for number, layer in enumerate(layers):
        dense = layer._feedforward_intermediate_dense
        dense.activation = lambda x, inner=dense.activation, number=number: inner(noted(x, number))

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape, rematerialised(layers, fast_cpu, False):
            loss = noted(tf.reduce_sum(tf.sin(model(given, training=True))), "loss")
        return tape.gradient(loss, [v.value for v in model.trainable_variables if "transformer" in v.path])

    step()
    assert order == [0, 1, "loss", 1, 0]


@pytest.mark.parametrize("case", ["single_label", "causal_lm"])
def test_the_step_for_a_tpu_computes_again_behind_a_barrier(case):
    """XLA makes one of two equal computations otherwise."""
    lowered = {}
    for remat in (False, True):
        rig, spec = rig_of(case, remat=remat)
        lowered[remat] = lower.training_step(rig.trainer, spec)
    assert b"opt-barrier" in lowered[True] and b"opt-barrier" not in lowered[False]
    assert len(lowered[True]) > 1.1 * len(lowered[False]) and not any(op in lowered[True] for op in DYNAMIC)
