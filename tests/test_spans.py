import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.tasks.token_classification import schemes, spans

TEXT = "New York wins"
WORDS = [(0, 3), (4, 8), (9, 13)]


def tagged(*found):
    tags, problems = spans.tags_of_spans(WORDS, found, len(TEXT) + 2)  # two blanks at the end
    return " ".join(tags), problems


def test_spans_of_whole_words():
    assert tagged((0, 8, "LOC")) == ("B-LOC I-LOC O", [])
    assert tagged((9, 13, "X"), (0, 3, "X"), (4, 8, "X")) == ("B-X B-X B-X", [])
    assert tagged() == ("O O O", [])
    assert spans.tags_of_spans([], [], 0) == ([], [])


def test_white_space_and_repetition_are_no_problem():
    assert tagged((3, 9, "X"), (8, 15, "Y")) == ("O B-X B-Y", [])
    assert tagged((0, 3, "X"), (0, 3, "X")) == ("B-X O O", [])


@pytest.mark.parametrize("span", [(1, 3), (0, 2), (1, 2)])
def test_a_span_inside_a_word_is_widened(span):
    assert tagged((*span, "X")) == ("B-X O O", ["crosses words"])


def test_both_ends_inside_words():
    assert tagged((2, 10, "X")) == ("B-X I-X I-X", ["crosses words"])


def test_of_overlapping_spans_the_longer_wins():
    assert tagged((0, 3, "P"), (0, 8, "LOC")) == ("B-LOC I-LOC O", ["overlaps"])
    assert tagged((4, 13, "B"), (0, 8, "A")) == ("O B-B I-B", ["overlaps"])
    assert tagged((0, 3, "A"), (0, 3, "B")) == ("B-A O O", ["overlaps"])
    assert tagged((0, 1, "A"), (2, 3, "B")) == ("B-A O O", ["crosses words", "crosses words", "overlaps"])


@pytest.mark.parametrize("span, problem", [
    ((2, 2), "empty"), ((3, 1), "empty"), ((3, 4), "empty"), ((13, 15), "empty"), ((-1, 3), "outside"), ((9, 16), "outside"),
    ((40, 50), "outside")])
def test_spans_that_are_dropped(span, problem):
    assert tagged((*span, "X")) == ("O O O", [problem])


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), min_size=1, max_size=8), st.data())
def test_entities_come_back_as_characters(parts, data):
    words, at = [], 0
    for gap, length in parts:
        words.append((at + gap, at + gap + length))
        at += gap + length
    cuts = data.draw(st.lists(st.integers(0, len(words)), unique=True).map(sorted))
    given_spans = [(words[a][0], words[b - 1][1], data.draw(st.sampled_from("XY"))) for a, b in zip(cuts, cuts[1:])]
    tags, problems = spans.tags_of_spans(words, data.draw(st.permutations(given_spans)), at)
    assert not problems
    assert [(words[a][0], words[b - 1][1], kind) for a, b, kind in schemes.to_spans(tags, "IOB2")] == given_spans


@given(st.lists(st.tuples(st.integers(-2, 20), st.integers(-2, 20), st.sampled_from("XY")), max_size=6))
def test_every_span_is_told_or_tagged(found):
    tags, problems = spans.tags_of_spans(WORDS, found, 15)
    dropped = sum(problem != "crosses words" for problem in problems)
    assert len(schemes.to_spans(tags, "IOB2")) == len(set(found)) - dropped
    assert not schemes.violations(tags, "IOB2")


SHAPES = [
    [{"start": 4, "end": 8, "label": "LOC"}],
    [{"start": 4, "end": 8, "type": "LOC"}],
    [{"start_offset": 4, "end_offset": 8.0, "entity": "LOC", "id": 3}],
    [{"begin": 4, "end": 8, "tag": "LOC", "text": "York"}],
    [[4, 8, "LOC"]],
    {"label": [[4, 8, "LOC"]]},
    {"entities": [[4, 8, "LOC"]]},
    {"entities": [{"start": 4, "end": 8, "label": "LOC"}], "cats": {}},
    {"LOC": {"York": [[4, 8]]}},
    {"label": {"York": []}, "LOC": {"York": [[4, 8]]}},
    [{"id": "a", "type": "labels", "value": {"start": 4, "end": 8, "text": "York", "labels": ["LOC"]}}],
]


