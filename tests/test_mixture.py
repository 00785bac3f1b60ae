"""How a mixture's epochs are drawn, to the row; what its config may say; which sources cannot be learnt from together."""

import json
import os
import pathlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from tfft.config import from_json, resolve, to_json
from tfft.data.alike import same_names, same_range
from tfft.data.mixture import Drawing, parts, permuted, times, whole_numbers
from tfft.errors import UserError

ROOT = pathlib.Path(__file__).parent.parent


def made(task="text_classification", metric="auto", **data):
    return resolve({"task": {"name": task}, "eval": {"metric": metric}, "data": {"train": "csv:a.csv", **data}})


def data_of(*, sources=None, **mixture):
    """config.data of the sources a and b."""
    named = {"a": {"where": "s=a", **(sources or {}).get("a", {})}, "b": {"where": "s=b", **(sources or {}).get("b", {})}}
    return made(sources=named, mixture=mixture).data


# ---- rates

@pytest.mark.parametrize("rates, total, expected", [
    ([0.5, 0.3, 0.2], 11, [6, 3, 2]), ([1 / 3, 1 / 3, 1 / 3], 10, [4, 3, 3]), ([0.999, 0.001], 10, [10, 0]), ([1.0], 7, [7]),
    ([0.25, 0.75], 4, [1, 3]),
])
def test_whole_numbers_add_up(rates, total, expected):
    assert whole_numbers(np.array(rates), total).tolist() == expected


@pytest.mark.parametrize("settings, rates, drawn", [
    ({}, [0.9, 0.1], [900, 100]), ({"rows": 50}, [0.9, 0.1], [45, 5]), ({"cap": 300}, [0.75, 0.25], [300, 100]),
    ({"temperature": 2}, [0.75, 0.25], [750, 250]), ({"temperature": 2, "cap": 400}, [2 / 3, 1 / 3], [333, 167]),
    ({"sources": {"a": {"cap": 100}}}, [0.5, 0.5], [100, 100]),
    ({"sources": {"a": {"rate": 1}, "b": {"rate": 3}}}, [0.25, 0.75], [250, 750]),
])
def test_rates(settings, rates, drawn):
    found = parts({"a": 900, "b": 100}, data_of(**settings))
    assert [part.rate for part in found] == pytest.approx(rates) and [part.drawn for part in found] == drawn
    assert [part.passes for part in found] == pytest.approx([drawn[0] / 900, drawn[1] / 100])


def test_a_source_without_a_row_in_an_epoch_is_refused():
    with pytest.raises(UserError, match=r"sources.b: of 5 rows of an epoch its rate 0.0099 gives none. Set config.data.mixture."
                                        r"rows to 101 or more"):
        parts({"a": 9900, "b": 99}, data_of(rows=5))


# ---- which rows

@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000])
def test_a_permutation_has_every_place_once(size):
    whole = permuted(np.arange(size), size, (1, 2, 3))
    assert sorted(whole.tolist()) == list(range(size))
    assert permuted(np.arange(size)[::-3], size, (1, 2, 3)).tolist() == whole[::-3].tolist()  # places do not depend on others


def test_permutations_are_as_likely_as_each_other():
    found = Counter(tuple(permuted(np.arange(3), 3, (seed, 9)).tolist()) for seed in range(3000))
    assert len(found) == 6 and all(410 < count < 590 for count in found.values())


@pytest.mark.parametrize("rows, drawn", [(7, 5), (7, 7), (7, 17), (5, 1), (1, 3), (300, 299)])
def test_every_row_of_a_source_is_seen_equally_often(rows, drawn):
    seen = np.zeros(rows, np.int64)
    for epoch in range(rows):
        now = times("a", rows, drawn, epoch, 3)
        assert now.sum() == drawn and now.max() - now.min() <= 2
        seen += now
        assert seen.max() - seen.min() <= 1
        assert (times("a", rows, drawn, epoch, 3) == now).all()
    assert (seen == drawn).all()


def test_epochs_differ_by_number_seed_and_name():
    drawn = [tuple(np.flatnonzero(times(name, 100, 10, epoch, seed)))
             for name, epoch, seed in (("a", 0, 0), ("a", 1, 0), ("a", 10, 0), ("a", 0, 1), ("b", 0, 0))]
    assert len(set(drawn)) == 5 and not set(drawn[0]) & set(drawn[1])  # one pass until epoch 9


