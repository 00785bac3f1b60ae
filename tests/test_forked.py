"""Forks of a process that has TensorFlow are told, heard and stopped as processes are."""

import os
import signal

import pytest
from commands import run, wait_for
from forked import Forked

SAYS = """
import os, sys
print(os.getpid(), *sys.argv[1:], os.environ["GIVEN"], os.getcwd(), "tensorflow" in sys.modules, "tfft" in sys.modules)
print("wrong", file=sys.stderr)
sys.exit(3)
"""
WAITS = """
import pathlib, sys, time
try:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit("interrupted")
"""


def test_what_it_is_given_and_what_it_says(tmp_path):
    process = Forked(["-c", SAYS, "a b"], tmp_path, GIVEN="x")
    out, error = process.communicate(60)
    assert (process.returncode, error) == (3, "wrong\n") and process.pid != os.getpid()
    assert out == f"{process.pid} a b x {tmp_path} True False\n"


@pytest.mark.parametrize("number, code, said", [(signal.SIGINT, 1, "interrupted\n"), (signal.SIGKILL, -signal.SIGKILL, "")])
def test_it_is_stopped_by_a_signal(tmp_path, number, code, said):
    process = Forked(["-c", WAITS, tmp_path / "begun"])
    wait_for((tmp_path / "begun").exists, process)
    assert process.poll() is None
    process.send_signal(number)
    assert process.communicate(60) == ("", said) and process.poll() == code


def test_an_error_of_the_program_is_told(cache):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        Forked(["-c", "1 / 0"]).output()
    assert "Unknown command 'trian'. Did you mean 'train'?" in run(["trian"], cache, code=2)[1]
