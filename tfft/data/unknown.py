"""What of texts their tokenizer does not know: counted in the graph while tokenising, told by split."""

import functools
import unicodedata
from collections.abc import Mapping

import keras_hub
import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tfft.config import MULTILINGUAL

MUCH = 0.05  # a share that is warned of
# marks, separators and controls: whether a tokenizer keeps them or not, they are no characters here
LEFT_OUT, PATTERN = "MZC", r"[\pM\pZ\pC]"


class Unknown(tf.Module):
    """Texts string[N] and the ids that a tokenizer made of all of them, ragged int32[N,(n)] -> int32[N,4]: unknown tokens,
    tokens, characters in unknown tokens, characters.

    Special tokens are not among the ids. An unknown token may be a character, or a whole word, or all of a text without blanks:
    its characters are those of the text that no known token spells. Compatible characters count as what they stand for
    (NFKD), since some tokenizers replace them before they look.
    """

    def __init__(self, tokenizer):
        super().__init__(name="unknown")
        self.id = unknown_id(tokenizer)
        self._tokenizer = lambda: tokenizer  # a module saves what its attributes hold

    def __call__(self, texts: tf.Tensor, ids: tf.RaggedTensor) -> tf.Tensor:
        tokens, count = tf.cast(ids.row_lengths(), tf.int32), tf.cast(ids.nrows(), tf.int32)
        if isinstance(self._tokenizer(), keras_hub.tokenizers.BytePairTokenizer):  # knows every byte
            return tokens[:, tf.newaxis] * [0, 1, 0, 0]

        def total(values: tf.Tensor) -> tf.Tensor:
            return tf.math.unsorted_segment_sum(values, ids.value_rowids(), count)

        strange = total(tf.cast(ids.values == self.id, tf.int32))
        known = total(tf.gather(tf.constant(_sizes(self._tokenizer())), ids.values))
        at = tf.where(strange > 0)  # texts of known tokens alone have the characters of these
        characters = tf.tensor_scatter_nd_max(known, at, _characters(tf.gather(texts, at[:, 0])))
        return tf.stack([strange, tokens, characters - known, characters], axis=1)


def _characters(texts: tf.Tensor) -> tf.Tensor:
    """int32[N]"""
    return tf.strings.length(tf.strings.regex_replace(tf_text.normalize_utf8(texts, "NFKD"), PATTERN, ""), unit="UTF8_CHAR")


@functools.lru_cache(2)
def _sizes(tokenizer) -> np.ndarray:
    """int32[V]: the characters that each token spells; 0 for the unknown one."""
    before = getattr(tokenizer, "suffix_indicator", "\u2581")  # of WordPiece's inner pieces; or a blank of SentencePiece's
    made = np.array([sum(unicodedata.category(c)[0] not in LEFT_OUT for c in unicodedata.normalize("NFKD", token))
                     for token in (token.removeprefix(before) for token in tokenizer.get_vocabulary())], np.int32)
    made[unknown_id(tokenizer)] = 0
    return made


def unknown_id(tokenizer) -> int:
    """The id of what it does not know; -1 where there is none."""
    if isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        return int(tokenizer.token_to_id(tokenizer.oov_token))
    if isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):  # which says so for whatever is no piece
        return int(tokenizer.token_to_id("no such piece"))
    return int(tokenizer.token_to_id("<unk>")) if "<unk>" in tokenizer.get_vocabulary() else -1


def shares(counts: np.ndarray) -> tuple[float, float]:
    """(share of the tokens, share of the characters) that are unknown, of what `Unknown` counted: int[n,4] or int[4]."""
    strange, tokens, spelt, characters = np.asarray(counts).reshape(-1, 4).sum(axis=0, dtype=np.int64).tolist()
    return strange / max(1, tokens), spelt / max(1, characters)


def told(counts: Mapping[str, np.ndarray]) -> str:
    """One line: what is unknown of the rows of each name."""
    parts = [f"{name} {tokens:.1%} of the tokens, {characters:.1%} of the characters"
             for name, (tokens, characters) in ((name, shares(several)) for name, several in counts.items())]
    return f"unknown to the tokenizer: {'; '.join(parts)}"


def warning(counts: Mapping[str, np.ndarray], such: str = "") -> str:
    """One line about the rows of which much is unknown; '' where little is. such: an example."""
    much = [name for name, several in counts.items() if max(shares(several)) >= MUCH]
    if not much:
        return ""
    example = f", such as {such}" if such else ""
    return (f"warning: the tokenizer does not know much of {' and '.join(much)}{example}: such texts look alike to the model. "
            "Train on a model of their language, or on a multilingual one such as multilingual-e5-small: "
            f"config.model.backbone={MULTILINGUAL.split('#')[0]}")
