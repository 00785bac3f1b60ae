"""Adversarial training: what moves, by how much, and that replicas, micro-batches and precision change nothing."""

import families
import keras
import numpy as np
import pytest
import tensorflow as tf
from steps import TASK, Rig, batches
from test_step import same
from test_xla import DYNAMIC, rig_of, task_of

from tfft.config import Adaptation, Model, default_config, resolve
from tfft.errors import UserError
from tfft.models.nudged import NUDGE, Nudge, nudged
from tfft.tpu import lower


def test_a_nudge_by_hand():
    """The padding, at 9, counts for no length; both real tokens move along the direction, by the length 5 of [3, 0], [0, 4]."""
    moved = Nudge()(np.array([[[3.0, 0], [0, 4], [9, 9]]]), np.array([[[0, 0.1], [0.2, 0], [0, 0]]]), np.array([[1, 1, 0]]))
    np.testing.assert_allclose(moved, [[[3, 0.5], [1, 4], [9, 9]]], rtol=1e-6)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_family_is_nudged_at_its_lowest_layer(family):
    """At 0 the model is itself; else what the encoder gets is moved once, also where its layers are one."""
    model = TASK.build_model(families.backbone(family), Model(), seed=0)
    inputs = {name: value for name, value in next(iter(batches(1)))[0].items() if name in model.input}
    made, still = nudged(model), tf.zeros([4, 6, families.WIDTH])
    np.testing.assert_array_equal(made({**inputs, NUDGE: still}), model(inputs))
    assert np.abs(made({**inputs, NUDGE: still + 0.1}) - model(inputs)).max() > 1e-5
    assert sum(isinstance(layer, Nudge) for layer in made.layers) == 1
    assert [v.path for v in made.variables] == [v.path for v in model.variables]


def two_passes(rig: Rig, batch, share: float, loss=TASK.loss) -> tuple[float, list[np.ndarray]]:
    """(loss, gradients) in plain words: each example by itself is moved along its own slope."""
    inputs, targets, weights, _ = batch
    made = nudged(rig.model)
    still = tf.zeros([*inputs["token_ids"].shape, made.input[NUDGE].shape[-1]])

    def loss_at(nudge):
        return tf.reduce_sum(loss(targets, made({**inputs, NUDGE: nudge})) * weights)

    direction = []
    for i in range(4):
        with tf.GradientTape() as tape:
            tape.watch(still)
            one = loss_at(still)
        slope = tape.gradient(one, still)[i]
        direction.append(share * slope / tf.norm(slope))
    variables = [v.value for v in rig.model.trainable_variables]
    with tf.GradientTape() as tape:
        total = (loss_at(still) + loss_at(tf.stack(direction))) / 2
    return float(total), [tf.convert_to_tensor(g).numpy() for g in tape.gradient(total, variables)]


def test_half_of_a_step_is_against_each_example():
    rig = Rig(batches(1), fgm=0.3, clip_norm=0.0, weight_decay=0.0)
    expected, gradients = two_passes(rig, next(iter(batches(1))), 0.3)
    plain = Rig(batches(1), clip_norm=0.0).train(1)["loss"]
    assert rig.train(1)["loss"] == pytest.approx(expected, rel=1e-5) and expected > plain
    for variable, momentum, gradient in zip(rig.model.trainable_variables, rig.optimizer.momentum, gradients, strict=True):
        np.testing.assert_allclose(momentum.numpy() / 0.1, gradient, atol=2e-6, err_msg=variable.path)


