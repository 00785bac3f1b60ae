"""Rows that a run was not trained on: how their files are read, and how what is wrong is told."""

import dataclasses

import pytest

from tfft.config import resolve
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.run.other_rows import by_its_own_rule, in_own_words, other_rows, with_flags
from tfft.tasks.fields import FIELDS

QUOTED = 'text,n\n"Good, really",1\n"She said ""ok""",2\n'


@pytest.fixture
def read(tmp_path, monkeypatch):
    """read(a later file's name, its bytes, settings of the training, flags given) -> (texts, what was said)."""
    monkeypatch.chdir(tmp_path)

    def read(name: str, content: str | bytes, trained: dict, **given):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        experiment = resolve({"data": {"train": "csv:train.csv", "where": "kind=old", "id_column": "number", **trained}})
        fields, said = FIELDS["text_classification"](experiment, tmp_path), []
        with other_rows(experiment.data, "skip") as data:
            data = by_its_own_rule(data, name, fields, tmp_path, True, given, said.append)
            source = Source(name, data, fields, tmp_path)
            texts = [row.values["text"] for row in source.rows(asked_only=True)]
        return texts, said + source.told()
    return read


LATIN = {"encoding": "cp1252"}


@pytest.mark.parametrize("name, content, trained, given, expected", [
    # JSON is UTF-8, and so is what reads as UTF-8
    ("a.jsonl", '{"text": "caf\u00e9"}\n', LATIN, {}, ["caf\u00e9"]),
    ("a.json", '[{"text": "caf\u00e9"}]', LATIN, {}, ["caf\u00e9"]),
    ("a.csv", "text\ncaf\u00e9\n", LATIN, {}, ["caf\u00e9"]), ("a.csv", "\ufefftext\ncaf\u00e9\n", LATIN, {}, ["caf\u00e9"]),
    ("a.csv", "text\ncaf\u00e9\n".encode("cp1252"), LATIN, {}, ["caf\u00e9"]),
    ("a.csv", "text\n\u0107a\n".encode("cp1250"), LATIN, {"encoding": "cp1250"}, ["\u0107a"]),
    ("a.csv", "text\n\u0107a\n".encode("cp1250"), {}, {"encoding": "cp1250"}, ["\u0107a"]),
    # quotes: as in the training where that fits a file of the same kind, else as the file shows
    ("a.csv", QUOTED, {"quoting": "none"}, {}, ["Good, really", 'She said "ok"']),
    ("a.csv", QUOTED, {"train": "tsv:train.tsv", "quoting": "none"}, {}, ["Good, really", 'She said "ok"']),
    ("a.csv", 'text,n\n"Good",1\n"bad",2\n', {"quoting": "none"}, {}, ['"Good"', '"bad"']),
    ("a.csv", 'text,n\n"Good",1\n"bad",2\n', {"train": "tsv:train.tsv", "quoting": "none"}, {}, ["Good", "bad"]),
    ("a.csv", 'text,n\n"Good",1\n"bad",2\n', {}, {"quoting": "none"}, ['"Good"', '"bad"']),
    ("a.csv", 'text,n\n"Good",1\n"bad",2\n', {"quoting": "none"}, {"quoting": "double"}, ["Good", "bad"]),
    # what separates fields, alike
    ("a.csv", "text,n\ngood,1\n", {"delimiter": ";"}, {}, ["good"]),
    ("a.csv", "text;n\ngood, really;1\n", {"delimiter": ";"}, {}, ["good, really"]),
    ("a.csv", "text;n\ngood, really;1\n", {"delimiter": "|"}, {}, ["good, really"]),
    ("a.tsv", "text\tn\ngood, really\t1\n", {"delimiter": ";"}, {}, ["good, really"]),
    ("a.csv", "text#n\ngood, really#1\n", {}, {"delimiter": "#"}, ["good, really"]),
    ("a.csv", "text;n\ngood, really;1\n", {"delimiter": ";", "quoting": "none"}, {"quoting": "double"}, ["good, really"]),
])
def test_a_file_is_read_by_its_own_rule(read, name, content, trained, given, expected):
    assert read(name, content, trained, **given)[0] == expected


def test_what_was_decided_is_told(read):
    _, said = read("a.csv", QUOTED, {"quoting": "none", "delimiter": ","})
    assert said[0] == ("a.csv: it is read as its first rows show, not with delimiter=, and quoting=none as the rows of the "
                       "training (to decide: --delimiter, --quoting)")
    assert read("a.csv", 'text,n\n"Good",1\n', {"quoting": "none"})[1] == []
    _, said = read("a.csv", "text\ncaf\u00e9\n", LATIN)
    assert [in_own_words(line) for line in said] == [
        "a.csv: line 2 is valid UTF-8 and read so, not as cp1252, which --encoding, or else the training's config, names"]


@pytest.mark.parametrize("message, expected", [
    ("a.csv:1: the header cannot be read: x. If there is none, set --config.data.header=False.",
     "a.csv:1: the header cannot be read: x."),
    ("a.csv: config.data.text_column: Unknown column 'text'. Known: b. The first line looks like a row, no header: set "
     "--config.data.header=False, and columns 0, 1, ...", "a.csv: text_column: Unknown column 'text'. Known: b."),
    ("a.csv: config.data.text_column: Unknown column 'text'. Known: b. If the first line of the file is no header: "
     "--config.data.header=False, and columns 0, 1, ...", "a.csv: text_column: Unknown column 'text'. Known: b."),
    ("a.jsonl:3: column 'spans': x (are ends exclusive? Set --config.data.span_end=exclusive). Mend it.",
     "a.jsonl:3: column 'spans': x. Mend it."),
    ("The label column holds more than 9. Is it the right column? Set config.data.label_column; for numbers set "
     "config.task.problem=regression.", "The label column holds more than 9. Is it the right column?")])
def test_advice_that_cannot_be_followed_is_left_out(message, expected):
    assert in_own_words(message) == f"{expected} Columns and settings are those that the run was trained with."


@pytest.mark.parametrize("message, expected", [
    ("There is no file a.csv.", ""), ("a.csv:3: this row is broken: x. Leave it out with --on_broken_row=skip.", ""),
    ("a.csv is not in encoding utf-8 (bad byte). Set --config.data.encoding.",
     "a.csv is not in encoding utf-8 (bad byte). Set --encoding."),
    ("x (if quotes are plain characters in this file: --config.data.quoting=none). Mend it, or leave such rows out with "
     "--config.data.on_broken_row=skip.",
     "x (if quotes are plain characters in this file: --quoting=none). Mend it, or leave such rows out with "
     "--on_broken_row=skip."),
    ("its fields are separated by tabs (to decide otherwise: --config.data.delimiter=,)",
     "its fields are separated by tabs (to decide otherwise: --delimiter=,)"),
    ("tfds:x: name the folder with --config.data.tfds_data_dir=FOLDER.",
     "tfds:x: name the folder with TFDS_DATA_DIR=FOLDER in the environment.")])
def test_advice_that_can_be_followed_names_the_flag(message, expected):
    assert in_own_words(message) == (expected or message)


def test_columns_are_flags_where_a_server_answers():
    assert with_flags("config.data.text_column: x", r"\w+_column") == "--text_column: x"


def test_messages_from_within_are_told_so():
    data = resolve({"data": {"train": "csv:a.csv", "where": "a=b", "id_column": "n"}}).data
    with pytest.raises(UserError, match="^Set --encoding.$"), other_rows(data, "error") as settings:
        assert settings == dataclasses.replace(data, where="", id_column="", on_broken_row="error")
        raise UserError("Set --config.data.encoding.")
