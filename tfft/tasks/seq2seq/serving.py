"""What a served encoder-decoder takes and answers."""

from typing import Any

import tensorflow as tf

from tfft.tasks.texts.answering import OPTION_SPECS


def signatures(served) -> dict[str, Any]:
    """serving_default takes texts; generate also how to choose, a number for each row, or one for all."""
    text = tf.TensorSpec([None], tf.string, name="text")

    def generate(text, **chosen):
        examples, rows = served.encoder.asked(text)
        return {**served.of_examples({**examples, **chosen}, rows), "text_tokens": examples["length"]}

    return {"serving_default": tf.function(served.of_texts, autograph=False).get_concrete_function(text=text),
            "generate": tf.function(generate, autograph=False).get_concrete_function(text=text, **OPTION_SPECS)}
