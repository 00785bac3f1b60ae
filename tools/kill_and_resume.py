"""Kills a training run at random steps, again and again, and checks that it ends with the same bits as one left alone.

    python tools/kill_and_resume.py                                     MiniLM on 2 replicas, killed ten times
    python tools/kill_and_resume.py --kills=2 -- --config=...           any other training: what tfft.train takes

One run is left alone. Another, with the same settings, gets SIGKILL as soon as a random step is done, and then the same command
again, as often as --kills says; then SIGTERM, which must save and leave within 30 seconds; then the same command to the end.
The weights in best/ and last/ and all evaluations must be the same, bit for bit. Prints what happened, line by line.
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRAINING = (f"--config={ROOT / 'configs' / 'rotten_tomatoes.py'}", "--config.distribution.cpu_replicas=2",
            "--config.train.steps=60", "--config.train.global_batch_size=16", "--config.data.max_length=32",
            "--config.data.train_rows=640", "--config.data.validation_rows=64", "--config.eval.every_steps=20",
            "--config.train.checkpoint_every_steps=4", "--config.train.accumulation=2", "--config.train.ema_decay=0.99")
SAVING_SECONDS = 30  # what SIGTERM may take


class Training:
    """A training run in a work directory: one command, started as often as need be."""

    def __init__(self, workdir: pathlib.Path, arguments: tuple[str, ...]):
        self.workdir = workdir
        self._command = [sys.executable, "-m", "tfft.train", *arguments, f"--workdir={workdir}",
                         "--config.train.summary_every_steps=1"]
        self._metrics = workdir / "metrics.jsonl"

    def start(self) -> None:
        self._changed = self._metrics.stat().st_mtime_ns if self._metrics.exists() else 0
        self.said = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self._command, cwd=ROOT, stderr=self.said)

    def lines(self, kind: str) -> list[dict]:
        """The whole lines of metrics.jsonl."""
        text = self._metrics.read_text() if self._metrics.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["kind"] == kind]

    def step(self) -> int:
        """The last step done since the start, 0 where there is none yet."""
        if not self._metrics.exists() or self._metrics.stat().st_mtime_ns == self._changed:
            return 0  # what the file holds was there before
        return max((line["step"] for line in self.lines("train")), default=0)

    def signal_after(self, step: int, number: int) -> int:
        """Sends a signal as soon as a step is done and waits for the end; returns the exit code."""
        while self.step() < step:
            if self.process.poll() is not None:
                sys.exit(f"it ended with exit code {self.process.returncode} before step {step}:\n{self.errors()}")
            time.sleep(0.002)
        self.process.send_signal(number)
        return self.process.wait()

    def finish(self) -> None:
        if self.process.wait():
            sys.exit(f"it ended with exit code {self.process.returncode}:\n{self.errors()}")

    def errors(self) -> str:
        self.said.seek(0)
        return self.said.read()[-3000:]


def newest_checkpoint(workdir: pathlib.Path) -> int:
    """The step of the newest whole checkpoint, 0 where there is none; one that is being replaced is step-N.old for a moment."""
    return max((int(p.stem.split("-")[1]) for p in (workdir / "checkpoints").glob("step-*")), default=0)


def weights(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """The weights of best/ and of last/."""
    return {f"{which}/{name}": value for which in ("best", "last")
            for name, value in load_file(workdir / which / "weights.safetensors").items()}


def different(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """Names of the weights that are not the same, bit for bit."""
    first, second = weights(one), weights(other)
    return [name for name in {**first, **second}
            if name not in first or name not in second or first[name].tobytes() != second[name].tobytes()]


def interrupt(run: Training, steps: list[int]) -> None:
    """SIGKILL after each of `steps` but the last, SIGTERM after that."""
    for number, step in enumerate(steps[:-1], 1):
        run.start()
        run.signal_after(step, signal.SIGKILL)
        print(f"SIGKILL {number} after step {run.step()}; the newest checkpoint is of step {newest_checkpoint(run.workdir)}",
              flush=True)
    run.start()
    while run.step() < steps[-1] and run.process.poll() is None:
        time.sleep(0.002)
    began = time.monotonic()
    code = run.signal_after(steps[-1], signal.SIGTERM)
    seconds = time.monotonic() - began
    kept = newest_checkpoint(run.workdir)
    print(f"SIGTERM after step {run.step()}; it saved step {kept} and left with exit code {code} after "
          f"{seconds:.1f} s", flush=True)
    if code != 128 + signal.SIGTERM or kept < run.step() or seconds > SAVING_SECONDS:
        sys.exit(f"FAILED: it should save its last step and leave with {128 + signal.SIGTERM} within {SAVING_SECONDS} s\n"
                 f"{run.errors()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the steps")
    parser.add_argument("--folder", help="where the two work directories are made; default: a temporary folder")
    parser.add_argument("training", nargs="*", default=TRAINING, help="arguments of tfft.train, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        alone, killed = (Training(pathlib.Path(name) / which, tuple(arguments.training)) for which in ("alone", "killed"))
        print("python -m tfft.train", *arguments.training)
        alone.start()
        alone.finish()
        last = alone.step()
        print(f"left alone: {last} steps, loss {alone.lines('train')[-1]['loss']:.6f}", flush=True)
        interrupt(killed, sorted(random.Random(arguments.seed).sample(range(1, last - 1), arguments.kills + 1)))
        killed.start()
        killed.finish()
        print(f"left alone to the end: {killed.step()} steps, loss {killed.lines('train')[-1]['loss']:.6f}")
        found = different(alone.workdir, killed.workdir)
        same = alone.lines("validation") == killed.lines("validation")
        count = len(weights(alone.workdir))
        print(f"weights in best/ and last/: {count - len(found)} of {count} have the same bits; "
              f"{len(alone.lines('validation'))} evaluations {'the same' if same else 'NOT the same'}")
        sys.exit(f"FAILED: {found[:5]}" if found or not same else 0)


if __name__ == "__main__":
    main()
