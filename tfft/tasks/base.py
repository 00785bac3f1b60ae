"""What a task is: all that the rest of tfft asks one. docs/architecture.md says who asks what, and how to add one.

    rows --fields, encoder--> examples --targets--> batches --model, loss--> training
    examples --model, emit--> units --judge--> metrics, mistakes          (evaluation)
    rows --encoder--> examples --model, emit--> units --respond--> answers (prediction, and in the graph of an export)
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfft.config import Experiment, Model, by_source
from tfft.data.pipeline import Targets
from tfft.data.prepare import Reading
from tfft.data.store import TokenStore
from tfft.errors import UserError
from tfft.models.backbone import load_backbone
from tfft.tasks.knowing import Knowing
from tfft.tasks.nasty import NASTY
from tfft.tasks.reasons import Explained, Target, Wanted, against_others, odds_at
from tfft.tasks.records import (
    MISTAKES,
    PARTS,
    Chances,
    Context,
    Evidence,
    Judged,
    Learnt,
    Nothing,
    Report,
    Served,
    Structured,
    Table,
    Truth,
    quarters,
)

__all__ = [
    "MISTAKES", "NASTY", "PARTS", "Chances", "Context", "Evidence", "Explained", "Judged", "Learnt", "Nothing", "Report",
    "Served", "Structured", "Table", "Target", "Task", "Truth", "Wanted", "against_others", "odds_at", "quarters",
]


class Task(Knowing, ABC):
    """One task: its settings and what it has learnt. Tensors of a batch have B examples of S tokens."""

    asked: tuple[str, ...] = ("text",)  # names that asked fields can have
    settings: Any
    learnt: Any
    width: int  # D, the values of a unit
    separator: str = ","  # what joins the names of an answer in one csv field
    target_specs: Any  # see tfft.data.pipeline.Reader
    extra_specs: dict[str, tf.TensorSpec] = {}  # what `emit` takes beside the model's outputs, in an export's graph
    sequences: int = 0  # K, where what is planned is a row as K of its texts (`members`); 0: each example by itself
    whole_batch: bool = False  # whether the loss of an example depends on all of the global batch; see `loss`
    packed: bool = False  # whether examples int64[n,K] of `members` follow one another in one sequence; see `for_packed`
    drawn: bool = False  # whether an epoch draws targets, and what inputs show; see `targets`
    needed: tuple[str, ...] = ("tokens", "length", "first_length")  # columns of encoded examples that units are computed from
    judges_loss: bool = False  # whether `judge` makes the loss of units, so that an evaluation need not compute `loss`
    held_out: int = 64  # rows that an export is proven on beside the nasty ones, in batches of `proof_sizes`
    proof_sizes: tuple[int, ...] = (1, 2, 7, 32)
    answers_rows: bool = True  # whether an answer to each row is worth a file, as cross-validation writes
    briefly_warm: bool = False  # whether one small request warms a server up, since an answer takes long

    def __init__(self, settings: Any, learnt: Any):
        self.settings, self.learnt = settings, learnt

    # ---- rows -> examples, what is learnt from them, targets

    @staticmethod
    @abstractmethod
    def reading(experiment: Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
        """How rows are read. fingerprint: the tokenizer's."""

    @classmethod
    def readings(cls, experiment: Experiment, tokenizer, fingerprint: str, cache: Path) -> Reading:
        """`reading`, with those of the sources of a mixture."""
        def read(one: Experiment) -> Reading:
            def strata(store: TokenStore, rows: np.ndarray) -> np.ndarray | None:
                truth = cls(one.task, cls.infer(one, store, rows, cache)).truth(store, rows)
                return truth and truth.strata()

            return dataclasses.replace(cls.reading(one, tokenizer, fingerprint, cache), strata=strata)

        sources = {name: read(one) for name, one in by_source(experiment).items() if name}
        return dataclasses.replace(read(experiment), sources=sources)

    @staticmethod
    @abstractmethod
    def infer(experiment: Experiment, store: TokenStore, rows: np.ndarray, cache: Path) -> Learnt:
        """What is learnt from the training rows. Raises: UserError where they cannot be learnt from."""

    @staticmethod
    def infer_nothing(experiment: Experiment) -> Learnt:
        """What stands for it where there are no rows, of a task whose model does not depend on it. Raises: UserError."""
        raise UserError(f"config.model.backbone={experiment.model.backbone} has no weights and needs no rows: it is for "
                        f"language models (task causal_lm), not for {experiment.task.name}.")

    @staticmethod
    @abstractmethod
    def load(folder: Path) -> Learnt:
        """What `Learnt.save` wrote."""

    @staticmethod
    def extend(before: Learnt, learnt: Learnt) -> Learnt:
        """What is learnt from the training rows of a run that goes on from another one: behind all that this had learnt, in its
        order, so that the new model's first outputs are those of the old one. Raises: UserError where they do not fit."""
        return learnt

    def larger(self, path: str, made: np.ndarray, before: np.ndarray) -> np.ndarray:
        """One of the head's new weights with an old one, of fewer labels, inside."""
        made = made.copy()
        made[tuple(map(slice, before.shape))] = before
        return made

    def members(self, store: TokenStore, rows: np.ndarray, epoch: int, seed: int) -> np.ndarray:
        """What an epoch of training plans, of rows int64[n] that ascend (of a mixture one may be there several times): their
        examples int64[m], or int64[n,K]: K examples of each row, -1 where it has fewer, which stand side by side in a batch; K
        is `sequences`. A function of its arguments."""
        return store.examples_of(rows)

    @abstractmethod
    def targets(self, store: TokenStore, *, weighted: bool) -> Targets:
        """(examples int64[b], length) -> (targets, weights float32[b]): how much of the loss each example is. `weighted`: as in
        training, where classes may weigh differently. Examples are int64[b,K], -1 where absent, where `members` says so.
        Where `drawn`, the function takes a seed and the epoch besides (evaluation: 0, 0; of a mixture int64, one for each
        example) and gives, third, what inputs show in place of the examples' tokens: int32[b,length], -1 where they show these.
        A function of its arguments."""

    def can_judge(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` that can be judged."""
        return rows

    def strangers(self, store: TokenStore, rows: np.ndarray) -> str:
        """What the rows have that no training row had, as one line; '' if nothing."""
        return ""

    def unlike(self, experiment: Experiment, store: TokenStore, sources: dict[str, np.ndarray]) -> list[str]:
        """What is odd about the training rows of a mixture's sources beside each other, a line each. Raises: UserError where
        they cannot be learnt from together."""
        return []

    def remarks(self, name: str, store: TokenStore, rows: np.ndarray) -> list[str]:
        """What is odd about the rows of the split `name` and should be known before training, a line each. Raises: UserError
        where they cannot be used."""
        return []

    def advice(self, experiment: Experiment) -> list[str]:
        """Where the training rows ask for other settings than the experiment's: a sentence each, with the setting."""
        return []

    def nothing_to_judge(self) -> str:
        """Why `can_judge` left none of the rows, as the end of a sentence."""
        return "has an answer to judge by"

    def describe(self) -> str:
        """What was learnt from the training rows, for the log; '' where there is nothing to say."""
        return ""

    def describe_rows(self, rows: int) -> Table | str:
        """The same for the plan, of so many training rows."""
        return self.describe()

    # ---- model and loss

    def load_backbone(self, preset: str, *, precision: str, dropout: float, seed: int):
        """The pretrained backbone, or what is made of it; a function of its arguments. dropout -1: its own. Raises: UserError
        where it is not what the task needs."""
        return load_backbone(preset, precision=precision, dropout=dropout)

    @abstractmethod
    def build_model(self, backbone, model: Model, seed: int) -> keras.Model:
        """The backbone with the task's head; outputs are float32."""

    def adopt(self, model: keras.Model, preset: str) -> str:
        """Puts what a pretrained checkpoint has for the head into the model; says so in half a sentence."""
        return ""

    def take(self, model: keras.Model, head: dict[str, np.ndarray]) -> bool:
        """Puts what a run of another task passes on beside its backbone (`pass_on`) into the model; whether it has a place for
        it."""
        return False

    def for_packed(self, model: keras.Model, backbone) -> keras.Model:
        """Where `packed`: the model with the input "document" besides, of the same weights; see tfft.data.pipeline."""
        raise NotImplementedError

    def pass_on(self, model: keras.Model) -> dict[str, np.ndarray]:
        """What of a trained head goes with an exported backbone, where `adopt` finds it: arrays by the names of Hugging Face's
        checkpoints."""
        return {}

    def learning_rate_multiplier(self, path: str) -> float | None:
        """What the learning rate of one of the head's variables is multiplied by; None: train.head_rate."""
        return None

    @abstractmethod
    def loss(self, targets, outputs) -> tf.Tensor:
        """Loss float32[B] of each example, before weights. Where `whole_batch`: targets are those of the global batch, and
        outputs are float32[B*K,D] of all its sequences, whatever the number of replicas and micro-batches."""

    # ---- evaluation

    def units(self, store: TokenStore, examples: np.ndarray) -> np.ndarray:
        """int64[m]: how many units each example has; at most as many as it has tokens, or the same for all."""
        return np.ones(len(examples), np.int64)

    @abstractmethod
    def emit(self, outputs, extras) -> tf.Tensor:
        """What of the outputs is judged and answered by: float32[B,U,D]; beyond an example's own units anything finite.
        extras: the targets in evaluation, what `extras` makes of examples in prediction."""

    def compute(self, model: keras.Model, inputs: dict, extras: dict) -> tf.Tensor:
        """What is answered by, of the model's inputs int32[B,S]: float32[B,U,answer_width]."""
        return self.emit(model(inputs, training=False), extras)

    def averaged(self, tasks: "list[Task]") -> Callable[[list], Any]:
        """What makes of several models' outputs those of one that answers by their mean. tasks: the models' own, this one
        first. Raises: UserError where they have learnt other names, or answers have no mean."""
        raise UserError(f"the answers of {self.settings.name} have no mean, as labels, numbers, entities and spans have.")

    @property
    def answer_width(self) -> int:
        """D of what `compute` makes."""
        return self.width

    @property
    def tunes(self) -> bool:
        """Whether something is chosen on the validation rows."""
        return False

    @abstractmethod
    def judge(self, judged: Judged, tuned: dict[str, list] | None, tune: bool) -> Report:
        """Exact metrics, memory bounded whatever the number of rows x tokens x labels. tuned: what an earlier evaluation chose;
        tune: choose it on these rows."""

    baselines_version = 0  # of what `baselines` gives; 0 where there are none

    def baselines(self, train: tuple[TokenStore, np.ndarray], judged: tuple[TokenStore, np.ndarray]) -> dict[str, dict]:
        """What simple methods, learnt from the training rows, reach on others, by what they are: their metrics. (store, rows)
        each; raise baselines_version with every change."""
        return {}

    # ---- prediction

    def extras(self, examples: dict) -> dict[str, tf.Tensor]:
        """What `emit` needs of encoded examples, with the shapes of extra_specs."""
        return {}

    def counts(self, examples: dict) -> tf.Tensor | None:
        """int64[N]: how many units each encoded example has; None where it is one."""
        return None

    def constants(self, model: keras.Model) -> dict[str, np.ndarray]:
        """What of the model's weights answers need beside the units."""
        return {}

    @abstractmethod
    def respond(self, examples: dict, rows: dict, units: tf.Tensor, context: Context) -> dict[str, tf.Tensor]:
        """Encoded rows and all their examples' units float32[u,D], one after another -> named tensors of one row for each row,
        in the graph: what a server answers. No bool, no half, no int64: REST has none."""

    @staticmethod
    @abstractmethod
    def recognises(outputs: set[str]) -> bool:
        """Whether these are names that `respond` gives: a server's client knows no more of a model."""

    @staticmethod
    @abstractmethod
    def answers(response: dict[str, np.ndarray]) -> list[tuple[dict, dict[str, float]]]:
        """A response as a reader understands it: each row's answer by name, and each label's probability where there are
        labels. Strings are str."""

    # ---- serving

    def signatures(self, served: Served) -> dict[str, Any]:
        """Concrete functions by name; serving_default takes the asked fields."""
        specs = {name: tf.TensorSpec([None], tf.string, name=name) for name in served.fields}
        return {"serving_default": tf.function(served.of_texts, autograph=False).get_concrete_function(**specs)}

    def defaults(self) -> dict[str, dict[str, np.ndarray]]:
        """Of signatures whose inputs may be left out: the arrays [1] that stand for these then, by signature and name."""
        return {}

    page: str = "plain"  # how the server's page shows an answer; see tfft/serving/server/page.html

    def nasty(self, fields: tuple[str, ...]) -> dict[str, list[str | bytes]]:
        """Inputs on which a served model must answer as the trained one: a column for each asked field."""
        return {name: [*NASTY[i:], *NASTY[:i]] if not i % 2 else [*reversed(NASTY)] for i, name in enumerate(fields)}

    def as_served(self, rows: list[dict[str, str]], encoder) -> list[dict[str, str]]:
        """Rows of a store as a server is asked them."""
        return rows

    def other_questions(self, rows: list[dict]) -> dict[str, tuple[list[dict], dict[str, list]]]:
        """Of signatures that take something else than the asked fields: the rows as the trained model's encoder is to have
        them, and the signature's inputs by name. rows: of asked fields, from which both are made."""
        return {}

    def difference(self, expected: dict[str, np.ndarray], got: dict[str, list], rows: list[int]) -> np.ndarray:
        """float[b]: how far a signature's answer to `rows` is from the trained model's response, by row; infinite where it is
        another answer altogether. Here: the largest of all numbers that are no integers."""
        made = np.zeros(len(rows))
        for name, values in got.items():
            if name in expected and expected[name].dtype.kind == "f":
                apart = np.abs(np.asarray(values, np.float64) - expected[name][rows]).reshape(len(rows), -1).max(axis=1)
                made = np.maximum(made, np.where(np.isfinite(apart), apart, np.inf))
        return made

    def scale(self, expected: dict[str, np.ndarray]) -> float:
        """What an allowed difference is multiplied by: the largest number, above 1."""
        return max(1.0, *(float(np.abs(values).max(initial=0)) for values in expected.values() if values.dtype.kind == "f"))

    def request_tokens(self, store: TokenStore, rows: np.ndarray) -> np.ndarray:
        """int[n]: the tokens of what is asked of a server at once, as some rows show: how large its batches are follows."""
        return np.asarray(store.lengths[store.examples_of(rows)])

    def warm_up(self, fields: tuple[str, ...], length: int) -> dict[str, str | int | list[str]]:
        """Texts of about `length` tokens in all, nobody's own words: "a a a ...", which is a token a word."""
        words = " ".join(["a"] * max(1, length - 2))
        size = -(-len(words) // len(fields))
        return {name: words[i * size:(i + 1) * size] for i, name in enumerate(fields)}

    def extra_assets(self, encoder) -> dict[str, str]:
        """Files that lie in assets.extra of an export, by name: their texts."""
        return {}

    @abstractmethod
    def card(self, tuned: dict[str, list] | None) -> list[str]:
        """Paragraphs of the model card: what is answered, and by what. The first completes "Answers texts with ..."."""

    def card_of_length(self, data: Any) -> str:
        """What becomes of texts that are longer than an example can be."""
        return f"Examples have at most {data.max_length} tokens."

    def limits(self, data: Any) -> list[str]:
        """Lines of the model card's list of limits."""
        return []

    # ---- calibration, where there are probabilities: tfft.config's check_calibration refuses it elsewhere

    def calibrate(self, report: Report, step: int, precision: float):
        """What makes the probabilities of an evaluation honest, for the weights of a step: an object with `step`, `to_json()`
        and `lines()`, rows of a table for a person. Raises: UserError."""
        raise NotImplementedError

    @staticmethod
    def read_calibration(text: str, origin: str):
        """What its `to_json` wrote to the file `origin`. Raises: UserError where it is damaged."""
        raise NotImplementedError

    def card_of_calibration(self, calibration: Any) -> str:
        """What the model card says of it, or of there being none; '' for a task without."""
        return ""
