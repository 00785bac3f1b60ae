import functools
import random
import time
import unicodedata

import families
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import regex
import tensorflow as tf
from conftest import WORDS

from tfft.data.tokenize import DOUBLE_SEPARATOR, TextTokenizer
from tfft.data.words import MODES, Windows, WordSplitter, WordTokenizer
from tfft.errors import UserError
from tfft.serving.check_export import used_ops
from tfft.serving.prove import PYTHON_OPS
from tfft.tasks.base import NASTY

FAMILIES = tuple(families.FAMILIES)
ONE_OF_EACH_KIND = ("bert", "albert", "roberta", "xlm_roberta", "deberta_v3")
TEXT = tf.TensorSpec([None], tf.string)
WORD_SPECS = (tf.RaggedTensorSpec([None, None], tf.string), tf.RaggedTensorSpec([None, None], tf.bool))
PIECES, BEFORE = tf.RaggedTensorSpec([None, None, None], tf.int32), tf.RaggedTensorSpec([None, None], tf.int32)
quick = hypothesis.settings(max_examples=150, deadline=None)

# every kind of character that a splitter tells apart, more often than chance has them
CHARACTERS = st.one_of(
    st.sampled_from("ab1Z \t\r\n\u00a0\u2028\u3000\x1c\x85.,@#'\"()-_$^\u201c\u060c中本ひカーทຂកမ\u0e34\u0301\u20dd\u0903"
                    "\u200b\u200c\u200d\u200f\ufeff\ufe0f\U000e0101\U0001f468\U0001f3fd\U0001f1e6\u2764é\u0627\u0915ᄀ"
                    "\ufffd\uffff\ue000\U00020000\U0010ffff\x07"),
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
TEXTS = st.lists(st.text(CHARACTERS, max_size=30), max_size=5)


@functools.cache
def splitter(mode):
    return tf.function(WordSplitter(mode), input_signature=[TEXT])


def split(mode, texts) -> list[list[tuple]]:
    """[(word, start, end, spaced), ...] of each text, by the graph path."""
    made = splitter(mode)(tf.constant(texts, tf.string, [len(texts)]))
    columns = [[[v.decode() for v in row] for row in made.words.to_list()], *(part.to_list() for part in made[1:])]
    return [list(zip(*row, strict=True)) for row in zip(*columns, strict=True)]


def words(mode, text) -> list[str]:
    return [word for word, *_ in split(mode, [text])[0]]


@pytest.mark.parametrize("text, expected", [
    ("U.K.,", "U.K . ,"), ("don't", "don't"), ("(Paris)", "( Paris )"), ("...!", ". . . !"), ("@user, #tag!", "@user , #tag !"),
    ("(@user)", "( @user )"), ("@@a #1 @- # x@y a#", "@ @a #1 @ - # x@y a #"), ("#東京", "# 東 京"), ("#\ufe0fa", "#\ufe0f a"),
    ("東京、大阪に。", "東 京 、 大 阪 に 。"), ("U.K.のiPhone5c", "U.K . の iPhone5c"), ("$3.50-$4%", "$ 3.50-$4 %"),
    ("カー・", "カ ー ・"),
    ("กินข้าว", "กิ น ข้ า ว"), ("ခေ ក្រ ຂ້", "ခေ ក្ រ ຂ້"), ("한국어 मराठी", "한국어 मराठी"), ("cafe\u0301.", "cafe\u0301 ."),
    ("\u0301a \u0301", "\u0301a \u0301"), ("\u2764\ufe0f\U0001f44d\U0001f3fd", "\u2764\ufe0f \U0001f44d \U0001f3fd"),
    ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d \U0001f469"), ("\ufeff\"a\u200cb\"\u200f", "\ufeff \" a\u200cb \" \u200f"),
    ("\u00a1\u00bfQu\u00e9?!", "\u00a1 \u00bf Qu\u00e9 ? !"), ("a\u00a0b\u2028c\r\nd\u3000e", "a b c d e"),
    ("(#\ue000)", "( # \ue000 )"), ("-\U0001d7d8-", "- \U0001d7d8 -"),
])
def test_auto_by_hand(text, expected):
    assert words("auto", text) == expected.split(" ")


