"""Answers are found where they stand, whatever the data set says."""

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.tasks.question_answering.answers import Aligned, Alignment, align


def found(context: str, text: str, start: int = -1) -> tuple[str, str]:
    """(kind, the characters found)."""
    made = align(context, text, start)
    assert (made.start < 0) == (made.kind in ("ambiguous", "absent")) and made.start <= made.end
    return made.kind, context[made.start:made.end] if made.start >= 0 else ""


def test_exact():
    assert align("a cat, a dog", "a", 7) == Aligned(7, 8, "exact")
    assert align("a cat", "a cat", 0) == Aligned(0, 5, "exact")
    assert align("cat ", "cat ", 0) == Aligned(0, 4, "exact")


@pytest.mark.parametrize("start", [-1, -7, 0, 3, 5, 300])
def test_the_only_place_is_taken_however_far(start):
    assert align("the cat sat", "cat", start) == Aligned(4, 7, "re-aligned")


FAR = "x" * 40


@pytest.mark.parametrize("context, start, made", [
    (f"cat {FAR} cat", 1, Aligned(0, 3, "re-aligned")), (f"cat {FAR} cat", 47, Aligned(45, 48, "re-aligned")),
    (f"cat {FAR} cat", 20, Aligned(0, 3, "re-aligned")),  # 20 off, the other 25
    (f"cat {FAR * 2} cat", 40, Aligned(-1, -1, "ambiguous")),  # both too far
    ("cat cat", 2, Aligned(-1, -1, "ambiguous")),  # as near as the other
    ("cat cat", 1, Aligned(0, 3, "re-aligned")), ("cat cat", -1, Aligned(-1, -1, "ambiguous")),
    ("aaa", -1, None), ("dog", 0, Aligned(-1, -1, "absent")), ("", 0, Aligned(-1, -1, "absent"))])
def test_nearest_of_several_places(context, start, made):
    if made is None:  # overlapping places are several places
        assert align(context, "aa", start).kind == "ambiguous"
    else:
        assert align(context, "cat", start) == made


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_empty_answer_is_nowhere(text):
    assert align("a b", text, 1) == Aligned(-1, -1, "absent")


@pytest.mark.parametrize("context, text, place", [
    ("in New\u00a0York now", "New York", "New\u00a0York"),
    ("in New  \t York now", "New York", "New  \t York"),
    ("in New\r\nYork now", "New\nYork", "New\r\nYork"),
    ("in New York now", " New  York\n", "New York"),
    ("in New\u3000York now", "New York", "New\u3000York"),
    ("the cafe\u0301 is", "caf\u00e9", "cafe\u0301"),
    ("the caf\u00e9 is", "cafe\u0301", "caf\u00e9"),
    ("Ann\u2019s \u201cbig\u201d cat", "Ann's \"big\" cat", "Ann\u2019s \u201cbig\u201d cat"),
    ("1939\u20131945!", "1939-1945", "1939\u20131945"),
    ("an o\ufb03ce here", "office", "o\ufb03ce"),
    ("\uff21\uff22\uff23 here", "ABC", "\uff21\uff22\uff23"),
    ("x\u00b2 + 1", "x2", "x\u00b2"),
    ("wait\u2026 no", "wait...", "wait\u2026"),
    ("the STRASSE ends", "Stra\u00dfe", "STRASSE"),
    ("\u0130zmir is", "i\u0307zmir", "\u0130zmir"),
    ("\u039f\u0394\u039f\u03a3 1", "\u03bf\u03b4\u03bf\u03c2", "\u039f\u0394\u039f\u03a3"),
    ("co\u00adoperate", "cooperate", "co\u00adoperate"),
    ("zero\u200bwidth", "zerowidth", "zero\u200bwidth"),
    ("a heart \u2764\ufe0f!", "\u2764", "\u2764"),
    ("\ud55c\uad6d\uc5b4", unicodedata.normalize("NFD", "\ud55c\uad6d"), "\ud55c\uad6d"),
    (unicodedata.normalize("NFD", "\ud55c\uad6d\uc5b4"), "\ud55c\uad6d", unicodedata.normalize("NFD", "\ud55c\uad6d")),
    ("q\u0323\u0307 marks", "q\u0307\u0323", "q\u0323\u0307"),
    ("\u4f60\u597d\uff0c\u4e16\u754c", "\u597d,\u4e16", "\u597d\uff0c\u4e16")])
def test_other_forms_of_the_same_text(context, text, place):
    expected = ("re-aligned", place)
    assert found(context, text) == expected
    assert found(context, text, context.index(place)) in (expected, ("exact", place))
    assert found(context, text, context.index(place) + 2) == expected


@pytest.mark.parametrize("context, text", [
    ("the cafe\u0301 is", "cafE"), ("the caf\u00e9 is", "caf\u00c8"), ("caf\u00e9s", "caFe"), ("o\ufb03ce", "oF"),
    ("o\ufb03ce", "Ice"), (unicodedata.normalize("NFD", "\uac01"), "\uac00"), ("caf\u00e9", "\u0301")])
def test_no_character_is_cut(context, text):
    assert found(context, text) == ("absent", "")


def test_case_comes_after_every_other_form():
    assert align("GO go", "go", -1) == Aligned(3, 5, "re-aligned")
    assert align("GO Go", "go", -1).kind == "ambiguous"
    assert align("US\u00a0army, us army", "US army", -1) == Aligned(0, 7, "re-aligned")


