"""Float16 and bfloat16: what stays float32, how the loss scale moves, and that a step which overflows does no harm."""

import json
from pathlib import Path

import families
import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import arguments, run
from conftest import write_reviews
from forked import Forked
from steps import TASK, Rig, batches

from tfft.config import Model
from tfft.models.heads import pooled_classifier
from tfft.run.workdir import open_run
from tfft.serving.export import export
from tfft.training.precision import INITIAL_SCALE, LARGEST_SCALE, LossScale

HERE = Path(__file__).parent
HALF = "mixed_float16"


def state(rig: Rig) -> bytes:
    """Every bit that training may change, but the step and the loss scale."""
    optimizer = rig.optimizer
    return b"".join(v.numpy().tobytes() for v in (*rig.model.variables, *optimizer.momentum, *optimizer.velocity,
                                                  *optimizer.averages))


def scale(rig: Rig) -> tuple[float, int, int]:
    """(loss scale, finite steps since it changed, steps skipped)."""
    kept = rig.optimizer.loss_scale
    return float(kept.scale.numpy()), int(kept.good_steps.numpy()), int(kept.skipped_steps.numpy())


def overflowing(dataset: tf.data.Dataset, at: set[int]) -> tf.data.Dataset:
    """The dataset, with a row weight in the batches `at` that no gradient in float16 survives."""
    def heavier(i, batch):
        inputs, targets, weights, rows = batch
        heavy = tf.reduce_any(tf.equal(i, tf.constant(sorted(at), tf.int64)))
        return inputs, targets, tf.where(heavy, weights + 1e9, weights), rows

    return dataset.enumerate().map(heavier)


def linear_rig(dataset: tf.data.Dataset | None = None, **settings) -> Rig:
    """y = x . w in float16 from w = [0, 0], and the loss weight x (y - 1)^2: quickly traced."""
    x = keras.Input((2,), name="x")
    layer = keras.layers.Dense(1, use_bias=False, dtype=settings.get("precision", HALF))
    model = keras.Model({"x": x}, keras.layers.Activation("linear", dtype="float32")(layer(x)))
    layer.kernel.assign([[0.0], [0.0]])
    return Rig(dataset or rows(), model=model, loss=lambda t, y: tf.square(y[:, 0] - t),
               **{"precision": HALF, **settings})


def rows(count: int = 20, weight: float = 0.25) -> tf.data.Dataset:
    """Batches of one row for `linear_rig`, x = [1 + i / 16, 1]. At the initial scale a weight of 1 would overflow."""
    x = np.stack([1 + np.arange(count) / 16, np.ones(count)], -1)[:, None].astype(np.float32)
    return tf.data.Dataset.from_tensor_slices(({"x": x}, np.ones((count, 1), np.float32),
                                               np.full((count, 1), weight, np.float32), np.zeros((count, 1), np.int64)))


# ---- the loss scale

def test_scale_doubles_after_good_steps_and_halves_after_an_overflow():
    kept = LossScale(growth_steps=2)
    seen = []
    for finite in (True, False, True, True, True, False, True, True):
        assert not kept.update(tf.constant(finite)).numpy()
        seen.append((kept.scale.numpy() / INITIAL_SCALE, int(kept.good_steps.numpy()), int(kept.skipped_steps.numpy())))
    assert seen == [(1, 1, 0), (0.5, 0, 1), (0.5, 1, 1), (1, 0, 1), (1, 1, 1), (0.5, 0, 2), (0.5, 1, 2), (1, 0, 2)]


def test_scale_has_limits():
    kept = LossScale(growth_steps=1)
    for _ in range(20):
        kept.update(tf.constant(True))
    assert kept.scale.numpy() == LARGEST_SCALE == 2.0**24
    hopeless = [bool(kept.update(tf.constant(False)).numpy()) for _ in range(26)]
    assert kept.scale.numpy() == 1.0 and hopeless == [False] * 24 + [True] * 2


def test_other_precisions_have_no_scale():
    for precision in ("float32", "mixed_bfloat16"):
        rig = linear_rig(precision=precision)
        assert rig.optimizer.loss_scale is None and set(rig.train(1)) == {"loss", "gradient_norm", "learning_rate"}
        graph = tf.function(rig.trainer._replica_step).get_concrete_function(next(iter(rows()))).graph
        assert not [op.name for op in graph.get_operations() if op.type in ("If", "StatelessIf")]


# ---- the step

