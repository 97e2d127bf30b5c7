"""The betting game: equal to the rules by hand, fair under the claim at every stopping time."""

import math

import numpy as np
import pytest
from scipy.stats import binom
from tests.oracles import epsilon as oracle

from undertow.metrics.epsilon import sequential, stopped_at, wealth
from undertow.rng import stream
from undertow.types import BadInput


@pytest.mark.parametrize("delta", [0.0, 0.01])
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 3.0])
def test_wealth_is_the_game_by_hand(epsilon, delta):
    outcomes = stream(0, "game").choice([1, 1, 1, 0, -1], 200)
    expected = oracle.wealth_by_hand(outcomes, epsilon, delta)
    assert wealth(outcomes, np.array([9.0, epsilon]), delta)[:, 1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("delta", [0.0, 0.05])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("silent", [0.0, 0.6])
def test_no_guess_is_in_the_players_favour_under_the_claim(epsilon, delta, silent):
    """The expected wealth after one more guess, for the rule that is best under (epsilon, delta), never grows."""
    wrong = (1 - silent - delta) / (
        1 + math.exp(epsilon)
    )  # right + wrong = 1 - silent, right = e^epsilon wrong + delta
    chances = {1: math.exp(epsilon) * wrong + delta, -1: wrong, 0: silent}
    for seed in range(20):
        past = stream(seed, "past").choice([1, -1, 0], 30, p=[0.9, 0.05, 0.05])
        now = wealth(past, np.array([epsilon]), delta)[-1, 0]
        later = sum(p * wealth(np.append(past, o), np.array([epsilon]), delta)[-1, 0] for o, p in chances.items())
        assert later <= now * (1 + 1e-9)


@pytest.mark.parametrize("epsilon", [0, 0.5, 1, 4])
def test_stopping_at_the_best_moment_violates_at_most_alpha(epsilon):
    """Randomised response, looked at after each of 300 guesses, 1,000 audits, error .1."""
    honest, over = 1 / (1 + math.exp(-epsilon)), 0
    for i in range(1000):
        outcomes = np.where(stream(i, "response").random(300) < honest, 1, -1)
        over += stopped_at(outcomes, epsilon, 0.0, 0.9) is not None
    assert over <= binom.ppf(0.9772, 1000, 0.1)


@pytest.mark.parametrize("epsilon", [0.5, 1, 4])
def test_tight_in_the_long_run(epsilon):
    right = stream(1, "long").random(5000) < 1 / (1 + math.exp(-epsilon))
    assert 0.7 * epsilon < sequential(np.where(right, 1, -1), 0.0).epsilon < epsilon


def test_a_false_claim_falls_early_and_stays_down():
    outcomes = np.ones(1000, int)
    assert stopped_at(outcomes, 0.5, 0.0) < 20
    assert stopped_at(np.tile([1, -1], 100), 0.5, 0.0) is None
    assert sequential(np.append(outcomes, -np.ones(1000, int)), 0.0).epsilon == sequential(outcomes, 0.0).epsilon


def test_a_run_of_many_guesses_needs_delta_zero():
    outcomes = np.ones(100, int)
    assert sequential(outcomes, 0.0, runs=1).unit == "canaries"
    with pytest.raises(BadInput, match="100 trials of 1 training run are not independent"):
        sequential(outcomes, 1e-5, runs=1)
    assert sequential(outcomes, 1e-5).unit == "runs"


def test_outcomes_are_right_wrong_or_nothing():
    for outcomes in ([], [2], [[1]]):
        with pytest.raises(BadInput, match="outcomes must be"):
            sequential(np.array(outcomes), 0.0)
