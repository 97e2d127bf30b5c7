"""Complementary pairs for any number of records and for groups."""

import numpy as np
import pytest

from undertow.engine.design import Design
from undertow.engine.pairs import pairs, training_seeds
from undertow.types import ConfigError


def test_even_pools_are_dealt_as_the_shadows_of_our_own_audits():
    assert np.array_equal(pairs(7, 50, 8), Design(7, 50, 8, 2, 50).member("shadow"))


def test_odd_pools_and_their_complements():
    member = pairs(1, 11, 6)
    assert np.array_equal(member[::2], ~member[1::2])
    assert set(member.sum(1)) == {5, 6}


def test_growing_appends():
    assert np.array_equal(pairs(1, 20, 12)[:8], pairs(1, 20, 8))
    assert training_seeds(1, 12)[:8] == training_seeds(1, 8)


def test_groups_go_together_and_half_of_them_are_in():
    groups = np.array([9, 9, 9, 2, 2, 5, 7, 7, 7, 7, 4, 1])
    member = pairs(0, 12, 40, groups)
    for g in np.unique(groups):
        mine = member[:, groups == g]
        assert (mine.all(1) | ~mine.any(1)).all()
    first = [np.flatnonzero(groups == g)[0] for g in np.unique(groups)]
    assert (member[:, first].sum(1) == 3).all()
    assert len(np.unique(member, axis=0)) > 4


@pytest.mark.parametrize("models", [0, 2, 7])
def test_too_few_or_odd_models(models):
    with pytest.raises(ConfigError, match="even and at least 4"):
        pairs(0, 20, models)


def test_too_few_groups():
    with pytest.raises(ConfigError, match="3 groups of records"):
        pairs(0, 6, 8, np.array([0, 0, 1, 1, 2, 2]))
