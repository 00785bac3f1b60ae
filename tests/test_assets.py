"""Wheels are built here and served to pip from a folder: no test needs a network."""

import errno
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import types
import zipfile

import pytest

from tfft import assets
from tfft.errors import UserError


def build_wheel(folder, version="1.0", files=None):
    files = {"tinyasset/data/rows.csv": "text,label\ngood,pos\n"} | (files or {})
    info = f"tinyasset-{version}.dist-info"
    files |= {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinyasset\nVersion: {version}\n",
              f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
              f"{info}/RECORD": ""}
    path = folder / f"tinyasset-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is pip's only source of wheels."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def cache(tmp_path):
    return assets.cache_folder(str(tmp_path / "cache"))


def no_pip(*args, **kwargs):
    raise AssertionError("pip was run although the asset is in the cache")


def fake_pip(monkeypatch, output):
    monkeypatch.setattr(assets.subprocess, "run",
                        lambda *a, **k: types.SimpleNamespace(returncode=1, stdout="", stderr=output))


def leftovers(cache):
    return sorted(p.name for p in (cache / "assets" / "tinyasset-1.0").iterdir())


def test_cache_folder_order(tmp_path, monkeypatch):
    monkeypatch.setenv("TFFT_CACHE", str(tmp_path / "env"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert assets.cache_folder(str(tmp_path / "given")) == tmp_path / "given"
    assert assets.cache_folder() == tmp_path / "env"
    monkeypatch.delenv("TFFT_CACHE")
    assert assets.cache_folder() == tmp_path / "home/.cache/tfft"
    assert (tmp_path / "home/.cache/tfft").is_dir()


def test_cache_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made.*TFFT_CACHE"):
        assets.cache_folder(str(tmp_path / "file" / "cache"))


def test_fetch_downloads_once_and_checks(index, cache, monkeypatch, capsys):
    sha = build_wheel(index)
    reference = f"pypi:tinyasset==1.0/tinyasset/data/rows.csv#sha256={sha.upper()}"
    path = assets.fetch(reference, cache)
    assert path.read_text() == "text,label\ngood,pos\n"
    told = capsys.readouterr().err
    assert "fetching tinyasset==1.0" in told and "not pinned" not in told
    assert leftovers(cache) == sorted(["lock", sha])
    monkeypatch.setattr(assets.subprocess, "run", no_pip)
    assert assets.fetch(reference, cache) == path
    assert assets.fetch("pypi:tinyasset==1.0/tinyasset/data", cache) == path.parent


def test_fetch_without_hash_tells_what_to_pin(index, cache, capsys):
    sha = build_wheel(index)
    assert assets.fetch("pypi:TinyAsset==1.0/tinyasset/data/", cache).is_dir()
    assert f"#sha256={sha}" in capsys.readouterr().err


def test_wrong_hash_keeps_nothing(index, cache):
    sha = build_wheel(index)
    with pytest.raises(UserError, match=f"tinyasset==1.0 has another content.*SHA-256 is {sha}.*{'0' * 64}"):
        assets.fetch(f"pypi:tinyasset==1.0/tinyasset#sha256={'0' * 64}", cache)
    assert leftovers(cache) == ["lock"]
    assert assets.fetch(f"pypi:tinyasset==1.0/tinyasset#sha256={sha}", cache).is_dir()


def test_unknown_version_package_and_inner_path(index, cache):
    build_wheel(index)
    with pytest.raises(UserError, match=r"tinyasset==1.1: .* no wheel of that version. Nearest versions: 1.0"):
        assets.fetch("pypi:tinyasset==1.1/x", cache)
    with pytest.raises(UserError, match="nosuchthing==1.1: the package index has no such package"):
        assets.fetch("pypi:nosuchthing==1.1/x", cache)
    with pytest.raises(UserError, match=r"holds no 'tinyasset/data/row.csv'. Nearest: tinyasset/data/rows.csv"):
        assets.fetch("pypi:tinyasset==1.0/tinyasset/data/row.csv", cache)


@pytest.mark.parametrize("output, message", [
    ("WARNING: Retrying after NewConnectionError('Name or service not known')\nERROR: No matching distribution found",
     "index cannot be reached"),
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "No space left for"),
    ("/venv/bin/python: No module named pip", "has no pip"),
    ("ERROR: something new\n", "pip says: ERROR: something new"),
])
def test_pip_failures_are_told(cache, monkeypatch, output, message):
    fake_pip(monkeypatch, output)
    with pytest.raises(UserError, match=message):
        assets.fetch("pypi:tinyasset==1.0/x", cache)
    assert leftovers(cache) == ["lock"]


@pytest.mark.parametrize("reference", ["pypi:tinyasset/x", "pypi:tinyasset==1.0/x#sha256=abc", "pypi:tinyasset>=1/x"])
def test_malformed_reference(cache, reference):
    with pytest.raises(UserError, match="not of the form pypi:NAME==VERSION"):
        assets.fetch(reference, cache)


def test_inner_path_may_not_leave(cache):
    with pytest.raises(UserError, match=r"may not contain '\.\.'"):
        assets.fetch("pypi:tinyasset==1.0/../../x", cache)


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "a\\..\\evil.txt"])
def test_wheel_that_leads_out_is_refused(tmp_path, name):
    build_wheel(tmp_path, files={name: "x"})
    with pytest.raises(UserError, match="leads out of its folder"):
        assets._unzip(tmp_path / "tinyasset-1.0-py3-none-any.whl", tmp_path / "out" / "files")
    assert not list(tmp_path.rglob("evil.txt"))


