"""The whole way, as a user goes it: train, evaluate, predict, export, plan."""

import csv
import json
import re
import subprocess
import sys

import pytest
from commands import arguments, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def trained(tiny_preset, reviews, shared_cache, tmp_path_factory):
    """(workdir, what training said)."""
    workdir = tmp_path_factory.mktemp("runs") / "reviews"
    _, said = run(arguments(tiny_preset, reviews, workdir, "--config.train.epochs=6"), shared_cache)
    return workdir, said


def test_train_leaves_a_whole_workdir(trained):
    workdir, said = trained
    for name in ("config.json", "environment.json", "labels.json", "labels.txt", "backbone.json", "tokenizer/tokenizer.json",
                 "best/weights.safetensors", "last/weights.safetensors", "metrics.jsonl", "train.log", "tensorboard/train",
                 "tensorboard/validation"):
        assert (workdir / name).exists(), name
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if line["kind"] == "validation"]
    assert [line["epoch"] for line in judged] == [1, 2, 3, 4, 5, 6]
    assert max(line["accuracy"] for line in judged) >= 0.9  # the label is in the first word
    assert re.search(r"on the validation rows accuracy [\d.]+ is .* that of a constant answer \([\d.]+\)", said)
    last = re.search(r"last validation accuracy +([\d.]+) at step \d+, which is used \(config.export.weights\)", said)
    assert float(last[1]) == pytest.approx(judged[-1]["accuracy"], abs=1e-4)
    assert "best validation accuracy" in said and f"python -m tfft.evaluate --workdir={workdir}" in said
    assert (workdir / "labels.txt").read_text() == "neg\npos\n"


def test_train_again_says_that_it_is_finished(trained, tiny_preset, reviews, shared_cache):
    workdir, _ = trained
    before = (workdir / "last/weights.safetensors").read_bytes()
    _, said = run(arguments(tiny_preset, reviews, workdir, "--config.train.epochs=6"), shared_cache)
    assert "finished already" in said and "tokenising" not in said
    assert (workdir / "last/weights.safetensors").read_bytes() == before


def test_another_config_in_the_same_workdir_is_refused(trained, tiny_preset, reviews, shared_cache):
    workdir, _ = trained
    _, error = run(arguments(tiny_preset, reviews, workdir, "--config.train.epochs=7"), shared_cache, code=2)
    assert "train.epochs: 6 -> 7" in error and "another --workdir" in error and "Traceback" not in error


def test_a_mistake_before_training_does_not_spoil_the_workdir(tiny_preset, reviews, shared_cache, tmp_path):
    wrong = arguments(tiny_preset, reviews, tmp_path / "run", "--config.data.label_column=labell")
    _, error = run(wrong, shared_cache, code=2)
    assert "Did you mean 'label'?" in error and "reviews.csv" in error
    run(arguments(tiny_preset, reviews, tmp_path / "run", "--config.train.steps=3"), shared_cache)


def test_evaluate_repeats_what_training_found(trained, shared_cache):
    workdir, _ = trained
    out, error = run(["evaluate", f"--workdir={workdir}"], shared_cache)
    assert "changed since" not in error and "tokenising" not in error
    report = json.loads((workdir / "evaluation-validation.json").read_text())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "validation"][-1]
    for name in ("accuracy", "macro_f1", "mcc", "auc"):
        assert report["metrics"][name] == pytest.approx(last[name], abs=1e-9)
    assert "accuracy" in out and "precision" in out and "of a linear model of TF-IDF features (" in out


def test_evaluate_on_other_data_reports_unknown_labels(trained, shared_cache, tmp_path):
    workdir, _ = trained
    (tmp_path / "more.csv").write_text("text,label\ngood film,pos\nbad film,neg\nodd film,odd\n")
    with open(tmp_path / "more.csv", "a") as file:
        file.write(",pos\n")
    command = ["evaluate", f"--workdir={workdir}", f"--data=csv:{tmp_path}/more.csv", f"--output={tmp_path}/new/report.json"]
    out, error = run([*command, "--on_broken_row=skip", "--nobaseline"], shared_cache)
    assert "constant answer" not in out
    assert "1 broken row skipped" in error and (tmp_path / "new/report.json").exists()
    assert "'odd' (1 rows)" in error and "2 rows" in out


def test_predict_texts(trained, shared_cache):
    workdir, _ = trained
    out, _ = run(["predict", f"--workdir={workdir}", "--text=good film", "--text=bad film, a film", "--text="], shared_cache)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [a["predicted_label"] for a in answers[:2]] == ["pos", "neg"]
    assert answers[2] == {"text": "", "predicted_label": None, "probability": None}  # as a row of a file without text


