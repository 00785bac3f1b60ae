"""Rows of questions with candidates: what is read of every form, what labels mean, what is refused; which stand in a batch."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfft.config import resolve
from tfft.data.fields import Unusable
from tfft.data.sources import Source
from tfft.errors import UserError
from tfft.run.guess import Sketch
from tfft.tasks.multiple_choice.labels import READINGS, positions
from tfft.tasks.multiple_choice.learnt import infer_choices
from tfft.tasks.multiple_choice.members import draw, right_examples
from tfft.tasks.multiple_choice.rows import choices, row_columns, row_fields

ROOT = Path(__file__).parent.parent


def experiment(path: str, task=None, train=None, **data):
    return resolve({"task": {"name": "multiple_choice", **(task or {})}, "data": {"train": path, **data}, "train": train or {}})


@pytest.fixture
def read(tmp_path):
    """The values of the rows of a file."""
    def read(name: str, text: str, **data):
        (tmp_path / name).write_text(text, "utf-8")
        chosen = experiment(str(tmp_path / name), **data)
        return [row.values for row in Source(chosen.data.train, chosen.data, row_fields(chosen, tmp_path), tmp_path).rows()]

    return read


LETTERS = {"label": ["A", "B"], "text": ["red", "blue"]}


@pytest.mark.parametrize("value", [
    ["red", "blue"], '["red", "blue"]', "['red', 'blue']", LETTERS, json.dumps(LETTERS), {"A": "red", "B": "blue"},
    [{"label": "A", "text": "red"}, {"label": "B", "text": "blue"}], ["red", "blue", "", None], np.array(["red", "blue"]),
    {"text": np.array(["red", "blue"]), "label": np.array(["A", "B"])}])
def test_candidates_as_they_are_written(value):
    assert choices(value, "choices") == ["red", "blue"]


@pytest.mark.parametrize("value, reason", [
    (["red", " ", "blue"], "candidate 2 of 3 is empty"), ([], "(its candidates) is empty"), (None, "is missing"),
    ("", "is empty"),
    ("red", "'red', which is no list of candidates"), (7, "holds 7, which is no list"), ('{"A": "red"', "no list of"),
    ([{"label": "A"}], "a candidate has no 'text', but label"), ([["red"]], "where a name is expected")])
def test_candidates_that_are_none(value, reason):
    with pytest.raises(Unusable) as told:
        choices(value, "choices")
    assert reason in str(told.value)


RED = ["red", "blue", "green"]


@pytest.mark.parametrize("label, texts, names, how, expected", [
    (1, RED, (), "auto", ([1], "index")), ("1", RED, (), "auto", ([1], "index")), (1.0, RED, (), "auto", ([1], "index")),
    ("b", RED, (), "auto", ([1], "letter")), ("blue ", RED, (), "auto", ([1], "text")),
    ("3", RED, (), "number", ([2], "number")),
    ("2", RED, ["1", "2", "3"], "auto", ([1], "letter")), ("2", RED, ["1", "2", "3"], "index", ([2], "index")),
    ("C", RED, ["1", "2", "3"], "auto", ([2], "letter")), ("1", ["0", "1"], (), "auto", ([1], "index")),  # both ways one
    ("2", ["1", "2", "3"], (), "text", ([1], "text")), ("A", ["B", "A"], (), "letter", ([0], "letter")),
    ([0, 1, 1], RED, (), "auto", ([1, 2], "flags")), ([2, 0], RED, (), "auto", ([0, 2], "index")),
    ('["A", "C"]', RED, (), "auto", ([0, 2], "letter")), ([], RED, (), "auto", ([], "flags")),
    ("go", ["go", "come", "go"], (), "auto", ([0, 2], "text")), ([True, False, False], RED, (), "auto", ([0], "flags"))])
def test_labels(label, texts, names, how, expected):
    assert positions(label, texts, names, how, "label") == expected


@pytest.mark.parametrize("label, texts, how, reason", [
    (3, RED, "auto", "its label '3' is none of its 3 candidates: neither the index (0 to 2), nor the letter (A to C), nor the "
                     "text. If they are counted from 1: --config.data.label_values=number"),
    (-1, RED, "auto", "its label '-1' is none of its 3 candidates"), ("pink", RED, "auto", "nor the text"),
    ("2", ["1", "2", "3"], "auto", "can be read as index '3' and as text '2': set config.data.label_values to index or text"),
    ("A", ["B", "A"], "auto", "can be read as letter 'B' and as text 'A'"),
    ("blue", RED, "index", "is the index (0 to 2) of none of its 3 candidates (config.data.label_values=index)"),
    ("D", RED, "letter", "is the letter (A to C) of none"), ([0, 7], RED, "auto", "its label '7' is none of its 3")])
def test_labels_that_mean_no_candidate_or_two(label, texts, how, reason):
    with pytest.raises(Unusable) as told:
        positions(label, texts, (), how, "label")
    assert reason in str(told.value)


ARC = {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}


@pytest.mark.parametrize("name, text, data, expected", [
    ("a.jsonl", json.dumps({"question": "q", "choices": ["x", "y"], "label": 1}), {}, (["x", "y"], (1,), "index")),
    ("a.jsonl", json.dumps(ARC), {"label_column": "answerKey"}, (["x", "y"], (1,), "letter")),
    ("a.csv", "question,A,B,C,answer\nq,x,y,z,C\n", {"choice_columns": ("A", "B", "C"), "label_column": "answer"},
     (["x", "y", "z"], (2,), "letter")),
    ("a.csv", "question,A,B,C,answer\nq,x,y,,y\n", {"choice_columns": ("A", "B", "C"), "label_column": "answer"},
     (["x", "y"], (1,), "text")),
    ("a.tsv", 'question\tchoices\tlabel\nq\t["x", "y", "x"]\t0\n', {}, (["x", "y", "x"], (0, 2), "index")),
    ("a.tsv", "id\tquestion\tanswer\tlabel\n1\tq\tx\t0\n1\tq\ty\t1\n1\tq\tz\t1\n",
     {"choice_column": "answer", "sentence_column": "id"}, (["x", "y", "z"], (1, 2), "flags"))])
def test_files(read, name, text, data, expected):
    values, = read(name, text, **data)
    assert (values["question"], values["choices"], *values["right"][:2]) == ("q", *expected)
    assert values["right"].twice == (len(set(values["choices"])) < len(values["choices"]))


def test_rows_of_one_candidate_are_grouped_by_their_question(read, tmp_path):
    made = read("a.csv", "question,answer,label\nq,x,0\nq,y,1\nr,x,0\ns,z,true\n", choice_column="answer")
    assert [(v["question"], v["choices"], v["right"].places) for v in made] == [
        ("q", ["x", "y"], (1,)), ("r", ["x"], ()), ("s", ["z"], (0,))]


def test_store_columns(read, tmp_path):
    rows = (["x", "y"], 1), (["x", "y", "x"], "A"), (["x", "y"], [])
    file = write(tmp_path / "a.jsonl", [{"question": "q", "choices": each, "label": label} for each, label in rows])
    chosen = experiment(file)
    made = row_columns(list(Source(chosen.data.train, chosen.data, row_fields(chosen, tmp_path), tmp_path).rows()))
    assert made["candidates"].tolist() == [2, 3, 2] and made["twice"].tolist() == [0, 1, 0]
    assert made["right"].flat.tolist() == [1, 0, 2] and made["right"].lengths.tolist() == [1, 2, 0]
    assert [READINGS[i] for i in made["reading"]] == ["index", "letter", "flags"]


@pytest.mark.parametrize("name, text, data, reason", [
    ("a.jsonl", '{"question": "q", "choices": ["x", "y"], "label": 0}\n{"question": "q", "choices": ["x", "", "y"]}', {},
     "a.jsonl:2: this row is broken: column 'choices': candidate 2 of 3 is empty"),
    ("a.jsonl", '{"question": "q", "choices": ["x"], "label": 0}', {}, "one candidate, which leaves nothing to choose"),
    ("a.jsonl", '{"question": "q", "choices": ["x", "y"], "label": ""}', {}, "(its right candidate) is empty"),
    ("a.csv", "question,A,answer\nq,x,A\n", {"choice_columns": ("A", "B"), "label_column": "answer"},
     "config.data.choice_columns: Unknown column 'B'"),
    ("a.csv", "question,answer,label\nq,x,0\nq,,1\n", {"choice_column": "answer"}, "1 of its 2 rows have a candidate"),
    ("a.csv", "question,answer,label\nq,x,0\nq,y,2\n", {"choice_column": "answer"},
     "a.csv:2: this row is broken: column 'label' holds '2' for candidate 2, where 1 says")])
def test_broken_rows_say_where_and_why(read, name, text, data, reason):
    with pytest.raises(UserError) as told:
        read(name, text, **data)
    assert reason in str(told.value)


@pytest.mark.parametrize("data, task, train, message", [
    ({"choices_column": ""}, {}, {}, "None is set. Set one of choices_column"),
    ({"choices_column": "c", "choice_columns": ("a", "b")}, {}, {}, "choices_column and config.data.choice_columns are set"),
    ({"choice_columns": ("a",)}, {}, {}, "names one column"), ({"question_column": ""}, {}, {}, "question_column is empty"),
    ({"sentence_column": "s"}, {}, {}, "set config.data.choice_column too"),
    ({"choice_column": "a", "label_values": "text"}, {}, {}, "leave data.label_values unset"),
    ({"choice_columns": ("a", "label")}, {}, {}, "names the column 'label' twice"),
    ({}, {"max_choices": 1}, {}, "nothing to choose"),
    ({}, {}, {"tokens_per_batch": 4096}, "tokens_per_batch counts one text a row")])
def test_settings_that_do_not_fit(data, task, train, message):
    with pytest.raises(UserError, match=message):
        experiment("csv:a.csv", task, train, **data)


OF_FOUR = [{"question": f"which is number {i}?", "label": i % 4, "answer": "ABCD"[i % 4], "text": f"of {i // 4} things",
            "from one": 1 + i % 4,
            "choices": [f"thing {i + k}" for k in range(4)], **{f"ending{k}": f"thing {i + k}" for k in range(4)}}
           for i in range(24)]


def write(path, rows) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize("columns, expected", [
    ({"question": "question", "choices": "choices", "label": "label"}, {"choices_column": "choices", "label_values": "index"}),
    ({"question": "question", "options": "choices", "answer": "answer"},
     {"choices_column": "options", "label_column": "answer", "label_values": "letter"}),
    ({"question": "question", "choices": "choices", "label": "from one"}, {"label_values": "number"}),
    ({"sent1": "question", "label": "label", **{f"ending{k}": f"ending{k}" for k in range(4)}},
     {"question_column": "sent1", "choice_columns": ("ending0", "ending1", "ending2", "ending3"), "label_values": "index"}),
    ({"question": "question", "options": "choices", "answer": "answer", "article": "text"},
     {"context_column": "article", "id_column": "article"}),
    ({"Question": "question", "Answer": "answer", **{letter: f"ending{k}" for k, letter in enumerate("ABCD")}},
     {"choice_columns": ("A", "B", "C", "D"), "label_column": "Answer", "label_values": "letter"})])
def test_init_knows_questions_with_candidates(tmp_path, columns, expected):
    file = write(tmp_path / "quiz.jsonl", [{name: row[own] for name, own in columns.items()} for row in OF_FOUR])
    sketch = Sketch(file, {})
    assert sketch.guess.task == "multiple_choice"
    assert {f"data.{name}": value for name, value in expected.items()}.items() <= sketch.settings.items()


def test_init_is_told_of_one_candidate_a_row(tmp_path):
    rows = [{"question": f"which is {i // 3}?", "sentence": f"it is {i}", "label": int(i % 3 == 1)} for i in range(30)]
    sketch = Sketch(write(tmp_path / "a.jsonl", rows), {"choice_column": "sentence"})
    assert sketch.guess.task == "multiple_choice" and resolve(sketch.config()).data.sentence_column == "question"


def test_init_takes_other_questions_for_what_they_are(tmp_path):
    rows = [{"question": row["question"], "choices": row["choices"][:1], "label": i % 2} for i, row in enumerate(OF_FOUR)]
    assert Sketch(write(tmp_path / "a.jsonl", rows), {}).guess.task == "text_classification"


def test_one_candidate_a_row_is_grouped_without_more_settings():
    data = experiment("csv:a.csv", choice_column="a").data
    assert (data.choices_column, data.sentence_column) == ("", "question")


class Store:
    """As much of a store as is looked at. right: of each row."""

    def __init__(self, candidates, right, reading=()):
        self.columns = {"row": np.repeat(np.arange(len(right)), candidates), "candidates": candidates,
                        "right": [place for each in right for place in each], "reading": reading,
                        "right_offsets": np.cumsum([0, *map(len, right)])}
        self.lengths = np.zeros(sum(candidates))

    def column(self, name):
        return np.array(self.columns[name])

    def place(self, row):
        return f"a.csv:{row + 2}"

    def __len__(self):
        return len(self.columns["candidates"])


@pytest.mark.parametrize("candidates, right, reading, task, held, told", [
    ([4] * 3, [[0], [3], [1]], [0, 0, 0], {}, 4, ["candidates: 3 rows of 4", "labels: indices from 0 (3)"]),
    ([2, 30, 4], [[0], [3, 4], [1]], [2, 4, 2], {}, 16,
     ["candidates: 3 rows of 2 to 30, 12.0 on average; a batch has 16 of a row with more, drawn anew each epoch "
      "(config.task.max_choices)",
      "labels: letters (2) and 1 or 0 for each candidate (1); rows with several right candidates: 1"]),
    ([5] * 2, [[0], []], [3, 3], {"max_choices": 3}, 3, None),
    ([4] * 30, [[1 + i % 3] for i in range(30)], [0] * 30, {}, 4,
     ["candidates: 30 rows of 4", "labels: indices from 0 (30)",
      "warning: no label of 30 rows is the index 0, such as a.csv:2: if labels are counted from 1, set "
      "--config.data.label_values=number"])])
def test_what_is_learnt_of_the_rows(candidates, right, reading, task, held, told):
    made = infer_choices(experiment("csv:a.csv", task), Store(candidates, right, reading), np.arange(len(right)))
    assert made.choices == held and (told is None or list(made.lines) == told)


def test_rows_without_a_right_candidate_teach_nothing():
    with pytest.raises(UserError, match="None of the 2 training rows has a right candidate. Is config.data.label_col"):
        infer_choices(experiment("csv:a.csv"), Store([2, 2], [[], []], [4, 4]), np.arange(2))


def test_members_by_hand():
    """Rows of 2, 5 and 4 candidates; right are 1; 0 and 3; all."""
    store = Store([2, 5, 4], [[1], [0, 3], [0, 1, 2, 3]])
    right = right_examples(store)
    assert np.flatnonzero(right).tolist() == [1, 2, 5, 7, 8, 9, 10]
    drawn = [draw(store, np.arange(3), right, 3, epoch, 5) for epoch in range(40)]
    for made in drawn:
        assert made[0].tolist() == [0, 1, -1] and set(made[1]) > {2, 5} and len({*made[1]} - {3, 4, 6}) == 2
        assert (np.diff(made[1:]) > 0).all() and set(made[2]) < {7, 8, 9, 10}
    assert {tuple(made[1]) for made in drawn} == {(2, 3, 5), (2, 4, 5), (2, 5, 6)}
    assert len({tuple(made[2]) for made in drawn}) == 4
    np.testing.assert_array_equal(drawn[7], draw(store, np.arange(3), right, 3, 7, 5))
    two = {tuple(draw(store, np.array([1]), right, 2, epoch, 5)[0]) for epoch in range(60)}
    assert all(len({*pair} & {2, 5}) == 1 for pair in two) and len(two) == 6  # one that is not right is always there
    assert draw(store, np.array([2]), right, 5, 0, 5).tolist() == [[7, 8, 9, 10, -1]]


def test_sentences_of_squad_are_rows(read, tmp_path):
    tool = ROOT / "tools" / "make_sentence_choices.py"
    found = runpy.run_path(str(tool))
    text = 'Mr. A. Bo sleeps. "It rains!" (So it does.) Is it 5 p.m. now? Yes'
    assert [text[slice(*each)] for each in found["sentences"](text)] == [
        "Mr. A. Bo sleeps.", '"It rains!"', "(So it does.)", "Is it 5 p.m. now?", "Yes"]
    assert [list(found["around"](place, 6, 4)) for place in (0, 3, 5)] == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    asked = [{"question": "What falls? ", "answers": [{"text": "It rains", "answer_start": text.index("It rains")}]},
             {"question": "Both?", "answers": [{"text": 'sleeps. "It', "answer_start": text.index("sleeps")}]}]
    (tmp_path / "dev.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": text, "qas": asked}]}]}))
    made = subprocess.run([sys.executable, tool, tmp_path / "dev.json", tmp_path / "dev.jsonl", "--most=2"], text=True,
                          capture_output=True, check=True)
    assert "1 of 1 rows of 2.0 sentences; 1 questions left out" in made.stdout
    row, = read("rows.jsonl", (tmp_path / "dev.jsonl").read_text())
    assert (row["question"], row["choices"], row["right"].places) == ("What falls?", ["Mr. A. Bo sleeps.", '"It rains!"'], (1,))


def test_lists_of_texts_go_to_a_server_in_one_length():
    from tfft.serving.client import Client, requests

    client, sent = Client("http://localhost:1/quiz", batch_size=2), []
    client._transport.predict = lambda columns, signature, seconds: sent.append(columns) or {
        "scores": np.array([[float(len(text)) for text in texts] for texts in columns["choices"]])}
    made = client.ask({"question": ["a", "b" * 9, "c"], "choices": [["xx", "y"], ["z", "z\ud800", "zzz"], []]})
    assert sent[0] == {"question": ["c", "a"], "choices": [["", ""], ["xx", "y"]]}
    assert sent[1]["choices"] == [["z", "z?", "zzz"]]
    assert made["scores"].tolist() == [[2, 1, 0], [1, 2, 3], [0, 0, 0]]
    assert list(requests({"choices": [["x" * 9], ["y", "z"]]}, 8)) == [[1, 0]]
