"""Lines of text files: UTF-8 where they are, else as the config says, and a word where that decides."""

import pytest

from tfft.data import conll, formats
from tfft.data.guess import guess
from tfft.data.records import Broken, Note, Record
from tfft.errors import UserError

FRENCH, RUSSIAN = "Le café était fermé", "Фильм мне очень понравился"


@pytest.fixture
def write(tmp_path):
    def write(content, name="data.file"):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)
    return write


def texts(kind, path, column="text", **settings):
    """(texts, notes, reasons of broken rows)"""
    read = list(formats.read(kind, path, **settings))
    return ([r.values[column] for r in read if isinstance(r, Record)], [r.text for r in read if isinstance(r, Note)],
            [r.reason for r in read if isinstance(r, Broken)])


@pytest.mark.parametrize("kind, before, after", [("csv", "text\n", "\n"), ("tsv", "text\n", "\n"),
                                                 ("jsonl", '{"text": "', '"}\n'), ("json", '[{"text": "', '"}]')])
@pytest.mark.parametrize("given", ["utf-8", "cp1252", "utf-16", "gb18030", "shift_jis"])
def test_utf8_is_read_as_utf8_whatever_is_given(write, kind, before, after, given):
    found, notes, reasons = texts(kind, write((before + FRENCH + after).encode()), encoding=given)
    assert found == [FRENCH] and not reasons
    told = [note for note in notes if "UTF-8 and read so" in note]
    assert len(told) == (kind in ("csv", "tsv") and given != "utf-8") == len(notes)
    bom = texts(kind, write((before + FRENCH + after).encode("utf-8-sig")), encoding=given)
    assert bom == ([FRENCH], [], [])


@pytest.mark.parametrize("kind, before, after", [("csv", "text\n", "\n"), ("jsonl", '{"text": "', '"}\n'),
                                                 ("json", '[{"text": "', '"}]')])
@pytest.mark.parametrize("text, encoding", [(FRENCH, "cp1252"), (RUSSIAN, "cp1251"), ("这个电影非常好看", "gb18030"),
                                            (FRENCH, "utf-16"), (FRENCH, "utf-16-le"), ("映画", "iso2022_jp")])
def test_other_files_are_read_as_given(write, kind, before, after, text, encoding):
    if encoding == "iso2022_jp" and kind != "csv":
        return  # escapes, which are no JSON
    found, notes, reasons = texts(kind, write((before + text + after).encode(encoding)), encoding=encoding)
    assert found == [text] and not reasons
    assert bool(notes) == (kind != "csv") or encoding.startswith("utf-16")  # JSON is UTF-8: what is not is told


def test_each_line_of_a_file_of_two_encodings(write):
    path = write(b"text\n" + FRENCH.encode() + b"\nplain\n" + FRENCH.encode("cp1252") + b"\n")
    found, notes, _ = texts("csv", path, encoding="cp1252")
    assert found == [FRENCH, "plain", FRENCH]
    assert notes == ["line 2 is valid UTF-8 and read so, not as cp1252, which config.data.encoding names",
                     "line 4 is no UTF-8 and read as cp1252, which config.data.encoding names"]


@pytest.mark.parametrize("kind, before, after", [("csv", "text\nplain\n", "\n"), ("tsv", "text\nplain\n", "\n"),
                                                 ("jsonl", '{"text": "plain"}\n{"text": "', '"}\n'),
                                                 ("json", '[{"text": "plain"},\n{"text": "', '"}]')])
def test_what_is_no_utf8_is_broken_and_its_encoding_is_named(write, kind, before, after):
    found, _, (reason,) = texts(kind, write((before + FRENCH + after).encode("cp1252")))
    assert found == ["plain"]
    assert "in cp1252 it reads" in reason and FRENCH in reason and reason.endswith("set --config.data.encoding=cp1252)")


@pytest.mark.parametrize("given", ["latin-1", "iso-8859-1"])
def test_latin1_that_is_cp1252(write, given):
    found, (note,), _ = texts("csv", write("text\n“top” für €5\n".encode("cp1252")), encoding=given)
    assert found == ["\x93top\x94 für \x805"] and "--config.data.encoding=cp1252" in note
    assert texts("csv", write("text\nfür 5\n".encode("cp1252")), encoding=given)[1] == []


def test_a_line_in_no_encoding(write):
    _, _, (reason,) = texts("csv", write(b"text\n\x81\n"), encoding="cp1252")
    assert reason == "line 2 is neither valid cp1252 nor utf-8"


