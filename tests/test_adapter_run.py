"""Adapters from training to what is served: every task trains and exports them, a folder of its own has them alone, PEFT's
layout is written and read, and a killed run goes on."""

import dataclasses
import functools
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import language
import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, killed_is_like_whole
from safetensors.numpy import load_file, save_file

from tfft.config import resolve
from tfft.config.shipped import load
from tfft.errors import UserError
from tfft.models.adaptation import sections
from tfft.models.adapters import Beside
from tfft.models.backbone import load_backbone
from tfft.models.places import places
from tfft.run.adapter_files import start_from
from tfft.run.assembly import build, prepare
from tfft.run.fine_tune import fine_tune
from tfft.run.forecast import _activations
from tfft.run.workdir import Workdir, merged, open_run
from tfft.serving.adapter_folder import export_adapter
from tfft.serving.backbone_folder import export_backbone
from tfft.serving.export import export
from tfft.serving.prediction import Predictor

METHODS = ("lora", "dora", "adalora", "ia3", "adapters", "bitfit", "prefix", "prompt")
TEXTS = ["good film .", "bad film .", "a fine film", "the poor film", "fine good a", "bad poor the ."]


def experiment(config: str, preset: str, cache: Path, **changes):
    """The experiment of a shipped config, adapted, with settings changed: data__max_length=16."""
    made = load(config)
    made.model.backbone, made.data.cache = str(preset), str(cache)
    made.adaptation.method, made.data.max_length, made.train.global_batch_size = "lora", 16, 8
    for name, value in changes.items():
        group, _, field = name.partition("__")
        made[group][field] = value
    return resolve(made)


@pytest.fixture(scope="module")
def trained(tiny_preset, reviews, tmp_path_factory):
    """A folder with runs "lora" and "adapters" of 40 steps."""
    folder = tmp_path_factory.mktemp("adapted")
    for method in ("lora", "adapters"):
        made = experiment("my_csv", tiny_preset, folder / "cache", data__train=f"csv:{reviews}", train__steps=40,
                          train__peak_learning_rate=2e-3, adaptation__method=method, eval__baseline=False)
        assert fine_tune(made, str(folder / method)) == 0
    return folder


def answers(run) -> np.ndarray:
    return Predictor(run)([{"text": text} for text in TEXTS])["scores"]


@pytest.mark.parametrize("method, unmerged", [("lora", False), ("lora", True), ("adapters", False)])
def test_what_is_exported_answers_as_the_run(trained, tiny_preset, method, unmerged, tmp_path, capsys):
    run = open_run(trained / method)
    assert "trained" in (trained / method / "train.log").read_text()
    frozen = load_backbone(tiny_preset, precision="float32", dropout=-1)
    expected = answers(run)
    assert np.ptp(expected[:, 0]) > 0.05  # it has learnt to tell texts apart
    assert export(str(trained / method), str(tmp_path / "models"), "", unmerged=unmerged) == 0
    assert "proven on" in capsys.readouterr().out
    served = tf.saved_model.load(str(tmp_path / "models" / "1")).signatures["serving_default"]
    np.testing.assert_allclose(served(text=tf.constant(TEXTS))["scores"], expected, atol=1e-5)
    saved = [shape for _, shape in tf.train.list_variables(str(tmp_path / "models" / "1" / "variables" / "variables"))]
    assert ([8, 24] in saved) == (method == "lora" and not unmerged)  # query, key and value as one
    alone = merged(run)
    left = [p for layer in sections(alone.backbone)[1] for p in places(layer) if isinstance(p.layer, Beside)]
    assert bool(left) == (method == "adapters")
    np.testing.assert_allclose(answers(alone), expected, atol=1e-5)
    given = {v.path: v.numpy() for v in frozen.variables}
    for variable in run.backbone.variables:
        if variable.path in given and "pooled" not in variable.path:
            np.testing.assert_array_equal(variable.numpy(), given[variable.path])


