"""What a served language model takes and answers."""

import tensorflow as tf

from tfft.data.tokenize import features
from tfft.tasks.texts.answering import BEFORE, OPTION_SPECS, continued
from tfft.tasks.texts.language import Language

MULTIPLE = 8  # of which the longest prompt's tokens are made one


def left_padded(inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """(token_ids, padding_mask int32[B,S]) of inputs whose padding is on the right. [5 6 0] -> [0 5 6]"""
    mask = inputs["padding_mask"]
    size = tf.shape(mask)[1]
    shift = size - tf.reduce_sum(mask, axis=1, keepdims=True)
    place = tf.range(size)[tf.newaxis]
    tokens = tf.gather(inputs["token_ids"], (place - shift) % size, batch_dims=1)
    return tokens, tf.cast(place >= shift, tf.int32)


def continuing(served, language: Language, stop: tuple[str, ...]):
    """The signature that takes prompts, what was made of their answers so far, and how to choose: for clients that stream."""
    def more(prompt, tokens, **chosen):
        examples, _ = served.encoder.asked(prompt)
        before = tf.reduce_sum(tf.cast(tokens >= 0, tf.int32), axis=1)
        inputs = features(behind(examples, tokens), served.encoder.pad_id, served.inputs, MULTIPLE)
        made = served.units(inputs, {**chosen, BEFORE: before})
        answer = continued(tokens, tf.cast(made[:, 0], tf.int32), language, stop)
        return {**answer, "prompt_tokens": examples["length"]}

    return tf.function(more, autograph=False).get_concrete_function(
        prompt=tf.TensorSpec([None], tf.string, name="prompt"), tokens=tf.TensorSpec([None, None], tf.int32, name="tokens"),
        **OPTION_SPECS)


def behind(examples: dict, tokens: tf.Tensor) -> dict:
    """The examples with tokens int32[B,n] behind each; -1 is padding."""
    more = tf.RaggedTensor.from_tensor(tokens, lengths=tf.reduce_sum(tf.cast(tokens >= 0, tf.int32), axis=1))
    whole = tf.concat([examples["tokens"], tf.cast(more, examples["tokens"].dtype)], axis=1)
    length = tf.cast(whole.row_lengths(), tf.int32)
    return {**examples, "tokens": whole, "length": length, "first_length": length}
