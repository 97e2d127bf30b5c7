"""Bounds from the number of right guesses: one binomial instead of two, so all the error goes into one bound.

Under a trade-off curve f a test is right with probability at most a(f) = max over FPR of w (1 - f(FPR)) + (1 - w)
(1 - FPR), w the share of trials with the record; of a mu-GDP mechanism and w = 1/2 that is Phi(mu / 2). Right guesses
of independent trials are a sum of coins of two kinds; above its mean such a sum is stochastically at most a binomial
of the same mean (Hoeffding 1956, Theorem 4), so P(at least k right) <= P(Binomial(n, a) >= k) for k >= n a + 1.
"""

from functools import lru_cache

import numpy as np
from scipy.special import betainc, ndtr

from undertow.metrics.epsilon.bound import Bound, Counts, check, unit_of
from undertow.metrics.epsilon.claim import Refutation
from undertow.metrics.epsilon.trade_off import Curve, gdp_epsilon
from undertow.metrics.epsilon.two_worlds import FIXED
from undertow.types import Array

_RATES = np.unique(np.concatenate([np.geomspace(1e-9, 1e-3, 2000), np.linspace(0, 1, 20001)]))


def gdp_accuracy(
    counts: Counts, delta: float, confidence: float = 0.95, *, independent: bool = False, threshold_how: str = FIXED
) -> Bound:
    """Bound of a mechanism whose trade-off curve is Gaussian, from the right guesses alone.

    Tighter than `gdp` where the threshold is the fair one, midway between the worlds; it means as little for any
    other mechanism. BadInput where trials share a run and `independent` is not set.
    """
    check(confidence, delta, positive=True)
    unit = unit_of(counts.n, counts.runs, independent)
    low, high = 0.0, 64.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        refused = accuracy_p_value(counts, _gaussian_accuracy(middle, counts.members / counts.n)) <= 1 - confidence
        low, high = (middle, high) if refused else (low, middle)
    epsilon = float(gdp_epsilon(low, delta)) if low > 0 else 0.0
    return Bound("gdp-accuracy", epsilon, confidence, "gdp", unit, counts.n, delta, threshold_how)


def refutes_by_accuracy(
    counts: Counts, curve: Curve, confidence: float = 0.95, *, independent: bool = False, against: str = "curve"
) -> Refutation:
    """Whether so many right guesses are impossible under a claimed trade-off `curve`; nothing else is assumed.

    The threshold must not have seen these trials. Its `tpr` and `fpr` are as observed.
    """
    check(confidence, 0.0)
    unit = unit_of(counts.n, counts.runs, independent)
    p = accuracy_p_value(counts, most_right(curve, counts.members / counts.n))
    tpr, fpr = counts.tp / counts.members, counts.fp / counts.non_members
    return Refutation(p <= 1 - confidence, p, confidence, tpr, fpr, against, unit, counts.n)


def accuracy_p_value(counts: Counts, most: float) -> float:
    """Largest probability of so many right guesses if each kind is right often enough for a share `most` overall."""
    right = counts.tp + counts.tn
    if right < counts.n * most + 1:
        return 1.0
    return float(betainc(right, counts.n - right + 1, most))  # P(Binomial(n, most) >= right)


@lru_cache(maxsize=1024)  # curves are asked for again and again, by every number of right guesses
def most_right(curve: Curve, members: float = 0.5) -> float:
    """An upper bound (by less than 1e-4) of the share of right guesses under a curve; `members`: share of trials."""
    fnr: Array = np.asarray(curve(_RATES), float)
    upper = members * (1 - fnr[1:]) + (1 - members) * (1 - _RATES[:-1])  # the curve falls: each interval's best corner
    return float(min(max(upper.max(), members, 1 - members), 1.0))


def _gaussian_accuracy(mu: float, members: float) -> float:
    if mu == 0:
        return max(members, 1 - members)
    middle = mu / 2 + np.log((1 - members) / members) / mu
    return float(members * ndtr(mu - middle) + (1 - members) * ndtr(middle))
