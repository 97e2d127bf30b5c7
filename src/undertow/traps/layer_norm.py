"""A LayerNorm that acts linearly: the key to building circuits in transformers (Feng & Tramer 2024, section 3.2).

A large constant C on some ("right") dimensions decides mean and variance alone. With weight s * sigma and the offset
taken away by the bias, the norm then gives s * (u - mean(u)) of the left group and s * (v - mean(v)) of the right
one. The error is the machine's at C: 6e-8 * C in float32. Codes that sum to zero pass unchanged.
"""

from dataclasses import dataclass

import numpy as np

from undertow.types import Array


def zero_sum(count: int) -> Array:
    """(count + 1, count): an isometry into the vectors that sum to zero. For one number: plus and minus, mirrored."""
    last = 1 / np.sqrt(count + 1)
    return np.vstack([np.eye(count) - (1 - last) / count, np.full((1, count), -last)])


@dataclass(frozen=True, eq=False)
class LinearNorm:
    """A LayerNorm over `width` dimensions, of which `right` hold `constant` on top of their signal."""

    width: int
    right: Array  # (r,) int
    constant: float

    @property
    def sigma(self) -> float:
        """The standard deviation that the constant alone makes."""
        share = len(self.right) / self.width
        return float(np.sqrt(share * (1 - share)) * self.constant)

    def write(self, weight: Array, bias: Array, dims: Array, gain: float | Array) -> None:
        """Let `weight` and `bias` (D,) pass `gain` times the signal on `dims`; in place."""
        share = len(self.right) / self.width
        offset = np.where(np.isin(dims, self.right), share - 1, share) * self.constant
        weight[dims], bias[dims] = gain * self.sigma, gain * offset
