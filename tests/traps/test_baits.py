"""Thresholds hold on records that they were not set on; what cannot be calibrated is refused."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps import choose_baits
from undertow.traps.baits import least_overlap
from undertow.types import BadInput


def rng(seed):
    return stream(seed, "baits")


def test_the_share_that_fires_is_the_share_that_was_asked_for():
    world = rng(0).random((40_000, 12))
    baits = choose_baits(world[:1000], 100, 0.01, rng(1))
    fired = baits.fires(world[1000:])
    assert fired.mean() == pytest.approx(0.01, rel=0.15)
    assert np.allclose(np.linalg.norm(baits.directions, axis=1), 1)


def test_baits_overlap_less_than_random_ones():
    auxiliary = rng(0).random((400, 8))
    chosen = choose_baits(auxiliary, 20, 0.02, rng(1)).fires(auxiliary).sum(1)
    random = rng(3).standard_normal((20, 8))
    scores = auxiliary @ random.T
    plain = (scores > np.quantile(scores, 0.98, axis=0)).sum(1)
    assert (chosen > 1).sum() < (plain > 1).sum()


def test_least_overlap_takes_disjoint_columns_first():
    fired = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool)
    assert least_overlap(fired, 3).tolist() == [0, 2, 3]
    assert least_overlap(fired, 4).tolist() == [0, 2, 3, 1]


def test_baits_are_the_same_from_the_same_seed():
    auxiliary = rng(0).random((300, 5))
    a, b = (choose_baits(auxiliary, 8, 0.02, rng(7)) for _ in range(2))
    assert (a.directions == b.directions).all()
    assert (a.thresholds == b.thresholds).all()


@pytest.mark.parametrize(
    ("auxiliary", "said"),
    [
        (rng(0).random((50, 3)), "give at least 200"),
        (np.ones((400, 3)), "all the same"),
        (np.full((400, 3), np.nan), "NaN"),
    ],
)
def test_auxiliary_data_that_tell_nothing_are_refused(auxiliary, said):
    with pytest.raises(BadInput, match=said):
        choose_baits(auxiliary, 2, 0.005, rng(0))
