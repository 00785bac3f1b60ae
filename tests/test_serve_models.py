"""Versions: found, loaded beside the old ones, swapped without a lost request, refused when broken."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import tensorflow as tf
from served import PREDICT, add_version, serving, settings, versions
from tensorflow_serving.apis import prediction_log_pb2

from tfft.errors import UserError
from tfft.serving.server.refusal import Code, Refusal
from tfft.serving.server.settings import ModelSettings, models_of
from tfft.serving.server.version import Version


def until(happened, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def states(served, model: str = "tiny") -> dict[str, str]:
    _, made = served.ask(f"/v1/models/{model}")
    return {s["version"]: s["state"] for s in made["model_version_status"]}


def test_a_new_version_is_swapped_in_without_a_lost_request(tiny_saved, tmp_path):
    """Four clients ask all the time, one long request hangs on the old version, three versions come."""
    folder = versions(tmp_path / "tiny", tiny_saved, 1)
    with serving(settings(folder)) as served:
        answers, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                answers.append(served.ask("/v1/models/tiny:predict", {"instances": ["abc"]}))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        long = []
        waiting = threading.Thread(target=lambda: long.append(served.ask(
            "/v1/models/tiny/versions/1:predict", {"signature_name": "slow", "inputs": [300]})))
        waiting.start()
        until(lambda: served.server.models.by_name["tiny"].loaded[1].requests)
        for number in (2, 3, 4):
            add_version(folder, tiny_saved, number)
            until(lambda wanted={str(number): "AVAILABLE"}: states(served).items() >= wanted.items())
        waiting.join()
        until(lambda: states(served) == {"4": "AVAILABLE", "3": "END", "2": "END", "1": "END"})
        stop.set()
        for client in clients:
            client.join()
        assert len(answers) > 20 and {status for status, _ in answers} == {200}
        assert len({json.dumps(made) for _, made in answers}) == 1
        assert long == [(200, {"outputs": [300]})]
        assert served.ask("/v1/models/tiny/versions/1:predict", {"instances": ["a"]})[0] == 404


def test_a_broken_version_is_told_and_the_old_one_goes_on(tiny_saved, tmp_path, caplog):
    folder = versions(tmp_path / "tiny", tiny_saved, 1)
    with serving(settings(folder)) as served:
        shutil.copytree(tiny_saved, folder / "2")
        data = folder / "2" / "variables" / "variables.data-00000-of-00001"
        whole = data.read_bytes()
        data.write_bytes(whole[:len(whole) // 2])  # half copied
        until(lambda: states(served).get("2") == "END")
        _, made = served.ask("/v1/models/tiny/versions/2")
        assert made["model_version_status"][0]["status"]["error_code"] != "OK"
        assert "cannot load tiny version 2" in caplog.text and "tiny version 1 goes on" in caplog.text
        assert len(served.predict(["a"])) == 1
        failures = served.server.metrics.load_failures.labels("tiny")._value
        before = failures.get()
        time.sleep(0.3)
        assert failures.get() == before  # not tried again and again
        data.write_bytes(whole)  # the copy goes on
        until(lambda: states(served) == {"2": "AVAILABLE", "1": "END"})
        (folder / "3").mkdir()  # empty: no version yet
        shutil.copytree(tiny_saved, folder / "4")
        (folder / "4" / "saved_model.pb").write_bytes(b"not a SavedModel")
        until(lambda: states(served).get("4") == "END")
        assert served.ask("/v1/models/tiny/metadata")[1]["model_spec"]["version"] == "2"
        shutil.rmtree(folder / "4")
        until(lambda: "4" not in states(served))


def test_a_folder_that_still_changes_is_left_alone(tiny_saved, tmp_path):
    folder = versions(tmp_path / "tiny", tiny_saved, 1)
    with serving(settings(folder, poll_seconds=1.0)) as served:
        shutil.copytree(tiny_saved, folder / "2")
        extra = folder / "2" / "more"
        for i in range(30):
            extra.write_bytes(b"x" * i)
            time.sleep(0.1)
            assert "2" not in states(served)
        until(lambda: states(served).get("2") == "AVAILABLE")


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "saved_model.pb").write_bytes(b""),
    lambda folder: (folder / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes()[:5000]),
    lambda folder: shutil.rmtree(folder / "variables"),
    lambda folder: (folder / "variables" / "variables.index").write_bytes(b"\0" * 100),
    lambda folder: (folder / "variables" / "variables.data-00000-of-00001").write_bytes(
        bytes(255 - b for b in (folder / "variables" / "variables.data-00000-of-00001").read_bytes()))])
def test_damaged_models_do_not_load(tiny_saved, tmp_path, damage):
    shutil.copytree(tiny_saved, tmp_path / "1")
    damage(tmp_path / "1")
    with pytest.raises(Refusal):
        Version("tiny", 1, tmp_path / "1")


def test_at_the_start_an_older_version_does_where_the_newest_is_broken(tiny_saved, tmp_path):
    folder = versions(tmp_path / "tiny", tiny_saved, 1, 2)
    (folder / "2" / "saved_model.pb").write_bytes(b"x")
    with serving(settings(folder)) as served:
        assert states(served) == {"2": "END", "1": "AVAILABLE"}
    (folder / "1" / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(UserError, match="'tiny': nothing in .* can be loaded. version 1: .*; version 2: "):
        with serving(settings(folder)):
            pass


def test_policies(tiny_saved, tmp_path):
    folder = versions(tmp_path / "tiny", tiny_saved, 1, 2, 3)
    chosen = (ModelSettings("one", folder, specific=(1, 3), labels={"stable": 1}), ModelSettings("two", folder, latest=2))
    with serving(settings(models=chosen)) as served:
        assert states(served, "one") == {"1": "AVAILABLE", "3": "AVAILABLE"}
        assert states(served, "two") == {"2": "AVAILABLE", "3": "AVAILABLE"}
        add_version(folder, tiny_saved, 4)
        until(lambda: states(served, "two") == {"4": "AVAILABLE", "3": "AVAILABLE", "2": "END"})
        assert "4" not in states(served, "one")
        shutil.rmtree(folder / "4")
        until(lambda: states(served, "two").get("4") == "END" and states(served, "two").get("2") == "AVAILABLE")
        shutil.rmtree(folder)  # what is served stays
        time.sleep(0.3)
        assert served.ask("/v1/models/two:predict", {"instances": ["a"]})[0] == 200


def configured(path, folder, stable: int, canary: int, more: str = "") -> None:
    (path.parent / "new").write_text(f"""model_config_list {{ config {{ name: "tiny" base_path: "{folder}"
        model_version_policy {{ specific {{ versions: {stable} versions: {canary} }} }}
        version_labels {{ key: "stable" value: {stable} }} version_labels {{ key: "canary" value: {canary} }} }} {more} }}""")
    (path.parent / "new").rename(path)


def test_a_canary_is_promoted_and_rolled_back_without_a_lost_request(tiny_saved, tmp_path, caplog):
    """The config file moves the labels; each is answered all the time."""
    folder, path = versions(tmp_path / "tiny", tiny_saved, 1, 2, 3), tmp_path / "models.config"
    configured(path, folder, 1, 2)
    chosen = settings(models=models_of([], str(path)), config_file=str(path), config_poll_seconds=0.05)
    with serving(chosen) as served:
        def labels() -> dict[str, int]:
            return served.ask("/v1/models")[1]["models"][0]["labels"]

        answers, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                for label in ("stable", "canary"):
                    answers.append(served.ask(f"/v1/models/tiny/labels/{label}:predict", {"instances": ["abc"]})[0])

        client = threading.Thread(target=ask)
        client.start()
        for stable, canary in ((2, 3), (2, 2), (1, 2)):
            configured(path, folder, stable, canary)
            until(lambda wanted={"stable": stable, "canary": canary}: labels() == wanted)
            until(lambda kept={str(stable), str(canary)}: {v for v, s in states(served).items() if s == "AVAILABLE"} == kept)
        path.write_text("model_config_list {")
        until(lambda: "What was served before goes on" in caplog.text)
        configured(path, folder, 1, 2, f'config {{ name: "more" base_path: "{folder}" }}')
        until(lambda: served.ask("/v1/models/more:predict", {"instances": ["a"]})[0] == 200)
        configured(path, folder, 1, 2)
        until(lambda: served.ask("/v1/models/more:predict", {"instances": ["a"]})[0] == 404)
        stop.set()
        client.join()
        assert set(answers) == {200} and len(answers) > 20


def test_the_status_forgets_versions_of_long_ago(tiny_saved, tmp_path, monkeypatch):
    monkeypatch.setattr("tfft.serving.server.models.KEPT", 2)
    folder = versions(tmp_path / "tiny", tiny_saved, 1)
    with serving(settings(folder)) as served:
        for number in range(2, 6):
            add_version(folder, tiny_saved, number)
            until(lambda wanted=number: served.server.models.by_name["tiny"].newest == wanted)
        until(lambda: states(served) == {"5": "AVAILABLE", "4": "END", "3": "END"})


class Files(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="path")])
    def read(self, path):
        return {"data": tf.map_fn(tf.io.read_file, path)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="path")])
    def write(self, path):
        tf.io.write_file("/nowhere", "data")
        return {"path": path}


def test_graphs_that_touch_files_are_refused(tmp_path):
    for i, name in enumerate(("read", "write")):
        model = Files()
        tf.saved_model.save(model, str(tmp_path / name), signatures=model.read if i == 0 else model.write)
        with pytest.raises(Refusal, match=f"{name.title()}File in function .*--allow_file_ops") as caught:
            Version("files", 1, tmp_path / name)
        assert caught.value.code == Code.PERMISSION_DENIED
        Version("files", 1, tmp_path / name, allow_file_ops=True).close()


def test_a_table_from_a_file_is_refused(tmp_path):
    (tmp_path / "words.txt").write_text("a\nb\n")
    model = tf.Module()
    words = tf.lookup.TextFileInitializer(str(tmp_path / "words.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
                                          tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
    model.table = tf.lookup.StaticVocabularyTable(words, 1)
    serve = tf.function(lambda text: {"ids": model.table.lookup(text)}, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures=serve)
    with pytest.raises(Refusal, match="InitializeTableFromTextFileV2"):
        Version("table", 1, tmp_path / "saved")


def test_what_restores_or_saves_variables_is_no_reason(tiny_saved):
    Version("tiny", 1, tiny_saved).close()
    assert b"RestoreV2" in (tiny_saved / "saved_model.pb").read_bytes()


def warmup(folder, logs) -> None:
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())


def test_warm_up_requests_are_answered_before_a_version_serves(tiny_saved, tmp_path, caplog, monkeypatch):
    from tfft.serving.server.version import Signature

    folder = versions(tmp_path / "tiny", tiny_saved, 1)
    good, bad, classify = (prediction_log_pb2.PredictionLog() for _ in range(3))
    good.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto(["a", "b"]))
    bad.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto(["fail"]))
    classify.classify_log.request.model_spec.signature_name = "classify"
    example = classify.classify_log.request.input.example_list.examples.add()
    example.features.feature["text"].bytes_list.value.append(b"a")
    warmup(folder / "1", [good, bad, classify])
    runs = []
    run = Signature.run
    monkeypatch.setattr(Signature, "run", lambda self, arrays: runs.append(self.name) or run(self, arrays))
    with caplog.at_level("INFO", "tfft.serve"), serving(settings(folder)) as served:
        assert runs == ["serving_default", "classify", "serving_default"]
        assert "2 warm-up requests" in caplog.text and "a warm-up request failed: " in caplog.text
        assert len(served.predict(["a"])) == 1


def warm_up_runs(tiny_saved, folder, monkeypatch, busy, run=None) -> list[int]:
    """Rows of each run that warming up made, of requests of 4, 3, 2 and 1 rows."""
    from tfft.serving.server import warmup as module
    from tfft.serving.server.version import Signature

    logs = [prediction_log_pb2.PredictionLog() for _ in range(4)]
    for log, rows in zip(logs, (4, 3, 2, 1)):
        log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto(["a"] * rows))
    version = Version("tiny", 1, versions(folder, tiny_saved, 1) / "1")
    warmup(folder / "1", logs)
    runs = []
    monkeypatch.setattr(Signature, "run", lambda self, arrays: runs.append(len(arrays["text"])) or (run and run(version)))
    monkeypatch.setattr(module, "POLITE", 0.1)
    module.warm_up(version, busy)
    version.close()
    return runs


def test_warm_up_gives_way_to_users(tiny_saved, tmp_path, monkeypatch):
    assert warm_up_runs(tiny_saved, tmp_path / "idle", monkeypatch, lambda: False) == [4, 3, 2, 1]
    started = time.monotonic()
    assert warm_up_runs(tiny_saved, tmp_path / "busy", monkeypatch, lambda: True) == [4, 1, 2, 3]
    assert time.monotonic() - started > 0.3  # of patience, but it comes to an end


def test_warm_up_ends_when_the_server_leaves(tiny_saved, tmp_path, monkeypatch):
    leaves = lambda version: setattr(version, "given_up", True)  # noqa: E731
    assert warm_up_runs(tiny_saved, tmp_path / "tiny", monkeypatch, lambda: False, leaves) == [4]


def test_a_server_that_leaves_while_it_warms_up_says_nothing(tiny_saved, tmp_path, caplog):
    folder = versions(tmp_path / "tiny", tiny_saved, 1)
    with caplog.at_level("WARNING", "tfft.serve"), serving(settings(folder)) as served:
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.model_spec.signature_name = "slow"
        log.predict_log.request.inputs["rounds"].CopyFrom(tf.make_tensor_proto([300]))
        staged = Path(shutil.copytree(tiny_saved, tmp_path / "staged"))
        warmup(staged, [log] * 20)
        staged.rename(folder / "2")
        until(lambda: states(served).get("2") == "LOADING")
        time.sleep(0.3)
    assert caplog.text == ""


def test_signatures_that_cannot_be_joined_are_not(tiny_saved):
    version = Version("tiny", 1, tiny_saved)
    joined = {name for name, signature in version.signatures.items() if signature.batched}
    assert joined == {"serving_default", "tokens", "classify", "regress", "slow", "numbers", "whole"}
    assert version.signatures["serving_default"].method == PREDICT
    version.close()


def test_a_signature_of_sparse_tensors_is_left_out(tmp_path):
    model = tf.Module()
    dense = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None], tf.float32)])
    sparse = tf.function(lambda x: {"y": tf.sparse.from_dense(x)}, input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    tf.saved_model.save(model, str(tmp_path / "1"), signatures={"serving_default": dense, "sparse": sparse})
    version = Version("mixed", 1, tmp_path / "1")
    assert list(version.signatures) == ["serving_default"]
    version.close()


def test_answers_do_not_depend_on_what_is_asked_at_the_same_time(tiny_saved, tmp_path):
    """A signature whose output is no row for each input row answers each request alone."""
    folder = versions(tmp_path / "tiny", tiny_saved, 1)
    with serving(settings(folder)) as served:
        made = []

        def ask(texts):
            made.append(served.ask("/v1/models/tiny:predict", {"signature_name": "whole", "inputs": texts})[1]["outputs"])

        clients = [threading.Thread(target=ask, args=(["a", f"b{i}", "a"],)) for i in range(12)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert sorted(m[1] for m in made) == sorted(f"b{i}" for i in range(12)) and all(len(m) == 2 for m in made)