def test_damaged_wheel(tmp_path):
    (tmp_path / "a.whl").write_bytes(b"PK no zip")
    with pytest.raises(UserError, match="a.whl is damaged"):
        assets._unzip(tmp_path / "a.whl", tmp_path / "files")


def test_half_unpacked_is_never_taken(index, cache, monkeypatch):
    sha = build_wheel(index)
    reference = f"pypi:tinyasset==1.0/tinyasset#sha256={sha}"

    def killed(wheel, folder):
        (folder / "tinyasset").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(assets, "_unzip", killed)
        with pytest.raises(KeyboardInterrupt):
            assets.fetch(reference, cache)
    dead = cache / "assets/tinyasset-1.0/part/files/tinyasset"  # as SIGKILL leaves it: no clean-up ran
    dead.mkdir(parents=True)
    assert (assets.fetch(reference, cache) / "data/rows.csv").exists()
    assert not (cache / "assets/tinyasset-1.0/part").exists()


def test_disk_full_while_unpacking(index, cache, monkeypatch):
    build_wheel(index)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(assets.shutil, "copyfileobj", full)
    with pytest.raises(UserError, match="No space left for tinyasset==1.0"):
        assets.fetch("pypi:tinyasset==1.0/tinyasset", cache)
    assert leftovers(cache) == ["lock"]


def test_cache_that_cannot_be_used(index, cache):
    build_wheel(index)
    (cache / "assets").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="cannot be used for tinyasset==1.0.*TFFT_CACHE"):
        assets.fetch("pypi:tinyasset==1.0/tinyasset", cache)


