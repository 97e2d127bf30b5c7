"""Final models of subsampled training: the bound is seldom above what they tell, and says what it knows."""

import numpy as np
import pytest
from scipy.stats import binom

from undertow.metrics.ceiling import final_iterate_epsilon
from undertow.metrics.epsilon import Trials, final_iterate
from undertow.metrics.epsilon.final_iterate import largest_noise
from undertow.rng import stream
from undertow.types import BadInput, ConfigError

DELTA, AUDITS, RUNS = 1e-5, 200, 200
MOST = int(binom.ppf(0.999, AUDITS, 0.05))


def game(rng, noise, rate, steps, runs=RUNS, scale=1.0, base=0.0):
    member = np.arange(2 * runs) < runs
    joined = rng.binomial(steps, rate, 2 * runs) * member
    return Trials(base + scale * (joined + noise * steps**0.5 * rng.standard_normal(2 * runs)), member)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(0.6, 0.01, 1000), (1.0, 0.05, 200), (3.0, 0.1, 20)])
@pytest.mark.parametrize("unit", [None, 1.0])
def test_the_bound_is_too_high_at_most_one_time_in_twenty(noise, rate, steps, unit):
    rng = stream(3, "final", str(noise), str(unit))
    scale = 1.0 if unit else 0.01
    plays = [game(rng, noise, rate, steps, scale=scale, base=1 - scale) for _ in range(AUDITS)]
    found = [largest_noise(t, rate, steps, 0.05, unit, i) for i, t in enumerate(plays)]
    assert sum(value < noise for value in found) <= MOST  # less noise is a larger epsilon


def test_the_bound_is_the_epsilon_of_the_largest_noise():
    trials = game(stream(7, "final"), 1.0, 0.05, 50)
    noise = largest_noise(trials, 0.05, 50, 0.05, None, 0)
    assert final_iterate(trials, 0.05, 50, DELTA).epsilon == final_iterate_epsilon(noise, 0.05, 50, DELTA)


def test_the_known_unit_shows_most_of_the_ceiling():
    rng = stream(4, "final")
    plays = [game(rng, 0.5866, 0.01, 1000, runs=500) for _ in range(4)]
    any_unit = np.mean([final_iterate(t, 0.01, 1000, DELTA).epsilon for t in plays])
    known = np.mean([final_iterate(t, 0.01, 1000, DELTA, unit=1.0).epsilon for t in plays])
    assert 1.6 < any_unit < known < 2.43
    assert known > 2.0


def test_no_shift_shows_nothing_and_a_shift_without_noise_much():
    rng = stream(5, "final")
    assert final_iterate(game(rng, 1000.0, 0.01, 10), 0.01, 10, DELTA).epsilon < 0.5
    member = np.arange(40) < 20
    assert final_iterate(Trials(-1.0 * member, member), 0.1, 20, DELTA).epsilon == 0
    assert final_iterate(Trials(1.0 * member, member), 0.1, 20, DELTA).epsilon > 20


def test_refuses_what_it_cannot_read():
    rng = stream(6, "final")
    with pytest.raises(BadInput, match="two finite scores"):
        final_iterate(Trials(np.arange(3.0), np.array([True, True, False])), 0.1, 20, DELTA)
    with pytest.raises(BadInput, match="not independent"):
        final_iterate(Trials(np.arange(4.0), np.arange(4) < 2, np.zeros(4)), 0.1, 20, DELTA)
    with pytest.raises(ConfigError, match="rate = 1"):
        final_iterate(game(rng, 1.0, 0.1, 10), 1, 20, DELTA)
