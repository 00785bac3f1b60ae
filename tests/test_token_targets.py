"""Targets of tagged words, and the losses of softmax and CRF, by hand and against tfft.models.crf."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from test_token_rows import conll, experiment, prepared
from test_token_tags import table

from tfft.config import Model, TokenClassification
from tfft.models import crf
from tfft.models.backbone import load_backbone
from tfft.tasks.token_classification.task import TokenClassificationTask

TAGS = table("IOB2", "X")
INTENTS = dataclasses.replace(TAGS, labels=("ask", "tell"), label_counts=(3, 2))
WORDS = "good bad fine poor film a the films".split()  # films is two pieces, film ##s


def sentence(length: int, seed: int) -> str:
    draw = np.random.default_rng(seed)
    return " ".join(f"{draw.choice(WORDS)}/{draw.choice(['O', 'B-X', 'I-X', 'B-Y'])}" for _ in range(length))


@pytest.fixture(scope="module")
def made(tiny_tokenizer, tmp_path_factory):
    """(task, store) of rows of 1 to 60 words."""
    folder = tmp_path_factory.mktemp("rows")
    (folder / "a.conll").write_text(conll(*(sentence(length, length) for length in (*range(1, 30, 2), 60))))
    chosen = experiment(f"{folder}/a.conll", {"head": "crf"}, words_column="0", tags_column="1", tags_scheme="IOB2")
    task, splits = prepared(chosen, tiny_tokenizer, folder / "cache")
    return task, splits["train"].store


# ---- targets

def test_every_word_is_owned_once_where_its_first_piece_stands(made, tiny_tokenizer):
    task, store = made
    read = task.targets(store, weighted=True)
    first_pieces = [int(tokens[0]) for tokens in tf.function(lambda t: tiny_tokenizer(t))(tf.constant(WORDS)).to_list()]
    for row in range(len(store)):
        examples = store.examples_of(np.array([row]))
        length = int(store.lengths[examples].max())
        assert length <= 16 and (len(examples) > 1) == (store.column("full_length")[row] > 16)
        targets, weights = read(examples, length)
        pieces, tags = [], []
        for i, example in enumerate(examples):
            tokens, owned = store.values("tokens", example), len(store.values("places", example))
            pieces += [int(tokens[place]) for place in targets["places"][i, :owned]]
            tags += targets["tags"][i, :owned].tolist()
            assert (targets["tags"][i, owned:] == -1).all() and weights[i] == owned
        assert pieces == [first_pieces[WORDS.index(word)] for word in store.texts(row)[0].split()]
        assert tags == task.gold(store).of(row).tolist()
        assert targets["first"].tolist() == [1] + [0] * (len(examples) - 1)
        assert targets["last"].tolist() == [0] * (len(examples) - 1) + [1]
        assert {name: (values.dtype, values.ndim) for name, values in targets.items()} == {
            name: (spec.dtype.as_numpy_dtype, len(spec.shape)) for name, spec in task.target_specs.items()}


def test_words_of_unknown_types_have_no_weight(made):
    task, store = made
    other = TokenClassificationTask(TokenClassification(), TAGS)  # it knows no Y
    targets, weights = other.targets(store, weighted=True)(np.arange(len(store.lengths)), 16)
    unknown = sum(store.names_of("tags", row).count("B-Y") for row in range(len(store)))
    assert unknown and weights.sum() < sum(len(store.names_of("tags", row)) for row in range(len(store)))
    assert weights.tolist() == (targets["tags"] >= 0).sum(axis=1).tolist()


def test_sentence_labels(tiny_tokenizer, tmp_path):
    rows = [{"words": ["good"] * n, "tags": ["B-X"] * n, "label": label} for n, label in ((2, "tell"), (30, "ask"))]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task, splits = prepared(experiment(f"{tmp_path}/a.jsonl", label_column="label"), tiny_tokenizer, tmp_path / "cache")
    store = splits["train"].store
    targets, weights = task.targets(store, weighted=True)(np.arange(len(store.lengths)), 16)
    assert targets["label"].tolist() == [1, 0, 0, 0] and weights.tolist() == [1] * 4  # each window has its row's
    assert task.units(store, np.arange(4)).sum() == 32 + 4  # a unit for each word, and one for each window's label


# ---- losses

def batch(tags, first=1, last=1, places=None, label=0):
    tags = np.array(tags, np.int32)
    places = np.arange(tags.size, dtype=np.int32) if places is None else np.array(places, np.int32)
    return {"places": tf.constant(places[None]), "tags": tf.constant(tags[None]), "first": tf.constant([first]),
            "last": tf.constant([last]), "label": tf.constant([label])}


def logits(*rows):
    return tf.constant([rows], tf.float32)


def transitions(value=0.0, tags=TAGS):
    forbidden = np.array(tags.forbidden())
    return np.where(forbidden, crf.FORBIDDEN, value).astype(np.float32)[None]


def loss_of(targets, outputs, tags=TAGS, **settings):
    return TokenClassificationTask(TokenClassification(**settings), tags).loss(targets, outputs).numpy()[0]


def test_softmax_by_hand():
    outputs = {"logits": logits([9, 9, 9], [0, 2, 0], [9, 9, 9], [0, 0, 0], [9, 9, 9])}
    right = np.log(np.exp(2) + 2) - 2  # of the piece at 1, tag 1; the one at 3 has log 3
    assert loss_of(batch([1, 2, -1, -1, -1], places=[1, 3, 0, 0, 0]), outputs) == pytest.approx((right + np.log(3)) / 2)
    assert loss_of(batch([-1] * 5), outputs) == 0


def test_label_smoothing_by_hand():
    log_p = tf.nn.log_softmax([0.0, 2.0, 1.0]).numpy()
    expected = -(0.9 * log_p[1] + 0.1 * log_p.mean())
    outputs = {"logits": logits([0, 2, 1], [5, 5, 5])}
    assert loss_of(batch([1, -1]), outputs, label_smoothing=0.1) == pytest.approx(expected, rel=1e-6)


def test_crf_of_a_whole_row_is_its_log_likelihood():
    draw = np.random.default_rng(0)
    for length in (1, 2, 5):
        values = draw.normal(size=(1, 6, 3)).astype(np.float32)
        table_ = transitions() + draw.normal(size=(1, 5, 3)).astype(np.float32)
        tags = [1, 2, 2, 0, 1][:length] + [-1] * (6 - length)
        expected = -crf.log_likelihood(values, np.maximum([tags], 0), [length], table_).numpy()[0] / length
        given = loss_of(batch(tags), {"logits": tf.constant(values), "transitions": tf.constant(table_)}, head="crf")
        assert given == pytest.approx(expected, rel=1e-5)


def test_a_window_within_a_text_neither_begins_nor_ends_it():
    """IOB2 lets no text begin with I-X: where a window begins within an entity, nothing is wrong with that."""
    outputs = {"logits": logits([0, 0, 5], [0, 0, 5]), "transitions": tf.constant(transitions())}
    within = loss_of(batch([2, 2], first=0, last=0), outputs, head="crf")
    assert 0 < within < 0.05
    assert loss_of(batch([2, 2], first=1, last=0), outputs, head="crf") > 1000
    ends = dataclasses.replace(table("IOBES", "X"))
    outputs = {"logits": logits([0, 5, 0, 0, 0]), "transitions": tf.constant(transitions(tags=ends))}
    assert loss_of(batch([1], first=1, last=0), outputs, ends, head="crf") < 0.05
    assert loss_of(batch([1], first=1, last=1), outputs, ends, head="crf") > 1000


def test_only_a_rows_first_and_last_window_learn_start_and_end():
    table_ = tf.Variable(transitions()[0])
    outputs = {"logits": logits([0, 1, 0], [0, 0, 2])}
    for first, last in ((1, 0), (0, 1), (0, 0), (1, 1)):
        task = TokenClassificationTask(TokenClassification(head="crf"), TAGS)
        with tf.GradientTape() as tape:
            loss = task.loss(batch([1, 2], first=first, last=last), {**outputs, "transitions": table_[None]})
        gradient = tape.gradient(loss, table_).numpy()
        assert gradient[:3].any() and gradient[3].any() == bool(first) and gradient[4].any() == bool(last)


def test_unknown_words_are_left_out_of_the_chain():
    draw = np.random.default_rng(1)
    values, table_ = draw.normal(size=(1, 5, 3)).astype(np.float32), tf.constant(transitions() + np.float32(0.3))
    with_gap = loss_of(batch([1, -1, 2, -1, 0]), {"logits": tf.constant(values), "transitions": table_}, head="crf")
    without = loss_of(batch([1, 2, 0]), {"logits": tf.constant(values[:, [0, 2, 4]]), "transitions": table_}, head="crf")
    assert with_gap == pytest.approx(without, rel=1e-6)


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_sentence_labels_have_their_weight(head):
    outputs = {"logits": logits([0, 1, 0]), "transitions": tf.constant(transitions()), "label": tf.constant([[0.0, 1.0]])}
    alone = loss_of(batch([1]), outputs, head=head)
    of_label = np.log(1 + np.e)
    assert loss_of(batch([1]), outputs, INTENTS, head=head, label_weight=0.5) == pytest.approx(alone + 0.5 * of_label)
    assert loss_of(batch([1], label=-1), outputs, INTENTS, head=head) == pytest.approx(alone)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_halves_give_finite_losses_and_gradients(made, tiny_preset, head, precision):
    task = TokenClassificationTask(TokenClassification(head=head), dataclasses.replace(made[0].tags))
    store = made[1]
    model = task.build_model(load_backbone(tiny_preset, precision=precision, dropout=0.0), Model(), seed=0)
    targets, weights = task.targets(store, weighted=True)(np.arange(8), 16)
    tokens = np.zeros((8, 16), np.int32)
    for i in range(8):
        tokens[i, :store.lengths[i]] = store.values("tokens", i)
    inputs = {"token_ids": tokens, "segment_ids": np.zeros_like(tokens), "padding_mask": (tokens > 0).astype(np.int32)}
    losses = {}
    for name, scale in (("as made", 1.0), ("large", 1e4)):
        model.get_layer("head").kernel.assign(scale * model.get_layer("head").kernel)
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            losses[name] = task.loss(targets, outputs)
        assert all(output.dtype == tf.float32 for output in outputs.values())
        gradients = tape.gradient(losses[name], model.trainable_variables)
        assert np.isfinite(losses[name]).all()
        assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in map(tf.convert_to_tensor, gradients))
    assert losses["as made"].numpy().max() < 3 < losses["large"].numpy().max()
