import functools
import random
import string

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from conftest import WORDS

from tfft.data.tokenize import TextEncoder, TextTokenizer, as_bytes, features, string_array
from tfft.errors import UserError

PAD, UNK, CLS, SEP, GOOD, BAD, FINE, FILM, S = (WORDS.index(w) for w in (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "fine", "film", "##s"))


def make(tokenizer, max_length=32, truncation="head", head_fraction=0.25, pairs=False) -> TextTokenizer:
    return TextTokenizer(tokenizer, max_length=max_length, truncation=truncation, head_fraction=head_fraction, pairs=pairs)


@functools.cache
def graph(text_tokenizer):
    """Traced once for any number of texts, as tf.data and the export trace it."""
    return tf.function(text_tokenizer, input_signature=[tf.TensorSpec([None], tf.string)] * (1 + text_tokenizer.pairs))


def run(text_tokenizer, texts, *second):
    """(token ids, first lengths, full lengths) as lists, by the graph path."""
    made = graph(text_tokenizer)(*(tf.constant(t, tf.string, [len(t)]) for t in (texts, *second)))
    return made.token_ids.to_list(), made.first_length.numpy().tolist(), made.full_length.numpy().tolist()


@pytest.fixture(scope="module")
def letters():
    """A BERT tokenizer whose words are the letters: a is 5, b is 6, ..."""
    return keras_hub.models.BertTokenizer(vocabulary=[*WORDS[:5], *string.ascii_lowercase])


@pytest.fixture(scope="module")
def roberta():
    """A RoBERTa tokenizer over letters; only y and z merge. Slow to trace, so it is traced once."""
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *string.ascii_lowercase, "yz"]
    return keras_hub.models.RobertaTokenizer(vocabulary={w: i for i, w in enumerate(words)}, merges=["y z"])


def test_one_text_by_hand(tiny_tokenizer):
    ids, first, full = run(make(tiny_tokenizer), ["Good films", "", "odd, bad"])
    assert ids == [[CLS, GOOD, FILM, S, SEP], [CLS, SEP], [CLS, UNK, WORDS.index(","), BAD, SEP]]
    assert first == full == [5, 2, 5]


def test_ids_are_the_tokenizers_own_between_the_special_ones(tiny_tokenizer):
    texts = ["A GOOD, fine film.", "films films the", "unknown the a", "\U0001f600 good\u2028bad\t.", "  "]
    plain = tf.function(tiny_tokenizer)(tf.constant(texts)).to_list()
    assert run(make(tiny_tokenizer), texts)[0] == [[CLS, *ids, SEP] for ids in plain]


@pytest.mark.parametrize("truncation, fraction, expected", [
    ("head", 0.25, [1, 2, 3, 4, 5, 6]), ("tail", 0.25, [5, 6, 7, 8, 9, 10]), ("head_tail", 0.5, [1, 2, 3, 8, 9, 10]),
    ("head_tail", 0.3, [1, 2, 7, 8, 9, 10]), ("head_tail", 0, [5, 6, 7, 8, 9, 10]), ("head_tail", 1, [1, 2, 3, 4, 5, 6]),
])
def test_truncation_by_hand(letters, truncation, fraction, expected):
    """a b c ... j, of which six fit."""
    ids, first, full = run(make(letters, 8, truncation, fraction), [" ".join("abcdefghij"[:n]) for n in (10, 6, 5)])
    assert [[i - 4 for i in row[1:-1]] for row in ids] == [expected, [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5]]
    assert [(row[0], row[-1]) for row in ids] == [(CLS, SEP)] * 3
    assert first == [8, 8, 7] and full == [12, 8, 7]


def test_pair_by_hand(tiny_tokenizer):
    ids, first, full = run(make(tiny_tokenizer, pairs=True), ["good film", ""], ["bad", ""])
    assert ids == [[CLS, GOOD, FILM, SEP, BAD, SEP], [CLS, SEP, SEP]]
    assert first == [4, 2] and full == [6, 3]


def test_pair_truncation_takes_the_tail_of_each_text(letters):
    ids, first, full = run(make(letters, 9, "tail", pairs=True), [" ".join("abcdefghij")], [" ".join("klmno")])
    assert [letters.id_to_token(i) for i in ids[0]] == ["[CLS]", *"hij", "[SEP]", *"mno", "[SEP]"]
    assert first == [5] and full == [18]


