"""Masked words from a text file to a served answer, and to a backbone that another run starts from."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, killed_is_like_whole, page_of
from served import serving, settings

from tfft.config import resolve
from tfft.config.shipped import load
from tfft.errors import UserError
from tfft.models.backbone import load_backbone, load_tokenizer
from tfft.models.masked_lm import load_head
from tfft.run.fine_tune import fine_tune
from tfft.run.judge import judge
from tfft.run.workdir import open_run
from tfft.serving.backbone_folder import export_backbone
from tfft.serving.export import export
from tfft.serving.prediction import predict_texts
from tfft.serving.remote_prediction import predict_texts_remotely


def write_texts(path: Path, count: int) -> str:
    """Lines of one word each, so that what is hidden follows from what stands around it."""
    draw = random.Random(0)
    lines = [" ".join([draw.choice(["good", "bad"])] * draw.randrange(3, 20)) + " ." for _ in range(count)]
    path.write_text("\n\n".join(lines) + "\n", "utf-8")
    return f"text:{path}"


def settings_of(config: str, preset, cache, **changes):
    """The experiment of a shipped config with settings changed: data__max_length=16."""
    made = load(config)
    made.model.backbone, made.data.cache = str(preset), str(cache)
    for name, value in changes.items():
        group, _, field = name.partition("__")
        made[group][field] = value
    return resolve(made)


@pytest.fixture(scope="module")
def trained(tiny_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    spec = write_texts(folder / "texts.txt", 300)
    experiment = settings_of(f"my_corpus:{spec}", tiny_preset, folder / "cache", data__max_length=16, data__validation="20%",
                             model__dropout=0.0, train__epochs=12, train__peak_learning_rate=0.005, train__global_batch_size=8,
                             task__mask_share=1.0, task__random_share=0.0)
    assert fine_tune(experiment, str(folder / "run")) == 0
    return folder


def test_train_evaluate_predict_export_and_serve(trained, capsys):
    run = str(trained / "run")
    assert "its head for masked words is new" in (trained / "run" / "train.log").read_text()
    assert page_of(trained / "run")[:4] == ["How good", "Slices", "Mistakes", "Training"]
    lines = [json.loads(line) for line in (trained / "run" / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if line["kind"] == "validation"]
    assert len(judged) == 12 and judged[-1]["perplexity"] < 2  # 2.5 without a look at the others
    assert judged[-1]["perplexity"] == pytest.approx(np.exp(judged[-1]["loss"]), rel=1e-6)
    assert judge(run, data="", split="validation", weights="", output="") == 0
    report = json.loads((trained / "run" / "evaluation-validation.json").read_text())
    assert report["metrics"].keys() == {"perplexity", "accuracy", "loss"} and report["tokens"] > 50
    assert report["metrics"]["perplexity"] == pytest.approx(min(line["perplexity"] for line in judged), rel=1e-4)

    capsys.readouterr()
    assert predict_texts(run, "", [{"text": "bad [MASK] bad bad [MASK] bad ."}, {"text": "good ."}]) == 0
    first, second = (json.loads(line)["masks"] for line in capsys.readouterr().out.strip().split("\n"))
    assert len(first) == 2 and second == [] and all(len(mask) == 5 for mask in first)
    assert [mask[0]["token"] for mask in first] == ["bad", "bad"] and first[0][0]["probability"] > 0.4

    assert export(run, str(trained / "models" / "words"), "") == 0
    out = capsys.readouterr().out
    assert "proven on" in out and "tokens string(None, None, 5)" in out
    served = tf.saved_model.load(str(trained / "models" / "words" / "1")).signatures["serving_default"]
    answer = served(text=tf.constant(["bad [MASK] bad bad [MASK] bad .", "nothing"]))
    assert answer["tokens"].shape == (2, 2, 5) and answer["tokens"].numpy()[0, 0, 0] == b"bad"
    assert answer["probabilities"].numpy()[0, 0, 0] == pytest.approx(first[0][0]["probability"], abs=1e-4)
    assert (answer["probabilities"].numpy()[1] == 0).all()
    with serving(settings(trained / "models" / "words")) as server:
        assert predict_texts_remotely(f"{server.url}/words", [{"text": "good good [MASK] good ."}]) == 0
        assert json.loads(capsys.readouterr().out)["masks"][0][0]["token"] == "good"


@pytest.mark.parametrize("layout", ["backbone", "huggingface"])
def test_the_backbone_is_where_another_run_starts(trained, tiny_preset, layout, tmp_path):
    target, mine = tmp_path / "backbone", open_run(trained / "run")
    assert export_backbone(str(trained / "run"), str(target), "", layout) == 0
    given, again = (load_backbone(str(preset), precision="float32", dropout=-1) for preset in (tiny_preset, target))
    for ours, theirs in zip(mine.backbone.weights, given.weights, strict=True):
        if "pooled" in ours.path:  # of no use to this task, and so not trained
            ours.assign(theirs)
    inputs = {name: np.full((2, 8), 5 if name == "token_ids" else name == "padding_mask", np.int32) for name in again.input}
    for ours, theirs in zip(*(tf.nest.flatten(backbone(inputs)) for backbone in (mine.backbone, again)), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert load_tokenizer(str(target)).get_vocabulary() == mine.tokenizer.get_vocabulary()
    before = [weight.numpy() for weight in mine.model.weights]
    for weight in mine.model.weights:
        if weight.path.startswith("masked_lm"):
            weight.assign(weight * 0)
    assert load_head(mine.model, str(target))
    assert all((value == weight.numpy()).all() for value, weight in zip(before, mine.model.weights, strict=True))
    with pytest.raises(UserError, match="is there already"):
        export_backbone(str(trained / "run"), str(target), "", layout)


def test_the_backbone_of_a_classifier_too_which_began_with_one(trained, reviews, tmp_path):
    assert export_backbone(str(trained / "run"), str(tmp_path / "first"), "", "huggingface") == 0
    experiment = settings_of("my_csv", tmp_path / "first", tmp_path / "cache", data__train=f"csv:{reviews}", data__max_length=8,
                             train__steps=2, eval__baseline=False)
    assert fine_tune(experiment, str(tmp_path / "run")) == 0
    assert export_backbone(str(tmp_path / "run"), "", "", "backbone") == 0
    first, second = (load_backbone(str(folder), precision="float32", dropout=-1).get_weights()
                     for folder in (tmp_path / "first", tmp_path / "run" / "backbone"))
    assert {np.array_equal(*pair) for pair in zip(first, second, strict=True)} == {True, False}  # the pooler is as it was


@pytest.mark.slow
def test_killed_is_like_whole_with_dropout_and_packed(trained, tiny_preset, tmp_path):
    killed_is_like_whole([f"--config={ROOT}/configs/my_corpus.py:text:{trained}/texts.txt", "--config.data.max_length=32",
                          f"--config.model.backbone={tiny_preset}", "--config.model.dropout=0.2", "--config.task.hide=spans",
                          "--config.task.pack=True", "--config.train.accumulation=2", "--config.train.epochs=3",
                          "--config.train.global_batch_size=8", "--config.train.checkpoint_every_steps=5"],
                         str(trained / "cache"), tmp_path, 20)
