"""How sure a comparison of intervals is, and what picking the best of many does to it."""

from dataclasses import replace

from undertow.metrics import lower_limit, upper_limit
from undertow.types import Measurement

GUESSING = 0.5  # the AUC of guessing, where the design does not move it


def chosen(m: Measurement, choices: int) -> Measurement:
    """`m` with an interval that allows for having been picked out of `choices`; as it is where it already does."""
    if m.choices is not None or m.low is None or m.high is None:
        return m
    return replace(m, low=lower_limit(m, choices), high=upper_limit(m, choices), choices=choices)


def chance(m: Measurement) -> float:
    """What guessing gives: the AUC of guessing under the design, or about the false positive rate."""
    if m.chance is not None:
        return m.chance
    return GUESSING if m.fpr is None else m.fpr


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
