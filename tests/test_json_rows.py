"""JSON as people have it: pandas' orients, documents called jsonl, NaN, commas too many, files cut off."""

import json

import pytest

from tfft.data import formats
from tfft.data.records import Broken, Note, Record
from tfft.errors import UserError

ROWS = [{"text": "a", "label": 1}, {"text": "b", "label": None}, {"text": "c", "label": 3}]


@pytest.fixture
def read(tmp_path, monkeypatch):
    """read(content, kind="json", ...) -> (rows, notes, [(line, reason)])"""
    monkeypatch.chdir(tmp_path)

    def read(content, kind="json", **settings):
        (tmp_path / "a.json").write_text(content if isinstance(content, str) else json.dumps(content))
        read = list(formats.read(kind, "a.json", **settings))
        return ([r.values for r in read if isinstance(r, Record)], [r.text for r in read if isinstance(r, Note)],
                [(r.line, r.reason) for r in read if isinstance(r, Broken)])
    return read


ORIENTS = {
    "records": ROWS,
    "columns": {"text": {"0": "a", "1": "b", "2": "c"}, "label": {"0": 1, "1": None, "2": 3}},
    "named columns": {"text": {"x": "a", "y": "b", "z": "c"}, "label": {"x": 1, "y": None, "z": 3}},
    "index": {str(i): row for i, row in enumerate(ROWS)},
    "named index": {f"row{i}": row for i, row in enumerate(ROWS)},
    "split": {"columns": ["text", "label"], "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]},
    "bare split": {"columns": ["text", "label"], "data": [list(row.values()) for row in ROWS]},
    "tight split": {"index": [0, 1, 2], "columns": ["text", "label"], "index_names": [None], "column_names": [None],
                    "data": [list(row.values()) for row in ROWS]},
    "table": {"schema": {"fields": [{"name": "text"}], "pandas_version": "1.4.0"}, "data": ROWS},
    "lists": {"text": ["a", "b", "c"], "label": [1, None, 3]},
}


@pytest.mark.parametrize("orient", ORIENTS)
def test_orients_of_pandas(read, orient):
    document = ORIENTS[orient]
    rows, notes, broken = read(document)
    assert rows == ROWS and not broken
    assert [f"pandas' orient {orient.split()[-1]}" in note for note in notes] == [True] * orient.endswith(("columns", "index"))
    assert read({"rows": document, "more": "x"}, key="rows")[0] == ROWS


def test_values_are_arrays(read):
    assert read([["a", 1], ["b", 2]])[0] == [{"0": "a", "1": 1}, {"0": "b", "1": 2}]


def test_rows_of_an_index_may_lack_columns(read):
    assert read({"0": {"text": "a"}, "1": {"text": "b", "label": 1}})[0] == [{"text": "a"}, {"text": "b", "label": 1}]
    assert read({"text": {"0": "a", "1": "b"}, "label": {"1": 1}})[0] == [{"text": "a"}, {"text": "b", "label": 1}]


@pytest.mark.parametrize("document, message", [
    ({"columns": ["text", "label"], "data": [["a", 1], ["b"]]}, "row 2 of its member 'data' does not have the 2 values"),
    ({"train": {"text": ["a"]}, "test": {"text": ["b"]}}, None), ({"train": [{"a": 1}], "data": [{"a": 1}]}, "Pick the one")])
def test_objects_that_are_no_orient(read, document, message):
    if message:
        with pytest.raises(UserError, match=message):
            read(document)
    else:
        assert read(document)[0] == [document]


@pytest.mark.parametrize("content", [json.dumps(ROWS), json.dumps(ROWS, indent=1), json.dumps(ORIENTS["columns"]),
                                     "[\n" + ",\n".join(json.dumps(row) for row in ROWS) + "]"])
def test_a_document_that_is_called_jsonl(read, content):
    rows, notes, broken = read(content, "jsonl")
    assert rows == ROWS and not broken and "is one JSON document" in notes[0]


@pytest.mark.parametrize("content", ['{"a": {"b": 1}}\n', '["x", 1]\n["y", 2]\n', '[{"a": 1}]\n[{"a": 2}]\n', '{"a": 1}\n'])
def test_jsonl_that_is_jsonl(read, content):
    rows, notes, _ = read(content, "jsonl")
    assert len(rows) == content.count("\n") and not notes


@pytest.mark.parametrize("kind, content", [("json", '[{"text": NaN, "label": Infinity}]'),
                                           ("jsonl", '{"text": NaN, "label": Infinity}\n'),
                                           ("json", '{"text": {"0": NaN}, "label": {"0": Infinity}}')])
def test_nan_is_missing(read, kind, content):
    assert read(content, kind)[0] == [{"text": None, "label": float("inf")}]


@pytest.mark.parametrize("content, message", [
    ('[{"a": 1},\n{"a": 2},\n]', ":2 is not valid JSON .*a comma stands before a closing bracket; take it out"),
    ('[{"a": 1},\n{"a": 2,}]', ":2 is not valid JSON .*a comma stands before a closing bracket"),
    ('[{"a": [1,]}]', "a comma stands before a closing bracket"),
    ('[{"a": 1},\n{"a": "two', ":2 is not valid JSON .*as if it had been cut off. Copy or download it once more"),
    ('[{"a": 1},\n{"a": ', ":2 is not valid JSON .*cut off"), ('[{"a": 1},\n', "cut off"), ('[{"a": 1}\n', "cut off"),
    ('[{"a": 1}]\n[{"a": 2}]', ":2 is not valid JSON .*more follows behind the value, as where files were put together"),
    ('{"a": 1},\n{"a": 2}', "a comma stands behind a whole value; take it out, or put all values into one array"),
    ("[{'a': 1}]", "looks like what Python prints; write it with json.dumps"), ('[{"a": True}]', "what Python prints"),
    ("text,label\na,b\n", "so it holds no rows. If it is a table, write csv:a.json")])
def test_json_that_is_damaged(read, content, message):
    with pytest.raises(UserError, match=message):
        read(content)


@pytest.mark.parametrize("line, reason", [('{"a": 1,}', "a comma stands before a closing"), ('{"a": "x', "cut off"),
                                          ("{'a': 1}", "what Python prints"),
                                          ('{"a": 1},', "a comma stands behind a whole value"),
                                          ('{"a": 1}{"a": 2}', "more follows behind the value"),
                                          ("text,label", "a table is read as csv:a.json")])
def test_jsonl_that_is_damaged(read, line, reason):
    (number, found), = read(line + "\n", "jsonl")[2]
    assert number == 1 and reason in found and "line 1" not in found
