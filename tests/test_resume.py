"""A run that is stopped at any moment ends with the same bits as one that is not."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from commands import ROOT, arguments, run, saved, start, wait_for
from safetensors.numpy import load_file, save_file

pytestmark = pytest.mark.slow
# an augmented epoch takes a second, whatever its size: few epochs of many steps
LONG = ("--config.train.epochs=3", "--config.train.global_batch_size=4", "--config.train.checkpoint_every_steps=10",
        "--config.eval.every_steps=60", "--config.train.ema_decay=0.99",
        "--config.data.augmentation.delete=0.1", "--config.train.accumulation=2")


@pytest.fixture(scope="module")
def uninterrupted(tiny_preset, reviews, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    cache = str(folder / "cache")
    run(arguments(tiny_preset, reviews, folder / "run", *LONG), cache)
    return folder / "run", cache


def assert_same(workdir, other) -> None:
    for which in ("last", "best"):
        ours, theirs = (load_file(w / which / "weights.safetensors") for w in (workdir, other))
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert (ours[name] == theirs[name]).all(), (which, name)
    lines = [[json.loads(line) for line in (w / "metrics.jsonl").read_text().splitlines()] for w in (workdir, other)]
    judged = [[line for line in some if line["kind"] == "validation"] for some in lines]
    assert judged[0] == judged[1]


def test_killed_twice_ends_with_the_same_bits(uninterrupted, tiny_preset, reviews, tmp_path):
    whole, cache = uninterrupted
    command = arguments(tiny_preset, reviews, tmp_path / "run", *LONG)
    for step in (30, 80):
        process = start(command, cache)
        wait_for(lambda step=step: saved(tmp_path / "run") >= step, process)
        process.kill()
        process.communicate()
    reached = saved(tmp_path / "run")
    assert 80 <= reached < 144
    _, said = run(command, cache)
    assert "continuing at step" in said
    assert_same(tmp_path / "run", whole)


def test_sigterm_saves_and_leaves(uninterrupted, tiny_preset, reviews, tmp_path):
    whole, cache = uninterrupted
    command = arguments(tiny_preset, reviews, tmp_path / "run", *LONG)
    process = start(command, cache)
    wait_for(lambda: saved(tmp_path / "run") >= 30, process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and "saved" in error and "Traceback" not in error
    step = saved(tmp_path / "run")
    assert f"at step {step}" in error
    _, said = run(command, cache)
    assert f"continuing at step {step}" in said
    assert_same(tmp_path / "run", whole)


def test_two_replicas_killed_and_stopped_end_with_the_same_bits(tiny_preset, reviews, tmp_path):
    """tools/kill_and_resume.py, small: SIGKILL, SIGTERM, and the same command to the end."""
    settings = arguments(tiny_preset, reviews, "", *LONG, "--config.train.epochs=2", "--config.eval.every_steps=40",
                         "--config.train.accumulation=1", "--config.train.ema_decay=0", "--config.distribution.cpu_replicas=2")
    command = [sys.executable, ROOT / "tools" / "kill_and_resume.py", "--kills=1", f"--folder={tmp_path}", "--",
               *(a for a in settings[1:] if not a.startswith("--workdir"))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600,
                          env={**os.environ, "TFFT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT),
                               "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("left alone: 96 steps", "SIGKILL 1 after step", "SIGTERM after step", "exit code 143",
                     "have the same bits; 3 evaluations the same"):
        assert expected in done.stdout, (expected, done.stdout)


def test_one_other_bit_is_seen(tmp_path):
    different = runpy.run_path(str(ROOT / "tools" / "kill_and_resume.py"))["different"]
    weights = {"a": np.zeros(3, np.float32), "b": np.ones(2, np.float32)}
    for run_, last in (("one", weights), ("other", {**weights, "a": np.array([0, -0.0, 0], np.float32)})):
        for which, values in (("best", weights), ("last", last)):
            (tmp_path / run_ / which).mkdir(parents=True)
            save_file(values, tmp_path / run_ / which / "weights.safetensors")
    assert different(tmp_path / "one", tmp_path / "other") == ["last/a"]
    assert different(tmp_path / "one", tmp_path / "one") == []


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(uninterrupted, tiny_preset, reviews, tmp_path):
    whole, cache = uninterrupted
    command = arguments(tiny_preset, reviews, tmp_path / "run", *LONG)
    process = start(command, cache)
    wait_for(lambda: saved(tmp_path / "run") >= 40, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1]
    data = newest / "checkpoint.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    _, said = run(command, cache)
    assert f"{newest.name} is damaged" in said and "does not match its checksum" in said
    assert_same(tmp_path / "run", whole)


def test_only_damaged_checkpoints_never_start_over(uninterrupted, tiny_preset, reviews, tmp_path):
    whole, cache = uninterrupted
    shutil.copytree(whole, tmp_path / "run")
    for folder in (tmp_path / "run" / "checkpoints").glob("step-*"):
        (folder / "state.json").unlink()
    _, error = run(arguments(tiny_preset, reviews, tmp_path / "run", *LONG), cache, code=2)
    assert "None of the 2 checkpoints" in error and "To start over" in error


def test_other_data_is_refused(uninterrupted, tiny_preset, reviews, tmp_path):
    whole, cache = uninterrupted
    data = tmp_path / "reviews.csv"
    shutil.copy(reviews, data)
    settings = ("--config.train.epochs=1",)
    run(arguments(tiny_preset, data, tmp_path / "run", *settings), cache)
    with open(data, "a") as file:
        file.write("good film of another day,pos\n")
    _, error = run(arguments(tiny_preset, data, tmp_path / "run", *settings), cache, code=2)
    assert "The train and validation rows are not those this run began with" in error


def test_a_loss_that_is_not_finite_names_step_and_rows(tiny_preset, reviews, cache, tmp_path):
    command = arguments(tiny_preset, reviews, tmp_path / "run", "--config.train.peak_learning_rate=1e38",
                        "--config.train.checkpoint_every_steps=1", "--config.train.schedule=constant")
    _, error = run(command, cache, code=2)
    assert "not a finite number at step" in error and "reviews.csv:" in error and "peak_learning_rate" in error
    assert "Traceback" not in error
