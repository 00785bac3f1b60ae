"""Texts to vectors that are compared by dot products: what an index is made with, and searched with."""

import numpy as np

from tfft.run.workdir import Run
from tfft.serving.prediction import Predictor
from tfft.vectors.exact import unit


class Embedder:
    """A run's vectors, cut to so many values and of length 1. unknown: see Predictor."""

    def __init__(self, run: Run, dimensions: int = 0, batch_size: int = 64):
        self.predictor = Predictor(run, batch_size)
        self.dimensions = dimensions or run.task.width

    @property
    def unknown(self) -> np.ndarray:
        return self.predictor.unknown

    def queries(self, texts: list[str]) -> np.ndarray:
        """float32[n,D], behind the query prompt."""
        return self._vectors([{"text": text} for text in texts])

    def passages(self, texts: list[str]) -> np.ndarray:
        """float32[n,D], behind the passage prompt."""
        return self._vectors([{"text_pair": text} for text in texts])

    def _vectors(self, rows: list[dict[str, str]]) -> np.ndarray:
        return unit(self.predictor(rows)["embedding"][:, :self.dimensions])
