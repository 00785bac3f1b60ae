"""Byte-level byte pairs of language models in a TensorFlow graph: what Hugging Face's tokenizers answers to a text.

KerasHub's differ from them in blanks, in numerals and in special tokens inside a text.

    text -> words, cut by the pattern that the model was pretrained with; special tokens are words of their own
    different words -> bytes -> pairs joined by rank, all words at once

"ab  ab<|end|>" -> "ab" " " " ab" "<|end|>" -> [[97, 98], [220], [301], [3]] -> [97, 98, 220, 301, 3]
"""

import json
import re

import keras
import keras_hub
import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tfft.converters.escape import expressions
from tfft.converters.pre_tokenizers import PATTERNS, pattern_of
from tfft.errors import UserError
from tfft.models.long_words import in_pieces

CUT = b"\xff"  # between words: a byte that no text has, nor any class of RE2's
# White space of Unicode: RE2's \s is ASCII's.
BLANKS = r"\t\x{b}\x{c} \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
NEWLINES = r"\r\n"
NONE = np.iinfo(np.int64).max  # of a pair that is not joined
SHIFT = 2**32
PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
LETTERS = {**{chr(b): b for b in PRINTED}, **{chr(256 + i): b for i, b in enumerate(sorted({*range(256)} - {*PRINTED}))}}


def spelled(token: str) -> bytes:
    """The bytes of a token as a vocabulary writes it: each byte is a letter (GPT-2's encoder.py). U+0120 and a -> b" a"."""
    if all(letter in LETTERS for letter in token):
        return bytes(LETTERS[letter] for letter in token)
    return token.encode()


