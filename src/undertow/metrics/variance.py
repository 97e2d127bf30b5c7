"""The variance of a number whose pairs are not independent: by clusters of points, with what models add on top.

Shared shadows, complementary or repeated memberships, and points that are often IN all correlate pairs *within a
point*. So the point is the cluster. Models that leak or score otherwise than each other add a component of their own.
"""

from dataclasses import dataclass

import numpy as np

from undertow.types import Array

Sides = tuple[Array, Array]  # (M, N) bool each: the scored pairs that are members, and those that are not
IN_ONLY, OUT_ONLY, BOTH = 0, 1, 2
IN_TURN = 2.0
"""How often a model's peculiarity counts where every model is a target and a shadow of the others.

It then enters twice, once as a target, which phi shows, and once as a shadow, which it does not. The truth lies between
1 and 4 times; 2 covers in the simulations of benchmarks/coverage.py.
"""

POOL, POOL_SLOPE = 1.15, 0.5
"""What records add to each other's scores, as a factor of the variance between points: POOL + POOL_SLOPE x advantage.

Records that train the models also move the scores of all others, so that a whole training pool shares a luck that no
file of one pool shows, and the more the models take up of their records, the more. Where every record of the pool is
asked about, the variance over new pools was 1.15 to 1.2 times the visible one where little leaks, and up to 1.4 (AUC)
or 1.6 (balanced accuracy) times where the AUC is .86, in the simulations of benchmarks/coverage.py ("whole pool");
with other training records it was 1.0 times.
"""


def pool_factor(auc: float | None = None) -> float:
    """The factor where the AUC is this; None: for numbers without one, which take the least.

    >>> pool_factor(), pool_factor(0.5), round(pool_factor(0.9), 2)
    (1.15, 1.15, 1.55)
    """
    return POOL if auc is None else POOL + POOL_SLOPE * abs(2 * auc - 1)


@dataclass(frozen=True)
class Error:
    """What a value may be off by, over other models and other points."""

    points: float  # variance by clusters of points
    models: float  # what models differ beyond it, at least 0
    df: float  # Satterthwaite's degrees of freedom, at least 1
    effective: float  # independent pairs that would give this variance (Kish), at most those there are

    @property
    def total(self) -> float:
        """The variance."""
        return self.points + self.models


def two_way(
    phi: Array, sides: Sides, *, in_turn: bool = False, groups: Array | None = None, pool: float = POOL
) -> Error:
    """The variance of sum(phi), phi (M, N), over other models and other points; `sides`: scored members, and others.

        V_points = p U / (U - 1) sum_q (Phi_q - mean)^2          Phi_q = sum_m phi_mq, over U points (or groups);
                   p is `pool`; of points that are members of no model, or of all, U counts those of that class
        V_models = r max(0, sum_m R_m^2 - f s^2) / k             R_m = sum_q e_mq, e_mq = phi_mq less its mean over
                   the models of the same membership at q; f = sum over points and sides of (models there - 1);
                   s^2 = sum (e_mq - R_m / N)^2 / (f - M + 1);  k = (f / (M N))^2 M / (M - 1)
        df       = V^2 / (V_points^2 / df_points + (sum_m R_m^2 / k)^2 / (M - 1) where V_models > 0)
        df_points = 2 S2^2 / (S4 - S2^2 / U), S_k = sum of (Phi_q - mean)^k: U for normal Phi, few where few count

    An analysis of variance; V_models takes the models of one row of membership as one. r is IN_TURN where every model
    is also a shadow of the others, else 1. Rows of one size (each model was given the same number of members) cannot be
    thrown by a shift of a whole model: there phi less its mean over the row's own class goes into V_points. `groups`
    (N,): points that belong together. With fewer than two points that carry members, or that carry non-members, nothing
    can be said: the variance is 0 and `effective` 2.
    """
    column, kind = _columns(_within_rows(phi, sides), groups), _kinds(sides, groups)
    carriers = [int((kind != other).sum()) for other in (OUT_ONLY, IN_ONLY)]
    if min(carriers) < 2:
        return Error(0.0, 0.0, 1.0, 2.0 * min(carriers))
    visible, df_points = _between_columns(column, kind)
    points = pool * visible
    models, noise = _between_models(*_units(phi, sides), IN_TURN if in_turn else 1.0)
    total, alone = points + models, float(np.square(phi).sum())
    df = total**2 / (points**2 / df_points + noise) if total > 0 else 1.0
    pairs = float(sum(side.sum() for side in sides))
    return Error(points, models, max(df, 1.0), min(pairs, pairs * alone / total) if total > 0 else float(len(column)))


def _kinds(sides: Sides, groups: Array | None) -> Array:
    """Whether each point (or group) is IN_ONLY, OUT_ONLY or BOTH over the models, (U,)."""
    inside, outside = (side.any(0) for side in sides)
    if groups is not None:
        _, group = np.unique(groups, return_inverse=True)
        inside, outside = (np.bincount(group, side) > 0 for side in (inside, outside))
    result: Array = np.where(inside & outside, BOTH, np.where(inside, IN_ONLY, OUT_ONLY))
    return result


