"""The work directory: all that came of one experiment, enough to rebuild its model from there alone.

    config.json backbone.json tokenizer/ plan.json environment.json, and what the task has learnt: labels.json, tags.json, ...
    checkpoints/ best/weights.safetensors last/weights.safetensors tensorboard/ metrics.jsonl train.log calibration.json
    export/<version>/
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tfft import __version__
from tfft.assets import cache_folder, resolve_backbone
from tfft.config import (
    Experiment,
    MultiTask,
    answering,
    any_from_json,
    any_to_json,
    differences,
    differences_of_tasks,
    is_all_folds,
)
from tfft.config.adaptation import MERGED
from tfft.config.multi_task import is_multi_task
from tfft.data.plan import PlanSettings
from tfft.errors import UserError
from tfft.files import Lines, copy_tree, is_remote, local_copy, remove_tree, store_errors, to_path, write_text

ADAPTER, MANIFEST = "adapter.safetensors", "adapter.json"  # in a folder that `tfft export --format=adapter` wrote
PEFT = "adapter_config.json"  # in one that PEFT wrote
PACKAGES = ("tensorflow", "tensorflow-text", "keras", "keras-hub", "tf-models-official", "numpy")


class Workdir:
    """Paths and small files of a work directory. joint: that of the run of several tasks, where this is one task's."""

    def __init__(self, path: str | Path, joint: "Workdir | None" = None):
        self.path = to_path(path)
        self._of_tasks: list[Workdir] = []
        if joint:
            joint._of_tasks.append(self)
        self.config = self.path / "config.json"
        self.checkpoints = (joint or self).path / "checkpoints"
        self._own_checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.metrics = self.path / "metrics.jsonl"
        self._metrics = Lines(self.metrics)
        self._lock = None
        self.plan = self.path / "plan.json"
        self.export = self.path / "export"
        self.calibration = self.path / "calibration.json"

    def weights(self, which: str) -> Path:
        """The file of the 'best' or 'last' weights; an exported adapter has one."""
        adapter = self.path / ADAPTER
        return adapter if adapter.exists() else self.path / which / "weights.safetensors"

    def begin(self, experiment: Experiment | MultiTask) -> bool:
        """Writes config.json, or checks that the run there is the same one. Returns whether it is resumed.

        A run that has saved nothing yet, stopped by a mistake in its config say, gives way to another.
        Raises: UserError with the differences where the work directory holds another experiment.
        """
        remote = is_remote(self.path)
        if set(str(self.path if remote else self.path.absolute())) & set("[]\\"):
            raise UserError(f"--workdir={self.path}: TensorFlow cannot read checkpoints back from a path with [, ] or a "
                            "backslash. Choose another name.")
        try:
            with store_errors():
                self.path.mkdir(parents=True, exist_ok=True)
                if not remote:  # an object store has no locks
                    self._lock = open(self.path / ".lock", "a")  # noqa: SIM115 - held, and released, by the process
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self._begin(experiment)
        except BlockingIOError as error:
            raise UserError(f"Another process is training in {self.path}. Wait for it, stop it, or choose another "
                            "--workdir.") from error
        except OSError as error:
            raise UserError(f"Cannot write in the work directory {self.path}: {error}. Choose another --workdir.") from error

    def _begin(self, experiment: Experiment | MultiTask) -> bool:
        if self.config.exists() and self.started:
            changed = _differences(any_from_json(self.config.read_text(), str(self.config)), experiment)
            if changed:
                raise UserError(f"{self.path} holds a run with other settings:\n" + "\n".join(f"  {c}" for c in changed)
                                + "\nTo continue that run, use its settings; to start this one, choose another --workdir.")
            return True
        if self._folds():
            raise UserError(f"{self.path} holds a cross-validation: go on with it (--folds), or choose another --workdir.")
        if self._own_checkpoints != self.checkpoints and self._own_checkpoints.exists():
            raise UserError(f"{self.path} holds a run of its own. Choose another --workdir for several tasks.")
        if self._own_checkpoints == self.checkpoints and self._of_several():
            raise UserError(f"{self.path} is one task's folder in a run of several. Choose another --workdir; to go on from "
                            f"its weights add --config.model.start={self.path}")
        for which in ("best", "last"):  # of a run whose checkpoints somebody removed
            remove_tree(self.path / which)
        write_text(self.config, any_to_json(experiment))
        return False

    def _folds(self) -> bool:
        """Whether a cross-validation has begun in this folder."""
        if not self.config.exists() or not (self.path / "fold-1" / "config.json").exists():
            return False
        known = any_from_json(self.config.read_text(), str(self.config))
        return isinstance(known, Experiment) and is_all_folds(known)

    def _of_several(self) -> bool:
        """Whether a run of several tasks has this folder, on a disk, for one of them."""
        if is_remote(self.path):
            return False
        try:
            above = json.loads((self.path.parent / "config.json").read_text("utf-8"))
        except (OSError, ValueError):
            return False
        return is_multi_task(above) and self.path.name in above["tasks"]

    def release(self) -> None:
        """Lets another have the work directory, as the end of this process does."""
        for folder in self._of_tasks:
            folder.release()
        if self._lock:
            self._lock.close()

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint."""
        return any(self.checkpoints.glob("step-*/state.json" if is_remote(self.path) else "step-*"))

    def experiment(self) -> Experiment:
        """The run's own experiment. Raises UserError where this is no work directory."""
        try:
            with store_errors():
                found = self.config.exists()
        except OSError as error:
            raise UserError(f"Cannot read the work directory {self.path}: {error}") from error
        if not found and (self.path / PEFT).exists():
            raise UserError(f"{self.path} has an adapter in PEFT's layout, without a head: no run. Start one from it with "
                            f"--config.adaptation.start={self.path}, or export its run with --format=adapter.")
        if not found:
            raise UserError(f"{self.path} is not the workdir of a run: it has no config.json. Train one first: "
                            "tfft train --config=imdb:quick --workdir=...")
        made = any_from_json(self.config.read_text(), str(self.config))
        if isinstance(made, MultiTask):
            raise UserError(f"{self.path} is a run of several tasks, each in a folder of its own. Name one of them: "
                            f"{', '.join(str(self.path / name) for name in made.tasks)}.")
        return made

    def of_tasks(self) -> "list[Workdir]":
        """The work directories of the tasks of a run of several; else itself."""
        try:
            several = json.loads(self.config.read_text("utf-8"))
        except (OSError, ValueError):
            return [self]
        return [Workdir(self.path / name) for name in several["tasks"]] if is_multi_task(several) else [self]

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Adds one line to metrics.jsonl, in an object store not at once."""
        self._metrics.add(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Writes what waits to be."""
        self._metrics.flush()

    def points(self) -> list[dict[str, Any]]:
        """The whole lines of metrics.jsonl; [] where there is none yet."""
        try:
            lines = self.metrics.read_text("utf-8").splitlines()
        except OSError:
            return []
        made = []
        for line in lines:
            with contextlib.suppress(ValueError):  # half a line, from a kill in the middle of it, or one that is being written
                made.append(json.loads(line))
        return made

    def forget_after(self, step: int, evaluated: int) -> None:
        """Drops lines of metrics.jsonl beyond a step, and evaluations beyond another: a resumed run writes them again."""
        if self.metrics.exists():
            lines = self.metrics.read_text("utf-8").splitlines(keepends=True)
            kept = [line for line in lines if _step(line) <= (evaluated if '"kind": "validation"' in line else step)]
            if len(kept) < len(lines):
                write_text(self.metrics, "".join(kept))

    def check_data(self, stores: dict[str, str]) -> None:
        """Refuses to continue a run on other data than it began with: the plan, and so the result, would be another.

        `stores` are the token stores' fingerprints by split. Raises: UserError naming the splits that changed.
        """
        try:
            before = json.loads((self.path / "environment.json").read_text())["stores"]
        except (OSError, ValueError, KeyError):
            return  # not begun, or begun and killed before its first step
        changed = [name for name in {**before, **stores} if before.get(name) != stores.get(name)]
        if changed and self.started:
            raise UserError(f"The {' and '.join(changed)} rows are not those this run began with: a file, the tokenizer or a "
                            f"library that reads them has changed since. Restore them to continue {self.path}, or start in "
                            "another --workdir.")

    def recorded_plan(self) -> PlanSettings | None:
        """How the run that is resumed here plans its epochs; None where none has begun."""
        try:
            return PlanSettings.from_json(self.plan.read_text()) if self.started else None
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.plan} is damaged ({error}). Restore it, or start in another --workdir.") from error

    def record_plan(self, settings: PlanSettings) -> None:
        """Keeps how the run plans, for a session on other devices that would choose otherwise."""
        write_text(self.plan, settings.to_json() + "\n")

    def write_environment(self, details: dict[str, Any]) -> None:
        """Writes environment.json: versions, machine, git commit, and `details`."""
        write_text(self.path / "environment.json", json.dumps({
            "tfft": __version__, "python": platform.python_version(), "packages": versions(PACKAGES),
            "git_commit": _git_commit(), "machine": platform.platform(), "cpus": os.cpu_count(), **details}, indent=1) + "\n")


