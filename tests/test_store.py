import errno
import json
import multiprocessing
import os
import socket
import time

import numpy as np
import pytest

from tfft.data import store as stores
from tfft.data.sources import Row
from tfft.data.splits import split_hash, text_hash
from tfft.data.store import TokenStore, fingerprint, open_store, write_rows
from tfft.errors import UserError

NASTY = ["", "plain", "emoji \U0001f600\U0001f3fd", "lines\r\n\u2028\x85\0end\n", "half \ud800 a pair", "é" * 5000, " "]


def tokenise(chunks):
    """Characters as ids, behind a 1; at most five of a text, then those of the second text."""
    for texts, second in chunks:
        first = [[1, *(ord(c) % 1000 for c in text[:5])] for text in texts]
        rows = first if second is None else [a + [ord(c) % 1000 for c in b] for a, b in zip(first, second)]
        yield (np.array(sum(rows, []), np.int32), np.array([len(r) for r in rows]), np.array([len(r) for r in first]),
               np.array([len(t) + 1 for t in texts]))


def row(text, label="a", pair=None, id="", file="f.csv", line=1) -> Row:
    return Row(id, text, pair, label, file, line, {})


def make(cache, rows, name="s", **kwargs) -> TokenStore:
    settings = {"vocabulary_size": 1000, "pairs": False, "seed": 0, **kwargs}
    return open_store(cache, name, lambda folder: write_rows(folder, iter(rows), tokenise, **settings))


def names(cache) -> list[str]:
    return sorted(p.name for p in (cache / "stores").iterdir())


def no_build(folder):
    raise AssertionError("built although it was there")


def test_texts_ids_and_places_come_back(tmp_path):
    rows = [row(t, pair=t[::-1], id=f"{t[:9]}/{i}", file=f"{i % 2}.csv", line=i + 2) for i, t in enumerate(NASTY)]
    store = make(tmp_path, rows, pairs=True)
    assert len(store) == len(NASTY)
    for i, text in enumerate(NASTY):
        assert store.string("text", i) == text
        assert store.string("pair", i) == text[::-1]
        assert store.string("id", i) == rows[i].id
        assert store.place(i) == f"{i % 2}.csv:{i + 2}"
    assert store.column("text_hash").tolist() == [text_hash(t, t[::-1]) for t in NASTY]
    assert store.column("id_hash").tolist() == [split_hash(r.id, 0) for r in rows]


def test_tokens_and_lengths(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "CHUNK", 3)  # several chunks, the last one not full
    store = make(tmp_path, [row(t) for t in NASTY])
    assert store.lengths.tolist() == [1, 6, 6, 6, 6, 6, 2] and store.lengths.dtype == np.int32
    tokens, offsets = store.column("tokens"), store.column("tokens_offsets")
    assert [tokens[offsets[i]:offsets[i + 1]].tolist() for i in (0, 1, 6)] == [
        [1], [1, *map(ord, "plain")], [1, 32]]
    assert store.column("full_length").tolist() == [len(t) + 1 for t in NASTY]
    assert store.column("first_length").tolist() == store.lengths.tolist()


def test_progress_counts_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "CHUNK", 3)
    said = []
    make(tmp_path, [row(t) for t in NASTY], progress=said.append)
    assert said == [3, 6, 7]


@pytest.mark.parametrize("size, dtype", [(1 << 16, np.uint16), ((1 << 16) + 1, np.int32)])
def test_small_vocabularies_take_two_bytes_a_token(tmp_path, size, dtype):
    assert make(tmp_path, [row("a")], vocabulary_size=size).column("tokens").dtype == dtype


def test_the_seed_salts_the_id_hash_alone(tmp_path):
    one, two = make(tmp_path, [row("a", id="x")], "1"), make(tmp_path, [row("a", id="x")], "2", seed=2)
    assert two.column("id_hash")[0] == split_hash("x", 2) != one.column("id_hash")[0]
    assert one.column("text_hash")[0] == two.column("text_hash")[0]


def test_single_labels(tmp_path):
    store = make(tmp_path, [row("1", "b"), row("2", "é\ud800"), row("3", "b")])
    assert store.labels == ["b", "é\ud800"] and store.meta["label_counts"] == [2, 1]
    assert [store.label_names(i) for i in range(3)] == [("b",), ("é\ud800",), ("b",)]
    assert store.column("label").tolist() == [0, 1, 0]


def test_several_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "CHUNK", 2)
    given = [("a", "b"), (), ("c",), ("b", "a"), ()]
    store = make(tmp_path, [row(str(i), label) for i, label in enumerate(given)])
    assert [store.label_names(i) for i in range(5)] == given
    assert store.labels == ["a", "b", "c"] and store.meta["label_counts"] == [2, 2, 1]


def test_values(tmp_path):
    store = make(tmp_path, [row("1", 0.5), row("2", -3.0)])
    assert store.column("value").tolist() == [0.5, -3.0] and store.labels == []
    assert "value" not in make(tmp_path, [row("1", None)], "unlabelled").meta["columns"]


def test_no_rows(tmp_path):
    assert len(make(tmp_path, [])) == 0
    assert len(open_store(tmp_path, "s", no_build)) == 0


