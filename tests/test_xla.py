"""The training and evaluation steps of every task lower through XLA with static shapes: a fast check of what a TPU needs."""

import dataclasses

import families
import keras
import pytest
import tensorflow as tf
import test_causal_lm_loss
from steps import Rig

from tfft.config import (
    CausalLM,
    Embedding,
    MaskedLM,
    Model,
    MultipleChoice,
    QuestionAnswering,
    Seq2Seq,
    TextClassification,
    TokenClassification,
)
from tfft.models.adaptation import freeze
from tfft.models.encoder_decoder import encoder_decoder
from tfft.tasks.base import Task
from tfft.tasks.embedding.learnt import Pairs
from tfft.tasks.masked_lm.learnt import Vocabulary
from tfft.tasks.multiple_choice.learnt import Choices
from tfft.tasks.question_answering.learnt import Answers
from tfft.tasks.table import TASKS
from tfft.tasks.text_classification.labels import Labels
from tfft.tasks.texts.language import Language
from tfft.tasks.token_classification.tags import Tags
from tfft.tpu import lower
from tfft.tpu.refusals import Refused

NAMES = Labels(("a", "b", "c"), (5, 3, 2), rows=10)
WORDED = dataclasses.replace(NAMES, mask=4, words={"a": 8, "b": 9, "c": 10})
PATTERN = {"pattern": "{text} {mask}", "words": ("a=good", "b=bad", "c=fine")}
VALUES = Labels(mean=1.0, deviation=2.0)
TAGS = Tags(("O", "B-PER", "I-PER"), "IOB2", "IOB2", ("PER",), (5,))
INTENTS = dataclasses.replace(TAGS, labels=("ask", "tell"), label_counts=(3, 2))
WORDPIECES = Vocabulary(tuple(families.WORDPIECES), 4, (0, 1, 2, 3, 4), "##", False)
LANGUAGE = Language(tuple("abcdefghij"), (1,), max_length=16)
TRANSLATION = Language(tuple(families.WORDPIECES), (3,), max_length=16, start=(2,), target_length=8)
EVERYTHING = {"clip_norm": 0.0, "ema_decay": 0.9, "accumulation": 2, "l2": 0.1, "schedule": "cosine", "ewc": 0.5}
CASES = {
    "single_label": (TextClassification(loss="cross_entropy"), NAMES, {}),
    "smoothing": (TextClassification(loss="cross_entropy", label_smoothing=0.1), NAMES, {"precision": "mixed_bfloat16"}),
    "pattern": (TextClassification(loss="cross_entropy", **PATTERN), WORDED, EVERYTHING),
    "focal": (TextClassification(loss="focal"), NAMES, {"ema_decay": 0.9}),
    "multi_label": (TextClassification(problem="multi_label", loss="binary", class_weights="balanced"), NAMES, {}),
    "multi_label_focal": (TextClassification(problem="multi_label", loss="focal"), NAMES, {"accumulation": 2}),
    "regression": (TextClassification(problem="regression", loss="mean_squared_error"), VALUES, EVERYTHING),
    "tags": (TokenClassification(label_smoothing=0.1), TAGS, {}),
    "tags_crf": (TokenClassification(head="crf"), TAGS, EVERYTHING),
    "tags_crf_with_labels": (TokenClassification(head="crf"), INTENTS, {"precision": "mixed_bfloat16"}),
    "question_answering": (QuestionAnswering(), Answers(True), EVERYTHING),
    "pairs": (Embedding(loss="ranking", symmetric=True, matryoshka=(4,)), Pairs("pairs", negatives=2), EVERYTHING),
    "triplets": (Embedding(loss="triplet"), Pairs("pairs", negatives=1), {}),
    "scores": (Embedding(loss="cosent", projection=4), Pairs("scored", high=5.0), {"precision": "mixed_bfloat16"}),
    "labels": (Embedding(loss="triplet"), Pairs("labelled"), EVERYTHING),
    "masked_lm": (MaskedLM(), WORDPIECES, EVERYTHING),
    "causal_lm": (CausalLM(z_loss=0.1), LANGUAGE, EVERYTHING),
    "causal_lm_packed": (CausalLM(label_smoothing=0.1, pack=True), LANGUAGE, {"precision": "mixed_bfloat16"}),
    "seq2seq": (Seq2Seq(label_smoothing=0.1, max_new_tokens=8), TRANSLATION, EVERYTHING),
    "seq2seq_half": (Seq2Seq(decoder_layers=1, max_new_tokens=8), TRANSLATION, {"precision": "mixed_bfloat16"}),
    "choices": (MultipleChoice(), Choices(3), EVERYTHING),
    "choices_binary": (MultipleChoice(loss="binary"), Choices(3), {"precision": "mixed_bfloat16"}),
    "labels_contrastive": (Embedding(loss="contrastive", normalize=False), Pairs("labelled"), {}),
}
# What makes a shape depend on values. Such an op runs on a CPU; a TPU has it padded, or refuses.
DYNAMIC = (b"set-dimension-size", b"get-dimension-size", b"dynamic-reshape")


