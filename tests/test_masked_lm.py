"""Masked words in parts: what is hidden, what examples are, head and loss, answers."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import WORDS, tiny_tokenizer_object

from tfft.config import MaskedLM, Model
from tfft.models.backbone import load_backbone
from tfft.models.masked_lm import head_weights, load_head, logits_at
from tfft.tasks.masked_lm import serving
from tfft.tasks.masked_lm.encoder import DocumentEncoder
from tfft.tasks.masked_lm.learnt import Vocabulary, vocabulary_of
from tfft.tasks.masked_lm.masking import budget, draw
from tfft.tasks.masked_lm.task import MaskedLMTask

GOOD, BAD, SS, MASK = (WORDS.index(word) for word in ("good", "bad", "##s", "[MASK]"))
VOCABULARY = vocabulary_of(tiny_tokenizer_object())
CLS, SEP = WORDS.index("[CLS]"), WORDS.index("[SEP]")


def text(*ids: int) -> np.ndarray:
    return np.array([CLS, *ids, SEP])


def drawn(rows, examples=None, length=64, seed=0, epoch=0, **settings):
    examples = np.arange(len(rows)) if examples is None else np.array(examples)
    return draw(rows, examples, length, MaskedLM(**settings), VOCABULARY, seed=seed, epoch=epoch)


def many(count=300, words=20, seed=0):
    """Texts of words of one or two pieces."""
    random = np.random.default_rng(seed)
    return [text(*(piece for _ in range(words) for piece in ([GOOD, SS] if random.random() < 0.5 else [BAD])))
            for _ in range(count)]


@pytest.mark.parametrize("hide", ["tokens", "words", "spans"])
def test_shares_of_what_is_hidden_and_shown(hide):
    rows = many(1000)
    made = drawn(rows, hide=hide)
    budgets = budget(np.array([len(row) - 2 for row in rows]), 0.15)
    assert (made.counts <= budgets).all() and (made.counts >= 1).all()
    assert made.counts.sum() > 0.93 * budgets.sum()
    shown = np.array([made.shown[i, p] for i, row in enumerate(made.places) for p in row[row >= 0]])
    assert np.mean(shown == MASK) == pytest.approx(0.8, abs=0.02)
    assert np.mean(shown == -1) == pytest.approx(0.1, abs=0.02)
    assert set(shown) - {-1, MASK} == set(range(5, len(WORDS)))  # no special token stands for another
    for row, places, ids in zip(rows, made.places, made.ids, strict=True):
        there = places[places >= 0]
        assert (np.diff(there) > 0).all() and (row[there] == ids[places >= 0]).all()
        assert not {0, len(row) - 1} & set(there.tolist())
    outside = np.ones_like(made.shown, bool)
    for i, places in enumerate(made.places):
        outside[i, places[places >= 0]] = False
    assert (made.shown[outside] == -1).all()


def test_whole_words_stay_together_and_spans_are_longer():
    rows = many()
    lengths = {}
    for hide in ("tokens", "words", "spans"):
        made, split, runs = drawn(rows, hide=hide), 0, []
        for row, places in zip(rows, made.places, strict=True):
            hidden = np.zeros(len(row) + 1, bool)
            hidden[places[places >= 0]] = True
            inner = np.flatnonzero(row == SS)
            split += (hidden[inner] != hidden[inner - 1]).sum()
            runs += np.diff(np.flatnonzero(np.diff(hidden.astype(int)))).tolist()[::2]
        assert (split > 100) == (hide == "tokens")
        lengths[hide] = np.mean(runs)
    assert lengths["tokens"] < lengths["words"] < lengths["spans"]


def test_a_draw_depends_on_seed_epoch_and_example_alone():
    rows = many(20)
    whole = drawn(rows, seed=3, epoch=2)
    some = drawn([rows[7], rows[2]], [7, 2], seed=3, epoch=2)
    for name in ("places", "ids", "shown"):
        assert (getattr(some, name) == getattr(whole, name)[[7, 2]]).all()
    for other in ({"seed": 3, "epoch": 3}, {"seed": 4, "epoch": 2}):
        assert (drawn(rows, **other).places != whole.places).any()
    assert (drawn(rows, np.arange(20) + 1, seed=3, epoch=2).places != whole.places).any()


def test_every_place_is_hidden_in_some_epoch():
    row, seen = text(*[GOOD, BAD] * 10), set()
    for epoch in range(60):
        seen |= set(drawn([row], epoch=epoch).places[0].tolist())
    assert seen == {-1, *range(1, 21)}


def test_short_texts_and_texts_of_nothing_usual():
    made = drawn([text(), text(WORDS.index("[UNK]")), text(GOOD), text(GOOD, SS, SS, SS)], length=8)
    assert made.counts.tolist() == [0, 0, 1, 1]
    assert made.places[3, 0] == 1  # one token may be hidden, of a word of four its first
    assert drawn([text(*[GOOD, *[SS] * 30])], share=0.5, length=40).counts.tolist() == [16]  # a word beyond all measure


# ---- texts -> examples

def encoder(max_length=8) -> DocumentEncoder:
    return DocumentEncoder(tiny_tokenizer_object(), max_length=max_length, mask=MASK)


def test_texts_are_cut_into_full_rows_and_nothing_is_lost():
    examples, rows = tf.function(encoder())(tf.constant(["good bad films " * 5, "fine", "bad " * 6]))
    ids = examples["tokens"].to_list()
    assert [len(one) for one in ids] == [8, 8, 8, 4, 3, 8] and examples["row"].numpy().tolist() == [0, 0, 0, 0, 1, 2]
    assert all(one[0] == CLS and one[-1] == SEP for one in ids)
    film = WORDS.index("film")
    assert [i for one in ids[:4] for i in one[1:-1]] == [GOOD, BAD, film, SS] * 5
    assert rows["full_length"].numpy().tolist() == [22, 3, 8] and rows["unknown"].numpy()[0].tolist()[:2] == [0, 20]


@pytest.mark.parametrize("asked, expected", [
    ("a [MASK] film", [["a", "[MASK]", "film"]]), ("[MASK]", [["[MASK]"]]),
    ("[MASK][MASK]films", [["[MASK]"] * 2 + ["film", "##s"]]),
    ("", [[]]), ("good [mask]", [["good", "[UNK]", "[UNK]", "[UNK]"]]),
    ("bad " * 14 + "[MASK]", [["bad"] * 6, ["bad"] * 2 + ["[MASK]"]])])
def test_masks_in_what_is_asked(asked, expected):
    made = tf.function(encoder().asked)(tf.constant(["", asked, ""]))[0]
    rows = made["row"].numpy()
    ids = [[WORDS[i] for i in one[1:-1]] for one, row in zip(made["tokens"].to_list(), rows, strict=True) if row == 1]
    assert ids == expected and rows[0] == 0 and rows[-1] == 2


# ---- model, loss, answers

@pytest.fixture(scope="module")
def tiny(tiny_preset):
    task = MaskedLMTask(MaskedLM(n_best=3, share=0.3), VOCABULARY)
    return task, task.build_model(load_backbone(tiny_preset, precision="float32", dropout=0.0), Model(), seed=0)


def test_loss_is_of_hidden_places_and_tied_to_the_embeddings(tiny):
    task, model = tiny
    row = text(*[GOOD, BAD, SS] * 4)
    hidden = draw([row, row], np.array([0, 1]), 16, task.settings, VOCABULARY, seed=1, epoch=0)
    ids = np.zeros((2, 16), np.int32)
    ids[:, :14] = row
    shown = np.where(hidden.shown >= 0, hidden.shown, ids)
    inputs = {"token_ids": shown, "padding_mask": (np.arange(16) < 14).astype(np.int32) * np.ones((2, 1), np.int32),
              "segment_ids": np.zeros_like(ids)}
    targets = {"places": tf.constant(hidden.places), "ids": tf.constant(hidden.ids)}
    outputs = model(inputs)
    everywhere = tf.nn.log_softmax(logits_at(outputs, tf.constant(np.tile(np.arange(16, dtype=np.int32), (2, 1))))).numpy()
    for i in range(2):
        places = hidden.places[i][hidden.places[i] >= 0]
        expected = -np.mean([everywhere[i, p, row[p]] for p in places])
        assert float(task.loss(targets, outputs)[i]) == pytest.approx(expected, rel=1e-5)
    table = next(v for v in model.trainable_variables if "token_embedding" in v.path)
    np.testing.assert_array_equal(outputs["table"], table.numpy())
    units = task.emit(outputs, targets).numpy()
    assert units.shape == (2, int(budget(16, 0.3)), 6)
    assert (units[..., 0] >= 0).sum() == hidden.counts.sum()
    with tf.GradientTape() as tape:  # both as inputs and as outputs
        loss = tf.reduce_sum(task.loss(targets, model(inputs)))
    slope = tf.convert_to_tensor(tape.gradient(loss, table.value)).numpy()
    assert (np.abs(slope).max(axis=1) > 0).all()


def test_head_of_a_checkpoint(tiny, tmp_path):
    from safetensors.numpy import save_file

    task, model = tiny
    random = np.random.default_rng(0)
    given = {name: random.normal(size=value.shape).astype("f4") for name, value in head_weights(model).items()}
    assert len(given) == 5 and not load_head(model, str(tmp_path))
    save_file({**given, "bert.pooler.dense.bias": np.zeros(8, "f4")}, tmp_path / "model.safetensors")
    assert "the checkpoint's" in task.adopt(model, str(tmp_path))
    for name, value in head_weights(model).items():
        np.testing.assert_array_equal(value, given[name])
    save_file({**given, "cls.predictions.bias": np.zeros(9, "f4")}, tmp_path / "model.safetensors")
    assert "is new" in task.adopt(model, str(tmp_path))


def test_vocabulary_is_saved_and_spelt(tmp_path):
    VOCABULARY.save(tmp_path)
    assert Vocabulary.load(tmp_path) == VOCABULARY
    assert VOCABULARY.spell([GOOD, SS, BAD]) == "goods bad"


def test_differences_of_answers():
    expected = {"tokens": np.array([[["a", "b"]], [["", ""]]]), "probabilities": np.array([[[0.6, 0.3]], [[0.0, 0.0]]], "f4")}
    same = {"tokens": [[["a", "b"]]], "probabilities": [[[0.6, 0.3]]]}
    assert serving.difference(expected, same, [0])[0] < 1e-6
    other = {"tokens": [[["a", "c"]]], "probabilities": [[[0.6, 0.301]]]}
    assert serving.difference(expected, other, [0])[0] == pytest.approx(0.001, abs=1e-5)
    assert serving.difference(expected, {"tokens": [[]], "probabilities": [[]]}, [1])[0] == 0
    assert serving.difference(expected, {"tokens": [[]], "probabilities": [[]]}, [0])[0] == np.inf
    answer, = serving.answers({name: value[:1] for name, value in expected.items()})
    assert [[guess["token"] for guess in mask] for mask in answer[0]["masks"]] == [["a", "b"]]
