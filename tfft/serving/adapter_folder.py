"""Writes what a run has learnt beside its frozen backbone: a small folder that is a work directory for all that comes after
training, or that PEFT reads."""

import contextlib
import dataclasses
import json
import shlex
from pathlib import Path

import tensorflow as tf

from tfft import __version__
from tfft.errors import UserError
from tfft.files import to_path
from tfft.models.adaptation import frozen_weights, trained_weights
from tfft.models.peft import write_peft
from tfft.run.workdir import ADAPTER, MANIFEST, Run, Workdir, open_run, save_parts
from tfft.serving.backbone_folder import published
from tfft.training.summaries import Console
from tfft.training.weights import fingerprint, save_weights

COPIED = ("config.json", "environment.json", "calibration.json")


def export_adapter(path: str, output: str, weights: str, layout: str) -> int:
    """Writes the trained weights of a run. layout: 'adapter' (the head and all the run has learnt too) or 'peft'; output: '' is
    <workdir>/adapter. Raises: UserError where the run has trained all of its weights, or it cannot be written."""
    with contextlib.suppress(RuntimeError):  # the devices of this process are in use already
        tf.config.set_visible_devices([], "GPU")
    run, console = open_run(path, weights), Console()
    method = run.experiment.adaptation.method
    if method == "none":
        raise UserError(f"{path} was trained without config.adaptation.method: all of its weights are its own, so there is no "
                        "adapter to write. Export the model, or its backbone with --format=backbone.")
    final = to_path(output) if output else run.workdir.path / layout
    with published(final, "adapter") as folder:
        console.say(f"writing the adapter of step {run.step:,}")
        if layout == "peft":
            write_peft(run.backbone, run.experiment, folder)
        else:
            _write(run, folder)
        size = sum(file.stat().st_size for file in folder.rglob("*"))
    weights = f"{trained_weights(run.backbone if layout == 'peft' else run.model):,} weights"
    print(f"wrote the adapter of step {run.step:,} ({method}, {weights}, {size / 1e6:.1f} MB) to {final}")
    if (layout, method) != ("peft", "adalora"):  # whose ranks differ there
        print(f"to start from it: --config.adaptation.method={method} --config.adaptation.start={shlex.quote(str(final))}")
    if layout == "adapter":
        print(f"to use it as a run: tfft predict --workdir={shlex.quote(str(final))}")
    return 0


def _write(run: Run, folder: Path) -> None:
    """The work directory of the run, with what it has trained in place of all weights."""
    made = Workdir(folder)
    description = (run.workdir.path / "backbone.json").read_text()
    save_parts(made, run.tokenizer, description, run.task.learnt)
    for name in COPIED:
        if (run.workdir.path / name).exists():
            (folder / name).write_text((run.workdir.path / name).read_text(), "utf-8")
    save_weights(folder / ADAPTER, run.model.trainable_variables, {"step": str(run.step), "tuned": json.dumps(run.tuned)})
    stated = {"tfft": __version__, "adaptation": dataclasses.asdict(run.experiment.adaptation),
              "backbone": run.experiment.model.backbone, "frozen": fingerprint(frozen_weights(run.backbone, run.model))}
    (folder / MANIFEST).write_text(json.dumps(stated, indent=1) + "\n", "utf-8")
