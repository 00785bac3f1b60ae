"""Language models: the next token is learnt, and prompts are answered."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfft import config
from tfft.assets import resolve_backbone
from tfft.data.packing import packed
from tfft.data.prepare import Reading
from tfft.data.row_tokens import digests, row_tokens
from tfft.data.store import TokenStore
from tfft.models.backbone import load_tokenizer
from tfft.models.causal_decoder import CausalDecoder
from tfft.models.causal_lm import OUTPUT, causal_lm, packed_causal_lm
from tfft.models.decoding import generate
from tfft.models.sampling import Sampling
from tfft.models.special_tokens import control_tokens
from tfft.tasks import base
from tfft.tasks.causal_lm import judging, serving
from tfft.tasks.causal_lm.encoder import ConversationEncoder
from tfft.tasks.causal_lm.rendering import rendering_of
from tfft.tasks.causal_lm.rows import disturbed, row_fields
from tfft.tasks.texts.language import Language, language_of
from tfft.tasks.texts.task import WritingTask

ANSWER = 40  # tokens of an answer that a person is shown


class CausalLMTask(WritingTask):
    """An example is a conversation, or a part of a text."""

    asked = ("prompt",)
    target_specs = {"ids": tf.TensorSpec([None, None], tf.int32)}
    needed = ("tokens", "length", "first_length")

    def __init__(self, settings: config.CausalLM, learnt: Language):
        super().__init__(settings, learnt)
        self.packed = settings.pack

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

    def identity(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """Of a prompt with its answer."""
        return super().identity(store, rows) ^ digests(row_tokens(store, rows))

    def truth(self, store: TokenStore, rows: np.ndarray) -> base.Truth:
        """What a prompt is answered by, which may differ. Plain texts ask all that they say."""
        def shown(place: int) -> str:
            example = int(store.examples_of(rows[place:place + 1])[-1])
            learnt = store.values("tokens", example)[store.values("learnt", example) > 0]
            return repr(self.learnt.written(learnt[:ANSWER].tolist()).strip())

        asked = super().identity(store, rows)
        return base.Truth("response", digests(row_tokens(store, rows)), shown, asked=asked, strict=False)

    def disturbed(self, values: dict, kind: str, share: float, seed: int) -> dict | None:
        return disturbed(values, kind, share, seed)

    def cut(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """A plain text becomes as many examples as it needs."""
        counts = np.bincount(np.searchsorted(rows, store.row_of(store.examples_of(rows))), minlength=len(rows))
        return super().cut(store, rows) & (counts == 1)

    # ---- model and loss

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        made = causal_lm(backbone)
        layer = made.get_layer(OUTPUT)
        self._trained, self._cap = layer.trained, layer.cap
        return made

    def for_packed(self, model: keras.Model, backbone) -> keras.Model:
        return packed_causal_lm(model, backbone)

    # ---- evaluation

    def units(self, store: TokenStore, examples: np.ndarray) -> np.ndarray:
        return np.asarray(store.lengths[examples], np.int64)

    def samples(self, judged: base.Judged) -> list[tuple[int, np.ndarray, np.ndarray]]:
        return judging.samples(judged.store, judged.rows, self.settings.sample_rows)

    # ---- prediction

    def written(self, model: keras.Model, inputs: dict, sampling: Sampling, **more) -> tf.Tensor:
        decoder = CausalDecoder(model.get_layer(OUTPUT).backbone())
        return generate(decoder, *serving.left_padded(inputs), sampling, self.learnt.ends, room=self.room,
                        beams=self.settings.beams, **more)

    # ---- serving

    writes = ("generate", "continue")

    def signatures(self, served: base.Served) -> dict:
        return {**super().signatures(served), "continue": serving.continuing(served, self.learnt, self.settings.stop)}

    def extra_assets(self, encoder: ConversationEncoder) -> dict[str, str]:
        return {"chat.json": encoder.rendering.to_json()}

    def as_served(self, rows: list[dict[str, str]], encoder) -> list[dict[str, str]]:
        prompts = encoder.strings(rows)["prompt"].numpy()
        return [{"prompt": prompt.decode("utf-8", "replace")} for prompt in prompts]

    # ---- the model card

    def card_of_length(self, data: config.CausalLMData) -> str:
        return f"Of a prompt of more than {data.max_length} tokens the end is read."

    def limits(self, data: config.CausalLMData) -> list[str]:
        return [*super().limits(data),
                "- What stands around a prompt is a matter of its template; a prompt that begins as the template does is taken "
                "as it is."]
