"""Runs the command line as a user does, on the tiny backbone."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
saved = runpy.run_path(str(ROOT / "tools" / "kill_and_resume.py"))["newest_checkpoint"]


def arguments(preset: str, data: str, workdir, *more: str) -> list[str]:
    """The train command of a small run: 30 steps, dropout on, two evaluations."""
    return ["train", f"--config={ROOT}/configs/my_csv.py", f"--config.data.train=csv:{data}", f"--workdir={workdir}",
            f"--config.model.backbone={preset}", "--config.data.max_length=24", "--config.train.global_batch_size=16",
            "--config.train.epochs=2", "--config.train.peak_learning_rate=0.01", "--config.data.validation=20%", *more]


def start(command: list[str], cache: str, program: tuple[str, ...] = ("-m", "tfft")) -> subprocess.Popen:
    environment = {**os.environ, "TFFT_CACHE": cache, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3",
                   "CUDA_VISIBLE_DEVICES": ""}
    # A suite that a script started in the background has SIGINT ignored, and its children too; a user's shell has not.
    return subprocess.Popen([sys.executable, *program, *command], env=environment, text=True, cwd=ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def run(command: list[str], cache: str, code: int = 0, program: tuple[str, ...] = ("-m", "tfft")) -> tuple[str, str]:
    """(standard output, standard error on one line) of a command that must leave with `code`."""
    process = start(command, cache, program)
    out, error = process.communicate(timeout=600)
    assert process.returncode == code, error[-3000:]
    return out, " ".join(error.split())


def wait_for(happened, process: subprocess.Popen, seconds: float = 120) -> None:
    """Waits until `happened()`, while the process lives."""
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
