"""One, two and four replicas hide the same tokens and learn alike; the last batch is ragged.

As a script it trains on logical CPUs and prints what came of it: python tests/test_masked_lm_replicas.py FOLDER PRESET 4
"""

from pathlib import Path

import by_replicas
import numpy as np
import pytest

STEPS = 6  # two epochs, which hide other tokens each


@pytest.mark.slow
def test_replicas_train_and_judge_like_one(tiny_preset, tmp_path):
    found = by_replicas.found_by(__file__, tmp_path, tiny_preset)
    one = found["1"]
    assert len(set(one["losses"])) == STEPS
    for other in (found["2"], found["4"]):
        for name in ("losses", "norms"):
            np.testing.assert_allclose(other[name], one[name], rtol=1e-5)
        assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-5)
        for path, value in one["weights"].items():
            np.testing.assert_allclose(other["weights"][path], value, atol=1e-5, err_msg=path)


def train(strategy, folder: Path, preset: str) -> dict:
    from steps import Rig

    from tfft.config import Model, resolve
    from tfft.data.pipeline import Epochs, Reader, distributed
    from tfft.data.plan import PlanSettings
    from tfft.data.prepare import Preparer, load_splits
    from tfft.evaluation.evaluator import Evaluator
    from tfft.models.backbone import load_backbone, load_tokenizer, tokenizer_fingerprint
    from tfft.tasks.masked_lm.task import MaskedLMTask

    chosen = resolve({"task": {"name": "masked_lm", "share": 0.3}, "model": {"backbone": preset},
                      "data": {"train": f"text:{folder}/texts.txt", "max_length": 16, "validation": ""}})
    tokenizer = load_tokenizer(preset)
    reading = MaskedLMTask.reading(chosen, tokenizer, tokenizer_fingerprint(tokenizer), folder)
    split = load_splits(Preparer(chosen.data, reading, folder / "cache", lambda text: None))["train"]
    task = MaskedLMTask(chosen.task, MaskedLMTask.infer(chosen, split.store, split.rows, folder))
    assert len(split.examples) % 8
    epochs = Epochs(lambda epoch: (split.store, split.examples, split.examples),
                    PlanSettings(batch_size=8, max_length=16, seed=3, multiple=8))
    with strategy.scope():
        model = task.build_model(load_backbone(preset, precision="float32", dropout=0.0), Model(), seed=0)
    reader = Reader(tuple(model.input), 0, task.targets(split.store, weighted=True), task.target_specs, drawn=True)
    rig = Rig(distributed(strategy, epochs, reader, start=0, stop=STEPS), strategy, model=model, loss=task.loss,
              total_steps=STEPS, clip_norm=0.0)
    outputs = [rig.train(1) for _ in range(STEPS)]
    evaluator = Evaluator(model, task, split.store, split.rows, pad_id=0, batch_size=8, max_length=16, strategy=strategy)
    return {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
            "metrics": evaluator.evaluate(), "weights": {path: value.tolist() for path, value in rig.weights().items()}}


def find(strategies: dict, folder: Path, preset: str) -> dict:
    import random

    draw = random.Random(0)
    (folder / "texts.txt").write_text("\n".join(
        " ".join(draw.choices(["good", "bad", "films", "a", "the"], k=draw.randrange(2, 30))) for _ in range(14)))
    return {str(count): train(strategy, folder, preset) for count, strategy in strategies.items()}


if __name__ == "__main__":
    by_replicas.main(find)