def task_of(case: str) -> Task:
    settings, learnt, _ = CASES[case]
    return TASKS[settings.name](settings, learnt)


def rig_of(case: str, dropout: float = 0.1, xla: bool = True, frozen: int = 0, **changes) -> tuple[Rig, tuple]:
    """(rig, the static shapes of a batch of 4 texts or pairs of 16 tokens)."""
    settings = {**CASES[case][2], **changes}
    task = task_of(case)
    precision = settings.get("precision", "float32")
    if case.startswith("causal_lm"):
        backbone = test_causal_lm_loss.backbone("llama", precision)
    else:
        backbone = families.backbone("bert", dropout, precision=precision)
    if case.startswith("seq2seq"):
        backbone = encoder_decoder(backbone, task.settings.decoder_layers, seed=0)
    freeze(backbone, Model(frozen_layers=frozen))
    model = task.build_model(backbone, Model(head_dropout=dropout), seed=0)
    model = task.for_packed(model, backbone) if case == "causal_lm_packed" else model
    rig = Rig(None, model=model, loss=task.loss, xla=xla, whole_batch=task.whole_batch, **settings)
    return rig, lower.batch_spec(model, task, 4, 16)


def test_every_task_has_a_case():
    assert {settings.name for settings, _, _ in CASES.values()} == set(TASKS)


@pytest.mark.parametrize("case", list(CASES))
def test_steps_lower_with_static_shapes(case):
    rig, spec = rig_of(case)
    task = task_of(case)

    def judged(inputs, targets, weights, indices):  # what the evaluator compiles besides
        outputs = rig.model(inputs, training=False)
        return indices, task.emit(outputs, targets), task.loss(targets, outputs)

    for hlo in (lower.training_step(rig.trainer, spec), lower.evaluation_step(rig.model, spec), lower.hlo_of(judged, spec)):
        assert len(hlo) > 10_000 and not any(op in hlo for op in DYNAMIC)


def test_same_step_lowers_to_the_same_bytes():
    rig, spec = rig_of("single_label")
    assert lower.training_step(rig.trainer, spec) == lower.training_step(rig.trainer, spec)


def test_dropout_is_left_to_the_generator_of_the_device():
    rigs = [rig_of("single_label", dropout) for dropout in (0.1, 0.0)]
    with_dropout, without = (lower.training_step(rig.trainer, spec) for rig, spec in rigs)
    assert b"rng-bit-generator" in with_dropout and b"rng-bit-generator" not in without


def test_frozen_layers_have_no_backward_pass():
    rigs = [rig_of("single_label", frozen=layers) for layers in (0, 1)]
    whole, frozen = (lower.training_step(rig.trainer, spec) for rig, spec in rigs)
    assert len(frozen) < 0.8 * len(whole)


def test_step_that_is_not_for_xla_has_shapes_that_values_decide():
    rig, spec = rig_of("single_label", xla=False)
    assert any(op in lower.training_step(rig.trainer, spec) for op in DYNAMIC)


def test_op_that_xla_lacks_is_told_with_its_layer():
    class Odd(keras.layers.Layer):
        def call(self, x):
            return tf.ensure_shape(tf.numpy_function(lambda v: v, [x], tf.float32), x.shape)

    x = keras.Input((4,), batch_size=4, name="x")
    model = keras.Model({"x": x}, Odd(name="odd_layer")(x))
    with pytest.raises(Refused) as error:
        lower.evaluation_step(model, ({"x": tf.TensorSpec((4, 4))}, *[tf.TensorSpec((4,))] * 3))
    assert error.value.refusal.op == "PyFunc" and "odd_layer" in error.value.refusal.layer
