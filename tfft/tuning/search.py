"""A search: one trial after another, until the budget is spent."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

from tfft.config import Experiment, resolve, to_json
from tfft.config.space import with_settings
from tfft.errors import UserError
from tfft.files import remove_tree
from tfft.tuning.follow import Stop, metric_of, reason_of, watch
from tfft.tuning.report import publish, shown, summary
from tfft.tuning.study import Begun, Study, Trial
from tfft.tuning.trial import describe

WEIGHTS = ("checkpoints", "best", "last")  # what a trial's work directory is large by


@dataclasses.dataclass(frozen=True)
class Budget:
    """When no further trial begins; 0: without this limit. One that runs is finished. minutes: since this command began."""

    trials: int = 0
    minutes: float = 0.0
    steps: int = 0  # of all trials together

    def more(self, begin: float) -> Callable[[list[Trial]], bool]:
        def check(trials: list[Trial]) -> bool:
            return not ((self.trials and len(trials) >= self.trials)
                        or (self.minutes and time.monotonic() - begin >= 60 * self.minutes)
                        or (self.steps and sum(trial.steps for trial in trials) >= self.steps))
        return check


class Search:
    """values: the config's nested values, before anything is filled in. keep: how many trials keep their
    weights. failures: after so many failed trials in a row it ends."""

    def __init__(self, study: Study, values: dict, budget: Budget, keep: int = 3, failures: int = 3,
                 say: Callable[[str], None] = print):
        self._study, self._values, self._budget = study, values, budget
        self._keep, self._failures, self._say = keep, failures, say

    def run(self) -> int:
        """Searches; returns the exit code (128 + signal where one stopped it). Raises: UserError after failures in a row."""
        more, failed = self._budget.more(time.monotonic()), 0
        with Stop() as stop:
            while not stop.number and (begun := self._study.next(more)):
                failed = 0 if self._try(begun, stop) else failed + 1
                if stop.number:
                    begun.lock.close()
                    self._say(f"stopped; the same command goes on with trial {begun.number}.")
                    break
                self.tidy()
                if failed == self._failures:
                    last = self._study.known(begun)
                    raise UserError(f"{failed} trials in a row failed, the last one, {begun.number}, so: {last.reason} Mend "
                                    "that (the space, the data, the machine), and the same command goes on.")
        self.tidy()
        self._say(summary(self._study))
        return 128 + stop.number if stop.number else 0

    def tidy(self) -> None:
        """Writes the study's files, and deletes the weights of trials that are neither among the best nor the config itself."""
        with self._study.alone():
            kept = {trial.number for trial in self._study.best()[:self._keep]}
            for trial in self._study.trials():
                if trial.state != "running" and trial.number not in kept and not (trial.own and trial.state == "done"):
                    for name in WEIGHTS:
                        remove_tree(self._study.path(trial.number) / name)
            publish(self._study, self._experiment)

    def _experiment(self, trial: Trial) -> Experiment:
        return self._of(trial.values, trial.number)

    def _of(self, chosen: dict[str, Any], number: int) -> Experiment:
        """The experiment of a trial. Raises: UserError where its settings do not fit together."""
        made = resolve(with_settings(self._values, chosen))
        return dataclasses.replace(made, name=f"{made.name}_{number:04d}")

    def _try(self, begun: Begun, stop: Stop) -> bool:
        """Runs a trial, or what is left of it; whether it came to an end that is none of a failure."""
        study = self._study
        values = "  ".join(f"{name.rpartition('.')[2]}={shown(value)}" for name, value in begun.values.items())
        resumed = (begun.folder / "checkpoints").exists()
        self._say(f"trial {begun.number}{' goes on' if resumed else ''}: {values}")
        if study.noted(begun, "poor", False):  # told to stop by a process that was killed
            return self._end(begun, "stopped early")
        try:
            experiment = self._of(begun.values, begun.number)
        except UserError as error:
            return self._end(begun, "failed", reason=str(error))
        judged = dataclasses.replace(experiment, eval=dataclasses.replace(experiment.eval, baseline=False))  # once is enough
        describe(begun.folder, to_json(judged), begun.values)
        for again in (False, True):
            watched = watch(begun.folder, stop, lambda *told: self._judged(begun, *told))
            seconds = study.noted(begun, "seconds", 0.0) + watched.seconds
            study.note(begun, steps=watched.steps, seconds=round(seconds, 1))
            if stop.number:
                return True
            if watched.poor and watched.code != 0:
                return self._end(begun, "stopped early")
            if watched.code == 0:
                return self._finish(begun, metric_of(watched.evaluations, study.metric, study.lower, experiment.export.weights))
            killed = watched.code < 0 or watched.code > 128
            if not killed or again:
                return self._end(begun, "failed", reason=reason_of(begun.folder, watched.code))
            self._say(f"trial {begun.number}: {reason_of(begun.folder, watched.code)}; it goes on from its last checkpoint")
        return False

    def _judged(self, begun: Begun, number: int, line: dict[str, Any], ending: bool) -> bool:
        """After an evaluation: whether the trial is to be stopped."""
        value = line.get(self._study.metric, math.nan)
        if not math.isfinite(value) or not self._study.report(begun, number, value):
            return False
        self._say(f"trial {begun.number}: evaluation {number}, step {line['step']:,}: {self._study.metric} {value:.4f}")
        poor = not ending and self._study.is_poor(begun)
        if poor:
            self._study.note(begun, poor=True)
        return poor

    def _finish(self, begun: Begun, value: float | None) -> bool:
        if value is None:
            return self._end(begun, "failed", reason=f"its {self._study.metric} is no number")
        return self._end(begun, "done", value)

    def _end(self, begun: Begun, state: str, value: float | None = None, reason: str = "") -> bool:
        if reason:
            self._study.note(begun, reason=reason)
        self._study.tell(begun, state, value)
        trial = self._study.known(begun)
        best = self._study.best()[:1]
        ending = f"{self._study.metric} {value:.4f}" if value is not None else reason
        self._say(f"trial {begun.number}: {state}{f': {ending}' if ending else ''} "
                  f"({trial.steps:,} steps, {trial.seconds:.0f} s)"
                  + (f"; best is trial {best[0].number}: {best[0].metric:.4f}" if best else ""))
        return state != "failed"