def packed_alike(text_tokenizer, texts, second, ids, max_length, separators) -> None:
    """Compares with KerasHub's MultiSegmentPacker on `ids`, the token ids of both texts."""
    tokenizer = text_tokenizer.tokenizer
    packer = keras_hub.layers.MultiSegmentPacker(
        max_length, start_value=tokenizer.start_token_id, end_value=tokenizer.end_token_id,
        sep_value=[tokenizer.end_token_id] * separators, pad_value=tokenizer.pad_token_id)
    expected, segments = packer(tuple(tf.ragged.constant(i, tf.int32, ragged_rank=1) for i in ids))
    tokens = graph(text_tokenizer)(tf.constant(texts), tf.constant(second))
    examples = {"tokens": tokens.token_ids, "first_length": tokens.first_length}
    made = features(examples, tokenizer.pad_token_id, ("segment_ids",), multiple=max_length)
    np.testing.assert_array_equal(made["token_ids"], expected)
    if separators == 1:  # RoBERTa's backbone takes no segment ids
        np.testing.assert_array_equal(made["segment_ids"], segments)
    np.testing.assert_array_equal(tokens.full_length, [len(a) + len(b) + 2 + separators for a, b in zip(*ids)])


@pytest.mark.parametrize("max_length", [4, 5, 8, 11, 32])
def test_pairs_are_shortened_as_kerashub_shortens_them(letters, max_length):
    draw = random.Random(max_length)
    texts, second = ([" ".join(draw.choices("abc", k=draw.randrange(15))) for _ in range(200)] for _ in "ab")
    ids = [[[ord(c) - 92 for c in t.split()] for t in side] for side in (texts, second)]
    packed_alike(make(letters, max_length, pairs=True), texts, second, ids, max_length, 1)


@pytest.mark.slow
def test_roberta_pairs_have_two_separators(roberta):
    texts, second = (["a" * i for i in range(10) for _ in range(10)], ["b" * i for _ in range(10) for i in range(10)])
    ids = [[[ord(c) - 92 for c in t] for t in side] for side in (texts, second)]
    packed_alike(make(roberta, 9, pairs=True), texts, second, ids, 9, 2)


def test_no_room(tiny_tokenizer, roberta):
    for tokenizer, pairs, special in ((tiny_tokenizer, False, 2), (tiny_tokenizer, True, 3), (roberta, True, 4)):
        with pytest.raises(UserError, match=f"max_length={special} leaves no room beside {special} special tokens"):
            make(tokenizer, special, pairs=pairs)
        make(tokenizer, special + 1, pairs=pairs)


def test_no_rows(tiny_tokenizer):
    assert run(make(tiny_tokenizer), []) == ([], [], [])
    assert run(make(tiny_tokenizer, pairs=True), [], []) == ([], [], [])


def test_bytes_that_are_no_text(tiny_tokenizer):
    """Invalid UTF-8 reads as U+FFFD, which is what a Unicode decoder makes of it; control characters stay as they are."""
    text_tokenizer = make(tiny_tokenizer)
    for broken in (b"good \xff film", b"\xed\xa0\x80", b"good\xc3", b"\xf0\x9f\x98"):
        decoded = broken.decode("utf-8", "replace")
        assert run(text_tokenizer, [broken])[0] == run(text_tokenizer, [decoded])[0]
    assert run(text_tokenizer, [b"good \xff film"])[0] == run(text_tokenizer, ["good \ufffd film"])[0]
    assert run(text_tokenizer, ["\0good\0\x07 film\0film"])[0] == [[CLS, GOOD, FILM, FILM, SEP]]


def test_a_very_long_text(tiny_tokenizer):
    ids, _, full = run(make(tiny_tokenizer, truncation="head_tail"), ["good " * 50_000 + "bad", "x" * 100_000])
    assert ids[0] == [CLS] + [GOOD] * 29 + [BAD, SEP] and full[0] == 50_003
    assert ids[1] == [CLS, UNK, SEP]


def ragged(rows, first=None) -> dict:
    lengths = [len(r) for r in rows]
    tokens = tf.ragged.constant(rows, tf.int32, ragged_rank=1)
    return {"tokens": tokens, "first_length": tf.constant(first or lengths, tf.int32)}


