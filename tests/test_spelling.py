"""Names that are the same but for their spelling, and what is told of them."""

import numpy as np
import pytest
from stores import learnt

from tfft.config import text_classification
from tfft.data import spelling
from tfft.data.spelling import KINDS, alike, bit_of, folded, index_of, number_of
from tfft.errors import UserError
from tfft.tasks.text_classification.labels import LabelColumn
from tfft.tasks.text_classification.remarks import remarks

GROUPS = {
    ("pos", "Pos", "POS"): ("case",), ("caf\u00e9", "cafe\u0301"): ("nfc",), ("1", "1.0", "+1", "01", "1e0"): ("number",),
    ("pos", '"pos"', "'pos'", "\u201cpos\u201d"): ("quotes",), ("don't", "don\u2019t"): ("quotes",),
    ("very good", "very  good", "very\u00a0good"): ("blanks",), ("pos", "pos\u200b", "\ufeffpos", "p\u00ados"): ("invisible",),
    ("pos", '"Pos\u200b"'): ("case", "quotes", "invisible"), ("\u2764", "\u2764\ufe0f"): ("invisible",),
    ("true", "True", "FALSE"): None, ("1.1", "1.11"): None, ("a-b", "a b"): None, ("\u200b", '"'): None, ("", "''"): None,
    ("pos", '" pos "'): ("quotes", "blanks"), ("\u0130", "i\u0307"): ("case",),
    ("1", "\uff11"): ("forms",), ("non-spam", "non\u2011spam", "non\u2013spam"): ("forms",), ("a", "\uff21"): ("forms", "case")}


@pytest.mark.parametrize("names, kinds", GROUPS.items(), ids=[ascii(names) for names in GROUPS])
def test_names_that_differ_by_their_spelling_alone(names, kinds):
    counts = {name: 9 - i for i, name in enumerate(names)}
    found = [group for group in alike(counts) if len(group[0]) == len(names)]
    assert found == ([] if kinds is None else [(names, kinds)])


def test_truth_values_are_numbers_only_beside_their_like():
    assert alike({"true": 3, "1": 2, "FALSE": 1, "0": 1}) == [(("true", "1"), ("number",)), (("0", "FALSE"), ("number",))]
    assert alike({"true": 3, "1": 2, "2": 1}) == []


def test_numbers():
    assert [number_of(n) for n in ("1", "1.0", "-.5", "1e3")] == [1, 1, -0.5, 1000]
    assert {number_of(n) for n in ("x", "", "1,5", "\u0661", "nan", "1_0")} == {None}
    assert [index_of(n) for n in ("0", "7", "7.0", "07", "-1", "1.5", "x")] == [0, 7, 7, -1, -1, -1, -1]
    assert [bit_of(n) for n in ("0", "1.0", "TRUE", "false", "2", "x")] == [0, 1, 1, 0, -1, -1]
    assert folded("\u200b", KINDS) == "\u200b"


def test_every_kind_has_its_setting():
    assert text_classification.KINDS == tuple(KINDS)


def test_the_warning_names_them_with_their_counts_once():
    counts = {"pos": 17, "Pos": 3, "neg": 18, "neg\u200b": 2, "odd": 1}
    assert spelling.warning("labels", counts, "set {}".format) == (
        "labels that differ by their spelling alone: 'pos' (17) and 'Pos' (3) by case; 'neg' (18) and 'neg\\u200b' (2) by "
        "invisible characters. set ('case', 'invisible')")
    assert spelling.warning("labels", {"a": 1, "b": 1}, str) == ""
    assert spelling.warning("labels", {f"{c}{k}": 1 for c in "abcdefgh" for k in ("", "\u200b")}, str).count(" and ") == 6


# ---- in label columns

def told(tmp_path, rows, problem="single_label", texts=None, **data):
    """(labels, remarks on the training rows) of labels in a csv file."""
    path = tmp_path / "a.csv"
    texts = texts or [f"text {i}" for i in range(len(rows))]
    path.write_text("text,label\n" + "".join(f'{text},"{row}"\n' for text, row in zip(texts, rows, strict=True)), "utf-8")
    labels, store, _ = learnt(tmp_path, str(path), problem, **data)
    return labels, remarks(problem, labels, store, np.arange(len(store)), training=True)


JOINED = ("1 of the labels hold '{0}', such as '{1}', and are labels of their own. If it joins several, set {2}config.data."
          "label_separator='{0}'")
SPLIT = ["pos"] * 5 + ["Pos"] * 2 + ["neg"] * 3 + ["neg\u200b"]


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
def test_one_class_split_in_several_is_told_and_merged(tmp_path, problem):
    labels, said = told(tmp_path, SPLIT, problem)
    assert labels.names == ("Pos", "neg", "neg\u200b", "pos") and said == [
        "labels that differ by their spelling alone: 'pos' (5) and 'Pos' (2) by case; 'neg' (3) and 'neg\\u200b' (1) by "
        "invisible characters. Each is learnt as a label of its own; to read them as one: "
        "--config.data.label_normalisation=\"('case','invisible')\""]
    labels, said = told(tmp_path, SPLIT, problem, label_normalisation=("case", "invisible"))
    assert labels.names == ("neg", "pos") and labels.counts == (4, 7)
    assert said == ["labels read as one: 'pos' (5) and 'Pos' (2); 'neg' (3) and 'neg\\u200b' (1)"]
    labels, said = told(tmp_path, SPLIT, problem, label_normalisation=("case",))
    assert labels.names == ("neg", "neg\u200b", "pos") and len(said) == 2 and "label_normalisation=invisible" in said[1]
    labels, _ = told(tmp_path, SPLIT, problem, label_normalisation=("all",), labels=("POS", "neg"))
    assert labels.names == ("POS", "neg") and labels.counts == (7, 4)


