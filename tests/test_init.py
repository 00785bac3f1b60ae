"""tfft init: what files are taken for, and the config that is written. No TensorFlow."""

import csv
import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import tfft
from tfft.config import MULTILINGUAL, resolve, shipped
from tfft.errors import UserError
from tfft.run.guess import Sketch, Tie

ROOT = Path(__file__).parent.parent
TEXTS = [f"the {thing} that came on day {day} was {how}" for day in range(1, 5) for thing in ("lamp", "chair", "desk")
         for how in ("fine", "broken", "late", "too small")]


def table(path, header, rows, delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows] if header else rows)
    return str(path)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def labelled(tmp_path, labels, column="label", **more):
    """A csv of TEXTS with labels, drawn in turn, and other columns."""
    columns = {"text": TEXTS, column: [labels[i % len(labels)] for i in range(len(TEXTS))], **more}
    return table(tmp_path / "my.csv", list(columns), zip(*columns.values()))


def settings(file, learn="", **given):
    sketch = Sketch(file, given, learn)
    resolve(sketch.config())
    return {"task": sketch.guess.task, "learn": sketch.guess.learn,
            **{name.removeprefix("data."): value for name, value in sketch.settings.items()}}


@pytest.mark.parametrize("labels, expected", [
    (["good", "bad"], {"learn": "single_label"}),
    ([0, 1], {"learn": "single_label"}),
    ([1, 2, 3, 4, 5], {"learn": "single_label"}),
    ([x / 10 for x in range(30)], {"learn": "regression", "task.problem": "regression"}),
    (["a", "a|b", "b"], {"learn": "multi_label", "label_separator": "|"}),
    (["a;c", "a;b", "b"], {"learn": "multi_label", "label_separator": ";"}),
    (["Home, Garden", "Toys"], {"learn": "single_label"}),  # a comma in a name
    (['["a"]', '["a", "b"]'], {"learn": "multi_label"}),
    (["['a']", "[]"], {"learn": "multi_label"}),
    (["True", "False"], {"learn": "single_label"}),
])
def test_labels(tmp_path, labels, expected):
    found = settings(labelled(tmp_path, labels))
    assert expected.items() <= found.items()
    assert (found["text_column"], found["label_column"], found["task"]) == ("text", "label", "text_classification")


def test_it_begins_with_what_the_template_has(tmp_path):
    ours, template = Sketch(labelled(tmp_path, ["good", "bad"]), {}, "").config(), shipped.load("my_csv")
    for group in ("model", "train", "export"):
        assert ours[group].to_dict() == template[group].to_dict()


def test_names_decide(tmp_path):
    """A longer text, an id, a date and other columns of few values do not."""
    count = range(len(TEXTS))
    found = settings(table(tmp_path / "a.csv", ["Ticket ID", "Created", "Subject", "Body", "Priority", "Category"], [
        (f"T-{i}", f"2024-01-{i % 28 + 1:02}", f"ticket of day {i} about it", TEXTS[i] * 2, ("low", "high")[i % 2],
         ("billing", "account", "other")[i % 3]) for i in count]))
    assert (found["text_column"], found["label_column"]) == ("Body", "Category")


@pytest.mark.parametrize("columns, expected", [
    ({"anchor": TEXTS, "positive": TEXTS[::-1]}, {"text_column": "anchor", "text_pair_column": "positive", "max_length": 64}),
    ({"query": TEXTS, "pos": [[text] for text in TEXTS], "neg": [["a b", "c d", "e f", "g h"]] * len(TEXTS)},
     {"text_pair_column": "pos", "negative_columns": ("neg",), "task.negatives": 3, "max_length": 128}),
    ({"anchor": TEXTS, "positive": TEXTS[::-1], "negative": TEXTS[1:] + TEXTS[:1]}, {"negative_columns": ("negative",)}),
])
def test_texts_that_belong_together(tmp_path, columns, expected):
    found = settings(lines(tmp_path / "a.jsonl", [dict(zip(columns, row)) for row in zip(*columns.values())]))
    assert (found["task"], found["learn"]) == ("embedding", "search") and expected.items() <= found.items()


