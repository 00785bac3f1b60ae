"""Multiple choice: which of its candidates answers a question, or which do."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfft import config
from tfft.data.prepare import Reading
from tfft.data.row_tokens import digests, values_of
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.models.ensemble import mean, mean_of_each
from tfft.models.heads import pooled_classifier
from tfft.tasks import base
from tfft.tasks.multiple_choice import judging, serving
from tfft.tasks.multiple_choice.encoder import ChoiceEncoder
from tfft.tasks.multiple_choice.explained import explained
from tfft.tasks.multiple_choice.learnt import Choices, infer_choices, right_counts
from tfft.tasks.multiple_choice.members import draw, right_examples
from tfft.tasks.multiple_choice.rows import row_columns, row_fields


class MultipleChoiceTask(base.Task):
    """An example is a candidate with its question; what is planned is a row, with K of its candidates. A unit is a candidate's
    logit."""

    asked = ("question", "context", "choices")
    width = 1
    page = "choice"

    def __init__(self, settings: config.MultipleChoice, learnt: Choices):
        super().__init__(settings, learnt)
        self.binary, self.sequences = settings.loss == "binary", learnt.choices
        spec = tf.TensorSpec([None, self.sequences], tf.int32)
        self.target_specs = {"right": spec, "there": spec}

    @staticmethod
    def reading(experiment: config.Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
        data = experiment.data
        encoder = ChoiceEncoder(tokenizer, max_length=data.max_length, truncation=data.truncation,
                                context=bool(data.context_column))
        return Reading(row_fields(experiment, cache), encoder, row_columns, int(tokenizer.vocabulary_size()),
                       [fingerprint, data.truncation])

    @staticmethod
    def infer(experiment: config.Experiment, store: TokenStore, rows: np.ndarray, cache: Path) -> Choices:
        return infer_choices(experiment, store, rows)

    load = staticmethod(Choices.load)

    def members(self, store: TokenStore, rows: np.ndarray, epoch: int, seed: int) -> np.ndarray:
        """Without rows that nothing can be learnt from: by softmax those without a right candidate."""
        rows = rows if self.binary else self.can_judge(store, rows)
        return draw(store, rows, right_examples(store), self.sequences, epoch, seed)

    def targets(self, store: TokenStore, *, weighted: bool):
        """right, there int32[b,K]: 1 where a candidate is right, and where there is one. Examples by themselves, as an
        evaluation has them, are rows of one candidate."""
        right = right_examples(store)

        def read(examples: np.ndarray, length: int = 0):
            if examples.ndim == 1:
                absent = np.full((len(examples), self.sequences - 1), -1, examples.dtype)
                examples = np.concatenate([examples[:, np.newaxis], absent], axis=1)
            there = examples >= 0
            made = {"right": (there & right[np.maximum(examples, 0)]).astype(np.int32), "there": there.astype(np.int32)}
            return made, np.ones(len(examples), np.float32)

        return read

    def can_judge(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        return rows[right_counts(store)[rows] > 0]

    def nothing_to_judge(self) -> str:
        return "has a right candidate"

    def truth(self, store: TokenStore, rows: np.ndarray) -> base.Truth:
        """The places of right candidates, from 1."""
        codes = values_of(store, "right", rows)
        begins = np.cumsum(codes.lengths) - codes.lengths
        most = int(np.asarray(store.column("candidates")[rows]).max(initial=1))
        return base.Truth("right candidate", digests(codes), lambda place: ", ".join(
            str(number + 1) for number in codes.flat[begins[place]:begins[place] + codes.lengths[place]]) or "none",
            tuple(str(number + 1) for number in range(most)), codes, kinds=False)

    def remarks(self, name: str, store: TokenStore, rows: np.ndarray) -> list[str]:
        found = {"have no right candidate" + ("" if self.binary and name == "train" else " and are left out"):
                 rows[right_counts(store)[rows] == 0],
                 "have twice the same candidate, which is right where one of the two is":
                 rows[np.asarray(store.column("twice")[rows]) > 0],
                 "have one candidate alone": rows[np.asarray(store.column("candidates")[rows]) == 1]}
        return [f"{len(which):,} of {len(rows):,} rows {what}, such as {store.place(which[0])}"
                for what, which in found.items() if len(which)]

    def explained(self, encoder, wanted: base.Wanted) -> base.Explained:
        return explained(self, encoder, wanted)

    def describe(self) -> str:
        return "\n".join(self.learnt.lines)

    # ---- model and loss

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        """{inputs int32[B,S]} -> logits float32[B,1]"""
        return pooled_classifier(backbone, model, 1, seed)

    def loss(self, targets, outputs) -> tf.Tensor:
        """softmax: the cross-entropy of the row's candidates, right ones alike (ListNet's top one, Cao et al. 2007). binary:
        the mean of those of each candidate."""
        right, there = (tf.cast(targets[name], tf.float32) for name in ("right", "there"))
        logits = tf.reshape(outputs, tf.shape(right))
        if self.binary:
            each = tf.nn.sigmoid_cross_entropy_with_logits(right, logits) * there
            return tf.reduce_sum(each, axis=1) / tf.maximum(1.0, tf.reduce_sum(there, axis=1))
        logs = tf.nn.log_softmax(tf.where(there > 0, logits, serving.NONE))
        return -tf.reduce_sum(right * logs, axis=1) / tf.maximum(1.0, tf.reduce_sum(right, axis=1))

    def averaged(self, tasks: list) -> Callable[[list], tf.Tensor]:
        """binary: the probability of each candidate. softmax: the score of each, which is read alone."""
        if len({task.binary for task in tasks}) > 1:
            raise UserError("config.task.loss is binary for some of them and softmax for others.")
        return mean_of_each if self.binary else mean

    # ---- evaluation

    def emit(self, outputs, extras) -> tf.Tensor:
        return outputs[:, tf.newaxis]

    def judge(self, judged: base.Judged, tuned: dict[str, list] | None, tune: bool) -> base.Report:
        return judging.judge(judged, self.binary)

    baselines_version = 1

    def baselines(self, train: tuple[TokenStore, np.ndarray], judged: tuple[TokenStore, np.ndarray]) -> dict[str, dict]:
        return judging.simple(train, judged)

    # ---- prediction and serving

    def counts(self, examples: dict) -> tf.Tensor:
        """One each: a row is many examples, which are computed a part at a time."""
        return tf.ones_like(examples["length"], tf.int64)

    def respond(self, examples: dict, rows: dict, units: tf.Tensor, context: base.Context) -> dict[str, tf.Tensor]:
        return serving.respond(examples, rows, units, self.binary)

    recognises = staticmethod(serving.recognises)
    answers = staticmethod(serving.answers)

    def signatures(self, served: base.Served) -> dict:
        return serving.signatures(served)

    def nasty(self, fields: tuple[str, ...]) -> dict[str, list]:
        return serving.nasty(fields)

    def difference(self, expected: dict, got: dict, rows: list[int]) -> np.ndarray:
        return serving.difference(expected, got, rows)

    def request_tokens(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        counts = np.asarray(store.column("candidates")[rows], np.int64)
        return np.add.reduceat(np.asarray(store.lengths[store.examples_of(rows)], np.int64), np.cumsum(counts) - counts)

    def warm_up(self, fields: tuple[str, ...], length: int) -> dict[str, str | list[str]]:
        """Candidates of an eighth of the tokens."""
        each = max(1, min(length // 8, 16))
        texts = [name for name in fields if name != "choices"]
        words = {name: " ".join(["a"] * max(1, (length - each - 3) // len(texts))) for name in texts}
        return {**words, "choices": [" ".join(["a"] * each)] * self.sequences}

    # ---- the model card

    def card(self, tuned: dict[str, list] | None) -> list[str]:
        how = ("each candidate by itself: its score is the probability that it is right" if self.binary else
               "the candidates of a row against each other: their scores add up to 1")
        return [f"a question and its candidates with the best one, its position from 0, and all scores. Judged is {how}."]

    def card_of_length(self, data: config.MultipleChoiceData) -> str:
        asked = "question and context" if data.context_column else "question"
        return (f"A candidate is read together with its {asked} in at most {data.max_length} tokens; what is too long loses of "
                f"the {asked.split()[-1]} first.")

    def limits(self, data: config.MultipleChoiceData) -> list[str]:
        return ["- One of the candidates is always chosen, also where none is right."]
