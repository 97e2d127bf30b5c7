"""The planner against the game it plans: records fire at random, batches are drawn at random."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps import best_expected, capture_probability
from undertow.types import ConfigError


def played(expected, records, batch, rng, rounds=4000):
    """The share of traps whose first firing batch holds one firing record."""
    fires = rng.random((rounds, records)) < expected / records
    clean = 0
    for one in fires:
        order = rng.permutation(records)
        for start in range(0, records, batch):
            held = one[order[start : start + batch]].sum()
            if held:
                clean += held == 1
                break
    return clean / rounds


@pytest.mark.parametrize(("expected", "records", "batch"), [(1, 300, 30), (4, 300, 30), (8, 300, 10)])
def test_the_formula_is_the_game(expected, records, batch):
    found = played(expected, records, batch, stream(0, "test"))
    assert abs(found - capture_probability(expected, records, batch)) < 3 * 0.5 / 4000**0.5 + 0.01


@pytest.mark.parametrize(
    ("expected", "value"), [(1, 0.623), (2, 0.838), (3, 0.907), (4, 0.922), (5, 0.918), (8, 0.880)]
)
def test_the_specifications_numbers(expected, value):
    assert abs(capture_probability(expected, 1000, 32) - value) < 6e-4


def test_few_auxiliary_records_cost_captures_and_ask_for_more_firings():
    chances = [capture_probability(5, 1000, 32, auxiliary=n) for n in (100, 500, 5000, 0)]
    assert chances == sorted(chances)
    wanted = [best_expected(1000, 32, auxiliary=n) for n in (200, 500, 5000, 0)]
    assert wanted == sorted(wanted, reverse=True)


def test_a_random_head_asks_for_more_firings():
    assert best_expected(1000, 32, classes=10) == pytest.approx(best_expected(1000, 32) / 0.9, rel=0.01)


def test_as_few_firings_as_nearly_give_the_best():
    few = best_expected(1000, 32)
    most = max(capture_probability(c, 1000, 32) for c in np.linspace(0.5, 12, 200))
    assert 0.994 * most <= capture_probability(few, 1000, 32) < 0.996 * most


@pytest.mark.parametrize(("expected", "records", "batch"), [(0, 10, 2), (10, 10, 2), (1, 10, 11), (1, 10, 0)])
def test_what_cannot_be_planned_is_refused(expected, records, batch):
    with pytest.raises(ConfigError, match="cannot be planned"):
        capture_probability(expected, records, batch)
