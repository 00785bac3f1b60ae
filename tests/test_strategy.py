"""Two replicas give the numbers of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfft.config import Distribution, Train
from tfft.training.strategy import make_strategy, set_up

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def runs():
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, str(HERE / "replicas.py")], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two", "two_accumulated"])
def test_two_replicas_train_like_one(runs, name):
    one, two = runs["one"], runs[name]
    assert runs["replicas"] == {"one": 1, "two": 2, "two_accumulated": 2}
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-6) and len(set(one["losses"])) == 6
    assert one["norms"] == pytest.approx(two["norms"], rel=1e-5) and max(one["norms"]) > 0.2  # some were clipped
    for path, weights in one["weights"].items():
        np.testing.assert_allclose(two["weights"][path], weights, atol=2e-6, err_msg=path)
    for a, b in zip(one["averages"], two["averages"], strict=True):
        np.testing.assert_allclose(b, a, atol=2e-6)


@pytest.mark.slow
def test_two_replicas_evaluate_like_one(runs):
    assert runs["one"]["rows"] == runs["two"]["rows"] == list(range(10))
    np.testing.assert_allclose(runs["two"]["averaged"], runs["one"]["averaged"], atol=1e-5)


@pytest.mark.slow
def test_two_replicas_resume_bit_for_bit(runs):
    assert runs["resumed"]


def test_one_device_is_the_default():
    for config in (Distribution(), Distribution(strategy="one_device")):
        assert make_strategy(config) is tf.distribute.get_strategy()


def test_seeds_decide_what_is_drawn():
    drawn = []
    for seed in (1, 1, 2):
        set_up(Train(seed=seed, deterministic=False))
        drawn.append(float(tf.random.normal([])))
    assert drawn[0] == drawn[1] != drawn[2]
