"""Encoder-decoders from a file of texts to a served answer."""

import json
import random
from pathlib import Path

import keras_hub
import language
import pytest
import t5
import tensorflow as tf
from commands import ROOT, killed_is_like_whole, page_of
from served import serving, settings
from test_masked_lm_run import settings_of
from written import judged_right

from tfft.errors import UserError
from tfft.run.fine_tune import fine_tune
from tfft.run.workdir import open_run
from tfft.serving.adapter_folder import export_adapter
from tfft.serving.export import export
from tfft.serving.prediction import Predictor, predict_file, predict_texts
from tfft.serving.remote_prediction import predict_texts_remotely

OTHER = {"good": "bad", "bad": "good", "fine": "poor", "poor": "fine"}


def rows(count: int) -> list[dict]:
    """"the film was good" becomes "bad bad", and so do all words of OTHER."""
    draw, made = random.Random(0), []
    for number in range(count):
        word = draw.choice(list(OTHER))
        made.append({"id": number, "source": draw.choice(["the film was ", "a ", ""]) + word,
                     "target": f"{OTHER[word]} {OTHER[word]}"})
    return made


def write(folder: Path, count: int) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)), "utf-8")
    return f"jsonl:{path}"


def experiment(model: str, folder: Path, **changes):
    usual = {"data__max_length": 16, "data__max_target_length": 6, "data__validation": "20%", "data__id_column": "id",
             "train__epochs": 8, "train__peak_learning_rate": 0.03, "train__global_batch_size": 16, "task__max_new_tokens": 5,
             "task__beams": 1, "task__sample_rows": 6, "model__dropout": 0.0}
    return settings_of(f"my_rewrites:{write(folder, 160)}", model, folder / "cache", **{**usual, **changes})