def test_other_modes_by_hand():
    assert words("punctuation", "Jay-Z's $24 (東京, U.K.) e\u0301\u2013x") == [
        "Jay", "-", "Z", "'", "s", "$", "24", "(", "東", "京", ",", "U", ".", "K", ".", ")", "e\u0301", "\u2013", "x"]
    assert words("whitespace", " (U.K.,\u00a0東京) \u0301a\u200b\t") == ["(U.K.,", "東京)", "\u0301a\u200b"]
    assert words("characters", "ab, 東\u0301\ufe0f \u0301x\U0001f468\u200d\U0001f469") == [
        *"ab,", "東\u0301\ufe0f", "\u0301", "x", "\U0001f468\u200d", "\U0001f469"]


def test_offsets_and_spaces_by_hand():
    assert split("auto", ["\U0001f600 U.K.\r\n", "", "(東\u00a0x"]) == [
        [("\U0001f600", 0, 1, True), ("U.K", 2, 5, True), (".", 5, 6, False)], [],
        [("(", 0, 1, True), ("東", 1, 2, False), ("x", 3, 4, True)]]


def check_words(text: str, found: list[tuple]) -> None:
    """Each word is where it says, in order, and all but white space is in exactly one."""
    at = 0
    for word, start, end, spaced in found:
        assert text[start:end] == word and start < end
        assert not text[at:start].strip() and spaced == (start == 0 or text[start - 1].isspace())
        assert not any(c.isspace() for c in word)
        at = end
    assert not text[at:].strip()


@quick
@hypothesis.given(TEXTS)
def test_offsets_hold(texts):
    for mode in MODES:
        for text, found in zip(texts, split(mode, texts), strict=True):
            check_words(text, found)
            if mode == "whitespace":
                assert [word for word, *_ in found] == text.split()


def is_mark(c: str) -> bool:
    return c == "\u200d" or unicodedata.category(c)[0] == "M"


