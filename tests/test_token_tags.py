"""The tag table: schemes, what is learnt from training rows, rows' tags as numbers."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_token_rows import experiment, prepared, write  # noqa: F401 - a fixture

from tfft.errors import UserError
from tfft.tasks.token_classification import schemes
from tfft.tasks.token_classification.tags import Gold, Tags, infer_tags

SENTENCES = [[(0, 1, "X"), (1, 3, "X"), (3, 4, "Y")], [(1, 4, "Y")], [(0, 2, "X")], [], [(2, 3, "Y"), (3, 5, "Y")]]
LENGTH = 5
LEFT = '{"words": ["a"], "tags": ["O"]}\n{"words": ["a"], "tags": ["L-X"]}\n'


def table(scheme: str, *types: str) -> Tags:
    prefixes = {"IOB2": "BI", "IOBES": "BIES"}.get(scheme, "")
    names = types if scheme == "none" else ("O", *(f"{p}-{t}" for t in types for p in prefixes))
    return Tags(tuple(names), scheme, scheme, types, (1,) * len(types))


@pytest.fixture
def learn(write, tiny_tokenizer, tmp_path):  # noqa: F811
    """learn(sentences of tags, settings) -> (task, splits, what was said)"""
    def learn(sentences, task=None, **data):
        rows = [{"words": ["good"] * len(tags), "tags": list(tags), **more} for tags, *rest in sentences
                for more in [rest[0] if rest else {}]]
        path = write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        said = []
        return *prepared(experiment(path, task, **data), tiny_tokenizer, tmp_path / "cache", said), said
    return learn


def gold(task, splits):
    store = splits["train"].store
    return [task.tags.spans(task.gold(store).of(row)) for row in range(len(store))]


# ---- spans

@pytest.mark.parametrize("scheme", ["IOB2", "IOBES"])
@given(data=st.data())
def test_spans_are_those_of_the_schemes(scheme, data):
    tags = table(scheme, "PER", "LOC", "A-B")
    ids = data.draw(st.lists(st.integers(0, len(tags.names) - 1), max_size=9))
    assert tags.spans(np.array(ids, np.int32)) == schemes.to_spans([tags.names[i] for i in ids], scheme)


def test_spans_of_no_scheme_are_words():
    assert table("none", "NN", "VB").spans(np.array([1, 1, 0])) == [(0, 1, "VB"), (1, 2, "VB"), (2, 3, "NN")]


def test_saved_and_loaded(tmp_path):
    tags = Tags(("O", "B-é", "I-é"), "IOB2", "IOB1", ("é",), (3,), ("a", "b"), (1, 2), ("1 note",))
    tags.save(tmp_path)
    assert Tags.load(tmp_path) == tags
    (tmp_path / "tags.json").write_text("{}")
    with pytest.raises(UserError, match=r"Cannot read .*tags.json: .*Is .* the workdir of a run\?"):
        Tags.load(tmp_path)


# ---- learning

@pytest.mark.parametrize("source", ["IOB1", "IOB2", "IOBES", "BILOU", "BMES", "BMEWO"])
def test_files_of_all_schemes_have_the_same_gold(learn, source):
    given = {"tags_scheme": source} if source in ("BMES", "BMEWO") else {}
    _, splits, _ = learn([(schemes.from_spans(spans, LENGTH, source),) for spans in SENTENCES], **given)
    store, rows = splits["train"].store, splits["train"].rows
    for goal in ("IOB2", "IOBES"):
        tags = infer_tags(experiment("a.jsonl", {"scheme": goal}, **given), store, rows)
        assert [tags.spans(Gold(store, tags).of(row)) for row in rows] == SENTENCES
        assert tags.names == table(goal, "X", "Y").names and tags.counts == (3, 4)
        assert tags.source == source and not tags.notes


def test_other_names_of_schemes(learn):
    task, splits, _ = learn([(schemes.from_spans(spans, LENGTH, "IOBES"),) for spans in SENTENCES], tags_scheme="BIOES")
    assert gold(task, splits) == SENTENCES and task.tags.source == "IOBES"


def test_tags_of_a_letter_alone(learn):
    """Chinese word segmentation: boundaries without types."""
    task, splits, _ = learn([("BESBME",), ("SSBMMMME",)])
    assert task.tags.source == "BMES" and task.tags.names == ("O", "B", "I")
    assert gold(task, splits)[0] == [(0, 2, ""), (2, 3, ""), (3, 6, "")]
    assert task.describe() == "entities (BMES, learnt as IOB2): without a type (6)"


def test_parts_of_speech(learn):
    task, splits, _ = learn([(["DET", "NOUN"],), (["NOUN", "VERB", "O"],)], tags_scheme="none")
    assert task.tags.names == ("DET", "NOUN", "O", "VERB") == task.tags.types and task.tags.counts == (1, 2, 1, 1)
    assert task.gold(splits["train"].store).of(1).tolist() == [1, 3, 2]
    assert not np.any(task.tags.forbidden())
    task, _, _ = learn([(["DET", "NOUN"],), (["NOUN", "VERB"],)])  # found out
    assert task.tags.scheme == "none"


def test_what_breaks_a_scheme_is_repaired_and_counted(learn):
    task, splits, _ = learn([(["O", "I-X", "I-X"],), (["B-X", "I-Y"],), (["B-X", "I-X"],), (["B-Y"],)], tags_scheme="IOB2")
    assert gold(task, splits)[:2] == [[(1, 3, "X")], [(0, 1, "X"), (1, 2, "Y")]]
    assert task.tags.notes == ("2 tags against their scheme, read as conlleval does",)
    assert "training rows: 2 tags against" in task.describe()


def test_problems_of_spans_are_counted(write, tiny_tokenizer, tmp_path):  # noqa: F811
    rows = [{"text": "good films", "spans": [[0, 7, "X"]]}, {"text": "good film", "spans": [[0, 4, "X"], [0, 9, "Y"]]},
            {"text": "good film", "spans": [[4, 5, "X"], [5, 99, "X"]]}]
    path = write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    task, splits = prepared(experiment(path, words_column="", text_column="text"), tiny_tokenizer, tmp_path / "cache")
    assert gold(task, splits) == [[(0, 2, "X")], [(0, 2, "Y")], []]
    assert sorted(task.tags.notes) == [
        "1 spans beyond their text, left out", "1 spans that begin or end inside a word, widened to whole words",
        "1 spans that overlap a longer one, left out", "1 spans without a word, left out"]


def test_notes_and_strangers_are_of_their_own_rows(learn):
    """The validation rows are of the same file, and what is odd in them is not the training rows'."""
    sentences = [(["B-X", "O"], {"id": str(i)}) for i in range(40)]
    task, splits, _ = learn(sentences, validation="20%", id_column="id", tags_scheme="IOB2")
    odd = splits["validation"].rows[:2].tolist()
    for row in odd:
        sentences[row] = (["B-Z", "I-X"], {"id": str(row)})
    task, splits, _ = learn(sentences, validation="20%", id_column="id", tags_scheme="IOB2")
    assert task.tags.types == ("X",) and not task.tags.notes and task.tags.counts == (len(splits["train"].rows),)
    store = splits["train"].store
    assert store is splits["validation"].store
    assert task.strangers(store, splits["train"].rows) == ""
    assert "unknown types: 'Z' (2); no training row had them" in task.strangers(store, splits["validation"].rows)
    assert task.gold(store).of(odd[0]).tolist() == [-1, 1]  # Z is unknown, and I-X, which begins an entity, is B-X


