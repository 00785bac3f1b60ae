"""Static shapes, as XLA and so a TPU wants them: the compiled step, runs of one bucket, a whole run."""

import json
import os
import signal
from pathlib import Path

import families
import numpy as np
import pytest
import tensorflow as tf
from forked import Forked
from steps import TASK, Rig, batches
from stores import make_store
from test_step import linear_rig, same

from tfft.config import resolve
from tfft.data.pipeline import Epochs, Reader, dataset
from tfft.data.plan import PlanSettings
from tfft.errors import UserError
from tfft.evaluation.evaluator import Evaluator
from tfft.run import assembly, session
from tfft.run.assembly import make_feed, plan_settings
from tfft.run.session import Session
from tfft.run.workdir import Workdir
from tfft.training.feed import Feed
from tfft.training.loop import Interrupted

STEPS = 3


class CompiledStrategy:
    """The default strategy, but for a `run` that XLA compiles as a TPU's would be: static shapes, no op it lacks."""

    def __init__(self):
        self._strategy = tf.distribute.get_strategy()
        self.num_replicas_in_sync, self.scope = 1, self._strategy.scope
        self.traced = []

    def run(self, step, args):
        self.traced.append(tuple(args[0][3].shape) + tuple(args[0][0]["token_ids"].shape[1:]) if isinstance(
            args[0][0], dict) and "token_ids" in args[0][0] else ())
        return tf.function(step, jit_compile=True, reduce_retracing=False)(*args)

    def experimental_local_results(self, value):
        return (value,)


EVERYTHING = {"accumulation": 2, "clip_norm": 0.1, "l2": 0.1, "ema_decay": 0.9, "schedule": "cosine", "warmup_fraction": 0.5}


@pytest.mark.slow
def test_compiled_step_equals_the_uncompiled():
    compiled = Rig(batches(STEPS), CompiledStrategy(), xla=True, **EVERYTHING)
    plain = Rig(batches(STEPS), **EVERYTHING)
    assert compiled.losses(STEPS) == pytest.approx(plain.losses(STEPS), abs=1e-5)
    same(compiled.weights(), plain.weights(), 2e-5)


@pytest.mark.parametrize("use_loop", [False, True])
def test_compiled_step_reports_what_is_not_finite(use_loop):
    rig = linear_rig(strategy=CompiledStrategy(), xla=True, use_loop=use_loop)
    rig.train(2)
    rig.model.trainable_variables[0].assign([[np.inf], [1.0]])
    rig.train(2)
    assert int(rig.trainer.first_bad_step.numpy()) == 2


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_steps_of_every_family_compile(family):
    names = families.backbone(family).input
    data = batches(1).map(lambda x, *rest: ({n: x[n] for n in names}, *rest))
    rig = Rig(data, CompiledStrategy(), xla=True, family=family, dropout=0.1)
    batch = next(iter(data))
    answer = lambda batch: rig.model(batch[0], training=False)  # noqa: E731
    for step in (rig.trainer._replica_step, answer):
        lowered = tf.function(step, jit_compile=True).experimental_get_compiler_ir(batch)
        assert "HloModule" in lowered(stage="hlo", platform_name="CPU")


# ---- batches

def test_dataset_of_one_shape_is_static_and_has_its_steps_alone(tmp_path):
    store = make_store(tmp_path / "store", ["neg", "pos"] * 15)
    rows = np.arange(len(store))
    epochs = Epochs(lambda epoch: (store, rows, rows),
                    PlanSettings(batch_size=4, max_length=16, buckets=(4, 8, 16), run_length=2, multiple=2))
    stop, start = epochs.steps(3), 5
    shapes = {epochs.shape(step) for step in range(start, stop)}
    assert len(shapes) > 1
    reader = Reader(("token_ids", "padding_mask"), 0, TASK.targets(store, weighted=True), TASK.target_specs)
    seen = {}
    for shape in shapes:
        made = dataset(epochs, reader, start=start, stop=stop, replicas=2, shape=shape)
        assert all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(made.element_spec))
        steps = [step for step in range(start, stop) if epochs.shape(step) == shape]
        read = [np.concatenate([a[3], b[3]]) for a, b in zip(*[iter(made.as_numpy_iterator())] * 2, strict=True)]
        assert len(read) == len(steps)
        seen.update(zip(steps, read))
    for step in range(start, stop):
        epoch, batch = epochs.locate(step)
        np.testing.assert_array_equal(seen[step], epochs.epoch(epoch).plan.batch(batch).indices)


