"""From emissions to answers: decoding in groups, entities in the user's own text, the comparison of two answers, signatures."""

import functools
import json
import math
import re
import time

import numpy as np
import pytest
import tensorflow as tf
from test_token_rows import experiment
from test_token_tags import table

from tfft.config import to_json
from tfft.models import crf
from tfft.models.backbone import load_backbone, load_tokenizer
from tfft.run.workdir import Run, Workdir
from tfft.serving.prediction import Predictor
from tfft.serving.saved_model import ServedModel
from tfft.tasks.base import NASTY
from tfft.tasks.table import TASKS
from tfft.tasks.token_classification import decode as module
from tfft.tasks.token_classification import serving
from tfft.tasks.token_classification.decode import decode, entities
from tfft.tasks.token_classification.encoder import WordEncoder
from tfft.tasks.token_classification.tags import Tags

TAGS = table("IOB2", "PER", "LOC")
MANY = table("IOBES", "PER", "LOC", "ORG")


def make_run(preset: str, path, head="softmax", labels=(), **data) -> Run:
    """A run of which nothing is trained: words have all kinds of tags."""
    made = experiment("jsonl:a.jsonl", {"head": head}, model={"backbone": preset}, cache=str(path.parent / "cache"), **data)
    tags = Tags(TAGS.names, "IOB2", "IOB2", TAGS.types, (1, 1), labels, (1,) * len(labels))
    task = TASKS["token_classification"](made.task, tags)
    model = task.build_model(load_backbone(preset, precision="float32", dropout=-1), made.model, seed=0)
    draw = np.random.default_rng(0)
    for layer in ("head", *(["label"] if labels else [])):
        model.get_layer(layer).kernel.assign(draw.normal(0, 3, model.get_layer(layer).kernel.shape))
    if head == "crf":
        model.get_layer("transitions").table.assign(draw.normal(0, 1, (7, 5)))
    path.mkdir()
    (path / "config.json").write_text(to_json(made))
    (path / "environment.json").write_text(json.dumps({"stores": {}}))
    return Run(Workdir(path), made, task, model, load_tokenizer(preset), 7, None)


