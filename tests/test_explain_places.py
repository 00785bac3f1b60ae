"""tfft explain of entities, answers in a context and choices: numbers are the model's own, attributions sum to what they
should, planted cues are found, and what cannot be asked is told."""

import dataclasses
import functools
import itertools
import json
import re

import explained_runs as runs
import numpy as np
import pytest
import tensorflow as tf

from tfft.data.tokenize import features
from tfft.errors import UserError
from tfft.explaining import explainer
from tfft.explaining.explainer import Explainer
from tfft.explaining.html import page
from tfft.explaining.mistakes import explained
from tfft.explaining.terminal import told as shown
from tfft.models import crf
from tfft.run.judge import looked_at
from tfft.run.workdir import Workdir
from tfft.serving import explain as command
from tfft.serving.prediction import Predictor
from tfft.tasks.base import Wanted
from tfft.tasks.question_answering.task import THRESHOLD
from tfft.training.summaries import Console

PREDICTORS: dict = {}
METHODS = ("integrated_gradients", "gradient_x_input", "occlusion", "attention_rollout")
TAGGED = "the film , a Good fine"
ASKED = {"question": "the film", "context": "a fine , Good the"}
CHOSEN = {"question": "the film", "choices": ["a poor", "fine good , a", "the fine"]}


@pytest.fixture(scope="module")
def made(thin_preset, tmp_path_factory):
    """made(kind, *settings) -> a run, made once."""
    folder = tmp_path_factory.mktemp("runs")

    @functools.cache
    def make(kind, *settings):
        return getattr(runs, kind)(thin_preset, folder / "-".join([kind, *settings]), *settings)

    return make


@pytest.fixture(autouse=True)
def one_predictor_a_run(monkeypatch):
    """Each Explainer traces one otherwise, and a run's are all the same."""
    monkeypatch.setattr(explainer, "Predictor", lambda run, batch_size: predictor_of(run))


def predictor_of(run) -> Predictor:
    if run.workdir.path not in PREDICTORS:
        PREDICTORS[run.workdir.path] = Predictor(run)
    return PREDICTORS[run.workdir.path]


def words_of(one) -> list[str]:
    return [one.text(word) for word in one.words]


def logits_of(run, row: dict):
    predictor = predictor_of(run)
    examples, _ = predictor.encode([row])
    return examples, run.model(features(examples, predictor.encoder.pad_id, tuple(run.model.input)))


# ---- what is asked about

@pytest.mark.parametrize("wanted, found", [
    (Wanted(word="in it"), (1, 3)), (Wanted(word="is"), (0, 1)), (Wanted(at=(3, 4)), (1, 2)), (Wanted(at=(1, 8)), (0, 3)),
    (Wanted(), None)])
def test_a_place_is_found(wanted, found):
    assert wanted.words("is in it", np.array([0, 3, 6]), np.array([2, 5, 8])) == found


@pytest.mark.parametrize("wanted, message", [
    (Wanted(word="i"), "--word=i is no word of the text 'in it in'. Write it as it is there, or give its place"),
    (Wanted(word="in"), "--word=in is in the text 2 times. Give the place of one: --at=0:2 or --at=6:8"),
    (Wanted(at=(2, 3)), "--at=2:3: there is no word"), (Wanted(at=(7, 9)), "in a text of 8 characters")])
def test_a_place_that_is_not_there_is_told(wanted, message):
    with pytest.raises(UserError, match=message):
        wanted.words("in it in", np.array([0, 3, 6]), np.array([2, 5, 8]))


# ---- entities

