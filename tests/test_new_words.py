"""New words of a vocabulary begin as their pieces; all else stays."""

import numpy as np
import pytest
import tensorflow as tf
from commands import run
from conftest import WORDS

from tfft.errors import UserError
from tfft.models.backbone import load_backbone, load_tokenizer
from tfft.models.hugging_face import write_bert
from tfft.models.masked_lm import NAMES, read_head
from tfft.models.new_words import extended

GOOD, FILM, SS = (WORDS.index(word) for word in ("good", "film", "##s"))


@pytest.fixture(scope="module")
def given(tiny_preset):
    return load_backbone(tiny_preset, precision="float32", dropout=-1), load_tokenizer(tiny_preset)


def test_words_are_the_mean_of_their_pieces(given):
    backbone, tokenizer = given
    head = {"cls.predictions.bias": np.arange(15, dtype=np.float32), "other": np.ones((15, 2), np.float32)}
    made = extended(backbone, tokenizer, head, ["Films", "good", "films", "zebra", " goods "])
    assert made.pieces == {"films": ["film", "##s"], "zebra": ["[UNK]"], "goods": ["good", "##s"]}
    tokens = tf.function(lambda texts: made.tokenizer(texts))(tf.constant(["films good films zebra", "film"])).to_list()
    assert tokens == [[15, GOOD, 15, 16], [FILM]]
    old, new = (each.token_embedding.embeddings.numpy() for each in (backbone, made.backbone))
    assert new.shape == (18, 8)
    np.testing.assert_array_equal(new[:15], old)
    np.testing.assert_allclose(new[15], (old[FILM] + old[SS]) / 2, rtol=1e-6)
    assert made.head["cls.predictions.bias"][15] == (FILM + SS) / 2 and made.head["other"].shape == (15, 2)
    inputs = {name: np.full((1, 4), 5 if name == "token_ids" else name == "padding_mask", np.int32) for name in backbone.input}
    np.testing.assert_array_equal(*(each(inputs)["sequence_output"] for each in (backbone, made.backbone)))


def test_what_is_no_word_for_the_tokenizer_is_told(given):
    with pytest.raises(UserError, match="2 of the words are split before .* such as 'x-ray', 'two words'"):
        extended(*given, {}, ["films", "x-ray", "two words"])


def test_the_command(given, tmp_path):
    backbone, tokenizer = given
    (tmp_path / "hf").mkdir()
    shapes = {"dense.weight": (8, 8), "predictions.bias": (15,)}
    head = {names[0]: np.ones(next((s for end, s in shapes.items() if names[0].endswith(end)), (8,)), np.float32)
            for names in NAMES.values()}
    write_bert(backbone, tokenizer, head, tmp_path / "hf")
    (tmp_path / "words.txt").write_text("films\n\ngoods\ngood\n")
    out, _ = run(["extend", f"--backbone={tmp_path}/hf", f"--words={tmp_path}/words.txt", f"--output={tmp_path}/made"],
                 str(tmp_path / "cache"))
    assert "films: was film ##s" in out and "wrote 2 new words of 3" in out
    assert load_backbone(str(tmp_path / "made"), precision="float32", dropout=-1).vocabulary_size == 17
    assert read_head(str(tmp_path / "made"))["cls.predictions.bias"].shape == (17,)
