"""Several runs as one, which answers by the mean of what they make of a row: folds, seeds, backbones of one tokenizer."""

from pathlib import Path

import numpy as np

from tfft.assets import cache_folder
from tfft.config import Experiment, differences, fold_runs, is_all_folds
from tfft.errors import UserError
from tfft.models.backbone import tokenizer_fingerprint
from tfft.models.ensemble import Ensemble
from tfft.run.workdir import Run, Workdir, open_run


def open_folds(workdir: Workdir, experiment: Experiment, which: str) -> Run:
    """The runs of all folds in a work directory of a cross-validation, as one. Raises: UserError."""
    names = list(fold_runs(experiment))
    missing = [name for name in names if not any((workdir.path / name / kind).exists() for kind in ("best", "last"))]
    if missing:
        raise UserError(f"{workdir.path} is a cross-validation that has not come to its end: {', '.join(missing[:5])}"
                        f"{' ...' if len(missing) > 5 else ''} of {len(names)} folds {'has' if len(missing) == 1 else 'have'} "
                        f"no weights. Run its train command again, or name one run: --workdir={workdir.path}/{names[0]}")
    return together([open_run(workdir.path / name, which or experiment.export.weights) for name in names], workdir, experiment)


def open_several(paths: list[str], which: str) -> Run:
    """Runs in work directories of their own, as one that stands in the first. Raises: UserError."""
    runs = [open_run(path, which) for path in paths]
    return together(runs, runs[0].workdir, runs[0].experiment)


def together(runs: list[Run], workdir: Workdir, experiment: Experiment) -> Run:
    """Runs as one. What was tuned with their weights (thresholds) is the mean of theirs. Raises: UserError where they do not
    read rows in one way, know other labels, or have no mean."""
    first = runs[0]
    for run in runs[1:]:
        check_alike(first, run)
    tasks = [run.task for run in runs]
    try:
        combine = first.task.averaged(tasks)
    except UserError as error:
        raise UserError(f"{_told([run.workdir.path for run in runs])} cannot be one model: {error}") from error
    model = Ensemble([run.model for run in runs], combine)
    return Run(workdir, experiment, first.task, model, first.tokenizer, max(run.step for run in runs),
               tuned_by(runs), first.which, members=tuple(runs))


def own_rows(run: Run) -> None:
    """Raises: UserError where the members of an ensemble have splits of their own, other than those of a cross-validation."""
    first = run.members[0]
    for member in run.members[1:] if not is_all_folds(run.experiment) else ():
        if changed := [line for line in differences(first.experiment, member.experiment) if line.startswith("data.")]:
            raise UserError(f"{first.workdir.path} and {member.workdir.path} do not split the same rows alike ({changed[0]}): "
                            "what one is judged on another may have been trained on. Name rows that none has seen with --data, "
                            "or all folds by their common folder.")


def rejoined(run: Run, runs: list[Run]) -> Run:
    """An ensemble with other forms of its members."""
    return together(runs, run.workdir, run.experiment)


def check_alike(first: Run, run: Run) -> None:
    """Raises: UserError where runs do not read rows in one way."""
    def of(one: Run) -> dict:
        return {"config.task.name": one.experiment.task.name, "config.data.max_length": one.experiment.data.max_length,
                "the tokenizer": tokenizer_fingerprint(one.tokenizer), "what the model takes": sorted(one.model.input),
                "how texts are cut and encoded": _details(one)}

    for (name, theirs), mine in zip(of(first).items(), of(run).values(), strict=True):
        if theirs != mine:
            told = f"{name} is {theirs} and {mine}" if name.startswith("config") else f"{name} of the one is not the other's"
            raise UserError(f"{_told([first.workdir.path, run.workdir.path])} cannot be one model: {told}.")


def _details(run: Run) -> str:
    reading = run.reading(cache_folder(run.experiment.data.cache))
    return repr((reading.encoder.fields, reading.details))


def tuned_by(runs: list[Run]) -> dict[str, list] | None:
    """The mean of what was tuned with the weights of each, where all have it."""
    tuned = [run.tuned for run in runs]
    if not all(tuned) or any(one.keys() != tuned[0].keys() for one in tuned):
        return None
    return {name: np.mean([one[name] for one in tuned], axis=0).tolist() for name in tuned[0]}


def _told(paths: list[Path]) -> str:
    names = [str(path) for path in paths]
    return " and ".join(names) if len(names) < 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"
