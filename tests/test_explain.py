"""tfft explain: attributions sum to what they should, words are where they are said to be, and a cue that decides is found."""

import dataclasses
import json
import types

import families
import keras
import numpy as np
import pytest
import tensorflow as tf
from test_flags import folder, told  # noqa: F401
from tiny_run import make_run

from tfft.config import Adaptation, Model
from tfft.data.tokenize import TextEncoder, TextTokenizer, features
from tfft.data.word_places import Word, WordPlaces, _together
from tfft.errors import UserError
from tfft.evaluation.predictor import decoded
from tfft.explaining import gradients
from tfft.explaining.explainer import Explainer
from tfft.explaining.gradients import Slopes
from tfft.explaining.html import page, texts
from tfft.explaining.occlusion import taken_together
from tfft.explaining.terminal import told as shown
from tfft.models.adaptation import choose_trained
from tfft.serving import explain as command
from tfft.serving.prediction import Predictor
from tfft.tasks import base
from tfft.tasks.base import Wanted
from tfft.tasks.table import TASKS
from tfft.tasks.text_classification.explained import _single
from tfft.tasks.text_classification.pattern import PatternTokenizer

EXPLAINERS: dict[tuple, Explainer] = {}
CUES = ("good", "bad")
NASTY = ["Good, BAD film!", "e\u0301cole good\u0300 film", "film \U0001F468\u200d\U0001F469\u200d\U0001F467 good?!",
         "\u6771\u4eac good\u306e film", "  a\tfilms...  ", "", "   ", "\x00good\x00 bad", "U.K. don't (fine)",
         "\ud800 good", "good" * 40 + " film", "\u200b good \u200b"]


@pytest.fixture(scope="module")
def run(tiny_preset, tmp_path_factory):
    return make_run(tiny_preset, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def trained(tiny_preset, tmp_path_factory):
    """A run that has learnt that "good" is pos and "bad" neg, wherever they stand."""
    keras.utils.set_random_seed(5)  # of dropout and of the order of rows: else the tests before decide how well it learns
    made = make_run(tiny_preset, tmp_path_factory.mktemp("runs") / "trained")
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 2, 256)
    texts = []
    for label in labels:
        words = draw.choice(["a", "the", "film", "films", ",", "poor", "fine"], draw.integers(2, 8)).tolist()
        words.insert(draw.integers(0, len(words) + 1), CUES[1 - label])
        texts.append({"text": " ".join(words)})
    predictor = Predictor(made)
    inputs = features(predictor.encode(texts)[0], predictor.encoder.pad_id, tuple(made.model.input))
    made.model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                       jit_compile=False)
    made.model.fit(inputs, labels, batch_size=64, epochs=30, verbose=0)
    return made


@pytest.fixture(scope="module")
def steep(tiny_preset, tmp_path_factory):
    """A run whose output is anything but linear between two texts."""
    made = make_run(tiny_preset, tmp_path_factory.mktemp("runs") / "steep")
    draw = np.random.default_rng(2)
    for variable in made.backbone.trainable_variables:
        if len(variable.shape) > 1:
            variable.assign(draw.normal(0, 0.4, variable.shape))
    return made


def explained(run, text: str, method: str = "integrated_gradients", label: str = ""):
    key = (run.workdir.path, method, label)
    if key not in EXPLAINERS:  # each traces graphs of its own
        EXPLAINERS[key] = Explainer(run, method, label)
    return list(EXPLAINERS[key]({"text": text}))


# ---- which words tokens are part of

