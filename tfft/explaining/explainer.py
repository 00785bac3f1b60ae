"""Rows in, explanations of their answers out."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfft.data.tokenize import features
from tfft.errors import UserError, unknown
from tfft.evaluation.predictor import Opened, Predictor, decoded
from tfft.explaining.explanation import Explanation
from tfft.explaining.gradients import Slopes
from tfft.explaining.occlusion import occluded, taken_together
from tfft.explaining.rollout import Rollout

SLOPES = ("integrated_gradients", "gradient_x_input")
FEWEST = 8  # parts that a text is taken apart into


class Explainer:
    """A run's model, asked for its reasons by one method. label: the name of what is explained; "": what is answered.
    names: of what can be. tokens: how many the model is to read for a row by occlusion, about; of longer rows neighbouring
    words are left out together. 0: every word by itself.

    Raises: UserError where the task has nothing that can be explained so, or no such label.
    """

    def __init__(self, run: Opened, method: str, label: str = "", batch_size: int = 64, tokens: int = 0):
        self._run, self._method, self._tokens = run, method, tokens
        self.predictor = Predictor(run, batch_size)
        self._explained = run.task.explained(self.predictor.encoder)
        self.names = self._explained.names
        if label and label not in self.names:
            raise UserError(f"--label={label}: {unknown('label', label, self.names)}")
        self._label = self.names.index(label) if label else -1
        self._rollout = Rollout(run) if method == "attention_rollout" else None
        self._slopes = Slopes(run, self._explained.outputs) if method in SLOPES else None

    def __call__(self, row: dict[str, str], place: str = "") -> Iterator[Explanation]:
        """One explanation, or where an answer has several labels one of each."""
        row = {name: row[name] for name in self.predictor.fields}
        response = self.predictor([row])
        answer, _ = self._run.task.answers({name: decoded(value) for name, value in response.items()})[0]
        answer = {name: round(value, 6) if isinstance(value, float) else value for name, value in answer.items()}
        words, owner = self._explained.words(row)
        if self._tokens:
            words, owner = taken_together(words, owner, max(FEWEST, self._tokens // len(owner)))
        seen = np.isin(np.arange(len(words)), owner)
        for at in self._explained.answer(response) if self._label < 0 else [self._label]:
            attribution, found = np.zeros(len(words)), {}
            if self._method == "occlusion":
                read = [word for word, there in zip(words, seen, strict=True) if there]
                attribution[seen], found["value"] = occluded(self.predictor, self._explained, row, read, at)
            else:
                of_token, found = self._by_tokens(row, owner, at)
                if self._rollout:
                    found = {"value": float(self._explained.response(response, at)[0])}
                attribution = np.bincount(owner[owner >= 0], of_token[owner >= 0], len(words))
            yield Explanation(row, place, answer, self._method, self.names[at], self._explained.what, words=words,
                              attribution=attribution, seen=seen, **found)

    def values(self, rows: list[dict[str, str]], at: int) -> np.ndarray:
        """float64[n]: the number `at` of names that is explained, of other rows."""
        return self._explained.response(self.predictor(rows), at)

    def _by_tokens(self, row: dict[str, str], owner: np.ndarray, at: int) -> tuple[np.ndarray, dict]:
        """float64[S] of the example's own tokens, and what else an Explanation has of them."""
        examples, _ = self.predictor.encode([row])
        inputs = features(examples, self.predictor.encoder.pad_id, tuple(self._run.model.input), multiple=8)
        if self._rollout:
            return self._rollout(inputs)[:len(owner)], {}
        if self._method == "gradient_x_input":
            of_token, value = self._slopes.times_input(inputs, at)
            return of_token[:len(owner)], {"value": value}
        padded = np.zeros(inputs["token_ids"].shape[1], bool)
        padded[:len(owner)] = owner >= 0
        made = self._slopes.integrated(inputs, tf.constant(padded), at)
        return made.attribution[:len(owner)], {"value": made.value, "rest": made.rest, "steps": made.steps}
