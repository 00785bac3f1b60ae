"""Batches of rows of several texts, and the step whose loss is of the whole batch: what cached gradients are equal to."""

import embeddings
import numpy as np
import pytest
import tensorflow as tf

from tfft.data.pipeline import Reader, dataset, make_batch

STEPS = 5
INPUTS = ("token_ids", "padding_mask", "segment_ids")


@pytest.fixture(scope="module")
def data(tiny_preset, tmp_path_factory):
    """{kind: (task, training split)}"""
    folder = tmp_path_factory.mktemp("rows")
    path, made = embeddings.write(folder / "a.jsonl", 21), {}
    for loss, kind in embeddings.LOSSES.items():
        settings = {"loss": loss, **({"negatives": 2} if kind == "pairs" else {})}
        task, splits = embeddings.prepared(embeddings.experiment(path, kind, settings), tiny_preset, folder / "cache")
        made[kind] = task, splits["train"]
    return made


def reader_of(task, store) -> Reader:
    return Reader(INPUTS, 0, task.targets(store, weighted=True), task.target_specs, task.sequences)


def test_the_store_has_every_text_of_a_row(data):
    task, split = data["pairs"]
    store = split.store
    roles = store.column("role")
    assert len(store) == 21 and (store.column("row")[roles == 0] == np.arange(21)).all()
    assert (roles == 2).sum() == sum(i % 5 for i in range(21)) == store.column("negatives").sum()
    same = store.column("same")
    assert len(set(same[(roles == 1) & (store.column("row") % 4 == 0)])) == 1
    longest = [store.lengths[store.column("row") == row].max() for row in range(21)]
    assert store.column("full_length").tolist() == longest
    assert "21 rows, 1.0 texts that belong to each, 1.9 hard negatives (5 rows have none), 2 of them" in task.describe()


