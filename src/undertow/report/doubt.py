"""How sure a comparison of intervals is, and what picking the best of many does to it."""

from dataclasses import replace

from scipy.special import expit, logit
from scipy.stats import t as student

from undertow.types import Measurement

GUESSING = 0.5  # the AUC of guessing, where the design does not move it


def lower_limit(m: Measurement, choices: int) -> float:
    """Lower limit of `m` when it was picked as the best of `choices`; 0 where there is no interval.

    Bonferroni over the choices: the interval, which is Student's t (`metrics.interval`: on the logit scale, but
    for a TPR on its own), is read again at 0.025 / choices. Conservative where the choices agree with each
    other. Where the value or the limit is 0 or 1 there is no logit, and the plain distance is widened instead.

    >>> m = Measurement("lira", "auc", 0.7, 0.65, 0.746, 16, "models")
    >>> round(lower_limit(m, 1), 3), round(lower_limit(m, 10), 3)
    (0.65, 0.621)
    """
    if m.value is None or m.low is None:
        return 0.0
    df = max(m.n - 1, 1)
    ratio = float(student.isf(0.025 / max(choices, 1), df) / student.isf(0.025, df))
    if m.metric != "tpr" and 0 < m.low <= m.value < 1:
        return float(expit(logit(m.value) - (logit(m.value) - logit(m.low)) * ratio))
    return max(0.0, m.value - (m.value - m.low) * ratio)


def upper_limit(m: Measurement, choices: int) -> float:
    """Upper limit of `m` when it was picked as the worst of `choices`; 1 where there is no interval."""
    if m.value is None or m.low is None or m.high is None:
        return 1.0
    return 1 - lower_limit(replace(m, value=1 - m.value, low=1 - m.high, high=1 - m.low), choices)


def chosen(m: Measurement, choices: int) -> Measurement:
    """`m` with an interval that allows for having been picked out of `choices`; as it is where it already does."""
    if m.choices is not None or m.low is None or m.high is None:
        return m
    return replace(m, low=lower_limit(m, choices), high=upper_limit(m, choices), choices=choices)


def chance(m: Measurement) -> float:
    """What guessing gives: the false positive rate, or the AUC of guessing under the design."""
    if m.fpr is not None:
        return m.fpr
    return GUESSING if m.chance is None else m.chance


def above_chance(m: Measurement) -> bool:
    """Whether the interval of an AUC lies above guessing."""
    return m.low is not None and m.low > chance(m)


def below_chance(m: Measurement) -> bool:
    """Whether the interval of an AUC lies below guessing."""
    return m.high is not None and m.high < chance(m)


def apart(high: Measurement, low: Measurement) -> bool:
    """Whether the interval of `high` lies above that of `low`: stricter than a test of the difference."""
    return high.low is not None and low.high is not None and high.low > low.high


def flipped(m: Measurement) -> Measurement:
    """The AUC of the same scores with their sign turned round: what an adversary who knows the sign reaches.

    >>> flipped(Measurement("loss", "auc", 0.386, 0.36, 0.41, 16, "models")).value
    0.614
    """
    if m.value is None:
        return m
    low, high = (None if x is None else 1 - x for x in (m.high, m.low))
    return replace(m, value=1 - m.value, low=low, high=high, chance=None if m.chance is None else 1 - m.chance)
