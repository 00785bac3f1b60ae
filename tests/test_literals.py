"""Lists that programs write into a field of a table."""

import json

import numpy as np
import pytest

from tfft.data.fields import as_list
from tfft.data.literals import literal, looks_literal
from tfft.tasks.embedding.rows import texts
from tfft.tasks.multiple_choice.rows import _document
from tfft.tasks.text_classification.values import several

WORDS = ["EU", "it's", 'a "b"', "", "x'y\"z"]
LONG = [f"word {i}" for i in range(40)]


@pytest.mark.parametrize("value", [WORDS, LONG, [3, 0, 7], [1.0, 0.5], [True, False, True]], ids=str)
def test_what_json_python_and_numpy_write_is_the_list_again(value):
    printed = [json.dumps(value), repr(value), str(np.array(value)), str(np.array(value, object)), repr(np.array(value)),
               f"np.{np.array(value)!r}"]
    for text in printed:
        assert looks_literal(text) and literal(text) == value and as_list(text) == value, text


@pytest.mark.parametrize(("text", "value"), [
    ("{'text': array(['a', 'b'], dtype=object), 'start': array([5])}", {"text": ["a", "b"], "start": [5]}),
    ("set()", set()), ("{'a'}", {"a"}), ("('a', 'b')", ["a", "b"]), ("['a', nan]", ["a", None]), ("[]", []),
])
def test_objects_tuples_and_sets(text, value):
    assert literal(text) == value


@pytest.mark.parametrize("text", [
    "['a' 'b', 'c']", "['a' ... 'z']", "[1 0 ... 1]", "[a, b]", "{billing}", "[01 2]", "['a", "[", "[[1 0]\n [0 1]]",
    "__import__('os')", "[open('x')]", "[f'{1}']",
])
def test_what_is_none_is_refused_and_never_run(text):
    with pytest.raises(ValueError):
        literal(text)
    assert as_list(text) is None


@pytest.mark.parametrize(("text", "labels"), [
    ("['billing' 'quality']", ("billing", "quality")),
    ("{billing,quality}", ("billing", "quality")), ('{"late, or never",quality}', ("late, or never", "quality")),
    ("{billing}", ("billing",)), ("{}", ()), ("set()", ()), ("[3 0 7]", ("3", "0", "7")), ("[ True False]", ("True", "False")),
])
def test_several_labels_as_numpy_and_postgres_write_them(text, labels):
    assert several(text, "label", ",", "auto") == labels


def test_braces_may_be_part_of_names():
    assert several("{billing}", "label", ",", "names") == ("{billing}",)


@pytest.mark.parametrize("text", ['["a b", "c"]', "['a b', 'c']", "['a b' 'c']"])
def test_lists_of_texts_and_candidates(text):
    assert texts(text, "text_pair") == ["a b", "c"] == _document(text, "choices")