def test_too_many_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "MAX_LABELS", 3)
    make(tmp_path, [row("t", str(i % 3)) for i in range(9)])
    with pytest.raises(UserError, match=r"label column of f.csv holds more than 3 different values, such as '0'.*"
                                        r"config.data.label_column.*problem=regression"):
        make(tmp_path, [row("t", str(i)) for i in range(4)], "many")
    assert names(tmp_path) == ["s"]


def test_a_store_is_built_once(tmp_path):
    make(tmp_path, [row("first")])
    assert open_store(tmp_path, "s", no_build).string("text", 0) == "first"
    assert names(tmp_path) == ["s"]


def test_a_build_that_raises_leaves_nothing(tmp_path):
    def rows():
        yield row("a")
        raise UserError("the source is broken")

    with pytest.raises(UserError, match="^the source is broken$"):
        make(tmp_path, rows())
    assert names(tmp_path) == []
    assert len(make(tmp_path, [row("a")])) == 1


@pytest.mark.parametrize("damage", ["shorter", "missing", "no meta", "half meta", "other meta"])
def test_a_damaged_store_is_built_again(tmp_path, damage):
    folder = make(tmp_path, [row("text", "label")] * 3).folder
    column, meta = folder / "text.bin", folder / "meta.json"
    if damage == "shorter":
        column.write_bytes(column.read_bytes()[:-1])
    elif damage == "missing":
        column.unlink()
    elif damage == "no meta":
        meta.unlink()
    elif damage == "half meta":
        meta.write_text(meta.read_text()[:20])
    else:
        meta.write_text("[]")
    store = make(tmp_path, [row("again")] * 3)
    assert [store.string("text", i) for i in range(3)] == ["again"] * 3
    assert names(tmp_path) == ["s"]


def test_a_store_in_use_outlives_its_replacement(tmp_path):
    old = make(tmp_path, [row("old")])
    (old.folder / "meta.json").unlink()
    new = make(tmp_path, [row("new")])
    assert (old.string("text", 0), new.string("text", 0)) == ("old", "new")


def _build_slowly(cache, barrier, answers):
    def build(folder):
        barrier.wait()  # nobody publishes before everybody has begun
        write_rows(folder, iter([row(f"text of {os.getpid()}", str(i)) for i in range(50)]), tokenise,
                   vocabulary_size=1000, pairs=False, seed=0)

    store = open_store(cache, "s", build)
    answers.put((len(store), store.string("text", 7), store.label_names(49)))


@pytest.mark.parametrize("damaged", [False, True])
def test_processes_that_build_at_once_share_one_store(tmp_path, damaged):
    if damaged:
        (tmp_path / "stores" / "s").mkdir(parents=True)
        (tmp_path / "stores" / "s" / "meta.json").write_text("{")
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(3, timeout=60), context.Queue()
    processes = [context.Process(target=_build_slowly, args=(tmp_path, barrier, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    pids = {f"text of {p.pid}" for p in processes}
    assert all(count == 50 and text in pids and label == ("49",) for count, text, label in found)
    assert names(tmp_path) == ["s"]


def test_what_dead_runs_left_is_removed_and_others_work_is_not(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0,))
    process.start()
    process.join()  # its id is free now
    host = socket.gethostname()
    dead, alive = f".making-{process.pid}-{host}-x_1", f".making-{os.getpid()}-{host}-x_1"
    elsewhere = f".making-{process.pid}-{host}-2-x_1"
    for name in (dead, alive, elsewhere):
        (tmp_path / "stores" / name / "store").mkdir(parents=True)
    make(tmp_path, [row("a")])
    assert names(tmp_path) == sorted([alive, elsewhere, "s"])


@pytest.mark.parametrize("number, told", [(errno.ENOSPC, "The disk is full"), (errno.EDQUOT, "The disk is full"),
                                          (errno.EROFS, "Cannot write the token store")])
def test_a_cache_that_refuses(tmp_path, number, told):
    def build(folder):
        (folder / "tokens.bin").write_bytes(b"1234")
        raise OSError(number, os.strerror(number))

    with pytest.raises(UserError, match=f"{told}.*TFFT_CACHE"):
        open_store(tmp_path, "s", build)
    assert names(tmp_path) == []


def test_a_cache_that_is_a_file(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(UserError, match="Cannot write the token store in .*TFFT_CACHE"):
        make(tmp_path / "cache", [row("a")])


def test_fingerprint_follows_every_part():
    base = ["source", "abc", 128, "head", 0.25, ""]
    prints = {fingerprint(*base)}
    for i in range(len(base)):
        prints.add(fingerprint(*base[:i], "other", *base[i + 1:]))
    prints |= {fingerprint(*base, ""), fingerprint("source", "abc", 12, "8head", 0.25, "")}
    assert len(prints) == len(base) + 3
    assert fingerprint(*base) == fingerprint(*base)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_fingerprint_follows_the_format(monkeypatch):
    before = fingerprint("x")
    monkeypatch.setattr(stores, "FORMAT", stores.FORMAT + 1)
    assert fingerprint("x") != before


def test_reading_a_store_maps_its_columns(tmp_path):
    store = make(tmp_path, [row("text", id="1")] * 100)
    assert json.loads((store.folder / "meta.json").read_text())["rows"] == 100
    for name, (_, count) in store.meta["columns"].items():
        column = store.column(name)
        assert isinstance(column.base, np.memmap) and len(column) == count
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
