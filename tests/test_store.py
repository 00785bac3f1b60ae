import errno
import json
import multiprocessing
import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import PAIR, TEXT, encoded

from tfft.data import store as stores
from tfft.data.shards import Joined
from tfft.data.sources import Row
from tfft.data.splits import split_hash, text_hash
from tfft.data.store import Encoded, Names, Ragged, TokenStore, fingerprint, write_rows
from tfft.data.store_folders import open_store
from tfft.errors import UserError
from tfft.tasks.text_classification.labels import label_counts
from tfft.tasks.text_classification.rows import label_columns

NASTY = ["", "plain", "emoji \U0001f600\U0001f3fd", "lines\r\n\u2028\x85\0end\n", "half \ud800 a pair", "é" * 5000, " "]


def encode(chunks):
    """Characters as ids, behind a 1; at most five of a text, then those of the second text."""
    for rows in chunks:
        first = [[1, *(ord(c) % 1000 for c in r.values["text"][:5])] for r in rows]
        made = encoded([ids + [ord(c) % 1000 for c in r.values.get("text_pair", "")] for ids, r in zip(first, rows)],
                       first_length=np.array([len(ids) for ids in first], np.int32))
        yield made._replace(rows={"full_length": np.array([len(r.values["text"]) + 1 for r in rows], np.int32)})


def row(text, label="a", pair=None, id="", file="f.csv", line=1) -> Row:
    return Row(id, {"text": text, **({} if pair is None else {"text_pair": pair}), "label": label}, file, line, {})


def make(cache, rows, name="s", *, fields=TEXT, encode=encode, columns=label_columns, seed=0, **kwargs) -> TokenStore:
    return open_store(cache, name, lambda folder: write_rows(folder, iter(rows), fields, encode, columns, seed=seed, **kwargs))


def names(cache) -> list[str]:
    return sorted(p.name for p in (cache / "stores").iterdir())


def no_build(folder):
    raise AssertionError("built although it was there")


def test_texts_ids_and_places_come_back(tmp_path):
    rows = [row(t, pair=t[::-1], id=f"{t[:9]}/{i}", file=f"{i % 2}.csv", line=i + 2) for i, t in enumerate(NASTY)]
    store = make(tmp_path, rows, fields=PAIR)
    assert len(store) == len(NASTY) and store.fields == ["text", "text_pair"]
    for i, text in enumerate(NASTY):
        assert store.string("text", i) == text
        assert store.string("text_pair", i) == text[::-1]
        assert store.texts(i) == [text, text[::-1]]
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
    assert store.values("tokens", 1).tolist() == [1, *map(ord, "plain")]
    assert store.column("full_length").tolist() == [len(t) + 1 for t in NASTY]
    assert store.column("first_length").tolist() == store.lengths.tolist()


def test_progress_counts_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "CHUNK", 3)
    said = []
    make(tmp_path, [row(t) for t in NASTY], progress=said.append)
    assert said == [3, 6, 7]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_columns_keep_their_type(tmp_path, dtype):
    """tests/test_prepare.py says which one tokens have."""
    store = make(tmp_path, [row("a")], encode=lambda chunks: (encoded([[1, 60_000]] * len(rows), dtype) for rows in chunks))
    assert store.column("tokens").dtype == dtype and store.column("tokens").tolist() == [1, 60_000]


def test_the_seed_salts_the_id_hash_alone(tmp_path):
    one, two = make(tmp_path, [row("a", id="x")], "1"), make(tmp_path, [row("a", id="x")], "2", seed=2)
    assert two.column("id_hash")[0] == split_hash("x", 2) != one.column("id_hash")[0]
    assert one.column("text_hash")[0] == two.column("text_hash")[0]


def test_single_labels(tmp_path):
    store = make(tmp_path, [row("1", "b"), row("2", "é\ud800"), row("3", "b")])
    assert store.names("label") == ["b", "é\ud800"] and label_counts(store, np.arange(3)).tolist() == [2, 1]
    assert [store.names_of("label", i) for i in range(3)] == [("b",), ("é\ud800",), ("b",)]
    assert store.column("label").tolist() == [0, 1, 0]


def test_several_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "CHUNK", 2)
    labels = [("a", "b"), (), ("c",), ("b", "a"), ()]
    store = make(tmp_path, [row(str(i), label) for i, label in enumerate(labels)])
    assert [store.names_of("label", i) for i in range(5)] == labels
    assert store.names("label") == ["a", "b", "c"] and label_counts(store, np.arange(5)).tolist() == [2, 2, 1]


