"""Membership in the pretraining set, from the outputs of finetuned models (Abascal et al., PoPETs 2024).

The pretraining label is no class of the finetuned model, so the rules read the whole output: logits
(M, Q, A, C), as phi_c = log p_c - log(1 - p_c) of every class (`signals.scaled_logits`). Every rule gives
(T, Q) scores, higher = member, from a target's logits (T, Q, A, C), and raises BadInput where a point has
fewer than 2 IN or 2 OUT shadow models.
"""

from dataclasses import replace

import numpy as np
from scipy.special import expit, log_softmax, logsumexp

from undertow.attacks.lira import lira
from undertow.attacks.metaclassifier import Recipe, fit, log_odds
from undertow.attacks.moments import require, resolution
from undertow.signals import scaled_logits
from undertow.types import Array, ConfigError, Signals

RELEASED = Recipe()
AVERAGED = replace(RELEASED, epochs=4 * RELEASED.epochs)  # a row per model instead of per view: fewer steps an epoch
GLOBAL = Recipe(dropout=0.0, lr=2e-3, weight_decay=0.0, epochs=10, batch=256, gamma=1.0)


def tmi(shadow: Signals, target: Array, rng: np.random.Generator) -> Array:
    """Mean over views of P(IN) from one metaclassifier per point, as released; in 0..1."""
    return _released(shadow, unit(scaled_logits(shadow.values)), unit(scaled_logits(target)), rng)


def tmi_label_only(shadow: Signals, target: Array, rng: np.random.Generator) -> Array:
    """`tmi` for an adversary that sees only the predicted class of every view; of equal logits the first."""
    return _released(shadow, _one_hot(shadow.values), _one_hot(target), rng)


def tmi_top_k(shadow: Signals, target: Array, rng: np.random.Generator, k: int = 1) -> Array:
    """`tmi` for an adversary that sees the k largest probabilities and spreads the rest over the others."""
    return tmi(Signals(top_k(shadow.values, k), shadow.member), top_k(target, k), rng)


def tmi_averaged(shadow: Signals, target: Array, rng: np.random.Generator) -> Array:
    """Log-odds of IN from one metaclassifier per point on phi averaged over views and standardised per point.

    Not in the release. Keeps the size of phi, which clipping to the unit ball throws away.
    """
    phi = averaged(shadow.values)
    mean, spread = phi.mean(0), phi.std(0, ddof=1)
    scale = np.maximum(spread, resolution(mean))
    rows, asked = (((z - mean) / scale)[:, :, None] for z in (phi, averaged(target)))
    return _per_point(rows, shadow.member, asked, AVERAGED, rng)[..., 0]


def tmi_lda(shadow: Signals, target: Array, ridge: float = 0.1) -> Array:
    """Log-likelihood ratio of two normals with one covariance, per point, on phi averaged over views.

    Not in the release; closed form. The covariance is the mean of that of IN and that of OUT, plus `ridge`
    times its mean diagonal: there may be more classes than models, and with C = 2 it is always singular.
    """
    require(shadow.member)
    phi, member = averaged(shadow.values), shadow.member[..., None]
    means = [phi.mean(0, where=side) for side in (member, ~member)]
    residual = phi - np.where(member, *means)
    weight = np.where(member, 1 / (member.sum(0) - 1), 1 / ((~member).sum(0) - 1)) / 2
    covariance = _ridged(_scatter(residual * weight, residual), ridge, means[1])
    direction = np.linalg.solve(covariance, (means[0] - means[1])[..., None])[..., 0]
    result: Array = ((averaged(target) - (means[0] + means[1]) / 2) * direction).sum(-1)
    return result