def test_log_odds_are_those_of_all_paths(made):
    """Of a CRF, by counting all paths, within one window and of a text in two; of a softmax, of the type's tags."""
    run = made("tagger", "crf")
    table = run.task.constants(run.model)["transitions"]
    one, = Explainer(run, "occlusion", label="LOC", word="a")({"text": "good a film"})
    examples, outputs = logits_of(run, {"text": "good a film"})
    emissions = outputs["logits"].numpy()[0, 1:4].astype(float)
    scores = {path: sum(emissions[i, tag] for i, tag in enumerate(path)) + table[5, path[0]] + table[6, path[-1]]
              + sum(table[a, b] for a, b in itertools.pairwise(path)) for path in itertools.product(range(5), repeat=3)}
    through = np.logaddexp.reduce([score for path, score in scores.items() if path[1] in (3, 4)])
    others = np.logaddexp.reduce([score for path, score in scores.items() if path[1] not in (3, 4)])
    assert one.value == pytest.approx(through - others, abs=1e-3) and one.name == "LOC at 'a'"

    text = " ".join(["good", "film", "a", "bad"] * 5)  # in two windows
    one, = Explainer(run, "occlusion", label="PER", at=(len(text) - 3, len(text)))({"text": text})
    examples, outputs = logits_of(run, {"text": text})
    own = tf.gather(outputs["logits"], examples["places"].to_tensor(0), batch_dims=1)
    emissions = tf.concat([own[i, :length] for i, length in enumerate(examples["places"].row_lengths())], axis=0)[tf.newaxis]
    share = crf.marginals(emissions, [20], table[np.newaxis]).numpy()[0, -1, 1:3].sum(dtype=float)
    assert len(own) == 2 and one.value == pytest.approx(np.log(share / (1 - share)), abs=1e-2) and not one.notes

    run = made("tagger", "softmax")
    over, = Explainer(run, "occlusion", label="PER", against="LOC", at=(len(text) - 3, len(text)))({"text": text})
    examples, outputs = logits_of(run, {"text": text})
    logits = outputs["logits"].numpy()[1, examples["places"][1].numpy()[-1]].astype(float)
    assert over.value == pytest.approx(np.logaddexp(*logits[1:3]) - np.logaddexp(*logits[3:]), abs=1e-4)
    assert over.what == "log odds over LOC" and "words stand in other windows" in over.notes[0] and over.seen.all()
    assert not over.attribution[:4].any() and over.attribution[-6:].all()


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_an_entity_is_explained_by_what_makes_it_one(made, head):
    """Each method; "film" is an entity by itself, and one of persons because of "good"."""
    run, found = made("taught_tagger", head), {}
    for method in METHODS if head == "softmax" else ("integrated_gradients", "occlusion"):
        one, = found[method] = list(Explainer(run, method)({"text": TAGGED}))
        assert one.name == "PER at 'film'" and one.answer["type"] == "PER" and one.answer["start"] == 4
        assert words_of(one) == ["the", "film", ",", "a", "Good", "fine"] and one.missing < 0.01 and one.value > 2
        assert one.value == pytest.approx(found["integrated_gradients"][0].value, abs=1e-3)
    assert found["integrated_gradients"][0].rest < 0
    for method in set(found) - {"gradient_x_input"}:
        assert set(np.argsort(found[method][0].attribution)[-2:]) == {1, 4}, method
    over, = Explainer(run, "integrated_gradients" if head == "crf" else "occlusion", against="LOC")({"text": TAGGED})
    assert np.argmax(over.attribution) == 4 and over.missing < 0.01 and over.what == "log odds over LOC"
    none, = Explainer(run, "occlusion", label="PER", word="fine")({"text": TAGGED})
    assert none.value < -2 and none.answer == {"text": "fine", "type": "O", "start": 18, "end": 22}
    outside, = Explainer(run, "occlusion", word="fine")({"text": TAGGED})
    assert outside.name == "O at 'fine'" and outside.value > 2


def test_hidden_words_are_masked_where_they_stand(made):
    run = made("tagger", "softmax")
    one, = Explainer(run, "occlusion", label="PER", word="bad")({"text": "films bad good"})
    predictor = predictor_of(run)
    inputs = features(predictor.encode([{"text": "films bad good"}])[0], 0, tuple(run.model.input))
    ids = inputs["token_ids"].numpy()[0].tolist()
    assert len(ids) == 6  # film ##s

    def odds(hidden):
        given = {**inputs, "token_ids": tf.constant([[4 if place in hidden else token for place, token in enumerate(ids)]])}
        logits = run.model(given)["logits"].numpy()[0, 3].astype(float)
        return np.logaddexp(*logits[1:3]) - np.logaddexp.reduce(logits[[0, 3, 4]])

    by_hand = [odds(()) - odds(hidden) for hidden in ((1, 2), (3,), (4,))]
    np.testing.assert_allclose(one.attribution, by_hand, atol=1e-4)
    assert one.attribution.all()


