"""What fires a trap: directions and thresholds, chosen on auxiliary data alone."""

from dataclasses import dataclass

import numpy as np

from undertow.types import Array, BadInput

LOOSER = 4.0  # baits are kept apart on the records that would fire them at so many times the share
CANDIDATES = 4000


@dataclass(frozen=True, eq=False)
class Baits:
    """Trap k fires on x where directions[k] . x > thresholds[k]."""

    directions: Array  # (K, d) float64, unit length
    thresholds: Array  # (K,) float64

    def fires(self, x: Array) -> Array:
        """(N, K) bool: which of the records (N, d) fire which trap."""
        fired: Array = x @ self.directions.T > self.thresholds
        return fired


def choose_baits(auxiliary: Array, traps: int, share: float, rng: np.random.Generator) -> Baits:
    """`traps` random directions, each with the threshold that a `share` of `auxiliary` (N, d) passes.

    Of many directions those are kept whose top records overlap least: two traps that fire on one record disturb each
    other. BadInput where the auxiliary records are too few to place such a threshold, or do not vary.
    """
    auxiliary = np.asarray(auxiliary, np.float64)
    if not np.isfinite(auxiliary).all():
        raise BadInput("the auxiliary data hold NaN or infinite values")
    if len(auxiliary) * share < 1:
        raise BadInput(
            f"{len(auxiliary)} auxiliary records cannot place a threshold that one in {1 / share:.0f} passes; "
            f"give at least {int(np.ceil(1 / share))}"
        )
    drawn = rng.standard_normal((max(CANDIDATES, 4 * traps), auxiliary.shape[1]))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    scores = auxiliary @ drawn.T
    if not scores.std(0).max() > 1e-9 * np.abs(scores).max():
        raise BadInput("the auxiliary records are all the same: no threshold can tell them apart")
    keep = least_overlap(scores > np.quantile(scores, 1 - min(0.5, LOOSER * share), axis=0), traps)
    return Baits(drawn[keep], thresholds(scores[:, keep], share))


def thresholds(scores: Array, share: float) -> Array:
    """What a `share` of further scores like `scores` (N, K) passes on average, per column."""
    found: Array = np.quantile(scores, 1 - share, axis=0, method="weibull")
    return found


def least_overlap(fired: Array, count: int) -> Array:
    """`count` columns of `fired` (N, J) bool, first come first served, that share as few rows as they can."""
    used = np.zeros(len(fired), int)
    left = list(range(fired.shape[1]))
    kept: list[int] = []
    allowed = 0
    while len(kept) < count:
        rest = []
        for column in left:
            rows = fired[:, column]
            if len(kept) < count and used[rows].max(initial=0) <= allowed:
                kept.append(column)
                used += rows
            else:
                rest.append(column)
        left, allowed = rest, allowed + 1
    return np.array(kept)