def tmi_global(shadow: Signals, target: Array, rng: np.random.Generator) -> Array:
    """Log-odds of IN from one metaclassifier for all points.

    Not in the release. Sees phi (averaged over views) less its mean over the point's shadow models, and that
    mean, with the classes in the order of that mean: this makes points alike. The mean is over all models, so
    it says nothing about membership.
    """
    require(shadow.member)
    phi = averaged(shadow.values)
    centre = phi.mean(0)
    rows, asked = (_calibrated(z, centre) for z in (phi, averaged(target)))
    mean, spread = rows.mean((0, 1)), rows.std((0, 1))
    scale = np.maximum(spread, resolution(mean))
    rows, asked = (_float32((z - mean) / scale).reshape(1, -1, len(scale)) for z in (rows, asked))
    networks = fit(rows, shadow.member.reshape(1, -1), GLOBAL, rng)
    return log_odds(networks, asked).reshape(target.shape[:2])


def tmi_knn(shadow: Signals, target: Array, k: int = 15) -> Array:
    """Share of IN among the k nearest shadow outputs, averaged over views, per point; in 0..1.

    Euclidean on phi clipped to the unit ball; every view of every shadow model is a neighbour. `k` shrinks to
    half the rows. Rows as far as the k-th share the places that are left, so their order does not matter.
    """
    require(shadow.member)
    rows, asked = (_by_point(unit(scaled_logits(z))) for z in (shadow.values, target))
    labels = np.repeat(shadow.member.T, shadow.values.shape[2], 1).astype(float)
    k = max(1, min(k, rows.shape[1] // 2))
    share = np.stack([_knn(*point, k) for point in zip(rows, labels, asked)])
    result: Array = share.reshape(len(share), len(target), -1).mean(-1).T
    return result


def adapted_lira(shadow: Signals, target: Array, ridge: float = 1e-3) -> Array:
    """LiRA with the target's own prediction as label, the A views as one normal vector, per point.

    As released, and made finite: per view the class with the largest phi of the target; the phi of that
    class in every shadow model; full sample covariances of IN and OUT. With #IN <= A these are singular (the
    release then scores 0 or NaN, silently); `ridge` times the mean diagonal makes them invertible, but the
    directions no model varied in count as nearly noiseless: use `adapted_lira_averaged`.
    """
    require(shadow.member)
    phi, asked = scaled_logits(shadow.values), scaled_logits(target)
    scores = []
    for own in asked:
        label = own.argmax(-1)[..., None]
        values = np.take_along_axis(phi, label[None], -1)[..., 0]
        x = np.take_along_axis(own, label, -1)[..., 0]
        scores.append(_log_normal(x, values, shadow.member, ridge) - _log_normal(x, values, ~shadow.member, ridge))
    return np.stack(scores)


def adapted_lira_averaged(shadow: Signals, target: Array) -> Array:
    """`lira` on phi averaged over views, at the class where the target's is largest."""
    phi, asked = averaged(shadow.values), averaged(target)
    scores = []
    for own in asked:
        label = own.argmax(-1)[:, None]
        values = np.take_along_axis(phi, label[None], -1)[..., 0]
        scores.append(lira(Signals(values, shadow.member), np.take_along_axis(own, label, -1).T)[0])
    return np.stack(scores)


def averaged(logits: Array) -> Array:
    """phi averaged over views, (M, Q, C)."""
    result: Array = scaled_logits(logits).mean(2)
    return result


def unit(phi: Array) -> Array:
    """Vectors (..., C) clipped to the unit ball: phi / max(1, its norm)."""
    result: Array = phi / np.maximum(1, np.linalg.norm(phi, axis=-1, keepdims=True))
    return result


def top_k(logits: Array, k: int) -> Array:
    """Log-probabilities (..., C) with the k largest kept and the rest of 1 spread equally over the others."""
    if k < 1:
        raise ConfigError(f"tmi-top-k: k = {k}; it must be at least 1")
    log_p: Array = log_softmax(np.asarray(logits, float), -1)
    others = log_p.shape[-1] - k
    if others < 1:
        return log_p
    rank = np.argsort(np.argsort(-log_p, -1, kind="stable"), -1, kind="stable")
    rest = logsumexp(np.where(rank < k, -np.inf, log_p), -1, keepdims=True) - np.log(others)
    return np.where(rank < k, log_p, rest)


def _one_hot(logits: Array) -> Array:
    result: Array = np.eye(logits.shape[-1])[logits.argmax(-1)]
    return result


def _released(shadow: Signals, rows: Array, asked: Array, rng: np.random.Generator) -> Array:
    result: Array = expit(_per_point(rows, shadow.member, asked, RELEASED, rng)).mean(-1)
    return result


def _per_point(rows: Array, member: Array, asked: Array, recipe: Recipe, rng: np.random.Generator) -> Array:
    """Log-odds (T, Q, A) of `asked` (T, Q, A, F) from a network per point fitted to `rows` (M, Q, A, F)."""
    require(member)
    labels = np.repeat(member.T, rows.shape[2], 1)
    networks = fit(_float32(_by_point(rows)), labels, recipe, rng)
    odds = log_odds(networks, _float32(_by_point(asked)))
    return odds.reshape(len(odds), len(asked), -1).swapaxes(0, 1)


def _by_point(values: Array) -> Array:
    """(M, Q, A, F) as (Q, M A, F): all rows of a point together."""
    result: Array = values.swapaxes(0, 1).reshape(values.shape[1], -1, values.shape[-1])
    return result


def _float32(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float32)


def _calibrated(phi: Array, centre: Array) -> Array:
    """(M, Q, 2 C): phi less the point's centre (Q, C), and the centre; classes by falling centre."""
    order = np.argsort(-centre, -1, kind="stable")[None]
    parts = phi - centre, np.broadcast_to(centre, phi.shape)
    return np.concatenate([np.take_along_axis(part, order, -1) for part in parts], -1)


def _knn(rows: Array, labels: Array, asked: Array, k: int) -> Array:
    """Share of IN among the k of `rows` (n, F) nearest to each of `asked` (m, F), (m,)."""
    squared = np.square(asked).sum(1)[:, None] + np.square(rows).sum(1) - 2 * asked @ rows.T
    kth = np.partition(squared, k - 1, 1)[:, k - 1 : k]
    tie = np.abs(squared - kth) <= 1e-12  # rounding, of numbers up to 4
    near = (squared < kth) & ~tie
    left = k - near.sum(1)
    result: Array = (near @ labels + left * (tie @ labels) / tie.sum(1)) / k
    return result


def _scatter(left: Array, right: Array) -> Array:
    """Sum over models of the outer products of (M, Q, F) and (M, Q, F), (Q, F, F)."""
    result: Array = left.transpose(1, 2, 0) @ right.transpose(1, 0, 2)
    return result


def _ridged(covariance: Array, ridge: float, mean: Array) -> Array:
    """Covariances (Q, F, F) plus `ridge` times their mean diagonal, and the rounding noise of such values."""
    size = covariance.shape[-1]
    diagonal = np.trace(covariance, axis1=1, axis2=2) / size
    extra = ridge * diagonal + (resolution(mean) ** 2).max(-1)
    result: Array = covariance + extra[:, None, None] * np.eye(size)
    return result


def _log_normal(x: Array, values: Array, side: Array, ridge: float) -> Array:
    """Log-density (Q,) at x (Q, A), less a constant, of the normal fitted to a side of `values` (M, Q, A)."""
    count = side.sum(0)
    mean = values.mean(0, where=side[..., None])
    residual = np.where(side[..., None], values - mean, 0)
    covariance = _scatter(residual, residual) / (count - 1)[:, None, None]
    root = np.linalg.cholesky(_ridged(covariance, ridge, mean))
    z = np.linalg.solve(root, (x - mean)[..., None])[..., 0]
    result: Array = -np.square(z).sum(-1) / 2 - np.log(np.diagonal(root, axis1=1, axis2=2)).sum(-1)
    return result
