"""What a task hands tfft explain, and is told by it: which numbers of an answer can be explained, and which one is wanted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfft.data.word_places import Word
from tfft.errors import UserError, unknown


class Wanted(NamedTuple):
    """What a user asks about; "" and None: what is answered. label, against: the name of what is explained, and of what alone
    it is held against; word: a part of the text, or at: its first character and the one behind its last."""

    label: str = ""
    against: str = ""
    word: str = ""
    at: tuple[int, int] | None = None

    @property
    def place(self) -> str:
        """The flag that says where, as it was given; "" without."""
        return f"--word={self.word}" if self.word else f"--at={self.at[0]}:{self.at[1]}" if self.at else ""

    def labels(self, names: tuple[str, ...]) -> tuple[int, int]:
        """The places of label and against in names, -1 where not given. Raises: UserError."""
        for flag, name in (("label", self.label), ("against", self.against)):
            if name and name not in names:
                raise UserError(f"--{flag}={name}: {unknown('label', name, names)}")
        if self.against and self.against == self.label:
            raise UserError(f"--against={self.against} is what is explained itself. Name another label.")
        return tuple(names.index(name) if name else -1 for name in (self.label, self.against))

    def no_place(self, why: str) -> None:
        """Raises: UserError where a place is wanted."""
        if self.place:
            raise UserError(f"{self.place}: {why}")

    def no_against(self, why: str) -> None:
        if self.against:
            raise UserError(f"--against={self.against}: {why}")

    @property
    def itself(self) -> str:
        """What is to be said where the answer is the very one that it should be held against."""
        return f"the answer is {self.against} itself: name with --label what is held against it"

    @property
    def odds(self) -> str:
        return f"log odds over {self.against}" if self.against else "log odds"

    def words(self, text: str, starts: np.ndarray, ends: np.ndarray) -> tuple[int, int] | None:
        """(first word, the one behind the last) of the place in a text whose words are at starts, ends int[W]; None where no
        place is wanted. Raises: UserError where it is not there, or several times.

        Wanted(word="in it").words("is in it", [0 3 6], [2 5 8]) -> (1, 3)
        """
        if self.at:
            first, last = np.searchsorted(ends, self.at[0], "right"), np.searchsorted(starts, self.at[1], "left")
            if not 0 <= self.at[0] < self.at[1] <= len(text) or first >= last:
                raise UserError(f"{self.place}: there is no word in a text of {len(text)} characters. The first one is 0, and "
                                "the end is behind the last one.")
            return int(first), int(last)
        if not self.word:
            return None
        size, behind = len(self.word), {int(end): place + 1 for place, end in enumerate(ends)}
        found = [(place, behind[start + size]) for place, start in enumerate(starts.tolist())
                 if text.startswith(self.word, start) and start + size in behind]
        if not found:
            raise UserError(f"{self.place} is no word of the text {text[:60]!r}{'...' if len(text) > 60 else ''}. Write it as "
                            "it is there, or give its place: --at=START:END, in characters.")
        if len(found) > 1:
            places = " or ".join(f"--at={starts[first]}:{ends[last - 1]}" for first, last in found[:5])
            raise UserError(f"{self.place} is in the text {len(found)} times. Give the place of one: {places}")
        return found[0]


class Target(NamedTuple):
    """One number of an answer that is explained (a target, as attribution methods call it).

    name, what: of it ("pos", "log odds"). at int32[C,A]: which number it is, for `Explained.outputs`; examples int64[C,K]:
    those of the row that it is computed of. Where C > 1, as of an answer in several windows, that one of them is explained in
    which the number is largest, or where `least` smallest. token int64[C,2]: which of the K examples, and which token of it,
    attention is followed from; None: from what the pooling takes. about: the part of a text that it is about; answer: what is
    predicted there, None: the whole answer.
    """

    name: str
    what: str
    at: np.ndarray
    examples: np.ndarray
    least: bool = False
    token: np.ndarray | None = None
    about: Word | None = None
    answer: dict | None = None


class Explained(NamedTuple):
    """What of a task's answers `tfft explain` explains: numbers, which the words of a row make larger or smaller.

    names: the labels that numbers are of; () without. outputs(what the model gives for n x K sequences, the K of a point one
    after another; at int32[n,A]) -> float32[n], in a graph. targets(response to one row, its encoded examples, the columns of
    the row) -> (the numbers that its answer consists of, or the one wanted; what is to be said of them, or where there is
    none). words(row of asked fields): the words of its texts in order, and of each token of its examples int64[N,S] which of
    them it is part of, -1 of none. texts(row) -> what words are of, by field. response(what `respond` answered B rows, at
    int32[A]) -> float64[B], the same number of a served answer, by which a row is asked about again without a word; None where
    the number is one of a place, which must stay: there words are hidden.
    """

    names: tuple[str, ...]
    outputs: Callable[[Any, tf.Tensor], tf.Tensor]
    targets: Callable[[dict[str, np.ndarray], dict, dict], tuple[list[Target], str]]
    words: Callable[[dict[str, Any]], tuple[list[Word], np.ndarray]]
    texts: Callable[[dict[str, Any]], dict[str, str]]
    response: Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray] | None = None


def against_others(scores: tf.Tensor, one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Scores float32[n,L], bool[n,L] twice: which of them are asked about, and held against -> log odds float32[n].

    [[2 1 1]], [[T F F]], [[F T T]] -> [2 - log(e + e)]
    """
    one, other = (tf.reduce_logsumexp(tf.where(chosen, scores, scores.dtype.min / 2), axis=1) for chosen in (one, other))
    return one - other


def odds_at(scores: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Scores float32[n,L], at int32[n,2]: which one is asked about, and which it is held against, -1 for all others -> log odds
    float32[n]."""
    place = tf.range(tf.shape(scores)[1])
    one = place == at[:, :1]
    return against_others(scores, one, tf.where(at[:, 1:] < 0, ~one, place == at[:, 1:]))
