"""Columns that the store does not keep, of the rows that were judged: the right ones, of splits, sources and mixtures."""

import numpy as np
import pytest
from tiny_run import make_run

from tfft.assets import cache_folder
from tfft.data.prepare import Preparer, open_splits
from tfft.errors import UserError
from tfft.run.columns import check_columns, column_values
from tfft.run.judge import sources_of


def write(path, name: str, count: int) -> None:
    lines = [f"good film {i},{'pos' if i % 2 else 'neg'},{name}{i},{'old' if i % 3 else 'new'},{i}" for i in range(count)]
    path.write_text("\n".join(["text,label,who,age,number", *lines]) + "\n")


def preparer(run) -> Preparer:
    cache = cache_folder(run.experiment.data.cache)
    return Preparer(run.experiment.data, run.reading(cache), cache, lambda text: None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", "a", 40)
    write(tmp_path / "b.csv", "b", 10)
    return tmp_path


def check(split, found) -> None:
    """Texts end in the number that the columns tell."""
    assert len(split.rows) == len(found["number"]) > 0
    for row, number, age in zip(split.rows.tolist(), found["number"], found["age"], strict=True):
        assert split.store.texts(row)[0].split()[-1] == number and age == ("old" if int(number) % 3 else "new")


def test_columns_of_a_share_of_some_rows_and_of_a_file(tiny_preset, folder):
    run = make_run(tiny_preset, folder / "run", train="csv:a.csv", validation="20%", test="csv:b.csv", where="age=old")
    made = preparer(run)
    splits = open_splits(made)
    for name in ("train", "validation", "test"):
        split = splits[name]
        check(split, column_values(sources_of(made, split), split.store, split.rows, ("number", "age", "who")))
    store, rows, sources = splits["test"].store, np.array([2, 0]), sources_of(made, splits["test"])
    assert column_values(sources, store, rows, ("who",)) == {"who": ["b4", "b1"]}
    assert column_values(sources, store, rows, ()) == {}
    check_columns(sources, ("who", "age"))
    with pytest.raises(UserError, match="^--protected=ago: Unknown column 'ago'. Did you mean 'age'?"):
        check_columns(sources, ("ago",), "--protected")
    (folder / "moved.csv").write_bytes((folder / "b.csv").read_bytes())  # its store is the same, and knows the other name
    moved = preparer(run).source("csv:moved.csv")
    assert column_values([(moved, 0)], preparer(run).store("csv:moved.csv"), rows, ("who",)) == {"who": ["b4", "b1"]}
    (folder / "b.csv").write_text("text,label,age,number\n\n\ngood film 1,pos,old,1\n")
    with pytest.raises(UserError, match="the file has changed meanwhile"):
        column_values(sources_of(made, splits["test"]), store, rows, ("age",))


def test_columns_of_a_mixture(tiny_preset, folder):
    sources = {"one": {"train": "csv:a.csv", "validation": "25%"}, "two": {"train": "csv:b.csv", "validation": "csv:b.csv"}}
    run = make_run(tiny_preset, folder / "run", train="", sources=sources)
    made = preparer(run)
    split = open_splits(made)["validation"]
    found = column_values(sources_of(made, split), split.store, split.rows, ("number", "age", "who"))
    check(split, found)
    assert "".join(who[0] for who in found["who"]).strip("a") == "b" * 10
