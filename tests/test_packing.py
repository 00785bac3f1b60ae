"""Several texts in a row: no example is lost, rows are full, and what is computed is what each by itself gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.data.packing import pack


@given(st.lists(st.integers(1, 12), max_size=60), st.integers(0, 3))
def test_each_example_is_in_one_row_and_rows_are_not_too_long(lengths, epoch):
    lengths = np.array(lengths, np.int32)
    rows = pack(lengths, 12, 5, epoch)
    assert sorted(rows[rows >= 0].tolist()) == list(range(len(lengths)))
    sums = np.where(rows >= 0, np.append(lengths, 0)[rows], 0).sum(axis=1)
    assert (sums <= 12).all()
    assert len(sums) < 2 or np.sort(sums)[:2].sum() > 12  # no two rows have room for each other
    assert (rows == pack(lengths, 12, 5, epoch)).all()


def test_rows_are_nearly_full_and_of_another_epoch_others():
    lengths = np.random.default_rng(0).integers(3, 100, 5000)
    rows = pack(lengths, 128, 0, 0)
    assert lengths.sum() / (len(rows) * 128) > 0.98
    assert {tuple(row) for row in rows} != {tuple(row) for row in pack(lengths, 128, 0, 1)}


@pytest.fixture(scope="module")
def both(tiny_preset, tmp_path_factory):
    """(task that packs, split, model, the same model of packed rows)"""
    from tfft.config import Model, resolve
    from tfft.data.prepare import Preparer, load_splits
    from tfft.models.backbone import load_backbone, load_tokenizer, tokenizer_fingerprint
    from tfft.tasks.masked_lm.task import MaskedLMTask

    folder = tmp_path_factory.mktemp("packed")
    random = np.random.default_rng(1)
    lines = [" ".join(random.choice(["good", "bad", "films", "a"], random.integers(1, 14))) for _ in range(40)]
    (folder / "texts.txt").write_text("\n".join(lines))
    chosen = resolve({"task": {"name": "masked_lm", "pack": True, "share": 0.3}, "model": {"backbone": tiny_preset},
                      "data": {"train": f"text:{folder}/texts.txt", "max_length": 32, "validation": ""}})
    tokenizer = load_tokenizer(tiny_preset)
    reading = MaskedLMTask.reading(chosen, tokenizer, tokenizer_fingerprint(tokenizer), folder)
    split = load_splits(Preparer(chosen.data, reading, folder / "cache", lambda text: None))["train"]
    task = MaskedLMTask(chosen.task, MaskedLMTask.infer(chosen, split.store, split.rows, folder))
    backbone = load_backbone(tiny_preset, precision="float32", dropout=0.0)
    for variable in backbone.weights:  # so that a wrong position, or a look at a neighbour, would be seen
        variable.assign(np.random.default_rng(len(variable.path)).normal(0, 0.3, variable.shape))
    model = task.build_model(backbone, Model(), seed=0)
    return task, split, model, task.for_packed(model, backbone)


def test_packed_is_like_unpacked(both):
    import tensorflow as tf

    from tfft.data.pipeline import Epochs, Reader, dataset
    from tfft.data.plan import PlanSettings

    task, split, model, of_packed = both
    assert sorted(v.path for v in model.trainable_variables) == sorted(v.path for v in of_packed.trainable_variables)
    made = {}
    for name, one, packs in (("alone", model, False), ("packed", of_packed, True)):
        def opened(epoch, packs=packs):
            examples = task.members(split.store, split.rows, epoch, 0) if packs else split.examples
            return split.store, examples, examples

        epochs = Epochs(opened, PlanSettings(batch_size=64, max_length=32), packs)
        assert epochs.num_batches(0) == 1 and (not packs or epochs.epoch(0).plan.padding_waste < 0.85)
        reader = Reader(tuple(one.input), 0, task.targets(split.store, weighted=True), task.target_specs, drawn=True)
        (inputs, targets, weights, _), = dataset(epochs, reader, start=0, stop=1)
        variables = sorted(one.trainable_variables, key=lambda v: v.path)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(task.loss(targets, one(inputs, training=True)) * weights)
        slopes = tape.gradient(loss, [v.value for v in variables])
        made[name] = [float(loss), *(tf.convert_to_tensor(slope).numpy() for slope in slopes)]
        if packs:
            hidden = tf.reduce_sum(tf.cast(targets["ids"] >= 0, tf.int32), axis=1).numpy()
            assert inputs["document"].numpy().max() > 3 and hidden.max() > 3
    for ours, theirs in zip(made["alone"], made["packed"], strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_a_row_of_one_text_is_that_text(both):
    task, _, model, of_packed = both
    ids = np.random.default_rng(0).integers(5, 15, (2, 8)).astype(np.int32)
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
    made = of_packed({**inputs, "document": np.ones_like(ids)})
    np.testing.assert_allclose(made["hidden"], model(inputs)["hidden"], atol=1e-6)
