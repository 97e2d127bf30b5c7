"""The ROC curve of pooled scores: higher = member, ties count half, a threshold never cuts a tie."""

import numpy as np

from undertow.types import Array, BadInput

ROUNDING = 1e-9  # relative, of n x FPR: 700 x .01 is 7.000000000000001


def auc(values: Array, member: Array) -> float:
    """Probability that a member scores higher than a non-member, 0..1; any shape, pooled; ties count half.

    The Mann-Whitney statistic, O(n log n). BadInput where a class is missing or a value is NaN.

    >>> auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    0.875
    """
    inside, outside = classes(values, member)
    outside = np.sort(outside)
    ranks = [int(np.searchsorted(outside, inside, side).sum()) for side in ("left", "right")]
    return sum(ranks) / (2 * len(inside) * len(outside))


def allowed(non_members: int, fpr: float) -> int:
    """How many of so many non-members may be accused at a false positive rate `fpr` (a fraction): floor(n f).

    >>> allowed(100, 0.01), allowed(700, 0.01), allowed(199, 0.01)
    (1, 7, 1)
    """
    return int(np.floor(non_members * fpr * (1 + ROUNDING)))


def threshold_at(non_members: Array, fpr: float) -> float:
    """The lowest threshold above which at most floor(n fpr) of the non-member scores (n,) lie.

    It is the (k + 1)-th largest score, k = floor(n fpr); whoever scores above it is called a member. Ties at it are
    refused whole, so that there may be fewer than k false positives, and no lower threshold has at most k.

    >>> threshold_at(np.arange(100.0), 0.01)
    98.0
    """
    n, k = len(non_members), allowed(len(non_members), fpr)
    if k >= n:
        return float("-inf")
    return float(np.partition(np.asarray(non_members, float), n - 1 - k)[n - 1 - k])


def tpr_at(values: Array, member: Array, fpr: float) -> float:
    """The largest share of members found with at most floor(n fpr) false positives; any shape, pooled.

    `fpr` is a fraction. Ties err to fewer false positives than allowed. BadInput as in `auc`.

    >>> tpr_at(np.array([0.0, 1.0, 2.0, 1.0, 3.0]), np.array([False, False, False, True, True]), 0.01)
    0.5
    """
    inside, outside = classes(values, member)
    return float(np.mean(inside > threshold_at(outside, fpr)))


def roc_curve(values: Array, member: Array) -> tuple[Array, Array]:
    """The corners (fpr, tpr) of the curve from (0, 0) to (1, 1), one per distinct score; any shape, pooled.

    A tie is one straight step, so the trapezoids below the curve sum to `auc`. BadInput as in `auc`.

    >>> roc_curve(np.array([1, 2, 2, 3]), np.array([False, False, True, True]))
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]))
    """
    inside, outside = (np.sort(part) for part in classes(values, member))
    levels = np.unique(np.concatenate([inside, outside]))[::-1]
    above = [(len(part) - np.searchsorted(part, levels, "left")) / len(part) for part in (outside, inside)]
    return np.append(0.0, above[0]), np.append(0.0, above[1])


def classes(values: Array, member: Array) -> tuple[Array, Array]:
    """The scores of members and of non-members, (m,) and (n,); BadInput where there are none, or NaN."""
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
