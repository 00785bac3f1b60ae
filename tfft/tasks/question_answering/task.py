"""Extractive question answering: the part of a context that answers a question, or that there is none."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfft import config
from tfft.config.question_answering import windows
from tfft.data.prepare import Reading
from tfft.data.row_tokens import digests, first_parts, values_of
from tfft.data.store import Ragged, TokenStore
from tfft.errors import UserError
from tfft.models.backbone import sequence_output
from tfft.models.ensemble import mean
from tfft.tasks import base
from tfft.tasks.question_answering import judging, serving
from tfft.tasks.question_answering.decode import NONE, best_spans, to_units
from tfft.tasks.question_answering.encoder import QuestionEncoder
from tfft.tasks.question_answering.explained import explained
from tfft.tasks.question_answering.learnt import Answers, describe, first_place, infer_answers
from tfft.tasks.question_answering.rows import answer_columns, answer_texts, row_fields

THRESHOLD = "no_answer_threshold"  # among what is tuned
USUAL = 0.5  # where it is not


class QuestionAnsweringTask(base.Task):
    """An example is a window: a question and a part of its context. A unit is a span (first piece, last piece, score), of which
    each window has the n best and one for no answer."""

    asked = ("question", "context")
    width = 3
    target_specs = {name: tf.TensorSpec([None], tf.int32) for name in ("start", "end", "first_length", "length")}
    extra_specs = {name: tf.TensorSpec([None], tf.int32, name=name) for name in ("first_length", "length")}

    def __init__(self, settings: config.QuestionAnswering, learnt: Answers):
        super().__init__(settings, learnt)
        self.n, self.no_answer = settings.n_best, learnt.no_answer

    @staticmethod
    def reading(experiment: config.Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
        data = experiment.data
        limit, overlap = windows(data)
        encoder = QuestionEncoder(tokenizer, max_length=data.max_length, overlap=overlap, question_limit=limit,
                                  split=data.word_split)
        return Reading(row_fields(experiment, cache), encoder, answer_columns, int(tokenizer.vocabulary_size()),
                       [fingerprint, limit, overlap, data.word_split])

    @staticmethod
    def infer(experiment: config.Experiment, store: TokenStore, rows: np.ndarray, cache: Path) -> Answers:
        return infer_answers(experiment, store, rows)

    load = staticmethod(Answers.load)

    def targets(self, store: TokenStore, *, weighted: bool):
        """start and end int32[b]: the first and last piece of the row's first answer, as places in the window; 0, [CLS], where
        the window does not hold it whole. first_length, length int32[b]. In training an example of a row whose answers are
        not in the context weighs nothing."""
        first_length, lengths, begins = (store.column(name) for name in ("first_length", "length", "begin"))

        def read(examples: np.ndarray, length: int):
            made = {"start": np.zeros(len(examples), np.int32), "end": np.zeros(len(examples), np.int32),
                    "first_length": np.asarray(first_length[examples], np.int32),
                    "length": np.asarray(lengths[examples], np.int32)}
            weights = np.ones(len(examples), np.float32)
            for i, (example, row) in enumerate(zip(examples, store.row_of(examples), strict=True)):
                if span := first_place(store, int(row)):
                    first, last = pieces_of(store, int(row), *span)
                    shift = int(first_length[example]) - int(begins[example])
                    if begins[example] <= first <= last < int(lengths[example]) - 1 - shift:  # the last one is [SEP]
                        made["start"][i], made["end"][i] = first + shift, last + shift
                elif weighted and len(store.values("answer_start", int(row))):
                    weights[i] = 0
            return made, weights

        return read

    def describe(self) -> str:
        return describe(self.learnt)

    def truth(self, store: TokenStore, rows: np.ndarray) -> base.Truth:
        """The texts of the answers."""
        return base.Truth("answer", digests(values_of(store, "answers", rows)), lambda place: ", ".join(
            map(repr, answer_texts(store, int(rows[place]))[:3])) or "no answer")

    def wording(self, store: TokenStore, rows: np.ndarray) -> Ragged:
        """Of the question: many have one context."""
        return first_parts(store, rows)

    def shared(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        return digests(values_of(store, "context", rows))

    def cut(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        return np.zeros(len(rows), bool)  # windows have all of a context

    def explained(self, encoder, wanted: base.Wanted) -> base.Explained:
        return explained(self, encoder, wanted)

    def oddities(self, name: str, store: TokenStore, rows: np.ndarray) -> list[str]:
        return list(self.learnt.notes) if name == "train" else []

    # ---- model and loss

    def build_model(self, backbone, model: config.Model, seed: int) -> keras.Model:
        """{inputs int32[B,S]} -> float32[B,S,2]: how likely the answer begins, and ends, at each piece."""
        dropped = keras.layers.Dropout(model.head_dropout, seed=seed, name="head_dropout", dtype="float32")(
            sequence_output(backbone))
        head = keras.layers.Dense(2, name="head", dtype="float32",
                                  kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02, seed=seed))
        return keras.Model(backbone.input, head(dropped), name="reader")

    def loss(self, targets, outputs) -> tf.Tensor:
        """The mean of the cross-entropies of start and end, among the pieces of the context and [CLS]."""
        among = _context(targets, outputs) | (tf.range(tf.shape(outputs)[1]) == 0)
        logits = tf.where(among[..., tf.newaxis], outputs, NONE)
        return sum(tf.nn.sparse_softmax_cross_entropy_with_logits(targets[name], logits[..., i])
                   for i, name in enumerate(("start", "end"))) / 2

    def averaged(self, tasks: list) -> Callable[[list], tf.Tensor]:
        """The scores of where answers begin and end: probabilities are of one window, and spans of several are compared."""
        if len({task.no_answer for task in tasks}) > 1:
            raise UserError("some of them were trained on questions without an answer and some were not.")
        return mean

    # ---- evaluation

    def units(self, store: TokenStore, examples: np.ndarray) -> np.ndarray:
        return np.full(len(examples), self.n + 1, np.int64)

    def emit(self, outputs, extras) -> tf.Tensor:
        allowed = tf.cast(_context(extras, outputs), tf.int32)
        return to_units(best_spans(outputs[..., 0], outputs[..., 1], allowed, self.settings.max_answer_tokens, self.n))

    @property
    def tunes(self) -> bool:
        return self.no_answer and self.settings.tune_no_answer

    def threshold(self, tuned: dict[str, list] | None) -> float:
        """The no_answer_score above which there is no answer."""
        if not self.no_answer:
            return float("inf")
        return float(tuned[THRESHOLD][0]) if tuned and THRESHOLD in tuned else USUAL

    def judge(self, judged: base.Judged, tuned: dict[str, list] | None, tune: bool) -> base.Report:
        threshold = self.threshold(tuned)
        return judging.judge(judged, self.n, threshold, THRESHOLD if tune and self.no_answer else "")

    # ---- prediction

    def extras(self, examples: dict) -> dict[str, tf.Tensor]:
        return {name: examples[name] for name in self.extra_specs}

    def counts(self, examples: dict) -> tf.Tensor:
        return tf.fill(tf.shape(examples["length"], tf.int64), tf.constant(self.n + 1, tf.int64))

    def respond(self, examples: dict, rows: dict, units: tf.Tensor, context: base.Context) -> dict[str, tf.Tensor]:
        return serving.respond(examples, rows, units, self.n, self.threshold(context.tuned))

    recognises = staticmethod(serving.recognises)
    answers = staticmethod(serving.answers)

    # ---- serving

    def nasty(self, fields: tuple[str, ...]) -> dict[str, list]:
        return dict(zip(self.asked, serving.nasty(), strict=True))

    def warm_up(self, fields: tuple[str, ...], length: int) -> dict[str, str]:
        """A question of an eighth of the tokens."""
        question = max(1, min(length // 8, 16))
        return {"question": " ".join(["a"] * question), "context": " ".join(["a"] * max(1, length - question - 4))}

    def difference(self, expected: dict, got: dict, rows: list[int]) -> np.ndarray:
        return serving.difference(expected, got, rows)

    # ---- the model card

    def card(self, tuned: dict[str, list] | None) -> list[str]:
        made = [f"a question with the part of a context that answers it, of at most {self.settings.max_answer_tokens} tokens"]
        made.append(f"Where `no_answer_score` is above {self.threshold(tuned):.4g} the answer is empty." if self.no_answer else
                    "Every question is answered: the training rows had an answer each.")
        return made

    def card_of_length(self, data: config.QuestionAnsweringData) -> str:
        limit, overlap = windows(data)
        return (f"Contexts of more tokens than {data.max_length} less the question's are read in windows that share {overlap}; "
                f"the answer is the best one of all windows. Questions are cut after {limit} tokens.")

    def limits(self, data: config.QuestionAnsweringData) -> list[str]:
        return ["- An answer is one part of the context, word for word: nothing is counted, summed up or put together.",
                "- A score compares the best answers with each other and with none; it is no probability of being right."]


def pieces_of(store: TokenStore, row: int, start: int, end: int) -> tuple[int, int]:
    """The first and last piece of the words that characters start to end - 1 of a context touch; (0, -1) if there is none."""
    first = int(np.searchsorted(store.values("word_end", row), start, "right"))
    last = int(np.searchsorted(store.values("word_start", row), end, "left")) - 1
    word = store.values("piece_word", row)
    if first > last:
        return 0, -1
    return int(np.searchsorted(word, first, "left")), int(np.searchsorted(word, last, "right")) - 1


def _context(columns: dict, outputs: tf.Tensor) -> tf.Tensor:
    """bool[B,S]: the pieces of the context, of columns first_length and length int32[B]."""
    place = tf.range(tf.shape(outputs)[1])
    return (place >= columns["first_length"][:, tf.newaxis]) & (place < columns["length"][:, tf.newaxis] - 1)
