"""csv and tsv as people write them: delimiters, quotes, headers, and the words about what is odd."""

import pytest

from tfft.data import fields, formats
from tfft.data.dialect import NONE, dialect
from tfft.data.fields import Unusable
from tfft.data.records import Broken, Note, Record
from tfft.errors import UserError


@pytest.fixture
def read(tmp_path, monkeypatch):
    """read(content, kind="csv", ...) -> (rows, notes, [(line, reason)])"""
    monkeypatch.chdir(tmp_path)

    def read(content, kind="csv", **settings):
        (tmp_path / "a.file").write_bytes(content if isinstance(content, bytes) else content.encode())
        read = list(formats.read(kind, "a.file", **settings))
        return ([list(r.values.values()) for r in read if isinstance(r, Record)], [r.text for r in read if isinstance(r, Note)],
                [(r.line, r.reason) for r in read if isinstance(r, Broken)])
    return read


ROWS = [["soft, and clean; quite", "p"], ["said \"no\"", "n"], ["plain", "p"]]


def written(rows, delimiter, header=("text", "label"), quotes=True):
    def field(value):
        return '"' + value.replace('"', '""') + '"' if quotes and any(c in value for c in delimiter + '"') else value
    return "".join(delimiter.join(map(field, row)) + "\n" for row in [*([header] if header else []), *rows])


