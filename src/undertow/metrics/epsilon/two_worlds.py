"""Bounds from two worlds: trials with the record and trials without it, each trial independent of the others.

(epsilon, delta)-DP says of every test that TPR <= e^epsilon FPR + delta and 1 - FPR <= e^epsilon FNR + delta. So a
lower bound of the TPR and an upper bound of the FPR give a lower bound of epsilon, twice.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betainc, betaincinv, ndtri

from undertow.metrics.binomial import above, below
from undertow.metrics.epsilon.bound import Bound, Counts, check, unit_of
from undertow.metrics.epsilon.trade_off import approximate_dp_curve, gdp_epsilon
from undertow.types import Array

FIXED = "fixed before the trials"
_POINTS = 1000  # of the posterior of the FPR


def epsilon_of_rates(tpr: Array | float, fpr: Array | float, delta: float) -> Array:
    """The least epsilon, >= 0, that allows these rates (TPR at least, FPR at most) at `delta`; broadcasts."""
    tpr, fpr = np.broadcast_arrays(np.asarray(tpr, float), np.asarray(fpr, float))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (
            np.log(np.maximum(tpr - delta, 0)) - np.log(fpr),
            np.log(np.maximum(1 - fpr - delta, 0)) - np.log1p(-tpr),
        )
    return np.asarray(np.maximum(np.fmax(*found), 0.0))


def clopper_pearson(
    counts: Counts, delta: float, confidence: float = 0.95, *, independent: bool = False, threshold_how: str = FIXED
) -> Bound:
    """Assumption-free bound from two exact binomial bounds, each wrong with half the error probability.

    Both directions of the test are read from the same two rates, so they cost no further error. Jagielski, Ullman and
    Oprea 2020 (arXiv:2006.07709). The threshold behind `counts` must not have seen these trials: `from_scores`.
    BadInput where trials share a run and `independent` is not set; ConfigError for a confidence or delta out of range.

    >>> round(clopper_pearson(Counts(tp=500, fn=0, fp=0, tn=500), 0.0, 0.99).epsilon, 2)
    4.54
    """
    check(confidence, delta)
    unit = unit_of(counts.n, counts.runs, independent)
    tpr, fpr = _rates(counts, (1 - confidence) / 2)
    epsilon = float(epsilon_of_rates(tpr, fpr, delta))
    return Bound("clopper-pearson", epsilon, confidence, "none", unit, counts.n, delta, threshold_how)


def gdp(
    counts: Counts, delta: float, confidence: float = 0.95, *, independent: bool = False, threshold_how: str = FIXED
) -> Bound:
    """Bound of a mechanism whose trade-off curve is Gaussian: mu from the two rates, then epsilon at `delta`.

    mu = Phi^-1(TPR) - Phi^-1(FPR) of the Clopper-Pearson bounds; Nasr et al. 2023 (arXiv:2302.07956). Of any other
    mechanism it can be far above the truth: randomised response at epsilon 1 reads as 5.6 at delta 1e-5.
    """
    check(confidence, delta, positive=True)
    unit = unit_of(counts.n, counts.runs, independent)
    tpr, fpr = _rates(counts, (1 - confidence) / 2)
    epsilon = float(gdp_epsilon(mu_of_rates(tpr, fpr), delta))
    return Bound("gdp", epsilon, confidence, "gdp", unit, counts.n, delta, threshold_how)


def mu_of_rates(tpr: Array | float, fpr: Array | float) -> Array:
    """The least mu, >= 0, whose Gaussian curve allows these rates; broadcasts. 0 where TPR is 0 or FPR is 1."""
    tpr, fpr = np.broadcast_arrays(np.asarray(tpr, float), np.asarray(fpr, float))
    useless = (tpr <= 0) | (fpr >= 1)
    found = ndtri(np.where(useless, 0.5, tpr)) - ndtri(np.where(useless, 0.5, fpr))
    return np.asarray(np.maximum(found, 0.0))


def joint_beta(
    counts: Counts, delta: float, confidence: float = 0.95, *, independent: bool = False, threshold_how: str = FIXED
) -> Bound:
    """Bayesian bound: the epsilon that the posterior of (FPR, FNR) exceeds with probability `confidence`.

    Zanella-Beguelin et al. 2023 (arXiv:2206.05199): Jeffreys priors Beta(1/2, 1/2), independent posteriors, and the
    mass of the privacy region of (epsilon, delta). A credible bound, and not a confidence bound: where both
    inequalities are tight, as in randomised response, its "95 %" was wrong in up to 19 % of simulated audits
    (benchmarks/epsilon_coverage.py). It never declares a violation. Only the direction higher = member is read.
    """
    check(confidence, delta)
    unit = unit_of(counts.n, counts.runs, independent)
    epsilon = _credible(counts, delta, confidence, 0.0)
    return Bound("joint-beta", epsilon, confidence, "none", unit, counts.n, delta, threshold_how, bayesian=True)


def joint_betas(counts: Sequence[Counts], delta: float, confidence: float) -> Array:
    """The epsilons of `joint_beta` of many counts (K,), exact where largest: those that are surely smaller are 0."""
    found = np.zeros(len(counts))
    rough = [float(epsilon_of_rates(*_rates(c, (1 - confidence) / 2), delta)) for c in counts]
    for i in np.argsort(rough)[::-1]:  # likely the largest first
        found[i] = _credible(counts[i], delta, confidence, float(found.max()))
    return found


def _credible(counts: Counts, delta: float, confidence: float, least: float) -> float:
    """The credible bound; 0 where it is below `least`, which one look tells."""
    fpr = betaincinv(counts.fp + 0.5, counts.tn + 0.5, (np.arange(_POINTS) + 0.5) / _POINTS)  # its posterior
    if least > 0 and _allowed(counts, fpr, least, delta) >= 1 - confidence:
        return 0.0
    low, high = -1e-6, 1.0
    while _allowed(counts, fpr, high, delta) < 1 - confidence and high < 64:
        low, high = high, 2 * high
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if _allowed(counts, fpr, middle, delta) < 1 - confidence else (low, middle)
    return max(low, 0.0)


def _allowed(counts: Counts, fpr: Array, epsilon: float, delta: float) -> float:
    """Posterior probability that (FPR, FNR) are allowed; a midpoint rule over the quantiles `fpr` of the FPR."""
    least = np.minimum(approximate_dp_curve(epsilon, delta)(fpr), 1.0)
    return float(1 - np.mean(betainc(counts.fn + 0.5, counts.tp + 0.5, least)))


def _rates(counts: Counts, error: float) -> tuple[float, float]:
    """TPR at least, FPR at most; each wrong with probability at most `error`."""
    return float(below(counts.tp, counts.members, error)), float(above(counts.fp, counts.non_members, error))


def least_trials(epsilon: float, delta: float, confidence: float = 0.95) -> int:
    """Trials per world that a perfect test needs before `clopper_pearson` can reach `epsilon`; for planning.

    >>> least_trials(4.54, 0.0, 0.99)
    500
    """
    check(confidence, delta)
    error = (1 - confidence) / 2
    n = math.ceil(-math.log(error) * math.exp(epsilon) / 2)
    while float(epsilon_of_rates(below(n, n, error), above(0, n, error), delta)) < epsilon:
        n = math.ceil(n * 1.001) + 1 if n > 1000 else n + 1
    return n
