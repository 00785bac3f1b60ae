"""Static shapes, as XLA and so a TPU wants them: the compiled step, runs of one bucket, a whole run."""

import families
import numpy as np
import pytest
import tensorflow as tf
from steps import Rig, batches
from test_step import linear_rig, same

STEPS = 3


class CompiledStrategy:
    """The default strategy, but for a `run` that XLA compiles as a TPU's would be: static shapes, no op it lacks."""

    def __init__(self):
        self._strategy = tf.distribute.get_strategy()
        self.num_replicas_in_sync, self.scope = 1, self._strategy.scope

    def run(self, step, args):
        return tf.function(step, jit_compile=True, reduce_retracing=False)(*args)

    def experimental_local_results(self, value):
        return (value,)


EVERYTHING = {"accumulation": 2, "clip_norm": 0.1, "l2": 0.1, "ema_decay": 0.9, "schedule": "cosine", "warmup_fraction": 0.5}


@pytest.mark.parametrize("settings", [{}, EVERYTHING])
def test_compiled_step_equals_the_uncompiled(settings):
    compiled = Rig(batches(STEPS), CompiledStrategy(), xla=True, **settings)
    plain = Rig(batches(STEPS), **settings)
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
def test_step_of_every_family_compiles(family):
    names = families.backbone(family).input
    data = batches(1).map(lambda x, *rest: ({n: x[n] for n in names}, *rest))
    rig = Rig(data, CompiledStrategy(), xla=True, family=family, dropout=0.1)
    batch = next(iter(data))
    step = tf.function(rig.trainer._replica_step, jit_compile=True)
    assert "HloModule" in step.experimental_get_compiler_ir(batch)(stage="hlo", platform_name="CPU")