@pytest.fixture(scope="module")
def trained(tiny_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rewrites")
    assert fine_tune(experiment(tiny_preset, folder), str(folder / "run")) == 0
    return folder


def test_train_evaluate_predict_export_and_serve(trained, capsys):
    run = str(trained / "run")
    judged_right(trained / "run", rows=6)
    assert {"How good", "Sample answers", "Training", "Data"} <= set(page_of(trained / "run"))

    capsys.readouterr()
    assert predict_texts(run, "", [{"text": "the film was good"}, {"text": "bad"}, {"text": " "}]) == 0
    made = [json.loads(line) for line in capsys.readouterr().out.strip().split("\n")]
    assert [one["text"] for one in made] == ["bad bad", "good good", None] and made[0]["tokens"] == 3
    assert predict_texts(run, "", [{"text": "a good"}], ["beams=3", "max_new_tokens=1"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "bad"
    (trained / "asked.jsonl").write_text('{"source": "bad"}\n{"source": ""}\n')
    assert predict_file(run, "", str(trained / "asked.jsonl"), str(trained / "answers.jsonl"), probabilities=False,
                        batch_size=4, on_broken_row="empty") == 0
    assert [json.loads(line)["text"] for line in (trained / "answers.jsonl").read_text().splitlines()] == ["good good", None]

    assert export(run, str(trained / "models/rewrites"), "") == 0
    assert "proven on" in capsys.readouterr().out
    served = tf.saved_model.load(str(trained / "models/rewrites/1")).signatures
    assert served["serving_default"](text=tf.constant(["good"]))["text"].numpy().tolist() == [b"bad bad"]
    with serving(settings(trained / "models/rewrites")) as server:
        assert predict_texts_remotely(f"{server.url}/rewrites", [{"text": "a fine"}]) == 0
        assert json.loads(capsys.readouterr().out)["text"] == "poor poor"


def pretrained(kind: str, folder: Path) -> str:
    """Random weights: of T5 in Hugging Face's layout, of BART as a preset of KerasHub."""
    if kind == "t5":
        t5.write(folder, "flan")
        return str(folder)
    merged = [merge.replace(" ", "") for merge in language.MERGES]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *language.LETTERS.values(), *merged, "<mask>"]
    tokenizer = keras_hub.models.BartTokenizer({token: i for i, token in enumerate(tokens)}, language.MERGES)
    backbone = keras_hub.models.BartBackbone(len(tokens), num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32,
                                             dropout=0.0, max_sequence_length=64)
    backbone.save_to_preset(str(folder))
    tokenizer.save_to_preset(str(folder))
    return str(folder)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_t5_and_bart_learn_and_write_what_they_learnt(kind, tmp_path, capsys):
    model = pretrained(kind, tmp_path / "model")
    chosen = experiment(model, tmp_path, data__max_length=48, data__max_target_length=24, task__max_new_tokens=20,
                        train__epochs=10, data__validation="10%")
    assert fine_tune(chosen, str(tmp_path / "run")) == 0
    losses = [line["loss"] for line in map(json.loads, (tmp_path / "run/metrics.jsonl").read_text().splitlines())
              if line["kind"] == "validation"]
    assert losses[-1] < 0.1 < losses[0]
    capsys.readouterr()
    assert predict_texts(str(tmp_path / "run"), "", [{"text": "a good"}, {"text": "the film was fine"}]) == 0
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["bad bad", "poor poor"]


@pytest.mark.slow
@pytest.mark.parametrize("kind, method", [("t5", "prefix"), ("bart", "prompt")])
def test_what_comes_before_the_tokens_is_kept_alone_and_exported(kind, method, tmp_path, capsys):
    chosen = experiment(pretrained(kind, tmp_path / "model"), tmp_path, data__max_length=40, data__max_target_length=24,
                        data__validation="", task__max_new_tokens=12, train__epochs=1, train__peak_learning_rate=0.01,
                        adaptation__method=method, adaptation__prefix=3)
    assert fine_tune(chosen, str(tmp_path / "run")) == 0
    assert export_adapter(str(tmp_path / "run"), str(tmp_path / "mine"), "", "adapter") == 0
    asked = [{"text": text} for text in ("a good", "the film was fine", "bad")]
    answers = [Predictor(open_run(tmp_path / name))(asked)["text"].tolist() for name in ("run", "mine")]
    assert answers[0] == answers[1]
    capsys.readouterr()
    assert export(str(tmp_path / "mine"), str(tmp_path / "models"), "") == 0
    assert "proven on" in capsys.readouterr().out
    served = tf.saved_model.load(str(tmp_path / "models" / "1")).signatures["serving_default"]
    assert served(text=tf.constant([one["text"] for one in asked]))["text"].numpy().tolist() == answers[0]


@pytest.mark.slow
def test_killed_is_like_whole_with_lora_and_dropout(thin_preset, tmp_path):
    spec = write(tmp_path, 60)
    names = killed_is_like_whole([
        f"--config={ROOT}/configs/my_rewrites.py:{spec}", "--config.data.id_column=id", "--config.data.max_length=16",
        "--config.data.max_target_length=6", f"--config.model.backbone={thin_preset}", "--config.adaptation.method=lora",
        "--config.adaptation.dropout=0.2", "--config.train.accumulation=2", "--config.train.epochs=4",
        "--config.task.max_new_tokens=3", "--config.task.beams=1", "--config.train.global_batch_size=4",
        "--config.train.checkpoint_every_steps=3"], str(tmp_path / "cache"), tmp_path, 12)
    assert any("cross_attention" in name for name in names)


def test_what_cannot_be(tiny_preset, tmp_path):
    with pytest.raises(UserError, match="max_new_tokens=99 is more than the backbone's limit of 32 positions"):
        fine_tune(experiment(tiny_preset, tmp_path, task__max_new_tokens=99), str(tmp_path / "run"))
    with pytest.raises(UserError, match="decoder_layers=7: this BertBackbone has 2"):
        fine_tune(experiment(tiny_preset, tmp_path, task__decoder_layers=7), str(tmp_path / "run2"))
