"""Studies: what is asked, told, stopped, resumed and written. Trials are processes that write what a formula says; those that
train are in test_tune_run.py."""

import functools
import html.parser
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import toy_study
from toy_study import formula, make, wait_for

from tfft.config import differences, resolve
from tfft.config.shipped import load
from tfft.config.space import assign, choice, log, uniform, when, whole
from tfft.errors import UserError
from tfft.tuning.follow import metric_of, watch
from tfft.tuning.gaussian import GaussianProcessSampler
from tfft.tuning.samplers import make_sampler
from tfft.tuning.study import suggest
from tfft.tuning.written import config_file


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    toy_study.use(monkeypatch)


def begun(folder: Path) -> int:
    """How often a trial's process was started."""
    return len((folder / "begun").read_text())


def test_a_search(tmp_path):
    said = []
    study, search = make(tmp_path / "toy", budget={"trials": 8}, keep=2, say=said.append)
    assert search.run() == 0
    trials, best = study.trials(), study.best()
    assert [trial.number for trial in trials] == list(range(8)) and {trial.state for trial in trials} == {"done"}
    assert trials[0].values["train.peak_learning_rate"] == 1e-4 and trials[0].values["model.pooling"] == "mean"  # the config
    assert [trial.metric for trial in trials] == [pytest.approx(formula(trial.values, 3)) for trial in trials]
    assert trials[0].evaluations == {n: pytest.approx(formula(trials[0].values, n)) for n in (1, 2, 3)}
    assert best[0].metric > trials[0].metric and trials[0].steps == 30
    rows = said[-1].split("\n")
    assert rows[1].split()[:3] == [str(best[0].number), "done", f"{best[0].metric:.4f}"]
    kept = {n for n in range(8) if (study.path(n) / "best").exists()}
    assert kept == {best[0].number, best[1].number, 0}  # --keep=2, and the config itself
    assert all((study.path(n) / "metrics.jsonl").exists() for n in range(8)) and "0 (config)" in said[-1]


def test_what_a_study_writes(tmp_path):
    values = {**toy_study.config(), "data": {"train": "csv:a.csv", "labels": ("b", "a")}, "eval": {"metric": "accuracy"}}
    space = {"train.peak_learning_rate": log(1e-5, 1e-2), "model.pooling": choice("mean", "cls", "max"),
             "train.layer_decay": when("model.pooling", ("cls", "max"), uniform(0.5, 1.0)),
             "adaptation.targets": choice(())}
    study, search = make(tmp_path / "toy", space, {"trials": 7}, values)
    search.run()
    best = study.best()[0]
    known = json.loads((study.folder / "trials.json").read_text())
    assert known["best"] == best.number and len(known["trials"]) == 7 and known["metric"] == "accuracy"
    for spec in (str(study.folder / "best.py"), f"{study.folder}/best.py:any"):
        made = resolve(load(spec))
        assert (made.train.peak_learning_rate, made.model.pooling) == (best.values["train.peak_learning_rate"],
                                                                       best.values["model.pooling"])
        written = json.loads((study.path(best.number) / "trial.json").read_text())["experiment"]
        assert differences(resolve(written), made) == [] and made.data.labels == ("b", "a") and made.eval.baseline
    page = (study.folder / "study.html").read_text()
    html.parser.HTMLParser().feed(page)
    assert "http" not in page and "<script" not in page and page.count("<svg") == 3  # no network; three pictures
    assert page.count('<circle class="dot"') == 7 and page.count('<polyline class="run"') == 7
    assert 0 < sum(study.importances().values()) <= 1.0001


def test_a_config_file_of_a_mixture_stands_by_itself(tmp_path):
    sources = {"a": {"train": "csv:a.csv", "rate": 1.0}, "b": {"train": "csv:b.csv", "rate": 2.0}}
    experiment = resolve({"data": {"sources": sources, "columns": ("x", "\"y")}, "adaptation": {"method": "lora"}})
    (tmp_path / "made.py").write_text(config_file(experiment, {"data.sources.b.rate": 2.0}, "what", "made.py"))
    assert resolve(load(str(tmp_path / "made.py"))) == experiment
    assert "    config.data.sources.b.rate = 2.0  # found\n" in (tmp_path / "made.py").read_text()


