"""What a source makes of files that are not as expected: columns, encodings and words, in every format."""

import gzip
import json
import pathlib

import pytest

from tfft.config import Data
from tfft.data import fields
from tfft.data.fields import Field
from tfft.data.sources import Source
from tfft.errors import UserError

TEXT = Field("text", "text_column", "text", fields.text)
FIELDS = (TEXT, Field("label", "label_column", "label", fields.text, asked=False))
FRENCH = "Le café était fermé"


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make(content, spec, fields, **data settings) -> Source"""
    monkeypatch.chdir(tmp_path)

    def make(content, spec="csv:a.csv", own=FIELDS, **settings):
        if content is not None:
            (tmp_path / spec.split(":")[-1]).write_bytes(content if isinstance(content, bytes) else content.encode())
        return Source(spec, Data(**settings), own, tmp_path)
    return make


def texts(source, **more):
    return [row.values["text"] for row in source.rows(**more)]


def test_the_first_json_line_decides_nothing(make):
    rows = [{"text": "a"}, {"text": "b", "label": "x"}, {"label": "y"}, {"more": 1}]
    for spec, content in (("jsonl:a.jsonl", "\n".join(map(json.dumps, rows))), ("json:a.json", json.dumps(rows))):
        source = make(content, spec, on_broken_row="skip")
        assert texts(source) == ["b"] and source.broken_count == 3
        assert [broken.reason for broken in source.broken] == [f"column {name!r} (its text) is missing"
                                                               for name in ("label", "text", "text")]
        assert texts(source, asked_only=True) == ["a", "b"]


def test_a_wrong_column_of_json_is_told_at_once(make):
    content = "".join(json.dumps({"text": "a", "lable": "x", **({"n": i} if i % 2 else {})}) + "\n" for i in range(3000))
    for use in (texts, Source.look):
        with pytest.raises(UserError, match="a.jsonl: config.data.label_column: Unknown column 'label'. Did you mean 'lable'.*"
                                            "Known: text, lable, n. None of its first 1,000 rows has it"):
            use(make(content, "jsonl:a.jsonl"))
    late = "".join('{"label": "x"}\n' for _ in range(999)) + '{"text": "a", "label": "x"}\n'
    assert texts(make(late, "jsonl:a.jsonl", on_broken_row="skip")) == ["a"]


@pytest.mark.parametrize("content, spec, settings, hint", [
    ("A soft and clean seat here,pos\na,b\n", "csv:a.csv", {},
     "The first line looks like a row, no header: set --config.data.header=False"),
    ("txt,label\na,b\n", "csv:a.csv", {}, "If the first line of the file is no header"),
    ("text,text,label\n1,2,3\n", "csv:a.csv", {}, "There are several 'text': name the one"),
    ('{"text": "a", "label": "x", "text": "b"}', "jsonl:a.jsonl", {}, r"Did you mean 'text \(\d\)'.*There are several 'text'"),
    ("text,label\na,b\n", "tsv:a.tsv", {}, "The header has no tab: .*write csv:a.tsv"),
    ("text;label\na;b\n", "csv:a.csv", {"delimiter": ","}, "If ';' separates the fields: --config.data.delimiter=;")])
def test_what_may_be_wrong_where_a_column_is_missing(make, content, spec, settings, hint):
    source = make(content, spec, on_broken_row="skip", **settings)
    with pytest.raises(UserError, match=hint):
        texts(source)


@pytest.mark.parametrize("spec, before, row, after", [
    ("csv:a.csv", "text,label\n", "{},x\n", ""), ("tsv:a.tsv", "text\tlabel\n", "{}\tx\n", ""),
    ("jsonl:a.jsonl", "", '{{"text": "{}", "label": "x"}}\n', ""),
    ("json:a.json", "[", '{{"text": "{}", "label": "x"}},\n', "{}]")])
def test_skip_leaves_out_a_percent_for_their_encoding_at_most(make, spec, before, row, after):
    def content(bad):
        return (before.encode() + b"".join(row.format(FRENCH if i < bad else "plain").encode("cp1252") for i in range(300))
                + after.encode())
    source = make(content(2), spec, on_broken_row="skip")
    assert texts(source) == ["plain"] * 298
    source = make(content(4), spec, on_broken_row="skip")
    with pytest.raises(UserError, match="4 of 30[01] rows are not in the encoding.*--config.data.encoding=cp1252"):
        texts(source)
    assert len(texts(make(None, spec, encoding="cp1252", on_broken_row="skip"))) == 300
    with pytest.raises(UserError, match=f"in cp1252 it reads .*{FRENCH}.*set --config.data.encoding=cp1252") as raised:
        texts(make(None, spec))
    assert "skip" not in str(raised.value)


def test_a_cp1252_run_reads_later_files_as_what_they_are(make):
    settings = dict(encoding="cp1252")
    assert texts(make(f"text,label\n{FRENCH},x\n".encode("cp1252"), **settings)) == [FRENCH]
    source = make(f"text,label\n{FRENCH},x\n", **settings)
    assert texts(source) == [FRENCH]
    assert source.told() == ["a.csv: line 2 is valid UTF-8 and read so, not as cp1252, which config.data.encoding names"]
    source = make(f'{{"text": "{FRENCH}", "label": "x"}}\n', "jsonl:a.jsonl", **settings)
    assert texts(source) == [FRENCH] and source.told() == []


def test_words_on_several_files_are_one(make):
    for name in "abc":
        pathlib.Path(f"{name}.csv").write_text("text;label\nfine;x\n")
    source = make(None, "csv:*.csv")
    assert texts(source) == texts(source) == ["fine"] * 3
    (word,) = source.told()
    assert word.startswith("a.csv and 2 more: its fields are separated by semicolons")
    assert texts(make("text;label\n;x\n", "csv:d.csv", on_broken_row="skip")) == []


def test_decimal_commas_are_numbers_where_semicolons_separate(make):
    own = (TEXT, Field("size", "size_column", "size", fields.number, asked=False))
    source = make("text;size\nfine;3,5\nbad;-1.000,25\n", own=own)
    assert [row.values["size"] for row in source.rows()] == [3.5, -1000.25]
    with pytest.raises(UserError, match="holds '3,5', which is no number: write a decimal point, or separate"):
        list(make('text,size\nfine,"3,5"\n', own=own).rows())
    with pytest.raises(UserError, match="holds '3,500.5', which is no number: if it is 3500.5, write it so; if the comma"):
        list(make('text,size\nfine,"3,500.5"\n', own=own).rows())


@pytest.mark.parametrize("spec", ["a.csv.gz", "csv:b.gz", "a.CSV.GZ"])
def test_packed_files_by_their_suffix(make, spec):
    content = gzip.compress(b"text,label\nfine,x\n")
    assert texts(make(content, spec)) == ["fine"]
    assert make(None, spec).kind == "csv"


def test_packed_json_with_members(make):
    content = gzip.compress(json.dumps({"train": [{"text": "fine", "label": "x"}]}).encode())
    make(content, "json:a.json.gz")
    assert texts(make(None, "a.json.gz#train")) == ["fine"]


@pytest.mark.parametrize("spec, message", [
    ("book.xlsx", "book.xlsx is an Excel workbook.*then read csv:book.csv"),
    ("rows.txt", "write the kind before it, e.g. csv:rows.txt"),
    ("rows.gz", "Known suffixes: .csv.*those of packed files after them"), ("page.htm", "is a web page")])
def test_files_of_no_known_kind(make, spec, message):
    with pytest.raises(UserError, match=message):
        make("<html>" if spec == "page.htm" else "rows", spec)


def test_a_blank_line_and_the_repeated_header_are_no_rows(make):
    source = make("text,label\na,x\n  \ntext,label\nb,y\n")
    assert texts(source) == ["a", "b"]
    assert source.told() == ["a.csv: line 4 repeats the header and is skipped, as where files were put together"]
    assert source.fingerprint() != make(None, delimiter=",").fingerprint()


def test_plain_text_by_lines_and_by_files(make, tmp_path):
    source = make("\ufeffone line\n\n  \nanother\r\n\u00e9\n", "text:a.txt", (TEXT,))
    assert [(row.values["text"], row.line) for row in source.rows()] == [("one line", 1), ("another", 4), ("\u00e9", 5)]
    (tmp_path / "b.txt").write_text(" \n")
    rows = list(make(None, "files:*.txt", (TEXT,)).rows())
    assert [row.values["text"] for row in rows] == ["one line\n\n  \nanother\r\n\u00e9\n"] and rows[0].file.endswith("a.txt")


def test_plain_text_that_is_not_utf8_is_told(make):
    for spec in ("text:a.txt", "files:a.txt"):
        with pytest.raises(UserError, match="line 2 is not valid utf-8 .in cp1252 it reads 'caf\u00e9"):
            list(make(b"fine\ncaf\xe9\n", spec, (TEXT,)).rows())
