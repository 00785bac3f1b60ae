"""Asks a SavedModel the questions on standard input, in a process that has only tensorflow and tensorflow-text.

Run as a script: it imports nothing of tfft. Reads {"folder", "signature", "columns": {"text": [base64, ...]}, "batches":
[[row, ...], ...], "tokens": {name: [[id, ...], ...]}, "reference": [row, ...], "others": {signature: {input: values, texts as
base64}}}; prints one JSON line: {"ops": {"core", "text", "unknown"}, "batches": the signature's outputs of each batch,
"signatures": the outputs on the reference rows of it and, beside serving_default, of tokens, classify and regress, "others":
the outputs of these}.
"""

import base64
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf  # noqa: E402
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402
from tensorflow.python.framework import op_def_registry  # noqa: E402


def main() -> None:
    question = json.load(sys.stdin)
    used = used_ops(question["folder"])
    core = {name for name in used if op_def_registry.get(name)}
    import tensorflow_text  # noqa: F401 - registers the tokenizers' ops

    text = {name for name in used - core if op_def_registry.get(name)}
    print(json.dumps({"ops": {"core": sorted(core), "text": sorted(text), "unknown": sorted(used - core - text)},
                      **(answers(question) if used == core | text else {})}, default=bytes.decode))


def used_ops(folder: str) -> set[str]:
    """The ops of all graphs and functions in a SavedModel; calls of its own functions are none."""
    model = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        model.ParseFromString(file.read())
    found, own = set(), set()
    for meta in model.meta_graphs:
        found.update(node.op for node in meta.graph_def.node)
        for function in meta.graph_def.library.function:
            own.add(function.signature.name)
            found.update(node.op for node in function.node_def)
    return found - own


def answers(question: dict) -> dict:
    signatures = tf.saved_model.load(question["folder"]).signatures
    columns = {name: decoded(values) for name, values in question["columns"].items()}
    main = question["signature"]
    inputs = signatures[main].structured_input_signature[1]

    def ask(name: str, **inputs) -> dict:
        return {key: value.numpy().tolist() for key, value in signatures[name](**inputs).items()}

    def texts(rows: list[int]) -> dict:
        return {name: tf.constant([column[row] for row in rows], inputs[name].dtype) for name, column in columns.items()}

    reference = question["reference"]
    made = {main: ask(main, **texts(reference))}
    besides = set(signatures) if main == "serving_default" else set()
    if "tokens" in besides:
        made["tokens"] = ask("tokens", **{name: tf.constant(ids, tf.int32) for name, ids in question["tokens"].items()})
    for name in besides & {"classify", "regress"}:
        made[name] = ask(name, inputs=tf.constant([
            example({field: column[row] for field, column in columns.items()}) for row in reference]))
    others = {name: ask(name, **{key: tf.constant(decoded(values), signatures[name].structured_input_signature[1][key].dtype)
                                 for key, values in asked.items()}) for name, asked in question["others"].items()}
    batches = [ask(main, **texts(rows)) for rows in question["batches"]]
    return {"batches": batches, "signatures": made, "others": others}


def decoded(value):
    """base64 -> bytes, in lists too; numbers as they are."""
    if isinstance(value, list):
        return [decoded(one) for one in value]
    return value if isinstance(value, int) else base64.b64decode(value)


def example(texts: dict[str, bytes]) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature={
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text])) for name, text in texts.items()
    })).SerializeToString()


if __name__ == "__main__":
    main()