def _between_columns(column: Array, kind: Array) -> tuple[float, float]:
    """V_points and its degrees of freedom: by kurtosis, and no more than Welch's for points of one class only."""
    units = len(column)
    s2, s4 = float(np.square(column).sum()), float((column**4).sum())
    spread = s4 - s2**2 / units
    total = noise = 0.0
    for own in (IN_ONLY, OUT_ONLY, BOTH):
        count = int((kind == own).sum())
        freedom = count - 1 if own != BOTH and count > 1 else units - 1
        part = float(np.square(column[kind == own]).sum()) * (freedom + 1) / freedom
        total, noise = total + part, noise + part**2 / freedom
    df = min(2 * s2**2 / spread if spread > 0 else np.inf, total**2 / noise if noise > 0 else np.inf, units - 1.0)
    return total, max(df, 1.0)


def _within_rows(phi: Array, sides: Sides) -> Array:
    """phi less its mean over the class in its row, where all rows have as many members; else phi."""
    sizes = [side.sum(1) for side in sides]
    if len(phi) < 2 or not _one_size(*sizes):
        return phi
    result = phi
    for side, size in zip(sides, sizes):
        result = result - np.where(side, np.where(side, phi, 0).sum(1, keepdims=True) / size[:, None], 0)
    return result


def _one_size(inside: Array, outside: Array) -> bool:
    """Whether all rows have as many of each class, or the halves of one split, and at least two."""
    smaller, larger = np.minimum(inside, outside), np.maximum(inside, outside)
    return bool((smaller == smaller[0]).all() and (larger == larger[0]).all() and smaller[0] >= 2)


def _columns(phi: Array, groups: Array | None) -> Array:
    """Sums over models, and over the points of a group, less their mean: (U,)."""
    column = phi.sum(0)
    if groups is not None:
        column = np.bincount(np.unique(groups, return_inverse=True)[1], column)
    result: Array = column - column.mean()
    return result


def _between_models(phi: Array, sides: Sides, roles: float) -> tuple[float, float]:
    """V_models, and the term of its noise in Satterthwaite's formula."""
    models, points = phi.shape
    counts = [side.sum(0) for side in sides]
    freedom = float(sum(np.maximum(count - 1, 0).sum() for count in counts))
    if models < 2 or freedom <= models - 1:
        return 0.0, 0.0
    free = phi
    for side, n in zip(sides, counts):
        free = free - np.where(side, np.where(side, phi, 0).sum(0) / np.maximum(n, 1), 0)
    row = free.sum(1)
    residual = np.where(free != 0, free - row[:, None] / points, 0)
    per_cell = float(np.square(residual).sum()) / (freedom - (models - 1))
    share = (freedom / float(sum(n.sum() for n in counts))) ** 2 * models / (models - 1)
    raw = float(np.square(row).sum()) / share
    between = roles * max(0.0, raw - per_cell * freedom / share)
    return between, raw**2 / (models - 1) if between > 0 else 0.0


def _units(phi: Array, sides: Sides) -> tuple[Array, Sides]:
    """phi and sides by row of membership: models that were trained on the same records differ from others together.

    The models themselves where all have one split (or its two halves): there they are all that was drawn anew.
    """
    rows = [tuple(row.tobytes() for row in both) for both in zip(*(np.packbits(side, axis=1) for side in sides))]
    first = {row: m for m, row in reversed(list(enumerate(rows)))}
    if len(first) == len(rows) or len({frozenset(row) for row in first}) < 2:
        return phi, sides
    chosen = sorted(first.values())
    place = {m: i for i, m in enumerate(chosen)}
    together = np.zeros((len(chosen), phi.shape[1]))
    np.add.at(together, [place[first[row]] for row in rows], phi)
    return together, (sides[0][chosen], sides[1][chosen])


def draws(member: Array, points: int = 2000) -> float:
    """How many independent membership draws the rows of `member` (M, N) are worth, 1..M.

    M^2 / sum of squared correlations of rows: two rows that are equal or opposite are one draw, independent ones
    two. What independent rows of this length correlate by chance is subtracted. At most about `points` columns are
    looked at. Rows without both classes are draws of nothing.
    """
    rows = member[:, :: max(1, member.shape[1] // points)].astype(np.float32)
    rows = rows - rows.mean(1, keepdims=True)
    length = np.sqrt(np.square(rows).sum(1))
    rows = rows[length > 0] / length[length > 0, None]
    if len(rows) < 2:
        return 1.0
    squared = np.square(rows @ rows.T)
    apart = (float(squared.sum()) - float(np.trace(squared))) / (len(rows) * (len(rows) - 1))
    chance = 1 / max(rows.shape[1] - 1, 1)
    correlated = max(0.0, (apart - chance) / (1 - chance)) if chance < 1 else 1.0
    return len(rows) / (1 + (len(rows) - 1) * correlated)
