"""Work directories in an object store. tf.io.gfile's ram:// stands in for gs://: in both a file is whole once it is closed, and
a folder is but a prefix to those who ask for it; it lives in this process alone."""

import json
import os
import subprocess
import sys
import uuid

import numpy as np
import pytest
import tensorflow as tf
from etils.epath import backend, gpath, register
from steps import Rig, batches
from test_static_shapes import interrupt_at, open_session, weights_of  # noqa: F401 - a fixture

from tfft import files
from tfft.config import resolve
from tfft.errors import UserError
from tfft.run.judge import judge
from tfft.run.workdir import Workdir, open_run
from tfft.serving.export import export
from tfft.serving.prediction import Predictor, predict_file
from tfft.training.checkpoints import Checkpoints


class RamBackend(type(backend.tf_backend)):
    """ram:// goes on at the end of a file that is opened to be written anew; no object store does."""

    def open(self, path, mode):
        if "w" in mode and self.gfile.exists(path):
            self.gfile.remove(path)
        return super().open(path, mode)


@pytest.fixture
def store(monkeypatch):
    """An empty folder ram://... that everything treats as it does gs://..."""
    monkeypatch.setattr(files, "REMOTE", ("gs://", "ram://"))
    monkeypatch.setattr(gpath, "_URI_PREFIXES", (*gpath._URI_PREFIXES, "ram://"))
    monkeypatch.setattr(gpath, "_URI_SCHEMES", gpath._URI_SCHEMES | {"ram"})
    monkeypatch.setitem(gpath._URI_MAP_ROOT, "ram://", "/ram/")
    ram = RamBackend()
    monkeypatch.setattr(gpath._GPath, "_backend", property(lambda path: ram if str(path).startswith("ram:") else
                                                            backend.os_backend))
    monkeypatch.setitem(register._URI_PREFIXES_TO_CLS, "ram://", gpath.PosixGPath)
    folder = files.to_path(f"ram://{uuid.uuid4().hex}")
    yield folder
    files.remove_tree(folder)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_paths_of_both_kinds(tmp_path):
    remote = files.to_path("gs://bucket/runs") / "imdb" / "config.json"
    assert str(remote) == "gs://bucket/runs/imdb/config.json" and files.is_remote(remote)
    assert str(remote.with_name("x.json").parent) == "gs://bucket/runs/imdb"
    assert files.to_path("~/x").is_absolute() and not files.is_remote(tmp_path)
    with pytest.raises(UserError, match="--output=gs://b/x.csv: .*local disk"):
        files.local_path("gs://b/x.csv", "--output")


def test_a_remote_path_does_not_import_tensorflow():
    code = "import sys; from tfft.run.workdir import Workdir; Workdir('gs://b/x'); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_small_files(store):
    path = store / "a" / "b.txt"
    path.parent.mkdir(parents=True)
    files.write_text(path, "x\u00e9")
    files.write_text(path, "y\u00e9\n")
    assert path.read_text() == "y\u00e9\n" and files.size(path) == 4
    lines = files.Lines(path)
    lines.add("one\n")
    assert path.read_text() == "y\u00e9\n"  # waits
    lines.add("two\n")
    lines.flush()
    lines.flush()
    assert path.read_text() == "y\u00e9\none\ntwo\n"


def test_lines_are_on_a_disk_at_once(tmp_path):
    lines = files.Lines(tmp_path / "x")
    lines.add("one\n")
    assert (tmp_path / "x").read_text() == "one\n"


def test_folders_there_and_back(store, tmp_path, monkeypatch):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    for name in ("z", "done", "deep/a"):
        (source / name).write_bytes(name.encode() * 1000)
    order = []
    copy = files.copy_file
    monkeypatch.setattr(files, "copy_file", lambda a, b: (order.append(a.name), copy(a, b)))
    files.copy_tree(source, store / "target", last="done")
    assert order[-1] == "done" and len(order) == 3
    with files.local_copy(store / "target") as here:
        assert (here / "deep" / "a").read_bytes() == b"deep/a" * 1000 and names(here) == ["deep", "done", "z"]
    assert not here.exists()
    with files.local_copy(store / "none") as here:
        assert not here.exists()
    files.remove_tree(store / "target")
    assert not (store / "target").exists()
    files.remove_tree(store / "target")


