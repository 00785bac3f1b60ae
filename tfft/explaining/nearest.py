"""Which training rows a run's own model finds most like a text: what it may have learnt the answer from, or the odd label."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfft import __version__
from tfft.assets import cache_folder
from tfft.data.pipeline import token_inputs
from tfft.data.plan import PlanSettings, make_plan
from tfft.data.prepare import Split
from tfft.data.store import fingerprint
from tfft.data.tokenize import features
from tfft.errors import UserError
from tfft.models.heads import pooled_vector
from tfft.models.kernels import fast_cpu, on_cpu
from tfft.run.judge import own_split
from tfft.run.workdir import Run
from tfft.training.summaries import Console
from tfft.training.weights import fingerprint as weights_fingerprint
from tfft.vectors.exact import nearest, unit

BATCH = 64  # examples that are computed at once


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
    """The training rows of a run, by the vectors that its model's head is given: the pooled output of the backbone as it was
    fine-tuned (config.model.pooling), of length 1. A row of several examples (windows of a long text) is their mean.

    The vectors are computed once, and kept in the cache for these weights and these rows.

    Raises: UserError where the run's rows are no longer there, or its model reads more than tokens.
    """

    def __init__(self, run: Run, console: Console):
        inputs = set(run.backbone.input) if isinstance(run.backbone.input, dict) else set()
        if not {"token_ids", "padding_mask"} <= inputs <= {"token_ids", "padding_mask", "segment_ids"}:
            raise UserError(f"--nearest compares texts by one vector each, and {type(run.backbone).__name__} of task "
                            f"{run.experiment.task.name} makes none. Leave --nearest out.")
        self._run, self._inputs, self._pad_id = run, inputs, int(run.tokenizer.pad_token_id)
        cache = cache_folder(run.experiment.data.cache)
        self._model = keras.Model(run.backbone.input, pooled_vector(run.backbone, run.experiment.model), name="vectors")
        self._encoder = run.reading(cache).encoder
        self._encode = tf.function(self._encoder.asked, autograph=False, reduce_retracing=True)
        self._forward = tf.function(self._vectors_of, autograph=False, reduce_retracing=True)
        self._split = own_split(run, "train", console.say)
        self._truth = run.task.truth(self._split.store, self._split.rows)
        self.vectors = self._kept(cache / "neighbours", console)

    def __call__(self, row: dict[str, Any], count: int) -> list[Neighbour]:
        """The nearest ones of a row of asked fields, the nearest first."""
        examples, _ = self._encode(**self._encoder.strings([row]))
        made = self._forward(features(examples, self._pad_id, tuple(self._inputs))).numpy()
        places, cosines = nearest(_mean(made, np.zeros(len(made), np.int64), 1), self.vectors, count)
        return [self._neighbour(place, float(cosine)) for place, cosine in zip(places[0].tolist(), cosines[0], strict=True)
                if place >= 0]

    def _neighbour(self, place: int, cosine: float) -> Neighbour:
        store, row = self._split.store, int(self._split.rows[place])
        return Neighbour(row, store.place(row), dict(zip(store.fields, store.texts(row), strict=True)),
                         self._truth.shown(place) if self._truth else "", cosine)

    def _vectors_of(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        with fast_cpu(on_cpu()):
            return tf.cast(self._model({name: inputs[name] for name in self._inputs}, training=False), tf.float32)

    def _kept(self, folder: Path, console: Console) -> np.ndarray:
        """float32[n,H] of the training rows, from the cache where it has them."""
        split = self._split
        rows = hashlib.blake2b(np.asarray(split.rows, np.int64).tobytes(), digest_size=16).hexdigest()
        name = fingerprint("neighbours", __version__, weights_fingerprint(self._model.variables),
                           self._run.experiment.model.pooling, split.store.folder.name, rows)
        path = folder / f"{name}.npy"
        try:
            made = np.load(path, mmap_mode="r").view(np.ndarray)
            if made.shape == (len(split.rows), self._model.output.shape[-1]):
                return made
        except (OSError, ValueError):
            pass  # not there, or damaged
        made = self._computed(split, console)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
                np.save(file, made)
            os.replace(file.name, path)
        except OSError as error:
            console.say(f"the vectors of the training rows are not kept: {error}")
        return made

    def _computed(self, split: Split, console: Console) -> np.ndarray:
        store, examples = split.store, np.asarray(split.examples, np.int64)
        lengths = np.asarray(store.lengths[examples])
        plan = make_plan(lengths, PlanSettings(batch_size=BATCH, max_length=self._run.experiment.data.max_length, shuffle=False,
                                               length_multiple=1 if on_cpu() else 8), 0)
        names = ("token_ids", "padding_mask", *(["segment_ids"] if "segment_ids" in self._inputs else []))
        made = np.zeros((len(examples), self._model.output.shape[-1]), np.float32)
        console.start(f"vectors of {len(split.rows):,} training rows", plan.num_batches)
        for number in range(plan.num_batches):
            batch = plan.batch(number)
            places = batch.indices[batch.indices >= 0]
            arrays = token_inputs(store, examples[places], batch.length, self._pad_id, len(names) > 2)
            made[places] = self._forward({name: tf.constant(array) for name, array in zip(names, arrays, strict=True)}).numpy()
            console.advance(number + 1, "")
        console.stop()
        return _mean(made, np.searchsorted(split.rows, store.row_of(examples)), len(split.rows))


def _mean(vectors: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
    """float32[m,H] of examples, int64[m] whose they are -> float32[n,H] of length 1."""
    made = np.zeros((rows, vectors.shape[1]), np.float32)
    np.add.at(made, row, unit(vectors))
    return unit(made)


def lines(found: Sequence[Neighbour], width: int = 80) -> list[str]:
    """A line each: the cosine, the answer, the texts, the place."""
    def short(one: Neighbour) -> str:
        text = " | ".join("".join(c if c.isprintable() else " " for c in text) for text in one.texts.values())
        return text if len(text) <= width else text[:width - 1] + "\u2026"

    return [f"{one.cosine:.3f}  {one.answer}{'  ' if one.answer else ''}{short(one)}  ({one.place})" for one in found]
