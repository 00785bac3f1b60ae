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
TIDY = ((r" ([.,;:!?%)\]}])", r"\1"), (r"([(\[{]) ", r"\1"), (r"(\w) (['\-/_]) (\w)", r"\1\2\3"))
BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # SentencePiece's tokens for bytes that no piece spells


@dataclasses.dataclass(frozen=True)
class Language:
    """pieces: what each token spells, its bytes as characters of Latin-1, "" of a special one; ends: tokens that end an
    answer; strips: whether an answer's first blank is only how its first word begins (SentencePiece, WordPiece); max_length:
    tokens of what is asked at most; tidy: whether marks are words of their own, so that blanks around them mean nothing
    (WordPiece). Of an encoder-decoder: start, the tokens that an answer is made behind; target_length: tokens of a target at
    most."""

    pieces: tuple[str, ...]
    ends: tuple[int, ...]
    strips: bool = False
    max_length: int = 0
    start: tuple[int, ...] = ()
    target_length: int = 0
    tidy: bool = False

    def save(self, folder: Path) -> None:
        write_record(folder / FILE, self)

    @staticmethod
    def load(folder: Path) -> "Language":
        return read_record(folder / FILE, Language)

    @functools.cached_property
    def _bytes(self) -> np.ndarray:
        return np.array([*(piece.encode("latin-1") for piece in self.pieces), b""], object)  # many models have unused ids

    def spell(self, tokens: tf.Tensor) -> tf.Tensor:
        """string[B] of int32[B,n], -1 beyond an answer, in the graph. What is no UTF-8 is U+FFFD."""
        spelt = tf.gather(tf.constant(self._bytes, tf.string), tf.clip_by_value(tokens, 0, len(self.pieces)))
        joined = tf.strings.reduce_join(tf.where(tokens >= 0, spelt, ""), axis=1)
        text = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
        for pattern, instead in TIDY if self.tidy else ():
            text = tf.strings.regex_replace(text, pattern, instead)
        return tf.strings.regex_replace(text, "^ ", "") if self.strips else text

    def written(self, tokens) -> str:
        """The same of one row of numbers."""
        text = b"".join(self._bytes[np.minimum(list(tokens), len(self.pieces)).astype(int)]).decode("utf-8", "replace")
        for pattern, instead in TIDY if self.tidy else ():
            text = re.sub(pattern, instead, text)
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
    inner = getattr(tokenizer, "suffix_indicator", None)
    if inner:
        special |= {known[name] for name in ("[UNK]", "[MASK]", "[PAD]", "[CLS]", "[SEP]") if name in known}

    def spell(name: str) -> str:
        if byte_level:
            return spelled(name).decode("latin-1")
        return _latin(name[len(inner):] if name.startswith(inner) else f" {name}") if inner else _spell_piece(name)

    pieces = ["" if number in special | ends else spell(name or "") for number, name in enumerate(names)]
    return Language(tuple(pieces), tuple(sorted(ends)), not byte_level, max_length, tidy=bool(inner))


def _spell_piece(name: str) -> str:
    """Of SentencePiece."""
    if found := BYTE.fullmatch(name):
        return chr(int(found[1], 16))
    return _latin(name.replace("\u2581", " "))


def _latin(text: str) -> str:
    """Its bytes in UTF-8 as characters."""
    return text.encode("utf-8").decode("latin-1")
