import json
import subprocess
import sys

import pytest

from tfft.config import default_config, resolve
from tfft.data.plan import PlanSettings
from tfft.errors import UserError
from tfft.run.workdir import Workdir


def experiment(**changes):
    config = default_config()
    config.data.train = "csv:a.csv"
    for name, value in changes.items():
        config.train[name] = value
    return resolve(config)


def begun(path, *, saved: bool = True, **changes) -> Workdir:
    workdir = Workdir(path)
    workdir.begin(experiment(**changes))
    if saved:
        (workdir.checkpoints / "step-0000000010").mkdir(parents=True)
    workdir._lock.close()  # as when its process ends
    return workdir


def test_the_same_experiment_resumes_and_a_free_setting_may_change(tmp_path):
    begun(tmp_path / "run")
    assert Workdir(tmp_path / "run").begin(experiment(checkpoint_minutes=7.0)) is True


def test_another_experiment_is_refused_with_the_difference(tmp_path):
    begun(tmp_path / "run")
    with pytest.raises(UserError, match=r"train.epochs: 3 -> 5"):
        Workdir(tmp_path / "run").begin(experiment(epochs=5))


def test_a_run_that_saved_nothing_gives_way_and_leaves_no_weights(tmp_path):
    workdir = begun(tmp_path / "run", saved=False)
    workdir.weights("best").parent.mkdir()
    workdir.weights("best").write_bytes(b"old")
    again = Workdir(tmp_path / "run")
    assert again.begin(experiment(epochs=5)) is False
    assert again.experiment().train.epochs == 5 and not workdir.weights("best").exists()


def test_a_second_process_is_kept_out_until_the_first_ends(tmp_path):
    code = ("import sys\nfrom tfft.config import default_config, resolve\nfrom tfft.run.workdir import Workdir\n"
            "config = default_config()\nconfig.data.train = 'csv:a.csv'\n"
            "workdir = Workdir(sys.argv[1])\nworkdir.begin(resolve(config))\nprint('ready', flush=True)\nsys.stdin.read()\n")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    with pytest.raises(UserError, match="Another process is training in"):
        Workdir(tmp_path / "run").begin(experiment())
    process.kill()
    process.communicate()
    assert Workdir(tmp_path / "run").begin(experiment()) is False


@pytest.mark.parametrize("name", ["lr[1e-4]", "a\\b"])
def test_paths_that_tensorflow_cannot_read_back_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="cannot read checkpoints back"):
        Workdir(tmp_path / name).begin(experiment())


def test_a_file_in_its_place_is_told(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="Cannot write in the work directory"):
        Workdir(tmp_path / "run").begin(experiment())


def test_forget_after_drops_what_a_resumed_run_writes_again(tmp_path):
    workdir = begun(tmp_path / "run")
    for step, kind in ((10, "train"), (10, "validation"), (20, "train"), (20, "validation"), (30, "train")):
        workdir.append_metrics({"step": step, "kind": kind})
    with open(workdir.metrics, "a") as file:
        file.write('{"step": 4')  # killed while it wrote
    workdir.forget_after(20, evaluated=10)
    lines = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
    assert [(line["step"], line["kind"]) for line in lines] == [(10, "train"), (10, "validation"), (20, "train")]


def test_check_data_refuses_other_rows_once_there_is_a_checkpoint(tmp_path):
    workdir = begun(tmp_path / "run")
    workdir.write_environment({"stores": {"train": "a", "validation": "b"}})
    workdir.check_data({"train": "a", "validation": "b"})
    with pytest.raises(UserError, match="The validation rows are not those this run began with"):
        workdir.check_data({"train": "a", "validation": "c"})


def test_no_workdir_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="has no config.json. Train one first"):
        Workdir(tmp_path).experiment()


def test_plan_of_a_begun_run_is_kept(tmp_path):
    settings = PlanSettings(batch_size=8, max_length=24, buckets=(16, 24), run_length=3)
    workdir = Workdir(tmp_path)
    assert workdir.recorded_plan() is None
    workdir.record_plan(settings)
    assert workdir.recorded_plan() is None  # nothing was trained by it
    (workdir.checkpoints / "step-0000000010").mkdir(parents=True)
    assert workdir.recorded_plan() == settings
    workdir.plan.write_text('{"batch_size": 8')
    with pytest.raises(UserError, match="plan.json is damaged"):
        workdir.recorded_plan()