def test_asha_stops_the_poor_and_their_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_HOLD", "5e-4")
    study, search = make(tmp_path / "toy", {"train.peak_learning_rate": choice(1e-3, 1e-4, 1e-5)}, {"trials": 3}, pruner="asha",
                         values={**toy_study.config(), "train": {"peak_learning_rate": 1e-3}}, method="random", seed=5)
    search.run()
    trials = study.trials()
    assert trials[0].state == "done"
    poor = [trial for trial in trials if trial.values["train.peak_learning_rate"] < 1e-3]
    assert poor and {trial.state for trial in poor} == {"stopped early"}
    for trial in poor:
        assert list(trial.evaluations) == [1] and (study.path(trial.number) / "told").read_text() == "1"
        assert (study.path(trial.number) / "metrics.jsonl").exists() and not (study.path(trial.number) / "checkpoints").exists()


def test_failures_are_told_and_end_it_in_the_end(tmp_path):
    study, search = make(tmp_path / "toy", {"train.peak_learning_rate": choice(1e-3, 0.05)}, {"trials": 3}, method="grid")
    assert search.run() == 0
    good, bad = study.trials()
    assert (good.state, bad.state) == ("done", "failed")
    assert bad.reason == "The loss or its gradient is not a finite number at step 3."
    said = []
    study, search = make(tmp_path / "other", {"train.peak_learning_rate": log(0.02, 0.05)}, {"trials": 9}, say=said.append)
    with pytest.raises(UserError, match="3 trials in a row failed, the last one, 2, so: The loss or its gradient"):
        search.run()
    assert len(study.trials()) == 3
    assert study.outside == "train.peak_learning_rate=0.0001"


def test_settings_that_do_not_fit_together_start_no_process(tmp_path):
    space = {"adaptation.method": choice("none", "lora"), "adaptation.rank": choice(4, 8),
             "train.peak_learning_rate": choice(1e-3)}
    study, search = make(tmp_path / "toy", space, {"trials": 9}, method="grid")
    search.run()
    found = {(trial.values["adaptation.method"], trial.values["adaptation.rank"]): trial for trial in study.trials()}
    assert {values: trial.state for values, trial in found.items()} == {
        ("none", 4): "failed", ("none", 8): "done", ("lora", 4): "done", ("lora", 8): "done"}
    assert "does nothing without a method" in found["none", 4].reason
    assert not (study.path(found["none", 4].number) / "begun").exists()


def test_grid_with_conditions_tries_each_point_once(tmp_path):
    space = {"adaptation.rank": when("adaptation.method", "lora", choice(4, 16)), "adaptation.method": choice("none", "lora"),
             "train.epochs": whole(1, 3, step=2), "train.peak_learning_rate": choice(1e-3)}
    study, search = make(tmp_path / "toy", space, {"trials": 4}, method="grid")
    search.run()
    study, search = make(tmp_path / "toy", space, {}, method="grid")  # goes on, without a limit
    search.run()
    tried = [(t.values["adaptation.method"], t.values.get("adaptation.rank"), t.values["train.epochs"]) for t in study.trials()]
    points = [(*one, epochs) for one in (("none", None), ("lora", 4), ("lora", 16)) for epochs in (1, 3)]
    assert sorted(map(str, tried)) == sorted(map(str, points))


