"""What must be so before a command of search loads TensorFlow."""

import os
from pathlib import Path

from tfft.config import Experiment
from tfft.config.embedding import kind_of
from tfft.errors import UserError
from tfft.files import is_remote, local_path
from tfft.run.workdir import Workdir
from tfft.vectors.folder import Index


def check_embeds(experiment: Experiment, workdir: str, dimensions: int = 0) -> None:
    """Raises: UserError where a run makes no vectors, or none of so many values."""
    task = experiment.task
    if task.name != "embedding":
        raise UserError(f"--workdir={workdir} is a run of {task.name}: an index is made of embeddings. Train one: tfft train "
                        "--config=my_pairs:pairs.jsonl --workdir=runs/search")
    if dimensions and dimensions not in task.matryoshka and dimensions != task.projection:
        known = ", ".join(map(str, task.matryoshka))
        raise UserError(f"--dimensions={dimensions}: this run was not trained for vectors that are cut to so many values"
                        + (f", but for {known}." if known else ". Train one that is: --config.task.matryoshka='(64,128)'."))


def check_mines(experiment: Experiment, workdir: str) -> None:
    """Raises: UserError where a run's rows are no pairs that belong together."""
    if (kind := kind_of(experiment.data)) != "pairs":
        raise UserError(f"{workdir} was trained on {kind} rows: negatives are mined for pairs of a query and the text that "
                        "belongs to it.")


def check_reranks(workdir: str) -> None:
    """Raises: UserError where a run does not answer pairs of texts with labels or a number."""
    experiment = Workdir(workdir).experiment()
    if experiment.task.name != "text_classification" or not experiment.data.text_pair_column:
        what = "on single texts" if experiment.task.name == "text_classification" else f"for {experiment.task.name}"
        raise UserError(f"--rerank={workdir} was trained {what}: re-ranking takes a run of text_classification on pairs, query "
                        "and text (config.data.text_pair_column).")


def workdir_of(manifest: dict, folder: Path, workdir: str = "") -> str:
    """Where the run of an index is, or where it is said to be. Raises: UserError where it is not there."""
    recorded = manifest["run"]
    path = workdir or (recorded if is_remote(recorded) else os.path.relpath(folder / recorded))
    try:
        check_embeds(Workdir(path).experiment(), path)
    except UserError as error:
        if workdir:
            raise
        raise UserError(f"The index {folder} was made with the run {path}, which cannot be used: {error} Where it is "
                        "elsewhere, name it: --workdir=") from error
    return path


def indexes_of(flags: list[str]) -> tuple[dict[str, Index], list[str]]:
    """(the indexes by the names of their models, the runs of those that name no model). Raises: UserError."""
    indexes, runs = {}, []
    for flag in flags:
        name, _, folder = flag.rpartition("=")
        index = Index(local_path(folder, "--index"))
        if not name:
            runs.append(workdir_of(index.manifest, index.folder))
            name = Workdir(runs[-1]).experiment().name
        if name in indexes:
            raise UserError(f"--index={folder}: model {name!r} has the index {indexes[name].folder} already. Serve one, or the "
                            f"model by another name: --model=NAME=FOLDER --index=NAME={folder}")
        indexes[name] = index
    return indexes, runs
