"""Rows in, explanations of their answers out."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import features
from tfft.data.word_places import Word
from tfft.errors import UserError
from tfft.evaluation.predictor import Opened, Predictor, decoded, rounded
from tfft.explaining.explanation import Explanation
from tfft.explaining.gradients import Slopes
from tfft.explaining.hiding import Values, blank_of, hidden
from tfft.explaining.occlusion import hidden_each, left_out, taken_together
from tfft.explaining.rollout import Rollout
from tfft.tasks.base import Target, Wanted

SLOPES = ("integrated_gradients", "gradient_x_input")
FEWEST = 8  # parts that a text is taken apart into


class Asked(NamedTuple):
    """A row that is explained: its answer, words and targets, as tfft.tasks.reasons.Explained has them, and its examples."""

    answer: dict
    words: list[Word]
    owner: np.ndarray
    targets: list[Target]
    note: str
    examples: dict


class Placed(NamedTuple):
    """The K examples that a target is explained in: inputs int32[K,S]; owner int64[K,S], the word of each token; which of the
    target's C places it is."""

    inputs: dict[str, tf.Tensor]
    owner: np.ndarray
    which: int


class Explainer:
    """A run's model, asked for its reasons by one method. label, against, word, at: what is wanted, see tfft.tasks.reasons;
    "": what is answered. names: the labels that can be explained, () where there are none. nothing: why the last row had no
    explanation. tokens: how many the model is to read for a number by occlusion, about; of longer rows neighbouring words are
    taken together. 0: every word by itself.

    Raises: UserError where the task has nothing that can be explained so, or no such label, or the run is several.
    """

    def __init__(self, run: Opened, method: str, label: str = "", batch_size: int = 64, *, against: str = "", word: str = "",
                 at: tuple[int, int] | None = None, tokens: int = 0):
        if run.backbone is None and method != "occlusion":
            raise UserError(f"--method={method} looks into one model, and this run is several that answer together. Use "
                            "--method=occlusion, which asks nothing but the answers, or name one of them with --workdir.")
        self._run, self._method, self._tokens = run, method, tokens
        self.predictor = Predictor(run, batch_size)
        self._explained = run.task.explained(self.predictor.encoder, Wanted(label, against, word, at))
        self.names, self.nothing = self._explained.names, ""
        self._blank = blank_of(run.tokenizer)
        self._values = Values(run.model, self._explained.outputs, batch_size)
        self._rollout = Rollout(run) if method == "attention_rollout" else None
        self._slopes = Slopes(run, self._explained.outputs) if method in SLOPES else None

    @property
    def leaves_out(self) -> bool:
        """Whether words are left out by occlusion, and not hidden."""
        return self._explained.response is not None

    def __call__(self, row: dict[str, Any], place: str = "") -> Iterator[Explanation]:
        """One explanation of each number that the answer consists of: of one label, of several, of entities."""
        asked = self._asked(row)
        self.nothing = "" if asked.targets else asked.note
        texts = self._explained.texts(row)
        whole = asked
        for target in asked.targets:
            asked, placed = self._fewer(whole, self._placed(whole, target))
            seen = np.isin(np.arange(len(asked.words)), asked.owner)
            attribution, found = self._attributed(row, asked, target, placed)
            elsewhere = int((seen & ~np.isin(np.arange(len(seen)), placed.owner)).sum())
            notes = [asked.note] if asked.note and target is asked.targets[0] else []
            if elsewhere:
                notes.append(f"{elsewhere:,} of {len(seen):,} words stand in other windows than the one that is explained")
            yield Explanation(texts, place, asked.answer if target.answer is None else rounded(target.answer), self._method,
                              target.name, target.what, words=asked.words, attribution=attribution, seen=seen,
                              about=target.about, notes=tuple(notes), **found)

    def values(self, rows: list[dict[str, str]], at: int) -> np.ndarray:
        """float64[n]: the number of the label at `at` of names, of other rows. For tasks that answer rows as a whole."""
        return self._explained.response(self.predictor(rows), np.array([at, -1]))

    def hidden_values(self, row: dict[str, Any], number: int, of_hidden: np.ndarray) -> np.ndarray:
        """float64[n]: what the explained number of a row's answer is when the words bool[n,W] of it are hidden."""
        asked = self._asked(row)
        target = asked.targets[number]
        return self._when_hidden(target, self._placed(asked, target), of_hidden)

    def _asked(self, row: dict[str, Any]) -> Asked:
        examples, of_row = self.predictor.encode([row])
        response = {name: decoded(value) for name, value in self.predictor.response(examples, of_row).items()}
        answer, _ = self._run.task.answers(response)[0]
        targets, note = self._explained.targets(response, examples, of_row)
        return Asked(rounded(answer), *self._explained.words(row), targets, note, examples)

    def _placed(self, asked: Asked, target: Target) -> Placed:
        """Where the number is largest, or least."""
        found = [self._inputs(asked.examples, chosen) for chosen in target.examples]
        which = 0
        if len(found) > 1:
            values = [float(self._values(inputs, at[np.newaxis])[0]) for inputs, at in zip(found, target.at, strict=True)]
            which = int(np.argmin(values) if target.least else np.argmax(values))
        inputs = found[which]
        owner = np.full(inputs["token_ids"].shape, -1, np.int64)
        mine = asked.owner[target.examples[which]][:, :owner.shape[1]]
        owner[:, :mine.shape[1]] = mine
        return Placed(inputs, owner, which)

    def _fewer(self, asked: Asked, placed: Placed) -> tuple[Asked, Placed]:
        """The same, with neighbouring words taken together where there are too many."""
        if not self._tokens:
            return asked, placed
        words, group = taken_together(asked.words, placed.owner, max(FEWEST, self._tokens // placed.owner.size))
        return asked._replace(words=words, owner=group[asked.owner]), placed._replace(owner=group[placed.owner])

    def _inputs(self, examples: dict, chosen: np.ndarray) -> dict[str, tf.Tensor]:
        """int32[K,S] of some of a row's examples."""
        own = {name: tf.gather(column, chosen) for name, column in examples.items()}
        return features(own, self.predictor.encoder.pad_id, tuple(self._run.model.input), multiple=8)

    def _attributed(self, row: dict, asked: Asked, target: Target, placed: Placed) -> tuple[np.ndarray, dict]:
        """float64[W] of the words, and what else an Explanation has of them."""
        if self._method == "occlusion":
            return self._occluded(row, asked, target, placed)
        of_token, found = self._by_tokens(target, placed)
        of_word = placed.owner >= 0
        return np.bincount(placed.owner[of_word], of_token[of_word], len(asked.words)), found

    def _occluded(self, row: dict, asked: Asked, target: Target, placed: Placed) -> tuple[np.ndarray, dict]:
        attribution, read = np.zeros(len(asked.words)), np.unique(placed.owner[placed.owner >= 0])
        if self.leaves_out:
            at = target.at[placed.which]
            attribution[read], value = left_out(lambda rows: self._explained.response(self.predictor(rows), at), row,
                                                [asked.words[word] for word in read])
        else:
            attribution[read], value = hidden_each(lambda words: self._when_hidden(target, placed, words), len(asked.words),
                                                   read)
        return attribution, {"value": value}

    def _when_hidden(self, target: Target, placed: Placed, of_hidden: np.ndarray) -> np.ndarray:
        """bool[n,W] -> float64[n]"""
        none = np.zeros((len(of_hidden), 1), bool)
        tokens = np.concatenate([of_hidden, none], axis=1)[:, placed.owner]  # the word -1 is the last one
        return self._values(hidden(placed.inputs, tokens, self._blank),
                            np.repeat(target.at[placed.which:placed.which + 1], len(of_hidden), axis=0))

    def _by_tokens(self, target: Target, placed: Placed) -> tuple[np.ndarray, dict]:
        """float64[K,S] of the tokens, and what else an Explanation has of them."""
        at = target.at[placed.which]
        if self._rollout:
            made = np.zeros(placed.owner.shape)
            for k in range(len(made)) if target.token is None else target.token[placed.which:placed.which + 1, 0]:
                token = -1 if target.token is None else int(target.token[placed.which, 1])
                made[k] = self._rollout({name: value[k:k + 1] for name, value in placed.inputs.items()}, token)
            return made, {"value": float(self._values(placed.inputs, at[np.newaxis])[0])}
        if self._method == "gradient_x_input":
            of_token, value = self._slopes.times_input(placed.inputs, at)
            return of_token, {"value": value}
        made = self._slopes.integrated(placed.inputs, placed.owner >= 0, at)
        return made.attribution, {"value": made.value, "rest": made.rest, "steps": made.steps}