def test_float16_trains_as_float32_does():
    settings = {"accumulation": 2, "l2": 0.1, "clip_norm": 0.3, "ema_decay": 0.9, "ewc": 0.5}
    one, half = Rig(batches(), **settings), Rig(batches(), precision=HALF, **settings)
    start = one.weights()
    for _ in range(5):
        a, b = one.train(1), half.train(1)
        assert b["loss"] == pytest.approx(a["loss"], rel=5e-3)
        assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=2e-2)
    assert (b["updates"], b["loss_scale"], b["skipped_steps"]) == (1, INITIAL_SCALE, 0)
    # Adam makes a whole step of a gradient that is nearly 0 and whose sign float16 may lose: all but a few agree
    for rows in (zip(one.optimizer.velocity, half.optimizer.velocity, strict=True),
                 zip(one.optimizer.averages, half.optimizer.averages, strict=True)):
        for a, b in rows:
            assert np.linalg.norm(a.numpy() - b.numpy()) <= 0.06 * np.linalg.norm(a.numpy()) + 1e-7
    moved = {path: np.linalg.norm(w - start[path]) for path, w in one.weights().items()}
    apart = {path: np.linalg.norm(w - half.weights()[path]) for path, w in one.weights().items()}
    assert 0 < sum(apart.values()) < 0.1 * sum(moved.values())


def test_gradients_below_the_smallest_float16_are_kept():
    # the gradient by y = 0 is -2 x 2^-27, exactly, and x = [1, 1]: 0 in float16, whose smallest number is 2^-24
    rig = linear_rig(rows(1, weight=2.0**-27).repeat())
    rig.optimizer.loss_scale.scale.assign(1.0)
    assert rig.train(1)["gradient_norm"] == 0
    rig.optimizer.loss_scale.scale.assign(INITIAL_SCALE)
    assert rig.train(1)["gradient_norm"] == pytest.approx(np.sqrt(2) * 2.0**-26, rel=1e-6)


def test_a_step_that_overflows_changes_nothing_but_the_scale_and_the_step():
    rig = Rig(overflowing(batches(), {1}), precision=HALF, ema_decay=0.9, l2=0.1, accumulation=2)
    rig.train(1)
    before = state(rig)
    made = rig.train(1)
    assert state(rig) == before and int(rig.step.numpy()) == 2
    assert scale(rig) == (INITIAL_SCALE / 2, 0, 1)
    assert made == {"loss": 0, "gradient_norm": 0, "learning_rate": pytest.approx(0.009), "updates": 0,
                    "loss_scale": INITIAL_SCALE / 2, "skipped_steps": 1}
    assert int(rig.trainer.first_bad_step.numpy()) == -1
    assert rig.train(1)["updates"] == 1 and state(rig) != before


@pytest.mark.parametrize("use_loop", [False, True])
def test_skipped_steps_leave_no_trace_in_the_weights(use_loop):
    # the batches that stay are those of a run without the others; bias correction counts updates, not steps
    settings = {"schedule": "constant", "ema_decay": 0.9, "use_loop": use_loop}
    rig = linear_rig(overflowing(rows(5), {0, 3}), **settings)
    made = rig.train(5)
    kept = linear_rig(rows(5).enumerate().filter(lambda i, _: i != 0 and i != 3).map(lambda _, batch: batch), **settings)
    expected = kept.train(3)
    assert state(rig) == state(kept)
    assert (made["updates"], made["skipped_steps"]) == (3, 2) and int(rig.step.numpy()) == 5
    assert made["loss"] == pytest.approx(expected["loss"]) and made["gradient_norm"] == pytest.approx(expected["gradient_norm"])


def test_a_loss_that_no_scale_makes_finite_is_bad():
    rig = linear_rig()
    rig.model.trainable_variables[0].assign([[np.nan], [0.0]])
    rig.train(15)  # 2^15 -> 1
    assert int(rig.trainer.first_bad_step.numpy()) == -1 and scale(rig) == (1.0, 0, 15)
    rig.train(2)
    assert int(rig.trainer.first_bad_step.numpy()) == 15


# ---- what stays float32

