"""Targets, every loss against numbers worked out by hand, class weights, probabilities."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from stores import make_store

from tfft.config import Model, TextClassification, resolve
from tfft.data.prepare import Split
from tfft.errors import UserError
from tfft.models.backbone import load_backbone
from tfft.run.assembly import look_over
from tfft.tasks.base import Context, Judged
from tfft.tasks.table import TASKS
from tfft.tasks.text_classification.labels import Labels
from tfft.tasks.text_classification.task import TextClassificationTask

LOG3 = math.log(3.0)  # logits [log 3, 0] are probabilities [3/4, 1/4]
LABELS = Labels(("neg", "pos"), (3, 1), rows=4)
LOSS = {"single_label": "cross_entropy", "multi_label": "binary", "regression": "mean_squared_error"}


def make_task(problem: str = "single_label", labels: Labels = LABELS, **settings) -> TextClassificationTask:
    return TASKS["text_classification"](TextClassification(**{"problem": problem, "loss": LOSS[problem], **settings}), labels)


def losses(task, targets, logits) -> list[float]:
    made = task.loss(tf.constant(targets, task.target_specs.dtype), tf.constant(logits, tf.float32))
    assert made.dtype == tf.float32 and made.shape == (len(logits),)
    return made.numpy().tolist()


def test_cross_entropy_by_hand():
    assert losses(make_task(), [0, 1], [[LOG3, 0], [LOG3, 0]]) == pytest.approx([-math.log(0.75), -math.log(0.25)])


def test_label_smoothing_by_hand():
    # 0.2 over two labels: the goal of label 0 is [0.9, 0.1]
    expected = -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
    assert losses(make_task(label_smoothing=0.2), [0], [[LOG3, 0]]) == pytest.approx([expected])


def test_focal_loss_by_hand():
    made = losses(make_task(loss="focal", focal_gamma=2.0), [0, 1], [[LOG3, 0], [LOG3, 0]])
    assert made == pytest.approx([-(0.25**2) * math.log(0.75), -(0.75**2) * math.log(0.25)], rel=1e-5)


def test_focal_loss_of_gamma_0_is_cross_entropy():
    targets, logits = [0, 1, 1], [[2.0, -1.0], [0.5, 0.1], [-30.0, 30.0]]
    assert losses(make_task(loss="focal", focal_gamma=0.0), targets, logits) == pytest.approx(
        losses(make_task(), targets, logits))


def test_a_head_of_several_labels_begins_with_how_often_they_are(tiny_preset):
    def bias(problem, **settings):
        task = make_task(problem, Labels(("a", "b", "c"), (50, 10, 0), rows=100), **settings)
        backbone = load_backbone(tiny_preset, precision="float32", dropout=-1)
        return task.build_model(backbone, Model(), 0).get_layer("head").bias.numpy()

    np.testing.assert_allclose(bias("multi_label"), np.log([51 / 51, 11 / 91, 1 / 101]), rtol=1e-6)
    for other in (bias("multi_label", class_weights="balanced"), bias("single_label")):
        np.testing.assert_array_equal(other, 0)


@pytest.mark.parametrize("problem, target", [("single_label", [0]), ("multi_label", [[1.0, 0.0]])])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_gradient_is_finite_where_the_answer_is_certain(problem, target, gamma):
    task = make_task(problem, loss="focal", focal_gamma=gamma)
    logits = tf.Variable([[200.0, -200.0]])
    with tf.GradientTape() as tape:
        loss = task.loss(tf.constant(target, task.target_specs.dtype), logits)
    assert np.isfinite(loss).all() and np.isfinite(tape.gradient(loss, logits)).all()


def test_binary_loss_by_hand():
    # sigmoid(log 3) = 3/4 for a 1, sigmoid(0) = 1/2 for a 0; the mean over labels
    made = losses(make_task("multi_label"), [[1, 0]], [[LOG3, 0]])
    assert made == pytest.approx([(-math.log(0.75) - math.log(0.5)) / 2])


def test_binary_focal_loss_by_hand():
    made = losses(make_task("multi_label", loss="focal", focal_gamma=1.0), [[1, 0]], [[LOG3, 0]])
    assert made == pytest.approx([(-0.25 * math.log(0.75) - 0.5 * math.log(0.5)) / 2], rel=1e-5)


def test_balanced_binary_loss_weighs_positives_by_rows():
    # of 10 rows 2 have a: 8 / 2 = 4; 8 have b: 2 / 8, but no less than 1; none has c: 9 / 1, as if one had it
    task = make_task("multi_label", Labels(("a", "b", "c"), (2, 8, 0), rows=10), class_weights="balanced")
    single = [-math.log(0.75), -math.log(0.25)]
    assert losses(task, [[1, 1, 0]], [[LOG3, LOG3, LOG3]]) == pytest.approx([(4 * single[0] + single[0] + single[1]) / 3])
    assert losses(task, [[0, 0, 1]], [[LOG3, LOG3, LOG3]]) == pytest.approx([(2 * single[1] + 9 * single[0]) / 3])


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.2}, {"loss": "focal"}, {"problem": "multi_label"},
                                      {"problem": "multi_label", "class_weights": "balanced"}])
def test_absent_labels_left_out_are_as_if_there_were_none(settings):
    """The loss of the labels that rows have, and no gradient for the others."""
    multi = settings.get("problem") == "multi_label"
    few = make_task(labels=Labels(("a", "b"), (3, 5), rows=8), **settings)
    all_ = make_task(labels=Labels(("old", "a", "older", "b"), (0, 3, 0, 5), rows=8), absent_labels="left_out", **settings)
    logits = tf.Variable([[5.0, LOG3, -7.0, 0.0], [2.0, 0.5, 9.0, -1.0]])
    targets = [[0, 1, 0, 0], [0, 1, 0, 1]] if multi else [1, 3]
    with tf.GradientTape() as tape:
        made = all_.loss(tf.constant(targets, all_.target_specs.dtype), logits)
    gradient = tape.gradient(made, logits).numpy()
    assert made.numpy().tolist() == pytest.approx(
        losses(few, [[1, 0], [1, 1]] if multi else [0, 1], logits.numpy()[:, [1, 3]]), rel=1e-6)
    compiled = tf.function(all_.loss, jit_compile=True)(tf.constant(targets, all_.target_specs.dtype), logits)
    np.testing.assert_allclose(compiled, made, rtol=1e-6)
    assert not gradient[:, [0, 2]].any() and gradient[:, [1, 3]].all()
    judged = all_.loss(tf.constant([[1, 0, 0, 0]] * 2 if multi else [0, 2], all_.target_specs.dtype), logits)
    assert np.isfinite(judged).all()  # rows of an evaluation
    if not multi and not settings:
        assert float(judged[0]) == pytest.approx(math.log(1 + math.exp(LOG3 - 5) + math.exp(-5)))


def test_squared_error_on_the_standardised_value():
    task = make_task("regression", Labels(mean=3.0, deviation=2.0))
    assert losses(task, [-1.0, 0.5], [[0.0], [0.0]]) == pytest.approx([1.0, 0.25])
    np.testing.assert_allclose(task.probabilities(tf.constant([[0.0], [-1.5]])), [[3.0], [0.0]])


def test_probabilities():
    np.testing.assert_allclose(make_task().probabilities(tf.constant([[LOG3, 0]])), [[0.75, 0.25]], rtol=1e-6)
    several = make_task("multi_label").probabilities(tf.constant([[LOG3, 0]]))
    np.testing.assert_allclose(several, [[0.75, 0.5]], rtol=1e-6)


def test_targets_of_one_label(tmp_path):
    store = make_store(tmp_path / "store", ["pos", "neg", "odd", "neg", "neg"])
    task = make_task()
    rows = np.arange(5)
    assert task.can_judge(store, rows).tolist() == [0, 1, 3, 4]
    assert task.unknown_labels(store, rows) == {"odd": 1}
    assert task.unknown_labels(store, rows[:2]) == {}
    assert task.strangers(store, rows) == ("unknown labels: 'odd' (1 rows); no training row had them, and they are left out of "
                                           "the metrics")
    assert task.strangers(make_store(tmp_path / "case", ["Pos"]), rows[:1]).endswith(
        " 'Pos' is 'pos' but for its spelling: a run trained with --config.data.label_normalisation=all reads them as one.")
    by_id = make_task(labels=dataclasses.replace(LABELS, values="ids"))
    assert by_id.strangers(make_store(tmp_path / "ids", ["0", "2"]), rows[:2]).endswith("metrics. Ids count from 0, to 1.")
    assert task.strangers(store, rows[:2]) == "" and task.nothing_to_judge() == "has a label that the model knows (neg, pos)"
    ids, weights = task.targets(store, weighted=True)(np.array([1, 0]))
    assert ids.tolist() == [0, 1] and weights.tolist() == [1, 1]
    assert ids.dtype == np.int32 and weights.dtype == np.float32


def test_what_was_learnt_is_described():
    assert make_task().describe() == "labels: neg (3), pos (1)"
    assert make_task().describe_rows(4) == (
        "labels", ("label", "training rows", "share"), [("neg", 3, "75.0%"), ("pos", 1, "25.0%")], None, "")
    names = tuple(f"label{i}" for i in range(50))
    many = make_task(labels=Labels(names, tuple(range(50)), rows=1225))
    assert many.describe() == f"labels: {', '.join(f'label{i} ({i})' for i in range(8))} ... 50 in all"
    table = many.describe_rows(1225)
    assert [line[0] for line in table.lines] == list(reversed(names))
    assert table.shown == [*table.lines[:20], ("...", "", "10 more"), *table.lines[-20:]]
    value = make_task("regression", Labels(mean=2.0, deviation=0.5))
    assert value.describe() == "" and value.describe_rows(4) == "values: mean 2.0000, standard deviation 0.5000"


def test_balanced_weights_of_one_label(tmp_path):
    store = make_store(tmp_path / "store", ["pos", "neg", "neg", "neg"])
    task = make_task(class_weights="balanced")
    _, weights = task.targets(store, weighted=True)(np.arange(4))
    np.testing.assert_allclose(weights, [2, 2 / 3, 2 / 3, 2 / 3])  # both labels' rows weigh 2 in all
    assert task.targets(store, weighted=False)(np.arange(4))[1].tolist() == [1, 1, 1, 1]


def test_balanced_weights_need_every_label(tmp_path):
    store = make_store(tmp_path / "store", ["pos"])
    task = make_task(labels=Labels(("neg", "pos", "odd"), (2, 3, 0), rows=5), class_weights="balanced")
    with pytest.raises(UserError, match="no training row has the label 'odd'.*config.task.absent_labels=left_out"):
        task.targets(store, weighted=True)
    task.settings = dataclasses.replace(task.settings, absent_labels="left_out")
    assert task.targets(store, weighted=True)(np.arange(1))[1] == np.float32(5 / (2 * 3))  # of the two that are there


def test_targets_of_several_labels(tmp_path):
    store = make_store(tmp_path / "store", [("pos",), (), ("odd", "neg"), ("neg", "pos")])
    task = make_task("multi_label")
    targets, weights = task.targets(store, weighted=True)(np.arange(4))
    assert targets.tolist() == [[0, 1], [0, 0], [1, 0], [1, 1]] and targets.dtype == np.float32
    assert weights.tolist() == [1, 1, 1, 1]
    assert task.can_judge(store, np.arange(4)).tolist() == [0, 1, 2, 3]
    assert task.unknown_labels(store, np.arange(4)) == {"odd": 1}


def test_several_labels_of_which_none_is_known_cannot_be_judged(tmp_path):
    store = make_store(tmp_path / "store", [("odd",), (), ("pos",), ("strange", "odd")])
    task = make_task("multi_label")
    assert task.can_judge(store, np.array([0, 1, 3])).tolist() == [] and task.can_judge(store, np.array([1])).tolist() == [1]
    assert task.can_judge(store, np.arange(4)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("problem, known, other", [("single_label", "pos", "POS"),
                                                   ("multi_label", ("pos",), ("POS", "odd"))])
def test_a_split_of_unknown_labels_alone_stops_before_the_first_step(tmp_path, problem, known, other):
    def split(name: str, labels: list) -> Split:
        store = make_store(tmp_path / name, labels)
        return Split(name, store, np.arange(len(store)))

    task, said = make_task(problem), []
    train, some = split("train", [known] * 4), split("validation", [known, other])
    look_over(task, {"train": train, "validation": some}, said.append)
    assert len(said) == 1 and said[0].startswith("validation: unknown labels: 'POS'")
    with pytest.raises(UserError, match=r"^The test split cannot be judged by: none of its 3 rows has a label that the model "
                                        r"knows \(neg, pos\) \(unknown labels: 'POS' \(3 rows\).*reads them as one\). Give it"):
        look_over(task, {"train": train, "validation": some, "test": split("test", [other] * 3)}, said.append)


def test_targets_of_rows_of_0_and_1(tmp_path):
    store = make_store(tmp_path / "store", [("1", "0"), ("0", "0"), ("1.0", "True"), ()])
    task = make_task("multi_label", dataclasses.replace(LABELS, values="multi_hot"))
    targets, _ = task.targets(store, weighted=False)(np.arange(4))
    assert targets.tolist() == [[1, 0], [0, 0], [1, 1], [0, 0]]


def test_dates_keep_their_differences(tmp_path):
    dates = [1.7e9 + day for day in range(6)]
    store, rows = make_store(tmp_path / "store", dates), np.arange(6)
    experiment = resolve({"task": {"problem": "regression"}, "data": {"train": "csv:a.csv"}})
    task = make_task("regression", TextClassificationTask.infer(experiment, store, rows, tmp_path))
    targets, _ = task.targets(store, weighted=True)(rows)
    np.testing.assert_allclose(np.diff(targets), 1 / np.std(np.arange(6)), rtol=1e-6)
    np.testing.assert_allclose(task.probabilities(tf.constant(targets[:, np.newaxis]))[:, 0], dates, rtol=0, atol=1e-5)
    judged = Judged(store, rows, rows, targets[:, np.newaxis], np.arange(7), np.zeros(6, np.float32), None)
    report = task.judge(judged, None, False)
    assert report.metrics["mae"] < 1e-5 and report.metrics["spearman"] == 1 and report.targets.tolist() == dates
    assert task.respond({}, {}, tf.constant(targets[:, np.newaxis]), Context())["value"].dtype == tf.float64


def test_differences_of_values_are_told_beside_their_deviation():
    task, dates = make_task("regression", Labels(mean=1.7e9, deviation=50.0)), np.array([1.7e9, 1.7e9 + 100])
    assert task.scale({"value": dates}) == 100 and make_task().scale({"scores": np.array([0.5])}) == 1
    assert task.difference({"value": dates}, {"value": [1.7e9, 1.7e9 + 90]}, [0, 1]).tolist() == [0, 10]
    assert task.difference({"value": dates}, {"outputs": dates.astype(np.float32).tolist()}, [0, 1]).tolist() == [0, 0]
    assert task.difference({"value": dates}, {"outputs": [1.7e9, 1.7e9 + 1000]}, [0, 1])[1] > 700


@pytest.mark.parametrize("standardize, dates, mean", [(False, [1.0, -1e39], 0.0), (True, [3.0, 1e200], 2.0)])
def test_values_beyond_float32_are_named(tmp_path, standardize, dates, mean):
    store = make_store(tmp_path / "store", dates)
    task = make_task("regression", Labels(mean=mean, deviation=0.5), standardize=standardize)
    for use in (lambda: task.targets(store, weighted=True), lambda: task.remarks("test", store, np.arange(2))):
        with pytest.raises(UserError, match=r"file.csv:3: the value -?1e\+(39|200) is too large"):
            use()


def test_targets_of_values_are_standardised(tmp_path):
    store = make_store(tmp_path / "store", [1.0, 3.0, 8.0])
    experiment = resolve({"task": {"problem": "regression"}, "data": {"train": "csv:a.csv"}})
    labels = TextClassificationTask.infer(experiment, store, np.array([0, 1]), tmp_path)
    assert labels == Labels(mean=2.0, deviation=1.0)
    targets, weights = make_task("regression", labels).targets(store, weighted=True)(np.arange(3))
    assert targets.tolist() == [-1, 1, 6] and targets.dtype == np.float32 and weights.tolist() == [1, 1, 1]
    assert make_task("regression", labels).unknown_labels(store, np.arange(3)) == {}


def test_targets_fit_their_declared_specs(tmp_path):
    for problem, labels in (("single_label", ["pos", "neg"]), ("multi_label", [("pos",), ()]), ("regression", [1.0, 2.0])):
        store = make_store(tmp_path / problem, labels)
        task = make_task(problem, Labels() if problem == "regression" else LABELS)
        targets, _ = task.targets(store, weighted=False)(np.arange(2))
        assert targets.shape == (2, *task.target_specs.shape[1:]) and targets.dtype == task.target_specs.dtype
        assert task.target_specs.shape[0] is None
