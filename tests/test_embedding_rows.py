"""Rows to learn embeddings from: what is read of every kind, in every format, what is refused; which texts a batch has."""

import json

import numpy as np
import pytest

from tfft.config import resolve
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.tasks.embedding.members import draw
from tfft.tasks.embedding.rows import row_columns, row_fields, texts_of


def experiment(path: str, task=None, train=None, evaluation=None, **data):
    return resolve({"task": {"name": "embedding", **(task or {})}, "data": {"train": path, **data}, "train": train or {},
                    "eval": evaluation or {}})


def rows_of(chosen, tmp_path):
    source = Source(chosen.data.train, chosen.data, row_fields(chosen, tmp_path), tmp_path)
    return list(source.rows())


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, "utf-8")
        return str(tmp_path / name)

    return write


HARD = {"text_pair_column": "p", "negative_columns": ("n", "m")}


@pytest.mark.parametrize("name, text", [
    ("a.jsonl", '{"text": "q", "p": ["a", "b"], "n": "x", "m": ["y", " "]}\n{"text": "r", "p": "c", "n": null, "m": []}\n'),
    ("a.json", '[{"text": "q", "p": ["a", "b"], "n": "x", "m": ["y"]}, {"text": "r", "p": "c", "n": "", "m": null}]'),
    ("a.csv", 'text,p,n,m\nq,"[""a"", ""b""]",x,y\nr,c,,\n'),
    ("a.tsv", 'text\tp\tn\tm\nq\t["a", "b"]\tx\ty\nr\tc\t\t\n')])
def test_pairs_with_several_positives_and_negatives(write, tmp_path, name, text):
    first, second = rows_of(experiment(write(name, text), **HARD), tmp_path)
    assert texts_of(first.values) == [(0, "q"), (1, "a"), (1, "b"), (2, "x"), (2, "y")]
    assert texts_of(second.values) == [(0, "r"), (1, "c")]
    made = row_columns([first, second])
    assert made["positives"].tolist() == [2, 1] and made["negatives"].tolist() == [2, 0]


def test_pairs_of_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"text": ["q"], "p": [["a", "b"]], "n": [["x"]], "m": [None]}), tmp_path / "a.parquet")
    row, = rows_of(experiment(str(tmp_path / "a.parquet"), **HARD), tmp_path)
    assert texts_of(row.values) == [(0, "q"), (1, "a"), (1, "b"), (2, "x")]


def test_a_text_in_brackets_is_a_text(write, tmp_path):
    row, = rows_of(experiment(write("a.csv", "text,text_pair\nq,[sic]\n")), tmp_path)
    assert row.values["text_pair"] == ["[sic]"]


def test_scored_and_labelled_rows(write, tmp_path):
    row, = rows_of(experiment(write("a.csv", "text,text_pair,score\na,[b],3.5\n"), score_column="score"), tmp_path)
    assert row.values == {"text": "a", "text_pair": ["[b]"], "score": 3.5}
    assert row_columns([row])["score"].tolist() == [3.5]
    row, = rows_of(experiment(write("b.csv", "text,label\na,7\n"), label_column="label"), tmp_path)
    assert row.values == {"text": "a", "label": "7"} and row_columns([row])["label"].rows == [("7",)]


@pytest.mark.parametrize("text, data, message", [
    ("text,text_pair\nq,\n", {}, "column 'text_pair' (its text) is empty"),
    ('text,text_pair\nq,"[]"\n', {}, "column 'text_pair' (its text) is empty"),
    ("text,text_pair,s\nq,a,high\n", {"score_column": "s"}, "column 's' holds 'high', which is no number"),
    ("text,l\nq,\n", {"label_column": "l"}, "column 'l' (its label) is empty"),
    ("text,text_pair,n\nq,a,b\n", {"negative_columns": ("neg", "n")}, "config.data.negative_columns: Unknown column 'neg'"),
    ("text,positive\nq,a\n", {}, "config.data.text_pair_column: Unknown column 'text_pair'")])
def test_broken_rows_say_where_and_why(write, tmp_path, text, data, message):
    with pytest.raises(UserError) as told:
        rows_of(experiment(write("a.csv", text), **data), tmp_path)
    assert message in str(told.value) and "a.csv" in str(told.value)


