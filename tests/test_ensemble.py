"""Several runs as one: the mean of their answers, and what has none."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tiny_run import LABELS, make_run

from tfft.config import TASKS as CONFIGS
from tfft.errors import UserError
from tfft.explaining.explainer import Explainer
from tfft.explaining.nearest import Neighbours
from tfft.models.ensemble import Ensemble, mean_of_classes, mean_of_each
from tfft.run.candidate import _sizes
from tfft.run.ensemble import together
from tfft.serving.prediction import Predictor
from tfft.serving.saved_model import ServedModel
from tfft.tasks.question_answering.learnt import Answers
from tfft.tasks.table import TASKS
from tfft.tasks.text_classification.labels import Labels
from tfft.tasks.token_classification.tags import Tags

ROWS = [{"text": text} for text in ("good film", "bad", "", "a fine film, the good film", "poor the")]


def runs(preset: str, folder, problem: str = "single_label", tuned: tuple = (None, None), **other) -> list:
    """Two runs of other heads; other: of the labels of the second."""
    made = [make_run(preset, folder / name, problem, one) for name, one in zip("ab", tuned, strict=True)]
    kernel = made[1].model.get_layer("head").kernel
    kernel.assign(np.random.default_rng(5).normal(0, 3, kernel.shape))
    made[1].task = type(made[1].task)(made[1].task.settings, dataclasses.replace(LABELS[problem], **other))
    return made


def joined(made: list):
    return together(made, made[0].workdir, made[0].experiment)


def test_means_of_logits():
    logits = [tf.constant(np.random.default_rng(i).normal(0, 20, (4, 3)), tf.float32) for i in range(3)]
    found = tf.nn.softmax(mean_of_classes(logits))
    np.testing.assert_allclose(found, np.mean([tf.nn.softmax(x) for x in logits], 0), atol=1e-6)
    np.testing.assert_allclose(tf.sigmoid(mean_of_each(logits)), np.mean([tf.sigmoid(x) for x in logits], 0), atol=1e-6)
    far = [tf.constant([[300.0, -300.0]])] * 2
    assert np.isfinite(mean_of_each(far)).all() and np.isfinite(mean_of_classes(far)).all()


@pytest.mark.parametrize("problem, output", [("single_label", "scores"), ("multi_label", "scores"), ("regression", "value")])
def test_answers_are_the_mean_of_the_members(problem, output, thin_preset, tmp_path):
    other = {"mean": -3.0, "deviation": 2.0} if problem == "regression" else {}
    tuned = ({"thresholds": [0.2, 0.6]}, {"thresholds": [0.4, 0.7]}) if problem == "multi_label" else (None, None)
    made = runs(thin_preset, tmp_path, problem, tuned, **other)
    each = np.stack([Predictor(run)(ROWS)[output] for run in made])
    assert np.ptp(each, axis=0).max() > 0.05
    ensemble = joined(made)
    for got in (Predictor(ensemble)(ROWS), ServedModel(ensemble).signatures["serving_default"](
            text=tf.constant([row["text"] for row in ROWS]))):
        np.testing.assert_allclose(np.asarray(got[output]), each.mean(axis=0), atol=2e-6)
    assert (ensemble.tuned or {}).get("thresholds") == (pytest.approx([0.3, 0.65]) if tuned[0] else None)
    assert ensemble.model.count_params() == sum(run.model.count_params() for run in made)


def test_several_runs_are_explained_by_their_answers_and_compared(thin_preset, tmp_path):
    made = runs(thin_preset, tmp_path)
    ensemble = joined(made)
    one, = Explainer(ensemble, "occlusion", label="pos")(ROWS[3])
    whole, without = Predictor(ensemble)([ROWS[3], {"text": ROWS[3]["text"].removeprefix("a")}])["scores"][:, 1]
    assert one.attribution[0] == pytest.approx(np.log(whole / (1 - whole)) - np.log(without / (1 - without)), abs=1e-4)
    for method in ("integrated_gradients", "attention_rollout"):
        with pytest.raises(UserError, match=f"--method={method} looks into one model, and this run is several"):
            Explainer(ensemble, method)
    with pytest.raises(UserError, match="--nearest compares .*, and this run is several"):
        Neighbours(ensemble, None, None)
    for run in made:
        (file := run.workdir.weights(run.which)).parent.mkdir()
        file.write_bytes(b"12345")
    assert _sizes(ensemble)["weights_bytes"] == 10


def test_thresholds_of_some_alone_are_left_out(thin_preset, tmp_path):
    assert joined(runs(thin_preset, tmp_path, "multi_label", ({"thresholds": [0.2, 0.6]}, None))).tuned is None


def test_other_labels_order_task_or_texts_are_refused(thin_preset, tmp_path):
    made = runs(thin_preset, tmp_path)
    task = type(made[1].task)
    for labels, message in ((Labels(("neg", "pos", "so so"), (5, 5, 1), rows=11), "not all of them know the label 'so so'"),
                            (Labels(("pos", "neg"), (5, 5), rows=10), "the same labels in another order")):
        made[1].task = task(made[1].task.settings, labels)
        with pytest.raises(UserError, match=message):
            joined(made)
    data = dataclasses.replace(made[0].experiment.data, max_length=8)
    made[1].experiment = dataclasses.replace(made[0].experiment, data=data)
    with pytest.raises(UserError, match="max_length is 16 and 8"):
        joined(made)
    data = dataclasses.replace(made[0].experiment.data, truncation="head_tail")
    made[1].experiment = dataclasses.replace(made[0].experiment, data=data)
    with pytest.raises(UserError, match="how texts are cut and encoded of the one is not the other's"):
        joined(made)


# ---- other tasks


def task_of(name: str, learnt, **settings):
    return TASKS[name](CONFIGS[name].settings(name=name, **settings), learnt)


def test_words_and_sentences_have_the_mean_of_probabilities():
    tags = Tags(("O", "B-x"), "IOB2", "IOB2", ("x",), labels=("p", "q"))
    task = task_of("token_classification", tags)
    outputs = [{"logits": tf.random.normal((1, 3, 2), seed=i), "label": tf.random.normal((1, 2), seed=i)} for i in range(2)]
    made = task.averaged([task, task])(outputs)
    for name, value in made.items():
        np.testing.assert_allclose(tf.nn.softmax(value), np.mean([tf.nn.softmax(one[name]) for one in outputs], 0), atol=1e-6)
    other = task_of("token_classification", dataclasses.replace(tags, names=("O", "B-y"), types=("y",)))
    with pytest.raises(UserError, match="not all of them know the tag 'B-x' and 1 more"):
        task.averaged([task, other])
    with pytest.raises(UserError, match="the mean of several such scores is no CRF's"):
        task.averaged([task, task_of("token_classification", tags, head="crf")])


def test_spans_are_compared_by_the_mean_of_scores():
    task = task_of("question_answering", Answers(no_answer=True))
    outputs = [tf.random.normal((2, 4, 2), seed=i) for i in range(3)]
    np.testing.assert_allclose(task.averaged([task] * 3)(outputs), np.mean(outputs, axis=0), atol=1e-6)
    with pytest.raises(UserError, match="questions without an answer"):
        task.averaged([task, task_of("question_answering", Answers(no_answer=False))])


@pytest.mark.parametrize("name", ["embedding", "masked_lm", "causal_lm", "seq2seq"])
def test_vectors_and_written_texts_have_no_mean(name):
    task = TASKS[name].__new__(TASKS[name])
    task.settings = CONFIGS[name].settings()
    with pytest.raises(UserError, match=f"the answers of {name} have no mean"):
        task.averaged([task, task])


def test_an_ensemble_is_a_model_of_all_variables(thin_preset, tmp_path):
    models = [run.model for run in runs(thin_preset, tmp_path)]
    made = Ensemble(models, mean_of_classes)
    assert len(made.variables) == sum(len(model.variables) for model in models) and tuple(made.input) == tuple(models[0].input)
