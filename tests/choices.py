"""Rows of questions with candidates, tasks and trainers of them, for the tests of multiple choice."""

import json
import random

from tfft.config import Model, resolve
from tfft.data.pipeline import Epochs, Reader, distributed
from tfft.data.plan import PlanSettings
from tfft.data.prepare import Preparer, load_splits
from tfft.models.backbone import load_backbone, load_tokenizer, tokenizer_fingerprint
from tfft.tasks.multiple_choice.task import MultipleChoiceTask

OTHERS = ["film", "a", "the", ","]


def rows(count: int, seed: int = 0, several: bool = False) -> list[dict]:
    """Right candidates have the word good or fine, wrong ones bad or poor, in any place; 2 to 5 candidates, with `several` two
    right ones in some."""
    draw, made = random.Random(seed), []

    def text(words):
        own = [draw.choice(words), *draw.choices(OTHERS, k=draw.randrange(4))]
        return " ".join(draw.sample(own, len(own)))

    for i in range(count):
        right = {text(["good", "fine"]) for _ in range(2 if several and i % 3 == 0 else 1)}
        choices = [*right, *{text(["bad", "poor"]) for _ in range(draw.randrange(1, 5 - len(right)))}]
        choices = draw.sample(sorted(choices), len(choices))
        places = [place for place, each in enumerate(choices) if each in right]
        made.append({"question": f"the film {i}", "context": " ".join(draw.choices(OTHERS, k=i % 9 + 1)), "choices": choices,
                     "label": places if several else places[0]})
    return made


def write(path, made: list[dict]) -> str:
    path.write_text("\n".join(map(json.dumps, made)), "utf-8")
    return str(path)


def prepared(path: str, preset: str, cache, task=None, **data):
    """(task, splits)"""
    chosen = resolve({"task": {"name": "multiple_choice", **(task or {})},
                      "data": {"train": path, "max_length": 16, "validation": "", **data}})
    tokenizer = load_tokenizer(preset)
    reading = MultipleChoiceTask.reading(chosen, tokenizer, tokenizer_fingerprint(tokenizer), cache)
    splits = load_splits(Preparer(chosen.data, reading, cache, lambda text: None))
    train = splits["train"]
    return MultipleChoiceTask(chosen.task, MultipleChoiceTask.infer(chosen, train.store, train.rows, cache)), splits


def make_rig(task, split, preset: str, strategy, steps: int, *, multiple=1, **train):
    from steps import Rig

    def open_epoch(epoch: int):
        examples = task.members(split.store, split.rows, epoch, 3)
        return split.store, examples, examples

    epochs = Epochs(open_epoch, PlanSettings(batch_size=8, max_length=16, seed=3, multiple=multiple))
    reader = Reader(("token_ids", "padding_mask", "segment_ids"), 0, task.targets(split.store, weighted=True),
                    task.target_specs, task.sequences)
    with strategy.scope():
        model = task.build_model(load_backbone(preset, precision="float32", dropout=0.0), Model(head_dropout=0.0), seed=0)
    return Rig(distributed(strategy, epochs, reader, start=0, stop=steps), strategy, model=model, loss=task.loss,
               total_steps=steps, clip_norm=0.0, **train)
