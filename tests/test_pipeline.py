import itertools
import threading

import numpy as np
import pytest
import tensorflow as tf
from stores import TEXT, encoded

from tfft.data.pipeline import Epochs, Reader, dataset, make_batch
from tfft.data.plan import PlanSettings, make_plan
from tfft.data.sources import Row
from tfft.data.store import write_rows
from tfft.data.store_folders import open_store
from tfft.tasks.text_classification.rows import label_columns

PAD, LIMIT = 7, 12
INPUTS = ("token_ids", "padding_mask", "segment_ids")


def ids_of(row: int) -> list[int]:
    """Row 2 is [20, 21, 22]; rows have 1 to 9 tokens."""
    return [row * 10 + i for i in range(row * 5 % 9 + 1)]


def write(cache, count: int, name="s", shift=0):
    """A store of `count` rows whose labels are their numbers; the first segment is half of a row's tokens."""
    def encode(chunks):
        for rows in chunks:
            ids = [[i + shift for i in ids_of(int(r.values["text"]))] for r in rows]
            yield encoded(ids, first_length=np.array([(len(i) + 1) // 2 for i in ids], np.int32))

    rows = (Row(str(i), {"text": str(i), "label": float(i)}, "f.csv", i, {}) for i in range(count))
    return open_store(cache, name, lambda folder: write_rows(folder, rows, TEXT, encode, label_columns, seed=0))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cache"), 50)


def reader_of(store, inputs=INPUTS) -> Reader:
    """Row r: target r, weight 1, 2 or 3."""
    def targets(rows, length):
        return store.column("value")[rows].astype(np.float32), (rows % 3 + 1).astype(np.float32)

    return Reader(inputs, PAD, targets, tf.TensorSpec([None], tf.float32))


def make_epochs(store, rows=None, **settings) -> Epochs:
    rows = np.arange(len(store)) if rows is None else rows
    return Epochs(lambda epoch: (store, rows, rows), PlanSettings(**{"batch_size": 4, "max_length": LIMIT, **settings}))


def read(store, epochs, start, stop, inputs=INPUTS, **kwargs):
    """The elements of a dataset, as numpy."""
    return list(dataset(epochs, reader_of(store, inputs), start=start, stop=stop, **kwargs).as_numpy_iterator())


def assert_equal(a, b) -> None:
    tf.nest.map_structure(np.testing.assert_array_equal, a, b)


def test_batch_by_hand(store):
    """Rows 1, 3 and 8 have 6, 7 and 5 tokens; the fourth row fills."""
    epochs = make_epochs(store, np.array([1, 3, 8]), shuffle=False, grouping=False)
    token_ids, mask, segments, targets, weights, indices = make_batch(epochs.epoch(0), 0, reader_of(store))
    assert token_ids.tolist() == [[10, 11, 12, 13, 14, 15, 7, 7], [30, 31, 32, 33, 34, 35, 36, 7],
                                  [80, 81, 82, 83, 84, 7, 7, 7], [7] * 8]
    assert mask.tolist() == [[1] * 6 + [0] * 2, [1] * 7 + [0], [1] * 5 + [0] * 3, [1] + [0] * 7]
    assert segments.tolist() == [[0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 0, 0, 0], [0] * 8]
    assert targets[:3].tolist() == [1, 3, 8] and indices.tolist() == [0, 1, 2, -1]
    np.testing.assert_allclose(weights, np.array([2, 1, 3, 0]) / 6, rtol=1e-6)
    assert {a.dtype for a in (token_ids, mask, segments)} == {np.dtype(np.int32)} and weights.dtype == np.float32


@pytest.mark.parametrize("tokens", [0, 60])
def test_batches_equal_the_plan(store, tokens):
    rows = np.arange(3, 50, 2)
    epochs = make_epochs(store, rows, seed=3, tokens_per_batch=tokens)
    steps = epochs.steps(2)
    seen = []
    for step, (inputs, targets, weights, indices) in enumerate(read(store, epochs, 0, steps)):
        epoch, batch = epochs.locate(step)
        expected = make_plan(store.lengths[rows], epochs.settings, epoch).batch(batch)
        np.testing.assert_array_equal(indices, expected.indices)
        assert inputs["token_ids"].shape == (len(expected.indices), expected.length)
        real = indices >= 0
        assert [r[m > 0].tolist() for r, m in zip(inputs["token_ids"][real], inputs["padding_mask"][real])] == [
            ids_of(rows[i]) for i in indices[real]]
        assert (inputs["token_ids"][inputs["padding_mask"] == 0] == PAD).all()
        np.testing.assert_array_equal(targets[real], rows[indices[real]])
        assert weights.sum() == pytest.approx(1) and (weights[~real] == 0).all() and (weights[real] > 0).all()
        share = rows[indices[real]] % 3 + 1
        np.testing.assert_allclose(weights[real], share / share.sum(), rtol=1e-6)
        seen += rows[indices[real]].tolist()
        assert epochs.step_examples(step).tolist() == rows[indices[real]].tolist()
    assert sorted(seen) == sorted([*rows, *rows])


def test_segment_ids_only_where_the_backbone_takes_them(store):
    batch = read(store, make_epochs(store), 0, 1, inputs=("token_ids", "padding_mask"))[0]
    assert sorted(batch[0]) == ["padding_mask", "token_ids"]


@pytest.mark.parametrize("tokens", [0, 60])
@pytest.mark.parametrize("skipped", [1, 13, 17])
def test_resuming_reads_what_an_uninterrupted_run_reads(store, tokens, skipped):
    """13 steps are an epoch of 4-row batches: one of the resumes begins an epoch, one lies in the second."""
    whole = read(store, make_epochs(store, tokens_per_batch=tokens), 0, 20)
    assert_equal(read(store, make_epochs(store, tokens_per_batch=tokens), skipped, 20), whole[skipped:])


@pytest.mark.parametrize("replicas", [2, 4])
def test_shares_of_replicas_join_to_the_one_replica_batch(store, replicas):
    """26 steps cross an epoch's end, where a batch is filled."""
    settings = {"multiple": 4, "seed": 1}
    whole = read(store, make_epochs(store, **settings), 0, 26)
    shares = read(store, make_epochs(store, **settings), 0, 26, replicas=replicas)
    assert len(shares) == 26 * replicas and any((batch[3] < 0).any() for batch in whole)
    for step, batch in enumerate(whole):
        parts = shares[step * replicas:(step + 1) * replicas]
        assert_equal(tf.nest.map_structure(lambda *a: np.concatenate(a), *parts), batch)
        assert sum(part[2].sum() for part in parts) == pytest.approx(1)


def test_hosts_read_their_own_replicas(store):
    shares = read(store, make_epochs(store, multiple=4), 5, 8, replicas=4)
    for host in range(2):
        own = read(store, make_epochs(store, multiple=4), 5, 8, replicas=4, host=host, hosts=2)
        assert_equal(own, [share for i, share in enumerate(shares) if i % 4 // 2 == host])


def test_locate_crosses_epochs_of_different_length(store):
    epochs = make_epochs(store, tokens_per_batch=36, grouping=False)
    counts = [epochs.num_batches(e) for e in range(6)]
    assert len(set(counts)) > 1  # else this shows nothing
    expected = [(e, b) for e, count in enumerate(counts) for b in range(count)]
    assert [epochs.locate(step) for step in range(sum(counts))] == expected
    assert epochs.steps(6) == sum(counts)


def test_counting_in_several_threads(store):
    """tf.data reads in parallel threads; each epoch must be counted once, in its place."""
    alone = make_epochs(store, tokens_per_batch=36, grouping=False)
    expected = [alone.num_batches(e) for e in range(8)]
    for _ in range(5):
        epochs = make_epochs(store, tokens_per_batch=36, grouping=False)
        barrier = threading.Barrier(8)
        found: dict[int, int] = {}

        def count(epoch, epochs=epochs, barrier=barrier, found=found):
            barrier.wait()
            found[epoch] = epochs.num_batches(epoch)

        threads = [threading.Thread(target=count, args=(e,)) for e in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [found[e] for e in range(8)] == expected


def test_tokens_of_steps(store):
    epochs = make_epochs(store, np.arange(10), seed=5)
    assert epochs.tokens(0, 3) == (10, sum(len(ids_of(r)) for r in range(10)),
                                   sum(4 * epochs.epoch(0).plan.batch(b).length for b in range(3)))
    examples = [epochs.tokens(step, step + 1)[0] for step in range(6)]
    assert sum(examples) == 20 and sorted(examples) == [2, 2, 4, 4, 4, 4]
    assert epochs.tokens(2, 2) == (0, 0, 0)


def test_augmented_epochs_read_their_own_texts_and_the_rows_targets(tmp_path):
    base = write(tmp_path, 20)
    rows = np.arange(4, 14)
    stores = {}

    def open_epoch(epoch):
        stores.setdefault(epoch, write(tmp_path, 10, f"augmented {epoch}", shift=1000 * (epoch + 1)))
        return stores[epoch], np.arange(10), rows

    epochs = Epochs(open_epoch, PlanSettings(batch_size=5, max_length=LIMIT))
    assert epochs.steps(3) == 6
    for step, (inputs, targets, _, indices) in enumerate(read(base, epochs, 0, 6)):
        np.testing.assert_array_equal(targets, rows[indices])
        np.testing.assert_array_equal(inputs["token_ids"][:, 0], indices * 10 + 1000 * (step // 2 + 1))
        assert epochs.step_examples(step).tolist() == rows[indices].tolist()
    assert sorted(stores) == [0, 1, 2]


def test_an_epoch_is_planned_once(store):
    opened = []

    def open_epoch(epoch):
        opened.append(epoch)
        return store, np.arange(50), np.arange(50)

    read(store, Epochs(open_epoch, PlanSettings(batch_size=4, max_length=LIMIT)), 0, 26)
    assert opened == [0, 1]


def test_no_rows_have_no_step(store):
    epochs = make_epochs(store, np.arange(0))
    assert epochs.num_batches(0) == 0 and epochs.steps(3) == 0
    with pytest.raises(ValueError, match="without rows"):
        epochs.locate(0)


def test_shapes_are_known_as_far_as_they_are_fixed(store):
    reader = Reader(("token_ids", "segment_ids"), PAD, reader_of(store).targets, tf.TensorSpec([None, 3], tf.float32))
    spec = dataset(make_epochs(store), reader, start=0, stop=1).element_spec
    shapes = [s.shape.as_list() for s in itertools.chain(spec[0].values(), spec[1:])]
    assert shapes == [[None, None]] * 3 + [[None, 3], [None], [None]]


# ---- targets of several arrays, which may be of the batch's length

SPECS = {"tags": tf.TensorSpec([None, None], tf.int32), "one": tf.TensorSpec([None], tf.float32),
         "parts": tf.TensorSpec([None, None, 2], tf.float32)}


def tags_of(store) -> Reader:
    """Example e: its tokens again, e, and e twice at each place; the weight is the number of its tokens."""
    def targets(examples, length):
        tags = np.full((len(examples), length), -1, np.int32)
        for i, example in enumerate(examples):
            ids = store.values("tokens", example)
            tags[i, :len(ids)] = ids
        each = examples.astype(np.float32)
        return {"tags": tags, "one": each, "parts": np.tile(each[:, None, None], (1, length, 2))}, store.lengths[examples]

    return Reader(INPUTS, PAD, targets, SPECS)


@pytest.mark.parametrize("replicas", [1, 2])
def test_targets_of_several_arrays(store, replicas):
    epochs = make_epochs(store, np.arange(1, 50, 2), multiple=2)
    batches = list(dataset(epochs, tags_of(store), start=0, stop=epochs.steps(1), replicas=replicas).as_numpy_iterator())
    assert len(batches) == 7 * replicas
    seen = 0
    for inputs, targets, weights, indices in batches:
        real = indices >= 0
        seen += real.sum()
        assert sorted(targets) == sorted(SPECS)
        assert targets["tags"].dtype == np.int32 and targets["parts"].shape == (*inputs["token_ids"].shape, 2)
        np.testing.assert_array_equal(np.where(targets["tags"] < 0, PAD, targets["tags"])[real], inputs["token_ids"][real])
        np.testing.assert_array_equal(targets["one"][real], 1 + 2 * indices[real])
        np.testing.assert_array_equal(targets["parts"][real][:, :, 1].max(axis=1), targets["one"][real])
        assert (weights[~real] == 0).all()
    assert seen == 25
    for step in range(0, len(batches), replicas):
        shares = batches[step:step + replicas]
        lengths = np.concatenate([(one[0]["padding_mask"].sum(axis=1)) * (one[3] >= 0) for one in shares])
        np.testing.assert_allclose(np.concatenate([one[2] for one in shares]), lengths / lengths.sum(), rtol=1e-6)


def test_targets_of_several_arrays_are_static_where_batches_are(store):
    epochs = make_epochs(store, buckets=(4, 12), run_length=2, multiple=2)
    made = dataset(epochs, tags_of(store), start=0, stop=epochs.steps(1), replicas=2, shape=(4, 12))
    assert {name: spec.shape.as_list() for name, spec in made.element_spec[1].items()} == {
        "tags": [2, 12], "one": [2], "parts": [2, 12, 2]}
    assert len(list(made)) >= 4
    open_ended = dataset(epochs, tags_of(store), start=0, stop=1).element_spec[1]
    assert {name: spec.shape.as_list() for name, spec in open_ended.items()} == {
        "tags": [None, None], "one": [None], "parts": [None, None, 2]}


# ---- rows of several examples

def test_examples_of_rows_are_planned(tmp_path):
    """Row r is r % 3 + 1 windows, the w-th of them w + 1 tokens; targets are looked up by example."""
    def encode(chunks):
        for rows in chunks:
            owners = np.repeat(np.arange(len(rows)), [int(r.values["text"]) % 3 + 1 for r in rows])
            windows = np.concatenate([np.arange(int(r.values["text"]) % 3 + 1) for r in rows])
            made = encoded([[10 * owner + window] * (window + 1) for owner, window in zip(owners, windows)], row=owners)
            yield made._replace(rows={"full_length": np.ones(len(rows), np.int32)})

    rows = (Row(str(i), {"text": str(i), "label": float(i)}, "f.csv", i, {}) for i in range(12))
    store = open_store(tmp_path, "s", lambda folder: write_rows(folder, rows, TEXT, encode, label_columns, seed=0))
    chosen = np.array([1, 2, 5, 9])
    examples = store.examples_of(chosen)
    assert len(store) == 12 and len(examples) == 2 + 3 + 3 + 1
    epochs = make_epochs(store, examples)
    values = np.asarray(store.column("value"), np.float32)
    reader = Reader(INPUTS, PAD, lambda examples, length: (values[store.row_of(examples)], np.ones(len(examples), np.float32)),
                    tf.TensorSpec([None], tf.float32))
    seen = []
    for step, (inputs, targets, _, indices) in enumerate(dataset(epochs, reader, start=0, stop=3).as_numpy_iterator()):
        real = indices >= 0
        np.testing.assert_array_equal(epochs.step_examples(step), examples[indices[real]])
        np.testing.assert_array_equal(targets[real], inputs["token_ids"][real, 0] // 10)
        seen += inputs["token_ids"][real, 0].tolist()
    assert sorted(seen) == [10, 11, 20, 21, 22, 50, 51, 52, 90]
    assert epochs.tokens(0, 3)[:2] == (9, 3 + 6 + 6 + 1)
