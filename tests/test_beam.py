"""Preparation on Apache Beam: the files that preparation here makes. Skipped where Beam is not installed, which has a stack of
its own: tools/test --stack=beam tests/test_beam.py"""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("apache_beam", reason="Apache Beam is not installed: tools/test --stack=beam")

from commands import ROOT, run, wait_for
from conftest import write_reviews
from sharded import assert_same_files, experiment_of

from tfft.errors import UserError
from tfft.run.beam import OnBeam
from tfft.run.prepare import prepare_stores

pytestmark = pytest.mark.slow
PROCESSES = "--direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.fixture(scope="module")
def command(tiny_preset, tmp_path_factory) -> list[str]:
    """tfft prepare of 3,000 rows in four shards."""
    folder = tmp_path_factory.mktemp("rows")
    write_reviews(folder / "reviews.csv", 3000)
    return ["prepare", f"--config={ROOT}/configs/my_csv.py", f"--config.data.train=csv:{folder}/reviews.csv",
            f"--config.model.backbone={tiny_preset}", "--config.data.max_length=24", "--shards=4"]


@pytest.fixture(scope="module")
def here(command, tmp_path_factory) -> Path:
    """The stores that this machine makes by itself."""
    cache = tmp_path_factory.mktemp("here")
    run(command, str(cache))
    return cache / "stores"


def test_two_processes_make_the_same_files(command, here, tmp_path):
    _, said = run([*command, "--runner=DirectRunner", f"--beam_options={PROCESSES}"], str(tmp_path / "cache"),
                  program=("-m", "tfft"))
    assert "4 of 4 shards to make" in said and "3,000 rows" in said and "Traceback" not in said
    assert_same_files(tmp_path / "cache" / "stores", here)


def test_killed_it_goes_on(command, here, tmp_path):
    """All of its processes, after the first shard; then without Beam."""
    cache = tmp_path / "cache"
    environment = {**os.environ, "TFFT_CACHE": str(cache), "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen([sys.executable, "-m", "tfft", *command, "--runner=DirectRunner", f"--beam_options={PROCESSES}"],
                               env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    wait_for(lambda: list(cache.glob("stores/*.making/shard-*/meta.json")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = {path.name: path.stat().st_mtime_ns for path in cache.glob("stores/*.making/shard-*")}
    assert there
    _, said = run(command, str(cache))
    assert f"{4 - len(there)} of 4 shards to make" in said
    assert_same_files(cache / "stores", here)


@pytest.mark.parametrize("task", ["embedding"])
def test_corpora_too(task, tiny_preset, tmp_path):
    experiments = [experiment_of(task, tmp_path / "data", tiny_preset, tmp_path / name) for name in ("beam", "here")]
    prepare_stores(experiments[0], tmp_path / "beam", 3, OnBeam("DirectRunner", []))
    prepare_stores(experiments[1], tmp_path / "here", 3)
    assert_same_files(tmp_path / "beam" / "stores", tmp_path / "here" / "stores")


def test_what_workers_refuse_is_told_in_one_paragraph(tiny_preset, tmp_path):
    experiment = experiment_of("text_classification", tmp_path / "data", tiny_preset, tmp_path / "cache")
    (tmp_path / "data" / "1.csv").write_text("text,label\n,pos\n", "utf-8")
    experiment = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, on_broken_row="error"))
    for _ in range(2):
        with pytest.raises(UserError, match=r"^.*/1\.csv:2: this row is broken: [^\n]*on_broken_row=skip\.$"):
            prepare_stores(experiment, tmp_path / "cache", 3, OnBeam("DirectRunner", []))
