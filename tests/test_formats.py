import csv
import io
import json
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.data import dialect, formats
from tfft.data.records import Broken, Note, Record
from tfft.errors import UserError


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.file"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)
    return write


def values(kind, path, **settings):
    """[(line, values or reason)]"""
    return [(r.line, r.values if isinstance(r, Record) else r.reason) for r in formats.read(kind, path, **settings)
            if not isinstance(r, Note)]


def notes(kind, path, **settings):
    return [r.text for r in formats.read(kind, path, **settings) if isinstance(r, Note)]


def test_csv_lines_quotes_and_newlines(write):
    path = write('\ufefftext,label\r\n"a, ""b""\nsecond",x\r\n\r\nplain,y')
    assert values("csv", path) == [(2, {"text": 'a, "b"\nsecond', "label": "x"}), (5, {"text": "plain", "label": "y"})]
    assert next(iter(formats.read("csv", path))).file == path


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1e", "\0"])
def test_other_line_ends_stay_in_their_field(write, kind, character):
    delimiter = {"csv": ",", "tsv": "\t"}[kind]
    path = write(f"text{delimiter}label\none{character}two{delimiter}x\n")
    assert values(kind, path) == [(2, {"text": f"one{character}two", "label": "x"})]


def test_tsv_quotes_are_plain_characters(write):
    path = write('a\tb\n"open\tx\ncarriage\rreturn\ty\r\n')
    assert values("tsv", path) == [(2, {"a": '"open', "b": "x"}), (3, {"a": "carriage\rreturn", "b": "y"})]
    assert values("tsv", write('a\tb\n"q\tq"\tx\n'), quoting="double") == [(2, {"a": "q\tq", "b": "x"})]
    assert values("csv", write('a,b\n"x,y\n'), quoting="none") == [(2, {"a": '"x', "b": "y"})]


def test_no_header_allows_ragged_rows(write):
    assert values("csv", write("a,b\nc,d,e\n"), header=False) == [(1, {"0": "a", "1": "b"}),
                                                                  (2, {"0": "c", "1": "d", "2": "e"})]


def test_wrong_number_of_fields_is_broken(write):
    (first, few), (second, many), (third, good) = values("csv", write('a,b\nx"\nx,y,z\nx,y\n'))
    assert (first, second, third, good) == (2, 3, 4, {"a": "x", "b": "y"})
    assert few.startswith("it has 1 fields where the header has 2") and many.startswith("it has 3 fields")
    assert "quoting=none" in few and many.endswith("(where a field holds ',', it must stand in quotes)")
    assert "quoting=double" in values("tsv", write('a\tb\n"x\n'))[0][1]
    assert values("tsv", write("a\tb\nx\n"))[0][1] == "it has 1 fields where the header has 2"  # quotes are not to blame


def test_unclosed_quote_names_the_line_it_was_opened_in(write):
    rows = values("csv", write('a,b\n1,2\n"never closed,2\n3,4\n5,6\n'))
    assert rows[0] == (2, {"a": "1", "b": "2"}) and len(rows) == 2
    assert rows[1][0] == 3 and "never closed; the last 3 lines are lost" in rows[1][1]


def test_text_after_a_closing_quote_is_broken_and_reading_goes_on(write):
    rows = values("csv", write('a,b\n"x"y,2\n3,4\n'))
    assert rows[0][0] == 2 and "text follows a closing quote in line 2" in rows[0][1]
    assert rows[1] == (3, {"a": "3", "b": "4"})


def test_lone_carriage_return_outside_quotes_is_broken(write):
    assert "lone carriage return" in values("csv", write("a,b\nx\ry,2\n"))[0][1]


def test_long_field(write):
    long = "x" * 300_000  # csv's own limit is 131,072
    assert values("csv", write(f"a\n{long}\n")) == [(2, {"a": long})]


def test_a_stray_quote_does_not_read_a_large_file_into_memory(write, monkeypatch):
    monkeypatch.setattr(dialect, "FIELD_LIMIT", 1000)
    rows = values("csv", write('a\n"never closed\n' + "x\n" * 2000))
    assert rows[0][0] == 2 and "longer than 1,000 characters, as if its quote were never closed" in rows[0][1]
    assert rows[-1] == (2002, {"a": "x"})