def texts_for(case: str, **changes) -> tuple[Rig, tuple]:
    """(rig of a task that writes, a batch of 4 texts of 16 tokens, the last of which are padding)."""
    usual = {"accumulation": 1, "clip_norm": 0.0, "ewc": 0.0, "l2": 0.0, "ema_decay": 0.0, "weight_decay": 0.0}
    rig, (inputs, targets, *_) = rig_of(case, 0.0, xla=False, **{**usual, **changes})
    draw, mask = np.random.default_rng(4), (np.arange(16) < [[16], [9], [12], [5]]).astype(np.int32)

    def numbers(spec):
        return draw.integers(1, 10, spec.shape).astype(np.int32)

    given = {name: mask if name == "padding_mask" else numbers(spec) * (mask if name == "token_ids" else 1)
             for name, spec in inputs.items()}
    wanted = {name: given.get(name, numbers(spec)) for name, spec in targets.items()}
    batch = tf.nest.map_structure(tf.constant, (given, wanted, np.full(4, 0.25, np.float32), np.arange(4)))
    rig.trainer.train_dataset = tf.data.Dataset.from_tensors(batch).repeat()
    return rig, batch


@pytest.mark.parametrize("case", ["causal_lm", "seq2seq"])
def test_tasks_that_write_are_moved_too(case):
    """Language models at all tokens, encoder-decoders at the source; the former in parts and compiled as well."""
    rig, batch = texts_for(case, fgm=0.3)
    expected, gradients = two_passes(rig, batch, 0.3, task_of(case).loss)
    assert expected > float(tf.reduce_sum(task_of(case).loss(batch[1], rig.model(batch[0])) * batch[2]))
    assert rig.train(1)["loss"] == pytest.approx(expected, rel=1e-5)
    for variable, momentum, gradient in zip(rig.model.trainable_variables, rig.optimizer.momentum, gradients, strict=True):
        np.testing.assert_allclose(momentum.numpy() / 0.1, gradient, atol=5e-6, err_msg=variable.path)
    if case == "causal_lm":
        parts = texts_for(case, fgm=0.3, accumulation=2)[0]
        assert parts.train(1)["loss"] == pytest.approx(expected, rel=1e-5)
        same(rig.weights(), parts.weights(), 1e-5)
        compiled, spec = rig_of(case, fgm=0.3, accumulation=1)
        assert not any(op in lower.training_step(compiled.trainer, spec) for op in DYNAMIC)


def test_micro_batches_and_half_precision_are_as_the_whole_batch():
    one, parts, half = (Rig(batches(), fgm=0.3, **more)
                        for more in ({}, {"accumulation": 2}, {"precision": "mixed_float16"}))
    for _ in range(3):
        losses = [rig.train(1)["loss"] for rig in (one, parts, half)]
        assert losses[1] == pytest.approx(losses[0], abs=1e-6) and losses[2] == pytest.approx(losses[0], rel=5e-3)
    same(one.weights(), parts.weights(), 1e-5)


def test_frozen_layers_and_adapters_are_moved_above():
    for changes in ({"adaptation": Model(frozen_layers=1)}, {"method": Adaptation(method="lora", rank=2)}):
        rig, plain = Rig(batches(1), fgm=0.3, **changes), Rig(batches(1), **changes)
        assert rig.train(1)["loss"] > plain.train(1)["loss"]


@pytest.mark.parametrize("task, changes, why", [
    ("embedding", {}, "its own loss, and that of embedding is one of all"), ("masked_lm", {}, "is for tasks with labels"),
    ("causal_lm", {"task__pack": True}, "config.task.pack=True has several of them in a row"),
    ("text_classification", {"adaptation__method": "prompt"}, "where adaptation.method=prompt learns more of it"),
    ("text_classification", {"model__frozen_layers": 1, "train__activation_cache": "float32"}, "starts above them")])
def test_what_cannot_be_moved_is_told(task, changes, why):
    config = default_config(task)
    config.data.train = "csv:a.csv"
    for name, value in {"train__fgm": 0.1, **changes}.items():
        group, _, field = name.partition("__")
        config[group][field] = value
    with pytest.raises(UserError, match=why):
        resolve(config)


def test_a_model_without_a_known_encoder_is_told():
    given = keras.Input((3,), name="token_ids"), keras.Input((3,), name="padding_mask")
    model = keras.Model({one.name: one for one in given}, keras.layers.Dense(2)(given[0]))
    with pytest.raises(UserError, match="this model has none that are known"):
        nudged(model)