@pytest.fixture(scope="module")
def runs(tiny_preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    text = {"words_column": "", "text_column": "text"}
    return {"softmax": make_run(tiny_preset, folder / "softmax", **text),
            "crf": make_run(tiny_preset, folder / "crf", "crf", **text),
            "intents": make_run(tiny_preset, folder / "intents", "crf", ("ask", "tell"), label_column="label"),
            "words": make_run(tiny_preset, folder / "words")}


@pytest.fixture(scope="module")
def predictors(runs):
    return {name: Predictor(run, batch_size=3) for name, run in runs.items()}


# ---- decoding

def test_texts_are_decoded_as_if_each_were_alone(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 60)  # numbers: three texts of a word, or one of four
    draw = np.random.default_rng(0)
    lengths = np.array([3, 0, 1, 7, 1, 2, 0, 5, 1], np.int32)
    emissions = draw.normal(size=(lengths.sum(), 5)).astype(np.float32)
    forbidden = np.array(TAGS.forbidden())
    transitions = np.where(forbidden, crf.FORBIDDEN, draw.normal(size=(7, 5))).astype(np.float32)
    for chosen in (transitions, None):
        decoded = tf.function(functools.partial(decode, transitions=chosen))
        tags, probabilities = decoded(tf.constant(emissions), tf.constant(lengths))
        begin = 0
        for length in lengths:
            one = emissions[begin:begin + length]
            if chosen is None:
                expected, sure = one.argmax(axis=1), tf.nn.softmax(one).numpy().max(axis=1, initial=0) if length else []
            else:
                padded = np.concatenate([one, np.zeros((2, 5), np.float32)])[None]
                expected = crf.viterbi(padded, [length], transitions[None])[0].numpy()[0, :length]
                marginals = crf.marginals(padded, [length], transitions[None]).numpy()[0, :length]
                sure = marginals[np.arange(length), expected]
            assert tags[begin:begin + length].numpy().tolist() == list(expected)
            np.testing.assert_allclose(probabilities[begin:begin + length], sure, rtol=1e-4, atol=1e-6)
            begin += length
        assert tags.dtype == tf.int32 and len(tags) == lengths.sum()
        none = decoded(tf.zeros((0, 5)), tf.zeros(0, tf.int32))
        assert [part.shape[0] for part in none] == [0, 0]


def words_of(texts: list[str]) -> dict:
    """Encoded rows of texts, words at blanks."""
    places = [[match.span() for match in re.finditer("[^ ]+", text)] for text in texts]
    starts, ends = ([[place[i] for place in row] for row in places] for i in (0, 1))
    lengths = [len(row) for row in places]
    flat = [tf.RaggedTensor.from_row_lengths(tf.constant([v for row in rows for v in row], tf.int32), lengths)
            for rows in (starts, ends)]
    return {"word_start": flat[0], "word_end": flat[1], "text": tf.constant(texts)}


@pytest.mark.parametrize("tags", [TAGS, MANY, table("none", "NN", "VB")], ids=["IOB2", "IOBES", "none"])
def test_entities_are_those_of_the_tags(tags):
    draw = np.random.default_rng(1)
    for _ in range(20):
        texts = [" ".join(draw.choice(["Zoë", "in", "\U0001f600", "東京", "a"], draw.integers(0, 6))) for _ in range(4)]
        rows = words_of(texts)
        lengths = rows["word_start"].row_lengths().numpy()
        ids = draw.integers(0, len(tags.names), lengths.sum()).astype(np.int32)
        sure = draw.random(lengths.sum()).astype(np.float32)
        made = {k: v.numpy() for k, v in entities(tf.constant(ids), tf.constant(sure), rows, tags).items()}
        begin, most = 0, 0
        for i, (text, length) in enumerate(zip(texts, lengths, strict=True)):
            starts, ends = (rows[f"word_{end}"][i].numpy() for end in ("start", "end"))
            spans = tags.spans(ids[begin:begin + length])
            assert made["count"][i] == len(spans)
            for j, (first, stop, kind) in enumerate(spans):
                start, end = starts[first], ends[stop - 1]
                assert (made["start"][i, j], made["end"][i, j]) == (start, end)
                assert made["type"][i, j].decode() == kind and made["entity"][i, j].decode() == text[start:end]
                assert made["score"][i, j] == pytest.approx(sure[begin + first:begin + stop].mean(), rel=1e-5)
            assert set(made["type"][i, len(spans):]) <= {b""} and (made["start"][i, len(spans):] == -1).all()
            begin, most = begin + length, max(most, len(spans))
        assert made["type"].shape == (4, most)


def test_a_text_of_many_entities_takes_no_minutes():
    text = " ".join(["中文"] * 30_000)
    rows, tags = words_of([text, "a"]), tf.tile([1, 2], [15_000])
    begin = time.process_time()
    made = entities(tf.concat([tags, [0]], axis=0), tf.ones(30_001), rows, TAGS)
    assert made["count"].numpy().tolist() == [15_000, 0] and made["entity"][0, -1].numpy().decode() == "中文 中文"
    assert time.process_time() - begin < 20


# ---- the comparison of two answers

def response(*texts):
    """Responses of texts, each a list of (start, end, type, score)."""
    most = max(map(len, texts))
    made = {"count": np.array([len(text) for text in texts])}
    for place, (name, empty) in enumerate((("start", -1), ("end", -1), ("type", b""), ("score", 0.0))):
        made[name] = [[*(one[place] for one in text), *[empty] * (most - len(text))] for text in texts]
    made["entity"] = [[*(b"e%d" % one[0] for one in text), *[b""] * (most - len(text))] for text in texts]
    return made


def apart(own, other, **changes):
    return serving.difference(response(own), {**response(other), **changes}, [0])[0]


SURE = (0, 5, b"PER", 0.99)


def test_the_same_answers_are_no_distance_apart():
    assert apart([SURE, (6, 9, b"LOC", 0.7)], [SURE, (6, 9, b"LOC", 0.7)]) == 0 == apart([], [])


@pytest.mark.parametrize("other", [[], [(0, 5, b"LOC", 0.99)], [(0, 4, b"PER", 0.99)], [SURE, (7, 9, b"PER", 0.99)]])
def test_another_entity_is_noticed(other):
    assert apart([SURE], other) > 0.4 and apart(other, [SURE]) > 0.4


def test_another_score_or_text_is_noticed():
    assert apart([SURE], [(*SURE[:3], 0.95)]) == pytest.approx(0.04)
    assert apart([SURE], [(*SURE[:3], math.nan)]) == math.inf
    assert apart([SURE], [SURE], entity=[[b"other"]]) == math.inf


def test_ties_alone_are_tolerated():
    assert apart([(0, 1, b"PER", 0.50001)], []) < 1e-4 and apart([(0, 1, b"PER", 0.6)], []) == pytest.approx(0.1)
    assert apart([(0, 1, b"PER", 0.4)], [(0, 1, b"LOC", 0.4)]) == 0  # a tie of three
    # the third word is a tie: all three have a mean of 0.83, the first two alone are sure
    assert apart([(0, 5, b"PER", 0.833)], [(0, 3, b"PER", 0.9999)]) < 0.01
    assert apart([(0, 5, b"PER", 0.833), (9, 12, b"PER", 0.999)], [(0, 3, b"PER", 0.9999)]) > 0.4


def test_another_label_is_noticed():
    def labelled(label, score):
        return {**response([]), "label": [label], "label_score": np.array([score])}
    assert serving.difference(labelled(b"ask", 0.9), labelled(b"ask", 0.9), [0])[0] == 0
    assert serving.difference(labelled(b"ask", 0.9), labelled(b"tell", 0.9), [0])[0] == pytest.approx(0.4)
    assert serving.difference(labelled(b"ask", 0.5), labelled(b"tell", 0.5), [0])[0] == 0


# ---- predictions, in process and in the graph of an export

TEXTS = ["Zo\u00eb  went\r\nto good\tfilms \U0001f600 , ok", "cafe\u0301 \u6771\u4eac good", "\u200bgood", "good bad " * 40, "",
         " ", "good"]


def assert_offsets_hold(made: dict, texts: list, at_least: int) -> None:
    total = 0
    for i, text in enumerate(texts):
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        for j in range(made["count"][i]):
            start, end = made["start"][i][j], made["end"][i][j]
            assert 0 <= start < end <= len(text) and made["entity"][i][j].decode() == text[start:end], (text[:40], start, end)
            assert 0 < made["score"][i][j] <= 1.00001 and made["type"][i][j] in (b"PER", b"LOC")
            total += 1
    assert total >= at_least


@pytest.mark.parametrize("name", ["softmax", "crf", "intents"])
def test_offsets_are_of_the_users_own_text(predictors, name):
    texts = [*TEXTS, b"bad \xff\xfe bytes \xc3 good", b"cut \xe4\xb8"]
    made = predictors[name]([{"text": text} for text in texts])
    assert_offsets_hold(made, texts, 20)
    assert made["count"][4] == made["count"][5] == 0  # no words, no entities
    if name == "intents":
        assert set(made["label"]) <= {b"ask", b"tell"} and (made["label_score"] >= 0.5).all()
    for (answer, more), text in zip(predictors[name].task.answers(made), texts, strict=True):
        assert more == {} and len(answer["entities"]) == made["count"][texts.index(text)]


@pytest.mark.parametrize("name", ["softmax", "crf", "intents"])
def test_a_text_is_answered_as_if_it_were_alone(predictors, name):
    together = predictors[name]([{"text": text} for text in TEXTS])
    for i, text in enumerate(TEXTS):
        alone = predictors[name]([{"text": text}])
        assert serving.difference(together, {k: v.tolist() for k, v in alone.items()}, [i])[0] < 1e-5


def test_rows_of_words_have_offsets_in_the_joined_text(predictors):
    words = [["good", "(film", "a.b", "\u6771\u4eac"], ["bad"] * 30, ["b", "good"]]
    made = predictors["words"]([{"text": row} for row in words])
    assert_offsets_hold(made, [" ".join(row) for row in words], 5)
    bounds = [{0, *np.cumsum([len(word) + 1 for word in row])} for row in words]
    assert all(made["start"][i][j] in bounds[i] for i in range(3) for j in range(made["count"][i]))  # words are not cut


@pytest.mark.parametrize("name", ["softmax", "intents"])
def test_signatures_answer_as_the_predictor(runs, predictors, name, tmp_path):
    served = ServedModel(runs[name])
    assert set(served.signatures) == {"serving_default", "words"}
    served.save(tmp_path / "1")
    loaded = tf.saved_model.load(str(tmp_path / "1")).signatures
    texts = [*(text for text in NASTY if len(text) < 1000), *TEXTS]  # the proof of an export has a long one
    expected = predictors[name]([{"text": text} for text in texts])
    assert_offsets_hold(expected, texts, 30)
    for size in (5, len(texts)):
        for begin in range(0, len(texts), size):
            chosen = list(range(begin, min(begin + size, len(texts))))
            got = loaded["serving_default"](text=tf.constant([texts[i] for i in chosen]))
            assert served_difference(expected, got, chosen).max() < 1e-4
    joined = ["good film", "bad", "good bad " * 39 + "a", "a b"]
    split = [text.split(" ") for text in joined]
    words = tf.ragged.constant(split).to_tensor("")
    one, other = loaded["words"](words=words), loaded["serving_default"](text=tf.constant(joined))
    assert one.keys() == other.keys() and int(tf.reduce_sum(one["count"])) > 3
    for key in one:
        if one[key].dtype == tf.float32:
            np.testing.assert_allclose(one[key], other[key], atol=1e-5)
        else:
            assert one[key].numpy().tolist() == other[key].numpy().tolist(), key
    assert {v.dtype for v in one.values()} <= {tf.string, tf.int32, tf.float32}  # REST has none else
    nothing = loaded["serving_default"](text=tf.zeros([0], tf.string))
    assert nothing["count"].shape == [0] and nothing["type"].shape[0] == 0


def served_difference(expected, got, rows):
    return serving.difference(expected, {k: v.numpy().tolist() for k, v in got.items()}, rows)


def test_words_that_are_no_utf8_have_offsets_in_what_is_read_of_them(tiny_tokenizer):
    encoder = WordEncoder(tiny_tokenizer, max_length=16, overlap=4, split="auto", given_words=True)
    words = tf.ragged.constant([[b"\x80\x80", b"a\xff", b"\xe4\xb8", b"\xc3\xa9"]])
    _, rows = encoder.asked(words)
    text = rows["text"].numpy()[0].decode()
    assert [text[a:b] for a, b in zip(rows["word_start"][0].numpy(), rows["word_end"][0].numpy(), strict=True)] == [
        "\ufffd\ufffd", "a\ufffd", "\ufffd", "\u00e9"]


def test_training_and_the_export_read_words_alike(tiny_tokenizer):
    encoder = WordEncoder(tiny_tokenizer, max_length=16, overlap=4, split="auto", given_words=True)
    rows = [{"text": ["good", "films,", "\u6771\u4eac", "(a", "b)"]}, {"text": ["bad"] * 30}]
    trained, own = encoder(*map(tf.constant, encoder.feed(rows)))
    served, other = encoder.asked(**encoder.strings(rows), counted=True)
    for one, two in ((trained, served), (own, {k: v for k, v in other.items() if k != "text"})):
        assert one.keys() == two.keys()
        for key in one:
            assert tf.ragged.stack([one[key]]).to_list() == tf.ragged.stack([two[key]]).to_list(), key


@pytest.mark.parametrize("name", ["softmax", "crf"])
def test_a_text_of_100_000_characters(predictors, name):
    begin = time.process_time()
    text = "good film bad a the poor " * 4_000
    made = predictors[name]([{"text": text}, {"text": "good"}])
    assert made["count"][0] > 100 and time.process_time() - begin < 60
    assert_offsets_hold(made, [text, "good"], 100)


def test_windows_find_what_one_window_finds(tiny_preset, tmp_path):
    """Where a word's emissions depend on that word alone, a long text has the same answer however it is cut."""
    made = {}
    for max_length in (16, 32):
        run = make_run(tiny_preset, tmp_path / str(max_length), "crf", words_column="", text_column="text",
                       max_length=max_length)
        blind = [v for v in run.model.variables if "position_embedding" in v.path or "attention_output" in v.path]
        assert len(blind) == 5  # a table, and the kernel and bias of two layers: words see themselves alone
        for variable in blind:
            variable.assign(tf.zeros_like(variable))
        made[max_length] = Predictor(run)([{"text": "good bad fine poor films a the , " * 3 + "bad good"}])
    assert made[16]["count"][0] == made[32]["count"][0] > 5
    assert serving.difference(made[32], {k: v.tolist() for k, v in made[16].items()}, [0])[0] < 1e-4
