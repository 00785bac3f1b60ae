"""Control tokens of a tokenizer, found inside texts whatever its kind: KerasHub's SentencePiece does not look for them.

    "<bos>Hi<end_of_turn>" -> "<bos>" "Hi" "<end_of_turn>" -> [[2], [4521], [107]] -> [2, 4521, 107]
"""

import functools
import json
import re

import keras_hub
import tensorflow as tf

from tfft.converters.escape import ESCAPE, expressions
from tfft.models.byte_pairs import CUT, BytePairs

# of SentencePiece's user-defined pieces, which it finds in texts by itself, those that say whose turn it is (Gemma)
TURNS = ("<start_of_turn>", "<end_of_turn>", "<mask>", "<start_of_image>", "<end_of_image>")


def control_tokens(tokenizer) -> tuple[str, ...]:
    """Those that are no text: what a SentencePiece model calls control, what tokenizer_config.json calls special."""
    if isinstance(tokenizer, BytePairs):
        return tuple(tokenizer.control_tokens)
    if isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
        control, defined = _pieces(bytes(tokenizer.proto))
        stated = _stated(getattr(tokenizer, "chat", {}).get("tokenizer_config.json", "{}"))
        known = set(tokenizer.get_vocabulary())
        return tuple(sorted({*control, *(known & stated), *(set(TURNS) & set(defined))}))
    return tuple(sorted(getattr(tokenizer, "unsplittable_tokens", None) or ()))


@functools.lru_cache(4)
def _pieces(proto: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(control pieces, user-defined ones) of a SentencePiece model."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    kind = model.SentencePiece
    return (tuple(piece.piece for piece in model.pieces if piece.type == kind.CONTROL),
            tuple(piece.piece for piece in model.pieces if piece.type == kind.USER_DEFINED))


def _stated(text: str) -> set[str]:
    """The special tokens of a tokenizer_config.json."""
    made = json.loads(text)
    added = [one for one in made.get("added_tokens_decoder", {}).values() if one.get("special")]
    return {one["content"] for one in added}


def with_special_tokens(tokenizer):
    """texts string[B] -> int32[B,(n)] in a graph: control tokens are tokens wherever they stand, others are the tokenizer's.
    What `tfft.converters.escape` has marked is none."""
    if not isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
        return tokenizer
    names = sorted(control_tokens(tokenizer), key=lambda name: (-len(name.encode()), name))
    if not names:
        return tokenizer
    special, ids = "|".join(map(re.escape, names)), [int(tokenizer.token_to_id(name)) for name in names]
    # pieces that SentencePiece finds by itself are kept apart where they are escaped
    gap = CUT if set(names) & set(_pieces(bytes(tokenizer.proto))[1]) else b""

    def tokenize(texts: tf.Tensor) -> tf.RaggedTensor:
        apart = tf.strings.regex_replace(texts, f"({special})", CUT + rb"\1" + CUT)
        parts = tf.strings.split(tf.strings.regex_replace(apart, ESCAPE, gap), CUT)
        flat = parts.flat_values
        same = flat[:, tf.newaxis] == tf.constant(names)
        control = tf.reduce_any(same, axis=1)
        words = tf.cast(tokenizer(tf.where(control, "", flat)), tf.int32)
        own = tf.gather(tf.constant(ids, tf.int32), tf.argmax(tf.cast(tf.boolean_mask(same, control), tf.int32), axis=1))
        alone = tf.RaggedTensor.from_row_lengths(own, tf.cast(control, tf.int64), validate=False)
        made = tf.concat([alone, words], axis=1)
        splits = tf.gather(made.row_splits, parts.row_splits)
        return tf.RaggedTensor.from_row_splits(made.values, splits, validate=False)

    return tokenize


def escape(texts: tf.Tensor, tokens: tuple[str, ...]) -> tf.Tensor:
    """`tfft.converters.escape.escaped` of string[B], in the graph."""
    for pattern, replacement in expressions(tokens):
        texts = tf.strings.regex_replace(texts, pattern, replacement)
    return texts
