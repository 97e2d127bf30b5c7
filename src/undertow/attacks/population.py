"""The baseline that never sees a model, and the attack that needs one model beside the target.

Rules without shadow models (loss, confidence, entropy, margin, threshold) are signals: `undertow.signals`.
"""

import numpy as np

from undertow.attacks.moments import require
from undertow.types import Array, BadInput, Signals

FOLDS = 5


def blind(features: Array, member: Array, rng: np.random.Generator) -> Array:
    """How much each record (Q, D) looks like the target's members (T, Q), (T, Q); higher = member.

    Cross-validated ridge LDA of the records on the target's own membership: above chance, members and
    non-members differ *as records*, and every attack's number is partly that shift (arXiv:2406.16201). The
    one rule that is told the truth, of other records than the one it scores. The ridge is the mean non-zero
    eigenvalue of the scatter. BadInput where a target has fewer than 2 of a class.
    """
    basis, kept = _basis(np.asarray(features, float).reshape(len(features), -1))
    return np.stack([_cross_validated(basis, kept, truth, stratified(truth, rng)) for truth in member])


def calibrated(shadow: Signals, target: Array) -> Array:
    """The target's value less the mean of the OUT models' at the same point, (T, Q); higher = member.

    Watson et al. 2022 (arXiv:2111.08440): what is easy for a model that never saw the record is no sign of membership.
    One OUT model is enough. BadInput where a point has none; IN models are not looked at.
    """
    require(shadow.member, inside=0, outside=1)
    result: Array = target - shadow.values.mean(0, dtype=float, where=~shadow.member)
    return result


def stratified(member: Array, rng: np.random.Generator) -> Array:
    """A fold (0..4) for each point, (Q,), each with its share of both classes; fewer for a rare class."""
    rarest = min(int(member.sum()), int((~member).sum()))
    if rarest < 2:
        raise BadInput(
            f"blind: {int(member.sum())} of {len(member)} points are members of a target; cross-validation "
            "needs at least 2 members and 2 non-members"
        )
    fold = np.empty(len(member), int)
    order = np.concatenate([rng.permutation(np.flatnonzero(side)) for side in (member, ~member)])
    fold[order] = np.arange(len(member)) % min(FOLDS, rarest)
    return fold


def _basis(x: Array) -> tuple[Array, Array]:
    """Orthonormal directions (Q, r) of the standardised records; the share (r,) of each the ridge keeps."""
    deviation = x.std(0)
    varies = deviation > 1e-9 * np.abs(x).max(0)  # a constant column has a deviation of rounding
    u, s, _ = np.linalg.svd((x - x.mean(0)) / np.where(varies, deviation, np.inf), full_matrices=False)
    power = np.square(s)
    real = power > 1e-12 * power.max(initial=1)
    return u[:, real], power[real] / (power[real] + power[real].mean()) if real.any() else power[real]


def _cross_validated(basis: Array, kept: Array, member: Array, fold: Array) -> Array:
    """The held-out score of every point, as its rank in its fold, (Q,) in 0..1.

    Ridge regression on +-1 has the direction of ridge LDA, and its held-out predictions follow from the fit
    to all points, H = 1/Q + U diag(kept) U': those of fold F solve (1 - H_FF) f = H_F,- y_-, with - the rest.

    Ranks, because scores of two folds must not be compared: each point trained the other's classifier, which
    puts the AUC of random membership below .5 (.47 at Q = 12). Within a fold the classifier knows nothing of
    the labels, so ranks give exactly .5 on average, for any records and any number of them.
    """
    y = np.where(member, 1.0, -1.0)
    score = np.empty(len(y))
    for held in (fold == f for f in np.unique(fold)):
        rest, u = np.where(held, 0.0, y), basis[held]
        known = rest.mean() + (u * kept) @ (basis.T @ rest)
        own = 1 / len(y) + (u * kept) @ u.T
        score[held] = _rank(np.linalg.solve(np.eye(len(own)) - own, known))
    return score


def _rank(values: Array) -> Array:
    """Middle rank in 0..1, (n,). Values equal up to rounding tie: the order of points is no evidence."""
    values = np.round(values, 9)
    ordered = np.sort(values)
    below, upto = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    result: Array = (below + upto) / (2 * len(values))
    return result
