"""Every model attacked by the others, in one go: leave-one-out by sufficient statistics, O(M N) instead of O(M^2 N).

A rule that only needs counts, means and variances of the IN and OUT models of a point need not be run once per
target: the target, and who is left out with it, is subtracted. Where a subtraction would cancel (an outlier is
removed), the cell is summed afresh, so that the scores equal those of the rule run target by target.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from undertow.attacks import rmia as population
from undertow.attacks.bavaria import fit_prior, log_predictive
from undertow.attacks.lira import PER_EXAMPLE
from undertow.attacks.moments import Moments, resolution
from undertow.left_out import LeftOut
from undertow.types import Array

CANCELS = 1e-3  # a rest smaller than this share of the whole has lost digits: sum it afresh
CELLS = 1 << 22  # numbers held at once while summing afresh


@dataclass(frozen=True, eq=False)
class Rest:
    """One side (IN or OUT) of every point, without the target and who is left out with it; all (M, N)."""

    count: Array
    mean: Array
    variance: Array  # sample variance, at least the rounding noise of the signal; NaN below 2 models


def lira(values: Array, member: Array, out: LeftOut) -> Array:
    """`attacks.lira.lira` of every model from the others less `out`, (M, N) each; higher = member.

    `out` says who is left out with each target (`engine.membership.left_out`). NaN where too few models remain.
    """
    inside, outside = _both(values, member, out)
    own = _per_example(inside, outside)
    return _log_normal(values, inside, own) - _log_normal(values, outside, own)


def lira_offline(values: Array, member: Array, out: LeftOut) -> Array:
    """`attacks.lira.lira_offline` in turn, (M, N); higher = member."""
    outside = rest(values, member, out, False)
    with np.errstate(invalid="ignore"):  # NaN below two models
        result: Array = -log_ndtr(-(values - outside.mean) / np.sqrt(_spread(outside, _per_example(outside))))
    return result


def bavaria(values: Array, member: Array, out: LeftOut) -> Array:
    """`attacks.bavaria.bavaria` in turn, (M, N); higher = member."""
    inside, outside = _both(values, member, out)
    return _predictive(values, inside) - _predictive(values, outside)


def rmia(values: Array, member: Array, out: LeftOut, gamma: float | None = None) -> Array:
    """`attacks.rmia.rmia` in turn, (M, N) from log-probabilities; higher = member."""
    sides = [_log_mean(values, member, out, side) for side in (True, False)]
    with np.errstate(invalid="ignore"):  # NaN where a side is empty
        ratio = values - (np.logaddexp(*sides) - np.log(2))
    return population.share_beaten(ratio, population.GAMMA if gamma is None else gamma)


def rmia_offline(values: Array, member: Array, out: LeftOut, gamma: float | None = None) -> Array:
    """`attacks.rmia.rmia_offline` in turn, (M, N) from log-probabilities; higher = member."""
    with np.errstate(invalid="ignore"):  # NaN where no model is OUT
        ratio = values - population.offline_mean(_log_mean(values, member, out, False), population.A)
    return population.share_beaten(ratio, population.GAMMA if gamma is None else gamma)


def rest(values: Array, member: Array, out: LeftOut, side: bool) -> Rest:
    """Count, mean and variance of one side at every point without each target and who is left out with it."""
    values = np.asarray(values, float)
    chosen = member if side else ~member
    centre = np.median(values, 0)  # keeps sums small
    x = values - centre
    count, first, second = (_without(part, chosen, out) for part in (np.ones_like(x), x, np.square(x)))
    total = np.where(chosen, np.square(x), 0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first / count
        squares = second - first * mean
        lost = (count > 0) & (squares < CANCELS * total) & (total > 0)
        mean, squares = _afresh(x, chosen, out, lost, mean, squares)
        mean = mean + centre
        variance = np.maximum(squares / (count - 1), resolution(mean) ** 2)
    return Rest(count, mean, np.where(count > 1, variance, np.nan))


def _both(values: Array, member: Array, out: LeftOut) -> tuple[Rest, Rest]:
    """IN and OUT of the (target, point) pairs where both have two models: the others say nothing of the target."""
    inside, outside = (rest(values, member, out, side) for side in (True, False))
    can = (inside.count > 1) & (outside.count > 1)
    return _where(inside, can), _where(outside, can)


def _where(side: Rest, can: Array) -> Rest:
    return Rest(np.where(can, side.count, 0), side.mean, np.where(can, side.variance, np.nan))


def _without(x: Array, chosen: Array, out: LeftOut) -> Array:
    """Sum of x (M, N) over the models where `chosen`, less the target and who is left out with it, (M, N)."""
    return out.rest(np.where(chosen, x, 0.0))


def _afresh(x: Array, chosen: Array, out: LeftOut, lost: Array, mean: Array, squares: Array) -> tuple[Array, Array]:
    """Mean and sum of squares about it, computed in two passes where the subtraction `lost` digits."""
    mean, squares = mean.copy(), squares.copy()
    for m, q in _blocks(lost):
        keep = _kept(chosen, out, m, q)
        own = x[:, q].mean(0, where=keep)
        mean[m, q], squares[m, q] = own, np.square(x[:, q] - own).sum(0, where=keep)
    return mean, squares


def _blocks(cells: Array) -> list[tuple[Array, Array]]:
    """The places (m, q) of true `cells` (M, N), in blocks that fit in memory."""
    m, q = np.nonzero(cells)
    size = max(1, CELLS // len(cells))
    return [(m[i : i + size], q[i : i + size]) for i in range(0, len(m), size)]


def _kept(chosen: Array, out: LeftOut, m: Array, q: Array) -> Array:
    """Which models count at the cells (m, q), (M, cells) bool."""
    result: Array = chosen[:, q] & out.stays(m, q)
    return result


def _log_mean(log_p: Array, member: Array, out: LeftOut, side: bool) -> Array:
    """log of the mean probability over one side without the target and `out`, (M, N)."""
    log_p, chosen = np.asarray(log_p, float), member if side else ~member
    top = np.where(chosen.any(0), np.where(chosen, log_p, -np.inf).max(0), 0.0)
    p = np.exp(np.where(chosen, log_p - top, -np.inf))
    count, left = _without(np.ones_like(p), chosen, out), _without(p, chosen, out)
    lost = (count > 0) & (left < CANCELS * p.sum(0))
    log_sum = np.log(np.where(lost | (count == 0), 1, left)) + top
    for m, q in _blocks(lost):
        kept = np.where(_kept(chosen, out, m, q), log_p[:, q], -np.inf)
        high = kept.max(0)
        log_sum[m, q] = np.log(np.exp(kept - high).sum(0)) + high
    result: Array = np.where(count > 0, log_sum - np.log(np.maximum(count, 1)), np.nan)
    return result


def _per_example(*sides: Rest) -> Array:
    """For each target whether every point has enough models for a variance of its own, (M, 1) bool."""
    fewest = np.min([np.where(side.count > 1, side.count, np.inf).min(1) for side in sides], 0)
    result: Array = (fewest >= PER_EXAMPLE)[:, None]
    return result


def _spread(side: Rest, own: Array) -> Array:
    """The variance that is used: the point's own, or one for all points of a target, (M, N)."""
    freedom = np.maximum(side.count - 1, 0)
    pooled = np.nansum(freedom * side.variance, 1, keepdims=True) / freedom.sum(1, keepdims=True)
    result: Array = np.where(own, side.variance, pooled)
    return result


def _log_normal(x: Array, side: Rest, own: Array) -> Array:
    variance = _spread(side, own)
    result: Array = -(np.square(x - side.mean) / variance + np.log(variance)) / 2
    return result


def _predictive(x: Array, side: Rest) -> Array:
    """`bavaria.log_predictive` with the prior fitted for each target to its usable points, (M, N)."""
    result = np.full(x.shape, np.nan)
    for m in range(len(x)):
        own = np.flatnonzero(side.count[m] > 1)
        if len(own):
            rest = Moments(side.mean[m, own], side.variance[m, own], side.count[m, own].astype(int))
            result[m, own] = log_predictive(x[m : m + 1, own], rest, fit_prior(rest))[0]
    return result