def test_many_entities_are_the_surest_and_words_may_be_given(thin_preset, tmp_path):
    run = runs.tagger(thin_preset, tmp_path / "words", words_column="words", text_column="", tags_column="tags")
    row = {"text": ["good", "films", "a", "bad", ",", "poor", "film", "the", "fine", "Good"]}
    entities = predictor_of(run).answers([row])[0][0]["entities"]
    assert len(entities) > 5
    found = list(Explainer(run, "occlusion")(row))
    surest = sorted(sorted(entities, key=lambda one: -one["score"])[:5], key=lambda one: one["start"])
    assert [one.answer["start"] for one in found] == [one["start"] for one in surest]
    assert found[0].notes == (f"the 5 surest of {len(entities)} entities are explained: --word=TEXT or --at=START:END names "
                              "another",) and not found[1].notes
    assert words_of(found[0]) == row["text"] and found[0].row == {"text": " ".join(row["text"])}


# ---- answers in a context

def test_an_answer_is_explained_in_question_and_context(made):
    run = made("taught_reader")
    explainers = {method: Explainer(run, method) for method in METHODS if method != "gradient_x_input"}
    for ask in explainers.values():
        one, = ask(ASKED)
        assert one.name == "'Good'" and one.answer["answer"] == "Good" and "n_best" not in one.answer
        assert words_of(one) == ["the", "film", "a", "fine", ",", "Good", "the"] and one.missing < 0.01 and one.value > 2
        assert np.argmax(one.attribution) == 5
    assert "question: the" in shown(one, False) and one.to_json()["about"] == {"field": "context", "start": 9, "end": 13}
    marked = page([one], "why")
    assert marked.count(" about\"") == 1 and "\x1b[4" in shown(one, True)
    other, = Explainer(run, "occlusion", word="fine")(ASKED)
    assert other.value < -2 and other.name == "'fine'"
    nothing, = explainers["integrated_gradients"]({**ASKED, "context": "a fine , bad the"})
    assert nothing.name == "no answer" and nothing.value > 2 and nothing.missing < 0.01


def test_a_span_has_its_share_of_all_spans(made, tmp_path):
    """Of the windows that have it the one in which it is likeliest; of no answer the one that doubts it most."""
    run = made("reader")
    row = {"question": "the film", "context": " ".join(["good", "film", "a", "bad", "fine"] * 6)}
    examples, outputs = logits_of(run, row)
    shares = []
    for logits, first, length in zip(outputs.numpy().astype(float), examples["first_length"], examples["length"], strict=True):
        among = [0, *range(int(first), int(length) - 1)]
        begins, ends = (np.exp(logits[:, i]) / np.exp(logits[among, i]).sum() for i in range(2))
        shares.append((begins, ends))
    assert len(shares) == 2
    begin = int(examples["begin"][1])
    for word in (2, begin + 1):  # in the first window alone, and in both
        start = len(" ".join(row["context"].split()[:word])) + 1
        one, = Explainer(run, "occlusion", at=(start, start + 1))(row)
        places = [(w, 4 + word - int(examples["begin"][w])) for w in range(2) if word >= int(examples["begin"][w])]
        share = max(shares[w][0][place] * shares[w][1][place] for w, place in places)
        assert one.value == pytest.approx(np.log(share / (1 - share)), abs=1e-3) and len(places) == 1 + (word > 2)
    one, = Explainer(dataclasses.replace(run, workdir=Workdir(tmp_path), tuned={THRESHOLD: [-1.0]}), "occlusion")(row)
    share = min(begins[0] * ends[0] for begins, ends in shares)
    assert one.name == "no answer" and one.value == pytest.approx(np.log(share / (1 - share)), abs=1e-3)


# ---- choices

