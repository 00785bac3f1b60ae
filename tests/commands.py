"""Runs the command line as a user does, on the tiny backbone."""

import itertools
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

from forked import Forked
from safetensors.numpy import load_file

ROOT = Path(__file__).parent.parent
saved = runpy.run_path(str(ROOT / "tools" / "kill_and_resume.py"))["newest_checkpoint"]


def arguments(preset: str, data: str, workdir, *more: str) -> list[str]:
    """The train command of a small run: 30 steps, dropout on, two evaluations."""
    return ["train", f"--config={ROOT}/configs/my_csv.py", f"--config.data.train=csv:{data}", f"--workdir={workdir}",
            f"--config.model.backbone={preset}", "--config.data.max_length=24", "--config.train.global_batch_size=16",
            "--config.train.epochs=2", "--config.train.peak_learning_rate=0.01", "--config.train.head_rate=1",
            "--config.data.validation=20%", "--config.eval.explained=0", *more]  # test_report.py has them explained


def start(command: list[str], cache: str, program: tuple[str, ...] = ()) -> Forked | subprocess.Popen:
    """tfft with a command; or with it another program, which is no fork: it begins where Python does."""
    if not program:
        return Forked(["-m", "tfft", *command], TFFT_CACHE=cache)
    environment = {**os.environ, "TFFT_CACHE": cache, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3",
                   "CUDA_VISIBLE_DEVICES": ""}
    # A suite that a script started in the background has SIGINT ignored, and its children too; a user's shell has not.
    return subprocess.Popen([sys.executable, *program, *command], env=environment, text=True, cwd=ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def run(command: list[str], cache: str, code: int = 0, program: tuple[str, ...] = ()) -> tuple[str, str]:
    """(standard output, standard error on one line) of a command that must leave with `code`."""
    process = start(command, cache, program)
    out, error = process.communicate(timeout=600)
    assert process.returncode == code, error[-3000:]
    return out, " ".join(error.split())


def wait_for(happened, process: Forked | subprocess.Popen, seconds: float = 120) -> None:
    """Waits until `happened()`, while the process lives."""
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def page_of(workdir: Path) -> list[str]:
    """The titles of the sections of the page that a training left."""
    page = (workdir / "report.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")
    return re.findall("<h2>(.*?)</h2>", page)


def killed_is_like_whole(settings: list[str], cache: str, folder: Path, step: int, tasks: tuple[str, ...] = ("",)) -> set[str]:
    """Trains twice, once killed after a checkpoint at `step` or later and run again: same weights, same evaluations. Returns
    the names of the weights. tasks: folders in the work directory that have them, of several tasks."""
    run(["train", *settings, f"--workdir={folder}/whole"], cache)
    command = ["train", *settings, f"--workdir={folder}/killed"]
    process = start(command, cache)
    wait_for(lambda: saved(folder / "killed") >= step, process)
    process.kill()
    process.communicate()
    _, said = run(command, cache)
    assert "continuing at step" in said
    names = set()
    for task, which in itertools.product(tasks, ("last", "best")):
        ours, theirs = (load_file(folder / name / task / which / "weights.safetensors") for name in ("killed", "whole"))
        assert ours.keys() == theirs.keys()
        assert all((ours[name] == theirs[name]).all() for name in ours)
        names |= ours.keys()
    for task in {"", *tasks}:
        judged = [[json.loads(line) for line in (folder / name / task / "metrics.jsonl").read_text().splitlines()
                   if '"validation"' in line] for name in ("killed", "whole")]
        assert judged[0] == judged[1] and len(judged[0]) > 1
    return names
