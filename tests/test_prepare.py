import pathlib

import numpy as np
import pytest
from conftest import WORDS, write_reviews

from tfft.config import resolve
from tfft.data import prepare
from tfft.data.prepare import EncoderGraph, Preparer, describe_data, encode, load_splits
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.tasks.table import TASKS
from tfft.tasks.text_classification import reading as reading_module

CLS, SEP, GOOD, BAD, FILM = (WORDS.index(w) for w in ("[CLS]", "[SEP]", "good", "bad", "film"))


@pytest.fixture
def make(tiny_tokenizer, tmp_path, monkeypatch):
    """make(**data settings) -> (Preparer, what it says), in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def make(fingerprint="tokenizer", task=None, **data):
        said = []
        data = {"train": "csv:train.csv", "max_length": 16, **data}
        experiment, cache = resolve({"data": data, "task": task or {}}), tmp_path / "cache"
        reading = TASKS["text_classification"].reading(experiment, tiny_tokenizer, fingerprint, cache)
        return Preparer(experiment.data, reading, cache, said.append), said
    return make


def write(name: str, lines, header="text,label") -> None:
    pathlib.Path(name).write_text("\n".join([header, *lines, ""]), "utf-8")


def texts(split) -> list[str]:
    return [split.store.string("text", r) for r in split.rows]


def stores() -> set[str]:
    return {p.name for p in pathlib.Path("cache/stores").iterdir()}


def stamps() -> dict:
    return {p: p.stat().st_mtime_ns for p in pathlib.Path("cache/stores").rglob("*")}


def test_store_holds_the_rows_and_their_tokens(make):
    write("train.csv", ["good film,pos", '"bad film \U0001f600, bad",neg', "good " * 30 + ",pos"])
    preparer, said = make(truncation="tail")
    store = preparer.store("csv:train.csv")
    tokens, offsets = store.column("tokens"), store.column("tokens_offsets")
    rows = [tokens[offsets[i]:offsets[i + 1]].tolist() for i in range(3)]
    assert rows[0] == [CLS, GOOD, FILM, SEP] and rows[1][1:3] == [BAD, FILM]
    assert rows[2] == [CLS, *[GOOD] * 14, SEP] and store.column("full_length").tolist()[2] == 32
    assert store.string("text", 1) == "bad film \U0001f600, bad" and store.place(1) == "train.csv:3"
    assert said == ["tokenising csv:train.csv"]


def test_pairs_are_tokenised_together(make):
    write("train.csv", ["good,bad film,x", "film,good,y"], "q,a,label")
    store = make(text_column="q", text_pair_column="a")[0].store("csv:train.csv")
    assert store.column("tokens").tolist() == [CLS, GOOD, SEP, BAD, FILM, SEP, CLS, FILM, SEP, GOOD, SEP]
    assert store.column("first_length").tolist() == [3, 3] and store.string("text_pair", 0) == "bad film"


@pytest.mark.parametrize("size, dtype", [(1 << 16, np.uint16), ((1 << 16) + 1, np.int32)])
def test_small_vocabularies_take_two_bytes_a_token(make, size, dtype):
    write("train.csv", ["good film,pos", "bad,neg"])
    preparer = make()[0]
    rows = list(Source("csv:train.csv", preparer.data, preparer.reading.fields, preparer.cache).rows())
    made, = encode(iter([rows]), EncoderGraph(preparer.reading.encoder), size)
    assert made.examples["tokens"].flat.dtype == dtype
    assert made.examples["tokens"].flat.tolist() == [CLS, GOOD, FILM, SEP, CLS, BAD, SEP]
    assert made.examples["tokens"].lengths.tolist() == made.examples["length"].tolist() == [4, 3]
    assert preparer.store("csv:train.csv").column("tokens").dtype == np.uint16


def test_chunks_are_encoded_in_their_order(make, monkeypatch):
    """By many threads, and not in one chunk."""
    monkeypatch.setattr("tfft.data.store.CHUNK", 3)
    write("train.csv", [f"{'good ' * (i * 7 % 12)}film,{'np'[i % 2]}" for i in range(40)])
    store = make()[0].store("csv:train.csv")
    assert store.lengths.tolist() == [i * 7 % 12 + 3 for i in range(40)]
    assert [store.values("tokens", i).tolist() for i in range(40)] == [
        [CLS, *[GOOD] * (i * 7 % 12), FILM, SEP] for i in range(40)]
    assert [store.names_of("label", i) for i in range(40)] == [("np"[i % 2],) for i in range(40)]


def test_the_second_run_reads_the_store_of_the_first(make, monkeypatch):
    write_reviews("train.csv", 60)
    first, _ = make()
    before = load_splits(first)
    marks = stamps()
    second, said = make()
    monkeypatch.setattr(prepare, "encode", None)  # would fail if it were called
    after = load_splits(second)
    assert not any("tokenising" in line for line in said) and stamps() == marks
    assert [s.name for s in after.values()] == ["train", "validation"]
    for name, split in after.items():
        np.testing.assert_array_equal(split.rows, before[name].rows)


def test_what_changes_tokens_makes_another_store(make):
    write("train.csv", ["good,pos", "bad,neg"], "text,label")
    made = []
    for settings in ({}, {"max_length": 12}, {"truncation": "head_tail"}, {"truncation": "head_tail", "head_fraction": 0.5},
                     {"split_seed": 1}, {"fingerprint": "other"}, {"head_fraction": 0.5}, {"train_rows": 1},
                     {"validation": "20%"}):
        make(**settings)[0].store("csv:train.csv")
        made.append(len(stores()))
    assert made == [1, 2, 3, 4, 5, 6, 6, 6, 6]  # an unused fraction, or how rows are chosen, is no part of the store


def test_changed_files_make_another_store(make):
    write("train.csv", ["good,pos", "bad,neg"])
    assert texts_of(make()[0]) == ["good", "bad"]
    write("train.csv", ["good,pos", "sad,neg"])  # of the same size
    assert texts_of(make()[0]) == ["good", "sad"]
    pathlib.Path("train.csv").rename("other.csv")
    assert texts_of(make()[0], "csv:other.csv") == ["good", "sad"]
    assert len(stores()) == 2


def texts_of(preparer, spec="csv:train.csv") -> list[str]:
    store = preparer.store(spec)
    return [store.string("text", i) for i in range(len(store))]


def test_shares_are_stable_when_rows_are_appended(make):
    write_reviews("train.csv", 200)
    shares = {"validation": "20%", "test": "10%"}
    before = load_splits(make(**shares)[0])
    lines = pathlib.Path("train.csv").read_text().splitlines()
    write("train.csv", [*lines[1:50], *(f"another {i},pos" for i in range(60)), *lines[50:]], lines[0])
    after = load_splits(make(**shares)[0])
    assert sum(len(s.rows) for s in after.values()) == 260
    for name in ("train", "validation", "test"):
        assert len(before[name].rows) > 5
        assert set(texts(before[name])) <= set(texts(after[name]))
        assert (np.diff(after[name].rows) > 0).all() and after[name].rows.dtype == np.int64
    assert 25 < len(before["validation"].rows) < 55
    other = load_splits(make(**shares, split_seed=1)[0])
    assert set(texts(other["validation"])) != set(texts(after["validation"]))


def test_row_limits_are_nested_draws(make):
    write_reviews("train.csv", 200)
    splits = {n: load_splits(make(validation="20%", train_rows=n, validation_rows=5)[0]) for n in (0, 20, 50)}
    few, more, every = (set(texts(splits[n]["train"])) for n in (20, 50, 0))
    assert (len(few), len(more)) == (20, 50) and few < more < every
    assert len(splits[20]["validation"].rows) == 5
    assert splits[20]["validation"].rows.tolist() == splits[0]["validation"].rows.tolist()
    assert splits[20]["train"].examples.tolist() == splits[20]["train"].rows.tolist()  # a row is one example
    assert splits[20]["train"].lengths.tolist() == splits[20]["train"].store.lengths[splits[20]["train"].rows].tolist()


def test_leaks_are_counted(make):
    write("train.csv", ["good film,pos", "bad film,neg", "fine film,pos"])
    write("val.csv", [" good film ,pos", "poor film,neg", "bad film,pos"])
    write("test.csv", ["a film,pos"])
    splits = make(validation="csv:val.csv", test="csv:test.csv")
    load_splits(splits[0])
    leaks = [line for line in splits[1] if line.startswith("leak")]
    assert leaks == ["leak: 2 of 3 validation rows have a text that is also in train, such as val.csv:2 ' good film '"]


def test_a_split_without_rows(make):
    write("train.csv", ["good film,pos", "bad film,neg"])
    write("empty.csv", [])
    with pytest.raises(UserError, match=r"The validation split has no rows \(2 rows in csv:train.csv\). Give it more rows"):
        load_splits(make(validation="0.001%")[0])
    with pytest.raises(UserError, match=r"The train split has no rows .* Take smaller shares off"):
        load_splits(make(validation="99.999%")[0])
    with pytest.raises(UserError, match="^csv:empty.csv has no rows.$"):
        load_splits(make(validation="csv:empty.csv")[0])
    assert list(load_splits(make(validation="")[0])) == ["train"]


def test_a_mistake_in_the_source_stays_a_user_error(make, monkeypatch):
    """It is raised in a thread of tf.data, after a first chunk went well."""
    monkeypatch.setattr("tfft.data.store.CHUNK", 2)
    write("train.csv", ["good,pos", "bad,neg", "fine,pos", ",neg"])
    with pytest.raises(UserError, match=r"^train.csv:5: this row is broken: .*on_broken_row=skip\.$"):
        make()[0].store("csv:train.csv")
    assert stores() == set()


def test_skipped_rows_are_told_on_every_run(make):
    write("train.csv", ["good,pos", ",neg", "bad,neg", "é\x85,"])
    told = "2 broken rows skipped; first: train.csv:3: column 'text' (its text) is empty"
    preparer, said = make(on_broken_row="skip")
    assert len(preparer.store("csv:train.csv")) == 2 and said == ["tokenising csv:train.csv", told]
    preparer, said = make(on_broken_row="skip")
    assert len(preparer.store("csv:train.csv")) == 2 and said == [told]


def test_only_broken_rows(make):
    write("train.csv", [",pos"])
    for _ in range(2):
        preparer, said = make(on_broken_row="skip")
        with pytest.raises(UserError, match="csv:train.csv has no rows"):
            preparer.store("csv:train.csv")
        assert said[-1].startswith("1 broken row skipped")


def test_too_many_labels_are_told_and_nothing_stays(make, monkeypatch):
    monkeypatch.setattr("tfft.data.store.MAX_NAMES", 3)
    write("train.csv", [f"good,{i}" for i in range(9)])
    with pytest.raises(UserError, match="more than 3 different values"):
        make()[0].store("csv:train.csv")
    assert stores() == set()


def test_labels_by_problem(make):
    write("train.csv", ['good,"a,b"', "bad,"])
    store = make(task={"problem": "multi_label"})[0].store("csv:train.csv")
    assert [store.names_of("label", i) for i in range(2)] == [("a", "b"), ()]
    write("train.csv", ["good,1.5", "bad,-2"])
    store = make(task={"problem": "regression"})[0].store("csv:train.csv")
    assert store.column("value").tolist() == [1.5, -2] and "label" not in store


def test_augmented_texts_follow_from_epoch_and_rows(make):
    write_reviews("train.csv", 40)
    preparer, said = make(augmentation={"replace": 0.3, "delete": 0.3})
    split = load_splits(preparer)["train"]
    stores_ = [preparer.augmented(split, epoch) for epoch in (0, 1)]
    made = [[s.string("text", i) for i in range(len(s))] for s in stores_]
    assert len(made[0]) == len(made[1]) == len(split.rows)
    assert made[0] != made[1] != texts(split)
    assert [stores_[0].string("id", i) for i in range(3)] == [split.store.string("id", r) for r in split.rows[:3]]
    assert stores_[0].lengths.max() <= 16 and "label" not in stores_[0]
    assert preparer.augmented(split, 1).folder == stores_[1].folder
    preparer.augmented(split, 2)
    assert not stores_[0].folder.exists() and stores_[1].folder.exists()  # epoch 0 is read no more
    again, _ = make(augmentation={"replace": 0.3, "delete": 0.3})
    same = again.augmented(load_splits(again)["train"], 1)
    assert same.folder != stores_[1].folder and [same.string("text", i) for i in range(len(same))] == made[1]
    fewer, _ = make(augmentation={"replace": 0.3, "delete": 0.3}, train_rows=10)
    assert len(fewer.augmented(load_splits(fewer)["train"], 1)) == 10


def test_augmented_pairs_keep_their_second_text(make):
    write("train.csv", [f"{'good film ' * 5}{i},bad film {i},x" for i in range(9)], "q,a,label")
    preparer, _ = make(text_column="q", text_pair_column="a", augmentation={"delete": 0.5}, validation="", max_length=32)
    split = load_splits(preparer)["train"]
    store = preparer.augmented(split, 0)
    for i, row in enumerate(split.rows):
        assert store.string("text_pair", i) == split.store.string("text_pair", row) == f"bad film {row}"
        assert set(store.string("text", i).split()) <= set(split.store.string("text", row).split())
    assert [store.texts(i)[0] for i in range(9)] != texts(split)
    assert store.column("first_length").max() < split.store.column("first_length").max()


def test_no_augmentation_unless_asked_for(make):
    assert make()[0].reading.augmented is None and make(augmentation={"delete": 0.1})[0].reading.augmented is not None


def test_replacement_words_come_from_all_of_the_training_rows(make, monkeypatch):
    """Files sorted by label must not give words of the first label alone."""
    write("train.csv", [*("bad " * 30 + f"{i},neg" for i in range(2100)), *("good " * 30 + f"{i},pos" for i in range(2100))])
    preparer, _ = make(augmentation={"replace": 0.5}, validation="")
    split = load_splits(preparer)["train"]
    seen = []
    monkeypatch.setattr(reading_module, "augment", lambda text, settings, vocabulary, **_: seen.append(vocabulary) or text)
    preparer.augmented(split, 0)
    words = seen[0]
    assert 0.4 < words.count("good") / len(words) < 0.6 and len(words) <= 20_000


def test_describe_data():
    data = resolve({"data": {"train": "pypi:x==1/a.csv#sha256=abc", "validation": "10%"}}).data
    assert describe_data(data) == "train pypi:x==1/a.csv, validation 10%"
