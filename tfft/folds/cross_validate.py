"""Cross-validation: a run of each fold in a work directory of its own, one after another.

    runs/cv/config.json cv.json out_of_fold.csv
    runs/cv/fold-1/...         an ordinary run, with fold.json: how it was judged, and out_of_fold.jsonl: what it answered
"""

import dataclasses
import json
from pathlib import Path

from tfft.config import Experiment, differences, fold_runs, from_json, to_json
from tfft.errors import UserError
from tfft.files import is_remote, store_errors, to_path, write_text
from tfft.folds import summary
from tfft.run.fine_tune import fine_tune
from tfft.run.leaks import without_leaks
from tfft.run.workdir import Workdir
from tfft.training.cluster import find_cluster

RESULT = "fold.json"


@dataclasses.dataclass(frozen=True)
class Fold:
    """How the run of a fold did on the rows that it held out. split: what it calls them; weights: best or last; tuned: whether
    something besides (thresholds) was chosen on its validation rows; store: the rows' own name."""

    fold: int
    repeat: int
    split: str
    weights: str
    step: int
    rows: int
    train_rows: int
    tuned: bool
    store: str
    metrics: dict[str, float]

    @staticmethod
    def read(workdir: Workdir) -> "Fold | None":
        """What was written when the fold was finished; None where it was not."""
        try:
            made = Fold(**json.loads((workdir.path / RESULT).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return made if workdir.weights(made.weights).exists() else None

    def write(self, workdir: Workdir) -> None:
        write_text(workdir.path / RESULT, json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def cross_validate(experiment: Experiment, path: str) -> int:
    """Trains and judges each fold; finished ones are left as they are. Then prints and writes what all say. Returns the
    exit code, that of the run which was stopped."""
    if find_cluster(experiment.distribution):
        raise UserError("config.data.folds: cross-validation trains on one host. Run it without TF_CONFIG, or train single "
                        "folds with --config.data.folds.held_out.")
    workdir, runs = Workdir(path), fold_runs(experiment)
    begin(workdir, experiment)
    done: list[Fold] = []
    for number, (name, one) in enumerate(runs.items(), 1):
        own = Workdir(workdir.path / name)
        found = Fold.read(own)
        if found is None or found.weights != one.export.weights:
            print(f"tfft: {one.data.folds.told} ({number} of {len(runs)} runs): {own.path}", flush=True)
            with without_leaks():
                if found is None and (code := fine_tune(one, str(own.path))):
                    return code
                found = _judge(one, own)
        if done and found.store != done[0].store:
            raise UserError(f"The training rows of {own.path} are not those of {workdir.path}/fold-1: a file, the tokenizer or "
                            "a library that reads them has changed in between. Choose another --workdir for the rows as they "
                            "are now.")
        done.append(found)
    _report(experiment, workdir, done)
    return 0


def _report(experiment: Experiment, workdir: Workdir, done: list[Fold]) -> None:
    """Prints and writes what all folds say."""
    made = summary.Summary.of(experiment, done)
    target = _out_of_fold(workdir, list(fold_runs(experiment)), done)
    print(made.told())
    write_text(workdir.path / "cv.json", made.to_json(target.name if target else "") + "\n")
    print(f"report: {workdir.path / 'cv.json'}" + (f"\nanswers to the rows each run held out: {target}" if target else ""))
    print(f"next, all runs as one model:\n  python -m tfft.evaluate --workdir={workdir.path}\n"
          f"  python -m tfft.export --workdir={workdir.path}")


def begin(workdir: Workdir, experiment: Experiment) -> None:
    """Writes config.json, or checks that the folds there are those of this experiment. Raises: UserError."""
    started = [name for name in fold_runs(experiment) if (workdir.path / name / "config.json").exists()]
    try:
        with store_errors():
            workdir.path.mkdir(parents=True, exist_ok=True)
            if workdir.started:
                raise UserError(f"{workdir.path} holds a run of its own. Choose another --workdir for folds.")
            if started and workdir.config.exists():
                changed = differences(from_json(workdir.config.read_text(), str(workdir.config)), experiment)
                if changed:
                    raise UserError(f"{workdir.path} holds a cross-validation with other settings:\n"
                                    + "\n".join(f"  {one}" for one in changed) + "\nTo go on with that one, use its settings; "
                                    "to start this one, choose another --workdir.")
            write_text(workdir.config, to_json(experiment))
    except OSError as error:
        raise UserError(f"Cannot write in the work directory {workdir.path}: {error}. Choose another --workdir.") from error


def _judge(experiment: Experiment, workdir: Workdir) -> Fold:
    """Judges a finished run on the rows that it held out, and answers them."""
    import tensorflow as tf

    from tfft.folds.out_of_fold import answer
    from tfft.run.judge import examine, own_splits
    from tfft.run.workdir import open_run
    from tfft.training.summaries import Console

    tf.get_logger().setLevel("ERROR")  # it warns of each further model in one process
    folds = experiment.data.folds
    run = open_run(workdir.path, experiment.export.weights)
    report = examine(run, "", folds.split, "", Console(quiet=True), baseline=False)
    write_text(workdir.path / f"evaluation-{folds.split}.json", report.to_json(data=folds.split, step=run.step) + "\n")
    splits = own_splits(run, lambda text: None)
    if run.task.answers_rows and not is_remote(workdir.path):
        answer(run, splits[folds.split])
    made = Fold(folds.fold, folds.repeat, folds.split, experiment.export.weights, run.step, report.judged,
                len(splits["train"].rows), run.task.tunes, splits["train"].store.folder.name, report.metrics)
    made.write(workdir)
    return made


def _out_of_fold(workdir: Workdir, names: list[str], done: list[Fold]) -> Path | None:
    """The answers of all folds in one file, in the order of the rows; None where the task has none."""
    from tfft.folds.out_of_fold import FILE, join

    parts = [to_path(workdir.path / name / FILE) for name in names]
    if is_remote(workdir.path) or not all(part.exists() for part in parts):
        return None
    return join(parts, [(one.fold, one.repeat) for one in done], workdir.path / "out_of_fold.csv")