def test_evaluation_of_static_shapes_answers_the_same(tmp_path):
    store = make_store(tmp_path / "store", ["neg", "pos"] * 15)
    rig = Rig(batches(1))
    strategy = CompiledStrategy()
    answers = []
    for xla, chosen in ((False, rig.strategy), (True, strategy)):
        evaluator = Evaluator(rig.model, TASK, store, np.arange(len(store)), pad_id=0, batch_size=8, max_length=16,
                              strategy=chosen, xla=xla)
        evaluator.evaluate()
        answers.append(evaluator.report.probabilities)
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)
    assert strategy.traced == [(8, 8), (8, 16)]


# ---- a whole run

@pytest.fixture
def open_session(tiny_preset, reviews, cache, monkeypatch):
    """Makes a Session of a small run in this process, of static shapes unless told otherwise."""
    def make(workdir: Path, strategy=None, static=True, dropout=0.1, **settings) -> Session:
        experiment = resolve({
            "data": {"train": f"csv:{reviews}", "max_length": 24, "validation": "20%"},
            "model": {"backbone": tiny_preset, "dropout": dropout, "head_dropout": dropout},
            "train": {"global_batch_size": 16, "epochs": 2, "peak_learning_rate": 0.01, "steps_per_loop": 3, **settings}})
        monkeypatch.setattr(assembly, "compiled_by_xla", lambda strategy: static)
        if strategy:
            monkeypatch.setattr(session, "make_strategy", lambda config, cluster: strategy)
        opened = Workdir(workdir)
        return Session(experiment, opened, tiny_preset, Path(cache), opened.begin(experiment))

    return make


def weights_of(session: Session) -> list[np.ndarray]:
    return [v.numpy() for v in session.built.model.variables]


def interrupt_at(session: Session, step: int) -> None:
    """Trains until a SIGTERM after some loop at or behind `step`."""
    hooks = session.loop.hooks
    told = hooks.after_steps

    def tell(first, until, *rest):
        told(first, until, *rest)
        if until >= step:
            os.kill(os.getpid(), signal.SIGTERM)

    hooks.after_steps = tell
    with pytest.raises(Interrupted):
        session.run()
    session.workdir.release()


def longest_run(session: Session) -> tuple[int, int]:
    """(first step, first step after it) of the longest run of one shape."""
    epochs, total, step, runs = session.prepared.epochs, session.total_steps, 0, []
    while step < total:
        runs.append((step, epochs.same_shape_until(step, total)))
        step = runs[-1][1]
    return max(runs, key=lambda run: run[1] - run[0])


