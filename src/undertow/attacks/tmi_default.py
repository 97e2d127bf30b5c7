"""The default rule for membership in the pretraining set: closed form, and points inform each other.

phi averaged over views, x = middle + (+-) gap / 2 + residual per point, + for IN. Three things are shared:

- residuals: a model that moves one point moves those with similar outputs; what its outputs at the other
  points predict is taken away (kriging). A victim is described by its own answers only, never by another's;
- gaps: normal around the mean gap of the points with the same pretraining label (where labels are given);
- covariances: inverse Wishart around the mean one of all points.

Not in the release; the constants were fixed on seeds that no reported figure uses.
"""

from dataclasses import dataclass

import numpy as np

from undertow.attacks.moments import FLOAT32, require, resolution
from undertow.attacks.tmi import averaged
from undertow.types import Array, Signals

POINTS = 1000  # points that inform each other at most: their covariance is (points, points)
MODELS = 96  # models that the kernel of mean outputs is worth, beside the residuals of the shadows
FREEDOM = 32  # models that the mean covariance is worth, beside one per class
RIDGE = 0.1  # of the mean covariance's mean diagonal
LEAST = 0.01  # spread of a point over the points' root mean square spread: a constant point must not rule the rest
ROUNDING = 1e-12  # of a sum of squares in float64
NUGGET = 0.05  # least share of a residual that other points cannot explain