@pytest.mark.parametrize("given", ["utf-9", "hex", "rot13"])
def test_encodings_that_are_none(write, given):
    with pytest.raises(UserError, match=f"config.data.encoding='{given}' is no encoding.* Usual ones: utf-8, cp1252"):
        texts("csv", write(b"text\na\n"), encoding=given)


def test_byte_order_marks_where_files_were_put_together(write):
    part = "text,label\na,é\n".encode("utf-8-sig")
    assert texts("csv", write(part + part + '\ufeff"b, c",é\n'.encode()))[0] == ["a", "a", "b, c"]
    assert texts("csv", write('text\n"a\n\ufeffb"\n'.encode()))[0] == ["a\n\ufeffb"]  # within a field it is the text's own
    part = '{"text": "a"}\n'.encode("utf-8-sig")
    assert texts("jsonl", write(part + part)) == (["a", "a"], [], [])


def test_a_header_that_is_no_utf8(write):
    with pytest.raises(UserError, match="the header cannot be read: line 1 .*in cp1252 it reads 'texte résumé'"):
        texts("csv", write("texte résumé\na\n".encode("cp1252")))


@pytest.mark.parametrize("kind, content", [("csv", "text\né\n"), ("tsv", "text\né\n"), ("jsonl", '{"text": "é"}\n'),
                                           ("json", '[{"text": "é"}]')])
def test_utf16_by_its_byte_order_mark(write, kind, content):
    found, (note,), _ = texts(kind, write(content.encode("utf-16")))
    assert found == ["é"] and "UTF-16" in note


def test_utf16_without_a_mark(write):
    content = "text,label\ngood,x\nbad,y\n"
    with pytest.raises(UserError, match="looks like UTF-16-BE without a byte-order mark.*--config.data.encoding=utf-16-be.$"):
        texts("csv", write(content.encode("utf-16-be")))
    assert texts("csv", write(content.encode("utf-16-be")), encoding="utf-16") == (["good", "bad"], [], [])
    assert texts("jsonl", write('{"text": "good"}\n'.encode("utf-16-le")))[0] == ["good"]


@pytest.mark.parametrize("kind, lines", [("csv", ["text,label", '"one\n two",x', "b,y"]), ("tsv", ["text", "one\n two", "b"]),
                                         ("jsonl", ['{"text": "one"}', '{"text": "b"}'])])
def test_line_ends_of_old_macs_and_doubled_ones(write, kind, lines):
    usual = texts(kind, write("".join(line.replace("\n", "") + "\n" for line in lines).encode()))[0]
    for end, word in (("\r", "old Macs"), ("\r\r\n", "two carriage returns")):
        found, (note,), reasons = texts(kind, write("".join(line.replace("\n", "") + end for line in lines).encode()))
        assert found == usual and word in note and not reasons
    doubled = "".join(line.replace("\n", "\r\r\n") + "\r\r\n" for line in ["text,label", '"one\n two",x'])
    assert texts("csv", write(doubled.encode()))[0] == ["one\r\n two"]


def test_one_token_a_line_shares_the_rules(write):
    words, tags = write(f"{FRENCH}\n".encode("utf-16"), "w"), write(b"O O O O\n", "t")
    record, note = conll.read_parallel(words, tags)
    assert record.values["words"] == FRENCH.split() and note.file == words and "UTF-16" in note.text
    record, note = conll.read(write("café O\n".encode()), encoding="cp1252")
    assert record.values["0"] == ["café"] and "valid UTF-8" in note.text
    broken, = conll.read(write("café O\n".encode("cp1252")))
    assert broken.undecodable and "--config.data.encoding=cp1252" in broken.reason


@pytest.mark.parametrize("text, encoding", [
    (FRENCH, "cp1252"), ("Die Größe ist schön", "cp1252"), ("El niño comió piñas, “mañana” €5", "cp1252"),
    (FRENCH, "mac_roman"), (FRENCH, "cp850"), ("Příliš žluťoučký kůň", "cp1250"), ("Çok güzel bir şarkı", "cp1254"),
    (RUSSIAN, "cp1251"),
    (RUSSIAN, "koi8_r"), ("Καλημέρα κόσμε", "cp1253"), ("这个电影非常好看，我很喜欢", "gb18030"),
    ("這部電影很好看，我很喜歡", "big5"),
    ("この映画はとても面白かったです", "shift_jis"),
    ("この映画はとても面白かったです", "euc_jp"),
    ("이 영화는 정말 재미있었어요", "cp949"),
    ("หนังเรื่องนี้ดีมาก", "cp874")])
def test_guesses(text, encoding):
    assert guess(text.encode(encoding)) == encoding


def test_nothing_is_guessed_of_ascii():
    assert guess(b"") == guess(b"plain") == ""
