"""Resumable state: complete or absent, checked when read, the last few kept.

A checkpoint is a folder step-0000000120 with TensorFlow's checkpoint files and state.json; state.json is written last, holds
the size and CRC of each file, and makes the folder complete.
"""

import errno
import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfft.errors import UserError


class Checkpoints:
    """Saves and restores everything a run needs to continue bit for bit: weights, optimizer slots, averages, the loss
    scale, the step, and every dropout seed state, which tf.train.Checkpoint(model) silently leaves out."""

    def __init__(self, folder: Path, model, optimizer, global_step: tf.Variable, keep: int):
        self.folder = folder
        self._keep = keep
        # absent but for float16: the checkpoints of other runs are what they were
        scale = {"loss_scale": optimizer.loss_scale} if optimizer.loss_scale else {}
        self._checkpoint = tf.train.Checkpoint(
            weights=[v.value for v in model.trainable_variables],
            other=[v.value for v in model.non_trainable_variables],
            momentum=optimizer.momentum, velocity=optimizer.velocity, averages=optimizer.averages, step=global_step,
            **scale)
        self._step = global_step

    def save(self, state: dict) -> Path:
        """Writes a checkpoint with the loop's own `state` (JSON). Replaces one of the same step.

        Raises: UserError where the disk is full; older checkpoints stay as they are.
        """
        step = int(self._step.numpy())
        made = self.folder / f".making-{step:010d}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            self._checkpoint.write(str(made / "checkpoint"))
            files = {p.name: [p.stat().st_size, _crc(p)] for p in sorted(made.iterdir())}
            _write(made / "state.json", json.dumps({"step": step, "files": files, "state": state}))
            final = self.folder / f"step-{step:010d}"
            old = final.with_suffix(".old")
            if final.exists():  # out of the way by a rename: a kill at any point leaves one of the two whole
                shutil.rmtree(old, ignore_errors=True)
                final.rename(old)
            made.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(made, ignore_errors=True)
            full = getattr(error, "errno", None) == errno.ENOSPC or "space" in str(error)
            raise UserError(f"Cannot save a checkpoint in {self.folder}: {'the disk is full' if full else error}. Free "
                            "some space and run the same command again: it continues from the last checkpoint.") from error
        for old in self.list()[:-self._keep]:
            shutil.rmtree(old, ignore_errors=True)
        return final

    def list(self) -> list[Path]:
        """Checkpoint folders, oldest first; one that was being replaced stands before its replacement."""
        return sorted(self.folder.glob("step-*"), key=lambda p: (p.stem, not p.suffix))

    def restore(self, warn: Callable[[str], None]) -> dict | None:
        """Restores the newest whole checkpoint and returns its loop state; None where there is none at all.

        Raises: UserError where checkpoints exist and none is whole: training never silently starts over.
        """
        for left in self.folder.glob(".making-*"):  # of a run that was killed while it saved
            shutil.rmtree(left, ignore_errors=True)
        found = self.list()
        for folder in reversed(found):
            problem = _damage(folder)
            if problem is None:
                try:
                    self._checkpoint.read(str(folder / "checkpoint")).assert_existing_objects_matched()
                    return json.loads((folder / "state.json").read_text())["state"]
                except (tf.errors.OpError, AssertionError, ValueError) as error:
                    problem = str(error).split("\n")[0]
            warn(f"Checkpoint {folder} is damaged ({problem}); trying the one before it.")
        if found:
            raise UserError(f"None of the {len(found)} checkpoints in {self.folder} can be read. To start over, remove that "
                            "folder or choose another --workdir.")
        return None


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    try:
        state = json.loads((folder / "state.json").read_text())
        files, _ = state["files"], state["state"]
        for name, (size, crc) in files.items():
            if (folder / name).stat().st_size != size:
                return f"{name} has {(folder / name).stat().st_size:,} bytes instead of {size:,}"
            if _crc(folder / name) != crc:
                return f"{name} does not match its checksum"
    except OSError as error:
        return f"{Path(error.filename or 'a file').name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"state.json: {type(error).__name__} {error}"
    return None


def _crc(path: Path) -> int:
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return crc


def _write(path: Path, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
