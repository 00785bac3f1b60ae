"""A source read in parts gives the rows, and tells the words, of one that is read at once."""

import gzip
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.config import resolve
from tfft.data.heard import Heard
from tfft.data.parts import Part, cut, groups, times_read
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.tasks.fields import FIELDS

COUNTS = st.lists(st.integers(0, 6), min_size=1, max_size=6)
END = st.none() | st.integers(0, 40)


@given(COUNTS, st.integers(0, 9), END, st.integers(1, 9))
def test_parts_have_every_record_once_and_are_alike(counts, first, last, shards):
    """A part reads its units from their first record, and the next begins where it ends."""
    records = [(unit, number) for unit, count in enumerate(counts) for number in range(count)]
    wanted = records[first:last]
    parts = cut(counts, first, last, shards)
    made = []
    for part in parts:
        read = [record for record in records if part.begin <= record[0] < part.end]
        made.append(read[part.skip:] if part.take is None else read[part.skip:part.skip + part.take])
    assert sum(made, []) == wanted and len(parts) == min(shards, len(wanted))
    assert not parts or max(map(len, made)) - min(map(len, made)) <= 1
    assert [part.first for part in parts] == [True] * bool(parts) + [False] * (len(parts) - 1)


def test_times_read():
    counts = [4, 4]
    assert times_read(counts, cut(counts, 0, None, 2)) == times_read(counts, cut(counts, 0, None, 1)) == 1
    assert times_read([8], cut([8], 0, None, 4)) == (2 + 4 + 6 + 8) / 8
    assert times_read([0], []) == 0


def test_units_without_records_are_read_for_their_words():
    assert cut([0, 4, 0, 4, 0], 0, None, 2) == [Part(0, 2, 0, None, True), Part(2, 5, 0, None)]
    assert cut([0, 4, 0, 4, 0], 0, 8, 2)[1] == Part(2, 4, 0, 4)  # reading at once ends with the eighth record


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(1, 12))
def test_groups_have_every_unit_once(sizes, number):
    made = groups(sizes, number)
    assert [unit for begin, end in made for unit in range(begin, end)] == list(range(len(sizes)))
    assert all(begin < end for begin, end in made)


def test_groups_are_of_like_size():
    assert groups([1] * 6, 3) == [(0, 2), (2, 4), (4, 6)] and groups([9, 1, 1], 2) == [(0, 1), (1, 3)]


def lines(count: int, kind: str) -> str:
    """Rows of which some are broken, and odd words on files."""
    if kind == "csv":
        made = [f'"text {i},\nand more",{"np"[i % 2]}' if i % 3 else f",{i}" for i in range(count)]
        return "\n".join(["text,label", *made[:3], "text,label", *made[3:], ""])
    if kind == "jsonl":
        rows = [{"text": f"t{i}", "label": "np"[i % 2]} for i in range(count)]
        return "".join(json.dumps(row) + "\n" if i % 4 != 1 else "{\n" for i, row in enumerate(rows))
    return json.dumps([{"text": f"t{i}" if i % 4 else None, "label": "np"[i % 2]} for i in range(count)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("csv", "jsonl", "json"):
        for number, count in enumerate((7, 1, 0, 13)):
            pathlib.Path(f"{number}.{kind}").write_text(lines(count, kind))
    for number in range(5):
        pathlib.Path(f"{number}.txt").write_text(f"text {number}")
    pathlib.Path("z.jsonl.gz").write_bytes(gzip.compress(lines(9, "jsonl").encode()))
    pathlib.Path("latin.csv").write_bytes(b"text,label\n" + b"good,n\n" * 250 + b"caf\xe9,p\n" + b"bad,p\n" * 250)
    return tmp_path


def source(spec: str, **data) -> Source:
    task = "masked_lm" if spec.startswith("files:") else "text_classification"
    experiment = resolve({"task": {"name": task}, "data": {"train": spec, "on_broken_row": "skip", **data}})
    return Source(spec, experiment.data, FIELDS[task](experiment, pathlib.Path()), pathlib.Path())


SPECS = [("csv:*.csv", {}), ("jsonl:*.jsonl", {}), ("json:*.json", {}), ("jsonl:z.jsonl.gz", {}), ("csv:[013].csv[3:15]", {}),
         ("csv:[013].csv[20%:90%]", {}), ("csv:[013].csv[1:]", {"where": "label=p"}), ("csv:[013].csv", {"where": "label=n"}),
         ("files:*.txt", {}), ("csv:latin.csv", {})]


@pytest.mark.parametrize("spec, data", SPECS, ids=[spec + data.get("where", "") for spec, data in SPECS])
@pytest.mark.parametrize("shards", [1, 3, 8])
def test_parts_of_a_source_are_the_whole(folder, spec, data, shards):
    whole = source(spec, **data)
    rows = list(whole.rows())
    counts = whole.counts(0, len(whole.units))
    heard, made = Heard(), []
    for part in cut(counts, *whole.window(lambda: sum(counts)), shards):
        one = source(spec, **data)
        made += one.rows_of(part)
        heard.add(json.loads(json.dumps(one.heard.to_json())))
    assert rows and made == rows
    whole = source(spec, **data)
    assert list(whole.rows()) == rows and whole.told() == heard.told(heard.broken_report())
    assert heard.to_json() == whole.heard.to_json()


def test_encodings_are_judged_by_all_parts(folder):
    pathlib.Path("latin.csv").write_bytes(b"text,label\n" + b"good,n\n" * 95 + b"caf\xe9,p\n" * 5)
    heard = Heard()
    for part in (Part(0, 1, 0, 97, True), Part(0, 1, 97, None)):
        one = source("csv:latin.csv")
        list(one.rows_of(part))
        heard.add(one.heard.to_json())
    with pytest.raises(UserError, match=r"^latin.csv: 5 of 100 rows are not in the encoding"):
        heard.check_encodings("csv")


def test_a_part_may_have_no_row_of_where(folder):
    one = source("csv:[01].csv", where="label=n")
    assert one.counts(0, 2) == [2, 0]
    with pytest.raises(UserError, match="no row has config.data.where"):
        list(source("csv:1.csv", where="label=n").rows())
