"""Exports in a process of its own: it computes on the CPU, whatever this process computes on. Imports no TensorFlow."""

import subprocess
import sys
from pathlib import Path

from tfft.config import fold_runs, is_all_folds
from tfft.errors import UserError
from tfft.files import is_remote
from tfft.run.workdir import Workdir

RUN = subprocess.run  # a program that ends; most tests let it be a fork that has imported TensorFlow


def export_apart(workdir: str, *flags: str) -> str:
    """Runs `tfft export`; returns what it says. Raises: UserError."""
    command = [sys.executable, "-m", "tfft.export", f"--workdir={workdir}", *flags]
    made = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if made.returncode:
        told = made.stderr.split("tfft: error: ")
        raise UserError(" ".join(told[-1].split()) if len(told) > 1 else f"The export failed: {made.stderr.strip()[-2000:]}")
    return made.stdout.strip()


def newest(folder: Path) -> Path | None:
    """The newest version in a folder of exports."""
    versions = [path for path in folder.iterdir() if path.name.isdigit()] if folder.exists() else []
    return max(versions, key=lambda path: int(path.name), default=None)


def served(path: str) -> str:
    """A run as a model to serve, NAME=FOLDER; exported first where it has not been since its training. Raises: UserError."""
    workdir = Workdir(path)
    name = workdir.experiment().name
    if is_remote(workdir.path):
        raise UserError(f"--workdir={path}: models are served from the local disk. Export it there, tfft export "
                        f"--workdir={path} --output=models/{name}, and serve that: --model=models/{name}")
    version = newest(workdir.export)
    experiment = workdir.experiment()
    runs = [Workdir(workdir.path / name) for name in fold_runs(experiment)] if is_all_folds(experiment) else [workdir]
    weights = [file.stat().st_mtime for run in runs for which in ("best", "last") if (file := run.weights(which)).exists()]
    if version is None or version.stat().st_mtime < max(weights, default=0.0):
        print(f"tfft: exporting {path} first", file=sys.stderr, flush=True)
        print(export_apart(path), file=sys.stderr, flush=True)
    return f"{name}={workdir.export}"