@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_weights_optimizer_logits_loss_and_norms_are_float32(precision):
    seen = []

    def loss(targets, logits):
        made = TASK.loss(targets, logits)
        seen.append((logits.dtype, made.dtype))
        return made

    rig = Rig(batches(1), precision=precision, loss=loss, ema_decay=0.9, dropout=0.1)
    rig.train(1)
    optimizer = rig.optimizer
    for v in (*rig.model.trainable_variables, *optimizer.momentum, *optimizer.velocity, *optimizer.averages):
        assert v.dtype == "float32", v
    assert set(seen) == {(tf.float32, tf.float32)}
    low = [layer.name for layer in rig.model.layers if layer.compute_dtype == precision.removeprefix("mixed_")]
    assert len([name for name in low if "transformer_layer" in name]) == families.LAYERS  # and the policy did take hold
    loss, gradients = rig.trainer._local_gradients(next(iter(batches(1))))
    assert {loss.dtype, *(g.dtype for g in gradients)} == {tf.float32}


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_pooling_and_normalisation_hold_numbers_whose_sums_float16_does_not(pooling):
    norm = keras.layers.LayerNormalization(dtype=HALF)
    out = norm(tf.constant([[3e4, -3e4, 6e4, 1e4]], tf.float16))  # squares and sum above 65,504
    assert out.dtype == tf.float16
    np.testing.assert_allclose(out, [[0.3824, -1.4530, 1.3000, -0.2294]], atol=2e-3)
    made = families.backbone("bert", precision=HALF)
    model = pooled_classifier(made, Model(pooling=pooling), 2, seed=0)
    layer = model.get_layer("pooling")
    pooled = layer(tf.fill([1, 8, 4], tf.constant(6e4, tf.float16)), tf.ones([1, 8], tf.int32))
    np.testing.assert_allclose(tf.cast(pooled, tf.float32), np.full((1, 4), 6e4), rtol=1e-3)


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_every_family_takes_a_float16_step(family):
    dataset = batches(1)
    names = families.backbone(family).input
    rig = Rig(dataset.map(lambda x, *rest: ({n: x[n] for n in names}, *rest)), family=family, dropout=0.1, precision=HALF)
    before = state(rig)
    rig.trainer.train_step(iter(rig.trainer.train_dataset))  # eagerly: nothing is traced
    assert scale(rig) == (INITIAL_SCALE, 1, 0) and state(rig) != before
    assert all(np.isfinite(w).all() for w in rig.weights().values())


# ---- two replicas

@pytest.fixture(scope="module")
def replicas():
    return json.loads(Forked([HERE / "precision_replicas.py"]).output().splitlines()[-1])


@pytest.mark.slow
def test_float16_trains_on_two_replicas_as_on_one(replicas):
    one, two = replicas["one"], replicas["two"]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert two["losses"] == pytest.approx(one["losses"], rel=5e-3) and two["norms"] == pytest.approx(one["norms"], rel=0.05)
    assert one["skipped"] == two["skipped"] == 0
    for made in (one, two):
        assert np.mean(made["losses"][-5:]) < 0.7 * np.mean(made["losses"][:5])


@pytest.mark.slow
def test_an_overflow_on_one_replica_skips_the_step_on_all(replicas):
    made = replicas["injected"]
    assert made["local_losses_finite"] == [True, True] and made["local_gradients_finite"] == [True, False]
    assert made["skipped"] == 1 and made["scale"] == INITIAL_SCALE / 2 and made["step"] == 2
    assert made["unchanged"] == [True, True] and made["trained_on"] == [True, True] and made["replicas_equal"]


@pytest.mark.slow
def test_float16_resumes_bit_for_bit_with_its_scale(replicas):
    made = replicas["injected"]
    assert made["differed_before"] and made["equal_after"]
    assert made["saved_scale"] == made["restored_scale"] == [INITIAL_SCALE, 0, 1]  # halved, doubled after 2 good steps
    assert made["scale_after"] == [INITIAL_SCALE / 2, 1, 2]  # the fifth step was skipped too


# ---- whole runs

@pytest.mark.slow
def test_a_float16_run_shows_what_it_skipped_and_serves_in_float32(tiny_preset, cache, tmp_path, monkeypatch):
    # values near a thousand, not standardised: at the initial scale their gradient is above 65,504
    data, workdir = tmp_path / "values.csv", tmp_path / "run"
    write_reviews(data, 240)
    data.write_text(data.read_text().replace(",pos", ",1200").replace(",neg", ",900"))
    _, error = run(arguments(tiny_preset, data, workdir, "--config.train.precision=mixed_float16",
                             "--config.task.problem=regression", "--config.task.standardize=False"), cache)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    assert train[-1]["skipped_steps"] >= 1 and train[-1]["loss_scale"] < INITIAL_SCALE
    assert f"steps skipped (float16 overflow) {train[-1]['skipped_steps']:.0f}" in error
    assert f"loss scale at the end {train[-1]['loss_scale']:,.0f}" in error and "steps skipped, loss scale" in error
    monkeypatch.setenv("TFFT_CACHE", cache)
    model = open_run(workdir).model
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert export(str(workdir), "", "") == 0


@pytest.mark.slow
def test_float16_stops_where_no_scale_helps(tiny_preset, reviews, cache, tmp_path):
    command = arguments(tiny_preset, reviews, tmp_path / "run", "--config.train.peak_learning_rate=1e38",
                        "--config.train.precision=mixed_float16", "--config.train.schedule=constant",
                        "--config.eval.every_steps=50")
    _, error = run(command, cache, code=2)
    assert "not a finite number at step" in error and "loss scale 1 after" in error and "Traceback" not in error
    assert "--config.train.precision=float32" in error
