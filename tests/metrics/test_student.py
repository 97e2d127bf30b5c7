"""Intervals of a mean and of a new draw: they cover what they say they cover."""

import numpy as np
import pytest
from scipy.stats import t

from undertow.metrics.student import mean_interval, prediction_interval
from undertow.rng import stream

GAMES = 4000


@pytest.mark.parametrize("n", [2, 3, 5, 8, 30])
def test_a_new_draw_lies_in_its_prediction_interval_in_95_of_100(n):
    draws = stream(0, "prediction", n).normal(3.0, 0.2, (GAMES, n + 1))
    found = [prediction_interval(row[:-1]) for row in draws]
    covered = np.mean([one["low"] <= new <= one["high"] for one, new in zip(found, draws[:, -1], strict=True)])
    assert abs(covered - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / GAMES)


@pytest.mark.parametrize("n", [5, 8])
def test_the_range_of_the_draws_does_not_hold_a_new_one(n):
    """Any of n + 1 draws is as likely to be the lowest or the highest, so a new one leaves the range 2 / (n + 1)."""
    draws = stream(1, "range", n).normal(size=(GAMES, n + 1))
    seen, new = draws[:, :-1], draws[:, -1]
    left = np.mean((new < seen.min(1)) | (new > seen.max(1)))
    assert abs(left - 2 / (n + 1)) < 3.5 * np.sqrt(left * (1 - left) / GAMES)


def test_it_is_the_formula_of_the_textbook():
    values = np.array([0.859, 0.861, 0.869, 0.869, 0.874])
    found = prediction_interval(values)
    s = np.sqrt(((values - values.mean()) ** 2).sum() / 4)
    assert found["value"] == pytest.approx(values.mean())
    assert found["high"] - values.mean() == pytest.approx(2.776445105 * s * np.sqrt(1.2))
    assert found["low"] + found["high"] == pytest.approx(2 * values.mean())


def test_it_is_wider_than_the_interval_of_the_mean_by_the_scatter_of_one_draw():
    values = stream(2, "wider").normal(size=7)
    mean, new = mean_interval(values), prediction_interval(values)
    assert (new["high"] - new["low"]) / (mean["high"] - mean["low"]) == pytest.approx(np.sqrt(7 + 1))
    assert t.sf((new["high"] - new["value"]) / (values.std(ddof=1) * np.sqrt(8 / 7)), 6) == pytest.approx(0.025)


def test_one_value_predicts_nothing():
    with pytest.raises(ValueError, match="at least two values, got 1"):
        prediction_interval(np.array([0.5]))