def test_words_that_no_token_is_between_are_one():
    groups, of_token = _together([5, 6, 79], [[5], [6], [7], [9]])
    assert groups == [(0, 0), (1, 1), (2, 3)] and of_token.tolist() == [0, 1, 2]
    groups, of_token = _together([5, 6, 8], [[5, 6], [1], [8]])  # the tokenizer drops a word: it has no token
    assert groups == [(0, 0), (1, 1), (2, 2)] and of_token.tolist() == [0, 0, 2]
    groups, of_token = _together([5, 3, 6], [[5], [6]])  # a token that no word has
    assert of_token.tolist() == [0, 1, 1] and groups == [(0, 0), (1, 1)]
    assert _together([4], [])[1].tolist() == [-1]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_offsets_are_of_the_original_text(family):
    """Every token of a text has a word, words do not overlap, and nothing but white space is in none."""
    encoder = TextEncoder(TextTokenizer(families.tokenizer(family), max_length=400, truncation="head", head_fraction=1.0,
                                        pairs=False), ("text",))
    places = WordPlaces(encoder)
    for text in NASTY:
        words, owner = places({"text": text})
        assert (owner[[0, -1]] == -1).all() and (np.diff(owner[1:-1]) >= 0).all()
        assert (owner[1:-1] >= 0).all() or not words
        rest, at = "", 0
        for word in words:
            assert at <= word.start < word.end and text[word.start:word.end].strip("\0 \t") == text[word.start:word.end]
            rest, at = rest + text[at:word.start], word.end
        assert not (rest + text[at:]).strip("\0 \t")


def test_words_of_an_uncased_model_are_as_they_were_written(run):
    def spelt(text):
        one, = explained(run, text, "occlusion")
        return [(one.text(word), word.start, bool(seen)) for word, seen in zip(one.words, one.seen, strict=True)]

    assert spelt("Good, BAD\u0301 films!") == [("Good", 0, True), (",", 4, True), ("BAD\u0301", 6, True), ("films", 11, True),
                                          ("!", 16, True)]
    assert spelt("\U0001F600\u6771\u4eac x") == [("\U0001F600", 0, True), ("\u6771", 1, True), ("\u4eac", 2, True),
                                                 ("x", 4, True)]
    assert [seen for *_, seen in spelt("film " * 20)] == [True] * 14 + [False] * 6


def test_a_pair_that_is_cut_keeps_its_words():
    encoder = TextEncoder(TextTokenizer(families.tokenizer("bert"), max_length=10, truncation="head_tail", head_fraction=0.5,
                                        pairs=True), ("text", "text_pair"))
    words, owner = WordPlaces(encoder)({"text": "the film was good a bad film", "text_pair": "films , fine"})
    assert [word.field for word in words] == ["text"] * 7 + ["text_pair"] * 3 and words[7] == ("text_pair", 0, 5)
    assert owner.tolist() == [-1, 0, 1, 5, 6, -1, 7, 7, 9, -1]


def test_a_pattern_is_of_no_word(tiny_tokenizer):
    encoder = TextEncoder(PatternTokenizer(tiny_tokenizer, "the {mask} film, {text}", max_length=9, truncation="head",
                                           head_fraction=1.0, pairs=False), ("text",))
    words, owner = WordPlaces(encoder)({"text": "good, films a"})
    assert len(words) == 4 and owner.tolist() == [-1, -1, -1, -1, -1, 0, 1, 2, -1]  # ##s and a are cut off


# ---- attributions

def test_a_pair_is_explained_in_both_its_texts(tiny_preset, tmp_path):
    run = make_run(tiny_preset, tmp_path / "run", text_pair_column="other")
    row = {"text": "good film", "text_pair": "Bad, bad"}
    for method in ("integrated_gradients", "occlusion"):
        one, = Explainer(run, method)(row)
        assert [one.text(word) for word in one.words] == ["good", "film", "Bad", ",", "bad"] and one.attribution.all()
        assert "text_pair: Bad" in shown(one, False) and one.to_json()["words"][2]["field"] == "text_pair"
    values = Predictor(run)([row, {**row, "text_pair": ", bad"}])["scores"].astype(float)
    odds = np.log(values.max(axis=1) / values.min(axis=1))
    assert one.attribution[2] == pytest.approx(odds[0] - odds[1], abs=1e-4)


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "regression"])
def test_integrated_gradients_sum_to_the_difference(tiny_preset, tmp_path, kind):
    """The ends are the model's own answers to the text, and to a text of as many mask tokens."""
    run = make_run(tiny_preset, tmp_path / "run", kind)
    label = "" if kind == "regression" else run.task.labels.names[1]
    one, = explained(run, "Good films, a bad film", label=label)
    assert one.missing < 0.01 and abs(one.value - one.rest) > 0.01 and one.what == ("value" if not label else "log odds")

    predictor = Predictor(run, plainly=True)
    inputs = features(predictor.encode([one.row])[0], 0, tuple(run.model.input))
    hidden = {**inputs, "token_ids": tf.constant([[2, *[4] * (inputs["token_ids"].shape[1] - 2), 3]])}
    for given, value in ((inputs, one.value), (hidden, one.rest)):
        logits = run.model(given).numpy()[0].astype(float)
        expected = {"single_label": logits[-1] - logits[0], "multi_label": logits[-1], "regression": logits[0] * 0.5 + 2}[kind]
        assert value == pytest.approx(expected, abs=1e-4)
    by_leaving_out, = explained(run, "Good films, a bad film", "occlusion", label)
    assert by_leaving_out.value == pytest.approx(one.value, abs=1e-4)


