"""Zero-concentrated differential privacy as (epsilon, delta) and as a trade-off curve.

rho-zCDP bounds every Renyi divergence: E[e^((a-1) Z)] <= e^((a-1) a rho) for the privacy loss Z of one world against
the other, all orders a > 1, both directions (Bun and Steinke 2016, arXiv:1605.02065). Delta at epsilon is
E[(1 - e^(epsilon - Z))+]. With u = e^(epsilon - z), (1 - u)+ <= c e^((a-1) z) holds for every z from
c = max_u (1 - u) u^(a-1) e^(-(a-1) epsilon) on, which is at u = (a-1) / a. So, for every order a,

    delta <= e^((a-1)(a rho - epsilon)) (1 - 1/a)^a / (a - 1),

and the conversion takes the best order (Canonne, Kamath and Steinke 2020, arXiv:2004.00010, Proposition 12).
"""

import numpy as np

from undertow.metrics.epsilon.trade_off import _GRID, Curve, curve_of_deltas
from undertow.types import Array, ConfigError

_ORDERS = 1 + np.exp(
    np.linspace(-7, 12, 4000)
)  # any order gives a valid delta; the best of these is 1e-5 above the best of all


def zcdp_delta(epsilon: Array | float, rho: float) -> Array:
    """The delta at which a rho-zCDP mechanism is (epsilon, delta)-DP; the shape of `epsilon`."""
    _check(rho)
    each = np.asarray(epsilon, float)[..., None]
    with np.errstate(over="ignore"):  # a rho so large promises nothing: infinite exponents, delta 1
        logs = (_ORDERS - 1) * (_ORDERS * rho - each) + _shape()
    return np.asarray(np.exp(np.minimum(logs.min(-1), 0.0)))


def zcdp_epsilon(rho: float, delta: float) -> float:
    """The epsilon of a rho-zCDP mechanism at `delta` in (0, 1).

    >>> round(zcdp_epsilon(0.5, 1e-5), 3)
    4.728
    """
    _check(rho)
    if not 0 < delta < 1:
        raise ConfigError(f"delta = {delta:g}: zCDP has a finite epsilon for delta between 0 and 1 only")
    return float(max((_ORDERS * rho + (_shape() - np.log(delta)) / (_ORDERS - 1)).min(), 0.0))


def zcdp_curve(rho: float) -> Curve:
    """A trade-off curve that every rho-zCDP mechanism stays above."""
    return curve_of_deltas(_GRID, zcdp_delta(_GRID, rho))


def _shape() -> Array:
    return np.asarray(_ORDERS * np.log1p(-1 / _ORDERS) - np.log(_ORDERS - 1))


def _check(rho: float) -> None:
    if not 0 <= rho < np.inf:
        raise ConfigError(f"rho = {rho:g}: zCDP has a finite rho that is not negative")