def test_values(tmp_path):
    store = make(tmp_path, [row("1", 0.5), row("2", -3.0)])
    assert store.column("value").tolist() == [0.5, -3.0] and store.names("label") == []
    unlabelled = make(tmp_path, [row("1", None)], "unlabelled", columns=lambda rows: {})
    assert "value" in store and "value" not in unlabelled and "label" not in unlabelled


def test_no_rows(tmp_path):
    assert len(make(tmp_path, [])) == 0
    assert len(open_store(tmp_path, "s", no_build)) == 0


def test_too_many_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "MAX_NAMES", 3)
    make(tmp_path, [row("t", str(i % 3)) for i in range(9)])
    with pytest.raises(UserError, match=r"label column holds more than 3 different values, such as '0'.*"
                                        r"config.data.label_column.*problem=regression"):
        make(tmp_path, [row("t", str(i)) for i in range(4)], "many")
    assert names(tmp_path) == ["s"]


def test_too_many_names_are_told_in_the_words_of_the_task(tmp_path, monkeypatch):
    """Over all chunks; the values that are shown are of the chunk that went beyond."""
    monkeypatch.setattr(stores, "CHUNK", 2)
    monkeypatch.setattr(stores, "MAX_NAMES", 1000)

    def tags(rows):
        return {"tag": Names([() if r.line % 2 else (f"t{r.line}", f"u{r.line}") for r in rows], "{found} for tags: {such}!"),
                "few": Names([("x",)] * len(rows), "not these")}

    kept = make(tmp_path, [row("t", line=i) for i in range(1000)], columns=tags)
    assert len(kept.names("tag")) == 1000 and kept.names("few") == ["x"]
    with pytest.raises(UserError, match="^more than 1,000 different values for tags: 't1000'!$"):
        make(tmp_path, [row("t", line=i) for i in range(1002)], "many", columns=tags)
    assert names(tmp_path) == ["s"]


def test_a_store_is_built_once(tmp_path):
    make(tmp_path, [row("first")])
    assert open_store(tmp_path, "s", no_build).string("text", 0) == "first"
    assert names(tmp_path) == ["s"]


def test_a_build_that_raises_leaves_nothing(tmp_path):
    def rows():
        yield row("a")
        raise UserError("The source is broken.")

    with pytest.raises(UserError, match="^The source is broken.$"):
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
        write_rows(folder, iter([row(f"text of {os.getpid()}", str(i)) for i in range(50)]), TEXT, encode, label_columns,
                   seed=0)

    store = open_store(cache, "s", build)
    answers.put((len(store), store.string("text", 7), store.names_of("label", 49)))


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


def maps() -> str:
    return Path("/proc/self/maps").read_text()


def test_reading_a_store_maps_its_columns(tmp_path):
    store = make(tmp_path, [row("text", id="1")] * 100)
    assert json.loads((store.folder / "meta.json").read_text())["rows"] == 100
    for name, (_, count, *_) in store.meta["columns"].items():
        column = store.column(name)
        assert f"{store.folder}/{name}.bin\n" in maps() and len(column) == count and not column.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0


# ---- rows that are several examples, dense columns of several values

def windows(chunks):
    """Row i is i % 3 + 1 examples (its line says i), each with a box int16[2,3] and marks; a row has a point float32[2]."""
    for rows in chunks:
        owners = np.array([r for r, one in enumerate(rows) for _ in range(one.line % 3 + 1)], np.int32)
        parts = np.concatenate([np.arange(one.line % 3 + 1) for one in rows])
        lines = np.array([r.line for r in rows])
        made = encoded([[1, *([lines[owner] % 50 + 2] * (part + 1))] for owner, part in zip(owners, parts)])
        boxes = (lines[owners, None, None] * 10 + parts[:, None, None] + np.arange(6).reshape(2, 3)).astype(np.int16)
        marks = Ragged(np.repeat(lines[owners], parts).astype(np.int64), parts)
        points = np.stack([lines, -lines], axis=1).astype(np.float32)
        yield Encoded({**made.examples, "row": owners, "box": boxes, "mark": marks},
                      {"full_length": (lines % 3 + 1).astype(np.int32), "point": points})


def tagged(rows) -> dict:
    """A name or none, several names, and a number."""
    return {"label": Names([(r.values["label"],) for r in rows], "{found}"),
            "tags": Names([(f"t{r.line * 7 % 5}", f"t{r.line * 3 % 4}")[:r.line % 3] for r in rows], "{found}"),
            "value": np.array([r.line / 2 for r in rows], np.float32)}


def rich(count: int, seed: int) -> list[Row]:
    """Rows whose files and labels come back in any order."""
    draw = np.random.default_rng(seed)
    return [row(f"text {i} é" * (i % 3), str(draw.integers(5)), id=f"id{i}", file=f"{draw.integers(3)}.csv", line=i)
            for i in range(count)]


