import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.data import splits
from tfft.errors import UserError

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=50).map(lambda h: np.array(h, np.uint64))
SHARES = st.floats(0, 0.49)


def test_split_hash_is_fixed_for_ever():
    expected = hashlib.blake2b("é".encode(), digest_size=8, salt=(7).to_bytes(16, "little")).digest()
    assert splits.split_hash("é", 7) == int.from_bytes(expected, "little")
    assert splits.split_hash("a", 0) == 3405396810240292928
    assert len({splits.split_hash(k, s) for k in "ab" for s in (0, 1)}) == 4


def test_split_masks_by_hand():
    hashes = np.array([0, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
    train, validation, test = splits.split_masks(hashes, 0.25, 0.5)
    assert validation.tolist() == [True, True, False, False, False, False]
    assert train.tolist() == [False, False, True, True, False, False]
    assert test.tolist() == [False, False, False, False, True, True]


@given(HASHES, HASHES, SHARES, SHARES, SHARES)
def test_split_is_a_partition_and_stable(hashes, more, validation_share, test_share, other_share):
    masks = splits.split_masks(hashes, validation_share, test_share)
    assert (sum(m.astype(int) for m in masks) == 1).all()
    grown = splits.split_masks(np.concatenate([more, hashes]), validation_share, test_share)
    for mask, after in zip(masks, grown):
        np.testing.assert_array_equal(mask, after[len(more):])
    np.testing.assert_array_equal(masks[2], splits.split_masks(hashes, other_share, test_share)[2])


def test_split_shares_are_kept():
    hashes = np.array([splits.split_hash(str(i), 0) for i in range(10_000)], np.uint64)
    train, validation, test = splits.split_masks(hashes, 0.1, 0.2)
    assert abs(validation.mean() - 0.1) < 0.01 and abs(test.mean() - 0.2) < 0.015 and abs(train.mean() - 0.7) < 0.015
    train, validation, test = splits.split_masks(hashes, 0, 0)
    assert train.all() and not validation.any() and not test.any()


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0), (1, 0)])
def test_impossible_shares(shares):
    with pytest.raises(UserError, match="must leave rows to train on"):
        splits.split_masks(np.zeros(1, np.uint64), *shares)


@given(HASHES, st.integers(0, 60), st.integers(0, 60))
def test_draw_is_nested_ascending_and_of_its_size(hashes, few, many):
    few, many = sorted((few, many))
    indices = np.arange(len(hashes))[::-1] * 3
    drawn = splits.draw(indices, hashes, few)
    assert len(drawn) == (min(few, len(hashes)) or (0 if few else len(hashes)))
    assert (np.diff(drawn) > 0).all() and set(drawn) <= set(indices)
    if few:
        assert set(drawn) <= set(splits.draw(indices, hashes, many))


def test_draw_does_not_follow_the_split():
    hashes = np.array([splits.split_hash(str(i), 0) for i in range(2000)], np.uint64)
    drawn = splits.draw(np.arange(2000), hashes, 1000)
    low = (hashes < np.uint64(2**63)).nonzero()[0]
    assert 400 < len(set(drawn) & set(low)) < 600  # half of them, not all


def test_draw_needs_a_hash_for_each_index():
    with pytest.raises(ValueError, match="differ in shape"):
        splits.draw(np.arange(3), np.zeros(2, np.uint64), 1)


def test_leaks_by_hand():
    big = 2**64 - 1
    found = splits.leaks(np.array([5, 7, big], np.uint64), np.array([1, big, 5, big, big - 1], np.uint64))
    assert found.dtype == np.int64 and found.tolist() == [1, 2, 3]
    assert splits.leaks(np.array([], np.uint64), np.array([1], np.uint64)).tolist() == []


@given(HASHES, HASHES)
def test_leaks_is_set_membership(train, other):
    assert splits.leaks(train, other).tolist() == [i for i, h in enumerate(other) if h in set(train)]


def test_text_hash_ignores_surrounding_space():
    assert splits.text_hash(" a b\n") == splits.text_hash("a b") != splits.text_hash("ab")
    assert splits.text_hash("a", "b") == splits.text_hash("a ", " b") != splits.text_hash("b", "a")
    assert splits.text_hash("a") != splits.text_hash("a", "a")
    splits.text_hash("\ud800")  # half a surrogate pair is no error here
