"""What every shadow-model rule needs: enough models on each side, and the mean and spread of each side."""

from dataclasses import dataclass

import numpy as np

from undertow.types import Array, BadInput

FLOAT32 = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Moments:
    """One side (IN or OUT) of every point, over the shadow models of that side."""

    mean: Array  # (Q,)
    variance: Array  # (Q,) sample variance (n - 1), at least the rounding noise of the signal
    count: Array  # (Q,) int, models

    @property
    def pooled(self) -> float:
        """One variance for all points: squared residuals about each point's own mean, over their freedom."""
        freedom = self.count - 1
        return float((freedom * self.variance).sum() / freedom.sum())


def require(member: Array, inside: int = 2, outside: int = 2) -> None:
    """BadInput, naming the first such point, unless all have `inside` IN and `outside` OUT shadows (M, Q)."""
    count_in, count_out = member.sum(0), (~member).sum(0)
    short = np.flatnonzero((count_in < inside) | (count_out < outside))
    if len(short):
        q = short[0]
        raise BadInput(
            f"point {q} is IN {count_in[q]} and OUT of {count_out[q]} shadow models; this attack needs "
            f"{inside} IN and {outside} OUT at every point, and {len(short)} of {len(count_in)} points have "
            "fewer: add shadow models, balance their membership, or leave these points out"
        )


def moments(values: Array, side: Array) -> Moments:
    """Mean and variance of `values` (M, Q) over the models where `side` (M, Q) is true: 2 or more."""
    count = side.sum(0)
    mean = values.mean(0, dtype=float, where=side)
    variance = np.square(values - mean).sum(0, where=side) / (count - 1)
    return Moments(mean, np.maximum(variance, resolution(mean) ** 2), count)


def resolution(mean: Array) -> Array:
    """The step of a float32 number of this size (at least 1): signals come from float32 models.

    A spread below it is rounding, not knowledge. As a floor it keeps constant signals finite.
    """
    return FLOAT32 * np.maximum(1.0, np.abs(mean))