@pytest.mark.parametrize("source, target", [("article", "summary"), ("en", "de"), ("source", "target")])
def test_texts_that_follow_from_texts(tmp_path, source, target):
    found = settings(lines(tmp_path / "a.jsonl", [{source: text * 3, target: text} for text in TEXTS]))
    assert {"task": "seq2seq", "learn": "rewrite", "source_column": source, "target_column": target}.items() <= found.items()


def test_pairs_with_a_label_or_a_number_are_classified(tmp_path):
    for labels, learn in ((["same", "other"], "single_label"), ([x / 7 for x in range(30)], "regression")):
        rows = [{"sentence1": text, "sentence2": text[::-1], "label": labels[i % len(labels)]} for i, text in enumerate(TEXTS)]
        assert settings(lines(tmp_path / "a.jsonl", rows))["learn"] == learn
    assert settings(lines(tmp_path / "b.jsonl", rows), learn="search")["task"] == "embedding"


@pytest.mark.parametrize("named, other", [("star_rating", "helpful"), ("Class Index", "page"), ("sentiment", "source")])
def test_a_part_of_a_name_decides(tmp_path, named, other):
    found = settings(labelled(tmp_path, [1, 2, 3], column=other, **{named: [i % 4 for i in range(len(TEXTS))]}))
    assert found["label_column"] == named


@pytest.mark.parametrize("first, second", [("sentence1", "sentence2"), ("premise", "hypothesis"), ("Question1", "Question2")])
def test_pairs(tmp_path, first, second):
    found = settings(table(tmp_path / "a.tsv", ["id", first, second, "label"], [
        (i, TEXTS[i], TEXTS[-i], i % 2) for i in range(len(TEXTS))], "\t"))
    assert (found["text_column"], found["text_pair_column"], found["learn"]) == (first, second, "single_label")


def test_a_file_without_header(tmp_path):
    found = settings(table(tmp_path / "a.csv", None, [(text, ("pos", "neg")[i % 2]) for i, text in enumerate(TEXTS)]))
    assert (found["header"], found["text_column"], found["label_column"]) == (False, "0", "1")


@pytest.mark.parametrize("delimiter, setting", [(";", ";"), ("\t", "tab"), ("|", "|")])
def test_what_separates_fields(tmp_path, delimiter, setting):
    rows = [(text, "xy"[i % 2]) for i, text in enumerate(TEXTS)]
    found = settings(table(tmp_path / "a.csv", ["text", "label"], rows, delimiter))
    assert (found["delimiter"], found["label_column"]) == (setting, "label")


def test_what_separates_the_fields_of_a_packed_file(tmp_path):
    plain = Path(table(tmp_path / "a.csv", ["text", "label"], [(f"good, long film {i}", "np"[i % 2]) for i in range(40)], ";"))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert settings(str(tmp_path / "b.csv.gz"))["delimiter"] == ";"


def test_an_encoding_is_asked_for_and_taken(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\n" + "".join(
        f"das Ger\u00e4t {i} ist {'gut,ja' if i % 2 else 'kaputt,nein'}\n" for i in range(40)).encode("cp1252"))
    with pytest.raises(UserError, match="--config.data.encoding=cp1252"):
        Sketch(str(tmp_path / "a.csv"), {})
    assert settings(str(tmp_path / "a.csv"), encoding="cp1252")["encoding"] == "cp1252"
    assert "set --encoding=cp1252" in tfft_init(tmp_path, "a.csv", "--yes", code=2)
    assert "'cp1252'" in tfft_init(tmp_path, "a.csv", "--yes", "--encoding=cp1252")


