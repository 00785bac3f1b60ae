"""What a study leaves to be read: a table on the terminal, trials.json, best.py, study.html."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from tfft.config import Experiment
from tfft.files import write_text
from tfft.tuning.page import page
from tfft.tuning.study import Study, Trial
from tfft.tuning.written import config_file

SHOWN = 15  # rows of the table on the terminal


def publish(study: Study, experiment_of: Callable[[Trial], Experiment]) -> None:
    """Writes the files of the study as it stands."""
    trials = study.trials()
    best = study.best()
    write_text(study.folder / "trials.json", json.dumps({
        "metric": study.metric, "lower_is_better": study.lower, "best": best[0].number if best else None,
        "trials": [dataclasses.asdict(trial) for trial in trials]}, indent=1) + "\n")
    if best:
        path = study.folder / "best.py"
        about = (f"Trial {best[0].number} of {study.folder}, the best of {len(trials)}: validation {study.metric} "
                 f"{best[0].metric:.4f}.")
        experiment = dataclasses.replace(experiment_of(best[0]), name=f"{study.experiment.name}_best")
        write_text(path, config_file(experiment, best[0].values, about, str(path)))
    write_text(study.folder / "study.html", page(study, trials, study.importances()))


def summary(study: Study) -> str:
    """The end of a search, for the terminal: the best first."""
    trials, best = study.trials(), study.best()
    rows = best + sorted((trial for trial in trials if trial.state != "done"), key=lambda trial: trial.number)
    lines = [table(study, rows[:SHOWN])]
    if len(rows) > SHOWN:
        lines.append(f"  ... and {len(rows) - SHOWN} more: {study.folder / 'study.html'}")
    if importances := study.importances():
        lines.append("share of the metric's variance (fANOVA): " + "  ".join(
            f"{name} {share:.0%}" for name, share in importances.items()))
    if best:
        folder = study.path(best[0].number)
        lines += ["next:", f"  tfft evaluate --workdir={folder}      the best trial on test rows: the {study.metric} above "
                  "chose it, and flatters it", f"  tfft train --config={study.folder / 'best.py'} --workdir=runs/best",
                  f"  {study.folder / 'study.html'} in a browser; tensorboard --logdir={study.folder / 'trials'}"]
    return "\n".join(lines)


def table(study: Study, trials: list[Trial]) -> str:
    """Trials as aligned columns; a failed one's reason at the end of its row."""
    names = list(study.space)
    header = ["trial", "state", study.metric, *(name.rpartition(".")[2] for name in names), "steps", "seconds"]
    rows = [[trial.title, trial.state, "" if trial.metric is None else f"{trial.metric:.4f}",
             *(shown(trial.values.get(name)) for name in names), f"{trial.steps:,}", f"{trial.seconds:.0f}"]
            for trial in trials]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    ends = ["", *(f"  {trial.reason[:100]}" if trial.reason else "" for trial in trials)]
    return "\n".join("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + end
                     for row, end in zip([header, *rows], ends, strict=True))


def shown(value: Any) -> str:
    """A value in a table: 0.000123456 -> '0.000123'; none where the setting did not count."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