def test_features_by_hand():
    made = features(ragged([[5, 6, 7, 8, 9], [5, 6]], [3, 2]), 1, ("token_ids", "segment_ids"), multiple=4)
    assert made["token_ids"].numpy().tolist() == [[5, 6, 7, 8, 9, 1, 1, 1], [5, 6] + [1] * 6]
    assert made["padding_mask"].numpy().tolist() == [[1] * 5 + [0] * 3, [1, 1] + [0] * 6]
    assert made["segment_ids"].numpy().tolist() == [[0, 0, 0, 1, 1, 0, 0, 0], [0] * 8]
    assert {v.dtype for v in made.values()} == {tf.int32}


@pytest.mark.parametrize("longest, multiple, width", [(1, 1, 1), (5, 1, 5), (7, 8, 8), (8, 8, 8), (9, 8, 16)])
def test_features_width(longest, multiple, width):
    made = features(ragged([[2] * longest, [2]]), 0, ("token_ids",), multiple)
    assert made["token_ids"].shape == (2, width) == made["padding_mask"].shape
    assert set(made) == {"token_ids", "padding_mask"}


def test_features_of_no_rows():
    empty = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int32))
    made = features({"tokens": empty, "first_length": tf.zeros([0], tf.int32)}, 0, ("segment_ids",), 8)
    assert {v.shape.as_list()[0] for v in made.values()} == {0} and made["token_ids"].shape == (0, 8)


# ---- rows -> examples

@pytest.mark.parametrize("fields", [("text",), ("text", "text_pair")])
def test_encoder_makes_one_example_of_each_row(tiny_tokenizer, fields):
    """The same by rows of a source (`feed`) and by what an export is given (`asked`)."""
    encoder = TextEncoder(make(tiny_tokenizer, 8, pairs=len(fields) == 2), fields)
    rows = [{"text": "good film", "text_pair": "bad", "label": "x"}, {"text": "a " * 9, "text_pair": "the film film"}]
    expected = run(encoder.tokenizer, *([row[name] for row in rows] for name in fields))
    fed = encoder.feed(rows)
    assert len(fed) == len(encoder.signature) == len(fields) and encoder.fields == fields
    strings = {name: tf.constant([row[name] for row in rows]) for name in reversed(fields)}
    traced = tf.function(encoder.__call__, input_signature=encoder.signature)
    for examples, of_rows in (traced(*map(tf.constant, fed)), tf.function(encoder.asked)(**strings)):
        assert (examples["tokens"].to_list(), examples["first_length"].numpy().tolist(),
                of_rows["full_length"].numpy().tolist()) == expected
        assert examples["length"].numpy().tolist() == [len(ids) for ids in expected[0]] and examples["length"].dtype == tf.int32
        assert "row" not in examples
    assert (encoder.pad_id, encoder.max_length) == (PAD, 8)


def test_encoder_of_no_rows(tiny_tokenizer):
    encoder = TextEncoder(make(tiny_tokenizer), ("text",))
    traced = tf.function(encoder.__call__, input_signature=encoder.signature)
    examples, of_rows = traced(*(tf.constant(values, tf.string) for values in encoder.feed([])))
    assert examples["tokens"].nrows() == 0 and examples["length"].shape[0] in (0, None) and of_rows["full_length"].shape == 0


def test_texts_as_bytes():
    assert as_bytes("\u00e9") == as_bytes("\u00e9".encode()) == b"\xc3\xa9" and as_bytes(b"\xff") == b"\xff"
    assert as_bytes("\ud83d film") == b"? film"
    made = string_array(["good\0", "", b"\xff", "\U0001f600"])
    assert tf.constant(made).numpy().tolist() == [b"good\0", b"", b"\xff", "\U0001f600".encode()]
    assert tf.constant(string_array([])).dtype == tf.string and tf.constant(string_array([])).shape == (0,)


def test_tokenizers_without_a_token_before_texts_are_told():
    from tfft.data.words import WordTokenizer
    from tfft.models.byte_pairs import BytePairs

    language = BytePairs({"a": 0, "b": 1, "</s>": 2}, [], unsplittable_tokens=["</s>"], end_token="</s>")
    for encode in (make, lambda tokenizer: WordTokenizer(tokenizer, max_length=8, overlap=0, before=False)):
        with pytest.raises(UserError, match="its BytePairs has no start token, and this task puts one around every text"):
            encode(language)