@pytest.mark.parametrize("method", ["lora", "adapters"])
def test_an_adapter_is_small_and_a_work_directory(trained, tiny_preset, method, tmp_path, capsys):
    target = tmp_path / "mine"
    assert export_adapter(str(trained / method), str(target), "", "adapter") == 0
    assert f"({method}, " in capsys.readouterr().out
    names = load_file(target / "adapter.safetensors").keys()
    assert {name.split("/")[-1] for name in names} == (
        {"a", "b", "kernel", "bias"} if method == "lora" else {"down", "up", "down_bias", "up_bias", "kernel", "bias"})
    again = open_run(target)
    np.testing.assert_allclose(answers(again), answers(open_run(trained / method)), atol=1e-6)
    assert again.step == open_run(trained / method).step and again.fingerprint()
    assert export(str(target), str(tmp_path / "models"), "") == 0
    assert "proven on" in capsys.readouterr().out
    with pytest.raises(UserError, match="is there already"):
        export_adapter(str(trained / method), str(target), "", "adapter")


def test_an_adapter_beside_other_weights_is_refused(trained, thin_preset, tiny_preset, tmp_path):
    export_adapter(str(trained / "lora"), str(tmp_path / "mine"), "", "adapter")
    backbone = load_backbone(tiny_preset, precision="float32", dropout=-1)
    for variable in backbone.variables[:3]:
        variable.assign(variable.numpy() + 1)
    changed = tmp_path / "preset"
    backbone.save_to_preset(str(changed))
    from tfft.models.backbone import load_tokenizer

    load_tokenizer(tiny_preset).save_to_preset(str(changed))
    config = tmp_path / "mine" / "config.json"
    config.write_text(config.read_text().replace(json.dumps(str(tiny_preset)), json.dumps(str(changed))))
    with pytest.raises(UserError, match="was trained beside other weights of the backbone"):
        open_run(tmp_path / "mine")


def test_a_run_without_a_method_has_no_adapter(trained, tiny_preset, reviews, tmp_path):
    made = experiment("my_csv", tiny_preset, tmp_path / "cache", data__train=f"csv:{reviews}", train__steps=1,
                      adaptation__method="none", eval__baseline=False)
    assert fine_tune(made, str(tmp_path / "run")) == 0
    with pytest.raises(UserError, match="all of its weights are its own"):
        export_adapter(str(tmp_path / "run"), "", "", "adapter")


def test_the_backbone_of_a_run_has_lora_in_it(trained, tmp_path):
    assert export_backbone(str(trained / "lora"), str(tmp_path / "backbone"), "", "huggingface") == 0
    with pytest.raises(UserError, match="beside the backbone's weights"):
        export_backbone(str(trained / "adapters"), str(tmp_path / "other"), "", "backbone")


def test_what_a_run_starts_from(trained, tiny_preset, reviews, tmp_path):
    for layout in ("adapter", "peft"):
        export_adapter(str(trained / "lora"), str(tmp_path / layout), "", layout)
        made = experiment("my_csv", tiny_preset, tmp_path / "cache", data__train=f"csv:{reviews}", train__steps=1,
                          train__peak_learning_rate=0.0, adaptation__start=str(tmp_path / layout), eval__baseline=False)
        assert fine_tune(made, str(tmp_path / f"from {layout}")) == 0
        assert "starts from" in (tmp_path / f"from {layout}" / "train.log").read_text()
        ours, theirs = ({v.path: v.numpy() for v in open_run(path, "last").backbone.variables}
                        for path in (tmp_path / f"from {layout}", trained / "lora"))
        for path, value in ours.items():
            if "pooled" not in path and "seed_generator" not in path:
                np.testing.assert_array_equal(value, theirs[path], err_msg=path)
    (tmp_path / "peft").rename(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "from peft" / "last")
    assert fine_tune(made, str(tmp_path / "from peft")) == 0 and (tmp_path / "from peft" / "last").exists()  # it has begun
    (tmp_path / "elsewhere").rename(tmp_path / "peft")
    for changes, match in (({"rank": 4}, "adaptation.rank=8"), ({"alpha": 3.0}, "adaptation.alpha=16"),
                           ({"targets": ("query",)}, "targets|other matrices"), ({"start": str(tmp_path)}, "is no adapter")):
        for layout in ("adapter", "peft"):
            changed = {"start": str(tmp_path / layout), **changes}
            made = experiment("my_csv", tiny_preset, tmp_path / "cache", data__train=f"csv:{reviews}", eval__baseline=False,
                              **{f"adaptation__{name}": value for name, value in changed.items()})
            with pytest.raises(UserError, match=match):
                fine_tune(made, str(tmp_path / "refused"))