@pytest.mark.parametrize("delimiter, name", [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
@pytest.mark.parametrize("header", [True, False])
def test_other_delimiters_are_found_with_a_word(read, delimiter, name, header):
    content = written(ROWS, delimiter, ("text", "label") if header else None)
    rows, (note,), broken = read(content, header=header)
    assert rows == ROWS and not broken
    assert f"separated by {name}" in note and "--config.data.delimiter=," in note
    assert read(content, delimiter="tab" if delimiter == "\t" else delimiter, header=header) == (ROWS, [], [])


@pytest.mark.parametrize("content", [
    written(ROWS, ","), "text,label\n" + "".join(f"a; b; c{i},p\n" for i in range(9)),
    'text,label\n"a\tb|c;d",p\n"e\tf|g;h",p\n', "text,label\n", "", "text\na; b\nc; d\n", "text\na|b\tc\n",
    "id,text;more\n1,a;b\n",
    'text,label\n"one; two\nthree; four",p\n'])
def test_commas_are_not_mistaken(read, content):
    assert dialect(content.splitlines(True), "csv", "auto", "auto", header=True).delimiter in (",", NONE)
    assert not read(content)[1] and not read(content)[2]


def test_commas_of_prose_do_not_separate(read):
    rows = [[f"Well, then, {i}", "p"] for i in range(9)]
    assert read(written(rows, ";", None, quotes=False), header=False)[0] == rows
    for texts in (["Hello, world", "no comma", "one, two, three"], ["Hello, world", "Good, day"]):
        found, (note,), broken = read("text\n" + "".join(text + "\n" for text in texts))
        assert found == [[text] for text in texts] and "one column" in note and not broken
    assert "it has 2 fields where the header has 1" in read("text\ngood,p\nbad,n\n")[2][0][1]


def test_what_excel_writes_first(read):
    assert read('sep=;\r\ntext;label\r\n"a;b";p\r\n')[0] == read('"sep=;"\ntext;label\n"a;b";p\n')[0] == [["a;b", "p"]]
    rows, (note,), _ = read("sep=,\ntext,label\na,p\n")
    assert rows == [["a", "p"]] and "first line says that commas separate its fields" in note
    rows, (note,), _ = read("sep=;\na|p\n", delimiter="|", header=False)
    assert rows == [["a", "p"]] and "config.data.delimiter=| decides" in note


@pytest.mark.parametrize("delimiter", [";;", "", "\n", '"'])
def test_delimiters_that_are_none(read, delimiter):
    with pytest.raises(UserError, match="config.data.delimiter=.* must be one character"):
        read("a\n", delimiter=delimiter)


@pytest.mark.parametrize("delimiter, field, number", [
    (";", "3,5", 3.5), (";", " -0,25 ", -0.25), (";", "1.234,5", 1234.5), (";", "1,234", 1.234), (";", "1.5", 1.5),
    ("\t", "3,5", 3.5),
    ("|", "12,75", 12.75), ("\t", "1,234", None), (",", "3,5", None), (";", "1,2,3", None), (";", "a,5", None)])
def test_decimal_commas_where_the_delimiter_leaves_them_free(read, delimiter, field, number):
    rows, _, _ = read(written([["a", field]], delimiter))
    assert rows == [["a", field]]
    if number is not None:
        assert fields.number(rows[0][1], "y") == number
    else:
        with pytest.raises(Unusable, match="which is no number"):
            fields.number(rows[0][1], "y")


def test_backslashes_before_quotes(read):
    content = 'text,label\n"He said \\"fine\\", twice",p\n"C:\\new, \\\\ and",n\n"ends \\"here\\"",p\n'
    rows, (note,), broken = read(content)
    assert rows == [['He said "fine", twice', "p"], ["C:\\new, \\ and", "n"], ['ends "here"', "p"]] and not broken
    assert "read as a quote" in note and "--config.data.quoting=double" in note
    assert read(content, quoting="backslash") == (rows, [], [])
    assert read('text,label\n"C:\\",p\n"plain",n\n') == ([["C:\\", "p"], ["plain", "n"]], [], [])


def test_quotes_in_a_tab_separated_csv(read):
    rows, notes, broken = read('text\tlabel\n"Great" film\tp\nplain\tn\n')
    assert rows == [['"Great" film', "p"], ["plain", "n"]] and not broken
    assert "separated by tabs" in notes[1] and "read as characters" in notes[0]
    assert read('text\tlabel\n"Great\tfilm"\tp\n')[0] == [["Great\tfilm", "p"]]
    ragged = 'a, b\tp\nc\tn\t"more\n"d" e, f\tp\t\t\n'
    assert read(ragged, header=False)[0] == [line.split("\t") for line in ragged.splitlines()]


def test_quotes_in_a_file_of_one_column(read):
    rows, notes, broken = read('text\n"Great" film, really\nplain\n')
    assert rows == [['"Great" film, really'], ["plain"]] and not broken and "read as characters" in notes[0]
    assert read('text\n"Great, film"\n"one\ntwo"\n')[0] == [["Great, film"], ["one\ntwo"]]


def test_blanks_before_quotes(read):
    rows, notes, broken = read('text, label\n"a, b",p\n"c", "n"\nd, "x\ny"\n')
    assert rows == [["a, b", "p"], ["c", "n"], ["d", "x\ny"]] and not broken
    assert notes == ["blanks around the names in its header are left out"]
    assert read("text,label\n a, p\n")[0] == [[" a", " p"]]


@pytest.mark.parametrize("content, rows, told", [
    ('"text"\t"label"\n"a ""b"""\t"p"\n', [['a "b"', "p"]], True),
    ('text\tlabel\n"a ""b"""\tp\nc\tn\n', [['a "b"', "p"], ["c", "n"]], True),
    ('text\tlabel\n"a"\tp\n', [['"a"', "p"]], False),
    ('text\tlabel\n"a ""b"\tp\n"c\tn\n', [['"a ""b"', "p"], ['"c', "n"]], False)])
def test_quotes_in_tsv(read, content, rows, told):
    found, notes, broken = read(content, "tsv")
    assert found == rows and not broken
    assert notes == (["its quotes are read as those around fields, which its first lines show (to keep them as characters: "
                      "--config.data.quoting=none)"] if told else [])


@pytest.mark.parametrize("again", ["text,label\n", "Text, LABEL\r\n", "\ufefftext,label\n", '"text","label"\n'])
def test_a_header_in_the_middle_is_skipped_with_a_word(read, again):
    rows, (note,), broken = read(f"text,label\na,p\n{again}b,n\n")
    assert rows == [["a", "p"], ["b", "n"]] and not broken
    assert note == "line 3 repeats the header and is skipped, as where files were put together"
    assert read(f"text,label\na,p\n{again}{again}")[1] == ["2 lines (the first: 3) repeat the header and are skipped, as where "
                                                           "files were put together"]


def test_a_header_of_other_columns_in_the_middle(read):
    with pytest.raises(UserError, match="a.file:3: this line names the columns of the header in another order"):
        read("text,label\na,p\nlabel,text\np,b\n")
    assert read("text\na\ntext\n")[0] == [["a"], ["text"]]  # of one column, which may be a text


def test_a_first_row_that_looks_like_a_header(read):
    rows, (note,), _ = read("text,label\na,p\n", header=False)
    assert len(rows) == 2 and note.startswith("line 1 looks like a header (text, label) and is read as a row")
    assert not read("a text,p\n", header=False)[1]


@pytest.mark.parametrize("header, names, told", [
    ("text , label", ["text", "label"], "blanks around"), ("text,", ["text", "Unnamed: 1"], ""), (",,text", None, ""),
    ("a,b,a", ["a (1)", "b", "a (2)"], "names 'a' twice")])
def test_names_of_columns(tmp_path, header, names, told):
    (tmp_path / "a.csv").write_text(f"{header}\n{','.join('123'[:header.count(',') + 1])}\n")
    read = list(formats.read("csv", str(tmp_path / "a.csv")))
    record = next(r for r in read if isinstance(r, Record))
    assert list(record.values) == (names or ["Unnamed: 0", "Unnamed: 1", "text"])
    assert [told in r.text for r in read if isinstance(r, Note)] == [True] * bool(told)


def test_a_quote_that_swallows_rows(read):
    good = "".join(f"row {i},{'pn'[i % 2]}\n" for i in range(8))
    rows, _, ((line, reason),) = read(f'text,label\n{good}"open,p\nrow,n\nrow,p\nend",n\nlast,p\n')
    assert line == 10 and len(rows) == 9 and rows[-1] == ["last", "p"]
    assert "closed in line 13 only, and 2 of the lines between look like rows" in reason
    assert read(f'text,label\n{good}"one\ntwo, or more\nthree, or so\nfour",n\n')[2] == []  # lines of a text
    (_, reason), = read(f'text,label\n{good}"open,p\nrow,n\n"next",p\n')[2]
    assert "text follows a closing quote in line 12; lines 10 to 12 are lost" in reason


@pytest.mark.parametrize("first, other", [('{"text": "a"}', "jsonl"), ('[{"text": "a"}]', "json"), ("[\n1]", "json")])
def test_json_under_another_name(read, first, other):
    with pytest.raises(UserError, match=f"looks like JSON, no csv file.* Read it as {other}:a.file"):
        read(first + "\n")