def test_concurrent_runs_share_one_download(index, cache):
    sha = build_wheel(index)
    code = ("import sys, pathlib; from tfft import assets; "
            f"print(assets.fetch('pypi:tinyasset==1.0/tinyasset#sha256={sha}', pathlib.Path(sys.argv[1])))")
    runs = [subprocess.Popen([sys.executable, "-c", code, str(cache)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, cwd=pathlib.Path(assets.__file__).parent.parent) for _ in range(2)]
    told = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert told[0][0] == told[1][0]
    assert sum("fetching" in err for _, err in told) == 1


def test_local_paths(tmp_path, cache, monkeypatch):
    (tmp_path / "train.csv").write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert assets.fetch("~/train.csv", cache) == tmp_path / "train.csv"
    with pytest.raises(UserError, match=rf"tran.csv \(looked for tran.csv in {tmp_path}\). Nearest: train.csv"):
        assets.fetch(str(tmp_path / "tran.csv"), cache)
    with pytest.raises(UserError, match=f"looked for no in {tmp_path}.*There are: .*train.csv"):
        assets.fetch(str(tmp_path / "no/such/file"), cache)


HF = {"config.json": '{"model_type": "bert"}', "model.safetensors": "", "vocab.txt": ""}
HUB = {"config.json": '{"registered_name": "keras_hub>BertBackbone"}', "model.weights.h5": "", "tokenizer.json": "{}"}


def model_folder(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    return str(folder)


@pytest.mark.parametrize("files", [HF, HUB])
def test_resolve_backbone_local(tmp_path, cache, files):
    folder = model_folder(tmp_path / "model", files)
    assert assets.resolve_backbone(folder, cache) == folder


@pytest.mark.parametrize("files, missing, message", [
    (HF, "config.json", "has no config.json. It holds: model.safetensors, vocab.txt"),
    (HF, "model.safetensors", r"\(Hugging Face format\) lacks its weights: model.safetensors"),
    (HF, "vocab.txt", "lacks its tokenizer: one of vocab.txt"),
    (HUB, "model.weights.h5", r"\(KerasHub format\) lacks its weights: model.weights.h5"),
    (HUB, "tokenizer.json", "lacks its tokenizer: tokenizer.json"),
])
def test_resolve_backbone_lists_what_is_missing(tmp_path, cache, files, missing, message):
    folder = model_folder(tmp_path / "model", {n: c for n, c in files.items() if n != missing})
    with pytest.raises(UserError, match=message):
        assets.resolve_backbone(folder, cache)


@pytest.mark.parametrize("files, message", [
    ({"config.json": "{broken"}, "is damaged"),
    ({"config.json": "{}"}, "neither KerasHub's format"),
    ({"config.json": '{"model_type": "bert"}', "pytorch_model.bin": ""}, "pytorch_model.bin cannot be read"),
    ({"config.json": '{"model_type": "bert"}', "vocab.txt": "",
      "model.safetensors.index.json": '{"weight_map": {"a": "part-1.safetensors"}}'}, "weights: part-1.safetensors"),
])
def test_resolve_backbone_damaged(tmp_path, cache, files, message):
    with pytest.raises(UserError, match=message):
        assets.resolve_backbone(model_folder(tmp_path / "model", files), cache)


def test_resolve_backbone_hints(tmp_path, cache):
    (tmp_path / "top").mkdir()
    model_folder(tmp_path / "top" / "model", HF)
    with pytest.raises(UserError, match="Did you mean its folder model?"):
        assets.resolve_backbone(str(tmp_path / "top"), cache)
    with pytest.raises(UserError, match="is a file"):
        assets.resolve_backbone(str(tmp_path / "top" / "model" / "config.json"), cache)
    with pytest.raises(UserError, match="write hf://nobody-here/bert"):
        assets.resolve_backbone("nobody-here/bert", cache)
    with pytest.raises(UserError, match="write hf://bert-base-uncased"):
        assets.resolve_backbone("bert-base-uncased", cache)
    with pytest.raises(UserError, match="write hf://org/bert"):
        assets.resolve_backbone("hf:org/bert", cache)
    with pytest.raises(UserError, match="backbone is empty"):
        assets.resolve_backbone("", cache)
    with pytest.raises(UserError, match="No such file or folder"):
        assets.resolve_backbone(str(tmp_path / "none"), cache)


@pytest.mark.parametrize("reference", ["bert_base_en_uncased", "hf://org/model", "kaggle://keras/bert/keras/bert_base_en"])
def test_resolve_backbone_passes_on(cache, reference):
    assert assets.resolve_backbone(reference, cache) == reference


@pytest.mark.parametrize("config, limits", [
    ({"model_type": "bert", "max_position_embeddings": 512, "num_hidden_layers": 6}, (512, 6)),
    ({"model_type": "roberta", "max_position_embeddings": 514, "num_hidden_layers": 12}, (512, 12)),
    ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "num_hidden_layers": 12}, (512, 12)),
    ({"model_type": "distilbert", "max_position_embeddings": 512, "n_layers": 6}, (512, 6)),
    ({"registered_name": "x", "config": {"max_sequence_length": 16, "num_layers": 2}}, (16, 2)),
    ({"registered_name": "x", "config": {"num_layers": 2}}, (None, 2)),
    ({"model_type": "bert", "max_position_embeddings": "many"}, (None, None)),
])
def test_backbone_limits(tmp_path, config, limits):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert assets.backbone_limits(str(tmp_path)) == limits


def test_backbone_limits_of_what_is_not_local():
    assert assets.backbone_limits("bert_base_en_uncased") == (None, None)


def test_download_error(monkeypatch):
    hub = types.SimpleNamespace(models=types.SimpleNamespace(Backbone=types.SimpleNamespace(
        presets={"bert_base_en_uncased": 0, "vit_base": 0})))
    monkeypatch.setitem(sys.modules, "keras_hub", hub)
    told = assets.download_error("bert_base_en_uncase", ValueError("Unknown preset identifier. A preset must be ..."))
    assert isinstance(told, UserError) and "Did you mean bert_base_en_uncased?" in str(told)
    network = ConnectionError("HTTPSConnectionPool: Max retries exceeded (Caused by NameResolutionError)")
    assert "no network" in str(assets.download_error("bert_base_en_uncased", network))
    missing = ValueError("Preset hf://a/b has no config.json. Make sure ...")
    assert "no network, no such model, or no permission" in str(assets.download_error("hf://a/b", missing))
    assert "log in" in str(assets.download_error("kaggle://a", ValueError("403 Client Error")))
    form = ValueError("Unexpected Kaggle preset. Kaggle model handles should have the form ...\nmore")
    assert str(assets.download_error("kaggle://x", form)).endswith(str(form).splitlines()[0])