def is_edge(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cf") or unicodedata.category(c)[0] in "PS"


SCRIPTS = regex.compile("[" + "".join(rf"\p{{Script={name}}}" for name in (
    "Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"))
    + "\u3006\u3031-\u3035\u30fc\uff70\uff9e\uff9f]")  # and the letters that some of these share (Script_Extensions)


def is_unspaced(c: str) -> bool:
    return unicodedata.category(c)[0] in "LN" and bool(SCRIPTS.match(c))


def test_the_ranges_are_the_scripts():
    text = "".join(c for c in map(chr, range(0x110000)) if is_unspaced(c))
    assert len(text) > 90_000 and words("auto", text) == list(text)
    others = "".join(c for c in map(chr, range(0x110000)) if unicodedata.category(c)[0] in "LN" and not is_unspaced(c))
    assert len(others) > 20_000 and words("auto", others) == [others]


def in_characters(run: str) -> list[str]:
    made = []
    for c in run:
        made[-1:] = [made[-1] + c] if made and is_mark(c) else [*made[-1:], c]
    return made


def in_auto(run: str) -> list[str]:
    """The words of a run without white space, one step at a time."""
    parts = [[]]
    for c in in_characters(run):
        parts = [*parts, [c], []] if is_unspaced(c[0]) else [*parts[:-1], [*parts[-1], c]]
    made = []
    for part in parts:
        head, tail = [], []
        while part and is_edge(part[0][0]):
            head.append(part.pop(0))
        while part and is_edge(part[-1][0]):
            tail.insert(0, part.pop())
        if part and head and head[-1] in ("@", "#") and unicodedata.category(part[0][0])[0] in "LN":
            part.insert(0, head.pop())
        made += [*head, *(["".join(part)] if part else []), *tail]
    return made


@quick
@hypothesis.given(TEXTS)
@hypothesis.example(["\u3007\u3005\u3038\ufa0e\uff76\U0001b001\u1794\u19e0\u1000\uaa60\u0e94\u0e44x\u1100\u0915"])
def test_words_are_the_references(texts):
    for mode, reference in (("characters", in_characters), ("auto", in_auto)):
        expected = [[word for run in text.split() for word in reference(run)] for text in texts]
        assert [[word for word, *_ in found] for found in split(mode, texts)] == expected


@quick
@hypothesis.given(st.lists(st.one_of(st.binary(max_size=12), st.lists(st.sampled_from(
    [b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8", b"\xc3", b"\xff", b" ", b"a", "中".encode(), b"\xf0\x9f\x98", b"\x80"]),
    max_size=6).map(b"".join)), max_size=4))
def test_bytes_that_are_no_text(broken):
    """Offsets are those in the text that Python's decoder makes of them, U+0000 a space."""
    decoded = [b.decode("utf-8", "replace").replace("\0", " ") for b in broken]
    for mode in MODES:
        found = split(mode, broken)
        assert found == split(mode, decoded)
        for text, its in zip(decoded, found, strict=True):
            check_words(text, its)


@pytest.mark.parametrize("mode", MODES)
def test_no_texts_and_nasty_ones(mode):
    assert split(mode, []) == [] and split(mode, ["", " \0"]) == [[], []]
    for text, found in zip(NASTY, split(mode, NASTY), strict=True):
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        check_words(text.replace("\0", " "), found)


@pytest.mark.parametrize("mode", MODES)
def test_a_very_long_text_takes_no_time(mode):
    texts = tf.constant(["中" * 100_000, "x" * 100_000, ". " * 50_000])
    splitter(mode)(texts[:1])
    begin = time.process_time()
    splitter(mode)(texts)
    assert time.process_time() - begin < 1  # 0.05 s for the 300,000 characters


def test_unknown_mode():
    with pytest.raises(UserError, match="Unknown way to split words 'charcters'. Did you mean 'characters'?"):
        WordSplitter("charcters")


@functools.cache
def word_tokenizer(family, max_length=16, overlap=4, before=False, before_limit=0) -> WordTokenizer:
    return WordTokenizer(families.tokenizer(family), max_length=max_length, overlap=overlap, before=before,
                         before_limit=before_limit)


@functools.cache
def pieces_graph(family):
    return tf.function(word_tokenizer(family).pieces, input_signature=WORD_SPECS)


def pieces(family, rows, spaced=None) -> list[list[list[int]]]:
    spaced = spaced or [[True] * len(row) for row in rows]
    return pieces_graph(family)(tf.ragged.constant(rows, tf.string, ragged_rank=1),
                                tf.ragged.constant(spaced, tf.bool, ragged_rank=1)).to_list()


def whole(family, texts) -> list[list[int]]:
    """The tokenizer's own ids of each text."""
    return pieces_of_texts(family)(tf.constant(texts)).to_list()


@functools.cache
def pieces_of_texts(family):
    text_tokenizer = TextTokenizer(word_tokenizer(family).tokenizer, max_length=10**6, truncation="head", head_fraction=1,
                                   pairs=False)
    return tf.function(lambda texts: text_tokenizer(texts).token_ids[:, 1:-1], input_signature=[TEXT])


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_are_those_of_running_text(family):
    texts = [*families.SENTENCES, "films, a (fine) film's 3 goods. it's 100% Good-bad", "caf\u00e9 中文 \U0001f600 x\ufffd",
             "", "a"]
    assert texts == [" ".join(text.split()) for text in texts]
    made = pieces(family, [text.split() for text in texts])
    assert [sum(row, []) for row in made] == whole(family, texts)
    assert all(len(word) > 0 for row in made for word in row)


def test_pieces_of_words_without_spaces():
    film, comma, space = "film", ",", "\u2581"
    for family, expected in {
        "bert": [["film"], [","], ["film"]], "roberta": [["f", "ilm"], [","], ["Ġfilm"]],
    }.items():
        ids = [[word_tokenizer(family).tokenizer.token_to_id(p) for p in word] for word in expected]
        assert pieces(family, [[film, comma, film]], [[True, False, True]]) == [ids]
    for family in ("albert", "xlm_roberta", "deberta_v3"):
        tokenizer = word_tokenizer(family).tokenizer
        spaced, apart = ([[True] * 2], [[True, False]])
        lone, unspaced = pieces(family, [["a", ","]], spaced)[0][1], pieces(family, [["a", ","]], apart)[0][1]
        assert lone == [tokenizer.token_to_id(space), *unspaced] and len(unspaced) == 1


@pytest.mark.parametrize("family", ONE_OF_EACH_KIND)
def test_every_word_has_a_piece(family):
    tokenizer = word_tokenizer(family).tokenizer
    unknown = {"bert": "[UNK]", "albert": "<unk>", "deberta_v3": "[UNK]"}.get(family, "<unk>")
    made = pieces(family, [["", "film", ""], [], [""]], [[True, True, False], [], [False]])
    assert made[0][0] == made[0][2] == made[2][0] == [tokenizer.token_to_id(unknown)] and made[1] == []
    for spaced in (True, False):
        nasty = ["\u200b", "\ufeff", "\0", "\u0301", "\u2581", b"\xff", b"\xed\xa0\x80x"]
        for word in pieces(family, [nasty], [[spaced] * len(nasty)])[0]:
            assert 0 < len(word) and all(0 <= i < tokenizer.vocabulary_size() for i in word)
    assert pieces(family, [[b"good\xff", "good\0film"]]) == pieces(family, [["good\ufffd", "good film"]])
    assert pieces(family, []) == []


ROW = st.lists(st.integers(1, 9), max_size=25)  # pieces of each word
ROWS = st.lists(st.tuples(ROW, st.integers(0, 12)), max_size=4)


def reference(rows, befores, max_length, overlap, limit, special, pair):
    """Windows as the words of its docstring have it, one text and one word at a time. special: (start, end, separator)."""
    start, end, separator = special
    made = {name: [] for name in Windows._fields}
    for i, words_ in enumerate(rows):
        fixed = 2 + (len(separator) if pair else 0)
        ahead = befores[i][:limit] if pair else []
        budget = max_length - fixed - len(ahead)
        made["full_length"].append(sum(map(len, words_)) + fixed + (len(befores[i]) if pair else 0))
        words_ = [word[:budget] for word in words_]
        body, firsts = [], []
        for word in words_:
            firsts.append(len(body))
            body += word
        over = min(overlap, budget // 2)
        begins = [0]
        while begins[-1] + budget < len(body):
            begins.append(begins[-1] + budget - over)
        owners = [max([k for k, b in enumerate(begins) if k == 0 or p >= b + over // 2]) for p in firsts]
        for k, begin in enumerate(begins):
            left = [start, *ahead, *(separator if pair else [])]
            part = body[begin:begin + budget]
            ids = [*left, *part, end]
            made["token_ids"].append(ids)
            made["first_length"].append(len(left) if pair else len(ids))
            made["row"].append(i)
            made["places"].append([p - begin + len(left) for p, o in zip(firsts, owners, strict=True) if o == k])
            made["words"].append(sum(o < k for o in owners))
            made["begin"].append(begin)
            made["body"].append(len(part))
            made["body_start"].append(len(left))
    return made


@functools.cache
def windows_graph(family, max_length, overlap, pair, limit):
    made = word_tokenizer(family, max_length, overlap, pair, limit)
    if pair:
        return tf.function(lambda p, b: (made.windows(p, b), made.word_of_piece(p, b)), input_signature=[PIECES, BEFORE])
    return tf.function(lambda p: (made.windows(p), made.word_of_piece(p)), input_signature=[PIECES])


def numbered(counts, first=1000):
    """Pieces that are all different: [2 1] -> [[1000 1001] [1002]]"""
    made = []
    for count in counts:
        made.append(list(range(first, first + count)))
        first += count
    return made


def ragged3(rows) -> tf.RaggedTensor:
    return tf.ragged.constant(rows, tf.int32, ragged_rank=2)


def run_windows(family, max_length, overlap, rows, befores=None, limit=0):
    inputs = [ragged3(rows)] + ([tf.ragged.constant(befores, tf.int32, ragged_rank=1)] if befores is not None else [])
    made, owners = windows_graph(family, max_length, overlap, befores is not None, limit)(*inputs)
    return {name: (v.to_list() if isinstance(v, tf.RaggedTensor) else v.numpy().tolist()) for name, v in made._asdict().items()
            }, owners.to_list()


def test_windows_by_hand():
    made, owners = run_windows("bert", 6, 2, [numbered([1] * 6), numbered([2, 1], 50), []])
    assert made == {
        "token_ids": [[2, 1000, 1001, 1002, 1003, 3], [2, 1002, 1003, 1004, 1005, 3], [2, 50, 51, 52, 3], [2, 3]],
        "first_length": [6, 6, 5, 2], "row": [0, 0, 1, 2], "places": [[1, 2, 3], [2, 3, 4], [1, 3], []], "words": [0, 3, 0, 0],
        "full_length": [8, 5, 2], "begin": [0, 2, 0, 0], "body": [4, 4, 3, 0], "body_start": [1, 1, 1, 1]}
    assert owners == [[0, 1, 2, 3, 4, 5], [0, 0, 1], []]


def test_windows_after_a_question_by_hand():
    made, _ = run_windows("roberta", 10, 1, [numbered([1, 1, 3, 1]), []], [[70, 71, 72, 73], [80]], 2)
    assert made == {
        "token_ids": [[0, 70, 71, 2, 2, 1000, 1001, 1002, 1003, 2], [0, 70, 71, 2, 2, 1003, 1004, 1005, 2], [0, 80, 2, 2, 2]],
        "first_length": [5, 5, 4], "row": [0, 0, 1], "places": [[5, 6, 7], [7], []], "words": [0, 3, 0],
        "full_length": [14, 5], "begin": [0, 3, 0], "body": [4, 3, 0], "body_start": [5, 5, 4]}


def test_a_word_too_long_costs_one_window():
    made, owners = run_windows("bert", 6, 0, [numbered([50, 1, 1])])
    assert made["token_ids"] == [[2, 1000, 1001, 1002, 1003, 3], [2, 1050, 1051, 3]] and made["full_length"] == [54]
    assert made["places"] == [[1], [1, 2]] and owners == [[0, 0, 0, 0, 1, 2]]


@pytest.mark.parametrize("family, max_length, overlap, pair, limit", [
    ("bert", 12, 4, False, 0), ("bert", 9, 6, False, 0), ("bert", 3, 0, False, 0), ("bert", 13, 3, True, 0),
    ("roberta", 12, 3, True, 4), ("xlm_roberta", 15, 0, True, 9), ("albert", 10, 1, True, 5)])
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(rows=ROWS)
def test_windows_are_the_references(family, max_length, overlap, pair, limit, rows):
    tokenizer = word_tokenizer(family).tokenizer
    start, end = tokenizer.start_token_id, tokenizer.end_token_id
    separator = [end] * (2 if type(tokenizer).__name__ in DOUBLE_SEPARATOR else 1)
    befores = [list(range(500, 500 + q)) for _, q in rows] if pair else None
    rows = [numbered(counts, 1000 * (i + 1)) for i, (counts, _) in enumerate(rows)]
    made, owners = run_windows(family, max_length, overlap, rows, befores, limit)
    most = limit or (max_length - 2 - len(separator)) // 2
    assert made == reference(rows, befores, max_length, overlap, most, (start, end, separator), pair)
    assert all(len(ids) <= max_length for ids in made["token_ids"])
    for i, row in enumerate(rows):
        mine = [k for k, r in enumerate(made["row"]) if r == i]
        found = [made["token_ids"][k][place] for k in mine for place in made["places"][k]]
        assert found == [word[0] for word in row]  # each word once, in order, and the place is its first piece's
        for k in mine:
            for at in range(made["body"][k]):
                assert made["token_ids"][k][made["body_start"][k] + at] in row[owners[i][made["begin"][k] + at]]


def test_windows_have_no_loops_and_no_rows():
    for pair in (False, True):
        graph = windows_graph("bert", 12, 4, pair, 0).get_concrete_function().graph
        assert not {op.type for op in graph.get_operations()} & {"While", "StatelessWhile", "If", "StatelessIf", *PYTHON_OPS}
        made, owners = run_windows("bert", 12, 4, [], [] if pair else None)
        assert owners == [] and all(value == [] for value in made.values())


@pytest.mark.parametrize("family", ["bert", pytest.param("roberta", marks=pytest.mark.slow), "xlm_roberta"])
def test_pairs_are_packed_as_text_tokenizer_packs_them(family):
    text_tokenizer = TextTokenizer(word_tokenizer(family).tokenizer, max_length=40, truncation="head", head_fraction=1,
                                   pairs=True)
    texts, questions = ["the film was good", "", "a"], ["was it good", "a bad film", ""]
    expected = tf.function(text_tokenizer, input_signature=[TEXT] * 2)(tf.constant(questions), tf.constant(texts))
    made, _ = run_windows(family, 40, 4, pieces(family, [t.split() for t in texts]), whole(family, questions))
    assert made["token_ids"] == expected.token_ids.to_list()
    assert made["first_length"] == expected.first_length.numpy().tolist()
    assert made["full_length"] == expected.full_length.numpy().tolist()


def test_no_room():
    def make(family, **settings):
        return WordTokenizer(families.tokenizer(family), **{"overlap": 0, "before": False, **settings})

    with pytest.raises(UserError, match="max_length=2 leaves no room for a window of the text beside 2 special tokens. Use"):
        make("bert", max_length=2)
    make("bert", max_length=3)
    with pytest.raises(UserError, match="max_length=5 leaves no room .* beside 4 special tokens and 0 of the text before"):
        make("roberta", max_length=5, before=True)
    make("roberta", max_length=6, before=True)
    with pytest.raises(UserError, match="max_length=10 leaves no room .* beside 3 special tokens and 7 of the text before"):
        make("bert", max_length=10, before=True, before_limit=7)
    make("bert", max_length=10, before=True, before_limit=6)
    for overlap in (-1, 8):
        with pytest.raises(UserError, match=rf"window_overlap={overlap} must be .* less than the 8 .*max_length=10"):
            make("bert", max_length=10, overlap=overlap)
    with pytest.raises(ValueError, match="exactly where"):
        make("bert", max_length=10).windows(ragged3([[[1]]]), tf.ragged.constant([[1]]))


class Served(tf.Module):
    """Texts and questions to everything that both classes make, without ragged outputs."""

    def __init__(self, family, mode):
        super().__init__()
        self.splitter = WordSplitter(mode)
        self.tokenizer = WordTokenizer(families.tokenizer(family), max_length=16, overlap=4, before=True)

    @tf.function(input_signature=[TEXT, TEXT])
    def serve(self, text, question):
        found = self.splitter(text)
        asked = self.splitter(question)
        made_pieces = self.tokenizer.pieces(found.words, found.spaced)
        before = self.tokenizer.pieces(asked.words, asked.spaced).merge_dims(1, 2)
        made = {**found._asdict(), **self.tokenizer.windows(made_pieces, before)._asdict(),
                "word_of_piece": self.tokenizer.word_of_piece(made_pieces, before)}
        return {name: value.to_tensor() if isinstance(value, tf.RaggedTensor) else value for name, value in made.items()}


@pytest.mark.parametrize("family, mode", [("bert", "auto"), ("albert", "characters"), ("xlm_roberta", "whitespace"),
                                          ("deberta_v3", "auto"), pytest.param("roberta", "auto", marks=pytest.mark.slow)])
def test_saved_and_loaded(family, mode, tmp_path):
    texts = [t if len(t) < 1000 else t[:300] for t in NASTY] + families.SENTENCES
    questions = list(reversed(texts))
    served = Served(family, mode)
    tf.saved_model.save(served, str(tmp_path), signatures={"serving_default": served.serve})
    assert not used_ops(str(tmp_path)) & PYTHON_OPS
    signature = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    for size in (len(texts), 7, 0):
        inputs = {name: tf.constant(rows[:size], tf.string, [size])
                  for name, rows in (("text", texts), ("question", questions))}
        expected, made = served.serve(**inputs), signature(**inputs)
        assert set(made) == set(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(made[name], value, err_msg=name)


def test_nasty_texts_through_all(tiny_tokenizer):
    """Every word of every nasty text is owned once, and its place holds its first piece."""
    find, cut = WordSplitter("auto"), WordTokenizer(tiny_tokenizer, max_length=32, overlap=8, before=False)

    @tf.function(input_signature=[TEXT])
    def chain(texts):
        found = find(texts)
        made = cut.pieces(found.words, found.spaced)
        return made, cut.windows(made)

    made, windows = chain(tf.constant(NASTY))
    first = tf.gather(made.values.values, made.values.row_starts())
    owned = tf.gather(windows.token_ids, windows.places, batch_dims=1)
    np.testing.assert_array_equal(owned.values, first)
    assert int(tf.reduce_max(windows.token_ids.row_lengths())) == 32
    assert WORDS[1] == "[UNK]" and 1 in first.numpy()


def test_in_a_dataset():
    """By tf.data in batches, by one call in a graph and by one without: the same windows."""
    draw = random.Random(3)
    kinds = ["film", "(good)", "bad,", "\u4e2d\u6587", "fine-film"]
    texts = [" ".join(draw.choices(kinds, k=draw.randrange(40))) for _ in range(50)]
    find, cut = WordSplitter("auto"), word_tokenizer("bert", 16, 4)

    def chain(batch):
        found = find(batch)
        return cut.windows(cut.pieces(found.words, found.spaced)).token_ids

    batches = tf.data.Dataset.from_tensor_slices(texts).batch(8).map(chain)
    expected = tf.function(chain)(tf.constant(texts)).to_list()
    assert [row for batch in batches for row in batch.to_list()] == expected == chain(tf.constant(texts)).to_list()
