"""Baits for patches: as `baits` has them, but what counts is which image a firing patch lies in."""

from dataclasses import dataclass

import numpy as np

from undertow.traps.baits import LOOSER, Baits, least_overlap
from undertow.types import Array, BadInput

DRAWN = 2000
FLAT = 1e-6  # of the largest variance, below which a direction is noise


@dataclass(frozen=True, eq=False)
class Whitening:
    """white(x) = matrix (x - mean): the strongest directions, uncorrelated and of variance one."""

    matrix: Array  # (r, d)
    mean: Array  # (d,)

    def __call__(self, x: Array) -> Array:
        """(..., d) -> (..., r)."""
        result: Array = (x - self.mean) @ self.matrix.T
        return result


def whitening(x: Array, rank: int) -> Whitening:
    """Of records (N, d), at most `rank` directions; BadInput where they do not vary in so many."""
    mean = x.mean(0)
    value, vector = np.linalg.eigh(np.cov(x.T))
    if len(value) < rank or not value[-rank] > FLAT * value[-1]:
        raise BadInput(f"the auxiliary images vary in fewer than {rank} directions; give more of them, or a lower key")
    return Whitening((vector[:, -rank:] / np.sqrt(value[-rank:])).T, mean)


def patch_baits(patches: Array, traps: int, share: float, rng: np.random.Generator) -> Baits:
    """`traps` directions, each with the threshold that a `share` of all `patches` (N, P, r) passes.

    Kept are those whose strongest patches lie in different images, and in other images than those of other traps.
    BadInput where there are too few patches to place a threshold.
    """
    images, parts, rank = patches.shape
    fires, looser = share * images * parts, LOOSER * share * images * parts
    if fires < 1:
        raise BadInput(
            f"{images} auxiliary images cannot place a threshold that one patch in {1 / share:.0f} passes; "
            f"give at least {int(np.ceil(1 / share / parts))}"
        )
    flat = patches.reshape(-1, rank)
    drawn = rng.standard_normal((max(DRAWN, 4 * traps), rank))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    fired, threshold = np.zeros((images, len(drawn)), bool), np.zeros(len(drawn))
    alone = np.zeros(len(drawn))
    top = int(np.ceil(looser))
    for j, direction in enumerate(drawn):
        score = flat @ direction
        best = np.argpartition(score, -top)[-top:]
        threshold[j] = np.quantile(score[best], 1 - fires / top)
        fired[best // parts, j] = True
        alone[j] = fired[:, j].sum() / top
    order = np.argsort(-alone, kind="stable")
    keep = order[least_overlap(fired[:, order], traps)]
    return Baits(drawn[keep], threshold[keep])
