"""The "examples" of :classify and :regress: JSON objects to serialized tf.Examples."""

import numpy as np
import tensorflow as tf

from tfft.serving.server import rest_json
from tfft.serving.server.refusal import invalid, utf8


def read(document: dict) -> np.ndarray:
    """Serialized Examples, string[B]; the features of "context" are in each of them. Raises: Refusal."""
    rows = document.get("examples")
    if rows is None:
        raise invalid("When method is classify or regress, key 'examples' is expected and was not found")
    if not isinstance(rows, list) or not rows:
        raise invalid("Expecting 'examples' value to be a list with at least one value")
    context = _features(document["context"], "context") if "context" in document else {}
    made = []
    for i, row in enumerate(rows):
        features = _features(row, f"example {i}")
        both = sorted(context.keys() & features)
        if both:
            raise invalid(f"Feature: {both[0]} is in 'context' and in example {i}")
        made.append(tf.train.Example(features=tf.train.Features(feature={**context, **features})).SerializeToString())
    return np.array(made, object)


def _features(row, place: str) -> dict[str, tf.train.Feature]:
    if not isinstance(row, dict):
        raise invalid(f"{place} must be a JSON object")
    for name in row:
        utf8(name)  # or it is refused
    return {name: _feature(name, value if isinstance(value, list) else [value]) for name, value in row.items()}


def _feature(name: str, values: list) -> tf.train.Feature:
    """A list of strings or {"b64"}, of whole numbers (or booleans), or with a decimal number in it."""
    kinds = {type(value) for value in values}
    if not values:
        return tf.train.Feature()
    if kinds <= {str, dict}:
        made = rest_json.array(values, name, rest_json.Tensor(name, tf.string, None))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=made))
    if kinds <= {bool, int}:
        if not all(-(1 << 63) <= value < 1 << 63 for value in values):
            raise invalid(f"Feature: {name} has an element beyond int64")
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))
    if kinds <= {int, float}:
        made = rest_json.array(values, name, rest_json.Tensor(name, tf.float32, None))
        return tf.train.Feature(float_list=tf.train.FloatList(value=made))
    raise invalid(f"Feature: {name} has elements of unexpected JSON types")
