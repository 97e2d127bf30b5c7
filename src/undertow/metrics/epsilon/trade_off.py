"""Trade-off curves: the least false negative rate at each false positive rate; and epsilon of a Gaussian.

A curve f maps FPR to the least FNR that any test between "with the record" and "without" can have (Dong, Roth and Su
2022, arXiv:1905.02383). Ours are symmetric: they hold whichever of the two worlds is called positive.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from undertow.metrics.epsilon.bound import check_number, check_whole
from undertow.metrics.epsilon.loss import subsampled_deltas, subsampled_epsilon
from undertow.types import Array

Curve = Callable[[Array], Array]
_MOST = 700.0  # e^it is a number; a claim this large allows every rate that is one
_STEPS = 80  # of bisection: below rounding for brackets of our size
_GRID = np.concatenate([np.linspace(0, 1, 100, endpoint=False), np.geomspace(1, 60, 200)])  # epsilons of a PLD curve


def gdp_delta(epsilon: Array | float, mu: Array | float) -> Array:
    """The delta at which a mu-GDP mechanism is (epsilon, delta)-DP; broadcasts. 0 at mu = 0.

    Dong, Roth and Su 2022, Corollary 2.13 (as cited by jax_privacy's auditing.py); Balle and Wang 2018.
    """
    epsilon, mu = np.broadcast_arrays(np.asarray(epsilon, float), np.asarray(mu, float))
    safe = np.where(mu > 0, mu, 1.0)
    upper = log_ndtr(-epsilon / safe + safe / 2)
    lower = epsilon + log_ndtr(-epsilon / safe - safe / 2)
    gap = np.minimum(lower - upper, 0.0)  # of logarithms; 0 only by rounding
    return np.asarray(np.where(mu > 0, np.exp(upper) * -np.expm1(gap), 0.0))


def gdp_epsilon(mu: Array | float, delta: Array | float) -> Array:
    """The epsilon of a mu-GDP mechanism at `delta` in (0, 1); broadcasts; within rounding, by bisection.

    delta < Phi(-epsilon / mu + mu / 2), so epsilon < mu^2 / 2 - mu Phi^-1(delta): the bracket.
    """
    mu, delta = np.broadcast_arrays(np.asarray(mu, float), np.asarray(delta, float))
    low, high = np.zeros(mu.shape), np.maximum(mu**2 / 2 - mu * ndtri(delta), 0.0)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if ((middle == low) | (middle == high)).all():
            break
        leaks = gdp_delta(middle, mu) > delta
        low, high = np.where(leaks, middle, low), np.where(leaks, high, middle)
    return np.asarray(high)


def gdp_mu(epsilon: Array | float, delta: Array | float) -> Array:
    """The largest mu whose Gaussian mechanism is (epsilon, delta)-DP, delta in (0, 1); broadcasts."""
    epsilon, delta = np.broadcast_arrays(np.asarray(epsilon, float), np.asarray(delta, float))
    low, high = np.zeros(epsilon.shape), np.sqrt(2 * epsilon) + 40.0  # delta is 1 to rounding there
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if ((middle == low) | (middle == high)).all():
            break
        fits = gdp_delta(epsilon, middle) <= delta
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return np.asarray(low)


def approximate_dp_curve(epsilon: float, delta: float) -> Curve:
    """f of (epsilon, delta)-DP: two straight lines (Wasserman and Zhou 2010; Kairouz et al. 2015)."""
    return curve_of_deltas(np.array([epsilon]), np.array([delta]))


def gaussian_curve(mu: float) -> Curve:
    """f of a Gaussian of sensitivity mu and unit noise: Phi(Phi^-1(1 - FPR) - mu)."""
    return lambda fpr: ndtr(-ndtri(np.asarray(fpr, float)) - mu)


def curve_of_deltas(epsilons: Array, deltas: Array) -> Curve:
    """f of a mechanism that is (epsilons[i], deltas[i])-DP for every i: the largest of their curves.

    Fewer pairs, or deltas rounded up, give a smaller f: it errs to the side of the mechanism.
    """
    odds = np.exp(np.minimum(np.asarray(epsilons, float), _MOST))
    gap = 1 - np.asarray(deltas, float)
    slopes = np.concatenate([-odds, -1 / odds, [0.0]])
    heights = np.concatenate([gap, gap / odds, [0.0]])
    slopes, heights, corners = _upper_envelope(slopes, heights)

    def f(fpr: Array) -> Array:
        x = np.asarray(fpr, float)
        line = np.searchsorted(corners, x)
        return np.asarray(heights[line] + slopes[line] * x)

    return f


def _upper_envelope(slopes: Array, heights: Array) -> tuple[Array, Array, Array]:
    """The lines that are the largest somewhere, by growing slope (K,), and where each meets the next (K - 1,)."""
    order = np.lexsort((heights, slopes))
    kept: list[int] = []
    corners: list[float] = []
    for i in order.tolist():
        if kept and slopes[kept[-1]] == slopes[i]:
            kept.pop()
            corners = corners[: max(len(kept) - 1, 0)]
        while kept:
            corner = float((heights[kept[-1]] - heights[i]) / (slopes[i] - slopes[kept[-1]]))
            if not corners or corner > corners[-1]:
                corners.append(corner)
                break
            kept.pop()
            corners.pop()
        kept.append(i)
    return slopes[kept], heights[kept], np.array(corners)


def subsampled_gaussian_curve(noise: float, rate: float, steps: int) -> Curve:
    """f of `steps` Poisson-subsampled Gaussian steps, from their privacy losses (the deltas are upper bounds).

    noise: deviation over the clipping norm. The unit is one record added or removed.
    """
    _check(noise, rate, steps)
    return curve_of_deltas(_GRID, subsampled_deltas(noise, rate, steps, _GRID))


def subsampled_gaussian_epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon that the PLD accountant claims for such training."""
    _check(noise, rate, steps)
    return subsampled_epsilon(noise, rate, steps, delta)


def subsampled_gaussian_family(rate: float, steps: int, delta: float, noises: Array) -> list[tuple[float, Curve]]:
    """(epsilon at `delta`, curve) for each noise multiplier, by growing epsilon; milliseconds each."""
    return [
        (
            subsampled_gaussian_epsilon(float(noise), rate, steps, delta),
            subsampled_gaussian_curve(float(noise), rate, steps),
        )
        for noise in np.sort(np.asarray(noises, float))[::-1]
    ]


def _check(noise: float, rate: float, steps: int) -> None:
    check_number("noise", noise, 0, np.inf)
    check_number("rate", rate, 0, 1, "(]", "0.05")
    check_whole("steps", steps)
