"""Language models: the next token is learnt, and prompts are answered."""

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
from tfft.models.causal_lm import OUTPUT, Loss, causal_lm, guesses, packed_causal_lm, token_losses
from tfft.models.decoding import Decoder, generate
from tfft.models.sampling import Sampling
from tfft.models.special_tokens import control_tokens
from tfft.tasks import base
from tfft.tasks.causal_lm import judging, serving
from tfft.tasks.causal_lm.encoder import ConversationEncoder
from tfft.tasks.causal_lm.learnt import Language, language_of
from tfft.tasks.causal_lm.rendering import rendering_of
from tfft.tasks.causal_lm.rows import row_fields


class CausalLMTask(base.Task):
    """An example is a conversation, or a part of a text. In evaluation a unit is a token: (its loss, whether it is the most
    probable one), loss -1 where it is not learnt. In prediction it is an answer: tokens, -1 beyond its end."""

    asked = ("prompt",)
    target_specs = {"ids": tf.TensorSpec([None, None], tf.int32)}
    needed = ("tokens", "length", "first_length")
    judges_loss = True
    held_out, proof_sizes, briefly_warm = 8, (1, 5), True
    extra_specs = {
        **{name: tf.TensorSpec([], tf.int32, name=name) for name in (
            "max_new_tokens", "min_new_tokens", "top_k", "no_repeat_ngram", "seed")},
        **{name: tf.TensorSpec([], tf.float32, name=name) for name in ("temperature", "top_p", "min_p", "repetition_penalty",
                                                                       "length_penalty")}}

    def __init__(self, settings: config.CausalLM, learnt: Language):
        super().__init__(settings, learnt)
        self.room = settings.max_new_tokens
        self.width = 2
        self.packed = settings.pack
        self._trained, self._cap = True, 0.0

    @staticmethod
    def reading(experiment: config.Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
        data = experiment.data
        rendering = rendering_of(tokenizer, experiment.task, data, control_tokens(tokenizer))
        encoder = ConversationEncoder(tokenizer, rendering, max_length=data.max_length, overlap=data.overlap)
        return Reading(row_fields(experiment, cache), encoder, lambda rows: {}, int(tokenizer.vocabulary_size()),
                       [fingerprint, *rendering.details, data.overlap])

    @staticmethod
    def infer(experiment: config.Experiment, store: TokenStore, rows: np.ndarray, cache: Path) -> Language:
        tokenizer = load_tokenizer(resolve_backbone(experiment.model.backbone, cache))
        return language_of(tokenizer, rendering_of(tokenizer, experiment.task, experiment.data).template.end,
                           experiment.data.max_length)

    @staticmethod
    def infer_nothing(experiment: config.Experiment) -> Language:
        return Language((), (0,), max_length=experiment.data.max_length)

    load = staticmethod(Language.load)

    def members(self, store: TokenStore, rows: np.ndarray, epoch: int, seed: int) -> np.ndarray:
        examples = store.examples_of(rows)
        return packed(store, examples, self.learnt.max_length, seed, epoch) if self.packed else examples

    def targets(self, store: TokenStore, *, weighted: bool):
        """ids int32[B,S]: the token after each, -1 where it is not learnt. An example weighs as many as it has of them."""
        def read(examples: np.ndarray, length: int):
            ids = np.full((len(examples), length), -1, np.int32)
            for i, row in enumerate(examples.reshape(len(examples), -1)):
                at = 0
                for example in row[row >= 0].tolist():
                    tokens = np.asarray(store.values("tokens", example), np.int32)
                    learnt = np.asarray(store.values("learnt", example))
                    ids[i, at:at + len(tokens) - 1] = np.where(learnt[1:] > 0, tokens[1:], -1)
                    at += len(tokens)
            return {"ids": ids}, (ids >= 0).sum(axis=1).astype(np.float32)

        return read

    def remarks(self, name: str, store: TokenStore, rows: np.ndarray) -> list[str]:
        return judging.remarks(store, rows)

    # ---- model and loss

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        made = causal_lm(backbone)
        layer = made.get_layer(OUTPUT)
        self._trained, self._cap = layer.trained, layer.cap
        return made

    def for_packed(self, model: keras.Model, backbone) -> keras.Model:
        return packed_causal_lm(model, backbone)

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

    def units(self, store: TokenStore, examples: np.ndarray) -> np.ndarray:
        return np.asarray(store.lengths[examples], np.int64)

    def emit(self, outputs, extras) -> tf.Tensor:
        """Of evaluation; answers are made by `computed`."""
        ids, hidden = extras["ids"], outputs["hidden"]
        losses, best = guesses(tf.reshape(hidden, [-1, hidden.shape[-1]]), outputs["table"],
                               tf.maximum(tf.reshape(ids, [-1]), 0), self._cap)
        losses, best = (tf.reshape(value, tf.shape(ids)) for value in (losses, best))
        return tf.stack([tf.where(ids >= 0, losses, -1.0), tf.cast(best == ids, tf.float32)], axis=2)

    def judge(self, judged: base.Judged, tuned: dict[str, list] | None, tune: bool) -> base.Report:
        report, sampling = judging.judge(judged), self.extras({})
        chosen = judging.samples(judged.store, judged.rows, self.settings.sample_rows)
        if not chosen:
            return report

        @tf.function(autograph=False, reduce_retracing=True, input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2)
        def texts(token_ids, padding_mask):
            inputs = {"token_ids": token_ids, "padding_mask": padding_mask}
            return serving.texts(self.answer(judged.model, inputs, sampling), self.learnt, self.settings.stop)

        def answer(prompts: list[np.ndarray]) -> list[str]:
            tokens = tf.ragged.constant([prompt[-self.learnt.max_length:] for prompt in prompts], dtype=tf.int32)
            made = texts(tokens.to_tensor(), tf.ones_like(tokens).to_tensor())
            return [text.decode("utf-8", "replace") for text in made.numpy()]

        return judging.compare(report, chosen, answer, self.learnt, judged.store)

    # ---- prediction

    def compute(self, model: keras.Model, inputs: dict, extras: dict) -> tf.Tensor:
        """float32[B,1,T]: the tokens of the answers."""
        return tf.cast(self.answer(model, inputs, extras), tf.float32)[:, tf.newaxis]

    def answer(self, model: keras.Model, inputs: dict, extras: dict) -> tf.Tensor:
        """int32[B,T], -1 beyond an answer's end. inputs: prompts; extras: the settings of Sampling."""
        ends, stop = self.learnt.ends, self.settings.stop
        stopped = (lambda tokens, count: serving.stopped(tokens, count, self.learnt, stop)) if stop else None
        decoder = Decoder(model.get_layer(OUTPUT).backbone())
        return generate(decoder, *serving.left_padded(inputs), Sampling(**extras), ends, room=self.room,
                        beams=self.settings.beams, stopped=stopped)

    @property
    def answer_width(self) -> int:
        return self.room

    def extras(self, examples: dict) -> dict[str, tf.Tensor]:
        """How answers are chosen: what is asked for, else the settings."""
        return {name: examples[name] if name in examples else tf.constant(getattr(self.settings, name), spec.dtype)
                for name, spec in self.extra_specs.items()}

    def respond(self, examples: dict, rows: dict, units: tf.Tensor, context: base.Context) -> dict[str, tf.Tensor]:
        return serving.respond(tf.cast(units, tf.int32), self.learnt, self.settings.stop)

    recognises = staticmethod(serving.recognises)
    answers = staticmethod(serving.answers)

    # ---- serving

    def signatures(self, served: base.Served) -> dict:
        return serving.signatures(served, self.extra_specs, self.learnt, self.settings.stop)

    def extra_assets(self, encoder: ConversationEncoder) -> dict[str, str]:
        return {"chat.json": encoder.rendering.to_json()}

    def as_served(self, rows: list[dict[str, str]], encoder) -> list[dict[str, str]]:
        prompts = encoder.strings(rows)["prompt"].numpy()
        return [{"prompt": prompt.decode("utf-8", "replace")} for prompt in prompts]

    def nasty(self, fields: tuple[str, ...]) -> dict[str, list]:
        return {"prompt": serving.nasty(self.room)}

    def difference(self, expected: dict, got: dict, rows: list[int]) -> np.ndarray:
        return serving.difference(expected, got, rows)

    def scale(self, expected: dict) -> float:
        return 1.0

    # ---- the model card

    def card(self, tuned: dict[str, list] | None) -> list[str]:
        how = f"{self.settings.beams} beams" if self.settings.beams > 1 else (
            f"temperature {self.settings.temperature:g}" if self.settings.temperature else "the most probable token each time")
        return [f"prompts with texts of up to {self.room} tokens ({how})"]

    def card_of_length(self, data: config.CausalLMData) -> str:
        return f"Of a prompt of more than {data.max_length} tokens the end is read."

    def limits(self, data: config.CausalLMData) -> list[str]:
        return ["- It writes what is probable, which may be wrong, and repeats what it was trained on.",
                "- What stands around a prompt is a matter of its template; a prompt that begins as the template does is taken "
                "as it is."]
