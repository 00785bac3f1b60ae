"""What of a tagger's answers is explained: the log odds of an entity's type, at its first word.

Of a softmax head they are log of the probability of the type's tags at that word, over that of all other tags. A CRF has a
probability of whole sequences: there it is that of all sequences that have the type at the word, over that of all others, which
are the log odds of its marginal probability (the forward algorithm, twice), of all windows of a text together as in decoding.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import TRACE
from tfft.data.word_places import Word
from tfft.errors import UserError
from tfft.models import crf
from tfft.tasks.base import Explained, Target, Wanted, against_others
from tfft.tasks.token_classification.decode import TRANSITIONS
from tfft.tasks.token_classification.rows import joined

MOST = 5  # entities of a text, where none is asked for
NONE = -1e9  # the logit of a tag that may not be there
OUTSIDE = "O"


def explained(task, encoder, wanted: Wanted) -> Explained:
    if encoder.roles:
        raise UserError("tfft explain says which words make a model choose an entity. This run answers with the roles of other "
                        "words to a predicate, and of such runs it says nothing yet.")
    names = (*task.tags.types, *([] if task.tags.scheme == "none" else [OUTSIDE]))
    label, against = wanted.labels(names)
    if wanted.label == OUTSIDE and not wanted.place and task.tags.scheme != "none":
        raise UserError("--label=O: most words are no entity. Say which one is asked about: --word=TEXT or --at=START:END.")
    look = tf.function(encoder.traced, autograph=False, reduce_retracing=True)

    def words(row: dict[str, Any]) -> tuple[list[Word], np.ndarray]:
        tokens, start, end = look(encoder.strings([row])["text"])
        tokens = tokens.to_tensor(-1).numpy()
        return ([Word("text", *place) for place in zip(start[0].numpy().tolist(), end[0].numpy().tolist(), strict=True)],
                np.where(tokens >= TRACE, tokens % TRACE, -1).astype(np.int64))

    def targets(response: dict[str, np.ndarray], examples: dict, rows: dict) -> tuple[list[Target], str]:
        place = _Places(task, response, examples, rows)
        found, note = place.wanted(wanted), ""
        if label >= 0 and not wanted.place:
            found = [one for one in found if one["type"] == wanted.label]
        made = [(one, wanted.label if label >= 0 else one["type"]) for one in found]
        kept = [(one, kind) for one, kind in made if kind != wanted.against]
        if not found:
            note = (f"no entity {f'of type {wanted.label} ' if label >= 0 else ''}is found: --word=TEXT --label=TYPE says why "
                    "a word is none")
        elif not kept:
            note = wanted.itself
        elif len(kept) > MOST:
            note = f"the {MOST} surest of {len(kept)} entities are explained: --word=TEXT or --at=START:END names another"
        kept = sorted(sorted(kept, key=lambda each: -each[0]["score"])[:MOST], key=lambda each: each[0]["start"])
        return [place.target(one, kind, names.index(kind), against, wanted.odds) for one, kind in kept], note

    kinds = np.where(task.tags.types_of_tags == 0, len(task.tags.types), task.tags.types_of_tags - 1).astype(np.int32)
    return Explained(names, _Odds(kinds, task.crf), targets, words, lambda row: {"text": joined(row["text"])})


class _Places:
    """The words of one row, its entities, and where in its windows they stand."""

    def __init__(self, task, response: dict[str, np.ndarray], examples: dict, rows: dict):
        self._crf, self._tagged = task.crf, task.tags.scheme == "none"
        self._text = rows["text"].numpy()[0].decode("utf-8", "replace")
        self._start, self._end = (rows[name][0].numpy() for name in ("word_start", "word_end"))
        places = examples["places"]
        self._window = places.value_rowids().numpy()  # of each word
        self._piece = places.flat_values.numpy()
        self._windows = int(places.nrows())
        self._entities = task.answers(response)[0][0]["entities"]

    def wanted(self, wanted: Wanted) -> list[dict]:
        """Entities as an answer has them; of a word that is asked about what was found there, perhaps none, O."""
        chosen = wanted.words(self._text, self._start, self._end)
        if not chosen:
            return list(self._entities)
        start, end = int(self._start[chosen[0]]), int(self._end[chosen[1] - 1])
        here = [one for one in self._entities if one["start"] <= start < one["end"]]
        exactly = [one for one in here if (one["start"], one["end"]) == (start, end)]
        kind, score = (here[0]["type"], here[0]["score"]) if here else (OUTSIDE, 0.0)
        return exactly or [{"text": self._text[start:end], "type": kind, "start": start, "end": end, "score": score}]

    def target(self, entity: dict, kind: str, label: int, against: int, what: str) -> Target:
        first = int(np.searchsorted(self._start, entity["start"]))
        about = Word("text", entity["start"], entity["end"])
        name = f"{kind or 'an entity'} at {entity['text']!r}"
        window, piece = int(self._window[first]), int(self._piece[first])
        if not self._crf:
            return Target(name, what, np.array([[label, against, piece]], np.int32), np.array([[window]]),
                          token=np.array([[0, piece]]), about=about, answer=_without_score(entity))
        at = np.array([[label, against, first, *self._window, *self._piece]], np.int32)
        return Target(name, what, at, np.arange(self._windows)[np.newaxis], token=np.array([[window, piece]]),
                      about=about, answer=_without_score(entity))


def _without_score(entity: dict) -> dict:
    """Of a word that is no entity."""
    return {name: value for name, value in entity.items() if name != "score" or entity["type"] != OUTSIDE}


class _Odds:
    """What the model gives for the windows of n texts, and at int32[n,A] -> log odds float32[n]. at: the type, the one that it
    is held against (-1: all others), and of a softmax head the piece; of a CRF the word, the window of each word, the piece of
    each. kinds: int32[T], the type of each tag."""

    def __init__(self, kinds: np.ndarray, is_crf: bool):
        self._kinds, self._crf = kinds, is_crf

    def __call__(self, outputs: dict[str, tf.Tensor], at: tf.Tensor) -> tf.Tensor:
        kinds = tf.constant(self._kinds)[tf.newaxis]
        one = kinds == at[:, :1]
        other = tf.where(at[:, 1:2] < 0, ~one, kinds == at[:, 1:2])
        if not self._crf:
            return against_others(tf.gather(outputs["logits"], at[:, 2], batch_dims=1), one, other)
        count, words = tf.shape(at)[0], (tf.shape(at)[1] - 3) // 2
        logits = outputs["logits"]
        logits = tf.reshape(logits, tf.concat([[count, -1], tf.shape(logits)[1:]], axis=0))  # [n,K,S,T]
        places = tf.stack([at[:, 3:3 + words], at[:, 3 + words:]], axis=-1)
        emissions = tf.gather_nd(logits, places, batch_dims=1)  # [n,W,T]
        emissions -= tf.stop_gradient(tf.reduce_max(emissions, axis=-1, keepdims=True))
        here = (tf.range(words) == at[:, 2:3])[..., tf.newaxis]
        through = [tf.where(here & ~chosen[:, tf.newaxis], NONE, emissions) for chosen in (one, other)]
        transitions = outputs[TRANSITIONS][:1]
        emissions = tf.pad(tf.concat(through, axis=0), [[0, 0], [0, 2], [0, 0]])  # loops of no step are not for TensorFlow
        made = crf.log_partition(emissions, tf.fill([2 * count], words), tf.repeat(transitions, 2 * count, axis=0))
        return made[:count] - made[count:]