@pytest.mark.parametrize("kind, content", [("csv", b"a\nfine\nb\xffd\nfine\n"), ("tsv", b"a\nfine\nb\xffd\nfine\n"),
                                           ("csv", b'a\nfine\n"b\nb\xffd"\nfine\n'),
                                           ("jsonl", b'{}\n{"a":"fine"}\n{"a":"b\xff"}\n{"a":"fine"}\n')])
def test_bad_utf8_is_one_broken_row(write, kind, content):
    rows = [r for r in formats.read(kind, write(content)) if not isinstance(r, Record) or r.values]
    assert [type(r) for r in rows] == [Record, Broken, Record]
    assert rows[1].line == 3 and "is not valid utf-8" in rows[1].reason
    assert rows[2].values == {"a": "fine"}


def test_encodings(write):
    assert values("csv", write("a\né\n".encode("latin-1")), encoding="latin-1") == [(2, {"a": "é"})]
    assert values("csv", write("a\né\u010a\n".encode("utf-16")), encoding="utf-16") == [(2, {"a": "é\u010a"})]
    assert values("tsv", write("a\né\n".encode("utf-8-sig"))) == [(2, {"a": "é"})]
    with pytest.raises(UserError, match="encoding='utf-9' is no encoding"):
        values("csv", write("a\n"), encoding="utf-9")
    with pytest.raises(UserError, match="is not in encoding utf-16.*--config.data.encoding"):
        values("csv", write("a\nb\né\n".encode("latin-1")), encoding="utf-16")


def test_headers_that_cannot_be_used(write):
    assert values("csv", write("a, a ,,b,\n1,2,3,4,5\n")) == [
        (2, {"a (1)": "1", "a (2)": "2", "Unnamed: 2": "3", "b": "4", "Unnamed: 4": "5"})]
    with pytest.raises(UserError, match=r":1: the header cannot be read: .* not valid utf-8"):
        values("csv", write(b"\xff\n1\n"))
    assert values("csv", write("")) == []


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)))
def test_csv_round_trip(rows):
    rows = [row for row in rows if sorted(field.strip("\ufeff").strip() for field in row) != ["a", "b"]]  # the header once more
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    handle, path = tempfile.mkstemp()
    with open(handle, "w", encoding="utf-8", newline="") as file:
        file.write(buffer.getvalue())
    try:
        assert [list(v.values()) for _, v in values("csv", path)] == rows
    finally:
        os.remove(path)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1)))