def test_a_choice_is_explained_against_the_others(made):
    run = made("taught_chooser")
    scores = predictor_of(run)([CHOSEN])["scores"][0].astype(float)
    odds = np.log(scores[1] / (scores[0] + scores[2]))
    for method in ("integrated_gradients", "occlusion", "attention_rollout"):
        one, = Explainer(run, method)(CHOSEN)
        assert one.name == "'fine good , a'" and one.value == pytest.approx(odds, abs=1e-3) and one.missing < 0.01
        assert words_of(one) == ["the", "film", "a", "poor", "fine", "good", ",", "a", "the", "fine"]
        assert one.words[4] == ("choice 1", 0, 4)
        if method != "attention_rollout":
            assert np.argmax(one.attribution) == 5
    over, = Explainer(run, "occlusion", label="0", against="the fine")(CHOSEN)
    assert over.value == pytest.approx(np.log(scores[0] / scores[2]), abs=1e-3)
    assert over.name == "'a poor'" and over.what == "log odds over 'the fine'"
    assert not over.attribution[4:8].any()  # the third one has no part in it
    binary, = Explainer(made("chooser", "binary"), "occlusion")(CHOSEN)
    scores = predictor_of(made("chooser", "binary"))([CHOSEN])["scores"][0].astype(float)
    assert binary.value == pytest.approx(np.log(scores.max() / (1 - scores.max())), abs=1e-3)


# ---- what is told

@pytest.mark.parametrize("kind, settings, message", [
    (("tagger", "softmax"), {"label": "PRE", "word": "a"}, "--label=PRE: Unknown label 'PRE'. Did you mean 'PER'"),
    (("tagger", "softmax"), {"label": "PER", "against": "PER"}, "--against=PER is what is explained itself"),
    (("tagger", "softmax"), {"label": "O"}, "most words are no entity"),
    (("reader",), {"label": "PER"}, "--label=PER: an answer is a part of its context"),
    (("reader",), {"against": "a"}, "--against=a: an answer is held against all other parts"),
    (("chooser", "binary"), {"against": "a"}, "judges each candidate by itself"),
    (("chooser", "binary"), {"word": "a"}, "--word=a: this run chooses among candidates")])
def test_what_has_no_meaning_is_refused(made, kind, settings, message):
    with pytest.raises(UserError, match=message):
        Explainer(made(*kind), "occlusion", **settings)


def test_what_is_not_there_is_told(made, monkeypatch, capsys):
    with pytest.raises(UserError, match="--word=strange is no word of the text"):
        list(Explainer(made("tagger", "softmax"), "occlusion", word="strange")({"text": TAGGED}))
    with pytest.raises(UserError, match="--label=3: it is none of the candidates, 'a poor', .*, 0 to 2"):
        list(Explainer(made("taught_chooser"), "occlusion", label="3")(CHOSEN))
    run = made("taught_tagger", "softmax")
    monkeypatch.setattr(command, "open_run", lambda *_: run)
    command.explain("run", "", [{"text": "a fine ,"}, {"text": TAGGED}], "", 0, method="occlusion", label="", output="")
    out = capsys.readouterr().out
    assert out.startswith("no entity is found: --word=TEXT --label=TYPE says why a word is none\n")
    assert '{"text": "film", "type": "PER", "start": 4, "end": 8, "score": ' in out and "why PER at 'film': log odds +" in out
    over = Explainer(run, "occlusion", against="PER")
    assert not list(over({"text": TAGGED})) and "the answer is PER itself" in over.nothing


@pytest.mark.parametrize("kind, row, word, about", [
    (("taught_tagger", "softmax"), {"text": "a fine film the good", "spans": []}, "good", "film"),
    (("taught_reader",), {"question": "the film", "context": "a fine , good the",
                          "answers": {"text": ["fine"], "answer_start": [2]}}, "good", "good"),
    (("taught_chooser",), {**CHOSEN, "label": 0}, "good", "")])
def test_a_report_explains_mistakes_of_every_such_task(made, tmp_path, kind, row, word, about):
    """The planted cue is the strongest word of the wrong answer, and what is wrong is underlined."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    run = made(*kind)
    looked = looked_at(run, f"jsonl:{tmp_path}/rows.jsonl", "rows", "", Console(quiet=True), baseline=False)
    found = explained(run, looked.split.store, looked.split.rows, looked.report.mistakes, 5)
    assert list(found) == [f"{tmp_path}/rows.jsonl:1"] and looked.report.mistakes
    text, = found.values()
    strongest = re.findall('<mark class="for(?: about)?" style="--share:1.000"[^>]*>(.*?)</mark>', text)
    assert strongest == [word]
    assert re.findall('<mark class="[a-z]+ about"[^>]*>(.*?)</mark>', text) == ([about] if about else [])
