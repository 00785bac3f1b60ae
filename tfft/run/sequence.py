"""A sequence of runs, each perhaps going on from the one before: what each makes of the rows of all of them."""

import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfft.config import TASKS
from tfft.data.prepare import Split
from tfft.errors import UserError
from tfft.files import to_path
from tfft.models.backbone import tokenizer_fingerprint
from tfft.run.judge import check_writable, judged, judged_split, write_output
from tfft.run.workdir import Run, open_run
from tfft.training.summaries import Console, table


class Sequence(NamedTuple):
    """scores float64[n,n]: of run i on the rows of run j, NaN where it knows not all that these are labelled with. lower:
    whether less of the metric is better."""

    runs: list[str]
    metric: str
    scores: np.ndarray
    lower: bool = False

    def figures(self) -> dict[str, float]:
        """average: of the last run over all rows. Of the rows before the last run's, on average: forgetting, by how much the
        best run since theirs was better than the last one (Chaudhry et al. 2018, section 3.2), and backward_transfer, by how
        much the last run is better than theirs was (Lopez-Paz & Ranzato 2017, equation 3).

        scores [[0.9, nan], [0.6, 0.8]] -> average 0.7, forgetting 0.3, backward_transfer -0.3
        """
        good, last = -self.scores if self.lower else self.scores, len(self.runs) - 1
        best = [float(np.nanmax(good[j:last, j])) for j in range(last)]
        return {"average": float(self.scores[last].mean()),
                "forgetting": float(np.mean([one - good[last, j] for j, one in enumerate(best)])),
                "backward_transfer": float(np.mean([good[last, j] - good[j, j] for j in range(last)]))}

    def told(self, split: str) -> str:
        rows = [(run, *("" if np.isnan(value) else f"{value:.4f}" for value in line))
                for run, line in zip(self.runs, self.scores, strict=True)]
        said = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in self.figures().items())
        return (f"{self.metric} of each run (a line) on the {split} rows of each (a column, in the same order)\n"
                f"{table(rows, ('', *map(str, range(1, len(self.runs) + 1))))}\n{said}")

    def to_json(self, split: str) -> str:
        scores = [[None if np.isnan(value) else float(value) for value in line] for line in self.scores]
        return json.dumps({"runs": self.runs, "metric": self.metric, "split": split, "scores": scores, **self.figures()},
                          indent=1) + "\n"


def judge_sequence(paths: list[str], *, split: str, weights: str, output: str) -> int:
    """Prints the scores of runs in their order and what they say of forgetting; writes them as JSON. Returns the exit code."""
    console, runs = Console(), [open_run(path, weights) for path in paths]
    last = runs[-1].experiment
    split = split or ("test" if all(run.experiment.data.specs("test") for run in runs) else "validation")
    target = to_path(output) if output else runs[-1].workdir.path / f"sequence-{split}.json"
    check_writable(target)
    check_alike(runs)
    metric = last.eval.metric.rpartition("/")[2]
    made = Sequence(paths, metric, scores_of(runs, split, metric, console),
                    metric in TASKS[last.task.name].lower_is_better)
    print(made.told(split))
    write_output(target, made.to_json(split))
    print(f"report: {target}")
    return 0


def check_alike(runs: list[Run]) -> None:
    """Raises: UserError where runs do not read rows in one way."""
    first = runs[0]
    for run in runs[1:]:
        for name, theirs, mine in (
                ("task.name", first.experiment.task.name, run.experiment.task.name),
                ("data.max_length", first.experiment.data.max_length, run.experiment.data.max_length),
                ("the tokenizer", tokenizer_fingerprint(first.tokenizer), tokenizer_fingerprint(run.tokenizer))):
            if theirs != mine:
                told = f"{name} of the one is not the other's" if name == "the tokenizer" else f"{name} is {theirs} and {mine}"
                raise UserError(f"{first.workdir.path} and {run.workdir.path} cannot be judged on each other's rows: {told}.")


def scores_of(runs: list[Run], split: str, metric: str, console: Console) -> np.ndarray:
    """float64[n,n]; see Sequence."""
    made = np.full((len(runs), len(runs)), np.nan)
    for j, owner in enumerate(runs):
        rows = _rows(owner, split, console.say)
        whole = len(owner.task.can_judge(rows.store, rows.rows))
        for i, run in enumerate(runs):
            if len(run.task.can_judge(rows.store, rows.rows)) == whole:
                report, _ = judged(run, rows, console)
                if metric not in report.metrics:
                    raise UserError(f"{run.workdir.path}: its {metric} (config.eval.metric of the last run) could not be "
                                    f"computed on the {split} rows of {owner.workdir.path} (computed: "
                                    f"{', '.join(report.metrics)}).")
                made[i, j] = report.metrics[metric]
        if np.isnan(made[-1, j]):
            raise UserError(f"{runs[-1].workdir.path} does not know all that the {split} rows of {owner.workdir.path} are "
                            "labelled with: it did not go on from it. Give runs in their order, each going on from the one "
                            "before.")
    return made


def _rows(run: Run, split: str, say: Callable[[str], None]) -> Split:
    try:
        return judged_split(run, split, say)
    except UserError as error:
        raise UserError(f"{run.workdir.path}: {error}") from error
