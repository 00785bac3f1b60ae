"""A study: trials in Optuna's storage, of which several processes take the next one, and their folders.

    <study>/study.journal           the storage, where no other is named
    <study>/trials/0007/            a trial: an ordinary work directory, and trial.json, what it is
    <study>/study.json best.py study.html trials.json         see report.py

A process that runs a trial holds a lock in the trial's folder. One that was killed holds none: the next process to look goes on
with its trial.
"""

import contextlib
import dataclasses
import fcntl
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tfft.config import TASKS, Experiment, differences, from_json, to_json
from tfft.config.space import Choice, Real, Space, assign, grid, own_value, plain, stored
from tfft.config.space_checks import text_of
from tfft.errors import UserError
from tfft.files import write_text
from tfft.tuning.samplers import make_pruner, make_sampler

JOURNAL = "study.journal"
STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed",
          TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}


@dataclasses.dataclass(frozen=True)
class Trial:
    """What is known of a trial. values: of the space's settings. evaluations: the metric by the number of its evaluation. own:
    whether it is the config as it is."""

    number: int
    state: str
    values: dict[str, Any]
    metric: float | None
    evaluations: dict[int, float]
    steps: int
    seconds: float
    reason: str
    own: bool

    @property
    def title(self) -> str:
        return f"{self.number}{' (config)' if self.own else ''}"


class JournalLock:
    """Who writes the journal. Optuna's own locks are files, which a process that is killed leaves behind: others then wait for
    half a minute. This one goes with its process, as those of trials do."""

    def __init__(self, path: Path):
        self._path, self._file = path, None

    def acquire(self) -> bool:
        self._file = open(self._path, "a")  # noqa: SIM115 - held until it is released
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        self._file.close()


@dataclasses.dataclass
class Begun:
    """A trial that this process is to run, and what holds its lock."""

    trial: optuna.Trial
    values: dict[str, Any]
    folder: Path
    lock: IO

    @property
    def number(self) -> int:
        return self.trial.number


