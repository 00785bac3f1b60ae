"""The vocabulary as masking and answers need it, saved with the run."""

import dataclasses
import functools
from pathlib import Path

import keras_hub
import numpy as np

from tfft.data.unknown import unknown_id
from tfft.errors import UserError
from tfft.files import read_record, write_record

FILE = "masked_lm.json"
SPECIAL = ("start_token_id", "end_token_id", "pad_token_id", "mask_token_id")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """tokens: all, by id; mask: the mask token's id; never: ids that are neither hidden nor shown instead of another.

    mark: what a token of the inside of a word begins with ("##"), or where `at_start` one at its beginning ("▁", "Ġ").
    max_length: tokens of an example at most.
    """

    tokens: tuple[str, ...]
    mask: int
    never: tuple[int, ...]
    mark: str
    at_start: bool
    max_length: int = 0

    def save(self, folder: Path) -> None:
        write_record(folder / FILE, self)

    @staticmethod
    def load(folder: Path) -> "Vocabulary":
        return read_record(folder / FILE, Vocabulary)

    @functools.cached_property
    def special(self) -> np.ndarray:
        """bool[V]"""
        made = np.zeros(len(self.tokens), bool)
        made[list(self.never)] = True
        return made

    @functools.cached_property
    def usual(self) -> np.ndarray:
        """int64: all other ids."""
        return np.flatnonzero(~self.special)

    @functools.cached_property
    def begins(self) -> np.ndarray:
        """bool[V]: whether a word begins with the token."""
        return np.array([token.startswith(self.mark) == self.at_start for token in self.tokens])

    def spell(self, ids) -> str:
        """Tokens as a text: "play ##ing" -> "playing"."""
        words = [self.tokens[i] for i in ids]
        if self.at_start:
            return "".join(words).replace(self.mark, " ").strip()
        return " ".join(words).replace(f" {self.mark}", "")


def vocabulary_of(tokenizer) -> Vocabulary:
    """Raises: UserError where the tokenizer has no mask token."""
    mask = getattr(tokenizer, "mask_token_id", None)
    if mask is None:
        raise UserError(f"This backbone's {type(tokenizer).__name__} has no mask token, so that no words can be hidden. Choose "
                        "a backbone that was pretrained with one, such as BERT, RoBERTa, DistilBERT or ALBERT.")
    special = {int(getattr(tokenizer, name)) for name in SPECIAL} | {unknown_id(tokenizer)}
    inner = getattr(tokenizer, "suffix_indicator", None)
    byte_level = isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer)
    tokens = list(tokenizer.get_vocabulary())
    if byte_level:  # in any order
        tokens = sorted(tokens, key=tokenizer.token_to_id)
    return Vocabulary(tuple(tokens), int(mask), tuple(sorted(special)),
                      inner or ("Ġ" if byte_level else "\u2581"), not inner)
