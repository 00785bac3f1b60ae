"""AdaLoRA's budget: how it shrinks, what is kept, the penalty, and that what is gone stays away."""

import dataclasses
import json
import math

import families
import keras
import numpy as np
import pytest
import steps
import tensorflow as tf
from safetensors.numpy import load_file

from tfft.config import Adaptation, Experiment, Model
from tfft.errors import UserError
from tfft.models.adaptation import choose_trained, sections
from tfft.models.adapters import kept_ranks, with_values
from tfft.models.peft import read_peft, write_peft
from tfft.run.assembly import Built
from tfft.training.ranks import RankBudget

METHOD = Adaptation(method="adalora", rank=2)


class Beside:
    """As models.adapters.LowRank has them: A [inputs, rank], values [rank], B [rank, outputs]."""

    def __init__(self, inputs: int, rank: int, outputs: int, draw):
        self.a, self.values, self.b = (keras.Variable(draw.normal(size=shape).astype(np.float32))
                                       for shape in ((inputs, rank), (rank,), (rank, outputs)))


def make(total_steps: int = 40, rank: int = 2) -> tuple[RankBudget, list, list[Beside]]:
    draw = np.random.default_rng(0)
    layers = [Beside(5, 3, 4, draw), Beside(4, 3, 6, draw)]
    head = keras.Variable(np.ones((4, 2), np.float32))
    variables = [head, *(v for layer in layers for v in (layer.a, layer.values, layer.b))]
    return RankBudget(layers, variables, rank, total_steps), variables, layers


def update(budget: RankBudget, gradients: list, step: int) -> None:
    budget.update(budget.mask, *budget.arguments([tf.constant(g) for g in gradients]), [], tf.constant(step, tf.int64))


def test_the_budget_shrinks_by_the_third_power():
    budget, _, _ = make()
    counts = [int(budget.budget(tf.constant(step, tf.int64))) for step in range(40)]
    assert counts[:5] == [6] * 5 and counts[20:] == [4] * 20  # 10% and 50% of the steps
    assert counts[4:21] == sorted(counts[4:21], reverse=True)
    assert counts[8] == round(4 + 2 * (1 - 4 / 16) ** 3) == 5


def test_what_matters_least_is_set_to_0():
    """The formulas of the paper's section 3.2, written out."""
    budget, variables, layers = make()
    draw, beta = np.random.default_rng(1), 0.85
    mean, spread = ({v.path: np.zeros(v.shape) for v in variables} for _ in range(2))
    for step in range(40):
        gradients = [draw.normal(size=v.shape).astype(np.float32) for v in variables]
        before = {v.path: v.numpy() for v in variables}
        update(budget, gradients, step)
        for v, gradient in zip(variables, gradients, strict=True):
            sensitive = np.abs(before[v.path] * gradient)
            mean[v.path] = beta * mean[v.path] + (1 - beta) * sensitive
            spread[v.path] = beta * spread[v.path] + (1 - beta) * np.abs(sensitive - mean[v.path])
        scores = np.concatenate([
            (mean[layer.values.path] * spread[layer.values.path])
            + (mean[layer.a.path] * spread[layer.a.path]).mean(0) + (mean[layer.b.path] * spread[layer.b.path]).mean(1)
            for layer in layers])
        values = np.concatenate([before[layer.values.path] for layer in layers])
        now = np.concatenate([layer.values.numpy() for layer in layers])
        if step < 4:
            np.testing.assert_array_equal(now, values)
        elif step <= 20:  # each step, where so few are to be had
            kept = np.argsort(-scores)[:int(budget.budget(tf.constant(step, tf.int64)))]
            expected = np.zeros(6)
            expected[kept] = values[kept]
            np.testing.assert_allclose(now, expected, rtol=1e-6)
            last = now
            for layer in layers:  # what Adam may do to one that was set to 0, and may be of use
                layer.values.assign(layer.values.numpy() + 0.01 * (step < 20))
        else:
            np.testing.assert_array_equal(now != 0, last != 0)
            for layer in layers:
                layer.values.assign(layer.values.numpy() + 0.1)
    assert np.count_nonzero(last) == 4
    np.testing.assert_array_equal(variables[0], np.ones((4, 2)))


