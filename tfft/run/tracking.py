"""What a run tells of itself elsewhere (config.track), beside TensorBoard and metrics.jsonl. Another tracker is a class more
and a line in TRACKERS."""

import dataclasses
import importlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tfft.errors import UserError
from tfft.files import is_remote, to_path, write_text

SECONDS = 60  # that a tracker is waited for at the beginning, and at the end


class Started(NamedTuple):
    """What a tracker is told first. id: the same whenever the run is resumed; folder: for its own files; settings: of the
    config, nested."""

    id: str
    name: str
    folder: Path
    settings: dict[str, Any]


class Tracker(Protocol):
    """Takes the run's numbers. Whatever it raises stops nothing; see Tracking."""

    def start(self, run: Started) -> None: ...

    def log(self, step: int, values: dict[str, float]) -> None: ...

    def finish(self, summary: dict[str, float], whole: bool) -> None: ...


class Wandb:
    """Weights & Biases: wandb.init, log, finish. What its own environment variables say holds: WANDB_MODE=offline writes to the
    work directory, for `wandb sync` later; WANDB_PROJECT and WANDB_ENTITY name the place."""

    def __init__(self):
        self._wandb = importlib.import_module("wandb")
        self._run = None

    def start(self, run: Started) -> None:
        settings = self._wandb.Settings(console="off", init_timeout=SECONDS, login_timeout=SECONDS, finish_timeout=SECONDS,
                                        save_code=False)
        run.folder.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(id=run.id, name=run.name, dir=str(run.folder), config=run.settings, resume="allow",
                                     settings=settings)

    def log(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def finish(self, summary: dict[str, float], whole: bool) -> None:
        self._run.summary.update(summary)
        self._run.finish(exit_code=0 if whole else 1)


TRACKERS: dict[str, Callable[[], Tracker]] = {"wandb": Wandb}


def check_tracker(name: str) -> None:
    """Raises: UserError where a tracker's library is not there, or cannot be imported."""
    if name == "none":
        return
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever a library raises that is there and does not work
        raise UserError(f"config.track={name}: the package {name} cannot be imported ({error}). Install it, as in pip install "
                        f"\"tfft[{name}]\", or set --config.track=none") from error


class Tracking:
    """A tracker that stops no run: what it raises is told once, and it is asked no more. chief: of several hosts one tells."""

    def __init__(self, name: str, folder: Path, say: Callable[[str], None], chief: bool):
        self._name, self._folder, self._say = name, folder, say
        self._tracker = TRACKERS[name]() if chief and name != "none" else None

    def start(self, name: str, experiment: Any) -> None:
        """Begins, or goes on with the run that the work directory knows."""
        if self._tracker is None:
            return
        folder = self._folder if not is_remote(self._folder) else Path("wandb-runs")
        run = Started(self._id(), name, folder, dataclasses.asdict(experiment))
        self._guarded(lambda tracker: tracker.start(run))

    def log(self, kind: str, step: int, values: dict[str, float]) -> None:
        """kind: train or validation, which stands before the names."""
        self._guarded(lambda tracker: tracker.log(step, {f"{kind}/{name}": value for name, value in values.items()}))

    def finish(self, summary: dict[str, float], whole: bool) -> None:
        """whole: the run came to its end."""
        self._guarded(lambda tracker: tracker.finish(summary, whole))
        self._tracker = None

    def _guarded(self, call: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            call(self._tracker)
        except Exception as error:  # a lost connection, a full disk, a wrong key: the run goes on
            self._tracker = None
            why = str(error).strip().splitlines() or [type(error).__name__]
            self._say(f"warning: config.track={self._name} failed ({why[0][:200]}): nothing more is told there. TensorBoard "
                      "and metrics.jsonl have everything.")

    def _id(self) -> str:
        """That of the run, which track.json in the work directory keeps."""
        path = to_path(self._folder) / "track.json"
        try:
            return json.loads(path.read_text())[self._name]
        except (OSError, ValueError, KeyError, TypeError):
            made = uuid.uuid4().hex[:12]
            write_text(path, json.dumps({self._name: made}) + "\n")
            return made