def _differences(old: Experiment | MultiTask, new: Experiment | MultiTask) -> list[str]:
    """Lines 'train.epochs: 3 -> 2' for what differs."""
    if type(old) is not type(new):
        return ["a run of several tasks, or of one"]
    return differences_of_tasks(old, new) if isinstance(old, MultiTask) else differences(old, new)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Those of the packages that are installed."""
    made = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            made[name] = metadata.version(name)
    return made


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # half a line, from a kill in the middle of it


def _git_commit() -> str | None:
    if not shutil.which("git"):
        return None
    answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return answer.stdout.strip() or None if answer.returncode == 0 else None


@dataclasses.dataclass
class Run:
    """A trained run, opened to be used."""

    workdir: Workdir
    experiment: Experiment
    task: Any
    model: Any
    tokenizer: Any
    step: int
    tuned: dict[str, list] | None  # what the task chose on the validation rows, with these weights
    which: str = "best"  # or "last": which weights these are
    backbone: Any = None  # the part of the model that was pretrained
    members: "tuple[Run, ...]" = ()  # of which this is the mean, see tfft.run.ensemble

    @property
    def told(self) -> str:
        """Which weights these are, for a person."""
        return f"the mean of {len(self.members)} runs" if self.members else f"weights of step {self.step:,}"

    def fingerprint(self) -> str:
        """A hash of the file that the weights are in."""
        if self.members:
            return hashlib.blake2b(repr([run.fingerprint() for run in self.members]).encode(), digest_size=16).hexdigest()
        with local_copy(self.workdir.weights(self.which)) as path, open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]

    def reading(self, cache: Path):
        """How the task reads rows, with the run's own tokenizer."""
        from tfft.models.backbone import tokenizer_fingerprint

        return self.task.readings(self.experiment, self.tokenizer, tokenizer_fingerprint(self.tokenizer), cache)


