"""Candidates as examples, the losses of rows of them, figures against a known library, one, two and four replicas.

As a script it trains on logical CPUs and prints what came of it: python tests/test_multiple_choice_step.py FOLDER PRESET 4
"""

from pathlib import Path

import by_replicas
import choices as made_choices
import numpy as np
import pytest

STEPS = 3
CASES = {"softmax": 1, "softmax in parts": 2, "binary": 1}  # micro-batches


@pytest.fixture(scope="module")
def data(tiny_preset, tmp_path_factory):
    """(task, training split) of rows of which every seventh has no right candidate, three candidates at most in a batch."""
    folder = tmp_path_factory.mktemp("rows")
    rows = made_choices.rows(30, several=True)
    for row in rows[::7]:
        row["label"] = []
    task, splits = made_choices.prepared(made_choices.write(folder / "a.jsonl", rows), tiny_preset, folder / "cache",
                                         {"max_choices": 3}, context_column="context")
    return task, splits["train"], rows


def test_every_candidate_is_an_example(data):
    task, split, rows = data
    store = split.store
    assert np.bincount(store.column("row")).tolist() == [len(row["choices"]) for row in rows]
    from tfft.tasks.multiple_choice.members import right_examples

    flags = [k in row["label"] for row in rows for k in range(len(row["choices"]))]
    assert right_examples(store).tolist() == flags
    longest = [max(len(" ".join([row["question"], row["context"], text]).split()) for text in row["choices"]) for row in rows]
    assert store.column("full_length").tolist() == [count + 3 for count in longest]
    told = task.describe()
    assert "30 rows of 2 to " in told and "a batch has 3 of a row with more" in told
    assert "rows with several right candidates: " in told
    assert task.remarks("train", store, split.rows)[0].startswith("5 of 30 rows have no right candidate and are left out, such")
    members = task.members(store, split.rows, 0, 3)
    assert members.shape == (25, 3) and (store.row_of(members[:, 0]) % 7 > 0).all()
    targets, weights = task.targets(store, weighted=True)(np.concatenate([members, [[-1, -1, -1]]]), 16)
    assert (targets["right"].sum(axis=1)[:-1] >= 1).all() and targets["there"][-1].sum() == 0 and (weights == 1).all()
    assert (targets["right"] <= targets["there"]).all()


def test_what_is_too_long_loses_of_its_context_first(tiny_tokenizer):
    import tensorflow as tf

    from tfft.tasks.multiple_choice.encoder import ChoiceEncoder

    def tokens(question, choice, context=None, truncation="head"):
        encoder = ChoiceEncoder(tiny_tokenizer, max_length=12, truncation=truncation, context=context is not None)
        row = {"question": question, "choices": [choice], **({"context": context} if context is not None else {})}
        examples, _ = tf.function(encoder.asked)(**encoder.strings([row]))
        made, first = examples["tokens"].to_list()[0], int(examples["first_length"][0])
        return made[1:first - 1], made[first:-1]

    good, bad, the = 5, 6, 11
    assert tokens("good", "bad bad") == ([good], [bad] * 2) and tokens("good", "bad", "the the") == ([the] * 2, [good, bad])
    assert tokens("good good", "bad bad", "the " * 20) == ([the] * 5, [good] * 2 + [bad] * 2)
    assert tokens("good " * 8, "bad bad", "the") == ([], [good] * 7 + [bad] * 2)
    assert tokens("good " * 9, "bad " * 7) == ([good] * 2, [bad] * 7) and tokens("good", "bad " * 20) == ([good], [bad] * 8)
    assert tokens("good " * 9, "bad " * 20) == ([good] * 2, [bad] * 7)
    assert tokens("bad good", "a " * 8)[0] == [bad] and tokens("bad good", "a " * 8, truncation="tail")[0] == [good]
    assert tokens("", "bad", "") == ([], [bad])


def test_candidates_that_are_asked_about(tiny_tokenizer):
    import tensorflow as tf

    from tfft.tasks.multiple_choice import serving
    from tfft.tasks.multiple_choice.encoder import ChoiceEncoder

    encoder = ChoiceEncoder(tiny_tokenizer, max_length=12, truncation="head", context=False)
    inputs = encoder.strings([{"question": "a", "choices": ["good", "bad", "fine"]}, {"question": "a", "choices": '["poor"]'},
                              {"question": "a", "choices": []}, {"question": "a", "choices": ["", "bad", ""]}])
    assert inputs["choices"].shape == (4, 3)
    examples, rows = tf.function(encoder.asked)(**inputs)
    assert examples["row"].numpy().tolist() == [0, 0, 0, 1, 2, 3] and examples["place"].numpy().tolist() == [0, 1, 2, 0, 0, 1]
    made = serving.respond(examples, rows, tf.constant([[0.0], [2.0], [1.0], [5.0], [7.0], [1.0]]), False)
    assert made["position"].numpy().tolist() == [1, 0, -1, 1]
    assert made["choice"].numpy().tolist() == [b"bad", b"poor", b"", b"bad"]
    np.testing.assert_allclose(made["scores"].numpy(), [[0.09, 0.665, 0.245], [1, 0, 0], [0, 0, 0], [0, 1, 0]], atol=1e-3)
    answers = serving.answers({name: value.numpy() for name, value in made.items()})
    assert [len(answer["choice_probabilities"]) for answer, _ in answers] == [3, 1, 0, 2]
    none = tf.function(encoder.asked)(tf.constant(["a"]), tf.zeros([1, 0], tf.string))
    made = serving.respond(*none, tf.constant([[3.0]]), True)
    assert made["position"].numpy() == [-1] and made["scores"].numpy().tolist() == [[0.0]]


