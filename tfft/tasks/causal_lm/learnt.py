"""What a run keeps of its tokenizer, so that answers are texts in any graph: the bytes of each token."""

import dataclasses
import functools
import re
from pathlib import Path

import keras_hub
import numpy as np
import tensorflow as tf

from tfft.files import read_record, write_record
from tfft.models.byte_pairs import spelled
from tfft.models.special_tokens import control_tokens

FILE = "language.json"
BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # SentencePiece's tokens for bytes that no piece spells


@dataclasses.dataclass(frozen=True)
class Language:
    """pieces: what each token spells, its bytes as characters of Latin-1, "" of a special one; ends: tokens that end an answer;
    strips: whether an answer's first blank is only how its first word begins (SentencePiece); max_length: tokens of a prompt at
    most."""

    pieces: tuple[str, ...]
    ends: tuple[int, ...]
    strips: bool = False
    max_length: int = 0

    def save(self, folder: Path) -> None:
        write_record(folder / FILE, self)

    @staticmethod
    def load(folder: Path) -> "Language":
        return read_record(folder / FILE, Language)

    @functools.cached_property
    def _bytes(self) -> np.ndarray:
        return np.array([piece.encode("latin-1") for piece in self.pieces], object)

    def spell(self, tokens: tf.Tensor) -> tf.Tensor:
        """string[B] of int32[B,n], -1 beyond an answer, in the graph. What is no UTF-8 is U+FFFD."""
        spelt = tf.gather(tf.constant(self._bytes, tf.string), tf.maximum(tokens, 0))
        joined = tf.strings.reduce_join(tf.where(tokens >= 0, spelt, ""), axis=1)
        text = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
        return tf.strings.regex_replace(text, "^ ", "") if self.strips else text

    def written(self, tokens) -> str:
        """The same of one row of numbers."""
        text = b"".join(self._bytes[list(tokens)]).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.strips else text


def language_of(tokenizer, end: str, max_length: int) -> Language:
    """end: the text that ends an answer, "" for nothing but the tokenizer's own token."""
    byte_level = isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer)
    names = [tokenizer.id_to_token(number) for number in range(tokenizer.vocabulary_size())]
    special = {int(number) for name in ("start_token_id", "end_token_id", "pad_token_id")
               if (number := getattr(tokenizer, name, None)) is not None}
    known = {name: number for number, name in enumerate(names)}
    special |= {known[name] for name in getattr(tokenizer, "unsplittable_tokens", None) or () if name in known}
    special |= {known[name] for name in control_tokens(tokenizer)}
    ends = {int(tokenizer.end_token_id)} | ({known[end]} if end in known else set())
    spell = (lambda name: spelled(name).decode("latin-1")) if byte_level else _spell_piece
    pieces = ["" if number in special | ends else spell(name or "") for number, name in enumerate(names)]
    return Language(tuple(pieces), tuple(sorted(ends)), not byte_level, max_length)


def _spell_piece(name: str) -> str:
    """Of SentencePiece."""
    if found := BYTE.fullmatch(name):
        return chr(int(found[1], 16))
    return name.replace("\u2581", " ").encode("utf-8").decode("latin-1")
