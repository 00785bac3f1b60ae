import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfft.data import plan as planning
from tfft.data.plan import PlanSettings, few_buckets, make_plan, round_up, share

MAX = 40
LENGTHS = st.lists(st.integers(1, MAX), min_size=1, max_size=120).map(lambda v: np.array(v, np.int32))


@st.composite
def plan_settings(draw) -> PlanSettings:
    """Any settings that a checked config can lead to."""
    multiple = draw(st.sampled_from([1, 2, 4]))
    buckets = draw(st.sampled_from([(), (8, 24, MAX), (5, 64)]))
    return PlanSettings(
        batch_size=multiple * draw(st.integers(1, 5)), max_length=MAX, buckets=buckets, multiple=multiple,
        length_multiple=draw(st.sampled_from([1, 8, 12])),
        tokens_per_batch=draw(st.sampled_from([0, multiple * MAX, 200, 333])) if multiple * MAX <= 200 else 0,
        grouping=draw(st.booleans()), shuffle=draw(st.booleans()), seed=draw(st.integers(0, 2**40)))


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of three batches, so that a hundred rows fill several."""
    monkeypatch.setattr(planning, "WINDOW_BATCHES", 3)


def batches(plan):
    return [plan.batch(i) for i in range(plan.num_batches)]


def same(a, b) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))


@given(LENGTHS, plan_settings(), st.integers(0, 3))
def test_every_example_is_in_exactly_one_batch(lengths, chosen, epoch):
    planned = np.concatenate([b.indices[b.indices >= 0] for b in batches(make_plan(lengths, chosen, epoch))])
    assert sorted(planned) == list(range(len(lengths)))


@given(LENGTHS, plan_settings())
def test_a_batch_is_as_long_as_the_bucket_of_its_longest(lengths, chosen):
    step = chosen.length_multiple
    buckets = {*(chosen.buckets or range(step, MAX + 1, step)), MAX}
    for batch in batches(make_plan(lengths, chosen)):
        longest = lengths[batch.indices[batch.indices >= 0]].max()
        assert batch.length == min(b for b in buckets if b >= longest and b <= MAX)


@given(LENGTHS, plan_settings())
def test_batch_sizes_and_filling(lengths, chosen):
    made = batches(make_plan(lengths, chosen))
    real = [int((b.indices >= 0).sum()) for b in made]
    assert all(real) and all(len(b.indices) % chosen.multiple == 0 for b in made)
    for batch, size in zip(made, real):
        assert (batch.indices[:size] >= 0).all() and (batch.indices[size:] == -1).all()  # what fills comes last
    if chosen.tokens_per_batch:
        assert all(len(b.indices) - size < chosen.multiple for b, size in zip(made, real))
        assert all(len(b.indices) * b.length <= chosen.tokens_per_batch for b in made)
    else:
        assert all(len(b.indices) == chosen.batch_size for b in made)
        assert len(made) == -(-len(lengths) // chosen.batch_size)
        assert sum(size < chosen.batch_size for size in real) <= 1


@given(LENGTHS, plan_settings())
def test_counts_are_exact(lengths, chosen):
    plan = make_plan(lengths, chosen)
    made = batches(plan)
    assert plan.real_tokens == lengths.sum()
    assert plan.padded_tokens == sum(len(b.indices) * b.length for b in made)
    assert plan.padding_waste == pytest.approx(1 - plan.real_tokens / plan.padded_tokens)


@given(LENGTHS, plan_settings(), st.integers(0, 3))
def test_plan_is_a_pure_function_of_its_arguments(lengths, chosen, epoch):
    before = lengths.copy()
    first = make_plan(lengths, chosen, epoch)
    np.random.seed(epoch)  # the global generator has no part in it
    assert same(first, make_plan(lengths.copy(), chosen, epoch))
    np.testing.assert_array_equal(lengths, before)


@pytest.mark.parametrize("grouping", [True, False])
@pytest.mark.parametrize("tokens", [0, 128])
def test_epochs_and_seeds_differ(grouping, tokens):
    lengths = np.arange(100) % 30 + 1
    chosen = PlanSettings(batch_size=4, max_length=32, grouping=grouping, tokens_per_batch=tokens)
    plans = [make_plan(lengths, chosen, 0), make_plan(lengths, chosen, 1),
             make_plan(lengths, dataclasses.replace(chosen, seed=1), 0)]
    members = [{frozenset(b.indices.tolist()) for b in batches(p)} for p in plans]
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        assert not same(plans[i], plans[j])
        assert len(members[i] & members[j]) < len(members[i]) / 2  # other companions, not just another order


def test_docstring_example():
    chosen = PlanSettings(batch_size=2, max_length=12, buckets=(4, 12), shuffle=False)
    plan = make_plan(np.array([3, 9, 4, 8]), chosen)
    assert [(b.indices.tolist(), b.length) for b in batches(plan)] == [([0, 2], 4), ([3, 1], 12)]
    assert plan.real_tokens == 24 and plan.padded_tokens == 32 and plan.padding_waste == 0.25


def test_without_grouping_and_shuffle_rows_keep_their_order():
    plan = make_plan(np.array([9, 1, 8, 2, 7]), PlanSettings(batch_size=2, max_length=16, grouping=False, shuffle=False))
    assert [(b.indices.tolist(), b.length) for b in batches(plan)] == [([0, 1], 16), ([2, 3], 8), ([4, -1], 8)]


def test_grouping_saves_padding_and_batches_come_in_random_order(monkeypatch):
    monkeypatch.undo()
    lengths = np.random.default_rng(0).integers(1, 129, 3000)
    chosen = PlanSettings(batch_size=16, max_length=128)
    grouped, plain = make_plan(lengths, chosen), make_plan(lengths, dataclasses.replace(chosen, grouping=False))
    assert grouped.padding_waste < 0.1 < 0.4 < plain.padding_waste
    order = grouped.lengths[:-1]
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.3  # neighbours in time are not neighbours in length


def test_constant_tokens_fill_their_budget(monkeypatch):
    monkeypatch.undo()
    lengths = np.random.default_rng(0).integers(1, 129, 3000)
    chosen = PlanSettings(batch_size=16, max_length=128, tokens_per_batch=2048, multiple=2)
    plan = make_plan(lengths, chosen)
    tokens = plan.padded_sizes * plan.lengths
    assert tokens.max() <= 2048 and tokens.mean() > 1900
    assert plan.padded_sizes.max() > 2 * plan.padded_sizes[plan.lengths == 128].max()  # short texts: more of them


def test_fewer_examples_than_a_batch():
    for shuffle in (True, False):
        plan = make_plan(np.array([5, 7]), PlanSettings(batch_size=8, max_length=32, shuffle=shuffle, multiple=4))
        batch = plan.batch(0)
        assert plan.num_batches == 1 and batch.length == 8
        assert sorted(batch.indices[:2]) == [0, 1] and batch.indices[2:].tolist() == [-1] * 6
    plan = make_plan(np.array([5]), PlanSettings(batch_size=8, max_length=32, tokens_per_batch=64, multiple=4))
    assert plan.batch(0).indices.tolist() == [0, -1, -1, -1]


@pytest.mark.parametrize("tokens", [0, 64])
@pytest.mark.parametrize("shuffle", [True, False])
def test_no_examples_make_no_batches(shuffle, tokens):
    plan = make_plan(np.zeros(0, np.int32), PlanSettings(batch_size=8, max_length=32, shuffle=shuffle,
                                                         tokens_per_batch=tokens))
    assert (plan.num_batches, plan.real_tokens, plan.padded_tokens, plan.padding_waste) == (0, 0, 0, 0)


@pytest.mark.parametrize("buckets, multiple, limit, expected", [
    ((), 8, 128, [8, 8, 8, 16, 128, 128]), ((), 8, 126, [8, 8, 8, 16, 126, 126]), ((), 1, 128, [1, 7, 8, 9, 127, 128]),
    ((16, 64, 200), 8, 128, [16, 16, 16, 16, 128, 128]), ((8, 9, 128), 1, 128, [8, 8, 8, 9, 128, 128]),
])
def test_round_up(buckets, multiple, limit, expected):
    lengths = np.minimum([1, 7, 8, 9, 127, 128], limit)
    made = round_up(lengths, PlanSettings(batch_size=1, max_length=limit, buckets=buckets, length_multiple=multiple))
    assert made.tolist() == expected


@pytest.mark.parametrize("longest", [250, 300, 70_000])
@pytest.mark.parametrize("tokens", [0, 300_000])
def test_lengths_of_any_size(longest, tokens):
    """The plan keeps lengths as small integers: 250 is rounded up to 256, which is none of 8 bits."""
    lengths = np.random.default_rng(0).integers(1, longest, 200)
    lengths[7] = longest
    chosen = PlanSettings(batch_size=4, max_length=80_000, tokens_per_batch=tokens)
    plan = make_plan(lengths, chosen)
    assert plan.real_tokens == lengths.sum()
    for batch in batches(plan):
        assert batch.length == round_up(lengths[batch.indices[batch.indices >= 0]].max(), chosen)
        assert not tokens or len(batch.indices) * batch.length <= tokens


@given(st.integers(1, 50), st.integers(1, 8))
def test_shares_join_to_the_batch(size, parts):
    rows = np.arange(size * parts)
    assert np.concatenate([rows[share(len(rows), part, parts)] for part in range(parts)]).tolist() == rows.tolist()


# ---- runs of one shape, for devices that compile every shape

RUNS = st.builds(lambda chosen, k: dataclasses.replace(chosen, run_length=k), plan_settings(), st.integers(1, 4))


@given(LENGTHS, RUNS, st.integers(0, 3))
def test_runs_every_example_is_in_exactly_one_batch_that_holds_it(lengths, chosen, epoch):
    plan = make_plan(lengths, chosen, epoch)
    made = batches(plan)
    planned = np.concatenate([b.indices[b.indices >= 0] for b in made])
    assert sorted(planned) == list(range(len(lengths)))
    assert all(lengths[b.indices[b.indices >= 0]].max() <= b.length for b in made)
    assert plan.real_tokens == lengths.sum() and plan.padded_tokens == sum(len(b.indices) * b.length for b in made)


@given(LENGTHS, RUNS)
def test_runs_have_one_size_for_each_length(lengths, chosen):
    made = batches(make_plan(lengths, chosen))
    assert len({(len(b.indices), b.length) for b in made}) == len({b.length for b in made})
    assert {b.length for b in made} <= set(round_up(np.arange(1, MAX + 1), chosen).tolist())
    for batch in made:
        size = chosen.batch_size if not chosen.tokens_per_batch else chosen.tokens_per_batch // batch.length
        assert len(batch.indices) == size // chosen.multiple * chosen.multiple


@given(LENGTHS, RUNS)
def test_runs_change_the_length_after_run_length_batches(lengths, chosen):
    of_batch = [b.length for b in batches(make_plan(lengths, chosen))]
    changes = [0, *(i for i in range(1, len(of_batch)) if of_batch[i] != of_batch[i - 1]), len(of_batch)]
    runs = [(of_batch[i], j - i) for i, j in zip(changes, changes[1:], strict=False)]
    for length in set(of_batch):  # neighbouring runs may be of one length; all but a length's last are whole
        assert sum(size % chosen.run_length > 0 for found, size in runs if found == length) <= 1


@given(LENGTHS, RUNS)
def test_runs_fill_one_batch_and_waste_less_than_two_batches(lengths, chosen):
    made = batches(make_plan(lengths, chosen))
    assert sum((b.indices < 0).any() for b in made) <= 1
    if not chosen.tokens_per_batch:
        assert len(made) == -(-len(lengths) // chosen.batch_size)
        if chosen.grouping:
            assert sum(len(b.indices) * b.length for b in made) < round_up(lengths, chosen).sum() + 2 * chosen.batch_size * MAX


@given(LENGTHS, RUNS, st.integers(0, 3))
def test_runs_are_a_pure_function(lengths, chosen, epoch):
    assert same(make_plan(lengths, chosen, epoch), make_plan(lengths.copy(), chosen, epoch))


def test_runs_are_shuffled_and_so_are_their_rows():
    lengths = np.arange(400) % 32 + 1
    chosen = PlanSettings(batch_size=4, max_length=32, run_length=3, buckets=few_buckets(32))
    plans = [make_plan(lengths, chosen, 0), make_plan(lengths, chosen, 1),
             make_plan(lengths, dataclasses.replace(chosen, seed=1), 0)]
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        assert not np.array_equal(plans[i].lengths, plans[j].lengths)
        members = [{frozenset(b.indices.tolist()) for b in batches(plans[k])} for k in (i, j)]
        assert len(members[0] & members[1]) < 20


def test_runs_docstring_example():
    chosen = PlanSettings(batch_size=2, max_length=12, buckets=(4, 12), shuffle=False, run_length=1)
    made = batches(make_plan(np.array([3, 9, 4, 4, 8]), chosen))
    assert [(b.indices.tolist(), b.length) for b in made] == [([0, 2], 4), ([3, 1], 12), ([4, -1], 12)]


def test_runs_of_no_rows():
    assert make_plan(np.zeros(0, np.int32), PlanSettings(batch_size=2, max_length=12, run_length=2)).num_batches == 0


@pytest.mark.parametrize("max_length, buckets", [
    (128, (16, 32, 48, 64, 96, 128)), (512, (64, 128, 192, 256, 384, 512)), (24, (8, 16, 24)), (100, (16, 32, 40, 56, 80, 100)),
    (4, (4,))])
def test_few_buckets(max_length, buckets):
    assert few_buckets(max_length) == buckets