@pytest.mark.slow
def test_run_resumed_within_a_run_of_one_shape_ends_with_the_same_bits(open_session, tmp_path):
    whole = open_session(tmp_path / "whole")
    whole.run()
    feed = make_feed(whole.prepared, whole.built.model)
    for step in range(whole.total_steps):
        assert all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(feed.take(step, step + 1)[0].element_spec))
    first, end = longest_run(whole)
    assert end - first >= 2
    part = open_session(tmp_path / "part")
    part.loop.steps_per_loop = 1
    interrupt_at(part, first + 1)
    again = open_session(tmp_path / "part")
    assert again.loop.start_step == first + 1
    again.run()
    for a, b in zip(weights_of(whole), weights_of(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_compiled_run_and_its_continuation_without(open_session, tmp_path):
    """Begun where XLA compiles, continued where it does not: the plan stays, and so the result."""
    strategy = CompiledStrategy()
    settings = {"length_buckets": (16, 24), "epochs": 1, "dropout": 0.0}  # a CPU's own kernels draw other masks
    begun = open_session(tmp_path / "begun", strategy, **settings)
    interrupt_at(begun, 6)
    assert {shape for shape in strategy.traced} == {(16, 16), (16, 24)}
    plan = json.loads((tmp_path / "begun" / "plan.json").read_text())
    again = open_session(tmp_path / "begun", tf.distribute.get_strategy(), static=False, **settings)
    assert again.loop.start_step >= 6
    again.run()
    assert json.loads((tmp_path / "begun" / "plan.json").read_text()) == plan
    whole = open_session(tmp_path / "whole", tf.distribute.get_strategy(), static=True, **settings)
    whole.run()
    for a, b in zip(weights_of(whole), weights_of(again), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_batches_read_on_another_host():
    made = Forked([Path(__file__).with_name("remote_host.py")])
    answer = json.loads(made.output().splitlines()[-1])
    assert answer["same"] and answer["steps"] > 1 and answer["device"].startswith("/job:worker/")


class FewShapes(Epochs):
    """Twelve steps of shapes a a a b b a | a b b b b a."""

    def __init__(self):
        self._shapes = "aaabbaabbbba"

    def shape(self, step):
        return self._shapes[step]


@pytest.mark.parametrize("limit", [1, 2, 20])
@pytest.mark.parametrize("start", [0, 2, 4])
def test_feed_gives_every_step_its_batch(start, limit):
    epochs, made = FewShapes(), []

    def make(first, stop, shape):
        made.append(shape)
        return [step for step in range(first, stop) if epochs.shape(step) == shape]

    feed, step, read = Feed(epochs, make, 12, static=True), start, []
    while step < 12:
        iterator, until = feed.take(step, min(step + limit, 12))
        assert step < until <= step + limit and len({epochs.shape(s) for s in range(step, until)}) == 1
        read += [next(iterator) for _ in range(until - step)]
        step = until
    assert read == list(range(start, 12))
    assert len(made) == 2


def test_feed_of_any_shape_is_one_iterator():
    feed = Feed(FewShapes(), lambda first, stop, shape: range(first, stop), 12, static=False)
    first, until = feed.take(3, 7)
    assert [next(first) for _ in range(3, until)] == [3, 4, 5, 6] and feed.take(7, 9) == (first, 9)


# ---- what a run plans by

def planned(replicas=2, rows=6400, xla=True, recorded=None, **train) -> PlanSettings:
    experiment = resolve({"data": {"train": "csv:x.csv", "max_length": 128}, "train": {"global_batch_size": 16, **train}})
    return plan_settings(experiment, replicas, rows, xla, recorded)


def test_plan_settings_where_xla_compiles():
    settings = planned()
    assert settings.buckets == (16, 32, 48, 64, 96, 128) and settings.run_length == 13
    assert planned(rows=10**6).run_length == 20 and planned(rows=50).run_length == 1
    assert planned(steps_per_loop=5).run_length == 5
    assert planned(length_buckets=(64, 128)).buckets == (64, 128) and planned(length_multiple=16).buckets == ()
    assert planned(xla=False).run_length == 0 and planned(xla=False).buckets == ()


def test_constant_token_batches_are_the_same_for_one_to_eight_replicas():
    assert len({planned(replicas, xla=False, tokens_per_batch=1024) for replicas in (1, 2, 4, 8)}) == 1
    assert [planned(replicas, xla=False, tokens_per_batch=1000).multiple for replicas in (1, 2)] == [1, 2]  # 8 do not fit
    assert planned(3, xla=False, tokens_per_batch=1024).multiple == 3


def test_plan_settings_of_a_resumed_run_are_those_it_began_with():
    begun = planned(replicas=8, tokens_per_batch=2048)
    assert planned(replicas=4, tokens_per_batch=2048, recorded=begun) == begun
    assert planned(replicas=1, xla=False, tokens_per_batch=2048, recorded=begun) == begun
    with pytest.raises(UserError, match="multiples of 8 examples, which 3 replicas cannot share"):
        planned(replicas=3, tokens_per_batch=2048, recorded=begun)
