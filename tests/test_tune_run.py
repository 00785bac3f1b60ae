"""tfft tune with trials that train: killed, resumed, and the best one's config trained again. And what the command refuses."""

import json
import os
import signal

import pytest
from commands import run, saved, start, wait_for
from forked import Forked
from safetensors.numpy import load_file

from tfft.config import resolve
from tfft.config.shipped import load
from tfft.config.space import choice
from tfft.config.space_checks import check_space
from tfft.tuning.search import Budget, Search
from tfft.tuning.study import Study

CONFIG = '''from tfft.config import default_config
from tfft.config.space import choice, when


def get_config(variant=""):
    config = default_config()
    config.name = "mine"
    config.data.train = "csv:{data}"
    config.data.validation = "20%"
    config.data.max_length = 24
    config.model.backbone = "{preset}"
    config.train.epochs = 2
    config.train.checkpoint_every_steps = 10
    {line}
    return config


def get_space():
    return {{"train.peak_learning_rate": choice(0.01, 0.003)}}
'''


@pytest.fixture
def config(tmp_path, thin_preset, reviews):
    """Writes a config with one more line; returns its path."""
    def write(line: str = ""):
        (tmp_path / "mine.py").write_text(CONFIG.format(data=reviews, preset=thin_preset, line=line))
        return tmp_path / "mine.py"

    return write


def test_a_trial_killed_while_it_trains_ends_as_if_not_and_best_py_trains_the_same(config, tmp_path, monkeypatch):
    """Its process is a fork that has imported TensorFlow already."""
    monkeypatch.setenv("TFFT_CACHE", str(tmp_path / "cache"))
    killed = []

    class Killed(Forked):
        def poll(self):
            if not killed and saved(tmp_path / "study" / "trials" / "0000") >= 10:
                killed.append(True)
                self.kill()
            return self.returncode

    monkeypatch.setattr("tfft.tuning.follow.START",
                        lambda command, **given: Killed(command[1:], TFFT_CACHE=str(tmp_path / "cache")))
    values = load(str(config("config.train.global_batch_size = 8"))).to_dict()
    experiment = resolve(values)
    space = check_space({"train.peak_learning_rate": choice(5e-5, 0.01)}, experiment)
    study, said = Study(tmp_path / "study", experiment, space, method="grid"), []
    assert Search(study, values, Budget(), say=said.append).run() == 0
    assert any("was killed by SIGKILL" in line for line in said)
    first, second = study.trials()
    assert (first.state, second.state) == ("done", "done") and study.best()[0].number == second.number
    folder = study.path(second.number)
    assert "continuing at step" in (study.path(0) / "train.log").read_text()
    assert list((folder / "tensorboard").glob("events.*"))  # its hyperparameters
    run(["train", f"--config={tmp_path}/study/best.py", f"--workdir={tmp_path}/again"], str(tmp_path / "cache"))
    run(["train", f"--config={tmp_path}/mine.py", f"--workdir={tmp_path}/first"], str(tmp_path / "cache"))
    for mine, other in ((folder, tmp_path / "again"), (study.path(0), tmp_path / "first")):
        ours, theirs = (load_file(path / "best" / "weights.safetensors") for path in (mine, other))
        assert ours.keys() == theirs.keys() and all((ours[name] == theirs[name]).all() for name in ours)


@pytest.mark.slow
def test_a_study_killed_while_a_trial_trains_goes_on(config, tmp_path):
    """The command as a user runs it; of a killed study the trial's process saves and leaves by itself."""
    command = ["tune", f"--config={config('config.train.epochs = 400')}", f"--workdir={tmp_path}/study", "--trials=1",
               "--config.train.steps=2000", "--space=model.pooling=choice(mean,max)"]
    process = start(command, str(tmp_path / "cache"), program=("-m", "tfft"))
    trial = tmp_path / "study" / "trials" / "0000"
    wait_for(lambda: saved(trial) >= 10, process, seconds=300)
    values = json.loads((trial / "trial.json").read_text())["values"]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    process = start(command, str(tmp_path / "cache"), program=("-m", "tfft"))
    wait_for(lambda: (trial / "train.log").read_text().count("(resumed)") == 1, process, seconds=300)
    assert "stopped by signal 15" in (trial / "process.log").read_text()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130 and "trial 0 goes on" in said and "the same command goes on with trial 0." in said
    known = json.loads((tmp_path / "study" / "trials.json").read_text())["trials"]
    assert [(one["number"], one["state"]) for one in known] == [(0, "running")]
    assert known[0]["values"] == values and values["model.pooling"] in ("mean", "max")


@pytest.mark.parametrize("line, arguments, message", [
    ("", ["--space=train.epoch=whole(1,3)"], "Unknown setting 'epoch'. Did you mean 'epochs'?"),
    ("", ["--space=train.epochs=whole(1"], "cannot be read. Kinds are log(1e-5,1e-3)"),
    ("", ["--space=model.frozen_layers=whole(0,4)"], "The space goes beyond the backbone: config.model.frozen_layers=4, but"),
    ("", ["--method=bayes"], "value should be one of <tpe|gp|random|grid>"),
    ("config.data.validation = ''", [], "Trials are compared on validation rows, and config.data.validation names none."),
    ("config.model.backbone = 'no/such'", [], "no/such"),
])
def test_what_is_refused_before_anything_is_trained(config, tmp_path, line, arguments, message):
    command = ["tune", f"--config={config(line)}", f"--workdir={tmp_path}/study", *arguments]
    _, error = run(command, str(tmp_path / "cache"), code=2)
    assert message in error and "loading TensorFlow" not in error
    assert not (tmp_path / "study").exists()

