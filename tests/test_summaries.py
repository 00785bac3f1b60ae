"""What a person reads: tables, durations, progress lines, TensorBoard's files."""

import re
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfft.notebook import in_notebook
from tfft.training import summaries
from tfft.training.summaries import Board, Console, duration, markdown, table


@pytest.mark.parametrize("seconds, text", [
    (0, "0s"), (0.4, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (75, "1m 15s"), (3599.7, "1h 00m"), (3660, "1h 01m"),
    (100 * 3600, "100h 00m")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_table_aligns_numbers_to_the_right():
    assert table([("accuracy", 0.51239), ("f1", 1.0)]) == "  accuracy  0.5124\n  f1        1.0000"
    assert table([("neg", 12345), ("positive", 7)], ("label", "rows")) == (
        "  label       rows\n  neg       12,345\n  positive       7")


def test_table_of_texts_and_mixed_columns():
    assert table([("a", "x"), ("bb", 3)], ("one", "two")) == "  one  two\n  a    x\n  bb   3"
    assert table([], ("one", "two")) == "  one  two"


def test_markdown_escapes_what_would_break_it():
    made = markdown([("a|b", "two\nlines", "<b>", 0.5)], ("h", "i", "j", "k"))
    assert made == "| h | i | j | k |\n| --- | --- | --- | --- |\n| a\\|b | two lines | &lt;b> | 0.5000 |"


def test_console_without_a_terminal_writes_lines(tmp_path, capsys, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(summaries.time, "monotonic", lambda: clock[0])
    console = Console(tmp_path / "train.log")
    console.say("two\nlines")
    console.start("training", 2000, 1000)
    for step, seconds in ((1001, 1), (1002, 5), (1100, 30), (1101, 31), (2000, 32)):
        clock[0] = 1000.0 + seconds
        console.advance(step, "loss 0.5")
    console.stop()
    written = capsys.readouterr()
    assert written.out == ""
    # after 30 s 100 of the 1,000 steps of this session are done: 270 s are left
    lines = ["two", "lines", "training 1,100/2,000 (55%)  loss 0.5  4m 30s left",
             "training 2,000/2,000 (100%)  loss 0.5  0s left"]
    assert written.err.splitlines() == lines
    log = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in log] == lines
    assert all(re.match(r"\d{4}-", line) for line in log)


def test_console_log_is_appended_to(tmp_path):
    for text in ("first \u00e9", "second"):
        Console(tmp_path / "train.log").say(text)
    assert [line[20:] for line in (tmp_path / "train.log").read_text("utf-8").splitlines()] == ["first \u00e9", "second"]


def test_console_on_a_terminal_draws_a_bar(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    console = Console(tmp_path / "train.log")
    console.start("training", 4)
    for step in range(1, 5):
        console.advance(step, f"loss {step}")
    console.say("said in between")
    console.stop()
    written = capsys.readouterr().err
    assert "training" in written and "4/4" in written and "said in between\n" in written
    log = (tmp_path / "train.log").read_text("utf-8")
    assert "training 4/4 (100%)" in log and "said in between" in log


def test_console_in_a_notebook_draws_over_one_line(tmp_path, capsys, monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown[-1].append(data["text/plain"])

    def display(data, raw, display_id):
        shown.append([data["text/plain"]])
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=None)
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    console = Console(tmp_path / "train.log")
    for what in ("training", "evaluating"):
        console.start(what, 4)
        for step in range(1, 5):
            console.advance(step, f"loss {step}")
        console.stop()
    assert [len(states) for states in shown] == [2, 2] and capsys.readouterr().err == ""  # a few states a second
    assert shown[0][0].startswith("training " + 8 * "\u2588" + 22 * "\u2591" + " 1/4 (25%)  loss 1")
    assert shown[1][1] == "evaluating " + 30 * "\u2588" + " 4/4 (100%)  loss 4  0s left"
    assert "training 4/4 (100%)  loss 4" in (tmp_path / "train.log").read_text("utf-8")


@pytest.mark.parametrize("module", [None, types.SimpleNamespace(get_ipython=lambda: None),
                                    types.SimpleNamespace(get_ipython=object)])
def test_a_terminal_is_no_notebook(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert not in_notebook()


def test_console_needs_no_log_file(capsys):
    console = Console()
    console.say("hello")
    console.start("counting", 1)
    console.advance(1, "")
    assert capsys.readouterr().err.splitlines()[0] == "hello"


def test_board_writes_readable_events(tmp_path):
    board = Board(tmp_path)
    for step, loss in ((10, 0.7), (20, 0.5)):
        board.scalars("train", step, {"loss": loss, "learning_rate": 1e-4})
    board.scalars("validation", 20, {"accuracy": np.float64(0.75)})
    board.text("validation", 20, "wrong_answers", "| row |\n| --- |\n| \u00e9 |")
    board.flush()
    train, validation = (EventAccumulator(str(tmp_path / kind)).Reload() for kind in ("train", "validation"))

    def curve(events, name):
        return [(e.step, pytest.approx(float(tf.make_ndarray(e.tensor_proto)))) for e in events.Tensors(name)]

    assert sorted(train.Tags()["tensors"]) == ["learning_rate", "loss"]
    assert curve(train, "loss") == [(10, 0.7), (20, 0.5)]
    assert curve(validation, "accuracy") == [(20, 0.75)]
    (text,) = validation.Tensors("wrong_answers")
    assert tf.make_ndarray(text.tensor_proto).item().decode("utf-8") == "| row |\n| --- |\n| \u00e9 |" and text.step == 20