def save_parts(workdir: Workdir, tokenizer, backbone_description: str, learnt) -> None:
    """Writes what the model is rebuilt from."""
    from tfft.models.backbone import save_tokenizer

    learnt.save(workdir.path)
    write_text(workdir.path / "backbone.json", backbone_description)
    final = workdir.path / "tokenizer"
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(tokenizer, Path(folder) / "tokenizer")
        remove_tree(final)
        copy_tree(Path(folder) / "tokenizer", final, last="tokenizer.json")


def asked_with(run: Run, given: list[str]) -> Run:
    """The run, whose task answers with other settings: ["temperature=0.7"]. Raises: UserError."""
    if not given:
        return run
    experiment = answering(run.experiment, given)
    return dataclasses.replace(run, experiment=experiment, task=type(run.task)(experiment.task, run.task.learnt))


def merged(run: Run) -> Run:
    """The run with what was learnt beside the backbone's matrices in these themselves, where that is possible: the same answers
    with less work. The run itself where there is nothing of the kind; it stays as it is."""
    from tfft.models.adaptation import sections
    from tfft.models.adapters import merge

    if run.members:
        from tfft.run.ensemble import rejoined

        return rejoined(run, [merged(member) for member in run.members])
    if run.experiment.adaptation.method not in MERGED:
        return run
    made = open_run(run.workdir.path, run.which)
    merge(sections(made.backbone)[1])
    return made


def open_run(path: str | Path, which: str = "", others: Sequence[str] = ()) -> Run:
    """Rebuilds a run's model with its 'best' or 'last' weights ('' is what config.export.weights says), in float32 whatever
    it was trained in: the weights are, and evaluation, prediction and export then agree on any device. With others, or where
    the folder is a cross-validation's, all of them as one, see tfft.run.ensemble.

    Raises: UserError where the work directory is not a run's or has no such weights yet.
    """
    from tfft.models.adaptation import choose_trained
    from tfft.models.backbone import open_tokenizer, rebuild
    from tfft.run.adapter_files import load_frozen
    from tfft.tasks.table import TASKS
    from tfft.training.weights import load_weights

    if others:
        from tfft.run.ensemble import open_several

        return open_several([path, *others], which)
    workdir = Workdir(path)
    experiment = workdir.experiment()
    if is_all_folds(experiment):
        from tfft.run.ensemble import open_folds

        return open_folds(workdir, experiment, which)
    kind = TASKS[experiment.task.name]
    task = kind(experiment.task, kind.load(workdir.path))
    try:
        description = (workdir.path / "backbone.json").read_text()
        json.loads(description)
    except (OSError, ValueError) as error:
        raise UserError(f"{workdir.path} is not complete (backbone.json: {error}). Run its train command again.") from error
    backbone = rebuild(description, "float32")
    backbone = choose_trained(backbone, experiment.model, experiment.adaptation, experiment.train.seed)
    model = task.build_model(backbone, experiment.model, seed=0)
    chosen = which or experiment.export.weights
    if chosen == "best" and not workdir.weights("best").exists():
        chosen = "last"  # a run without validation rows has no best
    if not which and not workdir.weights(chosen).exists() and workdir.weights("best").exists():
        chosen = "best"  # of a run that has not come to its end
    path = workdir.weights(chosen)
    if path.name == ADAPTER:
        preset = resolve_backbone(experiment.model.backbone, cache_folder(experiment.data.cache))
        pretrained = task.load_backbone(preset, precision="float32", dropout=-1, seed=experiment.train.seed)
        load_frozen(workdir.path, backbone, model, pretrained)
    saved = load_weights(path, model.trainable_variables if path.name == ADAPTER else model.variables)
    with local_copy(workdir.path / "tokenizer") as folder:
        tokenizer = open_tokenizer(folder)
    return Run(workdir, experiment, task, model, tokenizer, int(saved.get("step", 0)),
               json.loads(saved.get("tuned", "null")), chosen, backbone)