def test_jsonl_round_trip(texts):
    handle, path = tempfile.mkstemp()
    with open(handle, "w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps({"t": t}, ensure_ascii=False) + "\n" for t in texts)
    try:
        assert values("jsonl", path) == [(i, {"t": t}) for i, t in enumerate(texts, 1)]
    finally:
        os.remove(path)


def test_jsonl(write):
    path = write('\ufeff{"a": "one\u2028two"}\r\n\n["x", 1]\n{broken\n"text"\n')
    rows = values("jsonl", path)
    assert rows[:2] == [(1, {"a": "one\u2028two"}), (3, {"0": "x", "1": 1})]
    assert rows[2][0] == 4 and rows[2][1].startswith("it is not valid JSON")
    assert rows[3] == (5, 'it is "text", neither an object nor an array')


@pytest.mark.parametrize("content, rows", [
    ('[{"a": 1},\n {"a": 2}]', [(1, {"a": 1}), (2, {"a": 2})]),
    ('\n[["x", "y"]]', [(2, {"0": "x", "1": "y"})]),
    ('{"a": [1, 2], "b": ["x", "y"]}', [(1, {"a": 1, "b": "x"}), (1, {"a": 2, "b": "y"})]),
    ('{"a": [1, 2], "b": [["x"], []]}', [(1, {"a": 1, "b": ["x"]}), (1, {"a": 2, "b": []})]),
    ('{\n"a": 1\n}\n{\n"a": 2\n}\n', [(1, {"a": 1}), (4, {"a": 2})]),
    ('{"a": 1}{"a": 2}', [(1, {"a": 1}), (1, {"a": 2})]),
    ('{"a": "x", "labels": ["p", "q"]}', [(1, {"a": "x", "labels": ["p", "q"]})]),
    ("[]", []), ("", []), ("  \n", []),
    ('[{"a": 1}, 3]', [(1, {"a": 1}), (1, "it is 3, neither an object nor an array")]),
])
def test_json_shapes(write, content, rows):
    assert values("json", write(content)) == rows


def test_json_members(write):
    path = write('{"train": [["t1", "x"],\n["t2", "y"]],\n"extra": [["t3", "z"]],\n'
                 '"deep": {"er": [{"a": "}]"}]}, "columns": {"a": [5]}}')
    assert [v["0"] for _, v in values("json", path, key="train")] == ["t1", "t2"]
    assert values("json", path, key="extra+train") == [(3, {"0": "t3", "1": "z"}), (1, {"0": "t1", "1": "x"}),
                                                       (2, {"0": "t2", "1": "y"})]
    assert values("json", path, key="deep/er") == [(4, {"a": "}]"})]
    assert values("json", path, key="columns") == [(4, {"a": 5})]


@pytest.mark.parametrize("content, key, message", [
    ('{"train": [["a"]], "test": [["b"]]}', "", "members train, test. Pick the one that holds the rows, .*#train"),
    ('{"train": [["a"]], "test": [["b"]]}', "tarin", "#tarin: Unknown member 'tarin'. Did you mean 'train'?"),
    ('{"d": {"rows": [["b"]]}}', "d", "members rows. Pick .*#d/rows"),
    ('{"a": [1, 2], "b": [1]}', "", "columns of different lengths: a 2, b 1"),
    ('{"a": "text"}', "a", "neither an array nor an object"),
    ("3", "", "neither an array nor an object"),
    ('[{"a": 1},\n{"a": }]', "", r":2 is not valid JSON"),
    ('[{"a": 1}\n{"a": 2}]', "", r":2 is not valid JSON \(Expecting ','"),
    ('{"a": 1}\n{"a": ', "", r":2 is not valid JSON"),
    ("[" * 100_000, "", "is not valid JSON"),
])
def test_json_that_cannot_be_read(write, content, key, message):
    with pytest.raises(UserError, match=message):
        values("json", write(content), key=key)


def test_json_bad_utf8_is_one_broken_row(write):
    rows = values("json", write(b'[{"a": "fine \xc3\xa9"},\n{"a": "b\xff"},\n{"a": "fine"}]'))
    assert rows[0] == (1, {"a": "fine é"}) and rows[2] == (3, {"a": "fine"})
    assert rows[1][0] == 2 and rows[1][1].startswith("row 2 is not valid in its encoding")


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [f"t{i}" for i in range(2500)], "tags": [["a"]] * 2500}), path, row_group_size=700)
    rows = values("parquet", path)
    assert rows[0] == (1, {"text": "t0", "tags": ["a"]}) and rows[-1] == (2500, {"text": "t2499", "tags": ["a"]})
    assert [line for line, _ in rows] == list(range(1, 2501))


def test_parquet_with_a_name_twice(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], ["a", "b", "a"]), tmp_path / "a.parquet")
    assert values("parquet", str(tmp_path / "a.parquet")) == [(1, {"a (1)": 1, "b": 2, "a (2)": 3})]


def test_parquet_bad_utf8_is_one_broken_row(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    raw = pa.array([b"x", b"y", b"\xff", b"z"]).view(pa.string())  # a writer that did not check its bytes
    pq.write_table(pa.table({"text": raw}), tmp_path / "a.parquet")
    assert values("parquet", str(tmp_path / "a.parquet")) == [
        (1, {"text": "x"}), (2, {"text": "y"}), (3, "it is not valid UTF-8"), (4, {"text": "z"})]


def test_parquet_that_is_none(write):
    with pytest.raises(UserError, match="data.file is not a readable parquet file"):
        values("parquet", write("no parquet"))


def test_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        values("csv", str(tmp_path / "none.csv"))
