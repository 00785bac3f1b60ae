"""Masked words: tokens of texts are hidden and guessed, so that a backbone learns without labels."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfft import config
from tfft.assets import resolve_backbone
from tfft.data.packing import packed
from tfft.data.prepare import Reading
from tfft.data.store import TokenStore
from tfft.models.backbone import load_tokenizer
from tfft.models.masked_lm import head_weights, load_head, logits_at, masked_lm, packed_masked_lm
from tfft.tasks import base
from tfft.tasks.masked_lm import judging, serving
from tfft.tasks.masked_lm.encoder import DocumentEncoder
from tfft.tasks.masked_lm.learnt import Vocabulary, vocabulary_of
from tfft.tasks.masked_lm.masking import Drawn, budget, draw
from tfft.tasks.masked_lm.rows import row_fields


class MaskedLMTask(base.Task):
    """An example is a part of a text. A unit is a hidden token: in evaluation (its loss, whether the guess is right, the
    guess), loss -1 where there is none; in prediction the ids of the n best tokens and their probabilities."""

    drawn, answers_rows = True, False
    unexplained = "it guesses hidden tokens, of which each has reasons of its own"
    extra_specs = {"places": tf.TensorSpec([None, None], tf.int32, name="places")}
    needed = ("tokens", "length", "first_length")
    target_specs = {"places": tf.TensorSpec([None, None], tf.int32), "ids": tf.TensorSpec([None, None], tf.int32)}

    def __init__(self, settings: config.MaskedLM, learnt: Vocabulary):
        super().__init__(settings, learnt)
        self.n = min(settings.n_best, len(learnt.tokens))
        self.width = max(3, 2 * self.n)
        self.packed = settings.pack

    @staticmethod
    def reading(experiment: config.Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
        encoder = DocumentEncoder(tokenizer, max_length=experiment.data.max_length, mask=vocabulary_of(tokenizer).mask)
        return Reading(row_fields(experiment, cache), encoder, lambda rows: {}, int(tokenizer.vocabulary_size()), [fingerprint])

    @staticmethod
    def infer(experiment: config.Experiment, store: TokenStore, rows: np.ndarray, cache: Path) -> Vocabulary:
        vocabulary = vocabulary_of(load_tokenizer(resolve_backbone(experiment.model.backbone, cache)))
        return dataclasses.replace(vocabulary, max_length=experiment.data.max_length)

    load = staticmethod(Vocabulary.load)

    def draw(self, store: TokenStore, examples: np.ndarray, length: int, seed: int, epoch: int | np.ndarray, weighted: bool
             ) -> Drawn:
        """What of examples is hidden; in evaluation always the same, and not what any epoch of training hides."""
        rows = [store.values("tokens", int(example)) for example in examples]
        return draw(rows, examples, length, self.settings, self.learnt, seed=(2 * seed + weighted) % 2**64, epoch=epoch)

    def members(self, store: TokenStore, rows: np.ndarray, epoch: int, seed: int) -> np.ndarray:
        examples = store.examples_of(rows)
        return packed(store, examples, self.learnt.max_length, seed, epoch) if self.packed else examples

    def targets(self, store: TokenStore, *, weighted: bool):
        """places and ids int32[b,S], -1 beyond the hidden tokens. An example weighs as many as it has of them."""
        def read(examples: np.ndarray, length: int, seed: int, epoch: int | np.ndarray):
            there = examples >= 0
            epoch = epoch[there] if np.ndim(epoch) else epoch
            drawn = self.draw(store, examples[there], length, seed, epoch, weighted)
            if examples.ndim == 2:
                drawn = drawn.in_rows(there.sum(axis=1), store.lengths[examples[there]])
            return {"places": drawn.places, "ids": drawn.ids}, drawn.counts.astype(np.float32), drawn.shown

        return read

    def disturbed(self, values: dict, kind: str, share: float, seed: int) -> None:
        return None  # what is hidden, and so what is right, changes with the text

    def cut(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        return np.zeros(len(rows), bool)  # a text becomes as many examples as it needs

    # ---- model and loss

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        return masked_lm(backbone, seed)

    def adopt(self, model: keras.Model, preset: str) -> str:
        return "its head for masked words is the checkpoint's" if load_head(model, preset) else \
            "its head for masked words is new: the checkpoint has none"

    def for_packed(self, model: keras.Model, backbone) -> keras.Model:
        return packed_masked_lm(model, backbone)

    def pass_on(self, model: keras.Model) -> dict[str, np.ndarray]:
        return head_weights(model)

    def _hidden(self, targets: dict, outputs: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(logits float32[B,P,V], ids int32[B,P], -1 where there is none, loss of each float32[B,P], 0 there)."""
        ids, length = targets["ids"], targets["ids"].shape[1]
        if length is None:
            most = tf.maximum(1, (tf.shape(ids)[1] * round(self.settings.share * 1000) + 500) // 1000)
            most = tf.maximum(most, tf.reduce_max(tf.reduce_sum(tf.cast(ids >= 0, tf.int32), axis=1)))
        else:  # of packed texts each has a token hidden at least, of three
            most = max(int(budget(length, self.settings.share)), length // 3 if self.packed else 0)
        ids = ids[:, :most]
        logits = logits_at(outputs, tf.maximum(targets["places"][:, :most], 0))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(ids, 0), logits)
        return logits, ids, losses * tf.cast(ids >= 0, tf.float32)

    def loss(self, targets, outputs) -> tf.Tensor:
        """The mean of the cross-entropies of an example's hidden tokens."""
        _, ids, losses = self._hidden(targets, outputs)
        count = tf.reduce_sum(tf.cast(ids >= 0, tf.float32), axis=1)
        return tf.reduce_sum(losses, axis=1) / tf.maximum(count, 1.0)

    # ---- evaluation

    def units(self, store: TokenStore, examples: np.ndarray) -> np.ndarray:
        return np.asarray(budget(store.lengths[examples].astype(np.int64) - 2, self.settings.share))

    def emit(self, outputs, extras) -> tf.Tensor:
        if "ids" not in extras:
            best = tf.math.top_k(tf.nn.softmax(logits_at(outputs, extras["places"])), self.n)
            values = tf.concat([tf.cast(best.indices, tf.float32), best.values], axis=2)
        else:
            logits, ids, losses = self._hidden(extras, outputs)
            guess = tf.argmax(logits, axis=2, output_type=tf.int32)
            values = tf.stack([tf.where(ids >= 0, losses, -1.0), tf.cast(guess == ids, tf.float32),
                               tf.cast(guess, tf.float32)], axis=2)
        return tf.pad(values, [[0, 0], [0, 0], [0, self.width - values.shape[2]]])

    def judge(self, judged: base.Judged, tuned: dict[str, list] | None, tune: bool) -> base.Report:
        def context(example: int, number: int) -> tuple[str, str]:
            drawn = self.draw(judged.store, np.array([example]), int(judged.store.lengths[example]), 0, 0, False)
            return judging.around(self.learnt, judged.store.values("tokens", example), drawn, number)

        return judging.judge(judged, self.learnt, context)

    # ---- prediction

    def extras(self, examples: dict) -> dict[str, tf.Tensor]:
        tokens = examples["tokens"]
        masks = tokens.flat_values == self.learnt.mask
        place = tf.ragged.range(tokens.row_lengths()).flat_values
        of = tf.boolean_mask(tokens.value_rowids(), masks)
        places = tf.RaggedTensor.from_value_rowids(tf.boolean_mask(place, masks), of, tokens.nrows()).to_tensor(0)
        return {"places": tf.cast(tf.pad(places, [[0, 0], [0, tf.maximum(0, 1 - tf.shape(places)[1])]]), tf.int32)}

    def counts(self, examples: dict) -> tf.Tensor:
        return serving.masks(examples, self.learnt.mask)

    def respond(self, examples: dict, rows: dict, units: tf.Tensor, context: base.Context) -> dict[str, tf.Tensor]:
        return serving.respond(examples, rows, units, self.learnt, self.n)

    recognises = staticmethod(serving.recognises)
    answers = staticmethod(serving.answers)

    # ---- serving

    def nasty(self, fields: tuple[str, ...]) -> dict[str, list]:
        return {"text": serving.nasty(self.learnt.tokens[self.learnt.mask])}

    def warm_up(self, fields: tuple[str, ...], length: int) -> dict[str, str]:
        return {"text": f"{super().warm_up(fields, length)['text']} {self.learnt.tokens[self.learnt.mask]}"}

    def difference(self, expected: dict, got: dict, rows: list[int]) -> np.ndarray:
        return serving.difference(expected, got, rows)

    # ---- the model card

    def card(self, tuned: dict[str, list] | None) -> list[str]:
        mask = self.learnt.tokens[self.learnt.mask]
        return [f"texts in which `{mask}` stands with the {self.n} most probable tokens in each such place"]

    def card_of_length(self, data: config.MaskedLMData) -> str:
        return f"Longer texts are read in parts of {data.max_length} tokens; a mask is guessed from its own part."

    def limits(self, data: config.MaskedLMData) -> list[str]:
        return ["- A token is often a part of a word; one mask stands for one token."]
