"""TensorBoard's embeddings projector: the vectors that a run makes of judged rows, with their answers and texts."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig
from tensorboard.plugins.projector.metadata import PROJECTOR_FILENAME

from tfft.data.prepare import Split
from tfft.data.splits import draw
from tfft.errors import UserError
from tfft.explaining.vectors import Vectors, makes_vectors
from tfft.files import write_text
from tfft.run.workdir import Run
from tfft.tasks.base import Report
from tfft.training.summaries import Console

LETTERS = 200  # of a text


def project(opened: Callable[[], Run], name: str, split: Split, report: Report, count: int, folder: Path,
            console: Console) -> None:
    """Writes `count` of the judged rows, drawn by their hash, under a name; whatever goes wrong is told, and stops nothing.

    folder: of TensorBoard's events, where its plugin looks for projector_config.pbtxt; other names there stay.
    """
    try:
        run = opened()
        if not makes_vectors(run):
            raise UserError(f"{type(run.backbone).__name__} of task {run.experiment.task.name} makes no one vector of a text")
        rows = np.sort(split.rows if report.evidence is None else report.evidence.rows)
        rows = draw(rows, np.asarray(split.store.column("id_hash"))[rows], count)
        vectors = Vectors(run)(split.store, rows, "rows for the projector", console)
        stem = re.sub(r"[^\w.-]+", "-", name)
        write_text(folder / f"{stem}-vectors.tsv", _tsv([[f"{value:.5g}" for value in one] for one in vectors]))
        write_text(folder / f"{stem}-rows.tsv", _tsv(_told(split, report, rows)))
        write_text(folder / PROJECTOR_FILENAME, text_format.MessageToString(_config(folder / PROJECTOR_FILENAME, name, stem)))
    except UserError as error:
        console.say(f"config.eval.projector: nothing to show: {error}")
    except Exception as error:
        console.say(f"config.eval.projector: the vectors could not be written ({type(error).__name__}: {error})")
    else:
        console.say(f"projector: the vectors of {len(rows):,} rows in {folder}")


def _told(split: Split, report: Report, rows: np.ndarray) -> list[tuple]:
    """A header and a line for each row."""
    store, evidence = split.store, report.evidence
    texts = [(" || ".join(store.texts(row)), store.place(row)) for row in rows.tolist()]
    if evidence is None:
        return [("text", "place"), *texts]
    at = dict(zip(evidence.rows.tolist(), range(len(evidence.rows)), strict=True))
    places = [at[row] for row in rows.tolist()]
    return [("right", "answer", evidence.what, "text", "place"),
            *((evidence.right(i), evidence.given(i), f"{evidence.score[i]:g}", *one)
              for i, one in zip(places, texts, strict=True))]


def _tsv(lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells, without what would end a cell or a line in them."""
    def cell(value: str) -> str:
        return " ".join(value.encode("utf-8", "replace").decode("utf-8").replace("\0", " ").split())[:LETTERS]

    return "".join("\t".join(map(cell, line)) + "\n" for line in lines)


def _config(path: Path, name: str, stem: str) -> ProjectorConfig:
    """What is there already, with this one."""
    config, made = ProjectorConfig(), ProjectorConfig()
    if path.exists():
        text_format.Parse(path.read_text("utf-8"), config)
    made.embeddings.extend(one for one in config.embeddings if one.tensor_name != name)
    made.embeddings.add(tensor_name=name, tensor_path=f"{stem}-vectors.tsv", metadata_path=f"{stem}-rows.tsv")
    return made
