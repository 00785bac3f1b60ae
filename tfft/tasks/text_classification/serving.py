"""What a served classifier answers, in its graph and to its reader."""

import numpy as np
import tensorflow as tf

from tfft.tasks.text_classification.calibration import Calibration
from tfft.tasks.text_classification.report import resolve_thresholds


def respond(task, logits: tf.Tensor, tuned: dict[str, list] | None, calibration: Calibration | None) -> dict[str, tf.Tensor]:
    """logits float32[B,L] ->
    - single label: label string[B], scores float32[B,L], label_names string[B,L]; with an abstain threshold also abstained
      int32[B], and label is "" where it is 1
    - several labels: the same without abstained; selected int32[B,L] is 1 where a score reaches its label's threshold, and
      label the selected names joined by the run's separator of labels
    - regression: value float64[B]
    """
    if task.problem == "regression":
        return {"value": task.probabilities(logits)[:, 0]}
    temperature = calibration.temperature if calibration else 1.0
    scores = tf.cast(task.probabilities(logits / temperature if temperature != 1 else logits), tf.float32)
    labels = tf.constant(task.labels.names, tf.string)
    names = tf.tile(labels[tf.newaxis], [tf.shape(scores)[0], 1])
    made = {"scores": scores, "label_names": names}
    if task.problem == "multi_label":
        selected = scores >= scaled_thresholds(resolve_thresholds(task, tuned), temperature)
        joined = tf.strings.reduce_join(tf.ragged.boolean_mask(names, selected), axis=1, separator=task.separator)
        return {**made, "selected": tf.cast(selected, tf.int32), "label": joined}
    label = tf.gather(labels, tf.argmax(scores, axis=1))
    if calibration is None or calibration.abstain_threshold is None:
        return {**made, "label": label}
    abstained = tf.reduce_max(scores, axis=1) < calibration.abstain_threshold
    return {**made, "label": tf.where(abstained, "", label), "abstained": tf.cast(abstained, tf.int32)}


def scaled_thresholds(thresholds, temperature: float):
    """float32[L]: where a probability p must reach a threshold t, what sigmoid(logit(p) / temperature) must reach."""
    if temperature == 1:
        return thresholds
    odds = tf.math.log(tf.constant(thresholds, tf.float64)) - tf.math.log1p(-tf.constant(thresholds, tf.float64))
    return tf.cast(tf.sigmoid(odds / temperature), tf.float32)


def recognises(outputs: set[str]) -> bool:
    return "value" in outputs or outputs >= {"label", "scores", "label_names"}


def answers(response: dict[str, np.ndarray]) -> list[tuple[dict, dict[str, float]]]:
    """A label, labels or a value, and each label's probability."""
    if "value" in response:
        return [({"predicted_value": float(value)}, {}) for value in response["value"].reshape(-1)]
    return [_of_labels({name: values[i] for name, values in response.items()}) for i in range(len(response["label"]))]


def _of_labels(made: dict[str, np.ndarray]) -> tuple[dict, dict[str, float]]:
    scores = dict(zip(made["label_names"].tolist(), map(float, made["scores"])))
    if "selected" in made:
        chosen = [name for name, taken in zip(scores, made["selected"]) if taken]
        return {"predicted_labels": chosen, "probability": [scores[name] for name in chosen]}, scores
    return {"predicted_label": made["label"], "probability": max(scores.values())}, scores


def signatures(task, served) -> dict:
    """serving_default takes text string[B] (and text_pair string[B]), tokens the backbone's inputs int32[B,S]. classify and
    regress take inputs string[B], serialised tf.Examples with the features text and text_pair, and answer as TensorFlow
    Serving's APIs of these names want it: classes string[B,L] and scores, or outputs float32[B]."""
    # a feature that an example lacks is an error, not an empty text
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in served.fields}

    def of_examples(inputs):
        made = served.of_texts(**tf.io.parse_example(inputs, features))
        if "value" in made:
            return {"outputs": tf.cast(made["value"], tf.float32)}
        return {"classes": made["label_names"], "scores": made["scores"]}

    texts = {name: tf.TensorSpec([None], tf.string, name=name) for name in served.fields}
    ids = {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in served.inputs}
    return {
        name: tf.function(made, autograph=False).get_concrete_function(**inputs) for name, made, inputs in (
            ("serving_default", lambda **texts: served.of_texts(**texts), texts),
            ("tokens", lambda **inputs: served.of_inputs(inputs), ids),
            ("regress" if task.problem == "regression" else "classify", of_examples,
             {"inputs": tf.TensorSpec([None], tf.string, name="inputs")}))}