def test_texts_that_are_the_same_have_one_hash_whatever_their_prompt(tiny_preset, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,text_pair\ngood film,Good  film\nthe film,good film\n")
    from tfft.config import resolve

    chosen = resolve({"task": {"name": "embedding", "query_prompt": "the: ", "passage_prompt": "a bad: "},
                      "data": {"train": str(path), "max_length": 12, "validation": ""}})
    _, splits = embeddings.prepared(chosen, tiny_preset, tmp_path / "cache")
    store = splits["train"].store
    same, tokens = store.column("same"), [store.values("tokens", i).tolist() for i in range(4)]
    assert same[0] == same[1] == same[3] != same[2]
    assert tokens[0] == [2, 11, 1, 5, 9, 3] and tokens[1] == [2, 10, 6, 1, 5, 9, 3]  # ":" is no word of the vocabulary


def test_batches_hold_rows_side_by_side(data):
    task, split = data["pairs"]
    store, epochs = split.store, embeddings.make_epochs(task, split)
    opened = epochs.epoch(0)
    assert opened.plan.sequences == 4 == task.sequences and opened.plan.num_batches == 3
    assert opened.plan.real_tokens == sum(epochs.tokens(step, step + 1)[1] for step in range(3))
    assert opened.plan.padded_tokens == sum(epochs.tokens(step, step + 1)[2] for step in range(3))
    seen = []
    for batch in range(3):
        ids, mask, _, same, there, weights, indices = make_batch(opened, batch, reader_of(task, store))
        assert ids.shape == mask.shape and ids.shape[0] == 4 * 8 and same.shape == there.shape == (8, 4)
        for i, index in enumerate(indices):
            members = opened.examples[index] if index >= 0 else np.full(4, -1)
            for k, example in enumerate(members):
                at = 4 * i + k
                assert there[i, k] == (example >= 0) and (same[i, k] >= 0) == (example >= 0)
                assert ids[at][mask[at] > 0].tolist() == (store.values("tokens", example).tolist() if example >= 0 else [0])
            assert weights[i] == (0 if index < 0 else pytest.approx(1 / (indices >= 0).sum()))
        longest = max(store.lengths[opened.examples[i][opened.examples[i] >= 0]].max() for i in indices[indices >= 0])
        assert ids.shape[1] == -(-longest // 8) * 8
        seen += [store.row_of(opened.examples[i, :1])[0] for i in indices[indices >= 0]]
        assert epochs.step_examples(batch).tolist() == opened.examples[indices[indices >= 0], 0].tolist()
    assert sorted(seen) == list(range(21))
    other = epochs.epoch(1).examples
    assert (other[:, :2] == opened.examples[:, :2]).all() and (other != opened.examples).any()  # other hard negatives


def test_batches_of_one_shape_are_static(data):
    task, split = data["pairs"]
    epochs = embeddings.make_epochs(task, split, buckets=(8, 16), run_length=1)
    made = dataset(epochs, reader_of(task, split.store), start=0, stop=3, replicas=2, shape=epochs.shape(0))
    inputs, targets, weights, _ = made.element_spec
    assert inputs["token_ids"].shape == (16, epochs.shape(0)[1]) and targets["same"].shape == (4, 4) and weights.shape == (4,)


@pytest.mark.parametrize("kind", ["pairs", "scored", "labelled"])
def test_cached_gradients_are_those_of_the_whole_batch(data, tiny_preset, kind):
    task, split = data[kind]
    strategy = tf.distribute.get_strategy()
    rigs = [embeddings.make_rig(task, split, tiny_preset, strategy, STEPS, multiple=4, accumulation=parts) for parts in (1, 4)]
    whole, cached = ([rig.train(1) for _ in range(STEPS)] for rig in rigs)
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose([o[name] for o in cached], [o[name] for o in whole], rtol=1e-5)
    assert len({o["loss"] for o in whole}) == STEPS and whole[0]["gradient_norm"] > 1e-3
    embeddings.same_weights(rigs[0].weights(), rigs[1].weights(), 1e-5)


@pytest.mark.parametrize("parts", [1, 2])
def test_halves_make_the_same_weights(data, tiny_preset, parts):
    task, split = data["pairs"]
    rigs = [embeddings.make_rig(task, split, tiny_preset, tf.distribute.get_strategy(), STEPS, multiple=2, accumulation=parts,
                                halves=halves) for halves in (False, True)]
    whole, apart = ([rig.train(1) for _ in range(STEPS)] for rig in rigs)
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose([o[name] for o in apart], [o[name] for o in whole], rtol=1e-5)
    embeddings.same_weights(rigs[0].weights(), rigs[1].weights(), 1e-5)
    lengths, model = [], rigs[1].trainer._forward
    rigs[1].trainer._forward = lambda some, training: lengths.append(some["token_ids"].shape) or model(some, training=training)
    inputs = next(iter(rigs[1].trainer._train_dataset))[0]
    np.testing.assert_allclose(rigs[1].trainer._outputs(inputs), model(inputs, training=False), atol=1e-5)
    assert lengths[0][1] < lengths[1][1] <= inputs["token_ids"].shape[1]


def test_the_gradient_is_that_of_the_loss_as_it_is_written(data, tiny_preset):
    """One tape over model and loss."""
    task, split = data["pairs"]
    rig = embeddings.make_rig(task, split, tiny_preset, tf.distribute.get_strategy(), 1)
    batch = next(iter(rig.trainer._train_dataset))
    loss, gradients = rig.trainer._local_gradients(batch)
    with tf.GradientTape() as tape:
        expected = tf.reduce_sum(task.loss(batch[1], rig.model(batch[0], training=True)) * batch[2])
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    for made, right in zip(gradients, tape.gradient(expected, [v.value for v in rig.model.trainable_variables]), strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(made), tf.convert_to_tensor(right), rtol=1e-4, atol=1e-5)


def test_dropout_masks_are_the_same_in_both_passes(data, tiny_preset):
    """The outputs of the first pass are those that the second differentiates, and the next step has other masks."""
    task, split = data["pairs"]
    rig = embeddings.make_rig(task, split, tiny_preset, tf.distribute.get_strategy(), STEPS, multiple=2, dropout=0.4,
                              accumulation=2, peak_learning_rate=0.0)
    seen, original = [], rig.trainer._outputs

    def noted(inputs):
        outputs = original(inputs)
        tf.numpy_function(lambda values: seen.append(values), [outputs], [])
        return outputs

    rig.trainer._outputs = noted
    rig.train(2)
    assert len(seen) == 8
    for step in (0, 4):
        np.testing.assert_array_equal(seen[step:step + 2], seen[step + 2:step + 4])
        assert np.abs(seen[step] - seen[step + 1]).max() > 1e-3
    seeds = [v.numpy().tolist() for v in rig.model.variables if "seed_generator" in v.path]
    assert {count for _, count in seeds} == {4}  # as many draws as with one pass


@pytest.mark.parametrize("parts", [1, 2])
def test_half_precision_and_l2(data, tiny_preset, parts):
    """float16's loss scale cancels out."""
    task, split = data["scored"]
    rig, scaled = (embeddings.make_rig(task, split, tiny_preset, tf.distribute.get_strategy(), 2, multiple=2, l2=0.01,
                                       accumulation=parts, precision=precision) for precision in ("float32", "mixed_float16"))
    for _ in range(2):
        one, other = rig.train(1), scaled.train(1)
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5) and other["skipped_steps"] == 0
        assert other["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-4)


# ---- static shapes; that all losses lower is in tests/test_xla.py

@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "labelled"])
def test_the_compiled_step_equals_the_uncompiled(data, tiny_preset, kind):
    from test_static_shapes import CompiledStrategy

    task, split = data[kind]
    made = []
    for xla in (False, True):
        rig = embeddings.make_rig(task, split, tiny_preset, tf.distribute.get_strategy(), 3, multiple=2, accumulation=2)
        if xla:
            from steps import Rig

            rig = Rig(rig.trainer._train_dataset, CompiledStrategy(), model=rig.model, loss=task.loss, total_steps=3,
                      clip_norm=0.0, whole_batch=True, accumulation=2, xla=True)
        made.append(rig.losses(3))
    assert made[0] == pytest.approx(made[1], rel=1e-4)
