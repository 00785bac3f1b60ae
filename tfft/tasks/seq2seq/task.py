"""Encoder-decoders: a text is read and another one written, token by token."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfft import config
from tfft.assets import resolve_backbone
from tfft.data.prepare import Reading
from tfft.data.row_tokens import digests, values_of
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.models.backbone import load_tokenizer
from tfft.models.causal_lm import OUTPUT
from tfft.models.decoding import generate
from tfft.models.sampling import Sampling
from tfft.models.seq2seq import SHOWN, Seq2SeqDecoder, load_seq2seq, seq2seq, start_and_ends
from tfft.tasks import base
from tfft.tasks.seq2seq import judging
from tfft.tasks.seq2seq.encoder import PairEncoder
from tfft.tasks.seq2seq.rows import row_fields
from tfft.tasks.texts.language import Language, language_of
from tfft.tasks.texts.task import WritingTask

TARGET = 40  # tokens of a target that are shown


class Seq2SeqTask(WritingTask):
    """An example is a source with its target. Targets are "ids" int32[B,T], the target's tokens, -1 beyond them, and what the
    decoder is shown: the same behind a start token."""

    asked = ("text",)

    def __init__(self, settings: config.Seq2Seq, learnt: Language):
        super().__init__(settings, learnt)
        self._places = len(learnt.start) - 1 + learnt.target_length
        spec = tf.TensorSpec([None, self._places], tf.int32)
        self.target_specs = {"ids": spec, SHOWN: spec}

    @staticmethod
    def reading(experiment: config.Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
        data = experiment.data
        _, ends = start_and_ends(tokenizer)
        encoder = PairEncoder(tokenizer, max_length=data.max_length, target_length=data.max_target_length, prefix=data.prefix,
                              end=ends[0])
        return Reading(row_fields(experiment, cache), encoder, lambda rows: {}, int(tokenizer.vocabulary_size()),
                       [fingerprint, data.max_target_length, data.prefix])

    @staticmethod
    def infer(experiment: config.Experiment, store: TokenStore, rows: np.ndarray, cache: Path) -> Language:
        data, tokenizer = experiment.data, load_tokenizer(resolve_backbone(experiment.model.backbone, cache))
        start, ends = start_and_ends(tokenizer)
        return dataclasses.replace(language_of(tokenizer, "", data.max_length), start=start, ends=ends,
                                   target_length=data.max_target_length)

    def targets(self, store: TokenStore, *, weighted: bool):
        """An example weighs as many as its target has tokens."""
        def read(examples: np.ndarray, length: int):
            start = self.learnt.start
            ids = np.full((len(examples), self._places), -1, np.int32)
            shown = np.full_like(ids, -1)
            for i, example in enumerate(examples.tolist()):
                target = np.asarray(store.values("target", example), np.int32)
                before = len(start) - 1
                ids[i, before:before + len(target)] = target
                shown[i, :before + len(target)] = [*start, *target[:-1]]
            return {"ids": ids, SHOWN: shown}, (ids >= 0).sum(axis=1).astype(np.float32)

        return read

    def remarks(self, name: str, store: TokenStore, rows: np.ndarray) -> list[str]:
        return judging.remarks(store, rows)

    def identity(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """Of a source with its target."""
        return super().identity(store, rows) ^ digests(values_of(store, "target", rows))

    def truth(self, store: TokenStore, rows: np.ndarray) -> base.Truth:
        """The target; a source may have several."""
        def shown(place: int) -> str:
            return repr(self.learnt.written(store.values("target", int(rows[place]))[:TARGET].tolist()).strip())

        targets = digests(values_of(store, "target", rows))
        return base.Truth("target", targets, shown, asked=super().identity(store, rows), strict=False)

    def cut(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        offsets = store.column("target_offsets")
        return super().cut(store, rows) | (np.asarray(store.column("full_target")[rows]) > offsets[rows + 1] - offsets[rows])

    # ---- model and loss

    def load_backbone(self, preset: str, *, precision: str, dropout: float, seed: int):
        return load_seq2seq(preset, precision=precision, dropout=dropout, layers=self.settings.decoder_layers, seed=seed)

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        limit, room = getattr(backbone, "max_sequence_length", None), len(self.learnt.start) + self.room
        if limit and max(self._places, room) > limit:
            raise UserError(f"config.data.max_target_length={self.learnt.target_length} or config.task.max_new_tokens="
                            f"{self.room} is more than the backbone's limit of {limit} positions.")
        made = seq2seq(backbone)
        layer = made.get_layer(OUTPUT)
        self._trained, self._cap = layer.trained, layer.cap
        return made

    def loss(self, targets, outputs) -> tf.Tensor:
        return super().loss({"ids": _as_long(targets["ids"], outputs["hidden"])}, outputs)

    # ---- evaluation

    def units(self, store: TokenStore, examples: np.ndarray) -> np.ndarray:
        offsets = store.column("target_offsets")
        return np.asarray(offsets[examples + 1] - offsets[examples], np.int64) + len(self.learnt.start) - 1

    def emit(self, outputs, extras) -> tf.Tensor:
        ids = _as_long(extras["ids"], outputs["hidden"])
        made = super().emit(outputs, {"ids": ids})
        return made if ids is extras["ids"] else tf.pad(made, [[0, 0], [0, self._places - tf.shape(ids)[1]], [0, 0]])

    def samples(self, judged: base.Judged) -> list[tuple[int, np.ndarray, np.ndarray]]:
        return judging.samples(judged.store, judged.rows, self.settings.sample_rows)

    baselines_version = 1

    def baselines(self, train: tuple[TokenStore, np.ndarray], judged: tuple[TokenStore, np.ndarray]) -> dict[str, dict]:
        return judging.without_model(*judged, self.settings.sample_rows, self.learnt)

    # ---- prediction

    def written(self, model: keras.Model, inputs: dict, sampling: Sampling, **more) -> tf.Tensor:
        source = inputs["token_ids"], inputs["padding_mask"]
        decoder = Seq2SeqDecoder(model, *source, beams=self.settings.beams)
        start = tf.tile(tf.constant([self.learnt.start]), [tf.shape(source[0])[0], 1])
        return generate(decoder, start, tf.ones_like(start), sampling, self.learnt.ends, room=self.room,
                        beams=self.settings.beams, asked=source, **more)

    # ---- serving

    def card_of_length(self, data: config.Seq2SeqData) -> str:
        return f"Of a text of more than {data.max_length} tokens the beginning is read."


def _as_long(ids: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
    """Those of ids int32[B,T] that hidden f[B,t,H] has; see tfft.models.seq2seq.Shown."""
    return ids if hidden.shape[1] == ids.shape[1] else ids[:, :tf.shape(hidden)[1]]