def test_the_penalty_has_its_own_gradient():
    budget, variables, layers = make()
    with tf.GradientTape() as tape:
        apart = [tf.matmul(m, m, transpose_a=True) - tf.eye(3)
                 for layer in layers for m in (layer.a.value, tf.transpose(layer.b.value))]
        penalty = 0.1 * tf.add_n([tf.reduce_sum(tf.square(m)) for m in apart]) / 4
    expected = tape.gradient(penalty, [v.value for v in variables], unconnected_gradients="zero")
    loss, gradients = budget.penalised(tf.constant(1.0), [tf.zeros(v.shape) for v in variables], 0.5, 3.0)
    np.testing.assert_allclose(loss, 1 + 0.5 * penalty, rtol=1e-6)
    for mine, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(mine, 3 * theirs, rtol=1e-4, atol=1e-6)


def test_a_run_ends_with_the_rank_that_was_asked_for():
    rig = steps.Rig(steps.batches().repeat(), method=METHOD, total_steps=30, ema_decay=0.9)
    rig.train(3)
    layers = sections(rig.model)[1]
    assert set(kept_ranks(layers).replace(",", "").split()[1::2]) == {"3"}
    rig.train(27)
    found = with_values(layers)
    values = np.concatenate([beside.values.numpy() for beside in found.values()])
    assert len(found) == 12 and len(values) == 36 and np.count_nonzero(values) == 24
    rig.optimizer.swap_averages()
    averaged = np.concatenate([beside.values.numpy() for beside in found.values()])
    np.testing.assert_array_equal(averaged != 0, values != 0)


def test_what_is_gone_is_gone_after_a_resume(tmp_path):
    """tests/test_adapter_run.py kills a run of it; here all that is known of importance is in the checkpoint."""
    from tfft.training.checkpoints import Checkpoints

    whole, stopped, again = (steps.Rig(steps.batches().repeat(), method=METHOD, total_steps=30) for _ in range(3))
    whole.train(30)
    stopped.train(12)
    Checkpoints(tmp_path, stopped.model, stopped.optimizer, stopped.step, 1).save({})
    assert Checkpoints(tmp_path, again.model, again.optimizer, again.step, 1).restore(print) == {}
    assert 0 < np.count_nonzero(again.optimizer.budget.mask) < 36
    again.trainer.train_dataset = steps.batches().repeat().skip(12)
    again.train(18)
    for path, value in whole.weights().items():
        np.testing.assert_array_equal(again.weights()[path], value, err_msg=path)


def test_peft_has_it_as_a_lora_of_several_ranks(tmp_path):
    """What is added to each matrix is the same; ranks that are gone are not written."""
    backbone = families.backbone("bert", 0.0)
    choose_trained(backbone, Model(), METHOD, seed=5)
    found = with_values(sections(backbone)[1])
    draw = np.random.default_rng(0)
    for i, beside in enumerate(found.values()):
        beside.values.assign(draw.normal(size=3) * (np.arange(3) < i % 4))
    experiment = Experiment(adaptation=METHOD)
    write_peft(backbone, experiment, tmp_path)
    stated = json.loads((tmp_path / "adapter_config.json").read_text())
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert stated["peft_type"] == "LORA" and sorted(set(stated["rank_pattern"].values())) == [1, 2, 3] and len(tensors) == 24
    names = {"self_attention_layer/query": "attention.self.query", "feedforward_output_dense": "output.dense"}
    for path, beside in found.items():
        layer, _, matrix = path.partition("/")
        if matrix in names:
            name = f"encoder.layer.{layer[-1]}.{names[matrix]}"
            a, b = (tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
            rank, alpha = stated["rank_pattern"][name], stated["alpha_pattern"][name]
            assert a.shape[0] == b.shape[1] == rank
            kernel, _ = beside.merged()
            np.testing.assert_allclose(alpha / rank * (b @ a).T, kernel - beside.matrix(), atol=1e-6)
    other = dataclasses.replace(METHOD, method="lora")
    again = families.backbone("bert", 0.0)
    choose_trained(again, Model(), other, seed=5)
    with pytest.raises(UserError, match="its rank_pattern gives layers settings of their own"):
        read_peft(again, other, tmp_path)


@pytest.mark.parametrize("method", [Adaptation(), METHOD])
def test_the_memory_that_is_told(method):
    """Weights, gradients, two moments and an average; of AdaLoRA's weights what is known of their importance too."""
    rig = steps.Rig(None, method=method, ema_decay=0.9)
    trained = sum(math.prod(v.shape) for v in rig.model.trainable_variables)
    ranked = trained - sum(math.prod(v.shape) for v in rig.model.get_layer("head").variables) if method == METHOD else 0
    known = 2 * ranked + 36 if ranked else 0
    assert Built(rig.model, rig.optimizer, "").fixed_bytes == 4 * (rig.model.count_params() + 4 * trained + known)