def test_a_column_for_each_label(tmp_path):
    found = settings(table(tmp_path / "a.csv", ["id", "text", "toxic", "insult", "threat"], [
        (i, text, i % 2, i % 3 // 2, int(i % 5 == 0)) for i, text in enumerate(TEXTS)]))
    assert (found["label_columns"], found["learn"]) == (("toxic", "insult", "threat"), "multi_label")


@pytest.mark.parametrize("write", [
    lambda path, rows: lines(path / "a.jsonl", rows),
    lambda path, rows: (path / "a.json").write_text(json.dumps(rows)) and str(path / "a.json"),
    lambda path, rows: parquet(path / "a.parquet", rows)])
def test_formats(tmp_path, write):
    found = settings(write(tmp_path, [{"review": text, "stars": i % 5 + 1} for i, text in enumerate(TEXTS)]))
    assert (found["text_column"], found["label_column"], found["learn"]) == ("review", "stars", "single_label")


def parquet(path, rows):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


WORDS, TAGS = ["Ann", "Lee", "met", "Bo", "{}"], ["B-PER", "I-PER", "O", "B-PER", "O"]


def sentences():
    return [[word.format(f"at{i}") for word in WORDS] for i in range(12)]


@pytest.mark.parametrize("tags, scheme", [(TAGS, {}), (["N", "N", "V", "N", "P"], {"tags_scheme": "none"})])
def test_lists_of_words(tmp_path, tags, scheme):
    rows = [{"id": i, "tokens": words, "ner": tags} for i, words in enumerate(sentences())]
    found = settings(lines(tmp_path / "a.jsonl", rows))
    assert {"task": "token_classification", "words_column": "tokens", "tags_column": "ner", **scheme}.items() <= found.items()
    assert ("tags_scheme" in found) == bool(scheme)


def test_one_token_a_line_and_a_row(tmp_path):
    (tmp_path / "a.conll").write_text("\n".join("".join(f"{w} X {t}\n" for w, t in zip(words, TAGS)) for words in sentences()))
    found = settings(str(tmp_path / "a.conll"))
    assert (found["words_column"], found["tags_column"], found["task"]) == ("0", "-1", "token_classification")
    (tmp_path / "a.conllu").write_text("".join("".join(f"{n}\t{word}\t_\tNOUN\tX\t_\t0\t_\t_\t_\n" for n, word in enumerate(
        words, 1)) + "\n" for words in sentences()))
    found = settings(str(tmp_path / "a.conllu"))
    assert (found["words_column"], found["tags_column"], found["tags_scheme"]) == ("1", "3", "none")
    rows = [(f"Sentence: {i}" if not n else "", word, "X", tag) for i, words in enumerate(sentences())
            for n, (word, tag) in enumerate(zip(words, TAGS))]
    found = settings(table(tmp_path / "a.csv", ["Sentence #", "Word", "POS", "Tag"], rows))
    assert (found["sentence_column"], found["words_column"], found["tags_column"]) == ("Sentence #", "Word", "Tag")


@pytest.mark.parametrize("spans, end", [
    ([[0, 3, "PER"]], None), ([{"start": 0, "end": 3, "label": "PER"}], None), ({"entities": [[0, 3, "PER"]]}, None),
    ([{"start": 0, "end": 2, "label": "PER", "text": "Ann"}], "inclusive")])
def test_spans(tmp_path, spans, end):
    found = settings(lines(tmp_path / "a.jsonl", [{"text": "Ann " + text, "entities": spans} for text in TEXTS]))
    assert (found["words_column"], found["text_column"], found["spans_column"]) == ("", "text", "entities")
    assert found.get("span_end") == end
    found = settings(lines(tmp_path / "a.jsonl", [
        {"text": "Ann " + text, "tokens": [{"start": 0, "end": 3}], "spans": [{"start": 0, "end": 3, "label": "PER"}]}
        for text in TEXTS]))
    assert found["spans_column"] == "spans"


@pytest.mark.parametrize("answers", [lambda i: {"text": [f"day {i}"], "answer_start": [10]}, lambda i: f"day {i}"])
def test_questions(tmp_path, answers):
    found = settings(lines(tmp_path / "a.jsonl", [
        {"id": i, "question": "When was it?", "context": f"It was on day {i}.", "answers": answers(i)} for i in range(9)]))
    assert {"task": "question_answering", "question_column": "question", "context_column": "context",
            "answers_column": "answers", "id_column": "context"}.items() <= found.items()


def test_squad(tmp_path):
    paragraphs = [{"context": f"It was day {i}.", "qas": [{"id": str(i), "question": "When?", "answers": [
        {"text": f"day {i}", "answer_start": 7}]}]} for i in range(5)]
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    assert settings(str(tmp_path / "a.json"))["task"] == "question_answering"


def test_yes_or_no_questions_are_pairs(tmp_path):
    found = settings(lines(tmp_path / "a.jsonl", [
        {"question": f"is it {i}", "passage": TEXTS[i], "answer": bool(i % 2)} for i in range(20)]))
    assert (found["text_column"], found["text_pair_column"], found["label_column"]) == ("question", "passage", "answer")


def test_lengths(tmp_path):
    for text, length in (("word " * 120, 192), ("\u4f60\u597d" * 40, 96), ("word " * 2000, 512)):
        found = settings(table(tmp_path / "a.csv", ["text", "label"], [(f"{text}{i}", "ab"[i % 2]) for i in range(20)]))
        assert found["max_length"] == length


def test_other_scripts_have_another_encoder(tmp_path):
    thai = [f"\u0e2b\u0e19\u0e31\u0e07\u0e40\u0e23\u0e37\u0e48\u0e2d\u0e07 {i}" for i in range(20)]
    sketch = Sketch(table(tmp_path / "a.csv", ["text", "label"], [(text, "ab"[i % 2]) for i, text in enumerate(thai)]), {})
    assert sketch.settings["model.backbone"] == MULTILINGUAL and "100% of the letters are thai" in sketch.why["model.backbone"]
    assert "model.backbone" not in Sketch(labelled(tmp_path, ["x", "y"]), {}).settings


def test_other_splits(tmp_path):
    file = labelled(tmp_path, ["x", "y"])
    other = table(tmp_path / "test.csv", ["text", "label"], [("a b c", "x")])
    found = settings(file, validation="20%", test=other)
    assert (found["validation"], found["test"]) == ("20%", other)
    with pytest.raises(UserError, match="wrong.csv: config.data.text_column: Unknown column 'text'"):
        Sketch(file, {"test": table(tmp_path / "wrong.csv", ["txt", "label"], [("a b c", "x")])})


# ---- what is open

def test_equal_guesses_are_refused_with_what_chooses(tmp_path):
    file = labelled(tmp_path, ["x", "y"], column="one", two=["u", "v", "w"] * 16)
    with pytest.raises(Tie, match="--label_column=one; one label for a text: --label_column=two"):
        Sketch(file, {})
    assert settings(file, label_column="two")["label_column"] == "two"
    file = labelled(tmp_path, ["0.5", "1.0", "1.5", "2.0", "2.5"], column="stars")
    with pytest.raises(Tie, match="--learn=single_label; a number for a text: --learn=regression"):
        Sketch(file, {})
    assert settings(file, learn="regression")["task.problem"] == "regression"
    with pytest.raises(UserError, match="Unknown kind of thing to learn 'regresion'. Did you mean 'regression'?"):
        Sketch(file, {}, "regresion")


@pytest.mark.parametrize("columns, message", [
    ({"label_column": "lable"}, "--label_column=lable: Unknown column 'lable'. Did you mean 'label'?"),
    ({"lable_column": "label"}, "Unknown setting 'lable_column'. Did you mean 'label_column'?")])
def test_mistakes_in_columns(tmp_path, columns, message):
    with pytest.raises(UserError) as error:
        Sketch(labelled(tmp_path, ["x", "y"]), columns)
    assert message in str(error.value)


def test_nothing_to_learn_from(tmp_path):
    with pytest.raises(UserError, match=r"Nothing in .*a.csv looks like .*: a \(numbers\); b \(numbers\)\. Name"):
        Sketch(table(tmp_path / "a.csv", ["a", "b"], [(i, i + 1) for i in range(9)]), {})


def test_broken_rows_are_told_and_left_out(tmp_path):
    file = labelled(tmp_path, ["x", "y", ""])
    sketch = Sketch(file, {})
    assert sketch.settings["data.on_broken_row"] == "skip" and "16 broken rows skipped" in sketch.why["data.on_broken_row"]


def test_rows_against_the_format_are_refused(tmp_path):
    Path(file := labelled(tmp_path, ["x", "y"])).open("a").write('"never closed,x\n' + "more,y\n" * 3)
    with pytest.raises(UserError, match="1 broken row.*never closed.*on_broken_row=skip"):
        Sketch(file, {})
    assert settings(file, on_broken_row="skip")["on_broken_row"] == "skip"


# ---- the command

def tfft_init(folder, *arguments, code=0):
    made = subprocess.run([sys.executable, "-m", "tfft", "init", *arguments], cwd=folder, capture_output=True, text=True,
                          timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT), "TFFT_CACHE": str(folder / "cache")})
    assert made.returncode == code, made.stderr
    return made.stdout + " ".join(made.stderr.split())


def test_the_file_that_is_written_is_a_config(tmp_path):
    labels = ['"""', "tab\t'\\n", "\u2028{}", "\u00e4"]  # names that a comment or a text must survive
    file = Path(labelled(tmp_path, labels, column="label\\ \"\"\"")).rename(tmp_path / "it's 1.csv")
    said = tfft_init(tmp_path, file.name, "--yes", "--label_column=label\\ \"\"\"")
    assert "One label for a text (text_classification):" in said and "tfft serve --workdir=runs/it_s_1" in said
    config = shipped.load(str(tmp_path / "it_s_1.py"))
    assert config.to_dict() == Sketch(str(file), {"label_column": "label\\ \"\"\""}).config().to_dict() | {
        "data": config.data.to_dict()}
    assert (config.data.train, config.data.label_column) == (f"csv:{file.name}", "label\\ \"\"\"")
    assert "it_s_1.py exists already" in tfft_init(tmp_path, file.name, "--yes", code=2)


def test_scripts_say_yes(tmp_path):
    file = labelled(tmp_path, ["x", "y"])
    assert "Add --yes" in tfft_init(tmp_path, file, code=2)
    assert "Name a file of rows" in tfft_init(tmp_path, "--yes", code=2)
    assert "No such file" in tfft_init(tmp_path, "your.csv", "--yes", code=2)
    assert not (tmp_path / "my.py").exists()


def test_a_terminal_is_asked(tmp_path):
    file = labelled(tmp_path, ["x", "y"], column="one", two=["u", "v", "w"] * 16)
    terminal, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "tfft", "init", file], cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE,
                               text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "TFFT_CACHE": str(tmp_path)})
    os.write(terminal, b"9\n2\n\n")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "2  one label for a text: --label_column=two" in said and "Write my.py? [Y/n]" in said
    assert shipped.load(str(tmp_path / "my.py")).data.label_column == "two"


def test_a_notebook_has_the_same_guess(tmp_path, capsys):
    file = labelled(tmp_path, ["x", "y"])
    assert tfft.guess_config(file).data.label_column == "label"
    assert "data.label_column" in capsys.readouterr().out
    with pytest.raises(UserError, match="^label_column=no: Unknown column"):
        tfft.guess_config(file, label_column="no")


def test_no_tensorflow():
    code = "import sys, tfft.api, tfft.run.guess; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"