def test_rows_of_several_examples(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "CHUNK", 4)  # the rows of a chunk are counted from 0
    store = make(tmp_path, rich(10, 0), encode=windows, columns=tagged)
    owners = np.repeat(np.arange(10), [i % 3 + 1 for i in range(10)])
    assert len(store) == 10 and len(store.lengths) == 19 and store.column("row").dtype == np.int64
    assert store.column("row").tolist() == owners.tolist()
    assert store.row_of(np.array([0, 18, 1, 2, 3])).tolist() == [0, 9, 1, 1, 2]
    assert store.examples_of(np.array([1, 2, 9])).tolist() == [1, 2, 3, 4, 5, 18]
    assert store.examples_of(np.arange(10)).tolist() == list(range(19)) and store.examples_of(np.arange(0)).tolist() == []
    assert [store.values("tokens", i).tolist() for i in (3, 4, 5)] == [[1, 4], [1, 4, 4], [1, 4, 4, 4]]
    assert store.column("full_length").tolist() == [i % 3 + 1 for i in range(10)]
    assert store.string("id", 9) == "id9" and store.place(9).endswith(".csv:9")


def test_one_example_a_row_needs_no_column(tmp_path):
    store = make(tmp_path, [row(t) for t in NASTY])
    assert "row" not in store
    assert store.row_of(np.array([0, 2])).tolist() == store.examples_of(np.array([0, 2])).tolist() == [0, 2]


def test_columns_of_several_values(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "CHUNK", 4)
    store = make(tmp_path, rich(10, 0), encode=windows, columns=tagged)
    boxes = store.column("box")
    assert boxes.shape == (19, 2, 3) and boxes.dtype == np.int16
    assert boxes[5].tolist() == [[22, 23, 24], [25, 26, 27]]  # the third example of row 2
    assert store.column("point").shape == (10, 2) and store.column("point")[[3, 9]].tolist() == [[3, -3], [9, -9]]
    box = store.folder / "box.bin"
    assert box.stat().st_size == 19 * 6 * 2
    box.write_bytes(box.read_bytes()[:-2])
    with pytest.raises(ValueError, match="box.bin has the wrong size"):
        TokenStore(store.folder)


# ---- stores of several shards

def write_shards(folder, rows, cuts: list[int], **settings) -> TokenStore:
    """The rows as a store whose shards end at `cuts` and at the last row."""
    bounds = [0, *cuts, len(rows)]
    for i, (begin, end) in enumerate(zip(bounds, bounds[1:])):
        (folder / str(i)).mkdir(parents=True)
        write_rows(folder / str(i), iter(rows[begin:end]), settings.get("fields", TEXT), settings.get("encode", encode),
                   settings.get("columns", label_columns), seed=0)
    (folder / "meta.json").write_text(json.dumps({"shards": [str(i) for i in range(len(bounds) - 1)]}))
    return TokenStore(folder)


