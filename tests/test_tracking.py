"""config.track: Weights & Biases by the real library, offline and without a key; what goes wrong there stops no run."""

import json
import os
import subprocess
import sys

import commands
import pytest
from safetensors.numpy import load_file

from tfft.config import default_experiment
from tfft.errors import UserError
from tfft.run import tracking
from tfft.run.tracking import Started, Tracking, check_tracker


@pytest.fixture
def home(monkeypatch, tmp_path):
    """Nobody's account: no key is found."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return monkeypatch


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_with_its_id_and_its_weights(home, tiny_preset, reviews, cache, tmp_path):
    home.setenv("WANDB_MODE", "offline")
    settings = ["--config.train.epochs=1", "--config.eval.every_steps=6", "--config.train.summary_every_steps=3",
                "--config.train.checkpoint_every_steps=1"]
    commands.run(commands.arguments(tiny_preset, reviews, tmp_path / "plain", *settings), cache)
    command = commands.arguments(tiny_preset, reviews, tmp_path / "told", *settings, "--config.track=wandb")
    process = commands.start(command, cache)
    commands.wait_for(lambda: commands.saved(tmp_path / "told") >= 7, process)
    process.kill()
    process.communicate()
    _, said = commands.run(command, cache)
    assert "continuing at step" in said and "warning: config.track" not in said
    ours, theirs = (load_file(tmp_path / name / "last" / "weights.safetensors") for name in ("plain", "told"))
    assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)
    known = json.loads((tmp_path / "told" / "track.json").read_text())["wandb"]
    sessions = sorted((tmp_path / "told" / "wandb").glob(f"offline-run-*-{known}"))
    assert len(sessions) == 2 and len(list((tmp_path / "told" / "wandb").glob("offline-run-*"))) == 2
    written = sessions[-1].joinpath(f"run-{known}.wandb").read_bytes()
    for name in (b"validation/accuracy", b"train/loss", b"best_step", b"peak_learning_rate"):
        assert name in written


def test_without_a_key_the_run_goes_on_and_it_is_told_once(home, tiny_preset, reviews, cache, tmp_path):
    _, said = commands.run(commands.arguments(tiny_preset, reviews, tmp_path / "run", "--config.track=wandb",
                                              "--config.train.steps=3"), cache)
    assert said.count("warning: config.track=wandb failed (") == 1 and "best validation accuracy" in said
    assert "warning: config.track=wandb failed" in (tmp_path / "run" / "train.log").read_text()


class Failing:
    """A tracker that fails at one of its calls."""

    at = ""
    calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.at:
            raise ConnectionError("no route to host\nand more")

    def start(self, run: Started) -> None:
        self._call("start")

    def log(self, step: int, values: dict[str, float]) -> None:
        self._call(f"log {step} {values}")

    def finish(self, summary: dict[str, float], whole: bool) -> None:
        self._call(f"finish {summary} {whole}")


LOGGED = "log 3 {'train/loss': 0.5}"


@pytest.mark.parametrize("at, calls", [("", 4), ("start", 1), (LOGGED, 2), ("finish {'best': 1.0} True", 4)])
def test_another_tracker_is_a_class_and_what_it_raises_stops_nothing(monkeypatch, tmp_path, at, calls):
    monkeypatch.setitem(tracking.TRACKERS, "other", type("Other", (Failing,), {"at": at, "calls": (made := [])}))
    said = []
    one = Tracking("other", tmp_path, said.append, chief=True)
    one.start("run", default_experiment("text_classification"))
    one.log("train", 3, {"loss": 0.5})
    one.log("validation", 3, {"accuracy": 1.0})
    one.finish({"best": 1.0}, True)
    assert len(made) == calls and made[:2] == ["start", LOGGED][:calls]
    assert said == ([] if not at else ["warning: config.track=other failed (no route to host): nothing more is told there. "
                                       "TensorBoard and metrics.jsonl have everything."])
    other = Tracking("other", tmp_path, said.append, chief=False)  # of several hosts one tells
    other.start("run", default_experiment("text_classification"))
    other.log("train", 3, {"loss": 0.5})
    other.finish({}, True)
    assert len(made) == calls


def test_a_library_that_cannot_be_imported_is_told_before_tensorflow_is_loaded(tmp_path, reviews):
    (tmp_path / "wandb.py").write_text("raise ImportError('libfoo.so is missing')\n")
    made = subprocess.run([sys.executable, "-m", "tfft", "train", f"--config=my_csv:{reviews}", "--config.track=wandb"],
                          capture_output=True, text=True, cwd=tmp_path, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(commands.ROOT)})
    said = " ".join(made.stderr.split())
    assert made.returncode == 2 and "loading TensorFlow" not in said and not (tmp_path / "runs").exists()
    assert "config.track=wandb: the package wandb cannot be imported (libfoo.so is missing). Install it, as in pip" in said
    check_tracker("none")
    with pytest.raises(UserError, match="config.track=no_such: the package no_such cannot be imported"):
        check_tracker("no_such")
