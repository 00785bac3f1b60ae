"""What is explained of one answer, and how it is written as JSON."""

import dataclasses

import numpy as np

from tfft.data.word_places import Word
from tfft.explaining.nearest import Neighbour

COMPLETE = 0.01  # what attributions may miss of the difference that they should sum to


@dataclasses.dataclass
class Explanation:
    """What each word adds to one number of an answer.

    row: the texts by field; place: of the row in its file, "" without; answer: what is predicted, for a reader; name, what: of
    the number ("neg", "log odds"); value: it, for the whole row; attribution float64[W]: of each word; seen bool[W]: whether it
    is in what the model read. rest: what the same number is where nothing of the texts is left (integrated gradients); steps:
    gradients that each of those attributions is the mean of. nearest: the training rows that are most like it, if asked for.
    about: the part of a text that the number is about, where it is not about all; notes: for a reader.
    """

    row: dict[str, str]
    place: str
    answer: dict
    method: str
    name: str
    what: str
    value: float
    words: list[Word]
    attribution: np.ndarray
    seen: np.ndarray
    rest: float | None = None
    steps: int = 0
    nearest: tuple[Neighbour, ...] = ()
    about: Word | None = None
    notes: tuple[str, ...] = ()

    def text(self, word: Word) -> str:
        return self.row[word.field][word.start:word.end]

    def is_about(self, word: Word) -> bool:
        """Whether a word is one that the explained number is about."""
        return bool(self.about) and self.about.field == word.field and self.about.start <= word.start < self.about.end

    @property
    def missing(self) -> float:
        """How much of value - rest the attributions do not sum to, as a share of it; 0 where they need not."""
        if self.rest is None:
            return 0.0
        gap = self.value - self.rest
        return abs(float(self.attribution.sum()) - gap) / max(abs(gap), 1e-6)

    @property
    def unseen(self) -> str:
        """What is to be said of words that were cut off; '' where none was."""
        lost = int((~self.seen).sum())
        return f"{lost:,} of {len(self.seen):,} words were cut off: the model did not read them" if lost else ""

    def to_json(self) -> dict:
        ends = {} if self.rest is None else {
            "value_without_words": round(self.rest, 6), "sum_of_attributions": round(float(self.attribution.sum()), 6),
            "missing_share": round(self.missing, 6), "complete": self.missing <= COMPLETE, "steps": self.steps}
        words = [{"field": word.field, "start": word.start, "end": word.end, "word": self.text(word),
                  "attribution": round(float(value), 6), **({} if seen else {"cut_off": True})}
                 for word, value, seen in zip(self.words, self.attribution, self.seen, strict=True)]
        about = {"about": self.about._asdict()} if self.about else {}
        return {"place": self.place, **self.row, "answer": self.answer, "method": self.method, "explained": self.name,
                "of": self.what, **about, "value": round(self.value, 6), **ends, "words": words,
                **({"nearest": [one.to_json() for one in self.nearest]} if self.nearest else {})}
