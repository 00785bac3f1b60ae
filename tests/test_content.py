"""What a file is, by its bytes: unpacked, or refused with the way out."""

import bz2
import gzip
import io
import lzma
import pickle
import random
import tarfile
import zipfile

import pytest

from tfft.data import formats
from tfft.data.content import wide
from tfft.data.records import Note, Record
from tfft.errors import UserError

CSV = b"text,label\ngood,p\nbad,n\n"


def zstandard(some: bytes) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(some)
    return sink.getvalue().to_pybytes()


def zipped(**members) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return sink.getvalue()


def tarred(some: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        info = tarfile.TarInfo("a.csv")
        info.size = len(some)
        archive.addfile(info, io.BytesIO(some))
    return sink.getvalue()


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard,
           "zip": lambda some: zipped(a_csv=some)}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content, name):
        (tmp_path / name).write_bytes(content)
        return name
    return write


def read(kind, path, **settings):
    """(rows, notes)"""
    read = list(formats.read(kind, path, **settings))
    return [r.values for r in read if isinstance(r, Record)], [r.text for r in read if isinstance(r, Note)]


@pytest.mark.parametrize("packer", PACKERS)
def test_packed_files_are_read_whatever_their_name(write, packer):
    rows = [{"text": "good", "label": "p"}, {"text": "bad", "label": "n"}]
    packed = PACKERS[packer](CSV)
    assert read("csv", write(packed, f"a.csv.{packer}")) == (rows, [])
    found, (note,) = read("csv", write(packed, "a.csv"))
    assert found == rows and "whatever its name" in note
    assert read("csv", write(CSV, f"plain.csv.{packer}")) == (rows, [])


def test_packed_json_and_parquet(write):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    assert read("jsonl", write(gzip.compress(b'{"a": 1}\n'), "a.jsonl.gz")) == ([{"a": 1}], [])
    assert read("json", write(zstandard(b'[{"a": 1}]'), "a.json.zst")) == ([{"a": 1}], [])
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    assert read("parquet", write(gzip.compress(sink.getvalue()), "a.parquet.gz")) == ([{"a": 1}], [])
    with pytest.raises(UserError, match="a.csv is a Parquet file.*Read it as parquet:a.csv"):
        read("csv", write(sink.getvalue(), "a.csv"))


def test_a_large_packed_file_is_read_to_its_end(write):
    rows = b"text,label\n" + b"".join(b"text number %d,x\n" % i for i in range(100_000))
    assert len(read("csv", write(gzip.compress(rows, 1), "a.csv.gz"))[0]) == 100_000


def test_a_zip_archive_that_is_damaged(write):
    archive = bytearray(zipped(a_csv=CSV))
    archive[archive.index(b"good")] ^= 1
    with pytest.raises(UserError, match="is compressed, and damaged or cut off"):
        read("csv", write(archive, "a.csv.zip"))


@pytest.mark.parametrize("packer", ["gz", "xz", "bz2", "zst"])
def test_a_packed_file_that_was_cut_off(write, packer):
    with pytest.raises(UserError, match="is compressed, and damaged or cut off .*download it once more"):
        read("csv", write(PACKERS[packer](random.Random(0).randbytes(9000))[:5000], f"a.csv.{packer}"))


@pytest.mark.parametrize("content, message", [
    (zipped(a_csv=CSV, b_csv=CSV), r"zip archive of 2 files: a.csv, b.csv. Unpack it \(unzip book.xlsx\)"),
    (b"PK\x03\x04 no archive", "begins like an Excel workbook, and is damaged.*'CSV UTF-8'"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1", r"old Office document.*'CSV UTF-8', then read csv:book.csv"),
    (b"%PDF-1.4", "PDF document"), (b"SQLite format 3\0" + bytes(90), "SQLite database.*sqlite3 -header"),
    (pickle.dumps({"a": 1}), "pickle.*to_parquet"), (tarred(CSV), "tar archive.*tar -xf"),
    (gzip.compress(tarred(CSV)), "tar archive"),
    (b"\n<!DOCTYPE html>\n<html>", "web page.*Raw"), (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS.*git lfs pull"),
    (random.Random(0).randbytes(3000), "is binary: it begins with the bytes"), (bytes(100), "is binary"),
])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_what_is_no_text_is_refused_with_the_way_out(write, kind, content, message):
    with pytest.raises(UserError, match=message) as raised:
        read(kind, write(content, "book.xlsx"))
    assert str(raised.value).endswith(".") and "config." not in str(raised.value)


def test_a_workbook_by_its_members(write):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("xl/workbook.xml", "")
    with pytest.raises(UserError, match="a.csv is an Excel workbook.*save the sheet as 'CSV UTF-8', then read csv:a.csv"):
        read("csv", write(sink.getvalue(), "a.csv"))


@pytest.mark.parametrize("encoding, found", [("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"),
                                             ("utf-32", "utf-32"), ("utf-32-le", "utf-32-le"), ("utf-32-be", "utf-32-be"),
                                             ("utf-8", ""), ("utf-8-sig", ""), ("gb18030", "")])
@pytest.mark.parametrize("text", ["text,label\ngood,p\nbad,n\n", "text,label\n这个电影非常好看,好\n", "a\tb\n\"é€\"\t1\n"])
def test_encodings_of_several_bytes_a_character(text, encoding, found):
    assert wide(text.encode(encoding)) == found