@keras.saving.register_keras_serializable("tfft")
class BytePairs(keras_hub.tokenizers.BytePairTokenizer):
    """Texts string[B] -> int32[B,(n)], eagerly too.

    pattern: a name of converters.pre_tokenizers.PATTERNS. unsplittable_tokens: found in a text before it is cut into words.
    control_tokens: those of them that `detokenize` leaves out. start_token, end_token, pad_token: None where there is none,
    whose id is None then; a padding's is 0. normal_form: texts become Unicode's NFC first. whole_words: a word that is a
    token stays one, whatever the merges say (ignore_merges).
    """

    def __init__(self, vocabulary=None, merges=None, *, pattern: str = "gpt2", unsplittable_tokens=(), control_tokens=(),
                 start_token: str | None = None, end_token: str | None = None, pad_token: str | None = None,
                 normal_form: bool = False, whole_words: bool = False, **kwargs):
        if kwargs.get("add_prefix_space"):
            raise ValueError("BytePairs puts no blank before a text.")
        self.pattern, self.normal_form, self.whole_words = pattern, normal_form, whole_words
        self.control_tokens = sorted(control_tokens)
        self.start_token = self.start_token_id = self.end_token = self.end_token_id = self.pad_token = None
        self.pad_token_id = 0
        for name, token in (("start_token", start_token), ("end_token", end_token), ("pad_token", pad_token)):
            if token is not None:
                self._add_special_token(token, name)
        super().__init__(vocabulary, merges, unsplittable_tokens=sorted(unsplittable_tokens), **kwargs)

    def get_config(self):
        return {**super().get_config(), "pattern": self.pattern, "control_tokens": list(self.control_tokens),
                "start_token": self.start_token, "end_token": self.end_token, "pad_token": self.pad_token,
                "normal_form": self.normal_form, "whole_words": self.whole_words}

    def set_vocabulary_and_merges(self, vocabulary, merges):
        """Of a dict and a list, or of the files that `save_assets` wrote. None: they come later."""
        if vocabulary is None or merges is None:
            self.vocabulary = self.merges = None
            return
        if isinstance(vocabulary, str):
            vocabulary, merges = _read(vocabulary, merges)
        self.vocabulary, self.merges = dict(vocabulary), [m for m in merges if not m.startswith("#version:")]
        added = set(self.unsplittable_tokens)
        tokens = {spelled(token): i for token, i in vocabulary.items() if token not in added}
        self._byte_ids = np.array([tokens.get(bytes([b]), -1) for b in range(256)], np.int64)
        with tf.init_scope(), tf.device("cpu"):
            self._set_pairs(vocabulary)
            self._bytes = _table(list(vocabulary.values()), [spelled(token) for token in vocabulary], b"")
            ids = np.array(list(tokens.values()), np.int64)
            whole = np.ones(len(ids), bool)
            if not self.whole_words:
                made = self._merged(tf.constant(list(tokens)))
                whole = made.row_lengths().numpy() == 1
                whole[whole] = made.to_tensor(-1).numpy()[whole, 0] == ids[whole]
            known = {token: i for token, i, alone in zip(tokens, ids.tolist(), whole, strict=True) if alone}
            known |= {token.encode(): vocabulary[token] for token in added}
            self._known = _table(list(known), list(known.values()), -1)
        self._graph = tf.function(self._ids, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        self._update_special_token_ids()

    def _set_pairs(self, vocabulary: dict) -> None:
        """Two ids -> rank and id of what they become. Odd ranks: the new token is part of a pair that comes before."""
        ranks, first = {}, {}
        for rank, merge in enumerate(self.merges):
            left, right = merge.split(" ")
            ranks[left, right] = rank
        for pair, rank in ranks.items():
            for token in pair:
                first[token] = min(first.get(token, rank), rank)
        try:
            keys = [vocabulary[left] * SHIFT + vocabulary[right] for left, right in ranks]
            values = [(2 * rank + (first.get(left + right, rank) < rank)) * SHIFT + vocabulary[left + right]
                      for (left, right), rank in ranks.items()]
        except KeyError as error:
            raise ValueError(f"A merge is of or to the token {error}, which is not in the vocabulary.") from error
        self._divides = not any(value // SHIFT % 2 for value in values)
        self._pairs = _table(np.array([-1, *keys]), np.array([NONE, *values]), NONE)  # a table must not be empty

    def token_to_id(self, token: str) -> int:
        self._check_vocabulary()
        if token not in self.vocabulary:
            raise ValueError(f"Token {token!r} is not in the vocabulary.")
        return self.vocabulary[token]

    def id_to_token(self, id: int) -> str:
        self._check_vocabulary()
        for token, place in self.vocabulary.items():
            if place == id:
                return token
        raise ValueError(f"Id {id} is not in the vocabulary.")

    def call(self, inputs, *args, training=None, **kwargs):
        return self.tokenize(inputs)

    def tokenize(self, inputs):
        """string[B] -> int32[B,(n)], string -> int32[n]; int32[B,sequence_length] where one is set, cut or filled up."""
        self._check_vocabulary()
        texts = tf.convert_to_tensor(inputs, tf.string)
        ids = self._graph(tf.reshape(texts, [-1]))
        if self.sequence_length:
            ids = ids.to_tensor(self.pad_token_id, shape=[None, self.sequence_length])
        return ids[0] if texts.shape.rank == 0 else ids

    def detokenize(self, inputs, skip_special_tokens: bool = False):
        """Ids int[B,(n)] or int[B,n] -> string[B], int[n] -> string; what is no UTF-8 becomes U+FFFD."""
        self._check_vocabulary()
        with tf.device("cpu"):
            ids = tf.cast(tf.ragged.constant(inputs) if isinstance(inputs, list) else inputs, tf.int64)
            texts = tf.ragged.map_flat_values(self._bytes.lookup, ids)
            if skip_special_tokens and self.control_tokens:
                left_out = np.array([self.vocabulary[token] for token in self.control_tokens], np.int64)
                texts = tf.ragged.map_flat_values(lambda bytes_of, flat: tf.where(
                    tf.reduce_any(flat[..., tf.newaxis] == left_out, -1), b"", bytes_of), texts, ids)
            return _valid(tf.strings.reduce_join(texts, axis=-1))

    def _ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        with tf.device("cpu"):
            words = self._words(texts)
            different, places = tf.unique(words.flat_values, tf.int64)
            known = self._known.lookup(different)
            is_known = known >= 0
            others = tf.boolean_mask(different, ~is_known)
            alone = tf.RaggedTensor.from_uniform_row_length(tf.boolean_mask(known, is_known), 1)
            made = tf.concat([alone, self._joined(others)], 0)
            count = tf.cast(is_known, tf.int64)
            row = tf.where(is_known, tf.cumsum(count) - 1, tf.reduce_sum(count) + tf.cumsum(1 - count) - 1)
            ids = tf.gather(made, tf.gather(row, places))
            return tf.RaggedTensor.from_row_splits(tf.cast(ids.values, tf.int32), tf.gather(ids.row_splits, words.row_splits),
                                                   validate=False)

    def _words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """string[B,(w)]: words and special tokens, empty ones among them; what is escaped is no special token."""
        texts = _valid(texts)
        if not self.unsplittable_tokens:
            return tf.strings.split(self._cut(texts), CUT)
        longest = sorted(self.unsplittable_tokens, key=lambda token: (-len(token.encode()), token))
        special = "|".join(map(re.escape, longest))
        parts = tf.strings.split(tf.strings.regex_replace(texts, f"({special})", CUT + rb"\1" + CUT), CUT)
        flat = parts.flat_values
        others = flat
        for pattern, replacement in expressions(tuple(longest), back=True):
            others = tf.strings.regex_replace(others, pattern, replacement)
        flat = tf.where(tf.strings.regex_full_match(flat, special), flat, self._cut(others))
        return tf.strings.split(tf.strings.reduce_join(parts.with_flat_values(flat), axis=-1, separator=CUT), CUT)

    def _cut(self, texts: tf.Tensor) -> tf.Tensor:
        """Texts without special tokens, with CUT between their words."""
        if self.normal_form:
            texts = tf_text.normalize_utf8(texts, "NFC")
        if self.pattern == "smollm":
            texts = tf.strings.regex_replace(texts, r"(\p{N})", CUT + rb"\1" + CUT)
        # \s+(?!\S): the last of several blanks goes with what follows. Where newlines end a word, none is such a blank.
        last = BLANKS if r"\s*[\r\n]+" in PATTERNS[self.pattern] else BLANKS + NEWLINES
        texts = tf.strings.regex_replace(texts, f"([{BLANKS}{NEWLINES}])([{last}][^{BLANKS}{NEWLINES}])",
                                         rb"\1" + CUT + rb"\2")
        return tf.strings.regex_replace(texts, f"({_re2(PATTERNS[self.pattern])})", rb"\1" + CUT)

    def _joined(self, words: tf.Tensor) -> tf.RaggedTensor:
        """`_merged`, of long words in pieces, where that is the same."""
        if not self._divides:
            return self._merged(words)
        return in_pieces(words, self._merged, lambda ids: tf.cast(tf.strings.length(self._bytes.lookup(ids)), tf.int64))

    def _merged(self, words: tf.Tensor) -> tf.RaggedTensor:
        """int64[W,(n)]: the ids of words string[W], by pairs alone."""
        text = tf.io.decode_raw(tf.strings.reduce_join(words), tf.uint8)
        word = tf.repeat(tf.range(tf.size(words, tf.int64)), tf.strings.length(words))
        symbols = tf.gather(self._byte_ids, tf.cast(text, tf.int32))
        if (self._byte_ids < 0).any():  # a byte that is no token is left out
            word, symbols = tf.boolean_mask(word, symbols >= 0), tf.boolean_mask(symbols, symbols >= 0)
        size = tf.size(symbols, tf.int64)
        state = [symbols, word, tf.range(size), tf.fill([size], np.int64(-1))]
        *_, made = tf.while_loop(lambda symbols, *_: tf.size(symbols) > 0, self._join, state,
                                 shape_invariants=[tf.TensorShape([None])] * 4)
        kept = made >= 0
        return tf.RaggedTensor.from_value_rowids(tf.boolean_mask(made, kept), tf.boolean_mask(word, kept),
                                                 nrows=tf.size(words, tf.int64), validate=False)

    def _join(self, symbols: tf.Tensor, word: tf.Tensor, at: tf.Tensor, made: tf.Tensor) -> list[tf.Tensor]:
        """Joins the pair of lowest rank in each word, wherever it is in it; words without pairs are written to `made`.

        Where the new token is part of a pair that comes before, the leftmost one alone: that pair is next.
        """
        pairs = tf.where(word[1:] == word[:-1], self._pairs.lookup(symbols[:-1] * SHIFT + symbols[1:]), NONE)
        pairs = tf.concat([pairs, [NONE]], 0)
        best = tf.gather(tf.math.segment_min(pairs, word), word)
        is_open = best < NONE
        made = tf.tensor_scatter_nd_update(made, tf.boolean_mask(at, ~is_open)[:, tf.newaxis],
                                           tf.boolean_mask(symbols, ~is_open))
        symbols, word, at, pairs, best = (tf.boolean_mask(t, is_open) for t in (symbols, word, at, pairs, best))
        joined, index = pairs == best, tf.range(tf.size(pairs, tf.int64))
        # "aaa": of pairs in a row every other one
        start = tf.concat([[np.int64(-1)], tf.where(~joined)[:, 0]], 0)
        start = tf.gather(start, tf.cumsum(tf.cast(~joined, tf.int64)))
        joined &= (index - start) % 2 == 1
        leftmost = tf.gather(tf.math.segment_min(tf.where(joined, index, NONE), word), word)
        joined &= (pairs // SHIFT % 2 == 0) | (index == leftmost)
        symbols = tf.where(joined, pairs % SHIFT, symbols)
        left = tf.concat([[True], ~joined[:-1]], 0)[:tf.size(joined)]
        return [tf.boolean_mask(symbols, left), tf.boolean_mask(word, left), tf.boolean_mask(at, left), made]


def of_hugging_face(made: dict, roles: dict, where: str) -> BytePairs:
    """The tokenizer that a tokenizer.json states, of byte level. roles: start_token, end_token, pad_token or None for each.

    Raises: UserError where it does what `BytePairs` does not.
    """
    model, added = made["model"], made.get("added_tokens", [])
    normal_form = (made.get("normalizer") or {}).get("type")
    pattern = pattern_of(made.get("pre_tokenizer"))
    if pattern is None:
        raise UserError(f"{where} cuts texts into words in a way that is not known: its pre_tokenizer is "
                        f"{json.dumps(made.get('pre_tokenizer'))[:300]}. Known are those of {', '.join(PATTERNS)}.")
    if normal_form not in (None, "NFC"):
        raise UserError(f"{where} has the normalizer {normal_form}; of byte-level tokenizers, NFC or none can be read.")
    if greedy := [a["content"] for a in added if a.get("lstrip") or a.get("rstrip") or a.get("single_word")]:
        raise UserError(f"{where} has the added token {greedy[0]!r} with lstrip, rstrip or single_word, which cannot be read.")
    vocabulary = {**model["vocab"], **{a["content"]: a["id"] for a in added}}
    return BytePairs(vocabulary, [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
                     pattern=pattern, unsplittable_tokens=[a["content"] for a in added],
                     control_tokens=[a["content"] for a in added if a.get("special")], normal_form=normal_form == "NFC",
                     whole_words=bool(model.get("ignore_merges")),
                     **{role: token for role, token in roles.items() if token in vocabulary})


def is_byte_level(made: dict) -> bool:
    """Whether a tokenizer.json is one of byte-level pairs."""
    of_bytes = any('"ByteLevel"' in json.dumps(made.get(name)) for name in ("pre_tokenizer", "decoder"))
    return of_bytes and "merges" in made.get("model", {})


def _read(vocabulary: str, merges: str) -> tuple[dict, list[str]]:
    with open(vocabulary, encoding="utf-8") as file:
        made = json.load(file)
    with open(merges, encoding="utf-8") as file:
        return made, [line.rstrip("\n") for line in file]


def _table(keys, values, default) -> tf.lookup.StaticHashTable:
    kind = {bytes: tf.string, int: tf.int64}
    of = [tf.int64 if isinstance(part, np.ndarray) else kind[type(part[0])] for part in (keys, values)]
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values, *of), default)


def _valid(texts: tf.Tensor) -> tf.Tensor:
    return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", replace_control_characters=False)


def _re2(pattern: str) -> str:
    """An expression without its lookahead, its white space Unicode's."""
    blank = BLANKS + NEWLINES
    return pattern.replace(r"|\s+(?!\S)", "").replace(r"[^\s", f"[^{blank}").replace(r"\s", f"[{blank}]")
