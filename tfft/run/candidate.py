"""A run as it is compared with others: what it made of each row, and what it is, took and weighs; without its model."""

import contextlib
import dataclasses
from typing import Any

import numpy as np

from tfft.config import Experiment
from tfft.data.sources import Source
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.files import file_size, is_remote
from tfft.models.adaptation import trained_weights
from tfft.models.backbone import tokenizer_fingerprint
from tfft.run.judge import Looked, looked_at, own_splits
from tfft.run.workdir import Run, Workdir, open_run
from tfft.tasks.base import Evidence, Truth
from tfft.training.summaries import Console


@dataclasses.dataclass
class Candidate:
    """asked uint64[n], right: what each of the evidence's rows is, by what is asked, and its right answer; truth: of the same
    rows; trained uint64[m]: what is asked by the training rows, None where these cannot be read any more; facts: figures by
    name, None where they are not known; tokenizer: its fingerprint."""

    path: str
    experiment: Experiment
    evidence: Evidence
    store: TokenStore
    sources: list[tuple[Source, int]]
    truth: Truth | None
    asked: np.ndarray
    right: list[str]
    trained: np.ndarray | None
    facts: dict[str, Any]
    tokenizer: str = ""


def judge_candidate(path: str, data: str, split: str, weights: str, on_broken_row: str, reading: dict[str, str],
                    slices: tuple[str, ...], console: Console) -> Candidate:
    """slices: columns that its rows must have. Raises: UserError, with the run's name where several may be meant."""
    console.say(f"judging {path}")
    try:
        run = open_run(path, weights)
        looked = looked_at(run, data, split, on_broken_row, console, reading, False, slices)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    report, store, task = looked.report, looked.split.store, run.task
    evidence = report.evidence
    if evidence is None:
        raise UserError(f"{path}: the task {run.experiment.task.name} does not yet tell how right the answer to each single "
                        "row is, which a comparison of runs is made of. Compare what tfft evaluate writes of each.")
    trained = _trained(run, looked)
    return Candidate(
        path, run.experiment, evidence, store, looked.sources, task.truth(store, evidence.rows),
        np.asarray(store.column("text_hash"))[evidence.rows], [evidence.right(i) for i in range(len(evidence.rows))], trained,
        {"step": run.step, "seconds": looked.seconds, "rows_per_second": report.judged / looked.seconds,
         "weights": run.model.count_params(), "trained_weights": trained_weights(run.model),
         **_sizes(run), **_training(run.workdir), "train_rows": None if trained is None else len(trained)},
        tokenizer_fingerprint(run.tokenizer))


def _trained(run: Run, looked: Looked) -> np.ndarray | None:
    with contextlib.suppress(UserError):
        train = (looked.splits or own_splits(run, lambda text: None))["train"]
        return np.asarray(train.store.column("text_hash"))[train.rows]
    return None


def _sizes(run: Run) -> dict[str, int | None]:
    """Bytes of the weights' file, or of all files of several runs that answer together, and of the newest export."""
    workdir = run.workdir
    files = [one.workdir.weights(one.which) for one in run.members or (run,)]
    made = {"weights_bytes": sum(file_size(str(file)) for file in files), "export_bytes": None}
    if not is_remote(workdir.path):
        versions = [folder for folder in workdir.export.glob("*") if folder.name.isdigit()]
        if versions:
            newest = max(versions, key=lambda folder: int(folder.name))
            made["export_bytes"] = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
    return made


def _training(workdir: Workdir) -> dict[str, float | None]:
    """Seconds of training steps, and tokens a second, of metrics.jsonl."""
    lines = [line for line in workdir.points() if line["kind"] == "train"]
    seconds, tokens = (sum(line.get(name) or 0 for line in lines) for name in ("seconds", "tokens"))
    return {"training_seconds": seconds or None, "tokens_per_second": tokens / seconds if seconds else None}
