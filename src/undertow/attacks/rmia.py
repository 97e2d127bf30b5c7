"""Likelihood ratios against a population (Zarifzadeh et al. 2024, arXiv:2312.03262), in logs throughout."""

import numpy as np
from scipy.special import logsumexp

from undertow.attacks.moments import require
from undertow.types import Array, BadInput, ConfigError, Signals

GAMMA = 2.0
A = 0.3


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

    The share has Q levels only and every strong member has the highest. So less than one count is added,
    growing with the point's own ratio: it orders equal shares and never reorders different ones.
    """
    points = log_ratio.shape[1]
    if gamma <= 0:
        raise ConfigError(f"rmia: gamma = {gamma}; it must be positive")
    if points < 2:
        raise BadInput(f"rmia compares points with each other: give at least 2, got {points}")
    beaten = np.stack([np.searchsorted(np.sort(row), row - np.log(gamma), side="right") for row in log_ratio])
    others = beaten - (gamma <= 1)  # a point beats itself where gamma is at most 1
    fraction = (1 + log_ratio / (1 + np.abs(log_ratio))) / 2  # in (0, 1), without the early saturation of exp
    result: Array = (others + fraction) / points
    return result
