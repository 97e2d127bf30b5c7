"""Trade-off curves and the two directions between epsilon and mu."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from tests.oracles import epsilon as oracle

from undertow.metrics.epsilon import (
    approximate_dp_curve,
    curve_of_deltas,
    gaussian_curve,
    gdp_delta,
    gdp_epsilon,
    gdp_mu,
    subsampled_gaussian_curve,
    subsampled_gaussian_epsilon,
    subsampled_gaussian_family,
)
from undertow.types import ConfigError

FPR = np.array([0, 1e-6, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.9, 1.0])


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 4.0])
def test_delta_of_a_gaussian_is_the_integral(mu, epsilon):
    assert float(gdp_delta(epsilon, mu)) == pytest.approx(oracle.gaussian_delta(epsilon, mu), abs=1e-8)


@pytest.mark.parametrize("delta", [1e-10, 1e-5, 0.1])
def test_epsilon_mu_and_delta_are_inverses(delta):
    epsilon = np.array([0.01, 0.5, 4.0, 30.0])
    mu = gdp_mu(epsilon, delta)
    assert gdp_epsilon(mu, delta) == pytest.approx(epsilon, rel=1e-9)
    assert gdp_delta(epsilon, mu) == pytest.approx(delta, rel=1e-6)
    assert (gdp_epsilon(0.0, delta), gdp_delta(1.0, 0.0)) == (0, 0)


def test_a_curve_of_deltas_is_the_definition():
    f = approximate_dp_curve(1.0, 0.05)(FPR)
    e = math.e
    expected = [max(0, 1 - 0.05 - e * x, (1 - 0.05 - x) / e) for x in FPR]
    assert f == pytest.approx(expected, abs=1e-12)


def test_many_deltas_of_a_gaussian_make_its_curve_from_below():
    epsilons = np.linspace(0, 12, 4000)
    f, g = curve_of_deltas(epsilons, gdp_delta(epsilons, 1.5))(FPR), gaussian_curve(1.5)(FPR)
    assert (f <= g + 1e-12).all()
    assert f == pytest.approx(g, abs=1e-4)
    assert g[4] == pytest.approx(norm.cdf(norm.isf(0.1) - 1.5))


def test_the_pld_of_one_plain_gaussian_step_is_the_gaussian_curve():
    pytest.importorskip("dp_accounting")
    f, g = subsampled_gaussian_curve(0.8, 1.0, 1)(FPR), gaussian_curve(1 / 0.8)(FPR)
    assert (f <= g + 1e-9).all()
    assert f == pytest.approx(g, abs=5e-3)


def test_a_family_grows_in_epsilon_and_falls_in_its_curves():
    pytest.importorskip("dp_accounting")
    family = subsampled_gaussian_family(0.1, 20, 1e-5, np.array([0.8, 3.0, 1.5]))
    epsilons = [epsilon for epsilon, _ in family]
    assert epsilons == sorted(epsilons)
    assert epsilons[0] == pytest.approx(subsampled_gaussian_epsilon(3.0, 0.1, 20, 1e-5))
    assert (family[0][1](FPR) >= family[1][1](FPR)).all()
    assert (family[1][1](FPR) >= family[2][1](FPR)).all()


def test_training_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="rate = 2"):
        subsampled_gaussian_curve(1.0, 2.0, 1)