@pytest.mark.parametrize("value", SHAPES, ids=str)
def test_shapes(value):
    assert spans.read_spans(value, False, TEXT) == [(4, 8, "LOC")]
    assert spans.read_spans(json.dumps(value), False, TEXT) == [(4, 8, "LOC")]
    shorter = json.loads(json.dumps(value).replace("8", "7"))
    assert spans.read_spans(shorter, True, TEXT) == [(4, 8, "LOC")]


def test_several_spans():
    assert spans.read_spans({"a": {"中": [[0, 0], [2, 2]]}, "b": {"国": [[1, 1]]}}, True, "中国中") == [
        (0, 1, "a"), (2, 3, "a"), (1, 2, "b")]
    assert spans.read_spans([{"start": 0, "end": 3, "labels": ["A", "B"]}], False, TEXT) == [(0, 3, "A"), (0, 3, "B")]
    assert spans.read_spans([(0, 3, "A")], False, TEXT) == [(0, 3, "A")]
    assert spans.read_spans([], False, TEXT) == spans.read_spans({}, False, TEXT) == spans.read_spans("[]", False, TEXT) == []


@pytest.mark.parametrize("value, reason", [
    (None, "the spans null are in no known shape: write"), (3, "no known shape"), ({"a": 3}, "no known shape"),
    ({"label": [], "entities": []}, "no known shape"), ("[0", "are no JSON"), ([3], "neither an object nor a list"),
    ([[0, 3]], r"should be \[start, end, label\]"), ([["0", 3, "A"]], "no whole number as its start"),
    ([[0, True, "A"]], "no whole number as its end"), ([[0, 2.5, "A"]], "no whole number as its end"),
    ([[0, 3, ""]], "no name as its label"), ([[0, 3, 7]], "no name as its label"),
    ([{"start": 0, "label": "A"}], "none of end, end_offset"),
    ([{"start": 0, "end": 3}], "none of label, type"),
    ([{"start": 0, "end": 3, "labels": []}], "has no label"),
    ({"a": {"New": 3}}, "the places of 'New' are 3"), ({"a": {"New": [3]}}, r"should be \[start, end\]"),
    ({"a": {"New": [[0, 3, 4]]}}, r"should be \[start, end\]"),
    ({"a": {"New": [[0, 2]]}}, r"the text at 0 to 2 \(end exclusive\) is 'Ne' where the span says 'New'"),
    ([{"start": -4, "end": -1, "label": "A", "text": "win"}], "is '' where the span says 'win'")])
def test_no_spans(value, reason):
    with pytest.raises(ValueError, match=reason):
        spans.read_spans(value, False, TEXT)


def test_reasons_are_short():
    with pytest.raises(ValueError) as error:
        spans.read_spans(["x" * 1000], False, TEXT)
    assert len(str(error.value)) < 150


def test_detect_end():
    inclusive, exclusive = ({"a": {"New": [[0, 2]]}}, TEXT), ({"a": {"New": [[0, 3]]}}, TEXT)
    assert spans.detect_end([inclusive]) is True
    assert spans.detect_end([exclusive]) is False
    assert spans.detect_end([exclusive, inclusive, ("broken", ""), inclusive]) is True
    assert spans.detect_end([exclusive, inclusive]) is spans.detect_end([([[0, 3, "A"]], TEXT)]) is None
    assert spans.detect_end([({"a": {"win": [[-4, -1]]}}, TEXT)]) is None
    assert spans.detect_end([({"a": {"wins": [[9, 13]]}}, TEXT)]) is False
    assert spans.detect_end([({"a": {"wins": [[9, 12]]}}, TEXT)]) is True
    assert spans.detect_end([([{"value": {"start": 0, "end": 2, "text": "New", "labels": ["A"]}}], TEXT)]) is True
