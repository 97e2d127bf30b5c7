"""Gaussian scores of any covariance: never too often above the truth, and far tighter than what assumes less."""

import numpy as np
import pytest
from scipy.stats import binom

from undertow.metrics.epsilon import Trials, gaussian_pairs, gdp_epsilon, gdp_mu, one_run_from_scores
from undertow.rng import stream
from undertow.types import BadInput, ConfigError

DELTA, AUDITS, CANARIES = 1e-5, 100, 40
MOST = int(binom.ppf(0.999, AUDITS, 0.05))  # of that many audits a bound of error 5 % is above the truth


def covariances(n):
    places, rng = np.arange(n), stream(1, "covariances")
    factors = 2 * rng.standard_normal((n, 5))
    return {
        "independent": np.eye(n),
        "common factor": np.eye(n) + 9,
        "neighbours": 0.9 ** np.abs(places[:, None] - places),
        "pairs": np.kron(np.eye(n // 2), [[1, 0.95], [0.95, 1]]),
        "five factors": np.eye(n) + factors @ factors.T,
        "one loud": np.diag(np.where(places == 0, 400.0, 1.0)),
        "two scales": np.diag(np.where(places < n // 2, 0.04, 1.0)),
    }


def game(rng, covariance, epsilon, runs=1):
    """Scores whose average privacy loss over canaries is that of `epsilon`: the mechanism's own is no smaller."""
    n = len(covariance)
    effect = float(gdp_mu(epsilon, DELTA)) / np.sqrt(np.diag(np.linalg.inv(covariance)).mean()) if epsilon else 0.0
    member = rng.random((runs, n)) < 0.5
    noise = rng.standard_normal((runs, n)) @ np.linalg.cholesky(covariance).T
    scores = effect * member + noise + 5 * rng.standard_normal((runs, 1))
    return Trials(scores.ravel(), member.ravel(), np.repeat(np.arange(runs), n))


@pytest.mark.parametrize("name", covariances(2))
@pytest.mark.parametrize("epsilon", [8.0])
def test_the_bound_is_too_high_at_most_one_time_in_twenty(name, epsilon):
    rng, covariance = stream(3, "gaussian pairs", name, str(epsilon)), covariances(CANARIES)[name]
    found = [gaussian_pairs(game(rng, covariance, epsilon), DELTA, seed=i).epsilon for i in range(AUDITS)]
    assert sum(value > epsilon for value in found) <= MOST


def test_effects_that_differ_with_the_noise_do_not_break_it():
    rng, mu = stream(4, "gaussian pairs"), float(gdp_mu(4.0, DELTA))
    above = 0
    for i in range(AUDITS):
        size = np.exp(0.7 * rng.standard_normal(CANARIES))  # every canary has its own noise, and mu of its own scale
        member = rng.random(CANARIES) < 0.5
        scores = size * (mu * member + rng.standard_normal(CANARIES))
        above += gaussian_pairs(Trials(scores, member), DELTA, seed=i).epsilon > 4.0
    assert above <= MOST


def test_null_scores_give_zero_nineteen_times_in_twenty():
    rng, covariance = stream(5, "gaussian pairs"), covariances(CANARIES)["neighbours"]
    found = [gaussian_pairs(game(rng, covariance, 0.0), DELTA, seed=i).epsilon for i in range(AUDITS)]
    assert sum(value > 0 for value in found) <= MOST


def test_one_run_of_400_canaries_shows_most_of_epsilon_8():
    rng = stream(6, "gaussian pairs")
    plays = [game(rng, np.eye(400), 8.0) for _ in range(8)]
    found = [gaussian_pairs(t, DELTA, seed=i).epsilon for i, t in enumerate(plays)]
    less = [one_run_from_scores(t, DELTA, gdp=True, guesses=(50, 50)).epsilon for t in plays]
    assert np.mean(found) > 6.0 > np.mean(less)  # without a premise on the scores 5.5 cannot be had (docs/papers.md)


def test_what_canaries_share_costs_nothing():
    rng = stream(7, "gaussian pairs")
    alone = game(rng, np.eye(200), 8.0)
    shared = Trials(alone.scores + 1000.0, alone.member, alone.run)
    larger = Trials(alone.scores * 1e-9, alone.member, alone.run)
    first = gaussian_pairs(alone, DELTA).epsilon
    assert gaussian_pairs(shared, DELTA).epsilon == pytest.approx(first, rel=1e-6)
    assert gaussian_pairs(larger, DELTA).epsilon == pytest.approx(first, rel=1e-6)


def test_more_runs_and_less_confidence_show_more():
    rng = stream(8, "gaussian pairs")
    many = game(rng, np.eye(100), 8.0, runs=10)
    one = Trials(many.scores[:100], many.member[:100], many.run[:100])
    assert gaussian_pairs(one, DELTA).epsilon < gaussian_pairs(many, DELTA).epsilon < 8.0
    assert gaussian_pairs(many, DELTA, 0.99).epsilon < gaussian_pairs(many, DELTA, 0.9).epsilon


def test_a_perfect_guess_is_bounded_and_swapped_signs_show_nothing():
    member = stream(9, "gaussian pairs").random(100) < 0.5
    noise = 1e-6 * stream(9, "noise").standard_normal(100)
    assert gaussian_pairs(Trials(member + noise, member), DELTA).epsilon > 100
    assert gaussian_pairs(Trials(noise - member, member), DELTA).epsilon == 0
    assert gaussian_pairs(Trials(np.zeros(100), member), DELTA).epsilon == 0


def test_ties_alone_of_members_and_of_others_are_no_gaussian_and_end():
    member = np.arange(100) % 2 == 0
    assert gaussian_pairs(Trials(member.astype(float), member), DELTA).epsilon > 100


def test_says_what_it_assumes_and_refuses_what_it_cannot_read():
    rng = stream(10, "gaussian pairs")
    bound = gaussian_pairs(game(rng, np.eye(100), 1.0), DELTA)
    assert (bound.name, bound.assumes, bound.unit, bound.n) == ("gaussian-pairs", "gaussian-scores", "canaries", 100)
    with pytest.raises(BadInput, match="at least 8 more canaries than runs"):
        gaussian_pairs(Trials(np.arange(8.0), np.arange(8) % 2 == 0), DELTA)
    with pytest.raises(BadInput, match="infinite"):
        gaussian_pairs(Trials(np.r_[np.inf, np.zeros(20)], np.arange(21) % 2 == 0), DELTA)
    with pytest.raises(ConfigError, match="no finite epsilon"):
        gaussian_pairs(game(rng, np.eye(100), 1.0), 0.0)


def test_confidence_that_the_deals_cannot_reach_shows_nothing_instead_of_too_much():
    member = stream(11, "gaussian pairs").random(100) < 0.5
    assert gaussian_pairs(Trials(member + 1e-3 * np.arange(100), member), DELTA, 1 - 1e-6).epsilon == 0


def test_mu_and_epsilon_belong_together():
    assert float(gdp_epsilon(float(gdp_mu(8.0, DELTA)), DELTA)) == pytest.approx(8.0)
