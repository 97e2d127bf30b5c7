"""Likelihood ratios against a population (Zarifzadeh et al. 2024, arXiv:2312.03262), in logs throughout."""

import numpy as np
from scipy.special import logsumexp

from undertow.attacks.moments import require
from undertow.types import Array, BadInput, ConfigError, Signals

GAMMA = 1.0
"""How many times likelier x must be than z, each against its own average over models, for x to beat z.

At 1 the share is x's rank among the points of its model. Every gamma orders the points of one model alike; it matters
where the scores of several models are pooled. Online, p(x) is at least half of its IN average, so that ratios hardly
exceed 2: at gamma = 2 the share counts only the points z that a model finds very odd, few and other ones in each
model, and the pooled order is mostly chance. Saturated models, whose ratios are all near 1, lose most. The paper's
released code has 2, on softened probabilities; the documentation of its authors' later tool has 1. Chosen on eight
kinds of trained models by `benchmarks/defaults.py`, whose rule was written first, then reported on six others.
"""

A = 0.3
"""What OUT models say of IN models, offline: p_in = a p_out + 1 - a.

On the same eight kinds the best single value was 0, and 0.3, the default until then, less than one standard error
behind it; so it stayed. It is a close call, and the kinds disagree: saturated models and weak penalties want 0, models
that were regularised or trained shortly want 1.
"""

ROUNDING = 1e-11
"""Log-ratios this close are equal. Forests give many points equal ratios, which sums in another order would part."""


def rmia(shadow: Signals, target: Array, gamma: float = GAMMA) -> Array:
    """Share of the other points that x beats by a factor gamma, plus a tie-break, (T, Q); higher = member.

    Zarifzadeh et al. 2024, online: x beats z where [p(x|theta) / p(x)] / [p(z|theta) / p(z)] >= gamma, and
    p(x) is the mean of the average over IN and the average over OUT models. Values are log-probabilities of
    the label. BadInput where a point has no IN or no OUT model.
    """
    require(shadow.member, inside=1, outside=1)
    sides = [_log_mean(shadow.values, side) for side in (shadow.member, ~shadow.member)]
    return share_beaten(target - (np.logaddexp(*sides) - np.log(2)), gamma)


def rmia_offline(shadow: Signals, target: Array, gamma: float = GAMMA, a: float = A) -> Array:
    """As `rmia`, with p(x) = ((1 + a) p_out(x) + 1 - a) / 2 from the OUT models alone, (T, Q).

    It assumes p_in(x) = a p_out(x) + 1 - a: models that saw x are certain of it at a = 0, and no surer than
    the others at a = 1. BadInput where a point has no OUT model; IN models are not looked at.
    """
    if not 0 <= a <= 1:
        raise ConfigError(f"rmia-offline: a = {a}; it must be in 0..1")
    require(shadow.member, inside=0, outside=1)
    return share_beaten(target - offline_mean(_log_mean(shadow.values, ~shadow.member), a), gamma)


def offline_mean(log_out: Array, a: float) -> Array:
    """log p(x) from the log of the mean probability of the OUT models, of any shape."""
    certain: Array = np.logaddexp(log_out + np.log((1 + a) / 2), np.log((1 - a) / 2) if a < 1 else -np.inf)
    return certain


def _log_mean(log_p: Array, side: Array) -> Array:
    """log of the mean probability over the models of one side, (Q,)."""
    result: Array = logsumexp(np.where(side, log_p, -np.inf), axis=0) - np.log(side.sum(0))
    return result


def share_beaten(log_ratio: Array, gamma: float) -> Array:
    """Share of the other points whose ratio times gamma is at most this one's, (T, Q) from log-ratios (T, Q).

    NaN where a point cannot be scored; no other point beats it then. Ratios closer than ROUNDING are equal and beat
    each other. The share has Q levels only and every strong member has the highest. So less than one count is added,
    growing with the point's own ratio: it orders equal shares and never reorders different ones.
    """
    points = np.isfinite(log_ratio).sum(1, keepdims=True)
    if gamma <= 0:
        raise ConfigError(f"rmia: gamma = {gamma}; it must be positive")
    if log_ratio.shape[1] < 2:
        raise BadInput(f"rmia compares points with each other: give at least 2, got {log_ratio.shape[1]}")
    lead = np.log(gamma) - ROUNDING
    beaten = np.stack([np.searchsorted(np.sort(row), row - lead, side="right") for row in log_ratio])
    others = beaten - (lead <= 0)  # a point beats itself where gamma is at most 1
    fraction = (1 + log_ratio / (1 + np.abs(log_ratio))) / 2  # in (0, 1), without the early saturation of exp
    result: Array = (others + fraction) / np.maximum(points, 1)
    return result