def test_unknown_labels_are_told(learn, write, tiny_tokenizer, tmp_path):  # noqa: F811
    other = write("other.jsonl", json.dumps({"words": ["a"], "tags": ["O"], "label": "new"}) + "\n")
    task, splits, _ = learn([(["B-X"], {"label": "a"}), (["O"], {"label": "b"})], label_column="label",
                            validation=f"jsonl:{other}")
    assert task.tags.labels == ("a", "b") and task.tags.label_counts == (1, 1)
    assert "unknown labels: 'new' (1); no training row had them" in task.strangers(
        splits["validation"].store, splits["validation"].rows)
    assert task.strangers(splits["train"].store, splits["train"].rows) == ""


def test_types_and_labels_that_differ_by_their_spelling_alone_are_told(learn):
    rows = [(["B-Loc", "O"], {"label": "go"}), (["B-LOC"], {"label": "Go"}), (["B-LOC"], {"label": "stay"})]
    task, _, _ = learn(rows, label_column="label", types=("LOC", "Loc", "ORG"))
    advice = "Each is learnt as one of its own; write them alike in the files"
    assert task.tags.notes == (
        f"types that differ by their spelling alone: 'LOC' (2) and 'Loc' (1) by case. {advice}",
        f"labels of sentences that differ by their spelling alone: 'Go' (1) and 'go' (1) by case. {advice}",
        "no row has 'ORG', which cannot be learnt")
    assert "training rows: types that differ" in task.describe() and "types that differ" in task.describe_rows(3).note


