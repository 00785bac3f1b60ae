"""Exports a run: a version folder that TensorFlow Serving takes as it is, proven before it gets its name."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.prepare import Split
from tfft.errors import UserError
from tfft.files import copy_tree, is_remote, remove_tree, store_errors, to_path
from tfft.run.adapter_files import check_shared
from tfft.run.judge import own_splits
from tfft.run.workdir import Run, merged, open_run
from tfft.serving.card import write_card
from tfft.serving.prove import prove
from tfft.serving.saved_model import ServedModel
from tfft.serving.schema import write_page, write_schema
from tfft.serving.server.version import PAGE
from tfft.serving.warm_up import batch_sizes, write_batching, write_warm_up
from tfft.training.summaries import Console


def export(path: str, output: str, weights: str, dtype: str = "float32", calibrated: bool = False,
           adapters: dict[str, str] | None = None, unmerged: bool = False, others: Sequence[str] = ()) -> int:
    """Writes the next integer version folder, whole or not at all, and proves it in a process of its own.

    weights: 'best', 'last' or '' for what the config says; dtype: what they are kept in. adapters: other runs over the same
    frozen backbone, by the names of the signatures that answer as they do. unmerged: the backbone's weights as they were, so
    that the local server has them in memory once for all exports over them; with adapters it is always so. others: runs that
    answer together with the first.
    Computes on the CPU: a GPU's memory would not do for two processes, nor its products for the comparison.
    Raises: UserError where it cannot be written, or answers otherwise than the trained model.
    """
    with contextlib.suppress(RuntimeError):  # the devices of this process are in use already
        tf.config.set_visible_devices([], "GPU")
    console = Console()
    run = open_run(path, weights, others)
    calibration = read_calibration(run) if calibrated else None
    folder = to_path(output) if output else run.workdir.export
    name = folder.name if output else run.experiment.name
    made = Path(tempfile.mkdtemp()) if is_remote(folder) else folder / f".making-{os.getpid()}"
    try:
        with store_errors():
            folder.mkdir(parents=True, exist_ok=True)
        lengths, held_out = _rows(run, console)
        console.say("writing the SavedModel")
        served, beside = _served(run, dtype, calibration, adapters or {}, unmerged)
        served.save(made)
        console.say(f"comparing its answers with the trained model's, on {len(held_out)} held-out texts and nasty ones")
        proof = prove(run, made, dtype, calibration, held_out)
        for signature, other in beside.items():
            own = prove(other, made, dtype, None, _rows(other, console)[1], signature)
            proof = dataclasses.replace(proof, rows=proof.rows + own.rows, batches=proof.batches + own.batches,
                                        largest=max(proof.largest, own.largest), tolerance=max(proof.tolerance, own.tolerance))
        sizes = batch_sizes(lengths)
        requests = write_warm_up(made, name, served, run.task, sizes)
        write_batching(made, sizes, lengths)
        write_schema(made, served)
        write_page(made, run.task, served.fields)
        for extra, text in run.task.extra_assets(served.encoder).items():
            (made / PAGE).with_name(extra).write_text(text, "utf-8")
        write_card(made, run, name, dtype, calibration, proof)
        final = publish(made, folder)
    except OSError as error:
        raise UserError(f"Cannot write the export in {folder}: {error}.") from error
    finally:
        remove_tree(made)
    print(f"exported the {run.told.removeprefix('the ')} to {final}")
    print(f"proven on {proof.rows} texts in {proof.batches} batches: largest difference {proof.largest:.1e}, allowed "
          f"{proof.tolerance:.1e}; {requests} warm-up requests; batches of up to {sizes[-1]}")
    for signature, function in served.signatures.items():
        shown = ", ".join(f"{key} {spec.dtype.name}{spec.shape}" for key, spec in sorted(function.structured_outputs.items()))
        print(f"  {signature}: {shown}")
    return 0


def _served(run: Run, dtype: str, calibration: Any, adapters: dict[str, str],
            unmerged: bool) -> tuple[ServedModel, dict[str, Run]]:
    """(what is exported, the runs of other signatures by these). Raises: UserError where they have no backbone in common."""
    if not adapters:
        return ServedModel(run if unmerged else merged(run), dtype, calibration), {}
    served, others = ServedModel(run, dtype, calibration), {}
    for name, path in adapters.items():
        other = open_run(path)
        check_shared(run, other, name, path)
        if name in served.signatures:
            raise UserError(f"--adapters={name}={path}: {name} is a signature of {run.workdir.path} already. Give it another "
                            "name.")
        others[name] = other
        served.others[name] = ServedModel(other, dtype, None, beside=served)
    return served, others


def publish(made: Path, folder: Path) -> Path:
    """Gives a finished export the next version number; two that finish at once get two."""
    while True:
        with store_errors():
            version = max((int(p.name) for p in folder.iterdir() if p.name.isdigit()), default=0) + 1
        final = folder / str(version)
        if is_remote(folder):
            copy_tree(made, final, last="saved_model.pb")  # without it a server takes the folder for none
            return final
        try:
            made.rename(final)  # fails where the folder exists and is not empty
            return final
        except FileExistsError:
            continue
        except OSError:
            if not final.exists():
                raise


def read_calibration(run: Run) -> Any:
    """What was fitted for these very weights. Raises: UserError where nothing was."""
    command = f"python -m tfft.calibrate --workdir={run.workdir.path}"
    try:
        found = run.task.read_calibration(run.workdir.calibration.read_text(), str(run.workdir.calibration))
    except FileNotFoundError as error:
        raise UserError(f"--calibrated: this run was not calibrated yet: {command}") from error
    if found.step != run.step:
        raise UserError(f"--calibrated: the calibration is of the weights of step {found.step:,}, these are of step "
                        f"{run.step:,}. Run again: {command}")
    return found


def _rows(run: Run, console: Console) -> tuple[np.ndarray, list[dict[str, str]]]:
    """(tokens of each training text, some held-out texts); without held-out ones where the data cannot be read any more."""
    try:
        splits = own_splits(run, lambda text: None)
    except UserError as error:
        console.say(f"warning: the run's rows cannot be read ({error}); the export is proven without held-out texts, and its "
                    "batches are planned for texts of max_length")
        return np.full(1, run.experiment.data.max_length), []
    held_out = splits.get("test") or splits.get("validation")
    train = splits["train"]
    return run.task.request_tokens(train.store, train.rows), _sample(held_out, run.task.held_out) if held_out else []


def _sample(split: Split, number: int) -> list[dict[str, str]]:
    rows = np.random.default_rng(0).permutation(split.rows)[:number]
    return [dict(zip(split.store.fields, split.store.texts(row), strict=True)) for row in rows]
