"""Tiny runs of tasks that answer with places of a text or with candidates, for the tests of tfft explain."""

import json

import keras
import numpy as np
import tensorflow as tf

from tfft.config import resolve, to_json
from tfft.data.tokenize import features
from tfft.models.backbone import load_backbone, load_tokenizer
from tfft.run.workdir import Run, Workdir
from tfft.serving.prediction import Predictor
from tfft.tasks.multiple_choice.learnt import Choices
from tfft.tasks.question_answering.learnt import Answers
from tfft.tasks.table import TASKS
from tfft.tasks.token_classification.tags import Tags

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
FILLING = ["a", "the", ",", "poor", "fine"]


def make_run(preset: str, path, task: dict, learnt, **data) -> Run:
    """A run of which the head alone is anything but zero: words have all kinds of answers."""
    settings = {"train": "jsonl:a.jsonl", "validation": "", "max_length": 16, "cache": str(path.parent / "cache"), **data}
    experiment = resolve({"task": task, "data": settings, "model": {"backbone": preset}})
    made = TASKS[experiment.task.name](experiment.task, learnt)
    backbone = load_backbone(preset, precision="float32", dropout=0.0)
    model = made.build_model(backbone, experiment.model, seed=0)
    draw = np.random.default_rng(0)
    kernel = model.get_layer("head").kernel
    kernel.assign(draw.normal(0, 3, kernel.shape))
    if task.get("head") == "crf":
        model.get_layer("transitions").table.assign(draw.normal(0, 1, (7, 5)))
    path.mkdir()
    (path / "config.json").write_text(to_json(experiment))
    (path / "environment.json").write_text(json.dumps({"stores": {}}))
    return Run(Workdir(path), experiment, made, model, load_tokenizer(preset), 7, None, backbone=backbone)


def tagger(preset: str, path, head: str = "softmax", **data) -> Run:
    data = {"words_column": "", "text_column": "text", "window_overlap": 4, **data}
    return make_run(preset, path, {"name": "token_classification", "head": head},
                    Tags(TAGS, "IOB2", "IOB2", ("PER", "LOC"), (1, 1)), **data)


def reader(preset: str, path) -> Run:
    return make_run(preset, path, {"name": "question_answering"}, Answers(no_answer=True), max_length=24, window_overlap=4)


def chooser(preset: str, path, loss: str = "softmax", **data) -> Run:
    return make_run(preset, path, {"name": "multiple_choice", "loss": loss}, Choices(3), max_length=24, **data)


def fit(run: Run, rows: list[dict], targets, steps: int) -> None:
    """Trains on all rows at once. targets: examples -> what the task's loss takes."""
    predictor, optimizer = Predictor(run), keras.optimizers.Adam(1e-2)
    examples, _ = predictor.encode(rows)
    inputs, goals = features(examples, predictor.encoder.pad_id, tuple(run.model.input)), targets(examples)

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(run.task.loss(goals, run.model(inputs, training=False)))
        optimizer.apply_gradients(zip(tape.gradient(loss, run.model.trainable_variables), run.model.trainable_variables))
        return loss

    optimizer.build(run.model.trainable_variables)
    step = tf.function(step, autograph=False)
    for _ in range(steps):
        loss = step()
    assert loss < 0.05, float(loss)


def texts(count: int, cues: list[str], seed: int) -> list[tuple[list[str], int]]:
    """(words, which of the cues is among them, in any place) of so many texts, none of more than 9 words."""
    draw, made = np.random.default_rng(seed), []
    for number in range(count):
        words = draw.choice(FILLING, draw.integers(2, 8)).tolist()
        words.insert(draw.integers(0, len(words) + 1), cues[number % len(cues)])
        made.append((words, number % len(cues)))
    return made


def taught_tagger(preset: str, path, head: str) -> Run:
    """"film" is a PER where "good" is in the text, a LOC where "bad" is; nothing else is an entity."""
    run, draw, rows, tags = tagger(preset, path, head), np.random.default_rng(3), [], []
    for words, kind in texts(128, ["good", "bad"], 1):
        words.insert(draw.integers(0, len(words) + 1), "film")
        rows.append({"text": " ".join(words)})
        tags.append([(1, 3)[kind] if word == "film" else 0 for word in words])

    def targets(examples: dict) -> dict:
        goal = tf.ragged.constant(tags, tf.int32).to_tensor(-1)
        places = examples["places"].to_tensor(0)
        assert goal.shape == places.shape
        ends = {name: tf.ones(len(rows), tf.int32) for name in ("first", "last")} if head == "crf" else {}
        return {"places": places, "tags": goal, **ends}

    fit(run, rows, targets, 150)
    return run


def taught_reader(preset: str, path) -> Run:
    """The answer is the word "good"; without it there is none."""
    run, rows, starts = reader(preset, path), [], []
    for words, kind in texts(128, ["good", "bad"], 2):
        rows.append({"question": "the film", "context": " ".join(words)})
        starts.append(0 if kind else 4 + words.index("good"))  # behind [CLS] the film [SEP]

    def targets(examples: dict) -> dict:
        return {"start": tf.constant(starts, tf.int32), "end": tf.constant(starts, tf.int32),
                **{name: examples[name] for name in ("first_length", "length")}}

    fit(run, rows, targets, 150)
    return run


def taught_chooser(preset: str, path) -> Run:
    """The candidate with "good" is right, in rows of three."""
    run, draw, rows, right = chooser(preset, path), np.random.default_rng(4), [], []
    made = texts(192, ["good", "a", "the"], 3)
    for i in range(0, len(made), 3):
        order = draw.permutation(3)
        rows.append({"question": "the film", "choices": [" ".join(made[i + k][0]) for k in order]})
        right.append([int(k == 0) for k in order])
    fit(run, rows, lambda examples: {"right": tf.constant(right), "there": tf.ones_like(right)}, 150)
    return run
