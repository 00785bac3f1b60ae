"""One, two and four replicas train and judge embeddings alike, with micro-batches and without; the last batch is ragged.

As a script it trains on logical CPUs and prints what came of it: python tests/test_embedding_replicas.py FOLDER PRESET 4
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

STEPS = 4
CASES = {"ranking": 1, "ranking in parts": 2, "cosent": 1, "triplet": 1}  # micro-batches


@pytest.mark.slow
def test_replicas_train_and_judge_like_one(tiny_preset, tmp_path):
    root, found = Path(__file__).parent, {}
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root.parent}", "TF_CPP_MIN_LOG_LEVEL": "3",
                   "CUDA_VISIBLE_DEVICES": ""}
    # TensorFlow joins devices to groups once in a process: two and four replicas are two processes
    runs = [subprocess.Popen([sys.executable, __file__, str(tmp_path), tiny_preset, *counts], env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for counts in (("1", "2"), ("4",))]
    try:
        for process in runs:
            out, error = process.communicate(timeout=600)
            assert process.returncode == 0, error[-4000:]
            found |= json.loads(out.splitlines()[-1])
    finally:
        for process in runs:
            process.kill()
    for replicas in (1, 2, 4):  # both passes of two micro-batches, each replica with masks of its own
        assert sorted(found.pop(f"dropout {replicas}")) == [2] * 2 * replicas
    assert found.keys() == {f"{case} {replicas}" for case in CASES for replicas in (1, 2, 4)}
    for case in CASES:
        one = found[f"{case.split()[0]} 1"]  # micro-batches give what the whole batch gives
        assert len(set(one["losses"])) == STEPS and min(one["norms"]) > 1e-3
        for replicas in (1, 2, 4):
            other = found[f"{case} {replicas}"]
            for name in ("losses", "norms"):
                np.testing.assert_allclose(other[name], one[name], rtol=1e-5, err_msg=f"{case} {replicas} {name}")
            assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-4)
            for path, value in one["weights"].items():
                np.testing.assert_allclose(other["weights"][path], value, atol=1e-5, err_msg=f"{case} {replicas} {path}")


def train(case: str, strategy, folder: Path, preset: str) -> dict:
    import embeddings

    from tfft.evaluation.evaluator import Evaluator

    loss, parts = case.split()[0], CASES[case]
    kind = embeddings.LOSSES[loss]
    chosen = embeddings.experiment(f"{folder}/a.jsonl", kind, {"loss": loss, "symmetric": loss == "ranking"})
    task, splits = embeddings.prepared(chosen, preset, folder / "cache")
    split = splits["train"]
    assert len(split.rows) % 8, "the last batch is ragged"
    rig = embeddings.make_rig(task, split, preset, strategy, STEPS, multiple=8, accumulation=parts)
    outputs = [rig.train(1) for _ in range(STEPS)]
    evaluator = Evaluator(rig.model, task, split.store, split.rows, pad_id=0, batch_size=5, max_length=16, strategy=strategy)
    return {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
            "metrics": evaluator.evaluate(), "weights": {path: value.tolist() for path, value in rig.weights().items()}}


def masks(strategy, folder: Path, preset: str) -> list[int]:
    """How often each replica computed each of its micro-batches alike, in one step with dropout."""
    import embeddings
    import tensorflow as tf

    task, splits = embeddings.prepared(embeddings.experiment(f"{folder}/a.jsonl", "scored"), preset, folder / "cache")
    rig = embeddings.make_rig(task, splits["train"], preset, strategy, 1, multiple=8, accumulation=2, dropout=0.4)
    seen, original = [], rig.trainer._outputs

    def noted(inputs):
        outputs = original(inputs)
        tf.numpy_function(lambda values: seen.append(values.tobytes()), [outputs], [])
        return outputs

    rig.trainer._outputs = noted
    rig.train(1)
    return [seen.count(values) for values in set(seen)]


def main(folder: Path, preset: str, counts: list[int]) -> None:
    from tfft.config import Distribution, Train
    from tfft.training.strategy import make_strategy, set_up

    # one strategy for all that so many replicas do: two of a size would mix up their all-reduces
    mirrored = make_strategy(Distribution(cpu_replicas=max(counts)))
    set_up(Train())
    import embeddings
    import tensorflow as tf

    folder /= f"{max(counts)}"
    folder.mkdir()
    embeddings.write(folder / "a.jsonl", 21)
    strategies = {count: mirrored if count == max(counts) else tf.distribute.get_strategy() for count in counts}
    found = {f"{case} {count}": train(case, strategy, folder, preset) for case in CASES
             for count, strategy in strategies.items()}
    found |= {f"dropout {count}": masks(strategy, folder, preset) for count, strategy in strategies.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [int(count) for count in sys.argv[3:]])
