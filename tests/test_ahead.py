"""Files read ahead by other processes give what they give one after another."""

import json
import os

import pytest

from tfft.data import ahead
from tfft.data.ahead import read_in_order
from tfft.errors import UserError


@pytest.fixture
def readers(tmp_path):
    """Four files of 0, 1,000, 3 and 700 rows."""
    made = []
    for number, count in enumerate((0, 1000, 3, 700)):
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps({"text": f"{number} {i} \u00e9\u2028", "n": i}) + "\n" for i in range(count)))
        made.append(("table", {"kind": "jsonl", "path": str(path), "sentence_column": ""}))
    return made


def rows(readers, size: int) -> list:
    return [record for records in read_in_order(readers, size) for record in records]


def test_the_same_records_in_the_same_order(readers, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    apart, together = rows(readers, 0), rows(readers, ahead.WORTH)
    assert len(apart) == 1703 and together == apart


def test_what_a_file_raises_comes_when_it_is_its_turn(readers, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    readers[2][1]["path"] += ".gone"
    made = []
    with pytest.raises(UserError, match="2.jsonl.gone cannot be read"):
        for records in read_in_order(readers, ahead.WORTH):
            made.extend(records)
    assert len(made) == 1000


def test_nothing_is_left_running_when_only_the_first_rows_are_wanted(readers, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setattr(ahead, "AHEAD", 1)  # the process of file 1 waits for somebody to read on
    started = []
    monkeypatch.setattr(ahead._File, "__init__", lambda self, reader, make=ahead._File.__init__: (
        make(self, reader), started.append(self))[0])
    files = read_in_order(readers[1:], ahead.WORTH)
    assert next(next(files)).values["n"] == 0
    files.close()
    assert len(started) == 3 and all(file._process.poll() is not None for file in started)


def test_a_process_that_is_killed_is_told(readers, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(ahead, "CHILD", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match="was stopped from outside"):
        rows(readers, ahead.WORTH)
