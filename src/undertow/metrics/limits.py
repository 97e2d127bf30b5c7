"""Confidence limits from a value, its standard error and its degrees of freedom, at any level."""

from dataclasses import replace

import numpy as np
from scipy.special import expit, logit, ndtri, stdtrit

from undertow.metrics.binomial import above, below
from undertow.types import Measurement

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2


def _student(tail: float, df: float) -> float:
    """Student's t beyond which lies a share `tail`; the special function is a hundred times faster than scipy.stats."""
    return -float(stdtrit(df, tail))


def shift_interval(value: float, error: float, df: float, tail: float = TAIL) -> tuple[float, float]:
    """Student's t interval on the value's own scale: differences."""
    reach = _student(tail, df) * error
    return value - reach, value + reach


def logit_interval(value: float, error: float, df: float, trials: float, tail: float = TAIL) -> tuple[float, float]:
    """Student's t interval on the logit scale: AUC, balanced accuracy.

    At 0 or 1, or without any spread, the error says nothing: Clopper and Pearson's for `trials` independent trials.
    """
    if not 0 < value < 1 or error <= 0:
        return binomial_interval(value, trials, tail)
    reach = _student(tail, df) * error / (value * (1 - value))
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))


def rate_interval(value: float, error: float, df: float, trials: float, tail: float = TAIL) -> tuple[float, float]:
    """Korn and Graubard's interval of a rare rate (Survey Methodology 1998): TPR at a low FPR.

    Clopper and Pearson's at the effective number of trials, value (1 - value) / error^2, which is made smaller by
    the squared ratio of the normal to Student's quantile: the error itself is an estimate. At 0 or 1, or without any
    spread, `trials` takes its place.
    """
    if not 0 < value < 1 or error <= 0:
        return binomial_interval(value, trials, tail)
    shrink = (float(ndtri(tail)) / -_student(tail, df)) ** 2
    return binomial_interval(value, value * (1 - value) / error**2 * shrink, tail)


def binomial_interval(value: float, trials: float, tail: float = TAIL) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share of `trials`, which need not be whole."""
    trials = max(trials, 1.0)
    hits = value * trials
    return float(below(hits, trials, tail)), float(above(hits, trials, tail))


def lower_limit(m: Measurement, choices: int) -> float:
    """Lower 97.5 % limit of `m` when it was picked as the best of `choices` (Bonferroni); 0 where there is none.

    Conservative where the choices agree with each other.

    >>> m = Measurement("lira", "auc", 0.7, 0.65, 0.746, 16, "models", error=0.0235, df=15.0)
    >>> round(lower_limit(m, 1), 3), round(lower_limit(m, 10), 3)
    (0.648, 0.618)
    """
    return _at(m, choices)[0] if m.value is not None and m.low is not None else 0.0


def upper_limit(m: Measurement, choices: int) -> float:
    """Upper 97.5 % limit of `m` when it was picked as the worst of `choices`; 1 where there is none."""
    return _at(m, choices)[1] if m.value is not None and m.low is not None and m.high is not None else 1.0


def _at(m: Measurement, choices: int) -> tuple[float, float]:
    """The interval of `m`, which has one, at Bonferroni's level."""
    value, tail = float(m.value or 0.0), TAIL / max(choices, 1)
    if m.error is None or m.df is None:
        return _stretched(m, choices)
    if m.metric.endswith("_difference"):
        return shift_interval(value, m.error, m.df, tail)
    interval = rate_interval if m.metric == "tpr" else logit_interval
    return interval(value, m.error, m.df, trials_of(m), tail)


def with_error(m: Measurement, error: float) -> Measurement:
    """`m` with another standard error, and the 95 % interval it has then."""
    if m.value is None or error <= 0:
        return m
    wider = replace(m, error=error)
    low, high = _at(wider, 1)
    return replace(wider, low=min(low, m.value), high=max(high, m.value))


def trials_of(m: Measurement) -> float:
    """Independent trials behind a number whose error says nothing, because every trial had one outcome.

    For a TPR the members, given the threshold; else disjoint pairs of a member and a non-member: all are concordant
    with probability AUC^trials, and both ends of them are called rightly. Correlated pairs count as the effective n.
    """
    m_count, n_count = m.members or 1, m.non_members or 1
    independent = min(1.0, (m.effective or m_count + n_count) / (m_count + n_count))
    worth = {"tpr": m_count, "balanced_accuracy": 2 * min(m_count, n_count)}
    return float(worth.get(m.metric, min(m_count, n_count)) * independent)


def _stretched(m: Measurement, choices: int) -> tuple[float, float]:
    """Results of earlier versions carry no error: their interval, Student's t on n - 1, is stretched."""
    value, low, high = (float(x or 0.0) for x in (m.value, m.low, m.high))
    df = max(m.n - 1, 1)
    ratio = _student(TAIL / max(choices, 1), df) / _student(TAIL, df)
    if m.metric != "tpr" and 0 < low <= value <= high < 1 and 0 < value < 1:
        ends = (logit(value) + (logit(x) - logit(value)) * ratio for x in (low, high))
        return float(expit(next(ends))), float(expit(next(ends)))
    bounds = (0.0, 1.0) if not m.metric.endswith("_difference") else (-np.inf, np.inf)
    return max(bounds[0], value - (value - low) * ratio), min(bounds[1], value + (high - value) * ratio)
