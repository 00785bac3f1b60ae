"""One, two and four replicas train and judge embeddings alike, with micro-batches and without; the last batch is ragged.

As a script it trains on logical CPUs and prints what came of it: python tests/test_embedding_replicas.py FOLDER PRESET 4
"""

from pathlib import Path

import by_replicas
import numpy as np
import pytest

STEPS = 4
CASES = {"ranking": 1, "ranking in parts": 2, "cosent": 1, "triplet": 1}  # micro-batches


@pytest.mark.slow
def test_replicas_train_and_judge_like_one(thin_preset, tmp_path):
    found = by_replicas.found_by(__file__, tmp_path, thin_preset)
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
            if CASES[case] == 1:
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
    found = {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
             "weights": {path: value.tolist() for path, value in rig.weights().items()}}
    if parts == 1:  # how weights are judged does not depend on how they were trained
        evaluator = Evaluator(rig.model, task, split.store, split.rows, pad_id=0, batch_size=5, max_length=16,
                              strategy=strategy)
        found["metrics"] = evaluator.evaluate()
    return found


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


def find(strategies: dict, folder: Path, preset: str) -> dict:
    import embeddings

    embeddings.write(folder / "a.jsonl", 21)
    found = {f"{case} {count}": train(case, strategy, folder, preset) for case in CASES
             for count, strategy in strategies.items()}
    return found | {f"dropout {count}": masks(strategy, folder, preset) for count, strategy in strategies.items()}


if __name__ == "__main__":
    by_replicas.main(find)