@pytest.mark.parametrize("data, task, message", [
    ({"text_pair_column": ""}, {}, "text_pair_column is empty"),
    ({"text_column": ""}, {}, "text_column is empty"),
    ({"label_column": "l", "score_column": "s"}, {}, "not both"),
    ({"label_column": "l", "text_pair_column": "x"}, {}, "leave data.text_pair_column unset"),
    ({"score_column": "s", "negative_columns": ("n",)}, {}, "for pairs that belong together, not for scored rows"),
    ({}, {"negatives": 2}, "negative_columns names no column"),
    ({"negative_columns": ("text",)}, {}, "names the column 'text' twice"),
    ({}, {"loss": "cosent"}, "loss=cosent does not fit pairs rows. Fitting: ranking, triplet"),
    ({"score_column": "s"}, {"loss": "ranking"}, "does not fit scored rows"),
    ({"score_column": "s"}, {"symmetric": True}, "symmetric works with loss=ranking only"),
    ({}, {"matryoshka": (8, 4)}, "must be positive and ascend")])
def test_settings_that_do_not_fit(data, task, message):
    with pytest.raises(UserError, match=message):
        experiment("csv:a.csv", task, **data)


def test_metrics_and_batches_that_do_not_fit():
    with pytest.raises(UserError, match="eval.metric=spearman does not fit pairs rows. Fitting: ndcg_at_10"):
        experiment("csv:a.csv", evaluation={"metric": "spearman"})
    with pytest.raises(UserError, match="tokens_per_batch makes batches of varying size"):
        experiment("csv:a.csv", train={"tokens_per_batch": 4096})


@pytest.mark.parametrize("data, loss, metric", [
    ({}, "ranking", "ndcg_at_10"), ({"score_column": "s"}, "cosent", "spearman"),
    ({"label_column": "l"}, "triplet", "ndcg_at_10")])
def test_loss_and_metric_follow_the_rows(data, loss, metric):
    made = experiment("csv:a.csv", **data)
    assert (made.task.loss, made.eval.metric) == (loss, metric)


class Columns:
    """As much of a store as `draw` looks at."""

    def __init__(self, **columns):
        self.columns = {name: np.array(values) for name, values in columns.items()}

    def column(self, name):
        return self.columns[name]


PAIRS = Columns(row=[0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2], positives=[1, 2, 1], negatives=[0, 2, 3])


def test_members_by_hand():
    """Row 0: text 0, positive 1. Row 1: text 2, positives 3 4, negatives 5 6. Row 2: text 7, positive 8, negatives 9 10 11."""
    drawn = [draw(PAIRS, np.arange(3), "pairs", 2, epoch, 5) for epoch in range(40)]
    for made in drawn:
        assert made[0].tolist() == [0, 1, -1, -1]
        assert made[1].tolist() in ([2, 3, 5, 6], [2, 4, 5, 6])
        assert made[2].tolist() in ([7, 8, 9, 10], [7, 8, 10, 11], [7, 8, 11, 9])
    assert len({made[1, 1] for made in drawn}) == 2 and len({made[2, 2] for made in drawn}) == 3
    np.testing.assert_array_equal(drawn[3], draw(PAIRS, np.arange(3), "pairs", 2, 3, 5))
    assert any((made != draw(PAIRS, np.arange(3), "pairs", 2, epoch, 6)).any() for epoch, made in enumerate(drawn))
    assert draw(PAIRS, np.array([2]), "pairs", 0, 0, 5).tolist() == [[7, 8]]


def test_members_of_labelled_rows_share_their_label():
    labels = np.array([3, 5, 3, 3, 0, 0])
    store = Columns(row=np.arange(6), label=labels)
    seen = set()
    for epoch in range(40):
        made = draw(store, np.arange(6), "labelled", 0, epoch, 0)
        assert made[:, 0].tolist() == list(range(6)) and made[1, 1] == -1
        for row, other in np.delete(made, 1, axis=0).tolist():
            assert other != row and labels[other] == labels[row]
            seen.add((row, other))
    assert len(seen) == 6 + 2


def test_json_of_other_things_is_text(write, tmp_path):
    row, = rows_of(experiment(write("a.jsonl", json.dumps({"text": "q", "text_pair": "[1, 2]"}))), tmp_path)
    assert row.values["text_pair"] == ["[1, 2]"]
