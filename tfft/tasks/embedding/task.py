"""Embeddings of texts by a bi-encoder, for similarity and retrieval."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfft import config
from tfft.config.embedding import COLLECTIONS, kind_of, negatives_of
from tfft.data.alike import same_range
from tfft.data.prepare import Reading
from tfft.data.row_tokens import digests, row_tokens, values_of
from tfft.data.spec import split_slice
from tfft.data.splits import mixed
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.models.heads import pooled_vector
from tfft.tasks import base
from tfft.tasks.embedding import judging, losses, serving
from tfft.tasks.embedding.encoder import EmbeddingEncoder
from tfft.tasks.embedding.learnt import Pairs, infer_pairs
from tfft.tasks.embedding.members import draw
from tfft.tasks.embedding.rows import document_columns, document_fields, document_of, row_columns, row_fields

LOSS_ROWS = 64  # of a batch that the loss of an evaluation is computed in


@keras.saving.register_keras_serializable("tfft")
class Vector(keras.layers.Layer):
    """f[B,D] -> float32[B,D], of length 1 where `normalize`."""

    def __init__(self, normalize: bool, **kwargs):
        super().__init__(**kwargs)
        self.normalize = normalize

    def call(self, vector):
        vector = keras.ops.cast(vector, "float32")
        if not self.normalize:
            return vector
        square = keras.ops.sum(keras.ops.square(vector), axis=-1, keepdims=True)
        return vector * keras.ops.rsqrt(keras.ops.maximum(square, 1e-12))

    def get_config(self):
        return {**super().get_config(), "normalize": self.normalize}


class EmbeddingTask(base.Task):
    """An example is a text of a row; what is planned is a row, with K of its texts. A unit is a text's vector."""

    asked = ("text",)
    whole_batch, answers_rows = True, False
    unexplained = "it answers with a vector, which is many numbers at once"
    width = 0  # known when the model is built

    def __init__(self, settings: config.Embedding, learnt: Pairs):
        super().__init__(settings, learnt)
        self.kind = learnt.kind
        self.sequences = 2 + learnt.negatives
        of_texts = tf.TensorSpec([None, self.sequences], tf.int32)
        more = {"scored": {"score": tf.TensorSpec([None], tf.float32)}, "labelled": {"label": tf.TensorSpec([None], tf.int32)}}
        self.target_specs = {"same": of_texts, "there": of_texts, **more.get(self.kind, {})}

    @staticmethod
    def reading(experiment: config.Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
        data, task = experiment.data, experiment.task
        prompts = task.query_prompt, task.passage_prompt
        size = int(tokenizer.vocabulary_size())

        def corpus(rows: str) -> tuple[str, Reading] | None:
            """A collection that is evaluated on is searched as a whole; the run's own rows in what data.corpus says."""
            whole = (f"documents:{split_slice(rows)[0]}",) if rows.startswith(COLLECTIONS) else data.other_sources
            if not whole or kind_of(data) != "pairs":
                return None
            reader = EmbeddingEncoder(tokenizer, max_length=data.max_length, prompts=prompts, texts=document_of)
            return whole[0], Reading(document_fields(), reader, document_columns, size, [fingerprint, prompts, "documents"])

        encoder = EmbeddingEncoder(tokenizer, max_length=data.max_length, prompts=prompts)
        return Reading(row_fields(experiment, cache), encoder, row_columns, size, [fingerprint, prompts], corpus=corpus)

    @staticmethod
    def infer(experiment: config.Experiment, store: TokenStore, rows: np.ndarray, cache: Path) -> Pairs:
        return infer_pairs(experiment, store, rows, negatives_of(experiment))

    load = staticmethod(Pairs.load)

    def members(self, store: TokenStore, rows: np.ndarray, epoch: int, seed: int) -> np.ndarray:
        return draw(store, rows, self.kind, self.learnt.negatives, epoch, seed)

    def identity(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """Of all texts of a row."""
        return super().identity(store, rows) ^ digests(row_tokens(store, rows))

    def truth(self, store: TokenStore, rows: np.ndarray) -> base.Truth | None:
        """The score of two texts, or the label of one; of pairs none."""
        if self.kind == "scored":
            scores = np.asarray(store.column("score")[rows], np.float64)
            return base.Truth("score", mixed(scores.view(np.uint64)), lambda place: f"{scores[place]:g}", values=scores)
        if self.kind != "labelled":
            return None
        codes, names = values_of(store, "label", rows), tuple(store.names("label"))
        return base.Truth("label", digests(codes), lambda place: repr(names[codes.flat[place]]), names, codes, one=True)

    def targets(self, store: TokenStore, *, weighted: bool):
        """What `losses.of_batch` takes. A labelled text without another one of its label weighs nothing. Examples by
        themselves, as an evaluation has them, are rows of one text."""
        same = store.column("same")

        def read(examples: np.ndarray, length: int = 0):
            if examples.ndim == 1:
                absent = np.full((len(examples), self.sequences - 1), -1, examples.dtype)
                examples = np.concatenate([examples[:, np.newaxis], absent], axis=1)
            known, there = np.maximum(examples, 0), examples >= 0
            made = {"same": np.where(there, same[known] & 0x7FFFFFFF, -1).astype(np.int32), "there": there.astype(np.int32)}
            rows = store.row_of(known[:, 0])
            if self.kind == "scored":
                made["score"] = ((store.column("score")[rows] - self.learnt.low) / (self.learnt.high - self.learnt.low)).astype(
                    np.float32)
            elif self.kind == "labelled":
                made["label"] = np.asarray(store.column("label")[rows], np.int32)
            return made, there[:, 1].astype(np.float32)

        return read

    def unlike(self, experiment: config.Experiment, store: TokenStore, sources: dict[str, np.ndarray]) -> list[str]:
        """Labels of their own are as good as the same: texts of one label belong together."""
        if self.kind != "scored":
            return []
        return same_range("scores", {name: np.asarray(store.column("score")[rows]) for name, rows in sources.items()})

    def describe(self) -> str:
        return self.learnt.line

    # ---- model and loss

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        """{inputs int32[B,S]} -> float32[B,D]. model.head_dropout acts before the projection, where there is one."""
        vector = pooled_vector(backbone, model)
        if self.settings.projection:
            vector = keras.layers.Dropout(model.head_dropout, seed=seed, name="head_dropout", dtype="float32")(vector)
            vector = keras.layers.Dense(self.settings.projection, name="projection", dtype="float32", use_bias=False,
                                        kernel_initializer=keras.initializers.Orthogonal(seed=seed))(vector)
        self.width = int(vector.shape[-1])
        if self.settings.matryoshka and self.settings.matryoshka[-1] > self.width:
            raise UserError(f"config.task.matryoshka={self.settings.matryoshka}: the vectors have {self.width} values.")
        return keras.Model(backbone.input, Vector(self.settings.normalize, name="vector", dtype="float32")(vector),
                           name="embedder")

    def loss(self, targets, outputs) -> tf.Tensor:
        return losses.of_batch(self.settings, self.kind, targets, outputs)

    # ---- evaluation

    def emit(self, outputs, extras) -> tf.Tensor:
        return outputs[:, tf.newaxis]

    def judge(self, judged: base.Judged, tuned: dict[str, list] | None, tune: bool) -> base.Report:
        """The loss is that of batches of LOSS_ROWS rows."""
        how = {"pairs": judging.judge_search, "scored": judging.judge_scores, "labelled": judging.judge_labels}
        report, read = how[self.kind](judged), self.targets(judged.store, weighted=False)

        def loss(members: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            targets, weights = read(members)
            return self.loss(tf.nest.map_structure(tf.constant, targets), tf.constant(outputs)).numpy(), weights

        members = self.members(judged.store, judged.rows[:report.judged], 0, 0)  # without documents, which come last
        report.metrics["loss"] = judging.mean_loss(judged, members, loss, LOSS_ROWS)
        return report

    # ---- prediction and serving

    def respond(self, examples: dict, rows: dict, units: tf.Tensor, context: base.Context) -> dict[str, tf.Tensor]:
        return serving.respond(rows, units)

    recognises = staticmethod(serving.recognises)
    answers = staticmethod(serving.answers)

    def signatures(self, served: base.Served) -> dict:
        return serving.signatures(served, self._two_prompts)

    def other_questions(self, rows: list[dict]) -> dict:
        return serving.other_questions(rows, self._two_prompts)

    @property
    def _two_prompts(self) -> bool:
        return self.settings.query_prompt != self.settings.passage_prompt

    # ---- the model card

    def card(self, tuned: dict[str, list] | None) -> list[str]:
        s = self.settings
        made = [f"texts with a vector of {self.width} values{', of length 1' if s.normalize else ''}"]
        if s.query_prompt or s.passage_prompt:
            made.append(f"The graph writes `{s.query_prompt}` before a text, and `{s.passage_prompt}` before the text_pair of "
                        "`similarity` and the text of `embed_passage`.")
        if s.matryoshka:
            made.append(f"Vectors can be cut to their first {', '.join(map(str, s.matryoshka))} values; take cosines then.")
        return made

    def card_of_length(self, data: config.EmbeddingData) -> str:
        return f"Texts are cut to {data.max_length} tokens, prompt included."

    def limits(self, data: config.EmbeddingData) -> list[str]:
        return [f"- Of a text, what is beyond {data.max_length} tokens is not read.",
                "- A similarity compares texts with each other; it is no probability."]