@pytest.mark.parametrize("family", ["albert", "deberta_v3", "roberta"])
def test_every_family_is_split_at_its_embeddings(family, run):
    """The ends are the model's own; ALBERT's layers are one, DeBERTa's see their distances too, RoBERTa has adapters here."""
    backbone = families.backbone(family)
    if family == "roberta":
        backbone = choose_trained(backbone, Model(), Adaptation(method="lora", rank=2), seed=0)
    model = run.task.build_model(backbone, Model(), seed=0)
    model.get_layer("head").kernel.assign(np.random.default_rng(0).normal(0, 2, (families.WIDTH, 2)))
    slopes = Slopes(dataclasses.replace(run, backbone=backbone, model=model, tokenizer=families.tokenizer(family)),
                    lambda logits, at: tf.gather(logits, at[:, 0], batch_dims=1))
    inputs = families.inputs(model, [[2, 7, 9, 11, 3, 0]], [5])
    of_word = np.array([[0, 1, 1, 1, 0, 0]], bool)
    made = slopes.integrated(inputs, of_word, np.array([1]))
    assert made.value == pytest.approx(float(model(inputs)[0, 1]), abs=1e-5)
    blank = {**inputs, "token_ids": tf.constant([[2, *[slopes._blank] * 3, 3, 0]])}
    assert made.rest == pytest.approx(float(model(blank)[0, 1]), abs=1e-5)
    assert made.attribution.sum() == pytest.approx(made.value - made.rest, rel=0.01, abs=1e-4)
    assert not made.attribution[~of_word].any() and abs(made.attribution).max() > 1e-3


def test_steps_are_doubled_until_the_sum_is_right(steep, monkeypatch):
    exact, = explained(steep, "good films, a bad film")
    monkeypatch.setattr(gradients, "FIRST_STEPS", 1)
    made, = explained(steep, "good films, a bad film")
    assert 1 < made.steps < 512 and made.missing < 0.01 and exact.missing < 0.01
    np.testing.assert_allclose(made.attribution, exact.attribution, atol=0.02 * abs(exact.attribution).max())
    monkeypatch.setattr(gradients, "MOST_STEPS", 1)
    rough, = explained(steep, "good films, a bad film")
    assert rough.steps == 1 and rough.missing > 0.01 and "still miss" in shown(rough, False)
    assert rough.to_json()["complete"] is False


def test_occlusion_is_what_is_lost_without_each_word(run):
    one, = explained(run, "Good, bad film", "occlusion", label="pos")
    predictor = Predictor(run, plainly=True)

    def odds(text):
        p = predictor([{"text": text}])["scores"][0].astype(float)
        return np.log(p[1] / p[0])

    by_hand = [odds("Good, bad film") - odds(text) for text in (", bad film", "Good bad film", "Good,  film", "Good, bad ")]
    np.testing.assert_allclose(one.attribution, by_hand, atol=1e-4)
    assert one.attribution.any()