@pytest.mark.parametrize("loss", ["softmax", "binary"])
def test_losses_by_hand_and_as_judged(loss):
    from tfft.config import MultipleChoice
    from tfft.tasks.multiple_choice.judging import losses
    from tfft.tasks.multiple_choice.learnt import Choices
    from tfft.tasks.multiple_choice.task import MultipleChoiceTask

    task = MultipleChoiceTask(MultipleChoice(loss=loss), Choices(3))
    logits = np.array([[1.0, 2.0, 0.5], [0.3, -1.0, 99.0], [0.0, 0.0, 0.0]])
    right, there = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]]), np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0]])
    made = task.loss({"right": right, "there": there}, logits.reshape(-1, 1).astype(np.float32)).numpy()
    first, second = logits[0], logits[1, :2]
    if loss == "softmax":
        log = [each - np.log(np.exp(each).sum()) for each in (first, second)]
        expected = [-(log[0][1] + log[0][2]) / 2, -log[1][0]]
    else:
        expected = [np.mean(np.log1p(np.exp([1.0, -2.0, -0.5]))), np.mean(np.log1p(np.exp([-0.3, -1.0])))]
    np.testing.assert_allclose(made[:2], expected, rtol=1e-6)
    assert np.isfinite(made[2])
    flat = losses(np.concatenate([first, second]), np.array([0, 1, 1, 1, 0], bool), np.array([0, 3]), loss == "binary")
    np.testing.assert_allclose(flat, expected, rtol=1e-6)


def test_figures_are_those_of_trec_eval():
    evaluation = pytest.importorskip("pytrec_eval")
    from tfft.tasks.multiple_choice.judging import Ranked

    draw = np.random.default_rng(2)
    counts = draw.integers(1, 9, 60)
    last = np.cumsum(counts)
    scores, right = draw.normal(size=last[-1]), draw.random(last[-1]) < 0.4
    right[last - counts] |= np.add.reduceat(right, last - counts) == 0
    ranked = Ranked(scores, right, last - counts, last)
    documents = [range(end - count, end) for end, count in zip(last, counts, strict=True)]
    found = evaluation.RelevanceEvaluator({str(i): {str(d): int(right[d]) for d in each} for i, each in enumerate(documents)},
                                          {"map", "recip_rank", "P_1"}).evaluate(
        {str(i): {str(d): float(scores[d]) for d in each} for i, each in enumerate(documents)})
    for ours, theirs in (("map", "map"), ("mrr", "recip_rank"), ("accuracy", "P_1")):
        np.testing.assert_allclose(ranked.each[ours], [found[str(i)][theirs] for i in range(60)], rtol=1e-6)


def test_the_first_of_equal_candidates_comes_first():
    from tfft.tasks.multiple_choice.judging import Ranked

    each = Ranked(np.zeros(5), np.array([False, True, True, False, False]), np.array([0, 2]), np.array([2, 5])).each
    assert each["accuracy"].tolist() == [0, 1] and each["mrr"].tolist() == [0.5, 1.0]


def test_simple_rankings(data):
    from tfft.tasks.multiple_choice.judging import simple

    task, split, rows = data
    judged = split.store, task.can_judge(split.store, split.rows)
    found = simple((split.store, split.rows), judged)
    kept = [row for i, row in enumerate(rows) if i % 7]
    assert found["a choice at random"]["accuracy"] == pytest.approx(
        np.mean([len(row["label"]) / len(row["choices"]) for row in kept]))
    shared = next(values for name, values in found.items() if "words" in name)
    best = [np.argmax([len({*row["question"].split()} & {*text.split()}) for text in row["choices"]]) for row in kept]
    assert shared["accuracy"] == pytest.approx(np.mean([place in row["label"] for place, row in zip(best, kept, strict=True)]))
    assert {"accuracy", "mrr", "map"} == shared.keys() and any(name.startswith("always number") for name in found)


@pytest.mark.slow
def test_replicas_train_and_judge_like_one(tiny_preset, tmp_path):
    found = by_replicas.found_by(__file__, tmp_path, tiny_preset)
    assert found.keys() == {f"{case} {replicas}" for case in CASES for replicas in (1, 2, 4)}
    for case in CASES:
        one = found[f"{case.split()[0]} 1"]
        assert len(set(one["losses"])) == STEPS and one["metrics"].keys() == {"accuracy", "mrr", "map", "loss"}
        for replicas in (1, 2, 4):
            other = found[f"{case} {replicas}"]
            np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-5, err_msg=f"{case} {replicas}")
            np.testing.assert_allclose(other["norms"], one["norms"], rtol=1e-4, err_msg=f"{case} {replicas}")
            assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-4)


def train(case: str, strategy, folder: Path, preset: str) -> dict:
    from tfft.evaluation.evaluator import Evaluator

    task, splits = made_choices.prepared(f"{folder}/a.jsonl", preset, folder / "cache",
                                         {"loss": case.split()[0], "max_choices": 3})
    split = splits["train"]
    rig = made_choices.make_rig(task, split, preset, strategy, STEPS, multiple=8, accumulation=CASES[case])
    outputs = [rig.train(1) for _ in range(STEPS)]
    evaluator = Evaluator(rig.model, task, split.store, split.rows, pad_id=0, batch_size=5, max_length=16, strategy=strategy)
    return {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs],
            "metrics": evaluator.evaluate()}


def find(strategies: dict, folder: Path, preset: str) -> dict:
    made_choices.write(folder / "a.jsonl", made_choices.rows(21, several=True))
    return {f"{case} {count}": train(case, strategy, folder, preset) for case in CASES
            for count, strategy in strategies.items()}


if __name__ == "__main__":
    by_replicas.main(find)
