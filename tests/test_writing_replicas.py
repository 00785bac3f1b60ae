"""Language models and encoder-decoders: one, two and four replicas learn alike, packed and not; so do steps that XLA compiles;
the last batch is ragged.

As a script it trains on logical CPUs and prints what came of it: python tests/test_writing_replicas.py FOLDER PRESET 4
"""

from pathlib import Path

import by_replicas
import language
import numpy as np
import pytest

STEPS = 5


@pytest.mark.slow
def test_replicas_train_and_judge_like_one(tmp_path):
    found = by_replicas.found_by(__file__, tmp_path, str(language.write(tmp_path / "model")))
    for task in ("", "seq2seq "):
        for other in (found[f"{task}2"], found[f"{task}4"]):
            _alike(found[f"{task}1"], other)
    for name in ("losses", "norms"):
        np.testing.assert_allclose(found["compiled"][name], found["static"][name], rtol=1e-4)
        np.testing.assert_allclose(found["packed 4"][name], found["packed 1"][name], rtol=2e-5)
        np.testing.assert_allclose(found["seq2seq compiled"][name], found["seq2seq static"][name], rtol=1e-4)


def _alike(one: dict, other: dict) -> None:
    assert len(set(one["losses"])) == STEPS
    for name in ("losses", "norms"):
        np.testing.assert_allclose(other[name], one[name], rtol=2e-5)
    assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-5)
    for path, value in one["weights"].items():
        np.testing.assert_allclose(other["weights"][path], value, atol=2e-5, err_msg=path)


LANGUAGE = {"task": {"name": "causal_lm"}, "data": {"max_length": 64}}
PACKED = {"task": {"name": "causal_lm", "pack": True}, "data": {"max_length": 64}}
SEQ2SEQ = {"task": {"name": "seq2seq", "decoder_layers": 1},
           "data": {"max_length": 24, "max_target_length": 12, "source_column": "prompt", "target_column": "response"}}


def train(strategy, folder: Path, preset: str, kind: dict = LANGUAGE, static: bool = False, xla: bool = False) -> dict:
    from steps import Rig

    from tfft.config import Model, resolve
    from tfft.data.pipeline import Epochs, Reader, distributed
    from tfft.data.plan import PlanSettings
    from tfft.data.prepare import Preparer, load_splits
    from tfft.evaluation.evaluator import Evaluator
    from tfft.models.backbone import load_tokenizer, tokenizer_fingerprint
    from tfft.tasks.table import TASKS

    chosen = resolve({"task": {"z_loss": 0.01, "label_smoothing": 0.1, "max_new_tokens": 4, "sample_rows": 4, **kind["task"]},
                      "data": {"train": f"jsonl:{folder}/rows.jsonl", "validation": "", **kind["data"]},
                      "model": {"backbone": preset}})
    of, length, packed = TASKS[chosen.task.name], chosen.data.max_length, kind is PACKED
    tokenizer = load_tokenizer(preset)
    reading = of.reading(chosen, tokenizer, tokenizer_fingerprint(tokenizer), folder)
    split = load_splits(Preparer(chosen.data, reading, folder / "cache", lambda text: None))["train"]
    task = of(chosen.task, of.infer(chosen, split.store, split.rows, folder))
    members = task.members(split.store, split.rows, 0, 0)
    assert packed == (members.ndim == 2)
    settings = PlanSettings(batch_size=8, max_length=length, seed=3, multiple=8, buckets=(length,) if static else (),
                            run_length=1 if static else 0)
    epochs = Epochs(lambda epoch: (split.store, members, members), settings, packed)
    with strategy.scope():
        own = task.load_backbone(preset, precision="float32", dropout=0.0, seed=0)
        model = task.build_model(own, Model(), seed=0)
        model = task.for_packed(model, own) if packed else model
    reader = Reader(tuple(model.input), 0, task.targets(split.store, weighted=True), task.target_specs)
    shape = (8, length) if static else None
    rig = Rig(distributed(strategy, epochs, reader, start=0, stop=STEPS, shape=shape), strategy, model=model, loss=task.loss,
              total_steps=STEPS, clip_norm=0.0, xla=xla)
    outputs = [rig.train(1) for _ in range(STEPS)]
    found = {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
             "weights": {path: value.tolist() for path, value in rig.weights().items()}}
    if not static and not packed:
        found["metrics"] = Evaluator(model, task, split.store, split.rows, pad_id=0, batch_size=8, max_length=length,
                                     strategy=strategy).evaluate()
    return found


def find(strategies: dict, folder: Path, preset: str) -> dict:
    import json
    import random

    from conftest import make_preset

    draw = random.Random(0)
    rows = [{"prompt": " ".join(draw.choices(["good", "bad"], k=draw.randrange(1, 6))),
             "response": " ".join(draw.choices(["good", "bad"], k=draw.randrange(1, 9)))} for _ in range(37)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = {str(count): train(strategy, folder, preset) for count, strategy in strategies.items()}
    found |= {f"packed {count}": train(strategy, folder, preset, PACKED) for count, strategy in strategies.items()}
    thin = str(folder / "bert")
    make_preset(folder / "bert", layers=1)
    found |= {f"seq2seq {count}": train(strategy, folder, thin, SEQ2SEQ) for count, strategy in strategies.items()}
    if 1 in strategies:
        from test_static_shapes import CompiledStrategy

        for name, of, kind in (("", preset, LANGUAGE), ("seq2seq ", thin, SEQ2SEQ)):
            found[f"{name}static"] = train(strategies[1], folder, of, kind, static=True)
            found[f"{name}compiled"] = train(CompiledStrategy(), folder, of, kind, static=True, xla=True)
    return found


if __name__ == "__main__":
    by_replicas.main(find)