@pytest.mark.parametrize("other, judged", [({"tags": ["B-Z"], "label": "a"}, 0), ({"tags": ["O"], "label": "new"}, 0),
                                           ({"tags": ["O"], "label": "a"}, 1), ({"tags": ["B-X"], "label": "b"}, 1)])
def test_rows_of_unknown_types_or_labels_alone_cannot_be_judged(learn, write, other, judged):  # noqa: F811
    path = write("other.jsonl", json.dumps({"words": ["a"], **other}) + "\n")
    task, splits, _ = learn([(["B-X"], {"label": "a"}), (["O"], {"label": "b"})], label_column="label",
                            validation=f"jsonl:{path}", tags_scheme="IOB2")
    assert len(task.can_judge(splits["validation"].store, splits["validation"].rows)) == judged
    assert task.nothing_to_judge() == "has a type or a label that the model knows (X, a, b)"


@pytest.mark.parametrize("sentences, data, message", [
    ([("OO",), ("O",)], {}, "The training rows have no entity: .* Is config.data.tags_column the right column"),
    ([(["PER-B", "O"],)], {}, "cannot be told: the prefix stands behind the type .* Else set config.data.tags_scheme"),
    ([(["PER", "O"],)], {}, "cannot be told: the tags PER have no prefix"),
    ([(["B-X"],), (["Q-X"],)], {"tags_scheme": "IOB2"}, r"rows.jsonl:2: 'Q-X' is no tag of scheme IOB2.*tags_scheme"),
    ([(["B-X"],), (["B-Y"],)], {"types": ("X", "Z")}, "type that config.data.types does not name. Unknown type 'Y'"),
    ([(["B-X"], {"label": "a"})], {"label_column": "label"}, "one sentence label only. Is config.data.label_column"),
])
def test_rows_that_nothing_can_be_learnt_from(learn, sentences, data, message):
    with pytest.raises(UserError, match=message):
        learn(sentences, **data)


def test_a_tag_of_another_scheme_in_other_rows_names_its_line(learn, write):  # noqa: F811
    task, splits, _ = learn([(["B-X"],), (["O", "B-X"],)], validation=f"jsonl:{write('o.jsonl', LEFT)}")
    with pytest.raises(UserError, match=r"o.jsonl:2: 'L-X' is no tag of scheme IOB2.* read as config.data.tags_scheme=IOB2"):
        task.gold(splits["validation"].store)


def test_types_given_are_kept_in_their_order(learn):
    task, _, _ = learn([(["B-X"],), (["B-Y"],)], types=("Y", "Z", "X"))
    assert task.tags.types == ("Y", "Z", "X") and task.tags.counts == (1, 0, 1)


def test_what_the_plan_shows(learn):
    task, _, _ = learn([(["B-X", "B-Y"],), (["B-Y"],)])
    shown = task.describe_rows(2)
    assert shown.lines == [("Y", 2, "66.7%"), ("X", 1, "33.3%")]
