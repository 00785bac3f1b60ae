"""predict --server: the answers of predict --workdir, through a server, in the same files."""

import csv
import json

import commands
import numpy as np
import pytest
import served
from tiny_run import make_run

from tfft.errors import UserError
from tfft.serving import prediction
from tfft.serving.prediction import predict_file, predict_texts
from tfft.serving.remote_prediction import predict_file_remotely, predict_texts_remotely
from tfft.serving.saved_model import ServedModel

PROBLEMS = {"single": ("single_label", {}), "value": ("regression", {}),
            "pairs": ("multi_label", {"text_pair_column": "other"})}
ROWS = [["n", "text", "other"], ["0", "good film", "bad"], ["1", "", ""], ["2", "poor, poor " * 9, "a film"],
        *([str(n), "the fine film " * (n % 4 + 1), "fine"] for n in range(3, 40))]


@pytest.fixture(scope="module")
def runs(tiny_preset, tmp_path_factory):
    """A run of each kind; its export is served under the run's name."""
    base = tmp_path_factory.mktemp("runs")
    made = {}
    for name, (problem, data) in PROBLEMS.items():
        made[name] = make_run(tiny_preset, base / f"{name}-run", problem, **data)
        ServedModel(made[name]).save(base / name / "1")
    with served.serving(served.settings(*(base / name for name in PROBLEMS))) as server:
        by_grpc = f"grpc://127.0.0.1:{server.server.grpc_port}"
        yield made, {"single": f"{by_grpc}/single", "pairs": f"{server.url}/pairs", "value": f"{server.url}/value"}


