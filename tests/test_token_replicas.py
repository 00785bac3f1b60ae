"""One, two and four replicas train and judge tagged words alike: softmax and CRF, two micro-batches, a ragged last batch.

As a script it trains on logical CPUs and prints what came of it: python tests/test_token_replicas.py FOLDER PRESET 4
"""

from pathlib import Path

import by_replicas
import numpy as np
import pytest

STEPS, LENGTHS = 8, (1, 2, 5, 9, 14, 20, 33, 3, 7, 11, 4, 6, 2)


@pytest.mark.slow
def test_replicas_train_and_judge_like_one(thin_preset, tmp_path):
    found = by_replicas.found_by(__file__, tmp_path, thin_preset)
    assert found.keys() == {f"{head} {replicas}" for head in ("softmax", "crf") for replicas in (1, 2, 4)}
    for head in ("softmax", "crf"):
        one = found[f"{head} 1"]
        assert len(set(one["losses"])) == STEPS and one["losses"][-1] < one["losses"][0]
        assert 0 < one["metrics"]["token_accuracy"]
        for replicas in (2, 4):
            other = found[f"{head} {replicas}"]
            for name in ("losses", "norms"):
                np.testing.assert_allclose(other[name], one[name], rtol=2e-6, err_msg=f"{head} {replicas} {name}")
            assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-5)
            assert other["weights"].keys() == one["weights"].keys()
            for path, value in one["weights"].items():
                np.testing.assert_allclose(other["weights"][path], value, atol=1e-5, err_msg=f"{head} {replicas} {path}")
    assert np.abs(np.subtract(found["crf 1"]["losses"], found["softmax 1"]["losses"])).max() > 1e-3
    assert any("transitions" in path and np.abs(value).max() > 1e-3 for path, value in found["crf 1"]["weights"].items())


def train(head: str, strategy, folder: Path, preset: str) -> dict:
    from steps import Rig
    from test_token_rows import experiment, prepared

    from tfft.config import Model
    from tfft.data.pipeline import Epochs, Reader, distributed
    from tfft.data.plan import PlanSettings
    from tfft.evaluation.evaluator import Evaluator
    from tfft.models.backbone import load_backbone, load_tokenizer

    tokenizer = load_tokenizer(preset)
    chosen = experiment(f"{folder}/a.conll", {"head": head}, words_column="0", tags_column="1", tags_scheme="IOB2")
    task, splits = prepared(chosen, tokenizer, folder / "cache")
    train = splits["train"]
    epochs = Epochs(lambda epoch: (train.store, train.examples, train.examples),
                    PlanSettings(batch_size=8, max_length=16, seed=3, multiple=2 * strategy.num_replicas_in_sync))
    assert len(train.examples) % 8, "the last batch is ragged"
    reader = Reader(("token_ids", "padding_mask", "segment_ids"), 0, task.targets(train.store, weighted=True),
                    task.target_specs)
    with strategy.scope():
        model = task.build_model(load_backbone(preset, precision="float32", dropout=0.0), Model(head_dropout=0.0), seed=0)
    rig = Rig(distributed(strategy, epochs, reader, start=0, stop=STEPS), strategy, model=model, loss=task.loss,
              total_steps=STEPS, accumulation=2, clip_norm=0.0)
    outputs = [rig.train(1) for _ in range(STEPS)]
    evaluator = Evaluator(model, task, train.store, train.rows, pad_id=0, batch_size=5, max_length=16, strategy=strategy)
    return {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
            "metrics": evaluator.evaluate(), "weights": {path: value.tolist() for path, value in rig.weights().items()}}


def find(strategies: dict, folder: Path, preset: str) -> dict:
    from test_token_rows import conll
    from test_token_targets import sentence

    (folder / "a.conll").write_text(conll(*(sentence(length, i) for i, length in enumerate(LENGTHS))))
    return {f"{head} {count}": train(head, strategy, folder, preset) for head in ("softmax", "crf")
            for count, strategy in strategies.items()}


if __name__ == "__main__":
    by_replicas.main(find)
