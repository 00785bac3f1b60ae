"""What tasks have in common whose answers are texts that a model writes."""

from abc import abstractmethod

import keras
import numpy as np
import tensorflow as tf

from tfft.config import Writing
from tfft.models.causal_lm import Loss, guesses, token_losses
from tfft.models.sampling import Sampling
from tfft.tasks import base
from tfft.tasks.texts import answering, judging
from tfft.tasks.texts.language import Language


class WritingTask(base.Task):
    """The model's outputs are NextToken's: "hidden" f[B,T,H], "table" f[V,H]; targets["ids"] int32[B,n]: which token is to be
    predicted at each place, -1 where none is; n is T, or more.

    In evaluation a unit is a token: (its loss, whether it is the most probable one), loss -1 where it is not learnt. In
    prediction it is an answer: tokens, -1 beyond its end.
    """

    judges_loss, answers_rows = True, False
    unexplained = "it writes a text token by token, and each of them has reasons of its own, the ones before it among them"
    held_out, proof_sizes, briefly_warm = 8, (1, 5), True
    extra_specs = {**answering.OPTION_SPECS, answering.BEFORE: tf.TensorSpec([None], tf.int32, name=answering.BEFORE)}

    def __init__(self, settings: Writing, learnt: Language):
        super().__init__(settings, learnt)
        self.room = settings.max_new_tokens
        self.width = 2
        self._trained, self._cap = True, 0.0  # of the table, and of the logits
        self._writer = None  # (a model, what it writes by)

    load = staticmethod(Language.load)

    # ---- loss

    def loss(self, targets, outputs) -> tf.Tensor:
        """The mean of the losses of an example's learnt tokens."""
        hidden, ids, row = self._learnt(targets["ids"], outputs["hidden"])
        loss = Loss(self.settings.label_smoothing, self.settings.z_loss, self._cap)
        losses = token_losses(hidden, outputs["table"], tf.maximum(ids, 0), loss, self._trained)
        learnt = tf.cast(ids >= 0, tf.float32)
        count = tf.shape(targets["ids"])[0] if targets["ids"].shape[0] is None else targets["ids"].shape[0]
        total, number = (tf.math.unsorted_segment_sum(value, row, count) for value in (losses * learnt, learnt))
        return total / tf.maximum(number, 1.0)

    @staticmethod
    def _learnt(ids: tf.Tensor, hidden: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """(hidden f[N,H], ids int32[N], the row int32[N]) of the tokens that are learnt; where shapes are static, of all."""
        if None in ids.shape:
            places = tf.where(ids >= 0)
            return tf.gather_nd(hidden, places), tf.gather_nd(ids, places), tf.cast(places[:, 0], tf.int32)
        rows = tf.repeat(tf.range(ids.shape[0]), ids.shape[1])
        return tf.reshape(hidden, [-1, hidden.shape[-1]]), tf.reshape(ids, [-1]), rows

    # ---- evaluation

    def emit(self, outputs, extras) -> tf.Tensor:
        """Of evaluation; answers are made by `compute`."""
        hidden, ids = outputs["hidden"], extras["ids"]
        losses, best = guesses(tf.reshape(hidden, [-1, hidden.shape[-1]]), outputs["table"],
                               tf.maximum(tf.reshape(ids, [-1]), 0), self._cap)
        losses, best = (tf.reshape(value, tf.shape(ids)) for value in (losses, best))
        return tf.stack([tf.where(ids >= 0, losses, -1.0), tf.cast(best == ids, tf.float32)], axis=2)

    @abstractmethod
    def samples(self, judged: base.Judged) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """(row, tokens that are asked, tokens of the right answer) of settings.sample_rows rows at most, always the same."""

    def judge(self, judged: base.Judged, tuned: dict[str, list] | None, tune: bool) -> base.Report:
        report = judging.judge(judged)
        chosen = self.samples(judged)
        if not chosen:
            return report

        if self._writer is None or self._writer[0] is not judged.model:
            self._writer = judged.model, self._texts(judged.model)
        texts = self._writer[1]

        def answer(prompts: list[np.ndarray]) -> list[str]:
            tokens = tf.ragged.constant([prompt[-self.learnt.max_length:] for prompt in prompts], dtype=tf.int32)
            made = texts(tokens.to_tensor(), tf.ones_like(tokens).to_tensor())
            return [text.decode("utf-8", "replace") for text in made.numpy()]

        return judging.compare(report, chosen, answer, self.learnt, judged.store)

    def _texts(self, model: keras.Model):
        """(tokens, padding mask int32[B,S]) -> the answers string[B]; traced once for all evaluations of a run."""
        def texts(token_ids, padding_mask):
            inputs = {"token_ids": token_ids, "padding_mask": padding_mask}
            return answering.texts(self.answer(model, inputs, self.extras({})), self.learnt, self.settings.stop)

        return tf.function(texts, autograph=False, input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2)

    # ---- prediction

    def compute(self, model: keras.Model, inputs: dict, extras: dict) -> tf.Tensor:
        """float32[B,1,T]: the tokens of the answers."""
        return tf.cast(self.answer(model, inputs, extras), tf.float32)[:, tf.newaxis]

    def answer(self, model: keras.Model, inputs: dict, extras: dict) -> tf.Tensor:
        """int32[B,T], -1 beyond an answer's end. inputs: what is asked; extras: the settings of Sampling."""
        stop = self.settings.stop
        stopped = (lambda tokens, count: answering.stopped(tokens, count, self.learnt, stop)) if stop else None
        sampling = Sampling(**{name: extras[name] for name in answering.OPTIONS})
        return self.written(model, inputs, sampling, stopped=stopped, before=extras[answering.BEFORE])

    @abstractmethod
    def written(self, model: keras.Model, inputs: dict, sampling: Sampling, **more) -> tf.Tensor:
        """What tfft.models.decoding.generate makes of a batch; more: of its arguments."""

    @property
    def answer_width(self) -> int:
        return self.room

    def extras(self, examples: dict) -> dict[str, tf.Tensor]:
        """How answers are chosen: what is asked for, else the settings, of one number for all rows or one for each."""
        usual = {name: tf.constant(value) for name, value in self._usual.items()}
        return {name: examples.get(name, usual[name]) for name in self.extra_specs}

    @property
    def _usual(self) -> dict[str, np.ndarray]:
        """[1] of each option: the settings."""
        return {**{name: np.array([getattr(self.settings, name)], dtype.as_numpy_dtype)
                   for name, dtype in answering.OPTIONS.items()}, answering.BEFORE: np.zeros([1], np.int32)}

    def respond(self, examples: dict, rows: dict, units: tf.Tensor, context: base.Context) -> dict[str, tf.Tensor]:
        return answering.respond(tf.cast(units, tf.int32), self.learnt, self.settings.stop)

    recognises = staticmethod(answering.recognises)
    answers = staticmethod(answering.answers)

    # ---- serving

    writes: tuple[str, ...] = ("generate",)  # signatures that take how to choose besides

    def signatures(self, served: base.Served) -> dict:
        return answering.signatures(served, self.asked[0])

    def defaults(self) -> dict[str, dict[str, np.ndarray]]:
        usual = {name: self._usual[name] for name in answering.OPTIONS}
        return dict.fromkeys(self.writes, usual)

    def nasty(self, fields: tuple[str, ...]) -> dict[str, list]:
        return {name: answering.nasty(self.room) for name in fields}

    def difference(self, expected: dict, got: dict, rows: list[int]) -> np.ndarray:
        return answering.difference(expected, got, rows)

    def scale(self, expected: dict) -> float:
        return 1.0

    # ---- the model card

    def card(self, tuned: dict[str, list] | None) -> list[str]:
        how = f"{self.settings.beams} beams" if self.settings.beams > 1 else (
            f"temperature {self.settings.temperature:g}" if self.settings.temperature else "the most probable token each time")
        return [f"texts of up to {self.room} tokens ({how})"]

    def limits(self, data) -> list[str]:
        return ["- It writes what is probable, which may be wrong, and repeats what it was trained on."]