def test_gradient_times_input_is_a_directional_derivative(steep):
    """Of a token it is d/dt of the output where what the encoder gets for it is t times that, at t = 1."""
    explained(steep, "good film", "gradient_x_input")
    explainer = EXPLAINERS[steep.workdir.path, "gradient_x_input", ""]
    slopes, predictor = explainer._slopes, explainer.predictor
    inputs = features(predictor.encode([{"text": "good film"}])[0], 0, tuple(steep.model.input), multiple=8)
    at = np.array([1, -1], np.int32)
    of_token = slopes.times_input(inputs, at)[0][0]
    x, token = slopes._begin(inputs), tf.one_hot(1, inputs["token_ids"].shape[1])[:, tf.newaxis]
    up, down = (slopes._slope(inputs, (x * (1 + step * token))[tf.newaxis], at)[0].numpy()[0] for step in (1e-2, -1e-2))
    assert of_token[1] == pytest.approx((up - down) / 2e-2, rel=0.02) and abs(of_token[1]) > 0.01


def test_a_label_is_held_against_one_other():
    """Of three labels; what is computed in the graph is what a served answer says."""
    logits = np.array([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]])
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for at, expected in (([0, 2], logits[:, 0] - logits[:, 2]), ([1, -1], np.log(scores[:, 1] / (1 - scores[:, 1])))):
        of_both = tf.constant([at, at], tf.int32)
        np.testing.assert_allclose(base.odds_at(tf.constant(logits, tf.float32), of_both), expected, rtol=1e-5)
        np.testing.assert_allclose(_single({"scores": scores}, np.array(at)), expected, rtol=1e-6)


def test_a_label_that_is_answered_is_not_held_against_itself(run, tiny_preset, tmp_path):
    over = Explainer(run, "occlusion", against="pos")
    texts = [{"text": "good film"}, {"text": "bad"}, {"text": "films"}, {"text": "fine a"}, {"text": "poor ,"}]
    answers = [run.task.answers({name: decoded(value) for name, value in over.predictor([row]).items()})[0][0] for row in texts]
    assert len({answer["predicted_label"] for answer in answers}) == 2
    for row, answer in zip(texts, answers, strict=True):
        found = list(over(row))
        assert len(found) == (answer["predicted_label"] == "neg") == (not over.nothing)
        assert all(one.name == "neg" and one.what == "log odds over pos" for one in found)
    several = make_run(tiny_preset, tmp_path / "several", "multi_label")
    with pytest.raises(UserError, match="--against=x: several labels may hold"):
        Explainer(several, "occlusion", against="x")


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])  # slopes at the text alone are too rough for that
def test_a_cue_that_decides_has_the_largest_attribution(trained, method):
    texts = ["the film, a poor film is Good, the end", "BAD films , a fine film", "a fine , fine film the bad",
             "the films good a poor the"]
    found = 0
    for text in texts:
        one, = explained(trained, text, method)
        assert one.answer["predicted_label"] == ("pos" if "good" in text.lower() else "neg")
        best = one.words[int(np.argmax(one.attribution))]
        found += text[best.start:best.end].lower() in CUES
    assert found == 4  # of seven words a text


def test_neighbouring_words_are_taken_together():
    words = [Word("text", i, i + 1) for i in range(5)] + [Word("pair", 0, 1), Word("pair", 1, 2)]
    made, group = taken_together(words, np.array([[-1, 0, 1, 1, 2, 4], [-1, 5, 6, -1, -1, -1]]), 3)
    assert made == [("text", 0, 2), ("text", 2, 3), ("text", 3, 4), ("text", 4, 5), ("pair", 0, 2)]  # the fourth is cut off
    assert group.tolist() == [0, 0, 1, 2, 3, 4, 4, -1]
    assert taken_together(words, np.arange(7), 9)[0] == words
    assert taken_together([], np.array([-1, -1]), 3)[1].tolist() == [-1]


def test_a_long_text_costs_no_more_than_it_may(trained, monkeypatch):
    asked, predict = [], Predictor.__call__
    monkeypatch.setattr(Predictor, "__call__", lambda self, rows: asked.append(len(rows)) or predict(self, rows))
    text = "the film a film good film the film a poor"
    one, = Explainer(trained, "occlusion", tokens=1)({"text": text})  # 12 tokens
    assert max(asked) == 6 and [one.text(word) for word in one.words][2] == "good film"  # by twos: 8 parts at most
    assert int(np.argmax(one.attribution)) == 2 and one.answer["predicted_label"] == "pos"


# ---- what is written