def test_a_killed_trial_goes_on_and_one_that_is_killed_again_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_KILL", "1")
    said = []
    study, search = make(tmp_path / "toy", {"train.peak_learning_rate": choice(1e-3)}, {"trials": 1}, say=said.append)
    monkeypatch.setattr("tfft.tuning.search.watch", lambda *given: (watch(*given), monkeypatch.delenv("TOY_KILL", False))[0])
    search.run()
    assert study.trials()[0].state == "done" and begun(study.path(0)) == 2
    assert any("was killed by SIGKILL (is there enough memory?); it goes on from its last checkpoint" in line for line in said)
    study, search = make(tmp_path / "memory", {"train.peak_learning_rate": choice(0.5)}, {"trials": 1})
    search.run()
    assert study.trials()[0].state == "failed" and "SIGKILL" in study.trials()[0].reason and begun(study.path(0)) == 2


def driver(folder: Path, trials: int, **environment: str) -> subprocess.Popen:
    root = Path(toy_study.__file__).parent.parent
    return subprocess.Popen([sys.executable, toy_study.__file__, folder, str(trials)], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(root), **environment},
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_study_that_is_stopped_goes_on(tmp_path, number):
    folder = tmp_path / "toy"
    process = driver(folder, 3, TOY_HOLD="0001")
    metrics = folder / "trials" / "0001" / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") == 1)
    process.send_signal(number)
    said = process.communicate(timeout=240)[0]
    if number == signal.SIGINT:
        assert process.returncode == 130 and "stopped; the same command goes on with trial 1." in said
        assert (folder / "trials" / "0001" / "told").read_text() == "1"  # Ctrl-C once
    before = make(folder)[0].trials()
    assert [trial.state for trial in before] == ["done", "running"]
    said = driver(folder, 3).communicate(timeout=240)[0]
    after = make(folder)[0].trials()
    assert [trial.state for trial in after] == ["done"] * 3 and "trial 1 goes on" in said
    assert after[1].values == before[1].values and after[0] == before[0]
    assert list(after[1].evaluations) == [1, 2, 3]


def test_two_processes_share_a_study(tmp_path):
    folder = tmp_path / "toy"
    processes = [driver(folder, 7, TOY_SECONDS="0.1", TOY_TOGETHER="2") for _ in range(2)]
    said = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    trials = make(folder)[0].trials()
    assert [trial.number for trial in trials] == list(range(7)) and {trial.state for trial in trials} == {"done"}
    assert all(begun(folder / "trials" / f"{n:04d}") == 1 for n in range(7))
    mine = [{line.split(":")[0] for line in text.split("\n") if ": evaluation 1" in line} for text in said]
    assert mine[0] and mine[1] and not mine[0] & mine[1] and len(mine[0] | mine[1]) == 7


def test_what_is_tried_is_a_function_of_the_seed(tmp_path):
    tried = []
    for name, budgets in (("whole", (6,)), ("parts", (2, 6)), ("other", (6,))):
        for trials in budgets:
            study, search = make(tmp_path / name, budget={"trials": trials}, method="random", seed=1 if name == "other" else 0)
            search.run()
        tried.append([trial.values for trial in study.trials()])
    assert tried[0] == tried[1] and tried[0][1:] != tried[2][1:]
    assert len({str(values) for values in tried[0]}) == 6


def test_another_study_is_refused(tmp_path):
    make(tmp_path / "toy")
    make(tmp_path / "toy", method="random", seed=3, pruner="median")  # these may change
    with pytest.raises(UserError, match=r"train.epochs: 3 -> 2\n.*choose another --workdir"):
        make(tmp_path / "toy", values={**toy_study.config(), "train": {"peak_learning_rate": 1e-4, "epochs": 2}})
    known = (tmp_path / "toy" / "study.json").read_text()
    with pytest.raises(UserError, match="space of model.pooling: choice.* -> none"):
        make(tmp_path / "toy", {"train.peak_learning_rate": log(1e-5, 1e-2)})
    assert (tmp_path / "toy" / "study.json").read_text() == known
    with pytest.raises(UserError, match="is a study whose trials are kept in study.journal"):
        make(tmp_path / "toy", storage=f"sqlite:///{tmp_path}/study.db")


