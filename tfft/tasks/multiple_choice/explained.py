"""What of a choice is explained: the log odds of the chosen candidate against the others of its row, or where each candidate is
judged by itself those of its being right."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import TRACE, string_array
from tfft.data.word_places import TextWords, Word
from tfft.errors import UserError
from tfft.tasks.base import Explained, Target, Wanted, odds_at
from tfft.tasks.multiple_choice.encoder import listed_choices


def explained(task, encoder, wanted: Wanted) -> Explained:
    wanted.no_place("this run chooses among candidates, and not among the places of a text. Leave --word and --at out.")
    if task.binary:
        wanted.no_against("this run judges each candidate by itself, and none against another (config.task.loss=binary). Leave "
                          "--against out.")

    def targets(response: dict[str, np.ndarray], examples: dict, rows: dict) -> tuple[list[Target], str]:
        texts = [text.decode("utf-8", "replace") for text in rows["choices"].numpy()[0]]
        column = examples["place"].numpy().tolist()  # of each example
        if len(column) < 2 - task.binary or texts[column[0]] == "":
            return [], "there is nothing to choose"
        label, against = (_example(flag, name, texts, column) for flag, name in (("label", wanted.label),
                                                                              ("against", wanted.against)))
        chosen = column.index(int(response["position"][0])) if label < 0 else label
        if chosen == against:
            return [], wanted.itself
        at, given = np.array([[chosen, against]], np.int32), np.arange(len(column))[np.newaxis]
        if task.binary:
            at, given = np.zeros((1, 2), np.int32), np.array([[chosen]])
        over = f" over {texts[column[against]]!r}" if against >= 0 else ""
        return [Target(repr(texts[column[chosen]]), f"log odds{over}", at, given)], ""

    return Explained((), _of_one if task.binary else _against, targets, Words(encoder),
                     lambda row: texts(row, encoder.fields))


class Words:
    """Row -> (the words of its question, context and candidates, int64[K,S] the word of each token of its K examples, -1 of
    none)."""

    def __init__(self, encoder):
        self._fields, self._tokenizer = [name for name in encoder.fields if name != "choices"], encoder.tokenizer
        self._words = TextWords(encoder.tokenizer.tokenizer)
        given = [tf.TensorSpec([size], tf.string) for size in (len(self._fields), None)]
        self._look = tf.function(self._looked, autograph=False, input_signature=given)

    def _looked(self, given: tf.Tensor, candidates: tf.Tensor) -> tuple:
        question, *context = (given[i:i + 1] for i in range(len(self._fields)))
        tokens, (of_question, of_candidates, *more) = self._tokenizer.traced(question, candidates,
                                                                           tf.zeros_like(candidates, tf.int32), *context)
        return tokens, [of_question, *more], of_candidates, self._words.look(tf.concat([given, candidates], axis=0))

    def __call__(self, row: dict[str, Any]) -> tuple[list[Word], np.ndarray]:
        candidates = [(place, text) for place, text in enumerate(listed_choices(row["choices"])) if text != ""]
        tokens, given, of_candidates, looked = self._look(string_array([row[name] for name in self._fields]),
                                                          string_array([text for _, text in candidates]))
        tokens, words = tokens.to_tensor(-1).numpy(), []
        owner = np.full(tokens.shape, -1, np.int64)

        def read(number: int, name: str, ids: tf.Tensor, of_tokens: np.ndarray) -> None:
            """Finds the words of a text, and whose the tokens bool[K,S] of it are."""
            made, of_token = self._words.read(looked, number, name, ids)
            mine = of_token[tokens[of_tokens] % TRACE]
            owner[of_tokens] = np.where(mine < 0, -1, mine + len(words))
            words.extend(made)

        kind = tokens // TRACE  # 1 the question, 2 a candidate, 3 the context
        for number, (name, ids) in enumerate(zip(self._fields, given, strict=True)):
            read(number, name, ids[0], kind == (3 if number else 1))
        for example, (place, _) in enumerate(candidates):
            own = np.arange(len(tokens))[:, np.newaxis] == example
            read(len(self._fields) + example, f"choice {place}", of_candidates[example], own & (kind == 2))
        return words, owner


def texts(row: dict[str, Any], fields: tuple[str, ...]) -> dict[str, str]:
    """{"question": "q", "choices": ["a", "b"]} -> {"question": "q", "choice 0": "a", "choice 1": "b"}"""
    choices = {f"choice {number}": text for number, text in enumerate(listed_choices(row["choices"]))}
    return {**{name: row[name] for name in fields if name != "choices"}, **choices}


def _example(flag: str, name: str, texts: list[str], column: list[int]) -> int:
    """The example of a candidate that is named by its text or by its position from 0; -1 of none. Raises: UserError."""
    if not name:
        return -1
    found = [example for example, place in enumerate(column) if texts[place] == name or str(place) == name]
    if not found:
        there = ", ".join(repr(texts[place]) for place in column)
        raise UserError(f"--{flag}={name}: it is none of the candidates, {there:.200}, nor the position of one, {column[0]} to "
                        f"{column[-1]}.")
    return found[0]


def _of_one(logits: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    return logits[:, 0]


def _against(logits: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Logits float32[n x K,1], at int32[n,2]: the candidate, and the one that it is held against, -1 for all others."""
    return odds_at(tf.reshape(logits, [tf.shape(at)[0], -1]), at)
