"""Which training rows a run's own model finds most like a text: what it may have learnt the answer from, or the odd label."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfft import __version__
from tfft.assets import cache_folder
from tfft.data.prepare import Split
from tfft.data.store import fingerprint
from tfft.errors import UserError
from tfft.evaluation.predictor import Opened
from tfft.explaining.vectors import Vectors, makes_vectors
from tfft.training.summaries import Console
from tfft.training.weights import fingerprint as weights_fingerprint
from tfft.vectors.exact import nearest


class Neighbour(NamedTuple):
    """A training row: its number in the store, place (file:line), texts by field, the right answer in words ('' where nobody
    said), and the cosine of its vector with that of the row in question."""

    row: int
    place: str
    texts: dict[str, str]
    answer: str
    cosine: float

    def to_json(self) -> dict:
        return {"place": self.place, "answer": self.answer, "cosine": round(self.cosine, 6), **self.texts}


class Neighbours:
    """The training rows of a run, by their vectors (see tfft.explaining.vectors).

    split: these rows. Their vectors are computed once, and kept in the cache for these weights and these rows.

    Raises: UserError where the model reads more than tokens.
    """

    def __init__(self, run: Opened, split: Split, console: Console):
        if run.backbone is None:
            raise UserError("--nearest compares texts by one vector each, and this run is several that answer together. Name "
                            "one of them with --workdir, or leave --nearest out.")
        if not makes_vectors(run):
            raise UserError(f"--nearest compares texts by one vector each, and {type(run.backbone).__name__} of task "
                            f"{run.experiment.task.name} makes none. Leave --nearest out.")
        self._run, self._split, self._vectors = run, split, Vectors(run)
        self._truth = run.task.truth(split.store, split.rows)
        self.vectors = self._kept(cache_folder(run.experiment.data.cache) / "neighbours", console)

    def __call__(self, row: dict[str, Any], count: int) -> list[Neighbour]:
        """The nearest ones of a row of asked fields, the nearest first."""
        places, cosines = nearest(self._vectors.asked(row), self.vectors, count)
        return [self._neighbour(place, float(cosine)) for place, cosine in zip(places[0].tolist(), cosines[0], strict=True)
                if place >= 0]

    def _neighbour(self, place: int, cosine: float) -> Neighbour:
        store, row = self._split.store, int(self._split.rows[place])
        return Neighbour(row, store.place(row), dict(zip(store.fields, store.texts(row), strict=True)),
                         self._truth.shown(place) if self._truth else "", cosine)

    def _kept(self, folder: Path, console: Console) -> np.ndarray:
        """float32[n,H] of the training rows, from the cache where it has them."""
        split = self._split
        rows = hashlib.blake2b(np.asarray(split.rows, np.int64).tobytes(), digest_size=16).hexdigest()
        name = fingerprint("neighbours", __version__, weights_fingerprint(self._vectors.model.variables),
                           self._run.experiment.model.pooling, split.store.folder.name, rows)
        path = folder / f"{name}.npy"
        try:
            made = np.load(path, mmap_mode="r").view(np.ndarray)
            if made.shape == (len(split.rows), self._vectors.width):
                return made
        except (OSError, ValueError, EOFError):
            pass  # not there, or damaged
        made = self._vectors(split.store, split.rows, "training rows", console)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
                np.save(file, made)
            os.replace(file.name, path)
        except OSError as error:
            console.say(f"the vectors of the training rows are not kept: {error}")
        return made


def lines(found: Sequence[Neighbour], width: int = 80) -> list[str]:
    """A line each: the cosine, the answer, the texts, the place."""
    def short(one: Neighbour) -> str:
        text = " | ".join("".join(c if c.isprintable() else " " for c in text) for text in one.texts.values())
        return text if len(text) <= width else text[:width - 1] + "\u2026"

    return [f"{one.cosine:.3f}  {one.answer}{'  ' if one.answer else ''}{short(one)}  ({one.place})" for one in found]
