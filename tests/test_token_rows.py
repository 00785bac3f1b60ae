"""Token classification: its settings' rules, and rows of every kind of file."""

import json

import numpy as np
import pytest

from tfft.config import resolve
from tfft.data.prepare import Preparer, load_splits
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.tasks.fields import FIELDS
from tfft.tasks.table import TASKS
from tfft.tasks.token_classification.rows import joined


def experiment(train: str, task: dict | None = None, **data):
    """A token classification experiment on a source."""
    groups = {name: data.pop(name) for name in ("model", "eval", "distribution") if name in data}
    settings = {"train": train, "validation": "", "max_length": 16, "window_overlap": 4, **data}
    return resolve({"task": {"name": "token_classification", **(task or {})}, "data": settings, **groups})


def rows_of(made, cache="", asked_only=False):
    return list(Source(made.data.train, made.data, FIELDS["token_classification"](made, cache), cache).rows(asked_only))


def prepared(made, tokenizer, cache, said=None):
    """(task, its splits) of an experiment, through the real store."""
    kind = TASKS["token_classification"]
    reading = kind.reading(made, tokenizer, "f", cache)
    splits = load_splits(Preparer(made.data, reading, cache, (said if said is not None else []).append))
    train = splits["train"]
    return kind(made.task, kind.infer(made, train.store, train.rows, cache)), splits


def conll(*sentences: str) -> str:
    """"good/O film/B-X" -> two lines, and an empty one"""
    return "\n".join("".join(f"{word.rpartition('/')[0]}\t{word.rpartition('/')[2]}\n" for word in sentence.split())
                     for sentence in sentences)


@pytest.fixture
def write(tmp_path):
    """write(name, text) -> path"""
    def write(name, text):
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
        return str(path)
    return write


# ---- rules

def changed(task=None, groups=None, **data):
    return experiment("a.conll", task, **{**data, **(groups or {})})


