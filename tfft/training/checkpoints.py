"""Resumable state: complete or absent, checked when read, the last few kept.

A checkpoint is a folder step-0000000120 with TensorFlow's checkpoint files and state.json; state.json is written last, holds
the size and CRC of each file, and makes the folder complete. On a disk it has another name until then. An object store renames
no folder: there it is step-0000000120.0, or .1 if the step is saved again, and one without state.json is none yet.
"""

import errno
import json
import os
import re
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfft.errors import UserError
from tfft.files import copy_tree, is_remote, local_copy, remove_tree


class Checkpoints:
    """Saves and restores everything a run needs to continue bit for bit: weights, optimizer slots, averages, the loss
    scale, the step, and every dropout seed state, which tf.train.Checkpoint(model) silently leaves out."""

    def __init__(self, folder: Path, model, optimizer, global_step: tf.Variable, keep: int, *, io_device: str = ""):
        """io_device: where files are read and written; a TPU's host otherwise, which may be another machine."""
        self.folder = folder
        self._keep, self._remote = keep, is_remote(folder)
        self._options = tf.train.CheckpointOptions(experimental_io_device=io_device or None)
        # absent where the run has none: the checkpoints of other runs are what they were
        more = {"loss_scale": optimizer.loss_scale, "budget": optimizer.budget, "anchor": optimizer.anchor}
        self._checkpoint = tf.train.Checkpoint(
            weights=[v.value for v in model.trainable_variables],
            other=[v.value for v in model.non_trainable_variables],
            momentum=optimizer.momentum, velocity=optimizer.velocity, averages=optimizer.averages, step=global_step,
            **{name: part for name, part in more.items() if part})
        self._step = global_step

    @property
    def variables(self) -> list[tf.Variable]:
        """Everything that a checkpoint holds, always in one order."""
        return [t for t in tf.train.TrackableView(self._checkpoint).descendants() if isinstance(t, tf.Variable)]

    def save(self, state: dict) -> Path:
        """Writes a checkpoint with the loop's own `state` (JSON). Replaces one of the same step.

        Raises: UserError where the disk is full; older checkpoints stay as they are.
        """
        step = int(self._step.numpy())
        made = Path(tempfile.mkdtemp()) if self._remote else self.folder / f".making-{step:010d}"
        try:
            if not self._remote:
                self.folder.mkdir(parents=True, exist_ok=True)
                remove_tree(made)
                made.mkdir()
            self._checkpoint.write(str(made / "checkpoint"), self._options)
            files = {p.name: [p.stat().st_size, _crc(p)] for p in sorted(made.iterdir())}
            _write(made / "state.json", json.dumps({"step": step, "files": files, "state": state}))
            final = self._upload(made, step) if self._remote else self._rename(made, step)
        except (OSError, tf.errors.OpError) as error:
            remove_tree(made)
            full = getattr(error, "errno", None) == errno.ENOSPC or "space" in str(error)
            raise UserError(f"Cannot save a checkpoint in {self.folder}: {'the disk is full' if full else error}. Free "
                            "some space and run the same command again: it continues from the last checkpoint.") from error
        for old in self.list()[:-self._keep]:
            remove_tree(old)
        return final

    def _rename(self, made: Path, step: int) -> Path:
        final = self.folder / f"step-{step:010d}"
        old = final.with_suffix(".old")
        if final.exists():  # out of the way by a rename: a kill at any point leaves one of the two whole
            remove_tree(old)
            final.rename(old)
        made.rename(final)
        remove_tree(old)
        return final

    def _upload(self, made: Path, step: int) -> Path:
        name = f"step-{step:010d}"
        before = [folder for folder in self.list() if folder.stem == name]
        final = self.folder / f"{name}.{_attempt(before[-1]) + 1 if before else 0}"
        remove_tree(final)  # what a killed run left of it
        copy_tree(made, final, last="state.json")
        for folder in (*before, made):
            remove_tree(folder)
        return final

    def list(self) -> list[Path]:
        """Checkpoint folders, oldest first; one that was being replaced stands before its replacement."""
        if self._remote:
            return sorted((p.parent for p in self.folder.glob("step-*/state.json")), key=lambda p: (p.stem, _attempt(p)))
        return sorted(self.folder.glob("step-*"), key=lambda p: (p.stem, not p.suffix))

    def restore(self, warn: Callable[[str], None]) -> dict | None:
        """Restores the newest whole checkpoint and returns its loop state; None where there is none at all.

        Raises: UserError where checkpoints exist and none is whole: training never silently starts over.
        """
        found = self.list()
        for left in self.folder.glob("step-*" if self._remote else ".making-*"):  # of a run that was killed while it saved
            if left not in found:
                remove_tree(left)
        for folder in reversed(found):
            with local_copy(folder) as here:
                damage = _damage(here)
                if damage is None:
                    try:
                        self._checkpoint.read(str(here / "checkpoint"), self._options).assert_existing_objects_matched()
                        return json.loads((here / "state.json").read_text())["state"]
                    except (tf.errors.OpError, AssertionError, ValueError) as error:
                        damage = str(error).split("\n")[0]
            warn(f"Checkpoint {folder} is damaged ({damage}); trying the one before it.")
        if found:
            raise UserError(f"None of the {len(found)} checkpoints in {self.folder} can be read. To start over, remove that "
                            "folder or choose another --workdir.")
        return None


def read_slots(folder: Path, name: str) -> list[np.ndarray]:
    """What the newest whole checkpoint in a folder has of a list of variables, such as the optimizer's "velocity"; [] for none.

    Raises: UserError where no checkpoint is whole.
    """
    found = sorted((p.parent for p in folder.glob("step-*/state.json")), key=lambda p: p.name)
    for path in reversed(found):
        with local_copy(path) as here:
            if _damage(here) is None:
                reader = tf.train.load_checkpoint(str(here / "checkpoint"))
                keys = (re.fullmatch(rf"{name}/(\d+)/\.ATTRIBUTES/VARIABLE_VALUE", key)
                        for key in reader.get_variable_to_shape_map())
                return [reader.get_tensor(key[0]) for key in sorted(filter(None, keys), key=lambda key: int(key[1]))]
    raise UserError(f"None of the {len(found)} checkpoints in {folder} can be read.")


def _attempt(folder: Path) -> int:
    """step-0000000120.1 -> 1."""
    return int(folder.suffix[1:])


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
