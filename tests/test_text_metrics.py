"""Metrics of generated texts."""

import itertools
import threading

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from tfft.tasks.texts.metrics import METRICS, bleu_words, longest_common, parses, rouge_l, rouge_n, text_metrics, words

ROUGE = ("rouge1", "rouge2", "rougeL")


@pytest.mark.parametrize(("generated", "reference", "scores"), [
    ("the cat sat on the mat", "The cat sat on a mat.", (0.833333, 0.6, 0.833333)),
    ("Returns the sum of x_1 and y_2, or None", "Return the sum of x_1 and y-2; None if empty.",
     (0.782609, 0.666667, 0.782609)),
    ("a a a b", "a b a", (0.857143, 0.4, 0.571429)),
    ("", "a", (0, 0, 0)),
    ("It's 5.25% (U.S.)", "it s 5 25 u s", (1, 1, 1)),
    ("b a", "a b", (1, 0, 0.5)),
    ("police killed the gunman", "police kill the gunman; the gunman police killed", (0.666667, 0.4, 0.5)),
])
def test_rouge_is_rouge_scores(generated, reference, scores):
    """Expected: RougeScorer(["rouge1", "rouge2", "rougeL"]) of rouge-score 0.1.2, F-measures. 300 random pairs were alike."""
    assert list(text_metrics([generated], [reference], ROUGE).values()) == pytest.approx(scores, abs=1e-6)


@given(*[st.text("abc", max_size=12)] * 2)
def test_longest_common_is_the_longest_of_all(one, other):
    def inside(part: str, whole: str) -> bool:
        letters = iter(whole)
        return all(letter in letters for letter in part)

    length = longest_common(one, other)
    of_length = [set(itertools.combinations(one, n)) for n in (length, length + 1)]
    assert any(inside(part, other) for part in of_length[0]) and not any(inside(part, other) for part in of_length[1])


def test_words_of_all_scripts():
    assert words("The U.S. cafe\u0301, naïve_x2") == ["the", "u", "s", "café", "naïve", "x2"]
    assert words("今天 OK。ありがとう") == ["今", "天", "ok", "あ", "り", "が", "と", "う"]
    assert words("हिन्दी Привет — ...") == ["हिन्दी", "привет"] and words("\n") == []
    assert rouge_l("今天天气好", "今天很好") == pytest.approx(2 * 3 / 9)
    assert rouge_n("今天天气好", "今天很好", 2) == pytest.approx(2 / 7)


def test_the_best_of_several_references_counts_and_texts_are_averaged():
    found = text_metrics(["a b", " c\n"], [["x", "a b c d"], ["c"]], ("rouge1", "exact_match"))
    assert found == {"rouge1": pytest.approx((2 * 2 / 6 + 1) / 2), "exact_match": 0.5}
    assert text_metrics(["a", "b "], [["b", "a"], [" b"]], ("exact_match",)) == {"exact_match": 1}


def test_bleu_and_chrf_are_sacrebleus_from_0_to_1():
    generated = ["the cat sat on the mat today", "it is raining, isn't it?"]
    one = ["the cat sat on a mat today", "it rains, doesn't it?"]
    two = ["a cat sat on the mat today", "it is raining now, isn't it?"]
    found = text_metrics(generated, one, ("bleu", "chrf"))
    assert found == {"bleu": pytest.approx(sacrebleu.corpus_bleu(generated, [one]).score / 100),
                     "chrf": pytest.approx(sacrebleu.corpus_chrf(generated, [one]).score / 100)}
    assert 0 < found["bleu"] < 1 and 0 < found["chrf"] < 1
    both = text_metrics(generated, [list(each) for each in zip(one, two)], ("bleu",))["bleu"]
    assert both == pytest.approx(sacrebleu.corpus_bleu(generated, [one, two]).score / 100) and both > found["bleu"]
    uneven = text_metrics(generated, [one[:1], [one[1], two[1]]], ("bleu", "chrf"))
    assert found["bleu"] < uneven["bleu"] < 1 and found["chrf"] < uneven["chrf"] < 1
    assert text_metrics(generated, generated, ("bleu", "chrf")) == {"bleu": pytest.approx(1), "chrf": pytest.approx(1)}
    assert text_metrics(["", ""], one, tuple(METRICS)) == dict.fromkeys(METRICS, 0)


@pytest.mark.parametrize(("references", "tokenize"), [
    ([["The cat 猫 sat."]], "13a"), ([["今天天气很好。"], ["OK, 我去 2024 年"]], "zh"), ([["今日は天気がいいです"]], "char"),
    ([["วันนี้อากาศดี"]], "char"), ([["오늘 날씨가 좋다"]], "13a"), ([["123"]], "13a")])
def test_how_bleu_finds_words(references, tokenize):
    assert bleu_words(references) == tokenize


def test_bleu_of_chinese_is_of_characters():
    generated, reference = ["今天天气非常好我们出去"], ["今天天气非常好我们回家"]
    found = text_metrics(generated, reference, ("bleu",))["bleu"]
    assert found == pytest.approx(sacrebleu.corpus_bleu(generated, [reference], tokenize="zh").score / 100)
    assert found > 0.5 > sacrebleu.corpus_bleu(generated, [reference]).score / 100


@pytest.mark.parametrize("text", ["x = 1", "def f():\n    return '\\d' is 1", "sorted(d.items(), key=lambda x: x[1])",
                                  "(" * 150 + ")" * 150, "0x" + "f" * 100_000, "from __future__ import nothing"])
def test_code_that_parses(text, recwarn):
    assert parses(text) and not recwarn.list


CRASHERS = {"parentheses": "(" * 100_000, "minus": "-" * 100_000 + "1", "not": "not " * 50_000 + "1",
            "plus": "1" + "+1" * 100_000, "attributes": "a" + ".b" * 50_000, "calls": "f" + "()" * 50_000,
            "lambdas": "lambda:" * 30_000 + "1", "elifs": "if a:\n x\n" + "elif b:\n x\n" * 20_000,
            "indents": "".join(" " * i + "if 1:\n" for i in range(500)),
            "conditions": "1 if a else " * 50_000 + "1", "f-string": "f'{" * 1000, "NUL": "a = 1\0", "digits": "1" * 10_000,
            "surrogate": "'\ud800'", "empty": "", "comment": "# x = 1\n", "prose": "Here is the code:\nx = 1",
            "fenced": "```\nx\n```"}


@pytest.mark.parametrize("name", CRASHERS)
def test_code_that_does_not_parse_crashes_nothing(name):
    assert not parses(CRASHERS[name])


def test_code_is_parsed_in_a_thread_too():
    made = []
    thread = threading.Thread(target=lambda: made.extend(map(parses, CRASHERS.values())))
    thread.start()
    thread.join()
    assert made == [False] * len(CRASHERS)


def test_code_is_never_run(tmp_path):
    file = tmp_path / "made"
    assert text_metrics([f"open({str(file)!r}, 'w')", "x ="], ["", ""], ("parses",)) == {"parses": 0.5}
    assert not file.exists()


@pytest.mark.parametrize(("generated", "references"), [([], []), (["a"], []), (["a"], [[]])])
def test_texts_without_references_are_refused(generated, references):
    with pytest.raises(ValueError, match="there must be as many"):
        text_metrics(generated, references, ("bleu",))
