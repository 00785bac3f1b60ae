"""What a served tagger answers, in its graph and to its reader."""

import numpy as np
import tensorflow as tf

from tfft.tasks.token_classification.decode import decode, entities

SURE = 1e-3  # entities whose score is nearer than this to another answer's may differ between two computations


def respond(task, examples: dict, rows: dict, units: tf.Tensor, transitions: np.ndarray | None) -> dict[str, tf.Tensor]:
    """Units float32[u,D] of all windows, one after another -> what tfft.tasks.token_classification.decode.entities has; with
    sentence labels also label string[B] and label_score float32[B]."""
    made, word_counts = {}, rows["word_start"].row_lengths()
    if task.lead:
        windows = examples["places"].row_lengths() + 1
        leads = tf.cumsum(windows, exclusive=True)
        scores = tf.nn.softmax(tf.gather(units, tf.gather(leads, _first(examples, word_counts)))[:, :len(task.tags.labels)])
        best = tf.argmax(scores, axis=1)
        made = {"label": tf.gather(tf.constant(task.tags.labels), best), "label_score": tf.reduce_max(scores, axis=1)}
        is_lead = tf.scatter_nd(leads[:, tf.newaxis], tf.ones_like(leads), tf.shape(units, tf.int64)[:1])
        units = tf.boolean_mask(units, is_lead == 0)[:, :task.outputs]
    emissions = tf.RaggedTensor.from_row_lengths(units, word_counts, validate=False).to_tensor(shape=[None, None, task.outputs])
    lengths = tf.cast(word_counts, tf.int32)
    tags, probabilities = decode(emissions, lengths, transitions)
    return {**entities(tags, probabilities, rows, task.tags), **made}


def _first(examples: dict, word_counts: tf.Tensor) -> tf.Tensor:
    """int64[B]: each row's first window."""
    return tf.cast(tf.searchsorted(examples["row"], tf.range(tf.size(word_counts))), tf.int64)


def recognises(outputs: set[str]) -> bool:
    return outputs >= {"count", "type", "start", "end", "score"}


def answers(response: dict[str, np.ndarray]) -> list[tuple[dict, dict[str, float]]]:
    """{"entities": [{"text", "type", "start", "end", "score"}]}, start and end in characters of the text, and with sentence
    labels "label" and "label_probability"."""
    made = []
    for i, count in enumerate(response["count"]):
        found = [{"text": response["entity"][i][j], "type": response["type"][i][j], "start": int(response["start"][i][j]),
                  "end": int(response["end"][i][j]), "score": float(response["score"][i][j])} for j in range(int(count))]
        answer = {"entities": found}
        if "label" in response:
            answer = {"label": response["label"][i], "label_probability": float(response["label_score"][i]), **answer}
        made.append((answer, {}))
    return made


def signatures(task, served) -> dict:
    """serving_default takes text string[B]; words takes words string[B,W], "" beyond a row's own: offsets are then of the words
    joined by one blank. For roles, both take predicate int64[B], the number of the word asked about."""
    roles = {"predicate": tf.TensorSpec([None], tf.int64, name="predicate")} if "predicate" in served.fields else {}

    def of_words(words, **more):
        return served.of_texts(text=tf.RaggedTensor.from_tensor(words, padding=""), **more)

    return {
        "serving_default": tf.function(lambda **inputs: served.of_texts(**inputs)).get_concrete_function(
            text=tf.TensorSpec([None], tf.string, name="text"), **roles),
        "words": tf.function(of_words).get_concrete_function(
            words=tf.TensorSpec([None, None], tf.string, name="words"), **roles)}


def difference(expected: dict[str, np.ndarray], got: dict[str, list], rows: list[int]) -> np.ndarray:
    """The largest difference of a score where the entities are the same; where they are not, infinite, but for those that
    either side was not sure of: two tags as likely as one another may come out either way."""
    made = np.zeros(len(rows))
    for place, row in enumerate(rows):
        own, other = (_entities(response, at) for response, at in ((expected, row), (got, place)))
        for key in own.keys() | other.keys():
            if key in own and key in other:
                made[place] = max(made[place], abs(own[key] - other[key]))
            elif abs((own.get(key) or other.get(key)) - 0.5) > SURE:
                made[place] = np.inf
        if "label_score" in expected:
            made[place] = max(made[place], abs(float(expected["label_score"][row]) - float(got["label_score"][place])))
    return made


def _entities(response: dict, row: int) -> dict[tuple, float]:
    def text(value) -> str:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    return {(int(response["start"][row][j]), int(response["end"][row][j]), text(response["type"][row][j])):
            float(response["score"][row][j]) for j in range(int(response["count"][row]))}
