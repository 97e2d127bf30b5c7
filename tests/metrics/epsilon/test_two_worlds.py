"""Clopper-Pearson, GDP and joint-beta bounds: equal to their definitions, and right as often as they say."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm
from tests.oracles import epsilon as oracle

from undertow.metrics.binomial import above, below
from undertow.metrics.epsilon import (
    Counts,
    clopper_pearson,
    epsilon_of_rates,
    gdp,
    gdp_epsilon,
    gdp_mu,
    joint_beta,
    least_trials,
    mu_of_rates,
)
from undertow.rng import stream
from undertow.types import BadInput, ConfigError

DELTA = 1e-5
SOME = [(90, 10, 5, 95), (100, 0, 0, 100), (55, 45, 50, 50), (3, 97, 0, 100), (0, 20, 20, 0), (700, 300, 1, 499)]


@pytest.mark.parametrize("counts", SOME)
@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.1])
def test_clopper_pearson_is_the_definition(counts, delta):
    tp, fn, fp, tn = counts
    error = 0.025
    tpr, fpr = 1 - oracle.upper_rate(fn, tp + fn, error), oracle.upper_rate(fp, fp + tn, error)
    bound = clopper_pearson(Counts(*counts), delta, 0.95)
    assert bound.epsilon == pytest.approx(oracle.least_epsilon(tpr, fpr, delta), abs=1e-9)
    assert (bound.assumes, bound.unit, bound.n) == ("none", "runs", sum(counts))


@pytest.mark.parametrize("counts", SOME)
def test_gdp_is_the_definition(counts):
    tp, fn, fp, tn = counts
    tpr, fpr = 1 - oracle.upper_rate(fn, tp + fn, 0.025), oracle.upper_rate(fp, fp + tn, 0.025)
    mu = max(norm.ppf(tpr) - norm.ppf(fpr), 0.0) if tpr > 0 and fpr < 1 else 0.0
    found = gdp(Counts(*counts), DELTA).epsilon
    assert (oracle.gaussian_delta(found, mu) if mu else found) == pytest.approx(DELTA if mu else 0.0, rel=1e-3)


@pytest.mark.parametrize("counts", SOME)
@pytest.mark.parametrize("delta", [0.0, 0.05])
def test_joint_beta_is_a_quantile_of_the_posterior(counts, delta):
    expected = oracle.credible_epsilon(*counts, delta, 0.95, stream(0, "posterior"))
    bound = joint_beta(Counts(*counts), delta)
    assert bound.epsilon == pytest.approx(expected, abs=0.02)
    assert bound.bayesian


def violations(bound_of_rates, tpr, fpr, epsilon, n=60, error=0.05):
    """The exact probability, over both binomials, that the bound is above the truth."""
    hits = np.arange(n + 1)
    bounds = bound_of_rates(below(hits, n, error / 2)[:, None], above(hits, n, error / 2)[None])
    chance = binom.pmf(hits, n, tpr)[:, None] * binom.pmf(hits, n, fpr)[None]
    return float(chance[bounds > epsilon + 1e-9].sum())


@pytest.mark.parametrize("epsilon", [0, 0.5, 1, 4])
@pytest.mark.parametrize("delta", [0.0, 0.01])
def test_clopper_pearson_covers_leaky_randomised_response(epsilon, delta):
    honest = (math.exp(epsilon) + delta) / (1 + math.exp(epsilon))  # tight: TPR = e^epsilon FPR + delta
    assert violations(lambda t, f: epsilon_of_rates(t, f, delta), honest, 1 - honest, epsilon) <= 0.05


@pytest.mark.parametrize("epsilon", [0, 0.5, 1, 4])
@pytest.mark.parametrize("threshold", [-0.5, 0.5, 1.5])
def test_gdp_covers_gaussians(epsilon, threshold):
    mu = float(gdp_mu(epsilon, DELTA))
    tpr, fpr = norm.sf(threshold - mu), norm.sf(threshold)
    assert violations(lambda t, f: gdp_epsilon(mu_of_rates(t, f), DELTA), tpr, fpr, epsilon) <= 0.05


def test_an_uncovered_bound_would_be_seen():
    """The test of coverage can fail: the point estimate is above the truth about half the time."""
    hits = np.arange(61)
    wrong = epsilon_of_rates(hits[:, None] / 60, hits[None] / 60, 0.0)
    chance = binom.pmf(hits, 60, 0.73)[:, None] * binom.pmf(hits, 60, 0.27)[None]
    assert chance[wrong > 1].sum() > 0.3


@pytest.mark.parametrize("epsilon", [0.5, 1, 4])
def test_bounds_are_tight_with_many_trials(epsilon):
    n, honest = 10**8, 1 / (1 + math.exp(-epsilon))
    tp = round(n * honest)
    assert clopper_pearson(Counts(tp, n - tp, n - tp, tp), 0.0).epsilon == pytest.approx(epsilon, rel=0.01)
    assert joint_beta(Counts(tp, n - tp, n - tp, tp), 0.0).epsilon == pytest.approx(epsilon, rel=0.01)
    mu = float(gdp_mu(epsilon, DELTA))
    tp = round(n * norm.cdf(mu / 2))
    assert gdp(Counts(tp, n - tp, n - tp, tp), DELTA).epsilon == pytest.approx(epsilon, rel=0.01)


def test_sharp_edge_gdp_reads_randomised_response_at_1_as_5_6():
    """Outside its assumption the Gaussian bound is not a bound: epsilon 1 reads as 5.6 at delta 1e-5."""
    n, honest = 10**8, math.e / (1 + math.e)
    tp = round(n * honest)
    counts = Counts(tp, n - tp, n - tp, tp)
    assert gdp(counts, 1e-5).epsilon == pytest.approx(5.58, abs=0.01)
    assert gdp(counts, 1e-5).assumes == "gdp"
    assert clopper_pearson(counts, 1e-5).epsilon <= 1


def test_null_counts_give_zero():
    counts = Counts(30, 70, 30, 70)
    assert [bound(counts, DELTA).epsilon for bound in (clopper_pearson, gdp, joint_beta)] == [
        0,
        0,
        pytest.approx(0, abs=0.05),
    ]


def test_least_trials_is_the_least():
    n = least_trials(3.0, DELTA)
    assert clopper_pearson(Counts(n, 0, 0, n), DELTA).epsilon >= 3
    assert clopper_pearson(Counts(n - 1, 0, 0, n - 1), DELTA).epsilon < 3


@pytest.mark.parametrize("bound", [clopper_pearson, gdp, joint_beta])
def test_trials_that_share_a_run_are_refused_unless_vouched_for(bound):
    counts = Counts(90, 10, 5, 95, runs=10)
    with pytest.raises(BadInput, match="200 trials of 10 training runs are not independent"):
        bound(counts, DELTA)
    vouched = bound(counts, DELTA, independent=True)
    assert vouched.unit == "independent trials"
    assert vouched.epsilon == bound(Counts(90, 10, 5, 95), DELTA).epsilon


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"confidence": 95}, "did you mean 0.95"),
        ({"confidence": 1.0}, "fraction"),
        ({"confidence": math.nan}, "fraction"),
        ({"delta": 1.0}, "delta = 1"),
        ({"delta": -0.1}, "delta"),
        ({"delta": math.nan}, "delta"),
    ],
)
def test_confidence_and_delta_are_fractions(kwargs, message):
    given = {"delta": DELTA, "confidence": 0.95, **kwargs}
    with pytest.raises(ConfigError, match=message):
        clopper_pearson(Counts(1, 1, 1, 1), **given)


def test_gdp_needs_a_delta_and_counts_need_both_worlds():
    with pytest.raises(ConfigError, match="no finite epsilon"):
        gdp(Counts(1, 1, 1, 1), 0.0)
    with pytest.raises(BadInput, match="both are needed"):
        Counts(0, 0, 1, 1)
    with pytest.raises(BadInput, match="negative"):
        Counts(-1, 2, 1, 1)
