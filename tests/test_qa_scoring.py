"""Answers score as in SQuAD's official evaluation."""

import string
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from official.nlp.tools import squad_evaluate_v1_1, squad_evaluate_v2_0

from tfft.tasks.question_answering.scoring import AnswerScorer, Threshold, normalise, score

WORDS = ["a", "an", "the", "The", "theatre", "cat", "Cat!", "dog", "U.S.", "--", "", "1,000", "caf\u00e9",
         "\u6211\u4eec", "\u3002", "\u00a0", "\t", "\u0130", "\u2019s", "a-b", "_the_"]
TEXTS = st.one_of(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), st.text(max_size=6))
FULL = TEXTS.filter(normalise)  # something is left to compare


def document(golds: list[list[str]]) -> list[dict]:
    qas = [{"id": str(i), "answers": [{"text": text} for text in some]} for i, some in enumerate(golds)]
    return [{"paragraphs": [{"qas": qas}]}]


def scored(questions: list[tuple]) -> AnswerScorer:
    """From (prediction, golds) or (prediction, golds, no-answer score)."""
    scorer = AnswerScorer()
    for i, (prediction, golds, *no_answer) in enumerate(questions):
        scorer.add(str(i), prediction, golds, *no_answer)
    return scorer


@given(st.text())
def test_normalise_is_the_official_one(text):
    assert normalise(text) == squad_evaluate_v1_1._normalize_answer(text) == squad_evaluate_v2_0._normalize_answer(text)


@given(TEXTS)
def test_normalise_of_words_is_the_official_one(text):
    assert normalise(text) == squad_evaluate_v1_1._normalize_answer(text) == squad_evaluate_v2_0._normalize_answer(text)


@given(st.lists(st.tuples(TEXTS, st.lists(FULL, min_size=1, max_size=3)), min_size=1, max_size=6))
def test_result_is_that_of_squad_1_1(questions):
    official = squad_evaluate_v1_1.evaluate(document([golds for _, golds in questions]),
                                            {str(i): prediction for i, (prediction, _) in enumerate(questions)})
    assert scored(questions).result() == pytest.approx({"exact_match": official["exact_match"], "f1": official["final_f1"]})


QUESTIONS = st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3), st.sampled_from([0.0, 0.25, 1.0, 1.5, 2.0])), min_size=1,
                     max_size=8)


def official_result(questions: list[tuple]) -> dict[str, float]:
    return squad_evaluate_v2_0.evaluate(document([golds for _, golds, _ in questions]),
                                        {str(i): prediction for i, (prediction, _, _) in enumerate(questions)},
                                        {str(i): no_answer for i, (_, _, no_answer) in enumerate(questions)})


@given(QUESTIONS)
def test_result_is_that_of_squad_2_0(questions):
    official = official_result(questions)
    expected = {"exact_match": official["exact"], "f1": official["f1"]}
    if "HasAns_exact" in official and "NoAns_exact" in official:
        expected |= {"has_answer_exact_match": official["HasAns_exact"], "has_answer_f1": official["HasAns_f1"],
                     "no_answer_exact_match": official["NoAns_exact"], "no_answer_f1": official["NoAns_f1"]}
    assert {name: 100 * value for name, value in scored(questions).result(threshold=1.0).items()} == pytest.approx(expected)


@given(st.lists(st.tuples(st.one_of(st.just(""), FULL), st.lists(TEXTS, max_size=2)), min_size=1, max_size=12), st.randoms())
def test_threshold_cuts_where_that_of_squad_2_0_does(pairs, random):
    scores = [(i + 1) / 10 for i in range(len(pairs))]
    random.shuffle(scores)
    questions = [(*pair, one) for pair, one in zip(pairs, scores)]
    official, scorer = official_result(questions), scored(questions)
    for metric, name in (("exact_match", "final_exact"), ("f1", "final_f1")):
        made = scorer.best_threshold(metric)
        assert 100 * made.value == pytest.approx(official[name])
        assert [one > made.threshold for one in scores] == [one > official[f"{name}_thresh"] for one in scores]


