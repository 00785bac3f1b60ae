"""Asks a SavedModel the questions on standard input, in a process that has only tensorflow and tensorflow-text.

Run as a script: it imports nothing of tfft. Reads {"folder", "text", "text_pair", "output"}, prints
{"together": answers of one batch, "alone": answers of batches of one} as one JSON line.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf  # noqa: E402
import tensorflow_text  # noqa: E402, F401 - registers the tokenizers' ops


def main() -> None:
    question = json.load(sys.stdin)
    serve = tf.saved_model.load(question["folder"]).signatures["serving_default"]
    columns = {name: [text.encode("utf-8", "replace") for text in question[name]]
               for name in ("text", "text_pair") if question[name] is not None}

    def ask(begin: int, end: int) -> list:
        return serve(**{name: tf.constant(texts[begin:end]) for name, texts in columns.items()})[
            question["output"]].numpy().tolist()

    count = len(columns["text"])
    alone = [answer for i in range(count) for answer in ask(i, i + 1)]
    print(json.dumps({"together": ask(0, count), "alone": alone}))


main()
