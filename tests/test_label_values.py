"""What the values of a label column are: names, ids, or a 0 or 1 for each label; in every format, with names given or not."""

import csv
import decimal
import json
import re

import numpy as np
import pytest
from stores import learnt, named, read_store

from tfft.config import resolve
from tfft.data.fields import name
from tfft.data.sources import Record, Source
from tfft.errors import UserError
from tfft.tasks.text_classification.labels import LabelColumn
from tfft.tasks.text_classification.rows import given_labels, label_lines, row_fields

NAMES = ("bill", "late", "good")
HOT = [[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]]
READ_HOT = [("bill", "good"), ("good",), ("bill", "late"), ()]


@pytest.fixture
def write(tmp_path):
    """write(values of the label column, format) -> a source of theirs"""
    def write(values, kind="jsonl", file="a"):
        path, rows = tmp_path / f"{file}.{kind}", [{"text": f"text {i}", "label": value} for i, value in enumerate(values)]
        if kind == "csv":
            with open(path, "w", newline="", encoding="utf-8") as out:
                csv.writer(out).writerows([["text", "label"], *(row.values() for row in rows)])
        elif kind == "parquet":
            pa = pytest.importorskip("pyarrow")
            import pyarrow.parquet as pq

            pq.write_table(pa.table({"text": [row["text"] for row in rows], "label": values}), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(path)
    return write


# ---- several labels: every way that rows of 0 and 1 are written

SPELLINGS = {
    "list": ("jsonl", lambda row: row), "floats": ("jsonl", lambda row: [float(bit) for bit in row]),
    "booleans": ("jsonl", lambda row: [bool(bit) for bit in row]), "strings": ("jsonl", lambda row: [str(bit) for bit in row]),
    "bare": ("csv", lambda row: ",".join(map(str, row))), "spaced": ("csv", lambda row: " ".join(map(str, row))),
    "semicolons": ("csv", lambda row: ";".join(map(str, row))), "bars": ("csv", lambda row: "|".join(map(str, row))),
    "json": ("csv", str), "float json": ("csv", lambda row: json.dumps([float(bit) for bit in row])),
    "python booleans": ("csv", lambda row: str([bool(bit) for bit in row])),
    "words": ("csv", lambda row: ",".join("TRUE" if bit else "FALSE" for bit in row)),
    "numpy": ("csv", lambda row: f"[{' '.join(map(str, row))}]"),
    "numpy floats": ("csv", lambda row: f"[{'. '.join(map(str, row))}.]"),
    "tuple": ("csv", lambda row: str(tuple(row))), "array": ("csv", lambda row: f"array([{', '.join(map(str, row))}])"),
    "tensor": ("csv", lambda row: f"tensor([{', '.join(f'{bit}.' for bit in row)}], dtype=torch.float64)"),
    "parquet booleans": ("parquet", lambda row: [bool(bit) for bit in row]), "parquet": ("parquet", lambda row: row),
    "parquet floats": ("parquet", lambda row: [float(bit) for bit in row])}


@pytest.mark.parametrize("kind, spell", SPELLINGS.values(), ids=SPELLINGS)
def test_rows_of_0_and_1(write, tmp_path, kind, spell):
    source = write([spell(row) for row in HOT], kind)
    labels, _, rows = learnt(tmp_path, source, "multi_label", labels=NAMES)
    assert rows == READ_HOT and labels.counts == (2, 1, 2) and labels.names == NAMES
    labels, _, rows = learnt(tmp_path, source, "multi_label")
    assert rows == [("0", "2"), ("2",), ("0", "1"), ()] and labels.names == ("0", "1", "2")
    (tmp_path / "labels.txt").write_text(label_lines(labels.names))
    assert learnt(tmp_path, source, "multi_label", labels_file=str(tmp_path / "labels.txt"))[2] == rows
    with pytest.raises(UserError, match=r"a\.\w+:[12]: its labels are .*, 3 in all, where a row has a 0 or 1 for each of 4"):
        learnt(tmp_path, source, "multi_label", labels=(*NAMES, "new"))
    with pytest.raises(UserError, match="that needs config.task.problem=multi_label"):
        learnt(tmp_path, source)


@pytest.mark.parametrize("text, names", [('"a,b",c', ("a,b", "c")), ('c, "a,b"', ("c", "a,b")), ('6" pipe,b', ('6" pipe', "b")),
                                         ('"a",b', ('"a"', "b")), ('"a,b', ('"a', "b")), ('"a,""b""",c', ('a,"b"', "c"))])
def test_names_in_quotes_may_hold_the_separator(write, tmp_path, text, names):
    assert learnt(tmp_path, write([text, "x,y"], "csv"), "multi_label")[2][0] == tuple(sorted(names))


LISTS = {"json": '["bill", "good"]', "python": "['bill', 'good']", "joined": "bill,good", "tuple": "('bill', 'good')",
         "set": "{'good', 'bill'}", "list": ["bill", "good"], "twice": ["bill", "good", "bill"], "blanks": " bill , good ,",
         "object": {"bill": 1, "late": 0, "good": True}, "json object": '{"bill": 1.0, "late": false, "good": 1}'}


@pytest.mark.parametrize("value", LISTS.values(), ids=LISTS)
def test_lists_of_names(write, tmp_path, value):
    source = write([value, "late", [], ""])
    assert learnt(tmp_path, source, "multi_label")[2] == [("bill", "good"), ("late",), (), ()]
    assert learnt(tmp_path, source, "multi_label", labels=NAMES)[2] == [("bill", "good"), ("late",), (), ()]


@pytest.mark.parametrize("value, reason", [
    ("[bill, good]", "in brackets but no list of JSON or Python: its names need quotes"),
    ([None, "bill"], "a label is missing"), ([1, float("nan"), 0], "a label is missing"), ({"bill": 0.5}, "a 0 or 1 for each"),
    ([["bill"]], "where a name is expected"), ({}, "a 0 or 1 for each")])
def test_lists_that_are_wrong(write, tmp_path, value, reason):
    with pytest.raises(UserError, match=f"a.jsonl:1: this row is broken: .*{reason}"):
        learnt(tmp_path, write([value, "late", "bill"]), "multi_label")


# values, settings -> what numbers are, each row's labels; or the message
SEVERAL = [
    ([[2, 0], [1], [0, 1]], {"labels": NAMES}, "ids", [("bill", "good"), ("late",), ("bill", "late")]),
    (["2,0", "1", "good"], {"labels": NAMES}, "ids", [("bill", "good"), ("late",), ("good",)]),
    ([[0, 1], [1], [0]], {"labels": NAMES}, "ids", [("bill", "late"), ("late",), ("bill",)]),
    ([[0, 1], [1], [0]], {}, "names", [("0", "1"), ("1",), ("0",)]),
    ([[0, 1], [1, 0]], {"labels": NAMES}, "ids", [("bill", "late"), ("bill", "late")]),
    ([[0, 1], [1, 1]], {"labels": ("a", "b")}, "multi_hot", [("b",), ("a", "b")]),
    ([[False, True], [True, False]], {"labels": ("a", "b")}, "multi_hot", [("b",), ("a",)]),
    ([[0, 1], [1, 0]], {"labels": ("a", "b"), "label_values": "multi_hot"}, "multi_hot", [("b",), ("a",)]),
    ([[0, 1], [1, 0]], {"labels": ("a", "b"), "label_values": "ids"}, "ids", [("a", "b"), ("a", "b")]),
    ([[0, 1], [1, 0]], {"label_values": "names"}, "names", [("0", "1"), ("0", "1")]),
    ([[1, 0, 1], []], {"labels": ("1", "2", "3")}, "multi_hot", [("1", "3"), ()]),
    ([[1, 3], [2]], {"labels": ("1", "2", "3")}, "names", [("1", "3"), ("2",)]),
    (["011", "110"], {"label_values": "multi_hot", "labels": NAMES}, "multi_hot", [("late", "good"), ("bill", "late")]),
    (["011", "110"], {"label_values": "names"}, "names", [("011",), ("110",)]),
    (["[red]", "blue"], {"label_values": "names"}, "names", [("[red]",), ("blue",)]),
    ([[0, 1], [1, 0]], {"labels": ("a", "b")}, None, "a.jsonl:1: it cannot be told .* config.data.labels: every row holds a 0"),
    (["011", "110"], {}, None, "a.jsonl:1: .*'011' could be a 0 or 1 for each of 3 labels"),
    ([[0, 1], [1, 0]], {}, None, "every row holds a 0 and a 1.*names .* or config.data.label_values=multi_hot"),
    ([[1, 0, 1], [0, 1]], {"labels": NAMES}, None, "has [23] numbers 0 or 1 where other rows have [23]"),
    ([[1, 0, 1], ["late"]], {"labels": NAMES}, None, "a.jsonl:1: .*holds a number twice"),
    ([[1, 0, 1], [0, 2, 0]], {"labels": NAMES}, None, "a.jsonl:1: .*its 3 numbers are not 0 and 1 alone"),
    ([[0.9, 0.1, 0.1], [0.2, 0.3, 0.5]], {}, None, "a.jsonl:1: .*its 3 numbers are not 0 and 1 alone"),
    ([[0.9, 0.1], [0.2, 0.8]], {}, None, "a.jsonl:1: .*its 2 numbers are not 0 and 1 alone"),
    ([["0.5", "1.5"], ["1.5", "2"]], {"labels": ("0.5", "1.5", "2")}, "names", [("0.5", "1.5"), ("1.5", "2")]),
    ([[1, 2], [3]], {"labels": ("1", "2", "4")}, None, "a.jsonl:1: .* '1' is a name, and as an id, counted from 0, .* for '2'"),
    ([[1, 2, 3], [3]], {"labels": NAMES}, None, "a.jsonl:1: its label '3' is neither an id from 0 to 2 .*Ids count from 0"),
]


@pytest.mark.parametrize("values, settings, what, rows", SEVERAL, ids=range(len(SEVERAL)))
def test_several_labels(write, tmp_path, values, settings, what, rows):
    if what is None:
        with pytest.raises(UserError, match=rows):
            learnt(tmp_path, write(values), "multi_label", **settings)
        return
    labels, _, read = learnt(tmp_path, write(values), "multi_label", **settings)
    assert (labels.values, read) == (what, rows)


# ---- one label

STARS = ("1", "2", "3", "4", "5")
SINGLE = [
    # names that are numbers beside values that are
    ([1, 2, 3, 4, 5], STARS, {}, list(STARS)), ([1.0, 5.0, "2.0", "3", 4], STARS, {}, ["1", "5", "2", "3", "4"]),
    ([5, 1, 1], STARS, {}, ["5", "1", "1"]), ([0, 1, 2], STARS, {}, ["1", "2", "3"]),
    ([1, 2, 3], STARS, {}, "a.jsonl:1: it cannot be told .*: '1' is a name, and as an id, counted from 0, it stands for '2'. "
                           r"Set config.data.label_values=names \(names of labels\) or config.data.label_values=ids \(ids\)"),
    ([1, 2, 3], STARS, {"label_values": "names"}, ["1", "2", "3"]),
    ([1, 2, 3], STARS, {"label_values": "ids"}, ["2", "3", "4"]),
    ([0, 5], STARS, {}, "'5' can only be a name, and '0' only an id"),
    ([0, 1, 2], ("0", "1", "2"), {}, ["0", "1", "2"]), ([0, 1, 2], ("2", "1", "0"), {}, "'0' is a name, and as an id"),
    ([0.5, 1.0, "1.50"], ("0.5", "1.0", "1.5"), {}, ["0.5", "1.0", "1.5"]),
    (["01", "02"], ("01", "02"), {}, ["01", "02"]), ([1, "02"], ("01", "02"), {}, ["01", "02"]),
    ([-1, 1, 0], ("-1", "0", "1"), {}, ["-1", "1", "0"]),
    # ids
    ([0, "1", 2.0, "late"], NAMES, {}, ["bill", "late", "good", "late"]), (["late", "bill"], NAMES, {}, ["late", "bill"]),
    ([1, 2, 3], NAMES, {}, "a.jsonl:3: its label '3' is neither an id from 0 to 2 .*Ids count from 0"),
    ([0, 0.5], NAMES, {}, "its label '0.5' is neither an id"), ([0, -1], NAMES, {}, "its label '-1' is neither an id"),
    ([0, "lte"], NAMES, {}, "a.jsonl:2: .*(labels does not name. Unknown label 'lte'. Did you mean 'late'|'lte' is neither)"),
    # truth values
    ([True, False], (), {}, ["True", "False"]), (["TRUE", "FALSE"], ("false", "true"), {}, ["true", "false"]),
    ([True, "false", 1, "0"], ("false", "true"), {}, ["true", "false", "true", "false"]),
    ([1, 0], ("true", "false"), {}, "'1' is a name, and as an id, counted from 0, it stands for 'false'"),
    ([True, False], ("neg", "pos"), {}, "'True' is no name; as an id it would stand for 'pos'"),
    ([True, "false"], ("neg", "pos"), {"label_values": "ids"}, ["pos", "neg"]),
    ([True, False], ("0", "1"), {}, ["1", "0"]),
    # what is written is a label
    ([1, 2.0, "3"], (), {}, ["1", "2", "3"]), (["1.0", "0.5"], (), {}, ["1.0", "0.5"]), (["a,b", "c"], (), {}, ["a,b", "c"]),
    (["[x]", "(y)"], (), {}, ["[x]", "(y)"]), (["0,1", "0,5"], (), {}, ["0,1", "0,5"]),
    (["['x']", "y"], (), {}, "is a list of labels; that needs config.task.problem=multi_label"),
    (["['x']", "y"], (), {"label_values": "names"}, ["['x']", "y"]),
    (["1 0 0", "0 1 0"], (), {}, "a 0 or 1 for each label; that needs config.task.problem=multi_label"),
]


@pytest.mark.parametrize("source", ["labels", "labels_file"])
@pytest.mark.parametrize("values, given, settings, rows", SINGLE, ids=range(len(SINGLE)))
def test_one_label(write, tmp_path, values, given, settings, rows, source):
    if given and source == "labels_file":
        (tmp_path / "names.txt").write_text(label_lines(given))
        settings = {**settings, "labels_file": str(tmp_path / "names.txt")}
    elif given:
        settings = {**settings, "labels": given}
    if isinstance(rows, str):
        with pytest.raises(UserError, match=rows):
            learnt(tmp_path, write(values), **settings)
    else:
        assert learnt(tmp_path, write(values), **settings)[2] == [(name,) for name in rows]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("values", [[1, 2, 3, 4, 5], [0, 1, 2, 10], [0.5, 1.0, 1.5], [-1, 0, 1], [True, False, True], [2, 1, 2],
                                    ["1", "x", "02"], ["a\nb", '"a\\nb"', '"c"', "d", "\ufefff", "e,f", "g\u2028h"]], ids=str)
def test_a_run_s_own_labels_txt_reads_its_data_as_the_run_did(write, tmp_path, values, kind):
    source = write(values, kind)
    labels, _, rows = learnt(tmp_path, source)
    labels.save(tmp_path)
    again = learnt(tmp_path, source, labels_file=str(tmp_path / "labels.txt"))
    assert again[2] == rows and again[0].names == labels.names and again[0].counts == labels.counts


def test_files_with_a_name_a_line_stay_as_they_were(tmp_path):
    (tmp_path / "labels.txt").write_text('"quoted"\n"half\n["a"]\n5\nplain\n')
    experiment = resolve({"data": {"train": "csv:a.csv", "labels_file": str(tmp_path / "labels.txt")}})
    names = given_labels(experiment, tmp_path)
    assert names == ('"quoted"', '"half', '["a"]', "5", "plain") and label_lines(names) == (tmp_path / "labels.txt").read_text()


@pytest.mark.parametrize("train, other, read", [
    (["0.5", "1.0"], [0.5, 1], ["0.5", "1.0"]), ([1, 2], ["1.0", "2.00"], ["1", "2"]),
    ([True, False], ["TRUE", "false"], ["True", "False"]),
    (["true", "false"], [1, 0], ["true", "false"]), (["1", "2"], [True, "2"], [None, "2"]),
    (["1", "01", "2"], ["1.0", 2], [None, "2"])])
def test_other_files_are_read_by_the_table(write, tmp_path, train, other, read):
    labels = learnt(tmp_path, write(train))[0]
    experiment = resolve({"data": {"train": "csv:a.csv"}})
    store = read_store(tmp_path, write(other, file="b"), experiment)
    ids = LabelColumn(store, labels).single(np.arange(len(other)))
    assert [labels.names[i] if i >= 0 else None for i in ids] == read


def test_other_files_with_rows_of_0_and_1(write, tmp_path):
    labels = learnt(tmp_path, write(HOT), "multi_label", labels=NAMES)[0]
    experiment = resolve({"task": {"problem": "multi_label"}, "data": {"train": "csv:a.csv"}})
    mixed = read_store(tmp_path, write([[0, 1, 0], "good,bill", "", ["new"]], file="b"), experiment)
    assert named(labels, mixed) == [("late",), ("bill", "good"), (), ()]
    assert LabelColumn(mixed, labels).unknown(np.arange(4)) == {"new": 1}
    with pytest.raises(UserError, match="b.jsonl:2: its labels are 1, 0, 2 in all, where a row has a 0 or 1 for each of 3"):
        LabelColumn(read_store(tmp_path, write([[0, 1, 0], [1, 0]], file="b"), experiment), labels)


# ---- a column for each label

COLUMNS = "text,bill,late,good\na,1,0,1\nb,0,0,1.0\nc,TRUE,true,0\nd,0,false,0\n"


def test_a_column_for_each_label(tmp_path):
    (tmp_path / "a.csv").write_text(COLUMNS)
    (tmp_path / "names.txt").write_text("good\nlate\nbill\n")
    source, settings = str(tmp_path / "a.csv"), {"label_columns": NAMES}
    labels, _, rows = learnt(tmp_path, source, "multi_label", **settings)
    assert labels.names == NAMES and labels.counts == (2, 1, 2) and rows == READ_HOT
    labels, _, rows = learnt(tmp_path, source, "multi_label", **settings, labels_file=str(tmp_path / "names.txt"))
    assert labels.names == ("good", "late", "bill") and rows[2] == ("late", "bill")
    with pytest.raises(UserError, match="a.csv:2: .*'bill' and 'good' both hold; .* config.task.problem=multi_label"):
        learnt(tmp_path, source, **settings)
    with pytest.raises(UserError, match="a.csv: config.data.label_columns: Unknown column 'bil'. Did you mean 'bill'"):
        learnt(tmp_path, source, "multi_label", label_columns=("bil", "good"))
    with pytest.raises(UserError, match="config.data.labels names other labels than config.data.label_columns"):
        learnt(tmp_path, source, "multi_label", **settings, labels=("bill", "late"))


@pytest.mark.parametrize("name, content, said", [
    ("a.csv", "text,a,b,n\nx,1,0,2\ny,0,1,3\n", "are a label each: --config.data.label_columns=\"('a','b')\""),
    ("a.jsonl", '{"text": "x", "a": true, "b": false}\n{"text": "y", "a": false, "b": true}', "label_columns=\"('a','b')\""),
    ("a.csv", "text,a,n\nx,1,2\ny,0,3\n", "is no header")])
def test_columns_of_0_and_1_are_seen_where_there_is_no_label(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(said)):
        learnt(tmp_path, str(tmp_path / name))


@pytest.mark.parametrize("row, said", [("a,1,0,0", [("bill",)]), ("a,0,0,0", "none of its labels holds"),
                                       ("a,1,,0",
                                        "column 'late' holds '';.* holds 1 where its label"), ("a,1,2,0", "holds '2'")])
def test_one_label_of_columns(tmp_path, row, said):
    (tmp_path / "a.csv").write_text(f"text,bill,late,good\n{row}\nz,0,1,0\n")
    if isinstance(said, str):
        with pytest.raises(UserError, match=f"a.csv:2: .*{said}"):
            learnt(tmp_path, str(tmp_path / "a.csv"), label_columns=NAMES)
    else:
        assert learnt(tmp_path, str(tmp_path / "a.csv"), label_columns=NAMES)[2][:1] == said


def test_columns_of_labels_may_be_absent_for_prediction(tmp_path):
    (tmp_path / "a.csv").write_text("text\na\n")
    experiment = resolve({"data": {"train": "csv:a.csv", "label_columns": NAMES}})
    source = Source(str(tmp_path / "a.csv"), experiment.data, row_fields(experiment, tmp_path), tmp_path)
    assert [row.values["text"] for row in source.rows(asked_only=True)] == ["a"]


@pytest.mark.parametrize("problem, settings, message", [
    ("single_label", {"label_values": "ids"}, "label_values=ids needs the names"),
    ("single_label", {"label_values": "multi_hot"}, "multi_hot is for problem=multi_label"),
    ("regression", {"label_columns": ("a", "b")}, "problem=regression has no labels"),
    ("multi_label", {"label_columns": ("a",)}, "two or more different columns"),
    ("multi_label", {"label_columns": ("a", "b"), "label_values": "names"}, "leave config.data.label_values unset"),
    ("single_label", {"label_normalisation": ("cases",)}, "Unknown kind of spelling 'cases'. Did you mean 'case'"),
    ("single_label", {"labels": ("a", "a ")}, "names a label twice"),
    ("single_label", {"labels": ("a", " ")}, "an empty name")])
def test_settings_that_do_not_fit(problem, settings, message):
    with pytest.raises(UserError, match=message):
        resolve({"task": {"problem": problem}, "data": {"train": "csv:a.csv", **settings}})


# ---- numbers

@pytest.mark.parametrize("value, text", [
    (1, "1"), (1.0, "1"), (decimal.Decimal("1.00"), "1"), (decimal.Decimal("0.30"), "0.3"), (0.3, "0.3"),
    (float(np.float32(0.3)), "0.3"), (float(np.float32(2.7)), "2.7"), (1 / 3, repr(1 / 3)), (2.0**-13, repr(2.0**-13)),
    (1e20, "100000000000000000000"), (np.int64(3), "3"),
    (decimal.Decimal("NaN"), ""), (1e300, str(int(1e300))), (0.1 + 0.2, repr(0.1 + 0.2)), (b" a ", "a"), (True, "True")])
def test_names_of_numbers_are_what_they_look_like(value, text):
    assert name(value) == text


def test_parquet_numbers(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for column in (pa.array([0.3, 1, 2.5], pa.float32()), pa.array(list(map(decimal.Decimal, ("0.30", "1", "2.50"))))):
        pq.write_table(pa.table({"text": ["a", "b", "c"], "label": column}), tmp_path / "a.parquet")
        for given in ((), ("0.3", "1.0", "2.5")):
            labels, _, rows = learnt(tmp_path, str(tmp_path / "a.parquet"), labels=given)
            assert rows == [(name,) for name in labels.names] and labels.names == (given or ("0.3", "1", "2.5"))


def test_ids_of_tensorflow_datasets_are_as_json_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(Source, "_readers", lambda self: iter([iter([Record({"text": "a", "label": value}, "tfds", i)
                                                                     for i, value in enumerate([1, 0, 1])])]))
    (tmp_path / "a.csv").write_text("")
    assert learnt(tmp_path, str(tmp_path / "a.csv"), labels=("neg", "pos"))[2] == [("pos",), ("neg",), ("pos",)]


def test_values_keep_their_differences(write, tmp_path):
    dates = [1.7e9 + i for i in range(5)]
    labels, store, read = learnt(tmp_path, write(dates), "regression")
    assert read == dates and labels.mean == 1.7e9 + 2
    assert np.diff((store.column("value") - labels.mean) / labels.deviation) == pytest.approx([0.5**0.5] * 4)
