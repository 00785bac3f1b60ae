"""Candidates as examples, the losses of rows of them, figures against a known library, one, two and four replicas.

As a script it trains on logical CPUs and prints what came of it: python tests/test_multiple_choice_step.py FOLDER PRESET 4
"""

import functools
from pathlib import Path

import by_replicas
import numpy as np
import pytest

STEPS = 3


@pytest.fixture(scope="module")
def data(tiny_preset, tmp_path_factory):
    """(task, training split) of rows of which every seventh has no right candidate, three candidates at most in a batch."""
    import choices as made_choices

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


@pytest.fixture(scope="module")
def asked(tiny_tokenizer):
    """asked(rows, context, truncation) -> (examples, rows), as an export has them; one trace for each kind."""
    import tensorflow as tf

    from tfft.tasks.multiple_choice.encoder import ChoiceEncoder

    @functools.cache
    def made(context, truncation):
        encoder = ChoiceEncoder(tiny_tokenizer, max_length=12, truncation=truncation, context=context)
        specs = {name: tf.TensorSpec([None, None] if name == "choices" else [None], tf.string, name=name)
                 for name in encoder.fields}
        return encoder, tf.function(lambda **texts: encoder.asked(**texts)).get_concrete_function(**specs)

    def asked(rows, context=False, truncation="head", **inputs):
        encoder, function = made(context, truncation)
        return function(**(inputs or encoder.strings(rows)))

    return asked


GOOD, BAD, THE, A = 5, 6, 11, 10


@pytest.mark.parametrize("rows, context, truncation, expected", [
    ([("good", "bad bad"), ("good " * 9, "bad " * 7), ("good", "bad " * 20), ("good " * 9, "bad " * 20),
      ("bad good", "a " * 8)], False, "head",
     [([GOOD], [BAD] * 2), ([GOOD] * 2, [BAD] * 7), ([GOOD], [BAD] * 8), ([GOOD] * 2, [BAD] * 7), ([BAD, GOOD], [A] * 7)]),
    ([("bad bad bad good good good good", "a a a"), ("bad bad good good", "a " * 8)], False, "tail",
     [([BAD] * 2 + [GOOD] * 4, [A] * 3), ([GOOD] * 2, [A] * 7)]),
    ([("good", "bad", "the the"), ("good good", "bad bad", "the " * 20), ("good " * 8, "bad bad", "the"), ("", "bad", "")],
     True, "head", [([THE] * 2, [GOOD, BAD]), ([THE] * 5, [GOOD] * 2 + [BAD] * 2), ([], [GOOD] * 7 + [BAD] * 2), ([], [BAD])])])
def test_what_is_too_long_loses_of_its_context_first(asked, rows, context, truncation, expected):
    """Of 12 tokens three are special."""
    rows = [dict(zip(("question", "choices", "context"), (first, [second], *more))) for first, second, *more in rows]
    examples, _ = asked(rows, context, truncation)
    made = [(ids[1:first - 1], ids[first:-1]) for ids, first in zip(examples["tokens"].to_list(),
                                                                    examples["first_length"].numpy(), strict=True)]
    assert made == expected


def test_candidates_that_are_asked_about(asked):
    import tensorflow as tf

    from tfft.tasks.multiple_choice import serving

    examples, rows = asked([{"question": "a", "choices": choices} for choices in (
        ["good", "bad", "fine"], '["poor"]', [], ["", "bad", ""])])
    assert examples["row"].numpy().tolist() == [0, 0, 0, 1, 2, 3] and examples["place"].numpy().tolist() == [0, 1, 2, 0, 0, 1]
    made = serving.respond(examples, rows, tf.constant([[0.0], [2.0], [1.0], [5.0], [7.0], [1.0]]), False)
    assert made["position"].numpy().tolist() == [1, 0, -1, 1]
    assert made["choice"].numpy().tolist() == [b"bad", b"poor", b"", b"bad"]
    np.testing.assert_allclose(made["scores"].numpy(), [[0.09, 0.665, 0.245], [1, 0, 0], [0, 0, 0], [0, 1, 0]], atol=1e-3)
    answers = serving.answers({name: value.numpy() for name, value in made.items()})
    assert [len(answer["choice_probabilities"]) for answer, _ in answers] == [3, 1, 0, 2]
    none = asked((), question=tf.constant(["a"]), choices=tf.zeros([1, 0], tf.string))
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
    one = found.pop("1 replicas, 1 parts")
    assert len(set(one["losses"])) == STEPS and one["metrics"].keys() == {"accuracy", "mrr", "map", "loss"}
    assert found.keys() == {"2 replicas, 1 parts", "4 replicas, 1 parts", "1 replicas, 2 parts", "4 replicas, 2 parts"}
    for case, other in found.items():
        np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-5, err_msg=case)
        np.testing.assert_allclose(other["norms"], one["norms"], rtol=1e-4, err_msg=case)
        if "metrics" in other:
            assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-4)
    assert sum("metrics" in other for other in found.values()) == 2


def train(parts: int, strategy, folder: Path, preset: str) -> dict:
    import choices as made_choices

    from tfft.evaluation.evaluator import Evaluator

    task, splits = made_choices.prepared(f"{folder}/a.jsonl", preset, folder / "cache", {"max_choices": 3})
    split = splits["train"]
    rig = made_choices.make_rig(task, split, preset, strategy, STEPS, multiple=8, accumulation=parts)
    outputs = [rig.train(1) for _ in range(STEPS)]
    made = {"losses": [o["loss"] for o in outputs], "norms": [o["gradient_norm"] for o in outputs]}
    if parts == 1:
        made["metrics"] = Evaluator(rig.model, task, split.store, split.rows, pad_id=0, batch_size=5, max_length=16,
                                    strategy=strategy).evaluate()
    return made


def find(strategies: dict, folder: Path, preset: str) -> dict:
    import choices as made_choices

    made_choices.write(folder / "a.jsonl", made_choices.rows(21, several=True))
    return {f"{count} replicas, {parts} parts": train(parts, strategy, folder, preset)
            for count, strategy in strategies.items() for parts in (1, 2) if (count, parts) != (2, 2)}


if __name__ == "__main__":
    by_replicas.main(find)
