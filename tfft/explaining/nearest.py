"""Which training rows look to a run's model most like a row."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfft.assets import cache_folder
from tfft.data.prepare import Preparer, open_splits
from tfft.data.tokenize import features
from tfft.models.heads import pooled_vector
from tfft.run.workdir import Run
from tfft.serving.prediction import Predictor
from tfft.training.summaries import Console
from tfft.vectors.exact import nearest, unit

MOST = 20_000  # training rows that are looked at; of more, so many that are spread evenly
AT_ONCE = 1024


class Neighbour(NamedTuple):
    """A training row: its texts, what it is to be answered with, where it stands, its cosine."""

    texts: list[str]
    right: str
    place: str
    similarity: float


class Neighbours:
    """The training rows of a run as vectors: the backbone's output, pooled as config.model.pooling says, of length 1."""

    def __init__(self, run: Run, predictor: Predictor, console: Console):
        self._predictor = predictor
        vector = keras.Model(run.backbone.input, pooled_vector(run.backbone, run.experiment.model))
        self._names = tuple(vector.input)
        self._embed = tf.function(lambda inputs: vector(inputs, training=False), autograph=False, reduce_retracing=True)
        cache = cache_folder(run.experiment.data.cache)
        train = open_splits(Preparer(run.experiment.data, run.reading(cache), cache, console.log))["train"]
        rows = np.asarray(train.rows)
        self._rows, self._store = rows[::-(-len(rows) // MOST)], train.store
        truth = run.task.truth(train.store, self._rows)
        self._right = truth.shown if truth else lambda place: ""
        console.start("reading the training rows", len(self._rows))
        parts = []
        for begin in range(0, len(self._rows), AT_ONCE):
            parts.append(self.vectors([dict(zip(train.store.fields, train.store.texts(int(row)), strict=True))
                                       for row in self._rows[begin:begin + AT_ONCE]]))
            console.advance(min(begin + AT_ONCE, len(self._rows)), "")
        console.stop()
        self._vectors = np.concatenate(parts)

    def vectors(self, rows: list[dict[str, str]], batch: int = 64) -> np.ndarray:
        """float32[n,D], computed by length."""
        examples, _ = self._predictor.encode(rows)
        order = np.argsort(examples["length"].numpy(), kind="stable")
        made: list = [None] * len(order)
        for begin in range(0, len(order), batch):
            chosen = order[begin:begin + batch]
            inputs = features({name: tf.gather(column, chosen) for name, column in examples.items()},
                              self._predictor.encoder.pad_id, self._names, multiple=8)
            for place, vector in zip(chosen, self._embed(inputs).numpy(), strict=True):
                made[place] = vector
        return unit(np.stack(made).astype(np.float32))

    def __call__(self, row: dict[str, str], count: int) -> list[Neighbour]:
        """The nearest ones, first."""
        found, cosines = nearest(self.vectors([row]), self._vectors, count)
        return [Neighbour(self._store.texts(int(self._rows[at])), self._right(int(at)), self._store.place(int(self._rows[at])),
                          float(cosine)) for at, cosine in zip(found[0], cosines[0], strict=True) if at >= 0]