def test_truth_values_of_mixed_files_are_one_class_each(tmp_path):
    rows = ["true"] * 3 + ["TRUE", "False", "false", "1", "0"]
    labels, said = told(tmp_path, rows)
    assert len(labels.names) == 6 and "'true' (3), '1' (1) and 'TRUE' (1) by how a number is written" in said[0]
    assert told(tmp_path, rows, label_normalisation=("number",))[0].counts == (3, 5)
    assert told(tmp_path, rows, labels=("false", "true"))[0].counts == (3, 5)


def test_the_cleanest_spelling_names_the_label(tmp_path):
    rows = ["pos\u200b"] * 9 + ["pos"] + ["NEG"] * 3 + ["neg"] * 2
    assert told(tmp_path, rows, label_normalisation=("all",))[0].names == ("NEG", "pos")


def test_labels_that_are_not_given_but_for_their_spelling(tmp_path):
    with pytest.raises(UserError, match="a.csv:7: .*Unknown label 'Pos'.*'Pos' is 'pos' but for its spelling: .*sation=all"):
        told(tmp_path, SPLIT[:7] + ["neg"], labels=("neg", "pos"))


@pytest.mark.parametrize("rows, problem, settings, said", [
    (["pos", "neg"] * 3, "single_label", {}, []),
    (["pos", "neg"], "single_label", {"labels": ("neg", "mid", "pos")}, ["no row has the label 'mid', which cannot be learnt"]),
    ([1, 2], "single_label", {"labels": ("neg", "mid", "pos")},
     ["no row has the label 'neg', which cannot be learnt (ids count from 0)"]),
    (["pos", "neg", "nan"], "single_label", {},
     ["the label 'nan' (1 rows) looks like a missing value. If it is one, leave those rows out of the file"]),
    (["pos", "null", "None"], "single_label", {}, ["the labels 'None' (1 rows), 'null' (1 rows) look like a missing value. If "
                                                   "it is one, leave those rows out of the file"]),
    (["a\nb", "c"], "multi_label", {}, [JOINED.format("\\n", "a\\nb", "")]),
    (["a", "b", "a|b"], "single_label", {}, [JOINED.format("|", "a|b", "config.task.problem=multi_label and ")]),
    (["a;b", "c"], "multi_label", {}, [JOINED.format(";", "a;b", "")]),
    (["a;b", "c"], "multi_label", {"label_separator": ";"}, []), (["a;b", "c"], "single_label", {}, []),
    (["a,b;c", "a,b"], "multi_label", {"label_separator": ";"}, []),
    (["a,b", "a;b"], "multi_label", {"label_separator": ";"}, [JOINED.format(",", "a,b", "")]),
    (["1,0,1", "0,0,1"], "multi_label", {},
     ["labels are 3 numbers 0 or 1 a row; they are called by their places, 0 to 2. Name them with config.data.labels",
      "no row has the label '1', which cannot be learnt"])])
def test_what_is_odd_is_told(tmp_path, rows, problem, settings, said):
    assert told(tmp_path, rows, problem, **settings)[1] == said


@pytest.mark.parametrize("rows, problem, said", [
    (["pos", "neg", "neg", "pos"], "single_label", ": 'pos' ({0}:2) and 'neg' ({0}:3). If several may hold, set config.task"),
    (["a", '[""a"", ""b""]', "b", "c"], "multi_label", ": 'a' ({0}:2) and 'a', 'b' ({0}:3). If each row has one label"),
    (["b,a", "a,b", "b", "c"], "multi_label", None), (["pos", "pos", "neg", "neg"], "single_label", None),
    ([1, 2, 3, 4], "regression", ": 1 ({0}:2) and 2 ({0}:3)"), ([1, "1.0", 3, 4], "regression", None)])
def test_texts_that_carry_several_labels_are_counted(tmp_path, rows, problem, said):
    made = told(tmp_path, rows, problem, texts=["same", "same ", "other", "last"])[1]
    start = "1 text (2 rows) with different {}, such as 'same'".format("values" if problem == "regression" else "labels")
    assert len(made) == bool(said) and (not said or made[0].startswith(start + said.format(tmp_path / "a.csv")))


def test_labels_of_the_table_are_found_in_other_rows(tmp_path):
    labels, _ = told(tmp_path, SPLIT, label_normalisation=("all",))
    other = tmp_path / "other.csv"
    other.write_text("text,label\na,POS\nb,'neg'\nc,new\n")
    store = learnt(tmp_path, str(other))[1]
    column = LabelColumn(store, labels)
    assert column.single(np.arange(3)).tolist() == [1, 0, -1] and column.unknown(np.arange(3)) == {"new": 1}
