"""Runs one trial in a process of its own, and watches what it writes into its work directory."""

import dataclasses
import fcntl
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfft.run.workdir import Workdir

START = subprocess.Popen
SECONDS = 0.2  # between two looks
OUTPUT = "process.log"  # what the trial's process says


class Stop:
    """Remembers SIGTERM and SIGINT, and hands them on to the trial that runs: it saves, and leaves."""

    def __init__(self):
        self.number = 0
        self.process: Any = None

    def __enter__(self):
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _note(self, number, frame):
        self.number = number
        if self.process is not None:
            self.process.send_signal(number)

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)


@dataclasses.dataclass
class Watched:
    """What came of a trial's process: its exit code (below 0: killed by a signal), whether it was told to stop because it is
    poor, its evaluations."""

    code: int
    poor: bool
    evaluations: list[dict[str, Any]]
    steps: int
    seconds: float


def watch(folder: Path, stop: Stop, judged_poor: Callable[[int, dict[str, Any], bool], bool]) -> Watched:
    """Runs the trial to its end. judged_poor(number, line, whether it ends anyway) is told of each evaluation, and says whether
    to stop there."""
    wait_for_another(folder)
    begin, poor, told = time.monotonic(), False, 0
    with open(folder / OUTPUT, "ab") as output:
        # a session of its own: Ctrl-C on the terminal comes to this process alone, which hands it on once
        process = START([sys.executable, "-m", "tfft.tuning.trial", str(folder)], stdin=subprocess.DEVNULL, stdout=output,
                        stderr=output, start_new_session=True)
        stop.process = process
        if stop.number:
            process.send_signal(stop.number)
        try:
            while True:
                code = process.poll()
                lines = Workdir(folder).points()
                judged = [line for line in lines if line["kind"] == "validation"]
                for number, line in list(enumerate(judged, 1))[told:]:
                    told = number
                    ending = code is not None or poor or stop.number or line["step"] >= total_steps(folder)
                    if judged_poor(number, line, bool(ending)):
                        poor = True
                        process.send_signal(signal.SIGTERM)
                if code is not None:
                    steps = max((line["step"] for line in lines), default=0)
                    return Watched(code, poor, judged, steps, time.monotonic() - begin)
                time.sleep(SECONDS)
        finally:
            stop.process = None
            if process.poll() is None:  # something went wrong here
                process.send_signal(signal.SIGTERM)


def total_steps(folder: Path) -> int:
    """How many the run has in all, as it says before the first one."""
    return json.loads((folder / "environment.json").read_text("utf-8"))["total_steps"]


def wait_for_another(folder: Path, say: Callable[[str], None] = print) -> None:
    """Waits until no process trains in the work directory: one whose parent was killed saves and leaves."""
    waited = 0
    while (folder / ".lock").exists():
        with open(folder / ".lock", "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if waited == 10:
                    say(f"{folder}: waiting until the process that still trains there has saved")
        waited += 1
        time.sleep(SECONDS)


def reason_of(folder: Path, code: int) -> str:
    """Why a trial's process failed: the message of its error, or the last line that it said."""
    if code < 0:
        killed = signal.Signals(-code).name
        return f"its process was killed by {killed}{' (is there enough memory?)' if -code == signal.SIGKILL else ''}"
    said = (folder / OUTPUT).read_text("utf-8", "replace")[-20000:]
    if "tfft: error: " in said and code == 2:
        return " ".join(said.rpartition("tfft: error: ")[2].split())
    last = [line for line in said.splitlines() if line.strip()][-1:] or ["it said nothing"]
    return f"exit code {code}: {last[0].strip()[:300]} (see {folder / OUTPUT})"


def metric_of(evaluations: list[dict[str, Any]], metric: str, lower: bool, weights: str) -> float | None:
    """A finished trial's value: of the weights that would be used (config.export.weights); None where it is no number."""
    values = [line.get(metric, math.nan) for line in evaluations]
    numbers = [value for value in values if math.isfinite(value)]
    if weights == "last" or not numbers:
        return values[-1] if values and math.isfinite(values[-1]) else None
    return min(numbers) if lower else max(numbers)
