"""The rows of a file that are asked about: each keeps its place, and lines that are in no row are known."""

import pytest

from tfft.config import resolve
from tfft.errors import UserError
from tfft.serving.asked_rows import AskedRows
from tfft.tasks.fields import FIELDS

PLAIN = "".join(f"text {i},{'np'[i % 2]}\n" for i in range(8))


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """ask(name, content, keep) -> AskedRows, read."""
    monkeypatch.chdir(tmp_path)

    def ask(name: str, content: str | bytes, keep: bool = True, **settings):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        experiment = resolve({"data": {"train": "csv:a.csv", "on_broken_row": "skip", **settings}})
        rows = AskedRows(name, experiment.data, FIELDS["text_classification"](experiment, tmp_path), tmp_path, keep)
        rows.all = list(rows.rows(asked_only=True))
        return rows
    return ask


@pytest.mark.parametrize("content", [
    f'text,label\n{PLAIN}"never closed,n\n{PLAIN}', f'text,label\n{PLAIN}"never closed,n\n{PLAIN}closed" here,n\n{PLAIN}',
    f'text,label\n{PLAIN}"closed late,n\n{PLAIN}and" closed",n\n{PLAIN}',
    f'text,label\n{PLAIN}"closed late,n\n{PLAIN}",n\n{PLAIN}'])
def test_lines_in_no_row(ask, content):
    rows = ask("a.csv", content)
    assert rows.lost and rows.lost.line == 10 and rows.read == len(rows.all) >= 9
    assert [bool(row.values) for row in rows.all[:9]] == [True] * 8 + [False]


def test_no_line_is_lost_where_a_field_has_several(ask):
    rows = ask("a.csv", f'text,label\n{PLAIN}"two\nlines",n\n1,2,3\n,n\n')
    assert not rows.lost and [bool(row.values) for row in rows.all] == [True] * 9 + [False] * 2
    assert [row.record for row in rows.all[9:]] == [{}, {"text": "", "label": "n"}]


def test_rows_that_are_left_out_are_counted(ask):
    rows = ask("a.csv", f"text,label\n{PLAIN}1,2,3\n,n\n", keep=False)
    assert len(rows.all) == 8 and rows.read == 10 and rows.told()[-1].startswith("2 broken rows skipped; first: a.csv:10")


def test_what_is_odd_is_told(ask):
    rows = ask("a.csv", f"text,n,n\n{PLAIN.replace(',', ',1,')}1\n,2,3\n")
    assert rows.told()[0].startswith("a.csv: its header names 'n' twice") and rows.told()[1:] == [
        "1 row against its file's format is kept empty; first: " + rows.told()[1].split("first: ")[1],
        "1 row has an empty answer; first: a.csv:11: column 'text' (its text) is empty"]


def test_more_than_damage_of_an_encoding_is_an_error(ask):
    with pytest.raises(UserError, match="8 of 8 rows are not in the encoding"):
        ask("a.csv", f"text,label\n{PLAIN}".replace("text ", "caf\u00e9 ").encode("cp1252"))
    assert ask("a.csv", f"text,label\n{PLAIN}".replace("text ", "caf\u00e9 ").encode("cp1252"), encoding="cp1252").read == 8


@pytest.mark.parametrize("content, told", [
    ("text\n", "a.csv has no rows."), ("text,n\n1,2,3\n", "The one row of a.csv cannot be answered: a.csv:2: it has 3 fields"),
    ("text,n\n,1\n,2\n", "None of the 2 rows of a.csv can be answered; first: a.csv:2: column 'text' (its text) is empty.")])
def test_nothing_to_answer(ask, content, told):
    assert ask("a.csv", content).nothing().startswith(told)
