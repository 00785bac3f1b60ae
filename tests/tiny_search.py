"""A run of embeddings on disk as training leaves it, made in this process on the tiny backbone, and texts to search in."""

import json
import random

import keras
import numpy as np

from tfft.config import resolve, to_json
from tfft.models.backbone import describe, load_backbone, load_tokenizer
from tfft.run.workdir import Workdir, save_parts
from tfft.tasks.table import TASKS
from tfft.training.weights import save_weights

WORDS = ["good", "bad", "fine", "poor", "film", "a", "the", ",", "."]
PROMPTS = {"query_prompt": "a ", "passage_prompt": "the "}


def make_workdir(preset: str, path, task: dict, learnt, seed: int = 1, data: dict | None = None) -> str:
    """Random weights of a seed, larger than those of training, so that texts differ."""
    data = {"train": "none.jsonl", "max_length": 16, "cache": str(path.parent / "cache"), **(data or {})}
    experiment = resolve({"task": task, "model": {"backbone": preset}, "data": data})
    backbone = load_backbone(preset, precision="float32", dropout=-1)
    description = describe(backbone)
    model = TASKS[experiment.task.name](experiment.task, learnt).build_model(backbone, experiment.model, seed=seed)
    keras.utils.set_random_seed(seed)
    draw = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if len(variable.shape) == 2:
            variable.assign(draw.normal(0, 0.5, variable.shape))
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(to_json(experiment))
    save_parts(Workdir(path), load_tokenizer(preset), description, learnt)
    save_weights(Workdir(path).weights("best"), model.variables, {"step": "7", "metrics": "{}", "tuned": "null"})
    return str(path)


def make_embedder(preset: str, path, seed: int = 1, **task) -> str:
    from tfft.tasks.embedding.learnt import Pairs

    return make_workdir(preset, path, {"name": "embedding", "matryoshka": (4,), **PROMPTS, **task}, Pairs("pairs"), seed)


def make_cross(preset: str, path, problem: str = "single_label") -> str:
    """A run that reads pairs of texts: neg or pos, or a number."""
    from tfft.tasks.text_classification.labels import Labels

    labels = Labels(("neg", "pos"), (5, 5), rows=10) if problem == "single_label" else Labels(mean=2.0, deviation=0.5)
    return make_workdir(preset, path, {"name": "text_classification", "problem": problem}, labels, 3,
                        {"text_pair_column": "text_pair"})


def write_corpus(path, count: int, seed: int = 0) -> list[str]:
    """Lines of {"id", "text"}; every tenth text is that of the one before it."""
    draw, texts = random.Random(seed), []
    for i in range(count):
        texts.append(texts[-1] if i % 10 == 9 else " ".join(draw.choices(WORDS, k=draw.randrange(1, 14))))
    path.write_text("".join(json.dumps({"id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)), "utf-8")
    return texts
