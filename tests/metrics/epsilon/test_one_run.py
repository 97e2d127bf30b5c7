"""One-run bounds: equal to the definitions, exact probabilities of being wrong, refusals."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm
from tests.oracles import epsilon as oracle

from undertow.metrics.epsilon import (
    Guesses,
    Trials,
    curve_of_deltas,
    gdp_delta,
    gdp_mu,
    guess_by_rank,
    one_run,
    one_run_from_scores,
    one_run_gdp,
    one_run_p_value,
    one_run_refuses,
)
from undertow.rng import stream
from undertow.types import BadInput, ConfigError

DELTA = 1e-5


@pytest.mark.parametrize(("m", "r", "v"), [(10, 10, 10), (100, 30, 25), (100, 100, 60), (50, 5, 0), (40, 40, 20)])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_p_value_is_the_paper_written_slowly(m, r, v, epsilon, delta):
    expected = oracle.one_run_p(m, r, v, epsilon, delta)
    assert one_run_p_value(Guesses(m, r, v), epsilon, delta) == pytest.approx(expected, rel=1e-9)


def test_p_value_grows_with_epsilon():
    values = [one_run_p_value(Guesses(2000, 300, 280), e, 1e-5) for e in np.linspace(0, 5, 200)]
    assert (np.diff(values) >= 0).all()


def lines_of(epsilons, deltas):
    """Tangents of g(TPR) = f(1 - TPR), with 0."""
    both = [(math.exp(-e), -d * math.exp(-e)) for e, d in zip(epsilons, deltas, strict=True)]
    both += [(math.exp(e), 1 - d - math.exp(e)) for e, d in zip(epsilons, deltas, strict=True)]
    return [(0.0, 0.0), *both]


@pytest.mark.parametrize(("m", "r", "v"), [(20, 20, 18), (30, 10, 10), (40, 25, 22)])
@pytest.mark.parametrize("kind", ["pure", "gaussian"])
def test_f_dp_refuses_what_no_distribution_allows(m, r, v, kind):
    epsilons = np.array([0.7]) if kind == "pure" else np.linspace(0, 6, 40)
    deltas = np.zeros(1) if kind == "pure" else gdp_delta(epsilons, 1.0)
    most = oracle.likeliest(m, r, v, lines_of(epsilons, deltas))
    curve = curve_of_deltas(epsilons, deltas)
    assert 0 < most < 0.5
    assert bool(one_run_refuses(Guesses(m, r, v), lambda tpr: curve(1 - tpr), 1 - most * 1.01))
    assert not bool(one_run_refuses(Guesses(m, r, v), lambda tpr: curve(1 - tpr), 1 - most * 0.99))


def chance_of_too_much(bound, m, q, epsilon, delta=DELTA):
    """The exact probability that m independent guesses, each right with q, give a bound above epsilon."""
    wrong = [v for v in range(m + 1) if bound(Guesses(m, m, v), delta).epsilon > epsilon + 1e-6]
    return float(binom.sf(min(wrong) - 1, m, q)) if wrong else 0.0


@pytest.mark.parametrize("epsilon", [0, 0.5, 1, 4])
def test_one_run_covers_randomised_response(epsilon):
    assert chance_of_too_much(one_run, 150, 1 / (1 + math.exp(-epsilon)), epsilon) <= 0.05


@pytest.mark.parametrize("epsilon", [0, 1, 4])
@pytest.mark.parametrize("delta", [1e-3, 1e-2])
def test_one_run_covers_what_leaks_a_canary_with_probability_delta(epsilon, delta):
    honest = (math.exp(epsilon) + delta) / (1 + math.exp(epsilon))
    assert chance_of_too_much(one_run, 150, honest, epsilon, delta) <= 0.05


@pytest.mark.parametrize("epsilon", [0, 0.5, 1, 4])
def test_one_run_gdp_covers_gaussians(epsilon):
    right = norm.cdf(float(gdp_mu(epsilon, DELTA)) / 2)
    assert chance_of_too_much(one_run_gdp, 100, right, epsilon) <= 0.05


@pytest.mark.parametrize("epsilon", [0.5, 1, 4])
def test_one_run_is_tight_on_randomised_response(epsilon):
    m = 10**6
    bound = one_run(Guesses(m, m, round(m / (1 + math.exp(-epsilon)))), 0.0)
    assert 0.98 * epsilon < bound.epsilon < epsilon


def test_f_dp_sees_more_of_a_gaussian_than_epsilon_delta_does():
    """A quarter of 4,000 canaries guessed, the clearest. Neither comes near 4: one run's canaries may move together."""
    mu, t = float(gdp_mu(4.0, DELTA)), 1.736
    share = norm.sf(t - mu) + norm.sf(t)
    guesses = Guesses(4000, 1000, round(1000 * norm.sf(t - mu) / share))
    plain, gaussian = one_run(guesses, DELTA).epsilon, one_run_gdp(guesses, DELTA).epsilon
    assert share == pytest.approx(0.25, abs=0.01)
    assert 1.2 < plain < 1.7 < 2 < gaussian < 4


def canaries(n=400, mu=0.0, seed=0, run=None):
    rng = stream(seed, "canaries")
    member = rng.random(n) < 0.5
    return Trials(rng.normal(size=n) + mu * member, member, run)


@pytest.mark.parametrize("guesses", ["split", "bonferroni", (100, 100)])
@pytest.mark.parametrize("gdp", [False, True])
def test_scores_that_know_nothing_give_zero_and_clear_ones_do_not(guesses, gdp):
    assert one_run_from_scores(canaries(), DELTA, guesses=guesses, gdp=gdp).epsilon == 0
    found = one_run_from_scores(canaries(mu=4.0), DELTA, guesses=guesses, gdp=gdp)
    assert found.epsilon > 1.5
    assert (found.unit, found.confidence, found.assumes) == ("canaries", 0.95, "gdp" if gdp else "none")
    assert found.n == (200 if guesses == "split" else 400)


def test_ties_never_know_the_order_of_the_file():
    """All scores equal and the members last: guessing by position would be right every time."""
    member = np.repeat([False, True], 200)
    tied = guess_by_rank(Trials(np.zeros(400), member), 100, 100)
    assert 60 < tied.correct < 140


def test_several_runs_may_be_pooled_if_their_coins_are_their_own():
    trials = canaries(400, mu=3.0, run=np.repeat(np.arange(10), 40))
    assert one_run_from_scores(trials, DELTA).epsilon > 1
    same = Trials(trials.scores, np.tile(trials.member[:40], 10), trials.run)
    with pytest.raises(BadInput, match="toss the coins anew"):
        one_run_from_scores(same, DELTA)


@pytest.mark.parametrize("numbers", [(10, 5, 6), (10, 11, 5), (0, 0, 0), (10, 5, -1)])
def test_guesses_that_cannot_be_are_refused(numbers):
    with pytest.raises(BadInput, match="is needed"):
        Guesses(*numbers)


def test_more_guesses_than_canaries_and_a_missing_delta_are_refused():
    with pytest.raises(BadInput, match="more guesses than canaries"):
        one_run_from_scores(canaries(), DELTA, guesses=(300, 300))
    with pytest.raises(ConfigError, match="no finite epsilon"):
        one_run_gdp(Guesses(10, 10, 10), 0.0)
