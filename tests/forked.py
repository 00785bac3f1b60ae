"""Python programs in processes of their own that need not import TensorFlow and its libraries first, 5 seconds of a processor
each: they are forks of one process that has done so, and has not begun to compute. It has imported nothing of tfft.

What is about the start or the end of a process takes subprocess: test_three_commands.py, test_wheel.py, the tools.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tensorflow", "tensorflow_text", "keras", "keras_hub", "orbit", "scipy.stats",
                                "sklearn.metrics"])


class Forked:
    """A program as `python` takes it (-m MODULE, -c CODE or a script, and arguments); what subprocess.Popen is to tests."""

    def __init__(self, program: Sequence[str], cwd: Path = ROOT, **environment: str):
        self._folder = tempfile.TemporaryDirectory()
        self._said = [Path(self._folder.name, name) for name in ("out", "error")]
        path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", **environment}
        self._process = CONTEXT.Process(target=_run, args=([*map(str, program)], environment, cwd, self._said), daemon=True)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    poll = returncode.fget

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """(standard output, standard error) when it has ended."""
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"it did not end within {timeout} seconds")
        return tuple(path.read_text("utf-8", "replace") if path.exists() else "" for path in self._said)

    def output(self) -> str:
        """The standard output of one that must end well."""
        out, error = self.communicate(timeout=600)
        assert self.returncode == 0, error[-4000:]
        return out


def _run(program: list[str], environment: dict[str, str], cwd: Path, said: list[Path]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, path in zip((1, 2), said, strict=True):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server of forks has it ignored
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    if program[0] in ("-m", "-c"):
        what, code, *arguments = program
        sys.argv = [what, *arguments]
        if what == "-m":
            runpy.run_module(code, run_name="__main__", alter_sys=True)
        else:
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = program
        runpy.run_path(program[0], run_name="__main__")
