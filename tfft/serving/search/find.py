"""Queries to results: an index searched with the run that it was made with, perhaps re-ranked by a run that reads pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfft.errors import UserError
from tfft.run.workdir import Run, open_run
from tfft.serving.prediction import CHUNK, Predictor, nothing_asked
from tfft.serving.search.checks import workdir_of
from tfft.serving.search.embedder import Embedder
from tfft.tasks.base import Structured
from tfft.vectors.folder import Index

FUSION = 60  # k of reciprocal rank fusion, as its authors have it
POSITIVE = ("1", "true", "yes", "relevant", "positive", "pos")  # labels that need no --positive_label


class Hit(NamedTuple):
    """A document that was found. score: by which results are ordered; similarity: the cosine of query and document."""

    place: int
    score: float
    similarity: float


class Reranker:
    """A run of pairs that says how well a text answers a query: by the probability of a label, or by its number."""

    def __init__(self, run: Run, positive_label: str = "", batch_size: int = 64):
        self.predictor = Predictor(run, batch_size)
        self._label = _positive(list(nothing_asked(self.predictor)[1]), positive_label, run.workdir.path)

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """float64[n] of (query, text)."""
        made: list[float] = []
        for begin in range(0, len(pairs), CHUNK):
            rows = [{"text": query, "text_pair": text} for query, text in pairs[begin:begin + CHUNK]]
            made += [each[self._label] if self._label else answer["predicted_value"]
                     for answer, each in self.predictor.answers(rows)]
        return np.array(made, np.float64)


def _positive(labels: list[str], chosen: str, workdir: Path) -> str:
    """The label that means that a text answers the query; '' where the run answers numbers. Raises: UserError."""
    known = [label for label in labels if label.lower() in POSITIVE] if not chosen else [one for one in labels if one == chosen]
    if len(known) == 1 or not labels and not chosen:
        return known[0] if known else ""
    raise UserError(f"--rerank={workdir} answers {', '.join(labels[:10]) or 'numbers'}: "
                    + (f"there is no label {chosen!r}." if chosen else "say which label means that a text answers the query: "
                       f"--positive_label={labels[-1]}"))


class Searcher:
    """What queries find in an index; `answers` as a Predictor does.

    results: of each query; candidates: how many of them are scored anew by the reranker; fuse: their order is by both scores.
    """

    fields, separator = ("text",), ","

    def __init__(self, index: Index, embedder: Embedder, results: int = 10, reranker: Reranker | None = None,
                 candidates: int = 100, fuse: bool = False):
        self.index, self.embedder, self.reranker, self.fuse = index, embedder, reranker, fuse
        self.results, self.candidates = results, candidates

    @property
    def unknown(self) -> np.ndarray:
        return self.embedder.unknown

    def found(self, queries: list[str], depth: int) -> list[list[Hit]]:
        """The nearest documents of each query, before any re-ranking."""
        places, cosines = self.index.search(self.embedder.queries(queries), depth)
        return [[Hit(place, cosine, cosine) for place, cosine in zip(row, scores, strict=True) if place >= 0]
                for row, scores in zip(places.tolist(), cosines.tolist(), strict=True)]

    def reranked(self, queries: list[str], found: list[list[Hit]]) -> list[list[Hit]]:
        """The first candidates of each query in the order of the reranker's scores, then the others as they were."""
        made, step = [], max(1, CHUNK // self.candidates)  # queries whose candidates' texts are in memory
        for begin in range(0, len(queries), step):
            part = found[begin:begin + step]
            scores = iter(self.reranker([(query, self.index.text(hit.place)) for query, hits in zip(queries[begin:], part)
                                         for hit in hits[:self.candidates]]).tolist())
            for hits in part:
                first = [hit._replace(score=next(scores)) for hit in hits[:self.candidates]]
                made.append(sorted(first, key=lambda hit: -hit.score) + hits[self.candidates:])
        return made

    def fused(self, found: list[list[Hit]], reranked: list[list[Hit]]) -> list[list[Hit]]:
        """The first candidates of each query by their places in both orders: the sum of 1 / (60 + place) (reciprocal rank
        fusion, Cormack, Clarke & Buettcher 2009), equal ones as re-ranked; then the others as they were."""
        made = []
        for before, after in zip(found, reranked, strict=True):
            scores = {hit.place: 1 / (FUSION + 1 + i) for i, hit in enumerate(before[:self.candidates])}
            first = [hit._replace(score=scores[hit.place] + 1 / (FUSION + 1 + i))
                     for i, hit in enumerate(after[:self.candidates])]
            made.append(sorted(first, key=lambda hit: -hit.score) + before[self.candidates:])
        return made

    def __call__(self, queries: list[str]) -> list[list[Hit]]:
        """The results of each query."""
        if not self.reranker:
            return self.found(queries, self.results)
        found = self.found(queries, max(self.results, self.candidates))
        reranked = self.reranked(queries, found)
        return [hits[:self.results] for hits in (self.fused(found, reranked) if self.fuse else reranked)]

    def answers(self, rows: list[dict[str, str]]) -> list[tuple[dict, dict[str, float]]]:
        """Of {"text": query}: {"results": [{"id", "score", "text"}, ...]}, with "similarity" where they were re-ranked."""
        found = self([row["text"] for row in rows]) if rows else []
        return [({"results": Structured(map(self.shown, hits))}, {}) for hits in found]

    def shown(self, hit: Hit) -> dict:
        """A result for a reader."""
        more = {"similarity": hit.similarity} if self.reranker else {}
        return {"id": self.index.id(hit.place), "score": hit.score, **more, "text": self.index.text(hit.place)}


def open_index(folder: Path, workdir: str = "", exact: bool = False, batch_size: int = 64) -> tuple[Index, Embedder, Run]:
    """An index with the run that it was made with. workdir: where that run is now, if not where it was.

    Raises: UserError where its weights are others than the index was made with.
    """
    index = Index(folder, exact)
    manifest = index.manifest
    path = workdir_of(manifest, folder, workdir)
    run = open_run(path, manifest["which"])
    if run.fingerprint() != manifest["weights"]:
        steps = (f"those of step {manifest['step']:,}, now they are of step {run.step:,}" if manifest["step"] != run.step
                 else f"it was trained anew since, to step {run.step:,} too")
        raise UserError(f"The index {folder} was made with other weights than {path} has: {steps}. Make it anew: "
                        f"{manifest['command']}")
    return index, Embedder(run, index.dimensions, batch_size), run
