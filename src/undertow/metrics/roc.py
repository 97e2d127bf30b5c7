"""The ROC curve of pooled scores: higher = member, ties count half, a threshold never cuts a tie."""

import numpy as np

from undertow.metrics.interval import intervals
from undertow.metrics.resample import draws, rank, roc_numbers
from undertow.types import Array, BadInput, Scores


def auc(values: Array, member: Array) -> float:
    """Probability that a member scores higher than a non-member, 0..1; any shape, pooled; ties count half.

    The Mann-Whitney statistic, O(n log n). BadInput where a class is missing or a value is NaN.

    >>> auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    0.875
    """
    inside, outside = _classes(values, member)
    outside = np.sort(outside)
    ranks = [int(np.searchsorted(outside, inside, side).sum()) for side in ("left", "right")]
    return sum(ranks) / (2 * len(inside) * len(outside))


def threshold_at(non_members: Array, fpr: float) -> float:
    """The smallest observed non-member score that at most a share `fpr` of the non-members exceed.

    >>> threshold_at(np.arange(101.0), 0.01)
    99.0
    """
    return float(np.quantile(np.asarray(non_members, float), 1 - fpr, method="higher"))


def tpr_at(values: Array, member: Array, fpr: float) -> float:
    """Share of members strictly above the threshold of `fpr` (a fraction); any shape, pooled.

    Ties and rounding both err to fewer false positives than asked. BadInput as in `auc`.

    >>> tpr_at(np.array([0.0, 1.0, 2.0, 1.0, 3.0]), np.array([False, False, False, True, True]), 0.01)
    0.5
    """
    inside, outside = _classes(values, member)
    return float(np.mean(inside > threshold_at(outside, fpr)))


def roc_curve(values: Array, member: Array) -> tuple[Array, Array]:
    """The corners (fpr, tpr) of the curve from (0, 0) to (1, 1), one per distinct score; any shape, pooled.

    A tie is one straight step, so the trapezoids below the curve sum to `auc`. BadInput as in `auc`.

    >>> roc_curve(np.array([1, 2, 2, 3]), np.array([False, False, True, True]))
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]))
    """
    inside, outside = (np.sort(part) for part in _classes(values, member))
    levels = np.unique(np.concatenate([inside, outside]))[::-1]
    above = [(len(part) - np.searchsorted(part, levels, "left")) / len(part) for part in (outside, inside)]
    return np.append(0.0, above[0]), np.append(0.0, above[1])


def tpr_band(scores: Scores, grid: Array, rng: np.random.Generator, resamples: int = 1000) -> tuple[Array, Array]:
    """Pointwise 95 % bounds (low, high) of the TPR at each FPR of `grid`, each (G,); fractions.

    The intervals of `measure`, drawn and widened the same way; pointwise, so the whole curve leaves the band
    more often than one time in twenty. Below one expected false positive the threshold is the largest
    non-member: read the band there as that of FPR 1 / non-members. BadInput where a class is missing.
    """
    ranking = rank(scores)
    value = roc_numbers(ranking, np.ones((1, ranking.size), np.int32), grid)[0, 1:]
    resampled = np.concatenate([roc_numbers(ranking, w, grid)[:, 1:] for w in draws(ranking, rng, resamples)])
    return intervals(
        value, resampled, ranking.units, np.full(len(value), len(ranking.members)), np.zeros(len(value), bool)
    )


def _classes(values: Array, member: Array) -> tuple[Array, Array]:
    """The scores of members and of non-members, (m,) and (n,)."""
    values, member = np.asarray(values), np.asarray(member)
    if values.shape != member.shape or member.dtype != bool:
        found = f"{member.dtype} {member.shape}"
        raise BadInput(f"membership must be bool and of the shape of the scores {values.shape}, got {found}")
    if np.isnan(values).any():
        raise BadInput(f"{int(np.isnan(values).sum())} scores are NaN; they have no rank")
    for present, name in ((member, "members"), (~member, "non-members")):
        if not present.any():
            raise BadInput(f"no {name} among {member.size} scores; both are needed")
    return values[member], values[~member]
