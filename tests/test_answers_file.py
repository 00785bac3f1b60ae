"""What of rows and answers stands in csv and jsonl files."""

import csv
import datetime
import decimal
import json

import pytest

from tfft.data.sources import Row
from tfft.serving.answers_file import write_answers
from tfft.tasks.base import Structured

UTC = datetime.UTC
# a value, what is in a csv field of it, what a jsonl file has
VALUES = [
    ("a", "a", "a"), (None, "", None), (True, "True", True), (3, "3", 3), (0.5, "0.5", 0.5),
    (float("nan"), "", None), (float("inf"), "", None), ([1.5, float("nan")], "[1.5, null]", [1.5, None]),
    (["a,b", "c"], '["a,b", "c"]', ["a,b", "c"]), ([], "[]", []),
    ({"x": {"y": [None]}}, '{"x": {"y": [null]}}', {"x": {"y": [None]}}),
    ("caf\u00e9".encode(), "caf\u00e9", "caf\u00e9"), (b"\xff\xfe", "//4=", "//4="),
    ([b"a", b"\xff"], '["a", "/w=="]', ["a", "/w=="]),
    (datetime.date(2024, 2, 29), "2024-02-29", "2024-02-29"), (datetime.time(7, 5), "07:05:00", "07:05:00"),
    (datetime.datetime(2024, 2, 29, 7, 5, tzinfo=UTC), "2024-02-29T07:05:00+00:00", "2024-02-29T07:05:00+00:00"),
    ({"on": datetime.date(2024, 2, 29)}, '{"on": "2024-02-29"}', {"on": "2024-02-29"}),
    (datetime.timedelta(hours=1), "1:00:00", "1:00:00"),
    (decimal.Decimal("1.10"), "1.10", 1.1),
    (decimal.Decimal("12345678901234567890"), "12345678901234567890", 12345678901234567890),
    (decimal.Decimal("0.1234567890123456789"), "0.1234567890123456789", "0.1234567890123456789"),
    (decimal.Decimal("NaN"), "NaN", None), ((1, "a"), '[1, "a"]', [1, "a"]), ([("k", 1)], '[["k", 1]]', [["k", 1]])]


def row(**record) -> Row:
    return Row("", {}, "in", 1, record)


def written(tmp_path, suffix: str, rows: list) -> list:
    write_answers(tmp_path / "out", suffix, rows)
    with open(tmp_path / "out", newline="", encoding="utf-8") as file:
        return list(csv.reader(file)) if suffix == ".csv" else [json.loads(line, parse_constant=pytest.fail) for line in file]


@pytest.mark.parametrize("value, field, member", VALUES, ids=lambda value: repr(value)[:40])
def test_values(tmp_path, value, field, member):
    assert written(tmp_path, ".csv", [(row(a=value), {"answer": 1})]) == [["a", "answer"], [field, "1"]]
    assert written(tmp_path, ".jsonl", [(row(a=value), {"answer": 1})]) == [{"a": member, "answer": 1}]


def test_answers_without_entities(tmp_path):
    answer = {"found": Structured(), "spans": Structured([{"start": 1}]), "nothing": None}
    assert written(tmp_path, ".csv", [(row(a=1), answer)])[1] == ["1", "[]", '[{"start": 1}]', ""]


def test_columns_that_later_rows_have(tmp_path):
    rows = [({"": "0", "b": 'q"\r\n'}, 1), ({}, None), ({"b": "y", "c": "new\nline", "": "2"}, 3), ({"d": []}, 4),
            ({"b": "z"}, 5)]
    made = written(tmp_path, ".csv", [(row(**record), {"answer": answer}) for record, answer in rows])
    assert made == [["", "b", "c", "d", "answer"], ["0", 'q"\r\n', "", "", "1"], ["", "", "", "", ""],
                    ["2", "y", "new\nline", "", "3"], ["", "", "", "[]", "4"], ["", "z", "", "", "5"]]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_rows_that_could_not_be_read_before_any_that_could(tmp_path):
    rows = [({}, None), ({}, None), ({"a": 1}, 2)]
    made = written(tmp_path, ".csv", [(row(**record), {"answer": answer}) for record, answer in rows])
    assert made == [["a", "answer"], ["", ""], ["", ""], ["1", "2"]]
