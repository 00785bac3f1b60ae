"""What the server is told: flags, model configs, batching parameters. Without TensorFlow."""

import subprocess
import sys

import pytest

from tfft.errors import UserError
from tfft.serving.server.settings import Batching, batching_of, models_of, versions, wanted


@pytest.fixture
def folder(tmp_path):
    """models/tiny with versions 1, 2 and 10 and things that are no version."""
    for name in ("1", "2", "10", "x", "3a", ".making", "99999999999999999999", "\u0665"):
        (tmp_path / "tiny" / name).mkdir(parents=True)
        (tmp_path / "tiny" / name / "saved_model.pb").write_bytes(b"")
    (tmp_path / "tiny" / "11").mkdir()
    (tmp_path / "tiny" / "12").write_bytes(b"")
    return tmp_path / "tiny"


def configured(tmp_path, text: str):
    (tmp_path / "models.config").write_text(text)
    return models_of([], str(tmp_path / "models.config"))


def test_models_of_flags(folder, tmp_path):
    one, two = models_of([str(folder), f"other={folder}"], "")
    assert (one.name, one.folder, two.name) == ("tiny", folder, "other")
    assert sorted(versions(folder)) == [1, 2, 10] and wanted(one, [1, 2, 10]) == [10]


def test_models_of_a_config_file(folder, tmp_path):
    one, two, three = configured(tmp_path, f"""
        model_config_list {{
          config {{ name: "a" base_path: "{folder}" model_platform: "tensorflow" }}  # the newest
          config {{ name: "b" base_path: "{folder}" model_version_policy {{ specific {{ versions: 1 versions: 10 }} }}
                    version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 10 }} }}
          config {{ name: "c" base_path: "{folder}" model_version_policy {{ all {{}} }} }}
        }}""")
    assert wanted(one, [1, 2, 10]) == [10]
    assert wanted(two, [1, 2, 10]) == [10, 1] and two.labels == {"stable": 1, "canary": 10}
    assert wanted(three, [1, 2, 10]) == [10, 2, 1]
    (latest,) = configured(tmp_path, f'model_config_list {{ config {{ name: "a" base_path: "{folder}" '
                                     "model_version_policy { latest { num_versions: 2 } } } }")
    assert wanted(latest, [1, 2, 10]) == [10, 2]


@pytest.mark.parametrize("text, message", [
    ("model_config_lst {}", "no ModelServerConfig in text form: .*model_config_lst"), ("", "lists no model"),
    ("model_config_list {}", "lists no model"), ('model_config_list { config { name: "a" } }', "needs a name and a base_path"),
    ('model_config_list { config { name: "a" base_path: "F" model_platform: "x" } }', "platform 'x'"),
    ('model_config_list { config { name: "a" base_path: "F" model_version_policy { specific {} } } }', "without versions"),
    ('model_config_list { config { name: "a" base_path: "F" model_version_policy { specific { versions: 5 } } } }',
     "has no version 5. It has 1, 2, 10"),
    ('model_config_list { config { name: "a" base_path: "F" version_labels { key: "old" value: 1 } } }',
     "label 'old' is version 1, which is not served"),
    ('model_config_list { config { name: "a" base_path: "F" } config { name: "a" base_path: "F" } }', "Two models"),
    ('model_config_list { config { name: "a/b" base_path: "F" } }', "name goes into addresses"),
    ('model_config_list { config { name: "a" base_path: "gs://x/y" } }', "local folders only"),
])
def test_mistakes_in_a_config_file(folder, tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        configured(tmp_path, text.replace('"F"', f'"{folder}"'))


def test_mistakes_in_flags(folder, tmp_path):
    for flags, config, message in (([], "", "Say what to serve"), ([str(folder)], "x", "Say what to serve"),
                                   ([f"{folder}/none"], "", "there is no folder"),
                                   ([str(folder / "1")], "", "is a version's folder. Give the folder around it"),
                                   ([str(folder / "11")], "", "has no version"), (["gs://a/b"], "", "local folders only"),
                                   ([str(folder), str(folder)], "", "Two models are named 'tiny'")):
        with pytest.raises(UserError, match=message):
            models_of(flags, config)


def test_batching_params(tmp_path):
    default = Batching(max_batch_size=7)
    assert batching_of(tmp_path, default) == default
    (tmp_path / "batching_params.pbtxt").write_text(
        "# from the data's lengths\nmax_batch_size { value: 64 }\nbatch_timeout_micros { value: 2000 }\n"
        "num_batch_threads: { value: 2 }\nmax_enqueued_batches {\n  value: 50\n}\nallowed_batch_sizes: 32\n"
        "allowed_batch_sizes: 64\n")
    assert batching_of(tmp_path, default) == Batching(True, 64, 50, 2)
    (tmp_path / "batching_params.pbtxt").write_bytes(b"\xff")
    assert batching_of(tmp_path, default) == default


def test_settings_need_no_tensorflow(folder):
    code = ("import sys; from tfft.serving.server.settings import models_of; models_of([sys.argv[1]], ''); "
            "print([m for m in ('tensorflow', 'numpy', 'aiohttp', 'grpc') if m in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