def read(path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


def same(one, other) -> bool:
    """Equal, but for the last digit of what was rounded."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    try:
        return one == other or bool(np.isclose(float(one), float(other), rtol=0, atol=2e-6))
    except (TypeError, ValueError):
        return False


@pytest.mark.parametrize("name, suffix", [("single", ".csv"), ("pairs", ".jsonl"), ("value", ".csv")])
def test_a_server_answers_as_the_run_does(runs, name, suffix, monkeypatch, tmp_path, capsys):
    made, addresses = runs
    monkeypatch.setattr(prediction, "open_run", lambda *_: made[name])
    with open(tmp_path / "in.csv", "w", newline="") as file:
        csv.writer(file).writerows(ROWS)
    more = {"probabilities": True, "batch_size": 8, "on_broken_row": "empty"}
    predict_file("run", "", str(tmp_path / "in.csv"), str(tmp_path / f"run{suffix}"), **more)
    said = [line for line in capsys.readouterr().err.splitlines() if "empty answer" in line]
    predict_file_remotely(addresses[name], str(tmp_path / "in.csv"), str(tmp_path / f"server{suffix}"), **more,
                          columns={"text": "text", "text_pair": "other" if name == "pairs" else ""})
    assert len(said) == 1 and said[0] in capsys.readouterr().err  # the row without text
    expected = read(tmp_path / f"run{suffix}")
    assert len(expected) == len(ROWS) - 1 and len({json.dumps(row) for row in expected}) > 4
    assert same(expected, read(tmp_path / f"server{suffix}"))


def test_texts_of_the_command_line(runs, monkeypatch, capsys):
    made, addresses = runs
    monkeypatch.setattr(prediction, "open_run", lambda *_: made["single"])
    rows = [{"text": text} for text in ("good", "", "\udcff film")]
    predict_texts("run", "", rows)
    expected = capsys.readouterr().out
    predict_texts_remotely(addresses["single"], rows)
    assert same(*([json.loads(line) for line in out.splitlines()] for out in (expected, capsys.readouterr().out)))


def test_mistakes_are_told_in_flags_of_the_command(runs, tmp_path, capsys):
    _, addresses = runs
    (tmp_path / "in.csv").write_text("n,texts\n0,good\n1,bad,film\n")

    def predict(name: str = "single", text: str = "texts", text_pair: str = "", on_broken_row: str = "empty"):
        flags = {"columns": {"text": text, "text_pair": text_pair}, "probabilities": False, "batch_size": 4,
                 "on_broken_row": on_broken_row}
        return predict_file_remotely(addresses[name], str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), **flags)

    with pytest.raises(UserError, match=r"in.csv: --text_column: Unknown column 'text'. .* 'texts'\? Known: n, texts.$"):
        predict(text="text")
    with pytest.raises(UserError, match=r"in.csv:3: this row is broken: .* with --on_broken_row=skip\.$"):
        predict(on_broken_row="error")
    with pytest.raises(UserError, match="^This model takes pairs of texts: give --text_pair_column.$"):
        predict("pairs")
    with pytest.raises(UserError, match="^This model takes single texts: leave --text_pair_column out.$"):
        predict(text_pair="n")
    with pytest.raises(UserError, match="^This model takes pairs of texts: give --text_pair for each --text.$"):
        predict_texts_remotely(addresses["pairs"], [{"text": "a"}])
    with pytest.raises(UserError, match="^This model takes single texts: leave --text_pair out.$"):
        predict_texts_remotely(addresses["single"], [{"text": "a", "text_pair": "b"}])
    assert not (tmp_path / "out.csv").exists()
    assert predict() == 0 and "1 row against its file's format is kept empty" in capsys.readouterr().err
    assert read(tmp_path / "out.csv")[0]["predicted_label"] in ("neg", "pos")


def test_what_is_no_export(tmp_path):
    import tensorflow as tf

    class Other(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def serve(self, text):
            return {"length": tf.strings.length(text)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="pixels")])
        def look(self, pixels):
            return {"length": pixels}

    for number, name in enumerate(("serve", "look")):
        model = Other()
        tf.saved_model.save(model, str(tmp_path / name / "1"), signatures=[model.serve, model.look][number])
    with served.serving(served.settings(tmp_path / "serve", tmp_path / "look")) as server:
        with pytest.raises(UserError, match="answers length, which no task of tfft's does: it is no export of tfft's, or an "
                                            "old one. Export the run again.$"):
            predict_texts_remotely(f"{server.url}/serve", [{"text": "a"}])
        with pytest.raises(UserError, match="takes pixels, not .*text or text_pair.*: it is no export of tfft's.$"):
            predict_texts_remotely(f"{server.url}/look", [{"text": "a"}])


def test_the_command(runs, tmp_path):
    _, addresses = runs
    out, _ = commands.run(["predict", f"--server={addresses['single']}", "--text=good film", "--text=bad"], str(tmp_path))
    assert [json.loads(line)["predicted_label"] in ("neg", "pos") for line in out.splitlines()] == [True, True]


FILES = ["--workdir=run", "--input=a.csv", "--output=b.csv"]


@pytest.mark.parametrize("flags, message", [
    ([], "Name the run, --workdir=runs/imdb, or a served model, --server=grpc://localhost:8500/imdb"),
    (["--workdir=run", "--server=http://h/imdb"], "Name the run, --workdir=runs/imdb, or a served model"),
    (["--workdir=run", "--text=a", "--text_column=b"], "--text_column goes with --server: a run reads the columns that it was"),
    (["--server=http://h/imdb", "--text=a", "--weights=last"], "--weights goes with --workdir"),
    (["--server=http://h/imdb", "--text=a", "--text=b", "--text_pair=c"], "There are 2 --text and 1 --text_pair"),
    (["--server=localhost:8500", "--text=a"], "'localhost:8500' is no address of a model"),
    (["--workdir=run", "--text=a", "--encoding=cp1252"], "--encoding goes with --input."),
    ([*FILES, "--encoding=utf-9"], "--encoding='utf-9' is no encoding that Python knows."),
    ([*FILES, "--delimiter=ab"], "--delimiter='ab' must be one character"),
    ([*FILES, "--quoting=single"], "--quoting: Unknown value 'single'.")])
def test_mistakes_of_the_command_line_are_told_before_tensorflow_is_loaded(flags, message, tmp_path):
    _, error = commands.run(["predict", *flags], str(tmp_path), code=2)
    assert message in error and "loading TensorFlow" not in error


def test_behavioural_tests_of_a_server(runs, tmp_path):
    (tmp_path / "tests.yaml").write_text(
        "tests:\n  - {name: any, kind: minimum, texts: [good film], expect: {label: [neg, pos]}}\n"
        "  - {name: same, kind: invariance, texts: [good film, bad], change: {replace: {good: bad}}, tolerance: 0}\n")
    made, addresses = runs
    out, _ = commands.run(["evaluate", f"--server={addresses['single']}", f"--tests={tmp_path}/tests.yaml",
                           f"--output={tmp_path}/found.json"], str(tmp_path / "cache"), code=1)
    found = json.loads((tmp_path / "found.json").read_text())["tests"]
    assert [(one["cases"], one["failed"]) for one in found] == [(1, 0), (1, 1)] and "failed: same" in out
    _, error = commands.run(["evaluate", f"--server={addresses['pairs']}", f"--tests={tmp_path}/tests.yaml"],
                            str(tmp_path / "cache"), code=2)
    assert "tests.yaml, line 2: what is answered here is text with text_pair; write {text: ..., text_pair: ...}" in error
