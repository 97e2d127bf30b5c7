"""Who may not attack a model: the target itself, and whoever would give its membership away."""

from dataclasses import dataclass

import numpy as np

from undertow.types import Array

NOBODY = -1


@dataclass(frozen=True, eq=False)
class LeftOut:
    """The models that are left out when each model is attacked by the others."""

    block: Array  # (M,) int: models of one number are left out together; a number of its own: only the target
    beside: Array | None = None  # (M, N) int: one more model at every point; NOBODY: none

    def rest(self, kept: Array) -> Array:
        """Sums over models of `kept` (M, N), without each target and who is left out with it, (M, N)."""
        order = np.argsort(self.block, kind="stable")
        _, starts, place = np.unique(self.block[order], return_index=True, return_inverse=True)
        own = np.add.reduceat(kept[order], starts, 0)
        result: Array = kept.sum(0) - own[place[np.argsort(order)]]
        if self.beside is not None:
            gone = np.take_along_axis(kept, np.maximum(self.beside, 0), 0)
            result = result - np.where(self.beside == NOBODY, 0, gone)
        return result

    def stays(self, m: Array, q: Array) -> Array:
        """Which models may attack target m at point q, (M, cells) bool from cells (m, q)."""
        result: Array = self.block[:, None] != self.block[m]
        if self.beside is not None:
            result = result & (np.arange(len(self.block))[:, None] != self.beside[m, q])
        return result

    def at(self, points: Array) -> "LeftOut":
        """The same on some of the points, (N,) bool."""
        return self if self.beside is None else LeftOut(self.block, self.beside[:, points])