def tmi_default(shadow: Signals, target: Array) -> Array:
    """Log-likelihood ratio of IN to OUT, (T, Q), from target logits (T, Q, A, C); higher = member.

    `shadow.labels` are pretraining labels, used where given. BadInput where a point has fewer than 2 IN or
    2 OUT shadow models. More than POINTS points are scored in groups.
    """
    require(shadow.member)
    points = shadow.member.shape[1]
    groups, result = -(-points // POINTS), np.empty(target.shape[:2])
    for part in (np.arange(first, points, groups) for first in range(groups)):
        member, labels = shadow.member[:, part], None if shadow.labels is None else shadow.labels[part]
        phi, asked = averaged(shadow.values[:, part]), averaged(target[:, part])
        result[:, part] = _ratio(*surprise(phi, asked, member), member, labels)
    return result


@dataclass(frozen=True, eq=False)
class _Sides:
    """IN and OUT of every point, in units of the point's own spread."""

    middle: Array  # (Q, C) half-way between the means of IN and OUT
    gap: Array  # (Q, C) mean of IN less mean of OUT
    residual: Array  # (M, Q, C) about the model's own side
    scale: Array  # (Q, 1) the unit: root mean square residual


def _sides(phi: Array, member: Array) -> _Sides:
    side = member[..., None]
    inside, outside = phi.mean(0, where=side), phi.mean(0, where=~side)
    residual, middle = phi - np.where(side, inside, outside), (inside + outside) / 2
    spread = np.sqrt(np.square(residual).sum((0, 2)) / ((len(phi) - 2) * phi.shape[2]))
    typical = LEAST * np.sqrt(np.square(spread).mean())
    scale = np.maximum(np.maximum(spread, typical), resolution(middle).max(-1))[:, None]
    return _Sides(middle / scale, (inside - outside) / scale, residual / scale, scale)


def surprise(phi: Array, asked: Array, member: Array) -> tuple[Array, Array]:
    """Shadow (M, Q, C) and target (T, Q, C) outputs less what the same model's at the other points predict.

    The covariance of points is their residuals' over shadows, shrunk to a kernel of their mean outputs; not
    knowing whether a point is IN adds a quarter of its squared gap. Each shadow is left out of the covariance
    that predicts it, as targets are, by Woodbury's identity.
    """
    sides = _sides(phi, member)
    (models, points, classes), own = phi.shape, sides.residual
    share = models / (models + MODELS)
    rows = own.swapaxes(0, 1).reshape(points, -1)
    unit = share / ((models - 2) * classes)
    covariance = unit * rows @ rows.T + (1 - share) * _kernel(sides, rows @ rows.T * unit / share)
    np.fill_diagonal(covariance, 1 + np.square(sides.gap).mean(-1) / 4)
    precision = np.linalg.inv(covariance)
    known, victim = (z / sides.scale - sides.middle for z in (phi, asked))
    left = np.stack([_without(unit, precision, *pair) for pair in zip(own, known, strict=True)])
    rest = precision @ victim / np.diag(precision)[:, None]
    return (left + sides.middle) * sides.scale, (rest + sides.middle) * sides.scale


def _without(unit: float, precision: Array, own: Array, x: Array) -> Array:
    """x (Q, C) less its prediction, with `unit` times own own^T (Q, Q) taken out of the covariance."""
    moved = precision @ own
    inner = np.linalg.inv(np.eye(own.shape[1]) / unit - own.T @ moved)
    diagonal = np.diag(precision) + (moved @ inner * moved).sum(1)
    result: Array = (precision @ x + moved @ (inner @ (moved.T @ x))) / diagonal[:, None]
    return result


def _kernel(sides: _Sides, covariance: Array) -> Array:
    """exp(cosine - 1) of the centred middles, (Q, Q), times its least-squares fit to `covariance`."""
    centred = (sides.middle - sides.middle.mean(-1, keepdims=True)) * sides.scale
    length = np.linalg.norm(centred, axis=-1, keepdims=True)
    direction = centred / np.maximum(length, FLOAT32)
    kernel: Array = np.exp(direction @ direction.T - 1)
    apart = 1 - np.eye(len(kernel))
    fit = (covariance * kernel * apart).sum() / max(np.square(kernel * apart).sum(), FLOAT32)
    result: Array = min(max(fit, 0.0), 1 - NUGGET) * kernel
    return result


def _ratio(phi: Array, asked: Array, member: Array, labels: Array | None) -> Array:
    """Log-likelihood ratio (T, Q) of two normals with one covariance, from shrunk gaps and covariances."""
    sides = _sides(phi, member)
    models, _, classes = phi.shape
    own = sides.residual.transpose(1, 2, 0) @ sides.residual.swapaxes(0, 1) / (models - 2)
    mean = own.mean(0)
    ridge = RIDGE * max(np.trace(mean) / classes, FLOAT32)
    weight = (FREEDOM + classes) / (FREEDOM + classes + models - 2)
    covariance = (1 - weight) * own + weight * (mean + ridge * np.eye(classes))
    error = (1 / member.sum(0) + 1 / (~member).sum(0))[:, None, None]
    gap = _shrunk(sides, labels, own * error, covariance * error)
    direction = np.linalg.solve(covariance, gap[..., None])[..., 0]
    result: Array = ((asked / sides.scale - sides.middle) * direction).sum(-1)
    return result


def _shrunk(sides: _Sides, labels: Array | None, seen: Array, error: Array) -> Array:
    """Posterior mean of the gaps (Q, C), from a normal prior around those of points with the same label.

    The covariance of the prior is what the gaps vary more than their own errors: `seen` (Q, C, C), as sampled.
    `error` (Q, C, C), made invertible, is what the posterior believes.
    """
    prior = _mean_of_others(sides.gap * sides.scale, labels) / sides.scale
    off = sides.gap - prior
    values, vectors = np.linalg.eigh(off.T @ off / len(off) - seen.mean(0))
    between = (vectors * np.maximum(values, 0)) @ vectors.T
    error = error + ROUNDING * np.trace(between) * np.eye(len(between))
    result: Array = prior + (between @ np.linalg.solve(between + error, off[..., None]))[..., 0]
    return result


def _mean_of_others(gap: Array, labels: Array | None) -> Array:
    """Mean gap of the other points with the same label, and of one point like the mean of all, (Q, C)."""
    everyone: Array = np.broadcast_to(gap.mean(0), gap.shape)
    if labels is None:
        return everyone
    _, group, count = np.unique(labels, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), gap.shape[1]))
    np.add.at(total, group, gap)
    result: Array = (total[group] - gap + everyone) / count[group][:, None]
    return result