def test_near_place_in_another_form_before_a_far_one_as_it_stands():
    assert align(f"Cat {FAR} cat", "cat", 0) == Aligned(0, 3, "re-aligned")
    assert align(f"Cat {FAR} cat", "cat", -1) == Aligned(45, 48, "re-aligned")


# "cat" stands many times, and mostly the wrong one is nearer to a start that is counted in another way.
@pytest.mark.parametrize("before, count", [
    ("\u00e9" * 9, lambda text: len(text.encode())), ("\u65e5\u672c" * 5, lambda text: len(text.encode())),
    ("\U0001f600" * 9, lambda text: len(text.encode("utf-16-le")) // 2),
    ("\U0001f600" * 4, lambda text: len(text.encode())),
    ("line\r\n" * 9, lambda text: len(text.replace("\r\n", "\n"))),
    ("line\n" * 9, lambda text: len(text.replace("\n", "\r\n"))),
    ("e\u0301" * 9, lambda text: len(unicodedata.normalize("NFC", text))),
    ("\u00e9" * 9, lambda text: len(unicodedata.normalize("NFD", text))),
    ("word   " * 4, lambda text: len(re.sub(" +", " ", text)))])
@pytest.mark.parametrize("answer", ["cat", "CAT"])
def test_start_counted_otherwise(before, count, answer):
    context = "a cat; cat; cat; cat; cat; " + before + "cat; cat; cat; cat; cat"
    tried = 0
    for place in (at for at in range(len(context)) if context.startswith("cat", at)):
        start = count(context[:place])
        if start != place and not context.startswith("cat", start):
            assert align(context, answer, start) == Aligned(place, place + 3, "re-aligned")
            tried += 1
    assert tried >= 3


def test_lone_surrogates_do_no_harm():
    assert found("\ud83d cat \ude00 cat", "cat", 1) == ("re-aligned", "cat")
    assert found("a \ud83d", "\ud83d", 5) == ("re-aligned", "\ud83d")


CHANGES = [lambda text: text, str.upper, str.lower, str.swapcase, lambda text: unicodedata.normalize("NFC", text),
           lambda text: unicodedata.normalize("NFD", text), lambda text: unicodedata.normalize("NFKC", text),
           lambda text: text.replace(" ", "\u00a0\n"), lambda text: " ".join(text.split()), lambda text: f"\n{text}\n"]


PARTS = st.sampled_from("abE\u00e9e\u0301\u00df\u0130\u0323\u03a3\ufb01'\u2019-\u2013\ud55c\u65e5")


@given(st.lists(st.text(PARTS, max_size=4), min_size=1, max_size=6), st.data())
def test_words_are_found_after_any_change(words, data):
    words = [f"{number}a{word}" for number, word in enumerate(words)]  # no word occurs twice
    gaps = [data.draw(st.sampled_from([" ", "  ", "\r\n", "\u00a0", "\t \u3000"])) for _ in words]
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    begin = sum(len(w) + len(g) for w, g in zip(words[:first], gaps))
    end = begin + sum(len(w) + len(g) for w, g in zip(words[first:last + 1], gaps[first:])) - len(gaps[last])
    context = "".join(w + g for w, g in zip(words, gaps))
    text = context[begin:end]
    for change in data.draw(st.lists(st.sampled_from(CHANGES), max_size=3)):
        text = change(text)
    start = data.draw(st.one_of(st.just(-1), st.just(begin), st.integers(0, len(context) + 9)))
    assert align(context, text, start)[:2] == (begin, end)


LETTERS = st.sampled_from("aA \u00e9e\u0301\n")


@given(st.text(LETTERS, max_size=30), st.text(LETTERS, max_size=3), st.integers(-1, 31))
def test_what_is_found_is_the_answer_but_for_its_form(context, text, start):
    def plain(some: str) -> str:
        return " ".join(unicodedata.normalize("NFD", some).lower().split())

    made = align(context, text, start)
    if made.start >= 0:
        assert plain(context[made.start:made.end]) == plain(text)
    if made.kind == "exact":
        assert made == (start, start + len(text), "exact") and context[made.start:made.end] == text
    if text.strip() and context.count(text) == 1 and start < 0:
        assert made == (context.index(text), context.index(text) + len(text), "re-aligned")
    if made.kind == "absent" and text.strip():
        assert text not in context


def test_long_context_with_many_questions_is_quick():
    context = "caf\u00e9 na\u00efve " * 9000 + "New\u00a0York"
    begun = time.process_time()
    assert all(align(context, "new york", -1).kind == "re-aligned" for _ in range(50))
    assert align(context, "caf\u00e9", 7).kind == "re-aligned"
    assert time.process_time() - begun < 20  # 0.6 s alone on its core; each form anew for each question would be 30


def test_report_in_one_line():
    counts = Alignment()
    assert counts.line() == "0 answers"
    counts.add(Aligned(3, 5, "exact"), "go", "q1")
    assert counts.line() == "1 answer: 1 exact"
    counts.add(Aligned(12, 14, "re-aligned"), "go", "q7")
    counts.add(Aligned(13, 15, "re-aligned"), "to", "q8")
    counts.add(Aligned(-1, -1, "absent"), "c" * 50, "q9")
    assert counts.counts == {"exact": 1, "re-aligned": 2, "absent": 1}
    assert counts.line() == (f"4 answers: 1 exact, 2 re-aligned (e.g. 'go' of q7, found at 12), "
                             f"1 absent (e.g. '{'c' * 37}...' of q9)")
