"""Questions and answers as data sets write them."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.data.squad import flat, has_answer_columns, looks_like_squad, read_answers, rows

DOCUMENT = {"version": "2.0", "data": [
    {"title": "Ann", "paragraphs": [
        {"context": "Ann is 7. She has a cat.", "qas": [
            {"id": "a", "question": "How old?", "is_impossible": False, "answers": [{"text": "7", "answer_start": 7}]},
            {"id": "b", "question": "A dog?", "is_impossible": True, "answers": [],
             "plausible_answers": [{"text": "a cat", "answer_start": 18}]}]},
        {"context": "Ben.", "qas": [{"id": 3, "question": "Who?"}]}]},
    {"paragraphs": [{"context": "", "qas": []}]}]}


def changed(path: list, value) -> dict:
    """DOCUMENT with another value at a path."""
    made = copy.deepcopy(DOCUMENT)
    at = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return made


def test_rows_keep_order_and_say_what_is_not_known():
    assert list(rows(DOCUMENT)) == [
        {"id": "a", "title": "Ann", "question": "How old?", "context": "Ann is 7. She has a cat.",
         "answers": [{"text": "7", "answer_start": 7}]},
        {"id": "b", "title": "Ann", "question": "A dog?", "context": "Ann is 7. She has a cat.", "answers": []},
        {"id": "3", "title": "Ann", "question": "Who?", "context": "Ben.", "answers": None}]


def test_articles_alone_are_a_document_too():
    assert list(rows(DOCUMENT["data"])) == list(rows(DOCUMENT))


@pytest.mark.parametrize("document, is_squad", [
    (DOCUMENT, True), (DOCUMENT["data"], True), ({"data": [{"text": "a", "label": "b"}]}, False), ({"data": {}}, False),
    ([{"question": "a"}], False), ([], False), ("data", False), (None, False)])
def test_squad_is_recognised(document, is_squad):
    assert looks_like_squad(document) is is_squad


QA = ["data", 0, "paragraphs", 0, "qas", 0]


@pytest.mark.parametrize("path, value, reason", [
    (["data"], None, "In the document the member 'data' is missing, not an array."),
    (["data"], "x", "In the document the member 'data' is \"x\", not an array."),
    (["data", 1], 5, "Article 2 is 5, not an object with the member 'paragraphs'."),
    (["data", 0, "paragraphs"], {}, "In article 1 the member 'paragraphs' is {}, not an array."),
    (["data", 0, "paragraphs", 1, "qas"], None, "In article 1, paragraph 2 the member 'qas' is missing, not an array."),
    (["data", 0, "paragraphs", 0, "context"], 1,
     "In article 1, paragraph 1 the member 'context' is 1, not a text; its 2 questions cannot be used."),
    (QA, "x", "In article 1, paragraph 1, question 1 is \"x\", not an object."),
    ([*QA, "question"], None,
     "In article 1, paragraph 1, question 1 (id 'a') has a member 'question' that is missing, not a text."),
    ([*QA, "id"], None, "question 1 (id None) has a member 'id' that is missing; every question needs one of its own."),
    ([*QA, "answers"], 4, "(id 'a') has 4 for its answers, which are written as a text, a list or an object."),
    ([*QA, "answers"], [4], "(id 'a') has the answer 4, not an object with the member 'text'."),
    ([*QA, "answers"], [{"answer_start": 4}], "has the answer {\"answer_start\": 4}, not an object with the member 'text'."),
    ([*QA, "answers"], [{"text": 4}], "has the answer text 4, not a text."),
    ([*QA, "answers", 0, "answer_start"], "x", "(id 'a') has \"x\" for the start of the answer \"7\"; it is the number of "
     "characters before the answer, or -1 where that is not known."),
    ([*QA, "answers", 0, "answer_start"], True, "has true for the start of the answer"),
    ([*QA, "answers", 0, "answer_start"], 1.5, "has 1.5 for the start of the answer"),
])
def test_malformed_part_is_named(path, value, reason):
    document = changed(path, value)
    with pytest.raises(ValueError) as error:
        list(rows(document))
    assert reason in str(error.value)


def test_malformed_part_leaves_the_others():
    document, told = changed([*QA, "question"], 5), []
    assert [row["id"] for row in rows(document, told.append)] == ["b", "3"]
    assert told == ["In article 1, paragraph 1, question 1 (id 'a') has a member 'question' that is 5, not a text."]
    document, told = changed(["data", 0, "paragraphs", 0, "context"], None), []
    assert [row["id"] for row in rows(document, told.append)] == ["3"] and len(told) == 1


def test_document_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="neither an object with the member 'data' nor an array of articles"):
        list(rows("text"))


ONE = [{"text": "7", "answer_start": 7}]
TWO = [{"text": "7", "answer_start": 7}, {"text": "is 7", "answer_start": 4}]


@pytest.mark.parametrize("value, start, answers", [
    ({"text": ["7", "is 7"], "answer_start": [7, 4]}, None, TWO),
    ({"text": "7", "answer_start": 7}, None, ONE),
    ({"text": ["7"]}, None, [{"text": "7", "answer_start": -1}]),
    ({"text": [], "answer_start": []}, None, []),
    ({"text": [""], "answer_start": []}, None, []),
    ([{"text": "7", "answer_start": 7}, {"text": "is 7", "start": 4}], None, TWO),
    ([{"text": "7", "answer_start": None}, {"text": " ", "answer_start": 3}], None, [{"text": "7", "answer_start": -1}]),
    ("7", "7", ONE), ("7", "7.0", ONE), ("7", 7.0, ONE), ("7", -5, [{"text": "7", "answer_start": -1}]),
    ("7", float("nan"), [{"text": "7", "answer_start": -1}]),
    ("7", None, [{"text": "7", "answer_start": -1}]), ("7", "", [{"text": "7", "answer_start": -1}]),
    (["7", "is 7"], [7, 4], TWO), ('["7", "is 7"]', "[7, 4]", TWO),
    (["7", "is 7"], None, [{"text": "7", "answer_start": -1}, {"text": "is 7", "answer_start": -1}]),
    ("{'text': ['7', 'is 7'], 'answer_start': [7, 4]}", None, TWO),
    ("{'text': array(['7', 'is 7'], dtype=object), 'answer_start': array([7, 4], dtype=int32)}", None, TWO),
    ("['7' 'is 7']", "[7 4]", TWO),
    ("", "", []), ("  ", None, []), (None, None, []), ([], None, []), ({}, None, []), ("[]", None, []), ("{}", "", []),
    (float("nan"), None, []),
    ("[7]", 3, [{"text": "[7]", "answer_start": 3}]), ("{7, 8}", None, [{"text": "{7, 8}", "answer_start": -1}]),
    ('{"a": [', None, [{"text": '{"a": [', "answer_start": -1}]),
    (" 7", 6, [{"text": " 7", "answer_start": 6}]), ("null", None, [{"text": "null", "answer_start": -1}]),
])
def test_answers_in_every_form(value, start, answers):
    assert read_answers(value, start) == answers


@given(st.lists(st.tuples(st.text(min_size=1).filter(str.strip), st.integers(-1, 10**6))))
def test_forms_agree(pairs):
    answers = [{"text": text, "answer_start": start} for text, start in pairs]
    columns = {"text": [text for text, _ in pairs], "answer_start": [start for _, start in pairs]}
    for form in (answers, columns, json.dumps(answers), json.dumps(columns), repr(answers), repr(columns)):
        assert read_answers(form) == answers


@pytest.mark.parametrize("value, start, reason", [
    ({"text": ["a", "b"], "answer_start": [1]}, None, "has 2 answer texts but 1 answer starts; there must be as many"),
    (["a", "b"], 1, "has 2 answer texts but 1 answer starts"),
    ("{'text': [a], 'answer_start': [1]}", None, "write them with json.dumps"),
    ('[{"text": "a', None, "can be read neither as JSON nor as a plain text"),
    ("a", "after 3", "has \"after 3\" for the start of the answer \"a\""), ("a", "[x]", "has \"[x]\" for the start"),
    ([["a"]], None, 'has the answer ["a"], not an object'), ({"answer_start": 1}, None, "not an object with the member 'text'"),
])
def test_unreadable_answers_say_why(value, start, reason):
    with pytest.raises(ValueError) as error:
        read_answers(value, start)
    assert reason in str(error.value)


def test_flat_row_by_column_names():
    values = {"qid": 12, "query": "How old?", "passage": "Ann is 7.", "reply": "7", "at": "7", "other": "x"}
    columns = {"id": "qid", "question": "query", "context": "passage", "answers": "reply", "answer_start": "at"}
    assert flat(values, columns) == {"id": "12", "title": "", "question": "How old?", "context": "Ann is 7.", "answers": ONE}
    assert has_answer_columns(values, columns) and not has_answer_columns(values, {})


def test_flat_row_with_a_column_for_text_and_one_for_start():
    values = {"question": "q", "context": "Ann is 7.", "title": "Ann", "answer_text": "7", "answer_start": "7"}
    assert flat(values, {}) == {"id": "", "title": "Ann", "question": "q", "context": "Ann is 7.", "answers": ONE}
    assert has_answer_columns(values, {})


@pytest.mark.parametrize("more", [{}, {"answers": None}, {"answers": ""}, {"answers": [], "answer_text": None},
                                  {"answer_text": "", "answer_start": ""}])
def test_flat_row_without_an_answer(more):
    assert flat({"question": "q", "context": "c", **more}, {})["answers"] == []


@pytest.mark.parametrize("values, reason", [
    ({"context": "c", "id": "1"}, "it has no column 'question' (it has context, id)"),
    ({"question": "q", "context": None}, "the column 'context' is missing, not a text"),
    ({"question": "q", "context": "c", "id": "n1", "answers": 4}, "the question 'n1' has 4 for its answers"),
    ({"question": "q", "context": "c", "answers": "a", "answer_start": "x"}, "the question has \"x\" for the start of"),
])
def test_unusable_flat_row_says_why(values, reason):
    with pytest.raises(ValueError) as error:
        flat(values, {})
    assert reason in str(error.value)