def test_an_epoch_has_the_rows_of_all_sources():
    data = data_of(sources={"a": {"rate": 1}, "b": {"rate": 1}}, rows=12)
    drawing = Drawing(parts({"a": 4, "b": 100}, data), [np.arange(4) * 2, 50 + np.arange(100)], seed=1)
    rows = drawing.epoch(5)
    assert len(rows) == drawing.drawn == 12 and (np.diff(rows) >= 0).all()
    counts = Counter(rows.tolist())
    assert sorted(counts[row] for row in (0, 2, 4, 6)) == [1, 1, 2, 2] and sum(row >= 50 for row in counts) == 6
    alone = Drawing(drawing.parts[:1], drawing.rows[:1], seed=1)
    assert alone.epoch(5).tolist() == rows[:6].tolist()  # whatever other sources there are


# ---- the config

def test_a_source_is_the_experiment_with_what_it_has_of_its_own():
    chosen = made(sources={"b": {"where": "s=b", "train_rows": 5}, "a": {"train": "csv:b.csv", "text_column": "body"}},
                  validation="20%", metric="b/macro_f1")
    a, b = chosen.data.by_source().values()
    assert list(chosen.data.sources) == ["a", "b"]  # sorted: a ConfigDict keeps no order
    assert (a.train, a.text_column, a.validation, a.where) == ("csv:b.csv", "body", "20%", "")
    assert (b.train, b.text_column, b.train_rows, b.where) == ("csv:a.csv", "text", 5, "s=b")
    assert not a.sources and list(made().data.by_source()) == [""]
    assert from_json(to_json(chosen)) == chosen and chosen.data.specs("test") == []


@pytest.mark.parametrize("data, message", [
    ({"sources": {"a": {"wher": "s=a"}, "b": {}}}, "In config.data.sources.a: Unknown setting 'wher'. Did you mean 'where'?"),
    ({"sources": {"a": {"max_length": 9}, "b": {}}}, "sources.a.max_length: all have one max_length. Set config.data.max_len"),
    ({"sources": {"a": {"where": "s"}, "b": {"where": "s=b"}}}, "config.data.sources.a.where='s' must be COLUMN=VALUE"),
    ({"sources": {"a": {"train_rows": -1}, "b": {}}}, "config.data.sources.a.train_rows is -1; it must be at least 0."),
    ({"sources": {"a": {"rate": "much"}, "b": {}}}, "config.data.sources.a.rate must be float, not str 'much'."),
    ({"sources": {"a b": {}, "b": {}}}, "config.data.sources: 'a b' is no name for one."),
    ({"sources": {"a": {}}}, "config.data.sources names 'a' alone: a mixture has two sources or more."),
    ({"sources": {"a": {}, "b": {}}}, "a and b have the same train rows, csv:a.csv. Give each its own"),
    ({"sources": {"a": {"train": "csv:x.csv"}, "b": {"train": "csv:y.csv"}}, "validation": "csv:v.csv", "train": ""},
     "a and b have the same validation rows, csv:v.csv."),
    ({"sources": {"a": {"train": "csv:x.csv"}, "b": {"train": "csv:y.csv"}}}, "config.data.train=csv:a.csv is read by none of"),
    ({"sources": {"a": {"train": "csv:x.csv"}, "b": {}}, "train": ""}, "config.data.sources.b.train is empty: name"),
    ({"sources": {"a": {"where": "s=a", "rate": 1}, "b": {"where": "s=b"}}}, "config.data.sources.a has a rate, b has none."),
    ({"sources": {"imdb": {"where": "s=a"}, "imbd": {"cap": 9}}}, "imbd reads all train rows of csv:a.csv, imdb some of them. "
                                                                  "Did you mean the source 'imdb'?"),
    ({"train": "", "sources": {"mail": {"where": "s=b"}, "mails": {"train": "csv:b.csv"}}},
     "config.data.sources.mail.train is empty: name where its training rows are. Did you mean the source 'mails'?"),
    ({"sources": {"a": {"where": "s=a", "rate": 1}, "b": {"where": "s=b", "rate": 1}}, "mixture": {"cap": 5}},
     "config.data.mixture.cap makes"),
    ({"sources": {"a": {"where": "s=a", "rate": 1}, "b": {"where": "s=b", "rate": 1, "cap": 2}}},
     "config.data.sources.b.cap makes rates of"),
    ({"sources": {"a": {"text_pair_column": "x"}, "b": {}}}, "a.text_pair_column is set, config.data.text_pair_column is"),
    ({"mixture": {"cap": 5}}, "config.data.sources names none."),
    ({"mixture": {"temprature": 5}}, "In config.data.mixture: Unknown setting 'temprature'. Did you mean 'temperature'?"),
    ({"sources": {"a": {"where": "s=a"}, "b": {"where": "s=b"}}, "metric": "c/accuracy"},
     "eval.metric=c/accuracy: Unknown source 'c'."),
    ({"sources": {"a": {"where": "s=a"}, "b": {"where": "s=b"}}, "metric": "a/acuracy"},
     "Unknown metric 'acuracy'. Did you mean"),
    ({"metric": "a/accuracy"}, "config.eval.metric: Unknown metric 'a/accuracy'. Did you mean 'accuracy'?"),
    ({"sources": {"a": {"where": "s=a", "validation": ""}, "b": {"where": "s=b"}}, "metric": "a/loss"},
     "this source has no validation rows"),
])
def test_mistakes_in_the_config(data, message):
    with pytest.raises(UserError) as caught:
        made(**data)
    assert message in str(caught.value)


