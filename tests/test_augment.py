import collections
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.config import Augmentation
from tfft.data.augment import augment, vocabulary_of

WORDS = [f"w{i}" for i in range(200)]
TEXT = " ".join(WORDS)
OTHER = ["x", "y", "z"]
SHARE = st.sampled_from([0.0, 0.1, 0.5, 0.9])


def made(text=TEXT, vocabulary=OTHER, epoch=0, row=0, **settings) -> list[str]:
    return augment(text, Augmentation(**settings), vocabulary, epoch=epoch, row=row).split()


def test_off_by_default():
    assert not Augmentation().enabled
    assert not Augmentation(rows=0, delete=0.5).enabled
    assert all(Augmentation(**{name: 0.1}).enabled for name in ("delete", "swap", "insert", "replace"))
    assert made() == WORDS


def test_delete_drops_its_share_and_keeps_the_order():
    kept = made(delete=0.25)
    assert 130 < len(kept) < 170 and kept == [w for w in WORDS if w in kept]
    assert len(made(delete=1.0)) == 1  # never empty


def test_replace_draws_from_the_vocabulary():
    assert set(made(replace=1.0)) == set(OTHER)
    half = made(replace=0.5)
    assert len(half) == 200 and all(w == v or w in OTHER for w, v in zip(half, WORDS))
    assert 70 < sum(w in OTHER for w in half) < 130
    assert made(vocabulary=[], replace=1.0) == WORDS


def test_insert_puts_words_of_the_text_after_words():
    doubled = made(insert=1.0)
    assert doubled[::2] == WORDS and len(doubled) == 400 and set(doubled[1::2]) <= set(WORDS)
    assert len(set(doubled[1::2])) > 50
    assert 20 < len(made(insert=0.25)) - 200 < 80


def test_swap_keeps_the_words():
    swapped = made(swap=1.0)
    assert sorted(swapped) == sorted(WORDS) and sum(a != b for a, b in zip(swapped, WORDS)) > 150
    assert sum(a != b for a, b in zip(made(swap=0.05), WORDS)) < 60


def test_rows_is_the_share_of_texts_that_change():
    changed = [made(rows=0.3, swap=1.0, row=row) != WORDS for row in range(300)]
    assert 60 < sum(changed) < 120
    assert augment("a  b\n", Augmentation(rows=0, swap=1.0), OTHER, epoch=0, row=0) == "a  b\n"  # left as it was


def test_each_seed_epoch_and_row_has_its_own_generator():
    settings = Augmentation(delete=0.5)
    same = augment(TEXT, settings, OTHER, epoch=1, row=2)
    assert augment(TEXT, settings, OTHER, epoch=1, row=2) == same
    others = [augment(TEXT, settings, OTHER, epoch=2, row=2), augment(TEXT, settings, OTHER, epoch=1, row=3),
              augment(TEXT, dataclasses.replace(settings, seed=1), OTHER, epoch=1, row=2),
              augment(TEXT, settings, OTHER, epoch=2, row=1), augment(TEXT, settings, OTHER, epoch=11, row=2),
              augment(TEXT, settings, OTHER, epoch=1, row=12)]
    assert len({same, *others}) == 7


@pytest.mark.parametrize("text", ["", "one", " one ", "\n"])
def test_a_text_of_one_word_is_left_alone(text):
    assert augment(text, Augmentation(delete=0.9, swap=0.9, insert=0.9, replace=0.9), OTHER, epoch=0, row=0) == text


@given(st.text(), SHARE, SHARE, SHARE, SHARE, st.integers(0, 3))
def test_never_empty_and_no_unknown_word(text, delete, swap, insert, replace, row):
    words = made(text, row=row, delete=delete, swap=swap, insert=insert, replace=replace)
    assert bool(words) == bool(text.split())
    assert set(words) <= set(text.split()) | set(OTHER)


def test_vocabulary_is_spread_over_all_texts():
    assert vocabulary_of(["a b", "", "a"]) == ["a", "b", "a"] and vocabulary_of([]) == []
    some = vocabulary_of(["neg"] * 3000 + ["pos"] * 1000, limit=100)
    assert len(some) <= 100 and collections.Counter(some) == {"neg": 75, "pos": 25}
