"""A pattern round the text, with a word to guess: texts are classified as a masked language model fills in words (PET, Schick &
Schütze 2021; prompt-based fine-tuning, Gao et al. 2021, section 4).

    "{text} It was {mask}." and the words pos=great, neg=terrible: [CLS] a fine film it was [MASK] . [SEP]
"""

import dataclasses

import keras_hub
import tensorflow as tf

from tfft.config import TextClassification
from tfft.config.text_classification import PLACE
from tfft.data.tokenize import TextTokenizer, Tokens, cleaned
from tfft.data.unknown import unknown_id
from tfft.data.words import WordTokenizer
from tfft.errors import UserError
from tfft.tasks.text_classification.labels import Labels

TEXTS, MASK = ("text", "text_pair"), "mask"


class PatternTokenizer(TextTokenizer):
    """The TextTokenizer of texts in a pattern, as one segment. Texts alone are shortened, never the pattern or its mask.

    A mask token that stands in a text itself is read as the unknown one, so that every example has one mask.
    """

    def __init__(self, tokenizer, pattern: str, **given):
        super().__init__(tokenizer, **given)
        self._mask, self._strange = mask_id(tokenizer), unknown_id(tokenizer)
        self._parts, self._spaced = _parts(tokenizer, pattern, self._mask), _spaced(pattern)
        own = sum(len(part) for part in self._parts if isinstance(part, list))
        self._special = 2 + own
        if self.max_length < self._special + 1 + self.pairs:
            raise UserError(f"config.data.max_length={self.max_length} leaves no room for a text beside 2 special tokens and "
                            f"the {own} of config.task.pattern={pattern!r}. Use a larger config.data.max_length.")
        # KerasHub's byte-level BPE spells a space into the word after it, unless it was told to put one before every text
        self._spells_space = isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer) and not tokenizer.add_prefix_space

    def __call__(self, texts: tf.Tensor, second: tf.Tensor | None = None, *, counted: bool = False) -> Tokens:
        budget, ids, lengths, unknown = self.max_length - self._special, {}, {}, None
        for name, given in zip(TEXTS, (texts, second)[:1 + self.pairs]):
            given = cleaned(given)
            if self._spells_space and self._spaced[name]:
                given = tf.strings.join([tf.where(tf.strings.length(given) > 0, " ", ""), given])
            made = self.ids(given)
            if counted:
                unknown = self._unknown(given, made) if unknown is None else unknown + self._unknown(given, made)
            ids[name] = made.with_values(tf.where(made.values == self._mask, self._strange, made.values))
            lengths[name] = tf.cast(made.row_lengths(), tf.int32)
        first = lengths["text"]
        kept = dict(zip(TEXTS, self._shares(first, lengths["text_pair"], budget) if self.pairs else
                        (tf.minimum(first, budget),)))
        rows = ids["text"].nrows(out_type=tf.int32)
        joined = tf.concat([tf.tile([part], [rows, 1]) if isinstance(part, list) else self._trim(ids[part], kept[part])
                            for part in (self._start, *self._parts, self._end)], axis=1)
        whole = tf.add_n(list(lengths.values())) + self._special
        return Tokens(joined, tf.cast(joined.row_lengths(), tf.int32), whole, unknown)


def mask_id(tokenizer) -> int:
    """Raises: UserError where the tokenizer has no mask token."""
    mask = getattr(tokenizer, "mask_token_id", None)
    if mask is None:
        raise UserError(f"config.task.pattern needs a mask token, which this backbone's {type(tokenizer).__name__} has not. "
                        "Choose a backbone that was pretrained with one, such as BERT, RoBERTa, DistilBERT or ALBERT.")
    return int(mask)


def _spaced(pattern: str) -> dict[str, bool]:
    """Whether white space is before each place: "{text} It was {mask}." -> {"text": False, "mask": True}"""
    pieces = PLACE.split(pattern)  # what stands between places, and their names, in turn
    return {name: before[-1:].isspace() for before, name in zip(pieces[::2], pieces[1::2])}


def _parts(tokenizer, pattern: str, mask: int) -> list[list[int] | str]:
    """The pattern's own token ids and names of texts, in order.

    "{text} It was {mask}." -> ["text", [2009, 2001], [103], [1012]]
    """
    pieces, spaced = PLACE.split(pattern), _spaced(pattern)
    words, after = [], []
    for i, piece in enumerate(pieces):
        words.append(piece.strip() or "x" if i % 2 == 0 else "x")
        after.append(piece[:1].isspace() if i % 2 == 0 else spaced[piece])
    ids = _pieces(tokenizer, [words], [True, *after[1:]])[0]
    own = [ids[i] if i % 2 == 0 else [mask] if piece == MASK else piece for i, piece in enumerate(pieces)]
    return [part for part, piece in zip(own, pieces, strict=True) if piece.strip()]


def with_words(labels: Labels, task: TextClassification, tokenizer) -> Labels:
    """The label table with the mask token and the labels' words. Raises: UserError where a word is not one known token."""
    mask, found = mask_id(tokenizer), {}
    before = [] if task.pattern.startswith(f"{{{MASK}}}") else ["x"]
    spaced = [True, _spaced(task.pattern)[MASK]] if before else [True]
    words = task.word_of()
    made = _pieces(tokenizer, [[*before, word] for word in words.values()], spaced)
    for (label, word), (*_, ids) in zip(words.items(), made, strict=True):
        if len(ids) > 1 or ids[0] == unknown_id(tokenizer):
            pieces = ", ".join(tokenizer.id_to_token(i) for i in ids)
            what = f"{len(ids)} tokens ({pieces}) of" if len(ids) > 1 else "not in"
            raise UserError(f"config.task.words: {word!r}, for the label {label!r}, is {what} this backbone's vocabulary, and "
                            "at the mask stands one token. Choose a more usual word that means it.")
        if ids[0] in found.values():
            raise UserError(f"config.task.words: {word!r}, for the label {label!r}, is the same token as the word of another "
                            "label.")
        found[label] = ids[0]
    return dataclasses.replace(labels, mask=mask, words=found)


def _pieces(tokenizer, texts: list[list[str]], spaced: list[bool]) -> list[list[list[int]]]:
    """The token ids of each word of texts; spaced: whether white space stands before each of a text."""
    pieces = WordTokenizer(tokenizer, max_length=8, overlap=0, before=False).pieces(
        tf.RaggedTensor.from_tensor(texts), tf.RaggedTensor.from_tensor([spaced] * len(texts)))
    return pieces.to_list()
