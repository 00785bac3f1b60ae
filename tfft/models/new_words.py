"""New words for a WordPiece vocabulary, whose embeddings begin as the mean of the pieces that they were spelt by."""

import json
from typing import NamedTuple

import keras_hub
import numpy as np
import tensorflow as tf

from tfft.errors import UserError
from tfft.models.backbone import describe, rebuild

SHOWN = 5


class Extended(NamedTuple):
    """head: the head for masked words by Hugging Face's names, {} where there is none; pieces: of each new word what it was."""

    backbone: object
    tokenizer: object
    head: dict[str, np.ndarray]
    pieces: dict[str, list[str]]


def extended(backbone, tokenizer, head: dict[str, np.ndarray], words: list[str]) -> Extended:
    """Adds those of the words that are not one token already, each once, behind the vocabulary.

    Raises: UserError where the vocabulary is of another kind, or a word is none for the tokenizer: it has a blank or
    punctuation in it, say, where texts are split before the vocabulary is looked at.
    """
    if not isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        raise UserError(f"New words are for WordPiece vocabularies, such as BERT's; this is a {type(tokenizer).__name__}.")
    words = list(dict.fromkeys(word.lower() if tokenizer.lowercase else word for word in map(str.strip, words) if word))
    ids = dict(zip(words, _ids(tokenizer, words), strict=True))
    new = [word for word in words if len(ids[word]) > 1 or ids[word] == [tokenizer.token_to_id(tokenizer.oov_token)]]
    vocabulary = tokenizer.get_vocabulary()
    larger = type(tokenizer).from_config({**tokenizer.get_config(), "vocabulary": [*vocabulary, *new]})
    after = _ids(larger, new)
    if split := [word for i, word in enumerate(new) if after[i] != [len(vocabulary) + i]]:
        raise UserError(f"{len(split):,} of the words are split before the vocabulary is looked at, for a blank, a mark or "
                        f"an accent in them, such as {', '.join(map(repr, split[:SHOWN]))}. Leave them out.")
    description = json.loads(describe(backbone))
    size = max(backbone.vocabulary_size, len(vocabulary) + len(new))
    description["config"]["vocabulary_size"] = size
    made = rebuild(json.dumps(description), "float32")

    def grown(table: np.ndarray) -> np.ndarray:
        rows = np.zeros((size, *table.shape[1:]), table.dtype)
        rows[:len(table)] = table
        for i, word in enumerate(new):
            rows[len(vocabulary) + i] = table[ids[word]].mean(axis=0)
        return rows

    for ours, theirs in zip(backbone.weights, made.weights, strict=True):
        theirs.assign(ours if ours.shape == theirs.shape else grown(ours.numpy()))
    head = {name: grown(value) if len(value) == backbone.vocabulary_size and value.ndim == 1 else value
            for name, value in head.items()}
    return Extended(made, larger, head, {word: [vocabulary[i] for i in ids[word]] for word in new})


def _ids(tokenizer, words: list[str]) -> list[list[int]]:
    """The tokens of each, in a graph: eagerly some tokenizers answer otherwise."""
    if not words:
        return []
    return tf.function(lambda texts: tokenizer(texts), autograph=False)(tf.constant(words)).to_list()
