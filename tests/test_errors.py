import subprocess
import sys

import pytest

from tfft.errors import UserError, exit_code, unknown


def test_unknown_names_the_nearest():
    assert unknown("pooling", "maen", ["cls", "mean"]) == "Unknown pooling 'maen'. Did you mean 'mean'? Known: cls, mean."
    assert unknown("pooling", "xyz", ["cls", "mean"]) == "Unknown pooling 'xyz'. Known: cls, mean."


def test_unknown_with_nothing_or_much_known():
    assert unknown("label", "a", []) == "Unknown label 'a'. Known: none."
    many = unknown("label", "99", (str(i) for i in range(100)))
    assert "Did you mean '99'?" in many and many.endswith("28, 29, ... (100 in all).")
    assert unknown("column", "1", [0, 1]) == "Unknown column '1'. Did you mean '1'? Known: 0, 1."


@pytest.mark.parametrize("returned, code", [(None, 0), (0, 0), (3, 3)])
def test_exit_code_of_a_body(returned, code):
    assert exit_code(lambda: returned) == code


def fail(error):
    raise error


def test_a_user_error_is_a_paragraph(capsys):
    assert exit_code(lambda: fail(UserError("one line\n" + "word " * 40 + "/a/very/long-path" + "/x" * 80))) == 2
    out, told = capsys.readouterr()
    assert out == "" and told.startswith("\ntfft: error: one line\nword word")
    lines = told.splitlines()
    assert lines[3].startswith("  word") and all(len(line) <= 110 for line in lines if "/a/" not in line)
    assert "/a/very/long-path" + "/x" * 80 in told  # a path can be copied: never broken


@pytest.mark.parametrize("message, ending", [
    ("It is so", "so."), ("It is so.", "so."), ("Is it?", "it?"), ("It is 'a'", "'a'."),
    ("There is no file: [Errno 2] No such file", "file."), ("Mend it. (Here.)", "(Here.)"), ("two\nlines\n", "lines."),
    ("Leave them out with --on_broken_row=skip", "--on_broken_row=skip"),
    ("Write e.g. csv:a.csv", "csv:a.csv"), ("Use --calibrated", "--calibrated"), ("Name its files, e.g. a/*", "a/*"),
    ("It needs pyarrow: pip install pyarrow", "pip install pyarrow"),
    ("Run: python -m tfft.export --workdir=runs/a", "--workdir=runs/a")])
def test_a_message_ends_with_a_stop_or_what_can_be_copied(message, ending):
    assert str(UserError(message)).endswith(f" {ending}") or str(UserError(message)).endswith(f"\n{ending}")
    assert not str(UserError(message)).endswith("..")


def test_interruption_is_told_in_one_line(capsys):
    assert exit_code(lambda: fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "\ntfft: interrupted\n"


def test_a_pipe_that_nobody_reads_any_more_is_no_defect():
    code = ("import sys\nfrom tfft.errors import exit_code\n"
            "sys.exit(exit_code(lambda: [print('x' * 99) for _ in range(9999)] and 0))")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 141


def test_a_defect_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 // 0)
