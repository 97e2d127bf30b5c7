"""The blind baseline on random membership: cross-validation must add no bias, for few or wide records."""

import numpy as np
import pytest
from tests.oracles.auc import auc

from undertow.attacks.population import blind
from undertow.rng import stream


@pytest.mark.parametrize(
    ("points", "width", "members"),
    [(9, 4, 4), (12, 3, 6), (12, 200, 6), (20, 100, 4), (21, 300, 6), (50, 1000, 15), (100, 3, 50)],
)
def test_random_membership_is_at_chance(points, width, members):
    found = []
    for draw in range(100):
        rng = stream(draw, "blind", points, width)
        features = rng.normal(size=(points, width)) * np.exp(rng.normal(size=(points, 1)))
        member = np.argsort(np.argsort(rng.random((12, points)), 1), 1) < members
        scores = blind(features, member, rng)
        found.append(np.mean([auc(*pair) for pair in zip(scores, member)]))
    error = np.std(found, ddof=1) / 10
    assert error < 0.009  # pooled scores of folds, not ranked, give .474 at 12 points: 3 times that
    assert abs(np.mean(found) - 0.5) < 3.5 * error


def test_order_of_identical_records_is_no_evidence():
    member = np.arange(40) < 20
    assert auc(blind(np.ones((40, 3)), member[None], stream(0, "test"))[0], member) == 0.5