def test_pages_escape_what_texts_say(run):
    one, = explained(run, '<script>"x"</script> good & bad')
    made = page([one], "Why <b> answers so")
    assert "<script" not in made and "&lt;script" not in made.replace("&lt;</mark>", "") and "Why &lt;b&gt;" in made
    assert made.count("<mark") == 2 + len(one.words) and "http" not in made.replace("http-equiv", "")
    short, = texts(one, 10)
    assert short.count("<mark") == len([word for word in one.words if word.start < 10]) and short.endswith(" \u2026</p>")
    plain, coloured = shown(one, False), shown(one, True)
    assert "\x1b[" in coloured and "\x1b" not in plain and "by integrated gradients" in plain and "[" in plain
    assert "\x1b" not in shown(dataclasses.replace(one, row={"text": one.row["text"].replace("a", "\x1b")}), False)


def test_the_command_writes_json_of_a_file(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "open_run", lambda *_: run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("text,label\ngood film,pos\n,neg\n\u6771 bad,neg\nfine,pos\n", "utf-8")
    command.explain("run", "", [], "csv:in.csv", 2, method="occlusion", label="neg", output="why.json")
    out = capsys.readouterr().out
    made = json.loads((tmp_path / "why.json").read_text("utf-8"))
    assert [one["place"] for one in made] == ["in.csv:2", "in.csv:4"] and "in.csv:4" in out and "why neg: log odds" in out
    assert made[1]["words"][1]["word"] == "bad" == made[1]["text"][2:5] and made[1]["explained"] == "neg"
    command.explain("run", "", [{"text": "\udcff bad"}], "", 0, method="occlusion", label="neg", output="odd.json")
    assert json.loads((tmp_path / "odd.json").read_text("utf-8"))[0]["text"] == "\udcff bad"  # a byte that is no UTF-8
    with pytest.raises(UserError, match="none.csv"):
        command.explain("run", "", [], "csv:none.csv", 2, method="occlusion", label="", output="")


def test_what_cannot_be_explained_is_told(run):
    with pytest.raises(UserError, match="--label=po: Unknown label 'po'. Did you mean 'pos'"):
        Explainer(run, "occlusion", "po")
    task = type("Other", (type(run.task),), {"explained": base.Task.explained})(run.task.settings,
                                                                                                        run.task.labels)
    with pytest.raises(UserError, match="This run's task is text_classification: its answer is none of these"):
        Explainer(dataclasses.replace(run, task=task), "occlusion")
    for name, why in (("causal_lm", "it writes a text token by token"), ("seq2seq", "it writes a text token by token"),
                      ("embedding", "a vector, which is many numbers"), ("masked_lm", "it guesses hidden tokens")):
        other = TASKS[name].__new__(TASKS[name])
        other.settings = types.SimpleNamespace(name=name)
        with pytest.raises(UserError, match=f"This run's task is {name}: .*{why}"):
            other.explained(None, Wanted())
    for settings, why in (({"word": "film"}, "--word=film: this run answers a text as a whole"),
                          ({"at": (0, 4)}, "--at=0:4: this run")):
        with pytest.raises(UserError, match=why):
            Explainer(run, "occlusion", **settings)
    prompted = dataclasses.replace(run.experiment, adaptation=Adaptation(method="prompt"))
    with pytest.raises(UserError, match="Use --method=occlusion"):
        Explainer(dataclasses.replace(run, experiment=prompted), "gradient_x_input")


@pytest.mark.parametrize("arguments, message", [
    ([], "Name the run: --workdir=runs/imdb"),
    (["--workdir=a"], "Give either --text='...' (or --question='...' --context='...') or --data=csv:test.csv."),
    (["--workdir=a", "--text=x", "--output=a.pdf"], "--output=a.pdf: name a .html or a .json file."),
    (["--workdir=a", "--text=x", "--at=5"], "--at=5: it is START:END, characters of the text from 0"),
    (["--workdir=a", "--data=csv:a.csv", "--word=x"], "--word is of one text: it goes with --text"),
    (["--workdir=a", "--text=x"], "a"), (["--workdir=a", "--method=lime", "--text=x"], "integrated_gradients")])
def test_mistakes_on_the_command_line(folder, arguments, message):  # noqa: F811
    assert message in told(folder, "-m", "tfft", "explain", *arguments)
