"""One, two and four replicas learn alike, packed and not; so do steps that XLA compiles; the last batch is ragged.

As a script it trains on logical CPUs and prints what came of it: python tests/test_causal_lm_replicas.py FOLDER PRESET 4
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
    one = found["1"]
    for other in (found["2"], found["4"]):
        for name in ("losses", "norms"):
            np.testing.assert_allclose(other[name], one[name], rtol=2e-5)
        assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-5)
        for path, value in one["weights"].items():
            np.testing.assert_allclose(other["weights"][path], value, atol=2e-5, err_msg=path)
    assert len(set(one["losses"])) == STEPS
    for name in ("losses", "norms"):
        np.testing.assert_allclose(found["compiled"][name], found["static"][name], rtol=1e-4)
        np.testing.assert_allclose(found["packed 4"][name], found["packed 1"][name], rtol=2e-5)


def train(strategy, folder: Path, preset: str, packed: bool = False, static: bool = False, xla: bool = False) -> dict:
    from steps import Rig

    from tfft.config import Model, resolve
    from tfft.data.pipeline import Epochs, Reader, distributed
    from tfft.data.plan import PlanSettings
    from tfft.data.prepare import Preparer, load_splits
    from tfft.evaluation.evaluator import Evaluator
    from tfft.models.backbone import load_backbone, load_tokenizer, tokenizer_fingerprint
    from tfft.tasks.causal_lm.task import CausalLMTask

    chosen = resolve({"task": {"name": "causal_lm", "pack": packed, "z_loss": 0.01, "label_smoothing": 0.1, "max_new_tokens": 4,
                               "sample_rows": 4}, "model": {"backbone": preset},
                      "data": {"train": f"jsonl:{folder}/rows.jsonl", "max_length": 64, "validation": ""}})
    tokenizer = load_tokenizer(preset)
    reading = CausalLMTask.reading(chosen, tokenizer, tokenizer_fingerprint(tokenizer), folder)
    split = load_splits(Preparer(chosen.data, reading, folder / "cache", lambda text: None))["train"]
    task = CausalLMTask(chosen.task, CausalLMTask.infer(chosen, split.store, split.rows, folder))
    members = task.members(split.store, split.rows, 0, 0)
    assert packed == (members.ndim == 2)
    settings = PlanSettings(batch_size=8, max_length=64, seed=3, multiple=8, buckets=(64,) if static else (),
                            run_length=1 if static else 0)
    epochs = Epochs(lambda epoch: (split.store, members, members), settings, packed)
    with strategy.scope():
        own = load_backbone(preset, precision="float32", dropout=0.0)
        model = task.build_model(own, Model(), seed=0)
        model = task.for_packed(model, own) if packed else model
    reader = Reader(tuple(model.input), 0, task.targets(split.store, weighted=True), task.target_specs)
    shape = (8, 64) if static else None
    rig = Rig(distributed(strategy, epochs, reader, start=0, stop=STEPS, shape=shape), strategy, model=model, loss=task.loss,
              total_steps=STEPS, clip_norm=0.0, xla=xla)
    outputs = [rig.train(1) for _ in range(STEPS)]
    found = {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
             "weights": {path: value.tolist() for path, value in rig.weights().items()}}
    if not static and not packed:
        evaluator = Evaluator(model, task, split.store, split.rows, pad_id=0, batch_size=8, max_length=64, strategy=strategy)
        found["metrics"] = evaluator.evaluate()
    return found


def find(strategies: dict, folder: Path, preset: str) -> dict:
    import json
    import random

    draw = random.Random(0)
    rows = [{"prompt": " ".join(draw.choices(["good", "bad"], k=draw.randrange(1, 6))),
             "response": " ".join(draw.choices(["good", "bad"], k=draw.randrange(1, 9)))} for _ in range(37)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = {str(count): train(strategy, folder, preset) for count, strategy in strategies.items()}
    found |= {f"packed {count}": train(strategy, folder, preset, packed=True) for count, strategy in strategies.items()}
    if 1 in strategies:
        from test_static_shapes import CompiledStrategy

        found["static"] = train(strategies[1], folder, preset, static=True)
        found["compiled"] = train(CompiledStrategy(), folder, preset, static=True, xla=True)
    return found


if __name__ == "__main__":
    by_replicas.main(find)
