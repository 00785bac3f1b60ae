"""Folders of adapters: tfft's own, whose backbone is checked and loaded from where it was, and what a run can start from."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from tfft.config import Adaptation
from tfft.config.adaptation import SHARED
from tfft.errors import UserError
from tfft.files import to_path
from tfft.models.adaptation import frozen_weights
from tfft.models.peft import read_peft
from tfft.run.workdir import ADAPTER, MANIFEST, Workdir
from tfft.training.weights import fingerprint, load_weights


def load_frozen(folder: Path, backbone, model, pretrained) -> None:
    """Gives an adapted backbone the weights of the pretrained one. Raises: UserError where these are others than those that
    the adapter in the folder was trained beside."""
    given = {v.path: v for v in pretrained.variables}
    for variable in frozen_weights(backbone, model):
        if variable.path in given and given[variable.path].shape == variable.shape:
            variable.assign(given[variable.path])
    _check(folder, backbone, model)


def start_from(backbone, model, config: Adaptation, frozen_layers: int) -> str:
    """Gives an adapted backbone what another run has learnt beside the same one; returns what there is to say of it.
    frozen_layers: the lowest ones, which have no adapter.

    Raises: UserError where there is no adapter, or one of another kind.
    """
    folder = to_path(config.start)
    if (folder / MANIFEST).exists():
        stated = {**dataclasses.asdict(Adaptation()), **_manifest(folder)["adaptation"]}  # it may be older than a setting
        other = [f"--config.adaptation.{name}={stated[name]}" for name in SHARED
                 if json.dumps(stated[name]) != json.dumps(getattr(config, name))]
        before = Workdir(folder).experiment().model.frozen_layers
        if before != frozen_layers and config.method != "prompt":  # which is beneath all layers
            other.append(f"--config.model.frozen_layers={before}")
        if other:
            raise UserError(f"config.adaptation.start={folder} was made with other settings. Train with {' '.join(other)}")
        _check(folder, backbone, model)
        load_weights(folder / ADAPTER, backbone.trainable_variables, partly=True)
        return f"starts from the adapter in {folder}, with a head of its own"
    aside = read_peft(backbone, config, folder)
    told = f"; {aside} tensors of other parts are left aside" if aside else ""
    return f"starts from PEFT's adapter in {folder}, with a head of its own{told}"


def check_shared(first, other, name: str, path: str) -> None:
    """Raises: UserError where two runs have not the same frozen weights; what one of them trains is left aside."""
    for run, where in ((first, str(first.workdir.path)), (other, path)):
        if run.experiment.adaptation.method == "none":
            raise UserError(f"--adapters: {where} was trained without config.adaptation.method, so its backbone is its own. "
                            "Several adapters share one that none of them has changed.")
    ours = {v.path: v.numpy() for v in frozen_weights(first.backbone, first.model)}
    theirs = {v.path: v.numpy() for v in frozen_weights(other.backbone, other.model)}
    if not all(np.array_equal(ours[path], theirs[path]) for path in ours.keys() & theirs.keys()):
        raise UserError(f"--adapters={name}={path}: it was trained beside other weights of the backbone "
                        f"({other.experiment.model.backbone}) than {first.workdir.path} ({first.experiment.model.backbone}).")


def _check(folder: Path, backbone, model) -> None:
    stated = _manifest(folder)
    if fingerprint(frozen_weights(backbone, model)) != stated["frozen"]:
        raise UserError(f"The adapter in {folder} was trained beside other weights of the backbone, those that "
                        f"{stated['backbone']} had then. Bring back that model, or train the adapter again.")


def _manifest(folder: Path) -> dict:
    try:
        stated = json.loads((folder / MANIFEST).read_text())
        if isinstance(stated["adaptation"], dict) and stated["frozen"] and stated["backbone"]:
            return stated
        raise ValueError("it has not all that belongs there")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / MANIFEST} is damaged ({error}). Export the adapter again: tfft export "
                        "--format=adapter.") from error