def test_errors_of_the_store_are_a_disks(store):
    with pytest.raises(OSError, match="NotFoundError"), files.store_errors():  # ram:// says no more
        tf.io.gfile.stat(str(store / "not_there"))
    with pytest.raises(OSError, match="^no bucket$"), files.store_errors():
        raise tf.errors.NotFoundError(None, None, "no bucket\nand more")
    with pytest.raises(ZeroDivisionError), files.store_errors():
        1 / 0  # noqa: B018


def test_workdir_that_cannot_be_reached_is_told(monkeypatch):
    experiment = resolve({"data": {"train": "csv:x.csv"}})

    def refused(*args, **kwargs):
        raise tf.errors.PermissionDeniedError(None, None, "no credentials\nand more")

    monkeypatch.setattr(gpath.PosixGPath, "mkdir", refused)
    with pytest.raises(UserError, match="Cannot write in the work directory gs://b/x: no credentials. Choose"):
        Workdir("gs://b/x").begin(experiment)


class Killed(BaseException):
    pass


def test_checkpoint_killed_while_it_is_copied_is_none(store, monkeypatch):
    rig = Rig(batches(1))
    checkpoints = Checkpoints(store / "checkpoints", rig.model, rig.optimizer, rig.step, 2)
    warnings = []
    rig.step.assign(1)
    checkpoints.save({"n": 1})
    copy = files.copy_file

    def killed(source, target):
        if source.name == "state.json":
            raise Killed
        copy(source, target)

    for step in (1, 2):  # the same step again, and the next
        rig.step.assign(step)
        monkeypatch.setattr(files, "copy_file", killed)
        with pytest.raises(Killed):
            checkpoints.save({"n": 2})
        monkeypatch.setattr(files, "copy_file", copy)
        assert checkpoints.restore(warnings.append) == {"n": 1} and int(rig.step.numpy()) == 1
    for n in (3, 4):
        assert checkpoints.save({"n": n}).name == f"step-0000000001.{n - 2}"
        assert checkpoints.restore(warnings.append) == {"n": n}
    for step in (2, 3, 4):
        rig.step.assign(step)
        checkpoints.save({"n": step})
    assert [p.name for p in checkpoints.list()] == ["step-0000000003.0", "step-0000000004.0"] and not warnings
    assert names(store / "checkpoints") == ["step-0000000003.0", "step-0000000004.0"]
    state = store / "checkpoints" / "step-0000000004.0" / "checkpoint.index"
    state.write_bytes(state.read_bytes()[:-1])
    assert checkpoints.restore(warnings.append) == {"n": 3} and "checkpoint.index has" in warnings[0]


@pytest.mark.slow
def test_a_whole_run_in_an_object_store(open_session, store, tmp_path, capsys):  # noqa: F811
    """Trained, interrupted, resumed, evaluated, asked and exported, with the bits of a run on the disk."""
    whole = open_session(tmp_path / "whole", static=False)
    whole.run()
    begun = open_session(store / "run", static=False)
    interrupt_at(begun, 7)
    with pytest.raises(UserError, match="holds a run with other settings"):
        open_session(store / "run", static=False, epochs=5)
    again = open_session(store / "run", static=False)
    assert again.loop.start_step >= 7
    again.run()
    for a, b in zip(weights_of(whole), weights_of(again), strict=True):
        np.testing.assert_array_equal(a, b)

    run = store / "run"
    assert {"config.json", "plan.json", "environment.json", "labels.json", "labels.txt", "backbone.json", "tokenizer", "best",
            "last", "checkpoints", "metrics.jsonl", "train.log", "tensorboard"} <= set(names(run))
    kinds = [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert kinds.count("validation") == 2 and "(resumed)" in (run / "train.log").read_text()
    assert [n for n in names(run / "tensorboard" / "train") if "tfevents" in n]
    assert not (tmp_path / "ram:").exists() and not os.path.exists("ram:")  # nothing took it for a local path

    path = str(run)
    assert judge(path, data="", split="validation", weights="", output="") == 0
    assert "accuracy" in json.loads((run / "evaluation-validation.json").read_text())["metrics"]
    with pytest.raises(UserError, match="--output"):
        predict_file(path, "", "csv:x.csv", path + "/x.csv", probabilities=False, batch_size=4, on_broken_row="skip")
    assert export(path, "", "best") == 0 and names(run / "export") == ["1"]
    texts = ["a good film", "bad"]
    serve = tf.saved_model.load(path + "/export/1").signatures["serving_default"]
    expected = Predictor(open_run(path))([{"text": text} for text in texts])["scores"]
    np.testing.assert_allclose(serve(text=tf.constant(texts))["scores"], expected, atol=1e-5)