COMMAND = """import json, sys
from tfft import flags
flags.define_config()


def main():
    data = flags.experiment().data
    assert "tensorflow" not in sys.modules
    print(json.dumps([data.sources, data.mixture.cap]))


flags.run(main)
"""


@pytest.fixture
def command(tmp_path):
    """A command that prints the sources of a config of one.py, with overrides, and what it says of mistakes."""
    (tmp_path / "command.py").write_text(COMMAND)
    (tmp_path / "one.py").write_text("from tfft.config import default_config\n\n\ndef get_config(variant=''):\n"
                                     "    config = default_config()\n    config.data.train = 'csv:a.csv'\n"
                                     "    config.data.sources.one = {'where': 's=1'}\n    return config\n")

    def run(*overrides: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "command.py", "--config=one.py", *overrides], capture_output=True, text=True,
                              cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400"}, timeout=60)

    return run


def test_sources_on_the_command_line(command):
    done = command("--config.data.sources.two.where=s=2", "--config.data.sources.two.header=False",
                   "--config.data.sources.one.train_rows", "5", "--config.data.sources.two.columns=('a','b')",
                   "--config.data.mixture.cap=9")
    assert json.loads(done.stdout) == [{"one": {"where": "s=1", "train_rows": 5},
                                        "two": {"where": "s=2", "header": False, "columns": ["a", "b"]}}, 9], done.stderr


@pytest.mark.parametrize("override, message", [
    ("--config.data.sources.two.trian=csv:b.csv", "sources.two.trian: Unknown setting 'trian'. Did you mean 'train'?"),
    ("--config.data.sources.one.train_rows=few", "--config.data.sources.one.train_rows=few: must be int."),
    ("--config.data.sources.one.max_length=9", "All sources have one: --config.data.max_length."),
    ("--config.data.sources.one=csv:a.csv", "--config.data.sources.one is no setting"),
    ("--config.data.mixture.rows=5", "config.data.sources names 'one' alone"),
])
def test_mistakes_on_the_command_line(command, override, message):
    done = command(override)
    assert done.returncode == 2 and message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr


# ---- sources that are unlike each other

def test_names_that_differ():
    same = {"x": {"neg", "pos"}, "y": {"pos", "neg"}}
    few = {"x": {"neg", "pos"}, "y": {"pos"}}
    other = {"x": {"neg", "pos"}, "y": {"0", "1"}}
    assert same_names("labels", same, "labels", given=False) == []
    assert same_names("labels", few, "labels", given=True) == [
        "y: no training row has the labels 'neg', which other sources have"]
    assert same_names("labels of sentences", few, "", given=False)
    with pytest.raises(UserError, match="x has 'neg', which y lacks. Write .* name all labels: --config.data.labels="):
        same_names("labels", few, "labels", given=False)
    for setting in ("labels", ""):
        with pytest.raises(UserError, match="x has 'neg', 'pos', which y lacks; y has '0', '1', which x lacks."):
            same_names("labels", other, setting, given=False)


def test_ranges_that_differ():
    assert same_range("scores", {"x": np.array([0, 5.0]), "y": np.array([1, 4.0])}) == []
    word, = same_range("scores", {"x": np.array([0, 5.0]), "y": np.array([0, 1.0])})
    assert "x 0 to 5, y 0 to 1" in word