def test_a_folder_of_an_adapter_that_is_damaged_or_of_more_layers_is_told(trained, tmp_path):
    export_adapter(str(trained / "lora"), str(tmp_path / "mine"), "", "adapter")
    run, manifest = open_run(trained / "lora"), tmp_path / "mine" / "adapter.json"
    stated = json.loads(manifest.read_text())
    config = dataclasses.replace(run.experiment.adaptation, start=str(tmp_path / "mine"))
    del stated["adaptation"]["prefix"]  # written before there was such a setting
    manifest.write_text(json.dumps(stated))
    assert "starts from the adapter" in start_from(run.backbone, run.model, config, 0)
    with pytest.raises(UserError, match="other settings. Train with --config.model.frozen_layers=0"):
        start_from(run.backbone, run.model, config, 1)
    for damaged in ("{", "[]", '{"adaptation": {}}'):
        manifest.write_text(damaged)
        with pytest.raises(UserError, match="adapter.json is damaged"):
            start_from(run.backbone, run.model, config, 0)
    (tmp_path / "mine" / "backbone.json").write_text("{")
    with pytest.raises(UserError, match="is not complete .backbone.json: "):
        open_run(tmp_path / "mine")


def test_pefts_layout(trained, tiny_preset, tmp_path):
    """Names, shapes and settings as PEFT 0.18 writes them for a BertModel."""
    export_adapter(str(trained / "lora"), str(tmp_path / "peft"), "", "peft")
    stated = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (stated["peft_type"], stated["r"], stated["lora_alpha"], stated["use_dora"]) == ("LORA", 8, 16.0, False)
    assert "encoder.layer.1.attention.output.dense" in stated["target_modules"] and len(stated["target_modules"]) == 12
    tensors = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    assert len(tensors) == 24
    start = "base_model.model.encoder.layer.0."
    assert tensors[start + "intermediate.dense.lora_A.weight"].shape == (8, 8)  # [rank, inputs]
    assert tensors[start + "intermediate.dense.lora_B.weight"].shape == (16, 8)  # [outputs, rank]
    assert tensors[start + "output.dense.lora_A.weight"].shape == (8, 16)
    run = open_run(trained / "lora")
    beside = next(p.layer for p in places(sections(run.backbone)[1][0]) if p.layer.name == "query_adapted")
    np.testing.assert_array_equal(tensors[start + "attention.self.query.lora_A.weight"], beside.a.numpy().T)

    other = {name.replace("base_model.model.", "base_model.model.bert."): value for name, value in tensors.items()}
    other["base_model.model.classifier.weight"] = np.zeros((2, 8), np.float32)  # of AutoModelForSequenceClassification
    save_file(other, tmp_path / "peft" / "adapter_model.safetensors")
    from tfft.models.peft import read_peft

    before = beside.a.numpy()
    beside.a.assign(before * 0)
    assert read_peft(run.backbone, run.experiment.adaptation, tmp_path / "peft") == 1
    np.testing.assert_array_equal(beside.a.numpy(), before)


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows * 4)


TASKS = {
    "my_entities": "\n".join("".join(f"{word} {'B-x' if word == 'bad' else 'O'}\n" for word in text.split()) for text in TEXTS),
    "my_answers": lines([{"question": f"{text} a", "context": text, "answers": text.split()[0]} for text in TEXTS]),
    "my_pairs": lines([{"text": text, "text_pair": f"{text} a"} for text in TEXTS]),
    "my_choices": lines([{"question": text, "choices": ["good", "bad"], "label": i % 2} for i, text in enumerate(TEXTS)]),
    "my_corpus": lines([{"text": f"{text} {text}"} for text in TEXTS]),
}
ALL_TASKS = {
    **TASKS,
    "my_csv": lines([{"text": text, "label": text.split()[0]} for text in TEXTS]),
    "my_rewrites": lines([{"source": f"{text} a", "target": text} for text in TEXTS]),
    "my_chat": lines([{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "fine"}]}
                      for text in TEXTS]),
}
IN_CI = [*zip(TASKS, ("lora", "dora", "ia3", "adapters", "bitfit"), strict=True), ("my_entities", "prefix"),
         ("my_answers", "prompt")]
