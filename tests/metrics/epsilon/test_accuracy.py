"""Bounds from right guesses: never too often above the truth, tighter than two rates, zero on null data."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from undertow.metrics.epsilon import (
    Counts,
    approximate_dp_curve,
    gaussian_curve,
    gdp,
    gdp_epsilon,
    gdp_mu,
    subsampled_gaussian_curve,
)
from undertow.metrics.epsilon.accuracy import accuracy_p_value, gdp_accuracy, most_right, refutes_by_accuracy
from undertow.rng import stream
from undertow.types import BadInput

DELTA, AUDITS = 1e-5, 1000


def counts_of(rng, members, others, tpr, fpr):
    tp, fp = rng.binomial(members, tpr), rng.binomial(others, fpr)
    return Counts(int(tp), members - int(tp), int(fp), others - int(fp))


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize(("members", "others"), [(100, 100), (60, 140)])
@pytest.mark.parametrize("fpr", [None, 0.2])  # the fair threshold, and one that is not
def test_the_bound_is_too_high_at_most_one_time_in_twenty(epsilon, members, others, fpr):
    rng, mu = stream(3, "coverage", str(epsilon), members, str(fpr)), float(gdp_mu(epsilon, DELTA)) if epsilon else 0.0
    rate = fpr or float(ndtr(-mu / 2))
    tpr = float(ndtr(ndtri(rate) + mu))
    games = [counts_of(rng, members, others, tpr, rate) for _ in range(AUDITS)]
    truth = float(gdp_epsilon(mu, DELTA)) if mu else 0.0
    by_right = {c.tp + c.tn: gdp_accuracy(c, DELTA).epsilon for c in {c.tp + c.tn: c for c in games}.values()}
    above = sum(by_right[c.tp + c.tn] > truth for c in games)
    assert above <= AUDITS * (0.05 + 2 * (0.05 * 0.95 / AUDITS) ** 0.5)


def test_null_data_gives_zero():
    assert gdp_accuracy(Counts(500, 500, 500, 500), DELTA).epsilon == 0
    assert gdp_accuracy(Counts(10, 990, 10, 990), DELTA).epsilon == 0


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 5.0, 8.0])
def test_it_is_tighter_than_two_rates_at_the_fair_threshold(epsilon):
    tp = round(1000 * float(ndtr(float(gdp_mu(epsilon, DELTA)) / 2)))
    counts = Counts(tp, 1000 - tp, 1000 - tp, tp)
    ours, theirs = gdp_accuracy(counts, DELTA), gdp(counts, DELTA)
    assert theirs.epsilon < ours.epsilon < epsilon
    assert (ours.assumes, ours.unit, ours.n) == ("gdp", "runs", 2000)


def test_at_even_odds_it_is_the_point_estimate():
    tp = round(100_000 * float(ndtr(0.8)))
    counts = Counts(tp, 100_000 - tp, 100_000 - tp, tp)
    assert gdp_accuracy(counts, DELTA, 0.5).epsilon == pytest.approx(float(gdp_epsilon(1.6, DELTA)), rel=1e-3)


def test_outside_its_assumption_it_is_wrong():
    """Randomised response at epsilon 1 is right 73 % of the time, as a Gaussian mechanism is at epsilon 5.8."""
    right = round(10_000 * np.e / (1 + np.e))
    counts = Counts(right, 10_000 - right, 10_000 - right, right)
    assert gdp_accuracy(counts, DELTA).epsilon > 5
    assert not refutes_by_accuracy(counts, approximate_dp_curve(1.0, 0.0)).refuted  # the claim itself stands


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.5, 0.3])
def test_the_most_right_guesses_are_bounded_from_above_and_closely(mu, share):
    t = np.linspace(-6, 9, 200_001)
    best = (share * ndtr(mu - t) + (1 - share) * ndtr(t)).max()
    assert best <= most_right(gaussian_curve(mu), share) < best + 1e-4


def test_a_claim_is_refuted_by_more_right_guesses_than_it_allows():
    curve = gaussian_curve(0.5)  # at most 59.9 % right
    assert not refutes_by_accuracy(Counts(599, 401, 401, 599), curve).refuted
    found = refutes_by_accuracy(Counts(640, 360, 360, 640), curve)
    assert found.refuted
    assert found.p_value < 1e-3


def test_the_p_value_falls_with_right_guesses_and_is_one_below_the_mean():
    p = [accuracy_p_value(Counts(k, 100 - k, 100 - k, k), 0.6) for k in range(50, 90)]
    assert p == sorted(p, reverse=True)
    assert p[0] == 1
    assert p[-1] < 1e-6


def test_trials_that_share_runs_need_a_word():
    with pytest.raises(BadInput, match="independent"):
        gdp_accuracy(Counts(60, 40, 40, 60, runs=10), DELTA)
    assert gdp_accuracy(Counts(60, 40, 40, 60, runs=10), DELTA, independent=True).unit == "independent trials"


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.0, 1.0, 1), (0.7, 0.5, 4), (0.6, 0.05, 200)])
def test_a_true_claim_of_subsampled_training_is_refuted_at_most_one_time_in_twenty(noise, rate, steps):
    """The bound `claimed-pld-accuracy` is above the truth only where the true curve itself is refused."""
    pytest.importorskip("dp_accounting")
    curve = subsampled_gaussian_curve(noise, rate, steps)
    rng, audits, runs = stream(4, "coverage", str(rate)), 1000, 200
    spread = noise * np.sqrt(steps)
    inside = rng.binomial(steps, rate, (audits, runs)) + spread * rng.normal(size=(audits, runs))
    outside = spread * rng.normal(size=(audits, runs))
    threshold, most = steps * rate / 2, most_right(curve, 0.5)
    tp, fp = (inside > threshold).sum(1), (outside > threshold).sum(1)
    refuted = [accuracy_p_value(Counts(t, runs - t, f, runs - f), most) <= 0.05 for t, f in zip(tp, fp, strict=True)]
    assert np.mean(refuted) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / audits)
