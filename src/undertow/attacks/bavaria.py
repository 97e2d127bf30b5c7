"""A likelihood ratio with a prior on the variance: as good as the better LiRA at any number of models."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, digamma, polygamma

from undertow.attacks.moments import Moments, moments, require
from undertow.types import Array, Signals


@dataclass(frozen=True)
class Prior:
    """Variance ~ scaled inverse chi-squared: `freedom` d0 (may be infinite) and `variance` s0^2."""

    freedom: float
    variance: float


def bavaria(shadow: Signals, target: Array) -> Array:
    """Log-ratio of the predictive densities of IN and OUT, (T, Q) from `target` (T, Q); higher = member.

    After BaVarIA (arXiv:2603.11799), of which only the abstract was read: normal-inverse-gamma prior on the
    variance, Student-t score. Derived here, per point and side, from n values with mean m and sample variance
    s^2, nu = n - 1:

        x_i ~ N(mu, v),   p(mu) flat,   v ~ scaled inverse chi-squared(d0, s0^2)
        v | data  ~ scaled inverse chi-squared(d0 + nu, w),   w = (d0 s0^2 + nu s^2) / (d0 + nu)
        x | data  ~ m + sqrt(w (1 + 1/n)) t_{d0 + nu}

    (d0, s0^2) are fitted to the s^2 of all points (`fit_prior`). It has LiRA at both ends: d0 = 0 is the
    per-example variance, d0 = infinity the pooled one, each with the heavier tail its sample size deserves.
    BadInput below 2 models on a side.
    """
    require(shadow.member)
    inside, outside = (moments(shadow.values, side) for side in (shadow.member, ~shadow.member))
    return log_predictive(target, inside, fit_prior(inside)) - log_predictive(target, outside, fit_prior(outside))


def log_predictive(x: Array, side: Moments, prior: Prior) -> Array:
    """Log-density (T, Q) of the posterior predictive of one side at x (T, Q)."""
    d0, nu = prior.freedom, side.count - 1
    variance = prior.variance if np.isinf(d0) else (d0 * prior.variance + nu * side.variance) / (d0 + nu)
    scale = variance * (1 + 1 / side.count)
    return _log_student(np.square(x - side.mean) / scale, d0 + nu) - np.log(scale) / 2


def fit_prior(side: Moments) -> Prior:
    """(d0, s0^2) that explain the spread of the sample variances over points, by moments of their logarithms.

    Under the model s^2 / s0^2 is F(nu, d0), so e = log s^2 - digamma(nu/2) + log(nu/2) has
    mean log s0^2 - digamma(d0/2) + log(d0/2) and variance trigamma(nu/2) + trigamma(d0/2) (Smyth 2004).
    No spread beyond trigamma(nu/2): d0 is infinite and s0^2 the pooled variance.
    """
    half = (side.count - 1) / 2
    e = np.log(side.variance) - digamma(half) + np.log(half)
    excess = float(e.var(ddof=1) - polygamma(1, half).mean()) if len(e) > 1 else 0.0
    if excess <= 0:
        return Prior(np.inf, side.pooled)
    d0 = 2 * inverse_trigamma(excess)
    return Prior(d0, float(np.exp(e.mean() + digamma(d0 / 2) - np.log(d0 / 2))))


def inverse_trigamma(y: float) -> float:
    """x > 0 with trigamma(x) = y > 0, by Newton on 1 / trigamma, which is nearly linear (Smyth 2004)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        value = float(polygamma(1, x))
        step = value * (1 - value / y) / float(polygamma(2, x))
        x += step
        if abs(step) <= 1e-12 * x:
            break
    return x


def _log_student(squared: Array, freedom: Array) -> Array:
    """Log-density of Student's t at sqrt(squared); of the normal where the freedom is infinite."""
    result: Array
    if np.isinf(freedom).any():
        result = -(squared + np.log(2 * np.pi)) / 2
    else:
        tail = (freedom + 1) / 2 * np.log1p(squared / freedom)
        result = -np.log(freedom) / 2 - betaln(freedom / 2, 0.5) - tail
    return result
