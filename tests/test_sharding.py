"""Preparation in shards: the store that training makes by itself, in whatever order, after whatever death."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, run, start, wait_for
from conftest import write_reviews
from sharded import TASKS, assert_same, assert_same_files, experiment_of, stores

from tfft.assets import cache_folder
from tfft.config import resolve
from tfft.config.shipped import load
from tfft.data.pipeline import Reader, make_batch
from tfft.errors import UserError
from tfft.run.assembly import prepare as prepare_all
from tfft.run.prepare import prepare_stores


def whole(experiment):
    """Makes the stores as training and evaluating do."""
    prepared = prepare_all(experiment, experiment.model.backbone, cache_folder(experiment.data.cache), lambda line: None)
    for split in prepared.splits.values():
        prepared.preparer.judged_with(split)
    return prepared


@pytest.fixture(scope="module", params=TASKS)
def made(request, tiny_preset, tmp_path_factory):
    """(experiment of `sharded`, its folder): caches `whole`, as training makes it, and `sharded`, in three shards."""
    folder = tmp_path_factory.mktemp(request.param)
    whole(experiment_of(request.param, folder / "data", tiny_preset, folder / "whole"))
    experiment = experiment_of(request.param, folder / "data", tiny_preset, folder / "sharded")
    assert prepare_stores(experiment, folder / "sharded", 3) == 0
    return experiment, folder


def test_the_store_is_that_of_training(made):
    experiment, folder = made
    ours, theirs = stores(folder / "sharded"), stores(folder / "whole")
    assert ours.keys() == theirs.keys() and len(ours) >= 1
    for name, store in ours.items():
        assert_same(store, theirs[name])
    assert 3 in [len(store.meta["shards"]) for store in ours.values()]


def test_training_finds_it_and_has_the_same_batches(made, monkeypatch):
    experiment, folder = made
    monkeypatch.setattr("tfft.data.prepare.Preparer._write", lambda *_, **__: pytest.fail("tokenised"))
    ours, theirs = (whole(dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, cache=str(folder / cache))))
                    for cache in ("sharded", "whole"))
    assert "shards" in ours.splits["train"].store.meta and "shards" not in theirs.splits["train"].store.meta
    for number in range(ours.epochs.num_batches(0)):
        batches = [make_batch(prepared.epochs.epoch(0), number, reader_of(prepared)) for prepared in (ours, theirs)]
        assert all(np.array_equal(a, b) for a, b in zip(*batches, strict=True)) and len(batches[0]) >= 5


def reader_of(prepared) -> Reader:
    task = prepared.task
    return Reader(("token_ids", "padding_mask"), prepared.pad_id, task.targets(prepared.splits["train"].store, weighted=True),
                  task.target_specs, task.sequences or 1, task.drawn)


@pytest.fixture(scope="module")
def once(tiny_preset, tmp_path_factory):
    """(experiment, folder) of the text classification; the folder has data/ and the cache once/, of four shards."""
    folder = tmp_path_factory.mktemp("once")
    experiment = experiment_of("text_classification", folder / "data", tiny_preset, folder / "once")
    prepare_stores(experiment, folder / "once", 4)
    return experiment, folder


@pytest.fixture
def reviews(once, tmp_path):
    """The same, in a folder with an empty cache."""
    experiment, folder = once
    for name in ("data", "once"):
        (tmp_path / name).symlink_to(folder / name)
    return dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, cache=str(tmp_path / "cache"))), tmp_path


def test_shards_may_be_made_in_any_order_and_by_several(reviews):
    experiment, folder = reviews

    def anyhow(work, job, items, console):
        for item in random.Random(0).sample(items + items, 2 * len(items)):
            work(job, item)

    prepare_stores(experiment, folder / "cache", 4, anyhow)
    assert_same_files(folder / "cache" / "stores", folder / "once" / "stores")


def test_stores_elsewhere_are_fetched(reviews):
    experiment, folder = reviews
    for fetch in (False, True):
        prepare_stores(experiment, folder / "cache", 4, stores=str(folder / "elsewhere"), fetch=fetch)
        assert_same_files(folder / "elsewhere", folder / "once" / "stores")
    assert_same_files(folder / "cache" / "stores", folder / "once" / "stores")


def test_what_is_there_is_not_made_again(reviews, capsys):
    """It stops in the third shard of five of the training rows, and goes on."""
    experiment, folder = reviews
    begun = []

    def stops(work, job, items, console):
        for item in items:
            begun.append(item)
            if len(begun) == 8:  # 4 groups of files are counted first
                raise KeyboardInterrupt
            work(job, item)

    with pytest.raises(KeyboardInterrupt):
        prepare_stores(experiment, folder / "cache", 5, stops)
    (making,) = (folder / "cache" / "stores").glob("*.making")
    stamps = {path: path.stat().st_mtime_ns for path in making.glob("shard-*/*")}
    with pytest.raises(UserError, match=r"has shards of a preparation in 5 shards, not 4\. Give the --shards of before"):
        prepare_stores(experiment, folder / "cache", 4)
    prepare_stores(experiment, folder / "cache", 5)
    kept = {making / path.relative_to(making.with_suffix("")): path.stat().st_mtime_ns
            for path in making.with_suffix("").glob("shard-*/*")}
    assert stamps and stamps.items() < kept.items() and not making.exists()
    capsys.readouterr()
    prepare_stores(experiment, folder / "cache", 0)
    assert capsys.readouterr().err.count("there already") == 2


def test_a_file_of_many_shards_is_told(reviews, monkeypatch, capsys):
    experiment, folder = reviews
    one = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, train=f"csv:{folder}/data/0.csv"))
    monkeypatch.setattr("tfft.data.sharding.MANY_TIMES", 2)
    prepare_stores(one, folder / "cache", 4)
    assert "0.csv: every record is read 2 times, since shards begin inside files" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("data, told", [
    ({"on_broken_row": "error"}, r"^.*/1\.csv:2: this row is broken"),
    ({"where": "label=none"}, r"no row has config\.data\.where=label=none"),
    ({"train": "csv:{}/0.csv[50:60]"}, r"^csv:.*0\.csv\[50:60\] has no rows\.$")])
def test_mistakes_are_told_as_training_tells_them(reviews, data, told):
    experiment, folder = reviews
    data = {name: value.format(folder / "data") for name, value in data.items()}
    experiment = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, validation="", **data))
    with pytest.raises(UserError, match=told):
        prepare_stores(experiment, folder / "cache", 3)
    with pytest.raises(UserError, match=told):
        whole(experiment)


def test_names_are_counted_over_all_shards(tiny_preset, tmp_path, monkeypatch):
    """Each shard alone has few enough."""
    experiment, folder = experiment_of("text_classification", tmp_path / "data", tiny_preset, tmp_path / "cache"), tmp_path
    (folder / "data" / "1.csv").write_text("text,label\n" + "".join(f"film {i},l{i}\n" for i in range(9)))
    monkeypatch.setattr("tfft.data.store.MAX_NAMES", 9)
    with pytest.raises(UserError, match=r"^The label column holds more than 9 different values"):
        prepare_stores(experiment, folder / "cache", 10)
    assert not list((folder / "cache" / "stores").iterdir())


@pytest.mark.slow
def test_killed_it_goes_on(tiny_preset, tmp_path):
    """The command, killed between its first shard and its last."""
    write_reviews(tmp_path / "reviews.csv", 6000)
    cache = str(tmp_path / "cache")
    command = ["prepare", f"--config={ROOT}/configs/my_csv.py", f"--config.data.train=csv:{tmp_path}/reviews.csv",
               f"--config.model.backbone={tiny_preset}", "--config.data.max_length=24", "--shards=8"]
    process = start(command, cache)
    wait_for(lambda: list(tmp_path.glob("cache/stores/*.making/shard-00001-*/meta.json")), process)
    process.kill()
    process.communicate()
    (making,) = tmp_path.glob("cache/stores/*.making")
    there = {path: path.stat().st_mtime_ns for path in making.glob("shard-*/meta.json")}
    assert 2 <= len(there) < 8
    _, said = run(command, cache)
    assert f"{8 - len(there)} of 8 shards to make" in said and "6,000 rows" in said
    (store,) = Path(cache, "stores").iterdir()
    assert all((store / path.relative_to(making)).stat().st_mtime_ns == stamp for path, stamp in there.items())
    settings = load("my_csv")
    settings.data.train, settings.data.max_length, settings.model.backbone = f"csv:{tmp_path}/reviews.csv", 24, tiny_preset
    prepare_stores(resolve(settings), tmp_path / "other", 8)
    assert_same_files(Path(cache, "stores"), tmp_path / "other" / "stores")


def test_sources_of_a_mixture_are_made_one_by_one(tiny_preset, tmp_path, monkeypatch):
    settings = load("my_csv")
    for i, name in enumerate(("long", "short")):
        write_reviews(tmp_path / f"{name}.csv", 300 - 100 * i, seed=i)
    settings.data.train, settings.data.cache, settings.data.max_length = "", str(tmp_path / "cache"), 32
    settings.data.sources = {name: {"train": f"csv:{tmp_path}/{name}.csv"} for name in ("long", "short")}
    settings.model.backbone = tiny_preset
    experiment = resolve(settings)
    prepare_stores(experiment, tmp_path / "cache", 2)
    monkeypatch.setattr("tfft.data.prepare.Preparer._write", lambda *_, **__: pytest.fail("tokenised"))
    prepared = whole(experiment)
    assert [len(store.meta["shards"]) for store in stores(tmp_path / "cache").values()] == [2, 2]
    assert sum(len(split.rows) for split in prepared.splits.values()) == 500
