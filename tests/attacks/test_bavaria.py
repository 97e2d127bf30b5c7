import numpy as np
import pytest
from scipy.special import polygamma
from scipy.stats import norm
from scipy.stats import t as student
from tests.oracles.auc import auc
from tests.oracles.bavaria import predictive

from undertow.attacks.bavaria import Prior, bavaria, fit_prior, inverse_trigamma, log_predictive
from undertow.attacks.lira import lira
from undertow.attacks.moments import moments
from undertow.rng import stream
from undertow.types import BadInput, Signals


def drawn(freedom, variance, models, points, seed=0, leak=0.0):
    """Signals from the prior itself, half of the models IN, and two targets with their truth."""
    rng = stream(seed, "drawn", models, points)
    scale = np.sqrt(freedom * variance / rng.chisquare(freedom, points)) if np.isfinite(freedom) else np.sqrt(variance)
    member = np.argsort(np.argsort(rng.random((models, points)), 0), 0) < models // 2
    truth = rng.random((2, points)) < 0.5
    values, target = (scale * (rng.normal(size=m.shape) + leak * m) for m in (member, truth))
    return Signals(values, member), target, truth


def test_predictive_density_is_the_integral_over_the_unknown_variance():
    rng = stream(1, "test")
    for n, d0, variance, x in ((2, 3.0, 0.5, 1.2), (5, 8.0, 2.0, -3.0), (16, 1.5, 1.0, 0.3)):
        values = rng.normal(size=n)
        side = moments(values[:, None], np.ones((n, 1), bool))
        ours = log_predictive(np.array([[x]]), side, Prior(d0, variance))[0, 0]
        np.testing.assert_allclose(ours, predictive(x, values, d0, variance), atol=1e-8)


def test_score_is_the_ratio_of_the_two_integrals():
    shadow, target, _ = drawn(5.0, 1.0, 8, 12)
    priors = [fit_prior(moments(shadow.values, side)) for side in (shadow.member, ~shadow.member)]
    assert all(np.isfinite(prior.freedom) for prior in priors)
    scores = bavaria(shadow, target)
    for q in range(3):
        sides = [shadow.values[side[:, q], q] for side in (shadow.member, ~shadow.member)]
        log_p = [predictive(target[0, q], v, p.freedom, p.variance) for v, p in zip(sides, priors)]
        np.testing.assert_allclose(scores[0, q], log_p[0] - log_p[1], atol=1e-8)


@pytest.mark.parametrize("freedom", [3.0, 10.0])
@pytest.mark.parametrize("models", [8, 64])
def test_recovers_the_prior(freedom, models):
    shadow, _, _ = drawn(freedom, 2.5, models, 20_000)
    prior = fit_prior(moments(shadow.values, shadow.member))
    assert prior.freedom == pytest.approx(freedom, rel=0.15)
    assert prior.variance == pytest.approx(2.5, rel=0.05)


def test_equal_variances_give_the_pooled_end():
    """d0 is infinite where the spread is no more than chance, so in about half of the draws; else large."""
    freedom = []
    for seed in range(20):
        shadow, _, _ = drawn(np.inf, 2.5, 16, 500, seed)
        side = moments(shadow.values, shadow.member)
        prior = fit_prior(side)
        freedom.append(prior.freedom)
        assert prior.variance == pytest.approx(side.pooled, rel=0.05)
    assert 4 <= np.isinf(freedom).sum() <= 16
    assert min(freedom) > 30


def test_has_lira_at_both_ends():
    shadow, target, _ = drawn(5.0, 1.0, 64, 30)
    side = moments(shadow.values, shadow.member)
    wider = 1 + 1 / side.count
    pooled = norm.logpdf(target, side.mean, np.sqrt(side.pooled * wider))
    np.testing.assert_allclose(log_predictive(target, side, Prior(np.inf, side.pooled)), pooled, atol=1e-10)
    nearly = log_predictive(target, side, Prior(1e9, side.pooled))
    np.testing.assert_allclose(nearly, pooled, atol=1e-5)
    own = student.logpdf(target, side.count - 1, side.mean, np.sqrt(side.variance * wider))
    np.testing.assert_allclose(log_predictive(target, side, Prior(1e-9, 1.0)), own, atol=1e-6)
    assert np.corrcoef(bavaria(shadow, target).ravel(), lira(shadow, target, "example").ravel())[0, 1] > 0.9


@pytest.mark.parametrize("y", [1e-9, 1e-3, 0.1, 1.0, 30.0, 1e6])
def test_inverse_trigamma(y):
    assert float(polygamma(1, inverse_trigamma(y))) == pytest.approx(y, rel=1e-9)


@pytest.mark.parametrize("models", [6, 64])
def test_is_blind_when_nothing_leaks(models):
    """The AUC of 2 x 2000 scores that know nothing has a standard error of .0091; 4 of them."""
    shadow, target, truth = drawn(3.0, 1.0, models, 2000)
    assert abs(auc(bavaria(shadow, target), truth) - 0.5) < 0.037


@pytest.mark.parametrize("models", [6, 16, 64])
@pytest.mark.parametrize("freedom", [3.0, np.inf])
def test_sees_a_planted_leak_as_well_as_the_better_lira(models, freedom):
    shadow, target, truth = drawn(freedom, 1.0, models, 4000, leak=1.5)
    found = auc(bavaria(shadow, target), truth)
    example, pooled = (auc(lira(shadow, target, variance), truth) for variance in ("example", "pooled"))
    assert found > 0.75
    assert found > max(example, pooled) - 0.005
    assert found > min(example, pooled) + 0.002


def test_constant_signals_and_a_single_point_stay_finite():
    member = np.arange(8)[:, None] % 2 == np.zeros((1, 3), int)
    values = np.full((8, 3), 7.0)
    values[:, 0] = np.arange(8)
    assert np.isfinite(bavaria(Signals(values, member), np.array([[7.0, 8.0, -100.0]]))).all()
    assert np.isfinite(bavaria(Signals(values[:, :1], member[:, :1]), np.array([[7.0]]))).all()


def test_too_few_models():
    with pytest.raises(BadInput, match="point 0 is IN 1"):
        bavaria(Signals(np.zeros((4, 2)), np.arange(4)[:, None] < np.ones((1, 2))), np.zeros((1, 2)))
