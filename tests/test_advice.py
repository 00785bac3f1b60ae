"""When the labels of the training rows ask for other settings."""

import dataclasses

import pytest

from tfft.config import default_experiment
from tfft.tasks.text_classification.advice import advice
from tfft.tasks.text_classification.labels import Labels


def given(**task):
    experiment = default_experiment("text_classification")
    metric = task.pop("metric", "accuracy")
    return dataclasses.replace(experiment, task=dataclasses.replace(experiment.task, **task),
                               eval=dataclasses.replace(experiment.eval, metric=metric))


def table(**counts: int) -> Labels:
    return Labels(names=tuple(counts), counts=tuple(counts.values()), rows=sum(counts.values()))


def test_labels_that_are_forgotten():
    experiment = given()
    going_on = dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, start="runs/a"))
    assert not advice(experiment, table(a=90, b=0)) and not advice(going_on, table(a=90, b=80))
    assert not advice(dataclasses.replace(going_on, task=given(absent_labels="left_out").task), table(a=90, b=0))
    assert "1 of the labels have no training row now" in advice(going_on, table(a=90, b=0))[0]


@pytest.mark.parametrize("experiment, labels, said", [
    (given(), table(a=90, b=80), []),
    (given(), table(a=90, b=10), ["--config.task.class_weights=balanced --config.eval.metric=macro_f1"]),
    (given(metric="macro_f1"), table(a=90, b=10), ["(--config.task.class_weights=balanced)"]),
    (given(class_weights="balanced"), table(a=90, b=10), ["(--config.eval.metric=macro_f1)"]),
    (given(class_weights="balanced", metric="macro_f1"), table(a=90, b=10), []),
    (given(problem="multi_label", metric="macro_f1"), table(a=90, b=10), []),
    (given(), table(a=20, b=7, c=0), ["1 of the 2 labels has fewer than 8 training rows ('b' 7)"]),
    (given(), table(a=20, b=7, c=3), ["2 of the 3 labels have fewer than 8 training rows ('c' 3, 'b' 7)"]),
    (given(), table(a=20), []),
    (given(problem="regression"), Labels(names=(), counts=(), rows=9), []),
])
def test_what_is_advised(experiment, labels, said):
    made = advice(experiment, labels)
    assert len(made) == len(said) and all(one in line for one, line in zip(said, made, strict=True)), made