def test_predict_file_keeps_order_and_columns(trained, shared_cache, tmp_path):
    workdir, _ = trained
    with open(tmp_path / "in.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "text"])
        for i in range(300):
            writer.writerow([i, ["good film", 'bad, "film"\nof two lines'][i % 2]])
    run(["predict", f"--workdir={workdir}", f"--input={tmp_path}/in.csv", f"--output={tmp_path}/out.csv", "--probabilities"],
        shared_cache)
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["number"]) for r in rows] == list(range(300))
    assert {r["predicted_label"] for r in rows[::2]} == {"pos"} and {r["predicted_label"] for r in rows[1::2]} == {"neg"}
    assert float(rows[0]["probability:pos"]) == pytest.approx(float(rows[0]["probability"]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_predict_file_keeps_or_names_the_broken_row(trained, shared_cache, tmp_path):
    workdir, _ = trained
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n{"text": null}\n{"text": "bad"}\n')
    command = ["predict", f"--workdir={workdir}", f"--input=jsonl:{tmp_path}/in.jsonl", f"--output={tmp_path}/out.jsonl"]
    _, error = run([*command, "--on_broken_row=error"], shared_cache, code=2)
    assert "in.jsonl:2" in error and "--on_broken_row=skip" in error and not (tmp_path / "out.jsonl").exists()
    _, error = run(command, shared_cache)
    assert "1 row has an empty answer" in error
    answers = [json.loads(line)["predicted_label"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert answers == ["pos", None, "neg"]


def test_export_answers_raw_text_without_tfft(trained, shared_cache):
    workdir, _ = trained
    texts = ["good film", "bad film", "", "\U0001f600", "good " * 300, "bad\x00\x07film"]
    command = ["predict", f"--workdir={workdir}", *(f"--text={t}" for t in texts if "\x00" not in t)]
    expected = [json.loads(line) for line in run(command, shared_cache)[0].splitlines()]
    out, _ = run(["export", f"--workdir={workdir}"], shared_cache)
    assert "label_names" in out
    code = (
        "import sys, json, tensorflow as tf, tensorflow_text\n"
        "serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "made = serve(text=tf.constant(json.loads(sys.argv[2])))\n"
        "assert made['scores'].dtype == tf.float32\n"
        "print(json.dumps({'label': [x.decode() for x in made['label'].numpy()],\n"
        "                  'probability': made['scores'].numpy().max(axis=1).tolist(),\n"
        "                  'names': [x.decode() for x in made['label_names'].numpy()[0]]}))\n"
        "assert not any(m.startswith(('keras', 'tfft', 'orbit')) and '.' not in m and m != 'keras' for m in sys.modules)\n")
    answer = subprocess.run([sys.executable, "-c", code, str(workdir / "export" / "1"), json.dumps(texts)],
                            capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-2000:]
    got = json.loads(answer.stdout.splitlines()[-1])
    assert got["names"] == ["neg", "pos"]
    for i, e in enumerate(expected):
        if texts[i]:
            assert got["label"][i] == e["predicted_label"]
            assert got["probability"][i] == pytest.approx(e["probability"], abs=2e-6)


def test_calibrate_then_export_with_it(trained, shared_cache, tmp_path):
    workdir, _ = trained
    out, _ = run(["calibrate", f"--workdir={workdir}", "--precision=0.9"], shared_cache)
    found = json.loads((workdir / "calibration.json").read_text())
    assert found["error_after"] <= found["error_before"] + 0.05 and found["precision"] >= 0.9 and "--calibrated" in out
    run(["evaluate", f"--workdir={workdir}"], shared_cache)
    out, _ = run(["export", f"--workdir={workdir}", f"--output={tmp_path}/reviews", "--calibrated", "--weights=last,bfloat16"],
                 shared_cache)
    assert "abstained int32(None,)" in out and "allowed 5.0e-02" in out
    card = (tmp_path / "reviews/1/model_card.md").read_text()
    for part in ("# reviews", "in bfloat16", "## Validation, while training", "## Evaluation: validation", " tokens | ",
                 f"temperature {found['temperature']:.4f}", "| tensorflow | 2."):
        assert part in card, part


@pytest.mark.parametrize("words, said", [("bestt", "Unknown value 'bestt'. Did you mean 'best'?"),
                                         ("best,last", "--weights=best,last: one of best, last, and one of float32")])
def test_wrong_weights_are_told_before_tensorflow(trained, shared_cache, words, said):
    _, error = run(["export", f"--workdir={trained[0]}", f"--weights={words}"], shared_cache, code=2)
    assert said in error and "loading TensorFlow" not in error


def test_plan_tells_rows_lengths_and_time(tiny_preset, reviews, shared_cache, tmp_path):
    command = ["plan", *arguments(tiny_preset, reviews, tmp_path)[1:]]
    command = [c for c in command if not c.startswith("--workdir")]
    out, _ = run([*command, "--timed_steps=2", "--config.export.weights=best"], shared_cache)
    for expected in ("training rows", "longest untruncated", "padding, this plan", "steps in all", "real tokens/s",
                     "memory for weights", "90% have at most", "unknown characters", "(2 epochs)",
                     "which is little to learn from: --config.train.epochs=0", "validation rows choose the best weights"):
        assert expected in out, expected
    out, _ = run([*command, "--timed_steps=0", "--config.train.epochs=0", "--config.data.validation="], shared_cache)
    assert "(10 epochs, by the number of rows)" in out and "advice" not in out


def test_a_wrong_workdir_is_told_at_once(shared_cache, tmp_path):
    for command in ("evaluate", "export"):
        _, error = run([command, f"--workdir={tmp_path}/nothing"], shared_cache, code=2)
        assert "no config.json" in error and "loading TensorFlow" not in error


def test_max_length_beyond_the_backbone_is_told_before_tensorflow(tiny_preset, reviews, shared_cache, tmp_path):
    command = arguments(tiny_preset, reviews, tmp_path / "run", "--config.data.max_length=64")
    _, error = run(command, shared_cache, code=2)
    assert "limit of 32 positions" in error and "loading TensorFlow" not in error
    assert not (tmp_path / "run").exists()