def test_a_database(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    for trials in (1, 3):
        study, search = make(tmp_path / "toy", budget={"trials": trials}, storage=storage)
        search.run()
    assert [trial.state for trial in study.trials()] == ["done"] * 3 and not (study.folder / "study.journal").exists()
    with pytest.raises(UserError, match="--storage=nothing://user@host cannot be opened") as refused:
        make(tmp_path / "other", storage="nothing://user:secret@host")
    assert "secret" not in str(refused.value)
    assert not any(b"secret" in file.read_bytes() for file in (tmp_path / "other").rglob("*") if file.is_file())
    make(tmp_path / "other", storage=f"sqlite:///{tmp_path}/other.db")  # mended, it is no other study


def test_budgets(tmp_path, monkeypatch):
    study, search = make(tmp_path / "steps", budget={"steps": 31})
    search.run()
    assert len(study.trials()) == 2  # 30 steps a trial: no third one begins
    monkeypatch.setenv("TOY_SECONDS", "1")
    study, search = make(tmp_path / "minutes", budget={"minutes": 2 / 60})
    search.run()
    assert [trial.state for trial in study.trials()] == ["done"]  # after 3 seconds


def test_the_metric_is_that_of_the_weights_that_are_used():
    lines = [{"accuracy": 0.5}, {"accuracy": 0.8}, {"accuracy": 0.7}]
    assert metric_of(lines, "accuracy", False, "best") == 0.8 and metric_of(lines, "accuracy", True, "best") == 0.5
    assert metric_of(lines, "accuracy", False, "last") == 0.7
    assert metric_of([*lines, {"accuracy": float("nan")}], "accuracy", False, "last") is None
    assert metric_of([], "accuracy", False, "best") is None


@pytest.mark.parametrize("method", ["gp", "tpe"])
def test_models_of_the_metric_come_near_the_optimum(method):
    """A setting counts only with a value of another."""
    space = {"a": log(1e-5, 1e-1), "b": uniform(0, 1), "c": choice("x", "y", "z"), "d": when("c", "y", whole(0, 4))}
    found = {}
    for name in (method, "random"):
        study = optuna.create_study(direction="minimize")
        for i in range(16):
            study.sampler = make_sampler(name, space, 0, i)
            trial = study.ask()
            chosen = assign(space, None, functools.partial(suggest, trial))
            study.tell(trial, bowl(**chosen))
        found[name] = np.sort([trial.value for trial in study.trials])[:5].mean()
    assert found[method] < 0.6 * found["random"]


def bowl(a: float, b: float, c: str, d: int = 0) -> float:
    """0 at a=1e-3, b=0.7, c=y, d=3."""
    return (math.log10(a) + 3) ** 2 / 4 + 4 * (b - 0.7) ** 2 + (0.3 if c != "y" else 0.05 * abs(d - 3))


def test_a_study_by_a_gaussian_process(tmp_path):
    space = {"train.peak_learning_rate": log(1e-5, 1e-2), "adaptation.method": choice("none", "lora"),
             "adaptation.targets": when("adaptation.method", "lora", choice((), ("query", "value")))}
    study, search = make(tmp_path / "toy", space, {"trials": 10}, method="gp")
    search.run()
    assert [trial.state for trial in study.trials()] == ["done"] * 10  # two of them by the model
    lora = [trial.values for trial in study.trials() if trial.values["adaptation.method"] == "lora"]
    assert lora and all(values["adaptation.targets"] in ((), ("query", "value")) for values in lora)


def test_a_gaussian_process_keeps_away_from_trials_that_run():
    known = {"b": optuna.distributions.FloatDistribution(0, 1)}
    study = optuna.create_study(direction="maximize", sampler=GaussianProcessSampler(known, seed=0, startup=4))
    for b in (0.1, 0.4, 0.6, 0.9):
        study.add_trial(optuna.trial.create_trial(params={"b": b}, distributions=known, value=-(b - 0.5) ** 2))
    asked = [study.ask().suggest_float("b", 0, 1) for _ in range(3)]
    assert abs(asked[0] - 0.5) < 0.1 and min(abs(asked[0] - asked[1]), abs(asked[1] - asked[2])) > 1e-3
