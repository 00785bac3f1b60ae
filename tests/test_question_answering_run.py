"""Question answering from a raw file to a served answer, on a tiny backbone; replicas."""

import json
import random

import pytest
from commands import ROOT, killed_is_like_whole, page_of, run

from tfft.predict import ASKED
from tfft.tasks.fields import FIELDS
from tfft.tasks.table import TASKS

pytestmark = pytest.mark.slow
SETTINGS = ["--config.data.max_length=24", "--config.data.window_overlap=8", "--config.model.dropout=0",
            "--config.model.head_dropout=0", "--config.train.global_batch_size=16"]


def write_squad(path, count: int, seed: int = 0) -> None:
    """A SQuAD 2.0 file: the answer is the word "fine"; a fourth have none."""
    draw = random.Random(seed)
    paragraphs = []
    for i in range(count):
        words = draw.choices(["film", "a", "the", "bad", f"w{i}"], k=draw.randrange(2, 30))
        answers = []
        if i % 4:
            at = draw.randrange(len(words) + 1)
            words[at:at] = ["fine,"]
            answers = [{"text": "fine", "answer_start": len(" ".join(words[:at] + [""]))}]
        paragraphs.append({"context": " ".join(words), "qas": [{"id": f"q{i}", "question": "good film?", "answers": answers}]})
    path.write_text(json.dumps({"version": "2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}), "utf-8")


@pytest.fixture(scope="module")
def trained(tiny_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("squad")
    write_squad(folder / "train-v2.0.json", 400)
    write_squad(folder / "dev-v2.0.json", 60, seed=1)
    out, error = run(["train", f"--config={ROOT}/configs/squad.py:{folder}", f"--workdir={folder}/run",
                      f"--config.model.backbone={tiny_preset}", "--config.train.epochs=6",
                      "--config.train.peak_learning_rate=0.03", *SETTINGS], str(folder / "cache"))
    return folder, out + error


def test_train_evaluate_predict_and_export(trained):
    folder, said = trained
    cache = str(folder / "cache")
    assert {"How good", "Slices", "Details", "Training", "Data"} <= set(page_of(folder / "run"))
    assert "300 where they say; 100 questions have none" in said and "--question='...' --context='...'" in said
    out, _ = run(["evaluate", f"--workdir={folder}/run", "--split=validation"], cache)
    report = json.loads((folder / "run" / "evaluation-validation.json").read_text())
    assert report["rows"] == 60 and report["metrics"]["f1"] > 0.8 and report["metrics"]["has_answer_f1"] > 0.7
    assert report["metrics"]["no_answer_f1"] > 0.7 and "no_answer_threshold" in report and len(report["slices"]) > 2
    assert "with an answer" in out
    context = "the caf\u00e9 \U0001f600 film " + "a film " * 40 + "fine, the film"
    out, _ = run(["predict", f"--workdir={folder}/run", "--question=good film?", f"--context={context}",
                  "--question=good film?", "--context=the film"], cache)
    found, none = map(json.loads, out.strip().split("\n"))
    assert found["answer"] == "fine" == context[found["start"]:found["end"]] and found["n_best"][0]["answer"] == "fine"
    assert (none["answer"], none["start"]) == ("", -1) and none["no_answer_score"] > found["no_answer_score"]
    run(["predict", f"--workdir={folder}/run", f"--input=squad:{folder}/dev-v2.0.json", f"--output={folder}/out.jsonl"], cache)
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    right = sum(line["answer"] == (line["answers"][0]["text"] if line["answers"] else "") for line in lines)
    assert len(lines) == 60 and right / 60 == pytest.approx(report["metrics"]["exact_match"])
    out, error = run(["export", f"--workdir={folder}/run", f"--output={folder}/models", "--weights=bfloat16"], cache)
    assert "serving_default: answer string(None,)" in out + error
    card = (folder / "models" / "1" / "model_card.md").read_text("utf-8")
    assert "a question with the part of a context" in card and "`no_answer_score` is above" in card


def test_exported_model_answers_a_context_of_100000_characters(trained):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    folder, _ = trained
    path = folder / "models" / "1"
    if not path.exists():
        pytest.skip("the test of the export has not run here")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    context = "a film " * 12_000 + "fine, " + "the film " * 2_000
    made = serve(question=tf.constant(["good film?"] * 2), context=tf.constant([context, "bad fine"]))
    assert len(context) > 100_000 and made["answer"].numpy().tolist() == [b"fine", b"fine"]
    assert made["start"].numpy().tolist() == [84_000, 4] and made["end"].numpy().tolist() == [84_004, 8]
    assert made["answers"].shape == (2, 5)


def test_killed_and_resumed_with_the_same_bits(trained, tiny_preset, tmp_path):
    folder, _ = trained
    killed_is_like_whole([f"--config={ROOT}/configs/squad.py:{folder}", f"--config.model.backbone={tiny_preset}",
                          "--config.train.epochs=2", "--config.train.peak_learning_rate=0.01", *SETTINGS,
                          "--config.train.checkpoint_every_steps=10", "--config.train.accumulation=2",
                          "--config.model.head_dropout=0.1"], str(folder / "cache"), tmp_path, step=20)


def test_replicas_train_like_one(tiny_preset, tmp_path):
    write_squad(tmp_path / "train-v2.0.json", 60)
    write_squad(tmp_path / "dev-v2.0.json", 21, seed=1)
    found = []
    for replicas in (1, 2, 4):
        run(["train", f"--config={ROOT}/configs/squad.py:{tmp_path}", f"--workdir={tmp_path}/{replicas}",
             f"--config.model.backbone={tiny_preset}", "--config.train.epochs=2", "--config.train.peak_learning_rate=0.01",
             *SETTINGS, f"--config.distribution.cpu_replicas={replicas}", "--config.train.summary_every_steps=1",
             "--config.train.length_multiple=1"], str(tmp_path / "cache"))
        found.append([json.loads(line) for line in (tmp_path / str(replicas) / "metrics.jsonl").read_text().splitlines()])
    one = found[0]
    assert len(one) > 3
    for line, *others in zip(*found, strict=True):
        for name in line.keys() & {"loss", "f1", "exact_match", "no_answer_f1", "gradient_norm"}:
            assert [other[name] for other in others] == pytest.approx([line[name]] * 2, rel=1e-4), name
    assert {"loss", "f1"} <= set().union(*one)


def test_tables_know_the_task():
    assert "question_answering" in TASKS and "question_answering" in FIELDS
    assert {"question", "context"} <= ASKED.fields.keys()


def test_plan(trained, tiny_preset):
    folder, _ = trained
    out, error = run(["plan", f"--config={ROOT}/configs/my_answers.py:{folder}/train-v2.0.json",
                      f"--config.model.backbone={tiny_preset}", *SETTINGS], str(folder / "cache"))
    assert "questions have none" in out + error and "train" in out
