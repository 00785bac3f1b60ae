"""Emissions of words -> tags -> entities, in the graph."""

import numpy as np
import tensorflow as tf

from tfft.models import crf
from tfft.tasks.token_classification.tags import Tags

TRANSITIONS = "transitions"


def decode(emissions: tf.Tensor, lengths: tf.Tensor, transitions: np.ndarray | None) -> tuple[tf.Tensor, tf.Tensor]:
    """float32[B,W,T] of texts of int32[B] words -> (tags int32[B,W], their probabilities float32[B,W]).

    Without transitions [T+2,T] each word has its likeliest tag; with them, the likeliest sequence (Viterbi) and the marginal
    probability of each of its tags.
    """
    if transitions is None:
        tags = tf.argmax(emissions, axis=-1, output_type=tf.int32)
        return tags, tf.gather(tf.nn.softmax(emissions), tags, batch_dims=2)
    words = tf.shape(emissions)[1]
    emissions = tf.pad(emissions, [[0, 0], [0, 2], [0, 0]])  # TensorFlow cannot run loops of no step
    repeated = tf.tile(tf.constant(transitions)[tf.newaxis], [tf.shape(emissions)[0], 1, 1])
    tags, _ = crf.viterbi(emissions, lengths, repeated)
    return tags[:, :words], tf.gather(crf.marginals(emissions, lengths, repeated), tags, batch_dims=2)[:, :words]


def entities(tags: tf.Tensor, probabilities: tf.Tensor, rows: dict, learnt: Tags) -> dict[str, tf.Tensor]:
    """Tags int32[B,W] of encoded rows -> count int32[B], and of each entity, up to the most that a text has: type string[B,E],
    start and end int32[B,E], score float32[B,E], entity string[B,E].

    start and end are code points of the text, end exclusive; score is the mean probability of the entity's tags; entity is what
    the text has there. Places of texts with fewer entities hold "", -1 and 0. Read as Tags.spans does.
    """
    starts, ends = rows["word_start"], rows["word_end"]
    real = tf.sequence_mask(starts.row_lengths(), tf.shape(tags)[1])
    kind = tf.where(real, tf.gather(learnt.types_of_tags, tags), 0)
    fresh = tf.gather(learnt.begins, tags) | (kind != _shifted(kind)) | tf.cast(
        _shifted(tf.cast(tf.gather(learnt.ends, tags), tf.int32)), tf.bool)
    first = fresh & (kind > 0)
    inside = kind > 0
    number = tf.cumsum(tf.cast(first, tf.int32), axis=1)  # of the entity, from 1 in each text
    count = tf.reduce_sum(tf.cast(first, tf.int32), axis=1)
    most = tf.reduce_max(tf.concat([count, [0]], axis=0))
    row = tf.tile(tf.range(tf.shape(tags)[0])[:, tf.newaxis], [1, tf.shape(tags)[1]])
    place = tf.boolean_mask(row * most + number - 1, inside)  # among all places of the answer
    size = tf.size(count) * most

    def gathered(values: tf.Tensor, reduce) -> tf.Tensor:
        return tf.reshape(reduce(tf.boolean_mask(values, inside), place, size), [-1, most])

    there = tf.sequence_mask(count, most)
    begin = tf.where(there, gathered(starts.to_tensor(), tf.math.unsorted_segment_min), -1)
    end = tf.where(there, gathered(ends.to_tensor(), tf.math.unsorted_segment_max), -1)
    which = tf.where(there, gathered(kind, tf.math.unsorted_segment_max), 0)
    score = tf.where(there, gathered(probabilities, tf.math.unsorted_segment_mean), 0.0)
    types = tf.constant(["", *learnt.types])
    made = {"count": count, "type": tf.gather(types, which), "start": begin, "end": end, "score": score}
    if "text" in rows:
        text = tf.repeat(rows["text"][:, tf.newaxis], most, axis=1)
        made["entity"] = tf.where(there, tf.strings.substr(text, tf.maximum(begin, 0), tf.maximum(end - begin, 0),
                                                           unit="UTF8_CHAR"), "")
    return made


def _shifted(values: tf.Tensor) -> tf.Tensor:
    """[[7 8 9]] -> [[0 7 8]]"""
    return tf.pad(values, [[0, 0], [1, 0]])[:, :-1]
