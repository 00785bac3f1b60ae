"""One, two and four replicas train and judge tagged words alike: softmax and CRF, two micro-batches, a ragged last batch.

As a script, with the folder of a store's rows and a KerasHub preset, it trains on logical CPUs and prints what came of it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

STEPS, LENGTHS = 8, (1, 2, 5, 9, 14, 20, 33, 3, 7, 11, 4, 6, 2)


@pytest.mark.slow
def test_replicas_train_and_judge_like_one(tiny_preset, tmp_path):
    root = Path(__file__).parent
    made = subprocess.run([sys.executable, __file__, str(tmp_path), tiny_preset], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root.parent}", "TF_CPP_MIN_LOG_LEVEL": "3",
                               "CUDA_VISIBLE_DEVICES": ""})
    assert made.returncode == 0, made.stderr[-4000:]
    found = json.loads(made.stdout.splitlines()[-1])
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


def train(head: str, replicas: int, folder: Path, preset: str) -> dict:
    import tensorflow as tf
    from steps import Rig
    from test_token_rows import experiment, prepared

    from tfft.config import Model, Train
    from tfft.data.pipeline import Epochs, Reader, distributed
    from tfft.data.plan import PlanSettings
    from tfft.evaluation.evaluator import Evaluator
    from tfft.models.backbone import load_backbone, load_tokenizer
    from tfft.training.strategy import set_up

    set_up(Train())
    tokenizer = load_tokenizer(preset)
    strategy = (tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)]) if replicas > 1
                else tf.distribute.get_strategy())
    chosen = experiment(f"{folder}/a.conll", {"head": head}, words_column="0", tags_column="1", tags_scheme="IOB2")
    task, splits = prepared(chosen, tokenizer, folder / "cache")
    train = splits["train"]
    epochs = Epochs(lambda epoch: (train.store, train.examples, train.examples),
                    PlanSettings(batch_size=8, max_length=16, seed=3, multiple=2 * replicas))
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


def main(folder: Path, preset: str) -> None:
    from tfft.config import Distribution
    from tfft.training.strategy import make_strategy

    make_strategy(Distribution(cpu_replicas=4))  # four logical CPUs, of which fewer may be used
    from test_token_rows import conll
    from test_token_targets import sentence

    (folder / "a.conll").write_text(conll(*(sentence(length, i) for i, length in enumerate(LENGTHS))))
    made = {f"{head} {replicas}": train(head, replicas, folder, preset) for head in ("softmax", "crf")
            for replicas in (1, 2, 4)}
    print(json.dumps(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
