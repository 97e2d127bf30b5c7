import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undertow.engine.design import Design
from undertow.engine.membership import complements, folds, held_out_targets
from undertow.types import ConfigError


def members(design, role="shadow"):
    return np.stack([slot.member for slot in design.slots(role)])


@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(2, 12))
def test_every_even_prefix_of_shadows_is_balanced(seed, half, pairs):
    design = Design(seed, 2 * half, 2 * pairs, 1, half)
    rows = members(design)
    assert (rows.sum(1) == half).all()
    for even in range(2, 2 * pairs + 1, 2):
        assert (rows[:even].sum(0) == even // 2).all()


def test_growing_appends_pairs_and_leaves_victims_alone():
    small, large = Design(0, 50, 8, 3, 20), Design(0, 50, 16, 3, 20)
    np.testing.assert_array_equal(members(large)[:8], members(small))
    np.testing.assert_array_equal(members(large, "victim"), members(small, "victim"))
    np.testing.assert_array_equal(large.points, small.points)


def test_victims_are_random_halves_of_their_own():
    victims = members(Design(0, 1000, 4, 40, 10), "victim")
    assert (victims.sum(1) == 500).all()
    overlap = (victims[:-1] & victims[1:]).sum(1)
    assert abs(overlap.mean() - 250) < 5  # neither pairs nor copies
    assert (complements(victims) == -1).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [({"population": 51}, "use 50"), ({"shadows": 7}, "even"), ({"shadows": 2}, "at least 4"),
     ({"victims": 0}, "victims"), ({"challenge": 51}, "1..50")],
)  # fmt: skip
def test_what_cannot_be_is_refused(change, says):
    with pytest.raises(ConfigError, match=says):
        Design(**{"seed": 0, "population": 50, "shadows": 8, "victims": 2, "challenge": 10, **change})


def test_each_in_turn_leaves_out_the_target_and_its_complement():
    member = members(Design(0, 20, 8, 1, 5))
    plan = folds(member)
    assert sorted(t for f in plan for t in f.targets) == list(range(8))
    for fold in plan:
        assert not set(fold.targets) & set(fold.shadows)
        counts = member[fold.shadows].sum(0)
        assert (counts == len(fold.shadows) // 2).all()  # the counts say nothing of who was left out


def test_held_out_targets_are_attacked_together():
    fold = held_out_targets([6, 7], members(Design(0, 20, 8, 1, 5)))
    assert fold.targets.tolist() == [6, 7]
    assert fold.shadows.tolist() == [0, 1, 2, 3, 4, 5]


def test_the_complement_of_a_held_out_target_is_no_shadow():
    fold = held_out_targets([6], members(Design(0, 20, 8, 1, 5)))
    assert fold.shadows.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_model_without_complement_is_left_out_alone():
    member = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 0]], bool)
    assert complements(member).tolist() == [1, 0, -1]
    assert [f.targets.tolist() for f in folds(member)] == [[0, 1], [2]]