def indices_of(count: int, draw) -> list:
    """Places, slices, arrays and masks of a column."""
    ends = [None, 0, 1, count // 2, count - 1, count, count + 5, -1, -count]
    slices = [slice(draw.choice(ends), draw.choice(ends), draw.choice([None, 1, 1, 2, -1, 3])) for _ in range(20)]
    arrays = [draw.integers(-count, count, size) for size in (0, 1, 7, (3, 2))]
    masks = [draw.random(count) < share for share in (0, 0.3, 1)]
    places = [*map(int, draw.integers(-count, count, 5)), np.int64(count - 1)]
    return [slice(None), *slices, *arrays, *masks, *places, [0, count - 1]]


def same_column(joined, whole, draw) -> None:
    assert len(joined) == len(whole) and joined.dtype == whole.dtype
    for index in indices_of(len(whole), draw):
        got, expected = joined[index], whole[index]
        assert np.asarray(got).dtype == expected.dtype
        np.testing.assert_array_equal(got, expected, err_msg=str(index))
    np.testing.assert_array_equal(np.asarray(joined), whole)
    np.testing.assert_array_equal(joined.astype(np.float64), whole.astype(np.float64))


@pytest.mark.parametrize("cuts", [[], [1], [7, 8, 20], [0, 5, 5, 12], [29], [10, 30]])
@pytest.mark.parametrize("kind", ["one example", "several examples"])
def test_several_shards_read_like_one_store(tmp_path, monkeypatch, cuts, kind):
    """Shards see files and labels in orders of their own, and some have no row."""
    monkeypatch.setattr(stores, "CHUNK", 6)
    rows = rich(30, len(cuts))
    settings = {"encode": windows, "columns": tagged} if kind == "several examples" else {}
    whole = make(tmp_path, rows, **settings)
    joined = write_shards(tmp_path / "shards", rows, cuts, **settings)
    assert len(joined) == 30 and joined.fields == whole.fields and (kind == "one example") == ("row" not in joined)
    draw = np.random.default_rng(0)
    for name in whole.meta["columns"]:
        assert name in joined
        if name not in ("file", "label", "tags"):  # codes may stand for other things
            same_column(joined.column(name), whole.column(name), draw)
    for name in ("label", "tags", "none"):
        assert joined.names(name) == whole.names(name)  # in the order of first appearance, as one store has them
    for name in ({"label", "tags"} & set(whole.meta["columns"])) | {"file"}:
        same_column(joined.column(name), whole.column(name), draw)
    for i in range(30):
        assert joined.texts(i) == whole.texts(i) and joined.string("id", i) == whole.string("id", i) == f"id{i}"
        assert joined.place(i) == whole.place(i) == f"{rows[i].file}:{i}"
        assert joined.names_of("label", i) == whole.names_of("label", i) == (rows[i].values["label"],)
        if kind == "several examples":
            assert joined.names_of("tags", i) == whole.names_of("tags", i)
    for i in range(len(whole.lengths)):
        assert joined.lengths[i] == whole.lengths[i]
        np.testing.assert_array_equal(joined.values("tokens", i), whole.values("tokens", i))
    for chosen in (np.arange(30), np.arange(0), np.array([0, 6, 7, 8, 29]), np.flatnonzero(draw.random(30) < 0.5)):
        examples = whole.examples_of(chosen)
        np.testing.assert_array_equal(joined.examples_of(chosen), examples)
        np.testing.assert_array_equal(joined.row_of(examples), whole.row_of(examples))
        assert label_counts(joined, chosen).tolist() == label_counts(whole, chosen).tolist()


def test_labels_that_only_some_shards_have(tmp_path):
    """Each shard counts its codes and files from 0."""
    rows = [row("a", "x", file="1"), row("b", "y", file="2"), row("c", "z", file="3"), row("d", "y", file="2"),
            row("e", (), file="1"), row("f", ("z", "x"), file="3")]
    joined = write_shards(tmp_path, rows, [1, 2, 4, 5])
    assert joined.names("label") == ["x", "y", "z"] and joined.meta["files"] == ["1", "2", "3"]
    assert [joined.names_of("label", i) for i in range(6)] == [("x",), ("y",), ("z",), ("y",), (), ("z", "x")]
    assert [joined.place(i)[0] for i in range(6)] == ["1", "2", "3", "2", "1", "3"]


def test_shards_without_any_row(tmp_path):
    assert len(write_shards(tmp_path, [], [0, 0])) == 0


def test_a_damaged_shard_is_seen(tmp_path):
    rows = rich(9, 0)
    folder = tmp_path / "stores" / "s"
    write_shards(folder, rows, [4])
    (folder / "1" / "tokens.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="1/tokens.bin has the wrong size"):
        TokenStore(folder)
    assert make(tmp_path, rows).string("id", 8) == "id8" and names(tmp_path) == ["s"]
    write_shards(tmp_path / "stores" / "t", rows, [4])
    assert open_store(tmp_path, "t", no_build).string("id", 8) == "id8"


PARTS = st.lists(st.integers(0, 5), min_size=1, max_size=5)


@given(PARTS, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_joined_arrays_are_indexed_like_one(sizes, wide, mapped, seed):
    draw = np.random.default_rng(seed)
    item = (2, 3) if wide else ()
    parts = [draw.integers(0, 4, (size, *item)).astype(np.int32 if mapped else np.int64) for size in sizes]
    add = np.zeros(len(sizes), np.int64) if mapped else draw.integers(0, 9, len(sizes))
    maps = [draw.permutation(4).astype(np.int32) for _ in sizes] if mapped else None
    whole = np.concatenate([maps[i][part] if mapped else part + add[i] for i, part in enumerate(parts)])
    joined = Joined(parts, add, maps)
    if len(whole):
        same_column(joined, whole, draw)
        assert list(map(np.ndarray.tolist, joined)) == whole.tolist() if wide else list(joined) == whole.tolist()
    for index in (slice(None), slice(2, 2), slice(3, 1), slice(0, 0), np.zeros(0, int), np.zeros(len(whole), bool)):
        assert joined[index].shape == whole[index].shape and joined[index].dtype == whole.dtype
    for place in (len(whole), -len(whole) - 1, np.array([0, len(whole)])):
        with pytest.raises(IndexError):
            joined[place]
