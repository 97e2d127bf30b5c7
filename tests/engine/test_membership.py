"""What is left out with a target must not say whether the target is a member."""

import numpy as np
import pytest

from undertow.engine.membership import balanced, blocks, complements, left_out, redraw, remaining, uneven
from undertow.rng import stream


def pairs(rng, models=8, points=60):
    half = rng.random((models // 2, points)) < 0.5
    return np.concatenate([half, ~half])


def columns(rng, models=8, points=60):
    return np.argsort(rng.random((models, points)), 0) < models // 2


def five_fold(rng, points=60):
    rows = []
    for _ in range(4):
        part = rng.permutation(np.arange(points) % 5)
        rows += [part != k for k in range(5)]
    return np.stack(rows)


def independent(rng, models=16, points=60):
    return rng.random((models, points)) < 0.5


def shadows_left(member, out, m, q):
    """The membership at q of the models that may attack m."""
    return member[out.stays(np.array([m]), np.array([q]))[:, 0], q]


@pytest.mark.parametrize("deal", [pairs, columns, five_fold])
def test_as_many_in_and_out_models_remain_whatever_the_target_is(deal):
    rng = stream(0, "test")
    member = deal(rng)
    out = left_out(member, rng)
    for q in range(member.shape[1]):
        left = {shadows_left(member, out, m, q).sum() for m in range(len(member))}
        assert len(left) == 1


def test_in_pairs_the_complement_is_left_out():
    member = pairs(stream(0, "test"))
    out = left_out(member, stream(1, "test"))
    assert out.beside is None
    partner = complements(member)
    assert (out.block[partner] == out.block).all()
    assert len(np.unique(out.block)) == 4


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_in_a_cross_validation_all_folds_of_a_repeat_are_left_out(shuffled, flip):
    rng = stream(0, "test")
    order = rng.permutation(20) if shuffled else np.arange(20)
    member = (five_fold(rng, points=200) ^ flip)[order]
    block = blocks(member)
    for own in np.unique(block):
        assert sorted(order[block == own] // 5) == [order[block == own][0] // 5] * 5
    assert not balanced(member)


def test_in_balanced_columns_the_other_side_is_left_out_at_random():
    member = columns(stream(0, "test"))
    assert balanced(member)
    out = left_out(member, stream(1, "test"))
    assert (np.take_along_axis(member, out.beside, 0) != member).all()
    assert (out.beside != left_out(member, stream(2, "test")).beside).any()


def test_in_independent_rows_nobody_is_left_out():
    member = independent(stream(0, "test"))
    assert not balanced(member)
    out = left_out(member, stream(1, "test"))
    assert out.beside is None
    assert len(np.unique(out.block)) == len(member)


@pytest.mark.parametrize("deal", [pairs, columns, five_fold, independent])
def test_remaining_counts_the_models_that_stay(deal):
    member = deal(stream(3, "test"))
    out = left_out(member, stream(1, "test"))
    inside, outside = remaining(member, out)
    for q in range(member.shape[1]):
        for m in range(len(member)):
            left = shadows_left(member, out, m, q)
            assert (inside[m, q], outside[m, q]) == (left.sum(), (~left).sum())


def test_a_redraw_keeps_the_columns_and_deals_them_anew():
    member = pairs(stream(0, "test"))
    again = redraw(member, stream(1, "test"))
    assert sorted(map(tuple, member.T)) == sorted(map(tuple, again.T))
    assert (again != member).any()


def test_a_redraw_keeps_a_group_together():
    rng = stream(0, "test")
    group = np.array([5, 5, 5, 9, 9, 1, 2, 2])
    member = pairs(rng, points=4)[:, np.unique(group, return_inverse=True)[1]]
    again = redraw(member, stream(1, "test"), group)
    for g in np.unique(group):
        own = again[:, group == g]
        assert (own == own[:, :1]).all()


def test_uneven_designs_are_told_from_even_ones():
    rng = stream(0, "test")
    assert not any(uneven(deal(rng)) for deal in (pairs, columns, five_fold, independent) for _ in range(20))
    base = rng.random(200) < 0.5
    assert uneven(base ^ (rng.random((16, 200)) < 0.1))
    assert uneven(rng.random((16, 200)) < rng.beta(0.5, 0.5, 200))
    assert not uneven(base[None])
