"""Sources, and stores in shards, in an object store, of which ram:// plays the part: see test_files.py."""

import bz2
import contextlib
import dataclasses
import gzip
import io
import json
import lzma
import re
import zipfile

import pyarrow as pa
import pyarrow.parquet
import pytest
from sharded import assert_same_files, experiment_of
from test_files import store  # noqa: F401 - a fixture

from tfft.config import resolve
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.files import copy_tree
from tfft.run.prepare import here, prepare_stores
from tfft.tasks.text_classification.rows import row_fields

CSV = "text,label\n" + "".join(f'"text {i},\nand more",{"np"[i % 2]}\n' for i in range(400))
ROWS = [{"text": f"text {i},\nand more", "label": "np"[i % 2]} for i in range(400)]


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.csv", CSV)
    return made.getvalue()


def parquet() -> bytes:
    made = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), made)
    return made.getvalue()


FILES = {"a.csv": CSV.encode(), "b.csv": CSV.encode(), "c.csv.gz": gzip.compress(CSV.encode()),
         "d.csv.bz2": bz2.compress(CSV.encode()), "e.csv.xz": lzma.compress(CSV.encode()), "f.csv.zip": zipped(),
         "g.csv.zst": pa.compress(CSV.encode(), "zstd", asbytes=True), "h.parquet": parquet(),
         "i.jsonl": "\n".join(map(json.dumps, ROWS)).encode()}


def source(spec: str, cache) -> Source:
    experiment = resolve({"data": {"train": spec}})
    return Source(spec, experiment.data, row_fields(experiment, cache), cache)


@pytest.fixture
def folder(store, tmp_path):  # noqa: F811
    """The same files in both."""
    store.mkdir(parents=True)
    for name, content in FILES.items():
        (store / name).write_bytes(content)
        (tmp_path / name).write_bytes(content)
    return store, tmp_path


@pytest.mark.parametrize("name", FILES)
def test_rows_and_fingerprints_are_those_of_local_files(folder, name):
    remote, local = (source(f"{place}/{name}", folder[1]) for place in folder)
    assert remote.fingerprint() == local.fingerprint() and remote.units == local.units
    rows = list(remote.rows())
    assert [row.values for row in rows] == [row.values for row in local.rows()] and len(rows) == 400
    assert rows[0].file == f"{folder[0]}/{name}"


def test_patterns_name_files(folder):
    assert source(f"csv:{folder[0]}/[ab]*.csv", folder[1]).files == [f"{folder[0]}/a.csv", f"{folder[0]}/b.csv"]
    for name in ("*.tsv", "none.csv", ""):
        with pytest.raises(UserError, match=f"there is no file ram://.*/{re.escape(name)}, or no right"):
            source(f"csv:{folder[0]}/{name}", folder[1])


def test_stores_are_made_there_and_fetched(store, tmp_path, tiny_preset):  # noqa: F811
    """From rows that are there too; it is stopped before the last shard, and goes on."""
    experiment = experiment_of("text_classification", tmp_path / "data", tiny_preset, tmp_path / "cache")
    copy_tree(tmp_path / "data", store / "data")
    data = dataclasses.replace(experiment.data, train=f"csv:{store}/data/[0-2].csv", validation=f"{store}/data/validation.csv")
    remote = dataclasses.replace(experiment, data=data)

    def stops(work, job, items, console):
        here(work, job, items[:-1] if work.__name__ == "make" else items, console)
        raise KeyboardInterrupt

    for run in (stops, stops, here, here):
        with pytest.raises(KeyboardInterrupt) if run is stops else contextlib.nullcontext():
            prepare_stores(remote, tmp_path / "cache", 3, run, str(store / "stores"), fetch=run is here)
    prepare_stores(experiment, tmp_path / "local", 3)
    for folder in (tmp_path / "cache", tmp_path / "local"):
        for path in folder.glob("stores/**/*"):
            if path.suffix in (".json", ".txt"):  # which name the files
                path.write_text(path.read_text().replace(f"{store}/data", "").replace(f"{tmp_path}/data", ""))
    assert_same_files(tmp_path / "cache" / "stores", tmp_path / "local" / "stores")
