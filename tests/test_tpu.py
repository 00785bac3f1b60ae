"""What is said where there is no TPU. The step that runs on one: test_static_shapes.py."""

import subprocess
import sys
import threading

import pytest
import tensorflow as tf

from tfft.errors import UserError
from tfft.training import tpu


def test_machine_without_a_tpu_is_told_at_once():
    code = ("from tfft.training.tpu import make_tpu_strategy\nfrom tfft.errors import exit_code\nimport sys\n"
            "sys.exit(exit_code(lambda: make_tpu_strategy(60)))")
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert made.returncode == 2, made.stderr[-2000:]
    text = " ".join(made.stderr.split())
    assert "There is no TPU to use (this machine: " in text and "python -m tfft.preflight" in text
    assert "Traceback" not in text


@pytest.fixture
def connect(monkeypatch):
    """Makes the resolver's connect do something else."""
    def replace(body):
        monkeypatch.setattr(tf.distribute.cluster_resolver.TPUClusterResolver, "connect", staticmethod(body))

    return replace


def test_tpu_that_does_not_answer_is_told_in_time(connect, monkeypatch):
    asked, held, at_exit = [], threading.Event(), []
    monkeypatch.setenv("TPU_NAME", "grpc://10.0.0.2:8470")
    monkeypatch.setattr(tpu.atexit, "register", lambda *call: at_exit.append(call))
    connect(lambda address: (asked.append(address), held.wait(60)))
    with pytest.raises(UserError, match="No TPU answered within 0.2 s .TPU_NAME=grpc://10.0.0.2:8470."):
        tpu.make_tpu_strategy(0.2)
    held.set()
    assert asked == ["grpc://10.0.0.2:8470"] and at_exit


def test_what_the_cloud_says_is_passed_on(connect, monkeypatch):
    monkeypatch.setenv("TPU_NAME", "mine")

    def refuse(address):
        raise RuntimeError("TPU mine is not READY.\nmore")

    connect(refuse)
    with pytest.raises(UserError, match="TPU_NAME=mine: TPU mine is not READY.. On a TPU VM"):
        tpu.make_tpu_strategy()


def test_strategies_of_cpus_are_not_compiled():
    assert not tpu.compiled_by_xla(tf.distribute.get_strategy())