REFUSED = {("my_chat", "bitfit")}


def pytest_generate_tests(metafunc):
    """The tasks with a method each; with --product every task with every method, which takes many minutes."""
    if "config" in metafunc.fixturenames and "method" in metafunc.fixturenames:
        product = itertools.product(ALL_TASKS, METHODS) if metafunc.config.getoption("--product") else IN_CI
        metafunc.parametrize("config, method", list(product))


@pytest.mark.slow
def test_every_task_trains_and_exports_them(config, method, thin_preset, tmp_path, capsys):
    rows = tmp_path / ("rows.conll" if config == "my_entities" else "rows.jsonl")
    rows.write_text(ALL_TASKS[config])
    preset = language.write(tmp_path / "llama") if config == "my_chat" else thin_preset
    source = f"{config}:{'jsonl:' * (config == 'my_chat')}{rows}"
    changes = {"my_csv": {"data__train": f"jsonl:{rows}"}, "my_chat": {"data__max_length": 32, "task__max_new_tokens": 8},
               "my_rewrites": {"data__max_target_length": 16, "task__max_new_tokens": 8}}.get(config, {})
    made = functools.partial(experiment, source, preset, tmp_path / "cache", **{
        "data__validation": "", "train__steps": 2, "adaptation__method": method, **changes})
    if (config, method) in REFUSED:
        with pytest.raises(UserError, match="adaptation.method"):
            fine_tune(made(), str(tmp_path / "run"))
        return
    assert fine_tune(made(), str(tmp_path / "run")) == 0
    assert export(str(tmp_path / "run"), "", "") == 0
    assert "proven on" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_a_language_model_has_it_alone_and_in_an_export(method, tmp_path, capsys):
    """What comes before the tokens; in training several texts share a row where they can."""
    (tmp_path / "rows.jsonl").write_text(ALL_TASKS["my_chat"])
    made = experiment(f"my_chat:jsonl:{tmp_path / 'rows.jsonl'}", language.write(tmp_path / "llama"), tmp_path / "cache",
                      data__max_length=64, data__validation="", train__epochs=1, train__peak_learning_rate=0.01,
                      adaptation__method=method, task__max_new_tokens=8, task__pack=method == "prefix")
    assert fine_tune(made, str(tmp_path / "run")) == 0
    assert export_adapter(str(tmp_path / "run"), str(tmp_path / "mine"), "", "adapter") == 0
    assert f"({method}, " in capsys.readouterr().out
    assert {name.split("/")[-1] for name in load_file(tmp_path / "mine" / "adapter.safetensors")} == (
        {"vectors"} if method == "prompt" else {"tokens", "down", "up", "down_bias", "up_bias"})
    run, again = open_run(tmp_path / "run"), open_run(tmp_path / "mine")
    asked = [{"prompt": text} for text in TEXTS]
    answers = [Predictor(one)(asked)["text"].tolist() for one in (run, again)]
    assert answers[0] == answers[1]
    assert export(str(tmp_path / "mine"), str(tmp_path / "models"), "") == 0
    assert "proven on" in capsys.readouterr().out
    served = tf.saved_model.load(str(tmp_path / "models" / "1")).signatures["serving_default"]
    assert served(prompt=tf.constant(TEXTS))["text"].numpy().tolist() == answers[0]


def test_the_memory_that_plan_tells_knows_what_comes_before_the_tokens(tiny_preset, reviews, tmp_path):
    told = {}
    for method in ("lora", "prefix", "prompt"):
        made = experiment("my_csv", tiny_preset, tmp_path, data__train=f"csv:{reviews}", adaptation__method=method,
                          adaptation__prefix=6)
        prepared = prepare(made, str(tiny_preset), tmp_path, str)
        told[method] = _activations(build(prepared), prepared)
    plan = prepared.epochs.epoch(0).plan
    tokens = max(plan.padded_sizes * plan.sequences * plan.lengths)
    assert told["lora"] < told["prefix"] < told["prompt"]
    assert (told["prefix"] - told["lora"]) % (tokens * 6) == 0


