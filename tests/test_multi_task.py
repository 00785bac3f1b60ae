"""Several tasks on one backbone: their config, the step, replicas, what is left in each task's folder.

As a script it trains on logical CPUs: python tests/test_multi_task.py FOLDER PRESET REPLICAS MICRO_BATCHES
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, killed_is_like_whole, page_of
from forked import Forked
from projecting import Projector

import tfft
from tfft.config import (
    any_from_json,
    any_to_json,
    default_config,
    differences_of_tasks,
    multi_task_config,
    resolve_any,
    shipped,
)
from tfft.config.multi_task import Part, split_batch
from tfft.errors import UserError

TEXTS = ["good film .", "bad film .", "a fine film", "the poor film", "fine good a", "bad poor the ."]


def write_rows(folder: Path) -> None:
    """topics.csv, entities.conll and pairs.jsonl, of 48 rows each, no two alike."""
    texts = [f"{text} {' '.join(['film', 'a', 'the'][i % 3:][:1] * (i // 6))}".strip() for i, text in enumerate(TEXTS * 8)]
    label = {text: "pos" if text.split()[0] in ("good", "fine") else "neg" for text in texts}
    (folder / "topics.csv").write_text("text,label\n" + "".join(f"{text},{label[text]}\n" for text in texts))
    (folder / "entities.conll").write_text("\n".join("".join(
        f"{word} {'B-x' if word == 'bad' else 'O'}\n" for word in text.split()) for text in texts))
    (folder / "pairs.jsonl").write_text("".join(json.dumps({"text": text, "text_pair": f"{text} a"}) + "\n" for text in texts))


def config_of(folder: Path, preset: str, without: str = "", **settings):
    """topics, entities and pairs (which has no validation rows) in a step of 16, 8 and 4; settings: train__steps=10."""
    tasks = {"topics": shipped.load(f"my_csv:{folder}/topics.csv"), "entities": shipped.load(
        f"my_entities:{folder}/entities.conll"), "pairs": shipped.load(f"my_pairs:{folder}/pairs.jsonl")}
    for task in tasks.values():
        task.model.backbone, task.model.dropout, task.model.head_dropout = preset, 0.0, 0.0
        task.data.max_length, task.data.validation, task.data.cache = 16, "25%", str(folder / "cache")
    tasks["pairs"].data.validation = ""
    tasks.pop(without, None)
    made = multi_task_config(**tasks)
    for name, rate in (("topics", 4.0), ("entities", 2.0), ("pairs", 1.0)):
        if name in tasks:
            made.tasks[name].rate = rate
    made.tasks.pairs.weight = 0.5
    made.train.global_batch_size, made.train.steps, made.eval.every_steps = 12 if without else 28, 12, 4
    made.train.peak_learning_rate = 2e-2
    for name, value in settings.items():
        group, _, field = name.partition("__")
        made[group][field] = value
    return made


def weights_of(workdir: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return {f"{file.parent.parent.name}/{path}": value for file in sorted(workdir.glob("*/last/weights.safetensors"))
            for path, value in load_file(file).items()}


def lines(workdir: Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def judged(workdir: Path) -> list[dict]:
    return [line for line in lines(workdir) if line["kind"] == "validation"]


# ---- config

def values(**changes) -> dict:
    """A config of two tasks as nested values, with groups of one of them changed."""
    one = {"task": {"name": "text_classification"}, "data": {"train": "csv:a.csv"}, **changes}
    return {"tasks": {"one": one, "two": {"task": {"name": "token_classification"}, "data": {
        "train": "conll:a.conll", "words_column": "0", "tags_column": "1"}}}}


def test_config_is_kept_and_compared():
    made = resolve_any({**values(rate=3.0, model={"pooling": "max"}), "train": {"global_batch_size": 8, "epochs": 7}})
    assert [e.train.global_batch_size for e in made.tasks.values()] == [6, 2] and made.share("one") == 0.75
    assert [e.train.epochs for e in made.tasks.values()] == [7, 7]
    assert [e.model.pooling for e in made.tasks.values()] == ["max", "mean"]
    assert [e.eval.metric for e in made.tasks.values()] == ["accuracy", "f1"]
    assert any_from_json(any_to_json(made), "config.json") == made
    other = resolve_any({**values(rate=1.0, model={"pooling": "cls"}), "train": {"global_batch_size": 8, "epochs": 6}})
    assert differences_of_tasks(made, other) == [
        "train.epochs: 7 -> 6", "tasks.one.rate: 3.0 -> 1.0", "tasks.one.model.pooling: 'max' -> 'cls'"]


@pytest.mark.parametrize("rates, size, multiple, parts", [
    ((2, 1), 32, 1, [21, 11]), ((1, 1, 1), 32, 2, [12, 10, 10]), ((100, 1, 1), 4, 1, [2, 1, 1]), ((1, 1), 2, 1, [1, 1])])
def test_a_step_is_divided_by_rates(rates, size, multiple, parts):
    assert list(split_batch(dict(enumerate(rates)), size, multiple).values()) == parts


@pytest.mark.parametrize("changes, common, message", [
    ({"data": {"train": ""}}, {}, "config.tasks.one.data.train is empty. .* --config.tasks.one.data.train=csv:reviews.csv"),
    ({"task": {"problem": "x"}}, {}, "config.tasks.one.task.problem: Unknown value 'x'"),
    ({"train": {"epochs": 3}}, {}, "config.tasks.one.train.epochs: all tasks have one. Set config.train.epochs."),
    ({"adaptation": {"method": "lora"}}, {}, "config.tasks.one.adaptation.method: all tasks have one"),
    ({"rate": 0.0}, {}, "config.tasks.one.rate is 0.0; it must be at least"),
    ({"ratio": 2}, {}, "In config.tasks.one: Unknown setting 'ratio'. Did you mean 'rate'"),
    ({"eval": {"metric": "f1"}}, {}, "config.tasks.one.eval.metric: Unknown metric 'f1'"),
    ({}, {"train": {"head_rate": 2.0}}, "config.train.head_rate: each task has its own. Set config.tasks.NAME.train.head_rate"),
    ({}, {"data": {}}, "Each task has its own: config.tasks.NAME.data"),
    ({}, {"train": {"tokens_per_batch": 4096}}, "config.train.tokens_per_batch=4096: Each task's part of a step is a number"),
    ({}, {"train": {"activation_cache": "float32"}, "model": {"frozen_layers": 1}}, "is kept for runs of one task"),
    ({}, {"model": {"start": "runs/a"}}, "config.model.start=runs/a: Several tasks begin with the weights of a backbone"),
    ({}, {"adaptation": {"start": "runs/a"}}, "config.adaptation.start=runs/a: Several tasks begin"),
    ({}, {"train": {"global_batch_size": 2, "accumulation": 2}}, "has no example for each of 2 tasks"),
    ({}, {"tarin": {}}, "Unknown setting 'tarin'. Did you mean 'train'?")])
def test_what_a_config_cannot_have(changes, common, message):
    with pytest.raises(UserError, match=message):
        resolve_any({**values(**changes), **common})


def test_names_and_number_of_tasks():
    two = values()["tasks"]["two"]
    with pytest.raises(UserError, match="needs two tasks or more"):
        resolve_any({"tasks": {"two": two}})
    for name in ("best", "a b", ""):
        with pytest.raises(UserError, match="is no name for a task"):
            resolve_any({"tasks": {name: two, "two": two}})


def test_configs_that_cannot_be_together():
    one, two = default_config("text_classification"), default_config("token_classification")
    two.train.epochs = 9  # what is common is set once, and not by a task's own config
    assert multi_task_config(one=one, two=two).train.epochs == 3
    for group, field, value, message in (
            ("model", "backbone", "b", "one has model.backbone=.*, two model.backbone=b. All tasks have one backbone"),
            ("model", "frozen_layers", 2, "two model.frozen_layers=2"),
            ("adaptation", "method", "lora", "two adaptation.method"),
            ("train", "precision", "mixed_bfloat16", "two train.precision"),
            ("distribution", "cpu_replicas", 2, "two distribution.cpu_replicas=2"),
            ("train", "tokens_per_batch", 4096, "two has train.tokens_per_batch=4096. Each task's part")):
        two = default_config("token_classification")
        two[group][field] = value
        with pytest.raises(UserError, match=message):
            multi_task_config(one=one, two=two)
    with pytest.raises(UserError, match="two is no config of a task"):
        multi_task_config(one=one, two={})


@pytest.mark.parametrize("command, flags, message", [
    ("train", ["--config.tasks.topics.data.trian=x"], "--config.tasks.topics.data.trian: Unknown setting 'trian'. Did you"),
    ("train", ["--config.tasks.topic.data.train=x"], "Unknown setting 'topic'. Did you mean 'topics'?"),
    ("train", ["--config.tasks.topics.rate=x"], "--config.tasks.topics.rate=x: must be float."),
    ("train", ["--config.tasks.topics.train.epochs=2"], "all tasks have one. Set --config.train.epochs"),
    ("train", ["--config.train.head_rate=2"], "Each of several tasks has its own: --config.tasks.NAME.train.head_rate"),
    ("train", ["--config.data.sources.a.train=x"], "Name the sources of one of them in the config file"),
    ("lr_find", [], "is of several tasks (entities, topics), which tfft train, plan and preflight take.")])
def test_the_command_line(command, flags, message):
    process = Forked(["-m", "tfft", command, "--config=my_tasks", *flags])
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2 and message in " ".join(error.split()) and "Traceback" not in error


# ---- the step

@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    write_rows(folder)
    return folder


def build(config, preset, folder):
    """(tasks, their models and optimizer, feeds of static shapes or not) on one device."""
    import tensorflow as tf

    from tfft.run.assembly import build_together, make_feed
    from tfft.run.joint import prepare_tasks

    strategy = tf.distribute.get_strategy()
    course = prepare_tasks(config, dict.fromkeys(config.tasks, (preset, folder / "cache")), lambda text: None, strategy,
                           dict.fromkeys(config.tasks))
    tasks = list(course.tasks.values())
    built = build_together(tasks)
    return tasks, built, [make_feed(one, each.model) for one, each in zip(tasks, built, strict=True)]


def trainer_of(config, tasks, built, strategy=None, **given):
    import tensorflow as tf

    from tfft.run.joint import parts_of
    from tfft.training import joint

    parts = parts_of(config, dict(zip(config.tasks, tasks, strict=True)), built)
    return joint.JointTrainer(parts, built[0].optimizer, config.train, dataset=None, total_steps=12, use_loop=False,
                        global_step=tf.Variable(0, dtype=tf.int64), strategy=strategy or tf.distribute.get_strategy(), **given)


@pytest.mark.parametrize("xla", [False, True])
def test_gradients_are_those_of_the_tasks_by_their_shares(folder, thin_preset, xla):
    import tensorflow as tf

    config = resolve_any(config_of(folder, thin_preset, train__clip_norm=0.0))
    tasks, built, feeds = build(config, thin_preset, folder)
    batches = tuple(next(feed.take(0, 1)[0]) for feed in feeds)
    assert [len(batch[3]) for batch in batches] == [8, 4, 16] and list(config.tasks) == ["entities", "pairs", "topics"]
    shares = [8 / 28, 0.5 * 4 / 28, 16 / 28]
    expected, losses = {}, []
    for share, one, each, (inputs, targets, weights, _) in zip(shares, tasks, built, batches, strict=True):
        variables = each.model.trainable_variables
        with tf.GradientTape() as tape:
            loss = share * tf.reduce_sum(one.task.loss(targets, each.model(inputs, training=True)) * weights)
        losses.append(float(loss))
        for variable, gradient in zip(variables, tape.gradient(loss, [v.value for v in variables]), strict=True):
            expected[id(variable.value)] = expected.get(id(variable.value), 0) + tf.convert_to_tensor(gradient).numpy()
    optimizer = built[0].optimizer
    assert all(each.backbone is built[0].backbone and each.optimizer is optimizer for each in built)
    assert len(optimizer.variables_) == len(expected) == len(built[0].backbone.trainable_variables) - 2 + 2 * 2  # pooler, heads
    trainer = trainer_of(config, tasks, built, xla=xla)
    loss, norm, _, *of_tasks = trainer._replica_step(batches)
    assert np.array(of_tasks) == pytest.approx(losses, rel=1e-5)
    assert float(loss) == pytest.approx(sum(losses), rel=1e-5)
    assert float(norm) == pytest.approx(np.sqrt(sum(np.sum(g ** 2) for g in expected.values())), rel=1e-4)
    for variable, momentum in zip(optimizer.variables_, optimizer.momentum, strict=True):
        np.testing.assert_allclose(momentum.numpy() / 0.1, expected[id(variable)], atol=2e-6)


def test_the_step_lowers_with_one_static_shape_of_each_task(folder, thin_preset, monkeypatch):
    from test_xla import DYNAMIC

    from tfft.run import assembly, joint
    from tfft.tpu import lower
    from tfft.training.feed import Feeds

    for module in (assembly, joint):
        monkeypatch.setattr(module, "compiled_by_xla", lambda strategy: True)
    config = resolve_any(config_of(folder, thin_preset))
    tasks, built, feeds = build(config, thin_preset, folder)
    iterators, until = Feeds(feeds).take(0, 12)
    shapes = [{tuple(next(iterator)[0]["token_ids"].shape) for _ in range(until)} for iterator in iterators]
    assert until == 12 and [len(found) for found in shapes] == [1, 1, 1]
    trainer = trainer_of(config, tasks, built, xla=True)
    specs = tuple(lower.batch_spec(each.model, one.task, config.tasks[name].train.global_batch_size, 16)
                  for name, one, each in zip(config.tasks, tasks, built, strict=True))
    assert [found.pop() for found in shapes] == [tuple(spec[0]["token_ids"].shape) for spec in specs]
    hlo = lower.training_step(trainer, specs)
    assert len(hlo) > 10_000 and not any(op in hlo for op in DYNAMIC)


# ---- whole runs

def train(folder: Path, preset: str, name: str, without: str = "", **settings) -> Path:
    from tfft.run.fine_tune import fine_tune

    settings = {"train__summary_every_steps": 1, **settings}
    config = config_of(folder, preset, without, **settings)
    if without:  # how replicas judge is compared elsewhere
        for task in config.tasks.values():
            task.data.validation = ""
    assert fine_tune(resolve_any(config), str(folder / name)) == 0
    return folder / name


@pytest.fixture(scope="module")
def trained(folder, thin_preset):
    return train(folder, thin_preset, "run", eval__projector=5)


@pytest.mark.slow
def test_replicas_and_micro_batches_train_alike(folder, thin_preset):
    """Two tasks, of which one has a loss of the whole global batch: its outputs are gathered within the common step."""
    cases = (2, 2), (4, 1)
    processes = [Forked([__file__, folder, thin_preset, replicas, parts]) for replicas, parts in cases]
    made = {"one": train(folder, thin_preset, "one", "topics")}
    for (replicas, parts), process in zip(cases, processes, strict=True):
        process.output()
        made[f"{replicas} x {parts}"] = folder / f"{replicas} x {parts}"
    losses = {name: [line["loss"] for line in lines(workdir) if line["kind"] == "train"] for name, workdir in made.items()}
    one = weights_of(made.pop("one"))
    assert len(losses["one"]) == 12 and losses["one"][-1] < 0.8 * losses["one"][0] and len(one) > 40
    for name, workdir in made.items():
        assert losses[name] == pytest.approx(losses["one"], rel=2e-6)
        other = weights_of(workdir)
        assert other.keys() == one.keys()
        for path, value in one.items():
            np.testing.assert_allclose(other[path], value, atol=1e-5, err_msg=f"{name} {path}")


@pytest.mark.slow
def test_killed_is_like_whole(folder, thin_preset, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    names = killed_is_like_whole([
        f"--config={ROOT}/configs/my_tasks.py", f"--config.tasks.topics.data.train=csv:{folder}/topics.csv",
        f"--config.tasks.entities.data.train=conll:{folder}/entities.conll", f"--config.model.backbone={thin_preset}",
        "--config.model.dropout=0.2", "--config.adaptation.method=lora", "--config.tasks.topics.data.max_length=16",
        "--config.tasks.entities.data.max_length=16", "--config.train.global_batch_size=8",
        "--config.train.ema_decay=0.9", "--config.train.checkpoint_every_steps=5", "--config.track=wandb"],
        str(folder / "cache"), tmp_path, 25,
        ("topics", "entities"))
    assert any(name.endswith("query_adapted/a") for name in names)
    told = [path.read_bytes() for path in sorted(tmp_path.glob("killed/wandb/offline-run-*/*.wandb"))]
    assert len(told) == 2 and b"validation/topics/accuracy" in told[1] and b"train/entities/loss" in told[1]


def test_each_task_has_its_page_and_its_vectors_on_the_common_board(trained):
    found = Projector(trained / "tensorboard")
    names = [one["tensorName"] for one in found.config("validation")["embeddings"]]
    assert found.runs() == ["validation"] and names == ["entities", "topics"]
    for name in names:
        rows = found.rows("validation", name)
        assert len(rows) == len(found.tensor("validation", name)) == 5 and all(row["text"] for row in rows)
        assert name in rows[0]["place"] and (trained / name / "report.html").exists()


def test_each_folder_is_an_ordinary_run(trained, tmp_path, capsys):
    from tfft.run.judge import judge
    from tfft.run.workdir import Workdir, open_run
    from tfft.serving.export import export
    from tfft.serving.prediction import predict_texts

    shared = [{v.path: v.numpy() for v in open_run(trained / name, "last").backbone.variables if "pooled" not in v.path}
              for name in ("topics", "entities", "pairs")]
    for path in shared[0]:
        assert all((other[path] == shared[0][path]).all() for other in shared[1:])
    last = judged(trained)[-1]
    for name in ("topics", "entities"):
        file = tmp_path / f"{name}.json"
        assert judge(str(trained / name), data="", split="validation", weights="last", output=str(file)) == 0
        metrics = json.loads(file.read_text())["metrics"]
        assert metrics == pytest.approx({key: last[f"{name}/{key}"] for key in metrics}, rel=1e-4)
    assert predict_texts(str(trained / "topics"), "", [{"text": "good film ."}]) == 0
    assert "predicted_label" in capsys.readouterr().out
    assert export(str(trained / "entities"), str(tmp_path / "models"), "") == 0
    assert "proven on" in capsys.readouterr().out
    with pytest.raises(UserError, match="is a run of several tasks, each in a folder of its own. Name one of them: "):
        Workdir(trained).experiment()


def test_each_task_has_its_own_best_weights(trained):
    from tfft.run.workdir import open_run

    first = lines(trained)[0]  # each task's own mean, and their sum by shares
    assert first["loss"] == pytest.approx(sum(share * first[f"{name}/loss"] for name, share in (
        ("topics", 16 / 28), ("entities", 8 / 28), ("pairs", 2 / 28))))
    made = judged(trained)
    assert [line["step"] for line in made] == [4, 8, 12]
    assert [line["mean"] for line in made] == pytest.approx([(line["topics/accuracy"] + line["entities/f1"]) / 2
                                                             for line in made])
    for name, metric in (("topics", "accuracy"), ("entities", "f1")):
        values = [line[f"{name}/{metric}"] for line in made]
        assert open_run(trained / name, "best").step == made[values.index(max(values))]["step"]
        own = judged(trained / name)
        assert [line[metric] for line in own] == values and "mean" not in own[0]
    assert not (trained / "pairs" / "best").exists() and not judged(trained / "pairs")


def test_plan_tells_parts_and_passes(folder, thin_preset, capsys):
    from tfft.run.forecast import forecast_tasks

    config = config_of(folder, thin_preset, adaptation__method="lora")
    config.tasks.topics.export.weights = "best"
    config = resolve_any(config)
    given = config, dict.fromkeys(config.tasks, (thin_preset, folder / "cache"))
    assert forecast_tasks(*given, timed_steps=0) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "topics: text_classification split rows" in out and "steps an epoch 4 steps in all 12" in out
    assert "pairs embedding 4 48 1" in out and "entities token_classification 8 28 3" in out
    assert "validation rows choose the best weights" in out and "(--config.tasks.topics.data.validation=30%, or" in out
    weights = re.search(r"weights ([\d,]+), ([\d,]+) of them trained", out)
    assert "real tokens/s" not in out
    assert forecast_tasks(*given, timed_steps=2) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"[\d,]+ real tokens/s over 2 timed steps, [\d.e-]+ s each training time about \d", out)
    assert weights[0] in out
    tasks, built, _ = build(config, thin_preset, folder)
    variables = {id(v): v for each in built for v in each.model.weights}.values()
    numbers = [sum(int(np.prod(v.shape)) for v in those) for those in (variables, [v for v in variables if v.trainable])]
    assert [int(number.replace(",", "")) for number in weights.groups()] == numbers
    assert f"optimizer {4 * (numbers[0] + 3 * numbers[1]) / 1e9:.2f} GB" in out  # a gradient and two moments of what is trained


def test_what_cannot_go_on(trained, folder, thin_preset, tmp_path):
    from tfft.run.fine_tune import fine_tune
    from tfft.run.joint import prepare_tasks

    config = resolve_any(config_of(folder, thin_preset, train__summary_every_steps=1))
    runs = tfft.fine_tune(config, str(trained))
    assert list(runs) == ["entities", "pairs", "topics"] and runs["topics"].history == lines(trained / "topics")
    assert "finished already" in (trained / "train.log").read_text()
    pages = {name: set(page_of(trained / name)) for name in runs}  # "pairs" has no validation rows
    assert all({"Training", "Data"} <= titles and ("How good" in titles) == (name != "pairs") for name, titles in pages.items())
    changed = dataclasses.replace(config, parts={**config.parts, "pairs": Part(weight=1.0)})
    with pytest.raises(UserError, match="tasks.pairs.weight: 0.5 -> 1.0"):
        fine_tune(changed, str(trained))
    with pytest.raises(UserError, match="a run of several tasks, or of one"):
        fine_tune(config.tasks["topics"], str(trained))
    with pytest.raises(UserError, match="is one task's folder in a run of several. Choose another --workdir; to go on"):
        fine_tune(config.tasks["topics"], str(trained / "topics"))
    (tmp_path / "topics" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="topics holds a run of its own. Choose another --workdir"):
        fine_tune(config, str(tmp_path))
    odd = resolve_any(config_of(folder, thin_preset, train__global_batch_size=7))

    class Two:
        num_replicas_in_sync = 2

    with pytest.raises(UserError, match=r"The part of pairs in a step of config.train.global_batch_size=7 examples "
                                        r"\(entities: 2, pairs: 1, topics: 4\) cannot be divided over 2 replicas"):
        prepare_tasks(odd, {}, print, Two(), {})


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2], " x ".join(sys.argv[3:]), "topics", distribution__cpu_replicas=int(sys.argv[3]),
          train__accumulation=int(sys.argv[4]))