class Study:
    """Asks Optuna for trials and tells it of them."""

    def __init__(self, folder: Path, experiment: Experiment, space: Space, *, storage: str = "", method: str = "tpe",
                 pruner: str = "asha", seed: int = 0):
        self.folder, self.experiment, self.space = folder, experiment, space
        self.metric = experiment.eval.metric
        self.lower = self.metric.rpartition("/")[2] in TASKS[experiment.task.name].lower_is_better
        self._method, self._seed = method, seed
        folder.mkdir(parents=True, exist_ok=True)
        with self.alone():
            shown = re.sub(r"(://[^:/@]*):[^@/]*@", r"\1@", storage)  # without the password of a database's address
            self._check_storage(shown)
            with told(shown):
                self._optuna = optuna.create_study(
                    storage=storage or journal(folder / JOURNAL), pruner=make_pruner(pruner), study_name=folder.resolve().name,
                    direction="minimize" if self.lower else "maximize", load_if_exists=True)
            self._check()
            write_text(self.folder / "study.json", json.dumps({
                "storage": shown, "metric": self.metric, "lower_is_better": self.lower, "space": text_of(self.space)},
                indent=1) + "\n")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other process asks or writes meanwhile, as far as it sees the same folder."""
        with open(self.folder / ".lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _check_storage(self, shown: str) -> None:
        """Whether the study there has its trials where they are looked for. Raises: UserError."""
        path = self.folder / "study.json"
        if path.exists() and (before := json.loads(path.read_text("utf-8"))["storage"]) != shown:
            raise UserError(f"{self.folder} is a study whose trials are kept in {before or JOURNAL}. Give --storage="
                            f"{before or repr('')}, or another --workdir.")

    def _check(self) -> None:
        """Whether the study there has these settings. Raises: UserError with the differences."""
        before = self._optuna.user_attrs
        if "experiment" not in before:
            self._optuna.set_user_attr("space", text_of(self.space))
            self._optuna.set_user_attr("experiment", to_json(self.experiment))
            self._as_it_is()
            return
        changed = differences(from_json(before["experiment"], "the study's config"), self.experiment)
        old, new = before["space"], text_of(self.space)
        changed += [f"space of {name}: {old.get(name, 'none')} -> {new.get(name, 'none')}" for name in {**old, **new}
                    if old.get(name) != new.get(name)]
        if changed:
            raise UserError(f"{self.folder} holds a study with other settings:\n" + "\n".join(f"  {c}" for c in changed)
                            + "\nTo continue that study, use its settings; to start this one, choose another --workdir.")

    def _as_it_is(self) -> None:
        """The first trial is the config itself, where that is in the space: what others are to beat."""
        try:
            own = assign(self.space, self.experiment, self._own)
        except ValueError as error:
            self.outside = str(error)
            return
        if self._method != "grid":
            self._optuna.enqueue_trial({name: stored(value) for name, value in own.items()}, {"own": True})

    outside = ""  # a setting of the config that its space does not have

    def _own(self, name: str, kind: Any) -> Any:
        value = own_value(self.experiment, name)
        if not kind.has(value):
            raise ValueError(f"{name}={value}")
        return value

    # ---- trials

    def trials(self) -> list[Trial]:
        """All that were begun, by number."""
        return [self._known(one) for one in self._optuna.get_trials(deepcopy=False) if one.state != TrialState.WAITING]

    def known(self, begun: Begun) -> Trial:
        """What is known of a trial by now."""
        return self._known(self._optuna.get_trials(deepcopy=False)[begun.number])

    def best(self) -> list[Trial]:
        """Those that are done, the best first."""
        done = [one for one in self.trials() if one.state == "done"]
        return sorted(done, key=lambda one: one.metric if self.lower else -one.metric)

    def _known(self, one: FrozenTrial) -> Trial:
        known = one.user_attrs
        values = {name: self._value(name, value) for name, value in one.params.items()}
        return Trial(one.number, STATES[one.state], {name: values[name] for name in self.space if name in values}, one.value,
                     dict(one.intermediate_values), known.get("steps", 0), known.get("seconds", 0.0), known.get("reason", ""),
                     known.get("own", False))

    def _value(self, name: str, value: Any) -> Any:
        """Of what the storage has: '["query"]' -> ("query",)."""
        kind = plain(self.space[name])
        return {stored(v): v for v in kind.values}[value] if isinstance(kind, Choice) else value

    def path(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def next(self, more: Any) -> Begun | None:
        """A trial that a killed process left, or a new one where more(trials) says that there may be; None where not."""
        with self.alone():
            for one in self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if self._is_here(one.number) and (lock := self._hold(one.number)):
                    return self._begun(optuna.Trial(self._optuna, one._trial_id), lock)
            begun = self.trials()
            if not more(begun):
                return None
            if self._method == "grid" and not self._enqueue_point():
                return None
            self._optuna.sampler = make_sampler(self._method, self.space, self._seed, len(begun))
            trial = self._optuna.ask()
            self.path(trial.number).mkdir(parents=True, exist_ok=True)
            return self._begun(trial, self._hold(trial.number))

    def _is_here(self, number: int) -> bool:
        """Whether a trial is of this folder: processes that share a database alone have folders of their own. Who asks makes
        the folder while nobody else of it can, so that in a journal's study none is missing but of one killed in between."""
        return self.path(number).exists() or (self.folder / JOURNAL).exists()

    def _hold(self, number: int) -> IO | None:
        """The lock of a trial, kept until it is closed or this process ends; None where another process has it."""
        folder = self.path(number)
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".trial", "a")  # noqa: SIM115 - held as long as the trial
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def _begun(self, trial: optuna.Trial, lock: IO) -> Begun:
        """The values are drawn, or are those that the storage has of an earlier process."""
        return Begun(trial, assign(self.space, self.experiment, lambda name, kind: suggest(trial, name, kind)),
                     self.path(trial.number), lock)

    def _enqueue_point(self) -> bool:
        """The next of a grid's points that nobody has begun; whether there is one."""
        tried = [one.system_attrs.get("fixed_params") for one in self._optuna.get_trials(deepcopy=False)]
        for point in grid(self.space, self.experiment):
            wanted = {name: stored(value) for name, value in point.items()}
            if wanted not in tried:
                self._optuna.enqueue_trial(wanted)
                return True
        return False

    def report(self, begun: Begun, evaluation: int, value: float) -> bool:
        """Keeps the metric of a trial's evaluation; False where a process that was killed had done so."""
        if evaluation in self.known(begun).evaluations:
            return False
        begun.trial.report(value, evaluation)
        return True

    def is_poor(self, begun: Begun) -> bool:
        """Whether the pruner would stop a trial after its last evaluation."""
        return begun.trial.should_prune()

    def note(self, begun: Begun, **known: Any) -> None:
        """Keeps what is known of a trial beside its metric: steps, seconds, reason."""
        for name, value in known.items():
            begun.trial.set_user_attr(name, value)

    def noted(self, begun: Begun, name: str, default: Any) -> Any:
        return begun.trial.user_attrs.get(name, default)

    def tell(self, begun: Begun, state: str, value: float | None = None) -> None:
        """Ends a trial: done with its metric, stopped early, or failed."""
        states = {word: state for state, word in STATES.items()}
        self._optuna.tell(begun.trial, value, state=states[state])
        begun.lock.close()

    def importances(self) -> dict[str, float]:
        """How much of the metric's variance each setting explains, by fANOVA (Hutter et al. 2014); {} where that is unknown."""
        done = [one for one in self.trials() if one.state == "done"]
        if len(done) < 4 or len({one.metric for one in done}) < 2:
            return {}
        try:
            return optuna.importance.get_param_importances(
                self._optuna, evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0))
        except (ValueError, RuntimeError):
            return {}  # no setting that all trials have varies


def journal(path: Path) -> optuna.storages.JournalStorage:
    """A storage in one file, which several processes share."""
    lock = JournalLock(path.with_name(f".{path.name}.lock"))
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path), lock))


def suggest(trial: optuna.Trial, name: str, kind: Any) -> Any:
    """A value that Optuna chooses."""
    if isinstance(kind, Real):
        return trial.suggest_float(name, kind.low, kind.high, log=kind.log)
    if isinstance(kind, Choice):
        values = {stored(value): value for value in kind.values}
        return values[trial.suggest_categorical(name, list(values))]
    return trial.suggest_int(name, kind.low, kind.grid[-1], step=kind.step)


@contextlib.contextmanager
def told(storage: str) -> Iterator[None]:
    """What a database's library raises becomes a user's mistake."""
    try:
        yield
    except Exception as error:
        if not storage:
            raise
        said = (str(error) or repr(error)).splitlines()[0]
        raise UserError(f"--storage={storage} cannot be opened: {said}. Name a database as SQLAlchemy does: "
                        "sqlite:///study.db, postgresql://user:password@host/name, with its driver installed.") from error
