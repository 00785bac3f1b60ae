"""Emissions of words -> tags -> entities, in the graph. Nothing here grows with (texts) x (words of the longest)."""

import numpy as np
import tensorflow as tf

from tfft.models import crf
from tfft.tasks.token_classification.tags import Tags

TRANSITIONS = "transitions"
AT_ONCE = 1 << 21  # numbers of emissions that a CRF decodes together, padding among them


def decode(emissions: tf.Tensor, lengths: tf.Tensor, transitions: np.ndarray | tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """float32[u,T] of the words of all texts, one text after another, and int32[B] how many words each has -> (tags int32[u],
    their probabilities float32[u]).

    Without transitions [T+2,T] each word has its likeliest tag; with them, the likeliest sequence (Viterbi) and the marginal
    probability of each of its tags.
    """
    if transitions is None:
        tags = tf.argmax(emissions, axis=-1, output_type=tf.int32)
        return tags, tf.gather(tf.nn.softmax(emissions), tags, batch_dims=1)
    ragged = tf.RaggedTensor.from_row_lengths(emissions, lengths, validate=False)
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)  # texts of like length together

    def together(begin: tf.Tensor) -> tf.Tensor:
        """The end of the texts that are decoded with the one at `begin` of the order, which is the longest of them."""
        longest = 1 + tf.gather(lengths, order[begin])
        return tf.minimum(begin + tf.maximum(1, AT_ONCE // (longest * transitions.shape[-1])), tf.size(order))

    def part(begin: tf.Tensor, tags: tf.TensorArray, probabilities: tf.TensorArray):
        end = together(begin)
        chosen = order[begin:end]
        made = _sequences(tf.gather(ragged, chosen), tf.gather(lengths, chosen), transitions)
        return end, *(array.write(array.size(), values) for array, values in zip((tags, probabilities), made, strict=True))

    arrays = [tf.TensorArray(dtype, size=0, dynamic_size=True, infer_shape=False, element_shape=[None])
              for dtype in (tf.int32, tf.float32)]
    _, *arrays = tf.while_loop(lambda begin, *_: begin < tf.size(order), part, [0, *arrays], parallel_iterations=1)
    back, ordered = tf.argsort(order), tf.gather(lengths, order)
    return tuple(tf.gather(tf.RaggedTensor.from_row_lengths(array.concat(), ordered, validate=False), back).flat_values
                 for array in arrays)


def _sequences(emissions: tf.RaggedTensor, lengths: tf.Tensor, transitions: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """The same of texts that are padded to the longest."""
    dense = tf.pad(emissions.to_tensor(shape=[None, None, transitions.shape[-1]]), [[0, 0], [0, 2], [0, 0]])  # loops of no
    repeated = tf.tile(tf.convert_to_tensor(transitions)[tf.newaxis], [tf.size(lengths), 1, 1])  # step are not for TensorFlow
    tags, _ = crf.viterbi(dense, lengths, repeated)
    probabilities = tf.gather(crf.marginals(dense, lengths, repeated), tags, batch_dims=2)
    real = tf.sequence_mask(lengths, tf.shape(tags)[1])
    return tf.boolean_mask(tags, real), tf.boolean_mask(probabilities, real)


def entities(tags: tf.Tensor, probabilities: tf.Tensor, rows: dict, learnt: Tags) -> dict[str, tf.Tensor]:
    """Tags int32[u] of the words of encoded rows -> count int32[B], and of each entity, up to the most that a text has: type
    string[B,E], start and end int32[B,E], score float32[B,E], entity string[B,E].

    start and end are code points of the text, end exclusive; score is the mean probability of the entity's tags; entity is what
    the text has there. Places of texts with fewer entities hold "", -1 and 0. Read as Tags.spans does.
    """
    texts, row = rows["word_start"].nrows(), rows["word_start"].value_rowids()
    kind = tf.gather(learnt.types_of_tags, tags)
    fresh = (tf.gather(learnt.begins, tags) | (kind != _previous(kind, 0)) | _previous(tf.gather(learnt.ends, tags), False)
             | (row != _previous(row, -1)))
    inside = kind > 0
    first = tf.cast(fresh & inside, tf.int32)
    number, total = tf.boolean_mask(tf.cumsum(first) - 1, inside), tf.reduce_sum(first)  # of each word's entity
    count = tf.math.unsorted_segment_sum(first, row, texts)

    def of_each(values: tf.Tensor, reduce) -> tf.Tensor:
        return reduce(tf.boolean_mask(values, inside), number, total)

    start = of_each(rows["word_start"].flat_values, tf.math.unsorted_segment_min)
    end = of_each(rows["word_end"].flat_values, tf.math.unsorted_segment_max)
    made = {"type": tf.gather(tf.constant(learnt.types), of_each(kind, tf.math.unsorted_segment_max) - 1), "start": start,
            "end": end, "score": of_each(probabilities, tf.math.unsorted_segment_mean)}
    if "text" in rows:
        made["entity"] = _cut(rows["text"], of_each(row, tf.math.unsorted_segment_max), start, end)
    empty = {"type": "", "start": -1, "end": -1, "score": 0.0, "entity": ""}
    return {"count": count, **{name: tf.RaggedTensor.from_row_lengths(values, count, validate=False).to_tensor(empty[name])
                               for name, values in made.items()}}


def _cut(texts: tf.Tensor, row: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """string[E]: code points start to end of texts[row]. Each text is read once, however many pieces are cut of it."""
    codes = tf.strings.unicode_decode(texts, "UTF-8", replace_control_characters=False)
    offset = tf.gather(codes.row_starts(), row)
    at = tf.ragged.range(offset + tf.cast(start, tf.int64), offset + tf.cast(end, tf.int64))
    return tf.strings.unicode_encode(at.with_values(tf.gather(codes.flat_values, at.values)), "UTF-8")


def _previous(values: tf.Tensor, first) -> tf.Tensor:
    """[7 8 9] -> [first 7 8]"""
    return tf.concat([tf.constant([first], values.dtype), values], axis=0)[:-1]