@pytest.mark.parametrize("make, message", [
    (lambda: changed(words_column=""), "Set config.data.words_column .* or config.data.text_column .* and the other one to ''"),
    (lambda: changed(text_column="text"), "Set config.data.words_column"),
    (lambda: changed(tags_column=""), "config.data.tags_column is empty: name the column to learn from"),
    (lambda: changed(words_column="", text_column="text", spans_column=""), "config.data.spans_column is empty"),
    (lambda: changed(words_column="", text_column="text", predicate_column="p"), "predicate_column counts words: it needs"),
    (lambda: changed(groups={"eval": {"metric": "exact"}}), "metric=exact needs config.data.label_column"),
    (lambda: changed(groups={"eval": {"metric": "f1"}}, tags_scheme="none"), "metric=f1 is of entities, .* use token_accuracy"),
    (lambda: changed({"head": "crf", "label_smoothing": 0.1}), "label_smoothing works with head=softmax only"),
    (lambda: changed(types=("PER", "PER")), "config.data.types names a type twice"),
    (lambda: changed({"head": "crv"}), "config.task.head: Unknown value 'crv'. Did you mean 'crf'"),
    (lambda: changed(tags_scheme="IOB3"), "config.data.tags_scheme: Unknown value 'IOB3'. Did you mean"),
    (lambda: changed(word_column="0"), "Unknown .*'word_column'. Did you mean 'words_column'"),
])
def test_rules(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_metrics_that_choose_the_best_weights():
    assert changed().eval.metric == "f1"
    assert changed(tags_scheme="none").eval.metric == "token_accuracy"
    assert changed(groups={"eval": {"metric": "exact"}}, label_column="label").eval.metric == "exact"


# ---- words with tags

CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\nParis NNP B-LOC\n"


@pytest.mark.parametrize("words, tags", [("0", "2"), ("0", "-1"), ("-3", "-1")])
def test_conll_by_number(write, words, tags):
    first, second = rows_of(experiment("conll:" + write("a.txt", CONLL), words_column=words, tags_column=tags))
    assert first.values == {"text": ["EU", "rejects"], "tags": ("B-ORG", "O")} and first.line == 3
    assert second.values["text"] == ["Paris"] and second.line == 6


def test_conll_by_name(write):
    path = write("a.conll", CONLL)
    first, _ = rows_of(experiment(path, columns=("form", "pos", "ner"), words_column="form", tags_column="pos"))
    assert first.values == {"text": ["EU", "rejects"], "tags": ("NNP", "VBZ")}
    first, _ = rows_of(experiment(write("b.conll", "# global.columns = FORM NER\n" + "EU O\n\nParis B-LOC\n"),
                                  words_column="FORM", tags_column="NER"))
    assert first.values == {"text": ["EU"], "tags": ("O",)}


@pytest.mark.parametrize("cell, tags", [
    ('"[""EU"", ""rejects""]"', '"[""B-ORG"", ""O""]"'), ("\"['EU', 'rejects']\"", "\"['B-ORG', 'O']\""),
    ("EU rejects", "B-ORG O"), ('"[""EU"", ""rejects""]"', "B-ORG O")])
def test_csv_of_lists_and_of_blanks_between_words(write, cell, tags):
    row, = rows_of(experiment(write("a.csv", f"words,tags\n{cell},{tags}\n")))
    assert row.values == {"text": ["EU", "rejects"], "tags": ("B-ORG", "O")}


def test_csv_words_of_which_one_is_a_number(write):
    row, = rows_of(experiment(write("a.jsonl", json.dumps({"words": ["in", 1999, 2.5], "tags": ["O", "B-T", "O"]}))))
    assert row.values["text"] == ["in", "1999", "2.5"]


def test_token_table(write):
    path = write("a.csv", "Sentence #,Word,Tag\n1,EU,B-ORG\n,rejects,O\n2,Paris,B-LOC\n")
    first, second = rows_of(experiment(path, sentence_column="Sentence #", words_column="Word", tags_column="Tag"))
    assert first.values == {"text": ["EU", "rejects"], "tags": ("B-ORG", "O")} and second.values["tags"] == ("B-LOC",)


def test_parallel_files_with_labels(write):
    names = write("seq.in", "flights to boston\nhello\n"), write("seq.out", "O O B-city\nO\n"), write("label", "flight\nhi\n")
    first, second = rows_of(experiment(f"parallel:{','.join(names)}", label_column="label"))
    assert first.values == {"text": ["flights", "to", "boston"], "tags": ("O", "O", "B-city"), "label": "flight"}
    assert second.values["label"] == "hi"


def test_props(write):
    path = write("a.props", "The - (A0* (A0*\ncat - *) *\nsat sit (V*) *)\nfled flee * (V*)\n")
    made = experiment(f"props:{path}", predicate_column="predicate")
    assert [row.values for row in rows_of(made)] == [
        {"text": ["The", "cat", "sat", "fled"], "predicate": 2, "tags": ("B-A0", "I-A0", "B-V", "O")},
        {"text": ["The", "cat", "sat", "fled"], "predicate": 3, "tags": ("B-A0", "I-A0", "I-A0", "B-V")}]


@pytest.mark.parametrize("value, reason", [
    ({"words": ["a", "b"], "tags": ["O"]}, "it has 2 words and 1 tags"),
    ({"words": ["a", " "], "tags": ["O", "O"]}, "column 'words': word 2 of 2 is empty"),
    ({"words": ["a", ["b"]], "tags": ["O", "O"]}, "where word 2 should be"),
    ({"words": [], "tags": []}, "column 'words' (its words) is empty"),
    ({"words": ["a"], "tags": [""]}, "column 'tags': tag 1 of 1 is empty"),
    ({"words": ["a"], "tags": None}, "column 'tags' (its tags) is missing"),
    ({"words": "a b", "tags": "O"}, "it has 2 words and 1 tags"),
    ({"words": ["a"], "tags": ["O"], "label": " "}, "column 'label' (the sentence's label) is empty"),
    ({"words": ["a"], "tags": ["O"], "label": "x", "p": 1}, "its predicate is word 1, counted from 0, of 1 words"),
    ({"words": ["a"], "tags": ["O"], "label": "x", "p": -1}, "which is no number of a word, counted from 0"),
    ({"words": ["a\ud800"], "tags": ["O"], "label": "x", "p": 0}, "half a surrogate pair"),
])
def test_broken_rows_are_told_with_file_and_line(write, value, reason):
    good = {"words": ["a"], "tags": ["O"], "label": "x", "p": 0}
    path = write("a.jsonl", f"{json.dumps(good)}\n{json.dumps({**good, **value})}\n{json.dumps(good)}\n")
    made = {"train": path, "label_column": "label", "predicate_column": "p"}
    with pytest.raises(UserError) as error:
        rows_of(experiment(**made))
    assert f"{path}:2: this row is broken: " in str(error.value) and reason in str(error.value)
    assert len(rows_of(experiment(**made, on_broken_row="skip"))) == 2  # nothing else is lost


def test_rows_to_predict_need_no_tags(write):
    path = write("a.jsonl", '{"words": ["a", "b"]}\n{"words": "a, b"}\n{"text": "c d"}\n')
    made = experiment(path, on_broken_row="skip")
    assert [row.values["text"] for row in rows_of(made, asked_only=True)[:2]] == [["a", "b"], "a, b"]
    assert joined(["a", "b"]) == "a b" == joined("a b")
    row, = rows_of(experiment(write("b.csv", "text\nc d\n")), asked_only=True)  # running text under its usual name
    assert row.values["text"] == "c d"


# ---- texts with spans

def spans_of(write, value, **data):
    path = write("a.jsonl", json.dumps({"text": "Anna saw Bob", "spans": value}) + "\n")
    row, = rows_of(experiment(path, words_column="", text_column="text", **data))
    return row.values["spans"]


@pytest.mark.parametrize("value", [
    [{"start": 0, "end": 4, "label": "PER"}], [[0, 4, "PER"]], {"label": [[0, 4, "PER"]]}, {"entities": [[0, 4, "PER"]]},
    {"PER": {"Anna": [[0, 4]]}}, [{"value": {"start": 0, "end": 4, "labels": ["PER"]}}],
    [{"start_offset": 0, "end_offset": 4, "type": "PER"}], '[[0, 4, "PER"]]'])
def test_spans_in_all_shapes(write, value):
    assert spans_of(write, value) == [(0, 4, "PER")]


def test_span_end(write):
    assert spans_of(write, {"PER": {"Bob": [[9, 11]]}}, span_end="inclusive") == [(9, 12, "PER")]
    with pytest.raises(UserError, match=r"a.jsonl:1: .*\(are ends inclusive\? Set --config.data.span_end=inclusive"):
        spans_of(write, {"PER": {"Bob": [[9, 11]]}})
    for surface, place in (("Anna", [0, 4]), ("Bob", [9, 12])):  # within the text, and at its end
        with pytest.raises(UserError, match=r"are ends exclusive\? Set --config.data.span_end=exclusive"):
            spans_of(write, {"PER": {surface: [place]}}, span_end="inclusive")


@pytest.mark.parametrize("value, reason", [
    (None, "column 'spans' (its spans) is missing; write an empty list where a text has none"),
    ("x", "are no JSON"), ([[0, 4]], "should be [start, end, label]"), ([[0, "4", "PER"]], "no whole number as its end")])
def test_broken_spans_are_told_with_file_and_line(write, value, reason):
    with pytest.raises(UserError) as error:
        spans_of(write, value)
    assert "a.jsonl:1: this row is broken" in str(error.value) and reason in str(error.value)


def test_concatenated_objects_with_characters_as_words(write, tiny_tokenizer, tmp_path):
    """As CLUENER has them."""
    rows = [{"text": "浙商银行叶老桂说", "label": {"name": {"叶老桂": [[4, 6]]}, "company": {"浙商银行": [[0, 3]]}}},
            {"text": "彭小军", "label": {"name": {"彭小军": [[0, 2]]}}}]
    objects = [json.dumps(row, ensure_ascii=False, indent=2) for row in rows]
    path = write("train.json", "\n".join(objects))
    made = experiment(path, words_column="", text_column="text", spans_column="label", span_end="inclusive",
                      word_split="characters")
    task, splits = prepared(made, tiny_tokenizer, tmp_path / "cache")
    store = splits["train"].store
    assert task.tags.names == ("O", "B-company", "I-company", "B-name", "I-name") and not task.tags.notes
    assert [task.tags.spans(task.gold(store).of(row)) for row in range(2)] == [
        [(0, 4, "company"), (4, 7, "name")], [(0, 3, "name")]]
    assert store.place(1) == f"{path}:{2 + objects[0].count(chr(10))}"


# ---- the store

def test_what_the_store_has(write, tiny_tokenizer, tmp_path):
    path = write("a.conll", conll("good/O films/B-X", "a/O " * 25, "bad/B-Y , /O".replace(" /O", "/O")))
    task, splits = prepared(experiment(path, words_column="0", tags_column="1"), tiny_tokenizer, tmp_path / "cache")
    store = splits["train"].store
    assert len(store) == 3 and store.fields == ["text"] and store.texts(0) == ["good films"]
    np.testing.assert_array_equal(store.values("word_start", 0), [0, 5])
    np.testing.assert_array_equal(store.values("word_end", 0), [4, 10])
    assert store.names_of("tags", 2) == ("B-Y", "O")
    assert np.bincount(store.column("row")).tolist() == [1, 3, 1]  # 25 tokens in windows of 14 that share 4
    assert task.describe().startswith("entities (IOB2, learnt as IOB2): X (1), Y (1)")