@given(QUESTIONS, st.floats(-3, 3))
def test_best_threshold_keeps_its_promise_and_none_is_better(questions, shift):
    scorer = scored([(prediction, golds, one + shift) for prediction, golds, one in questions])
    for metric in ("exact_match", "f1"):
        best = scorer.best_threshold(metric)
        assert scorer.result(best.threshold)[metric] == pytest.approx(best.value)
        for other in [-10.0, *(one + shift for _, _, one in questions)]:
            assert scorer.result(other)[metric] <= best.value + 1e-9


@pytest.mark.parametrize("prediction, golds, exact, f1", [
    ("The Cat.", ["cat"], 1, 1), ("an old cat", ["The cat", "dog"], 0, 2 / 3), ("cat cat", ["cat"], 0, 2 / 3),
    ("dog", ["cat", "a dog"], 1, 1), ("", ["cat"], 0, 0), ("", [], 1, 1), ("cat", [], 0, 0), ("the", [], 1, 1),
    ("", ["the", "."], 1, 1),  # gold answers of which nothing is left
    ("the", ["a", "cat"], 0, 0),  # of which one is left
    ("\u5317\u4eac\u5e02", ["\u5317\u4eac"], 0, 0), ("\u5317\u4eac\u3002", ["\u5317\u4eac"], 0, 0),
    ("caf\u00e9", ["cafe\u0301"], 0, 0), ("\u2018cat\u2019", ["'cat'"], 0, 0)])
def test_one_question_by_hand(prediction, golds, exact, f1):
    assert score(prediction, golds) == pytest.approx((exact, f1))


def test_streamed_result_by_hand():
    scorer = AnswerScorer()
    scorer.add("q1", "a cat", ["the cat"], no_answer_score=-3.0)
    scorer.add("q2", "a dog", [], no_answer_score=2.0)
    assert len(scorer) == 2 and scorer.answerable == 1
    assert scorer.result() == {"exact_match": 0.5, "f1": 0.5, "has_answer_exact_match": 1.0, "has_answer_f1": 1.0,
                               "no_answer_exact_match": 0.0, "no_answer_f1": 0.0}
    assert scorer.best_threshold() == Threshold(-0.5, 1.0)
    assert set(scorer.result(-0.5).values()) == {1.0}


@pytest.mark.parametrize("questions, threshold, value", [
    ([("cat", ["cat"], -5.0), ("dog", ["dog"], 3.0)], 4.0, 1.0),  # all are answered
    ([("cat", [], -5.0), ("dog", [], 3.0)], -6.0, 1.0),  # none is, though the official 0.0 would answer the first
    ([("cat", ["cat"], 0.0), ("dog", [], 0.0)], -1.0, 0.5),  # no cut between equals
    ([("cat", ["cat"], 1.0), ("", [], 2.0), ("dog", [], 3.0)], 1.5, 1.0)])
def test_threshold_by_hand(questions, threshold, value):
    assert scored(questions).best_threshold("exact_match") == Threshold(threshold, value)


def test_threshold_between_neighbouring_floats():
    above = 1.0 + sys.float_info.epsilon
    scorer = scored([("cat", ["cat"], 1.0), ("dog", [], above)])
    best = scorer.best_threshold()
    assert best == Threshold(1.0, 1.0) and scorer.result(best.threshold)["f1"] == 1.0
    huge = scored([("cat", [], 1e300)])
    assert huge.result(huge.best_threshold().threshold)["f1"] == 1.0


def test_what_cannot_be_scored():
    scorer = AnswerScorer()
    for call in (scorer.result, scorer.best_threshold):
        with pytest.raises(ValueError, match="No question was added"):
            call()
    with pytest.raises(ValueError, match="The no-answer score of question 'q7' is nan"):
        scorer.add("q7", "cat", ["cat"], float("nan"))
    assert len(scorer) == 0


def test_only_ascii_punctuation_is_removed():
    assert normalise(string.punctuation) == "" and normalise("\u3002\u00bf\u2014") == "\u3002\u00bf\u2014"


def test_where_squad_1_1_and_2_0_differ_it_is_2_0():
    official = squad_evaluate_v1_1.evaluate(document([["cat", "."]]), {"0": "the"})
    assert official == {"exact_match": 1, "final_f1": 0}
    assert scored([("the", ["cat", "."])]).result() == {"exact_match": 0, "f1": 0}
