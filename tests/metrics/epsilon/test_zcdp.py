"""zCDP as epsilon and as a curve: the best order, and what it must allow."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from undertow.metrics.epsilon import gaussian_curve, gdp_delta, gdp_epsilon, zcdp_curve, zcdp_delta, zcdp_epsilon
from undertow.types import ConfigError


@pytest.mark.parametrize(("rho", "delta"), [(0.5, 1e-5), (0.1, 1e-6), (5.0, 1e-9), (1e-3, 1e-5)])
def test_epsilon_takes_the_best_order(rho, delta):
    def of(t):
        a = 1 + np.exp(t)
        return a * rho + (-np.log(delta) + a * np.log1p(-1 / a) - np.log(a - 1)) / (a - 1)

    best = minimize_scalar(of, bounds=(-7, 12), method="bounded", options={"xatol": 1e-10}).fun
    assert best <= zcdp_epsilon(rho, delta) <= best * (1 + 1e-4)
    assert zcdp_epsilon(rho, delta) < rho + 2 * np.sqrt(rho * np.log(1 / delta))  # Bun and Steinke 2016, Prop. 1.3
    assert float(zcdp_delta(zcdp_epsilon(rho, delta), rho)) == pytest.approx(delta, rel=1e-3)


@pytest.mark.parametrize("rho", [0.02, 0.5, 4.0])
def test_a_gaussian_of_this_rho_is_allowed(rho):
    """N(0, 1) against N(mu, 1) is exactly mu^2 / 2-zCDP."""
    mu, epsilons, fpr = (2 * rho) ** 0.5, np.linspace(0, 20, 60), np.linspace(0.001, 0.999, 99)
    assert (zcdp_delta(epsilons, rho) >= gdp_delta(epsilons, mu)).all()
    assert (zcdp_curve(rho)(fpr) <= gaussian_curve(mu)(fpr) + 1e-12).all()
    assert zcdp_epsilon(rho, 1e-5) < 1.35 * float(gdp_epsilon(mu, 1e-5))  # and the price of the conversion is small


def test_what_is_no_claim_is_refused():
    for call in (lambda: zcdp_epsilon(-1.0, 1e-5), lambda: zcdp_epsilon(1.0, 0.0), lambda: zcdp_delta(1.0, np.inf)):
        with pytest.raises(ConfigError):
            call()
