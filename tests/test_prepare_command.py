"""Mistakes in `tfft prepare`, told before anything begins."""

import dataclasses
import importlib.util
import sys

import pytest
from commands import ROOT, run

from tfft.config import resolve
from tfft.errors import UserError
from tfft.run import beam
from tfft.run.beam import OnBeam

DATA = resolve({"data": {"train": "csv:train.csv", "validation": "pypi:x==1/y.csv"}}).data
needs_beam = pytest.mark.skipif(not importlib.util.find_spec("apache_beam"), reason="Apache Beam: tools/test --stack=beam")


@pytest.mark.parametrize("flags, told", [
    (["--runner=DirectRuner"], "--runner: Unknown runner 'DirectRuner'. Did you mean 'DirectRunner'? Known: DirectRunner, "
                               "DataflowRunner, FlinkRunner, SparkRunner."),
    (["--beam_options=--project=x"], "--beam_options go with --runner."),
    (["--fetch"], "--fetch copies from the folder that --stores names."), (["--shards=2001"], "2000")])
def test_flags(flags, told, reviews, tmp_path):
    command = ["prepare", f"--config={ROOT}/configs/my_csv.py", f"--config.data.train=csv:{reviews}", *flags]
    _, said = run(command, str(tmp_path), code=2)
    assert told in said and "loading TensorFlow" not in said


def test_beam_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r'^--runner needs Apache Beam .* pip install -e "\.\[beam\]" -c'):
        OnBeam("DirectRunner", [])


@needs_beam
def test_options():
    OnBeam("DirectRunner", ["--direct_num_workers=2", "--no_use_public_ips"])
    with pytest.raises(UserError, match="Unknown option 'direct_num_wrkers'. Did you mean 'direct_num_workers'"):
        OnBeam("DirectRunner", ["--direct_num_wrkers=2"])


@pytest.mark.parametrize("runner", ["DataflowRunner", "FlinkRunner", "SparkRunner"])
def test_paths_of_this_machine_are_none_of_others(runner, monkeypatch):
    monkeypatch.setattr(beam, "_options", list)
    made, stores = OnBeam(runner, []), "gs://bucket/stores"
    told = f"^--runner={runner} works on other machines, and {{}} on this one.*--stores=gs://bucket/stores.*--shared_files"
    with pytest.raises(UserError, match=told.format("csv:train.csv and the folder of stores are")):
        made.check_paths(DATA, "", shared=False)
    with pytest.raises(UserError, match=told.format("csv:train.csv is")):
        made.check_paths(DATA, stores, shared=False)
    made.check_paths(DATA, "", shared=True)
    OnBeam("DirectRunner", []).check_paths(DATA, "", shared=False)
    for train, data_dir in (("csv:gs://b/*.csv[:50%]", ""), ("tfds:x#train", "gs://b/tfds"), ("gs://b/a.csv", "")):
        made.check_paths(dataclasses.replace(DATA, train=train, tfds_data_dir=data_dir), stores, shared=False)
