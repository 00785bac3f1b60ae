"""Rows, stores, models and trainers of tiny embedders, for the tests of embeddings."""

import json
import random

import numpy as np

from tfft.config import Model, resolve
from tfft.data.pipeline import Epochs, Reader, distributed
from tfft.data.plan import PlanSettings
from tfft.data.prepare import Preparer, load_splits
from tfft.models.backbone import load_backbone, load_tokenizer, tokenizer_fingerprint
from tfft.tasks.embedding.task import EmbeddingTask

WORDS = ["good", "bad", "fine", "poor", "film", "the", "a"]
KINDS = {"pairs": {"text_pair_column": "p", "negative_columns": ("n",)},
         "scored": {"text_pair_column": "p", "score_column": "s"}, "labelled": {"label_column": "l"}}
LOSSES = {"ranking": "pairs", "cosent": "scored", "triplet": "labelled"}


def write(path, count: int, seed: int = 0) -> str:
    """Rows with every column: some positives are the same text, some are lists, every fifth row has no negative."""
    draw = random.Random(seed)

    def words(most=9):
        return " ".join(draw.choices(WORDS, k=draw.randrange(1, most)))

    lines = [{"text": words(), "p": words(3), "n": [words() for _ in range(i % 5)], "s": i % 7, "l": f"label {i % 3}"}
             for i in range(count)]
    for line in lines[::4]:
        line["p"] = "the good film"
    path.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return str(path)


def experiment(path: str, kind: str, task=None, **data):
    return resolve({"task": {"name": "embedding", **(task or {})},
                    "data": {"train": path, "max_length": 16, "validation": "", **KINDS[kind], **data}})


def prepared(chosen, preset: str, cache):
    """(task, splits)"""
    tokenizer = load_tokenizer(preset)
    reading = EmbeddingTask.reading(chosen, tokenizer, tokenizer_fingerprint(tokenizer), cache)
    splits = load_splits(Preparer(chosen.data, reading, cache, lambda text: None))
    train = splits["train"]
    return EmbeddingTask(chosen.task, EmbeddingTask.infer(chosen, train.store, train.rows, cache)), splits


def make_epochs(task, split, *, size=8, multiple=1, **settings) -> Epochs:
    def open_epoch(epoch: int):
        examples = task.members(split.store, split.rows, epoch, 3)
        return split.store, examples, examples

    return Epochs(open_epoch, PlanSettings(batch_size=size, max_length=16, seed=3, multiple=multiple, **settings))


def make_rig(task, split, preset: str, strategy, steps: int, *, multiple=1, dropout=0.0, size=8, **train):
    from steps import Rig

    reader = Reader(("token_ids", "padding_mask", "segment_ids"), 0, task.targets(split.store, weighted=True),
                    task.target_specs, task.sequences)
    with strategy.scope():
        model = task.build_model(load_backbone(preset, precision="float32", dropout=dropout), Model(head_dropout=0.0), seed=0)
    epochs = make_epochs(task, split, size=size, multiple=multiple)
    return Rig(distributed(strategy, epochs, reader, start=0, stop=steps), strategy, model=model, loss=task.loss,
               total_steps=steps, clip_norm=0.0, whole_batch=True, **train)


def same_weights(first: dict, second: dict, atol: float) -> None:
    assert first.keys() == second.keys()
    for path, value in first.items():
        np.testing.assert_allclose(second[path], value, atol=atol, err_msg=path)