@pytest.mark.slow
def test_killed_is_like_whole(trained, tiny_preset, reviews, tmp_path):
    names = killed_is_like_whole([
        f"--config={ROOT}/configs/my_csv.py:{reviews}", f"--config.model.backbone={tiny_preset}", "--config.model.dropout=0.2",
        "--config.data.max_length=16", "--config.adaptation.method=adalora", "--config.adaptation.dropout=0.2",
        "--config.train.epochs=3", "--config.train.global_batch_size=8", "--config.train.checkpoint_every_steps=5",
        "--config.train.remat=True", "--config.eval.baseline=False"], str(trained / "cache"), tmp_path, 20)
    assert any(name.endswith("/values") for name in names)


def test_several_adapters_in_one_model(trained, tiny_preset, reviews, tmp_path, capsys):
    """Each answers by its name as its own run does, and the backbone's weights are there once."""
    made = experiment(f"my_corpus:{reviews}", tiny_preset, tmp_path / "cache", train__steps=3, adaptation__method="ia3",
                      train__peak_learning_rate=0.05)
    assert fine_tune(made, str(tmp_path / "words")) == 0
    assert export_adapter(str(trained / "lora"), str(tmp_path / "small"), "", "adapter") == 0
    assert export(str(trained / "adapters"), str(tmp_path / "models"), "", adapters={
        "tickets": str(tmp_path / "small"), "words": str(tmp_path / "words")}) == 0
    assert "tickets: label" in (out := capsys.readouterr().out) and "words: " in out
    loaded = tf.saved_model.load(str(tmp_path / "models" / "1"))
    for name, path in (("serving_default", trained / "adapters"), ("tickets", trained / "lora")):
        scores = loaded.signatures[name](text=tf.constant(TEXTS))["scores"]
        np.testing.assert_allclose(scores, answers(open_run(path)), atol=1e-5)
    asked = ["good [MASK] ."]
    expected = Predictor(open_run(tmp_path / "words"))([{"text": asked[0]}])["probabilities"]
    np.testing.assert_allclose(loaded.signatures["words"](text=tf.constant(asked))["probabilities"], expected, atol=1e-5)
    saved = tf.train.list_variables(str(tmp_path / "models" / "1" / "variables" / "variables"))
    tables = [shape for _, shape in saved if shape == [15, 8]]
    assert len(tables) == 1  # the token embeddings
    schema = json.loads((tmp_path / "models" / "1" / "signatures.json").read_text())["signatures"]
    assert schema["tickets"]["request"]["required"] == ["instances", "signature_name"]


@pytest.mark.parametrize("flags, said", [
    (["--unmerged", "--format=peft"], "--unmerged is for a SavedModel"), (["--unmerged"], "there is nothing to merge"),
    (["--adapters=a=b", "--format=peft"], "--adapters are for a SavedModel")])
def test_flags_that_do_nothing_are_refused(flags, said, tmp_path):
    Workdir(tmp_path).begin(resolve(load("my_csv:reviews.csv")))
    made = subprocess.run([sys.executable, "-m", "tfft.export", f"--workdir={tmp_path}", *flags], capture_output=True,
                          text=True)
    assert made.returncode and said in " ".join(made.stderr.split()) and "Traceback" not in made.stderr


def test_adapters_over_other_weights_are_refused(trained, thin_preset, reviews, tmp_path):
    for method, match in (("lora", "beside other weights of the backbone"), ("none", "its backbone is its own")):
        made = experiment("my_csv", thin_preset, tmp_path / "cache", data__train=f"csv:{reviews}", train__steps=1,
                          adaptation__method=method, eval__baseline=False)
        assert fine_tune(made, str(tmp_path / method)) == 0
        with pytest.raises(UserError, match=match):
            export(str(trained / "lora"), str(tmp_path / "models"), "", adapters={"other": str(tmp_path / method)})
    with pytest.raises(UserError, match="is a signature of"):
        export(str(trained / "lora"), str(tmp_path / "models"), "", adapters={"tokens": str(trained / "adapters")})
    assert not list((tmp_path / "models").glob("*"))
