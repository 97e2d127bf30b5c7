"""What was captured, judged with the finetuning data at hand: for scoring only, no attacker has it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from undertow.traps.recorder import Candidates
from undertow.types import Array

TOLERANCE = 1e-4  # largest absolute error of an exact capture, in units of the records' values


@dataclass(frozen=True, eq=False)
class Captures:
    """Per trap: the nearest record, how far it is, and whether the reading is that record."""

    nearest: Array  # (K,) int
    error: Array  # (K,) float64, largest absolute difference; inf where nothing was written
    exact: Array  # (K,) bool
    right: Array  # (K,) bool, whether it is that record once it is rounded to the records' grid
    accepted: Array  # (K,) bool

    @property
    def counts(self) -> Mapping[str, int]:
        """Traps that hold a record, distinct records held, readings that are none, and traps without one."""
        written = np.isfinite(self.error)
        return {
            "traps": len(self.error),
            "captured_exact": int(self.exact.sum()),
            "captured_unique": len(np.unique(self.nearest[self.exact])),
            "mixed": int((written & ~self.exact).sum()),
            "none": int((~written).sum()),
            "accepted": int(self.accepted.sum()),
        }

    @property
    def precision(self) -> float | None:
        """Of the accepted readings, the share that is a record; None where none was accepted."""
        return float(self.right[self.accepted].mean()) if self.accepted.any() else None

    @property
    def max_error(self) -> float | None:
        """The largest error among exact captures; None where there is none."""
        return float(self.error[self.exact].max()) if self.exact.any() else None


def captures(candidates: Candidates, records: Array, tolerance: float = TOLERANCE, grid: float = 0) -> Captures:
    """Compare single-part readings (K, 1, d) with the finetuning records (N, d), whose values are multiples of 1/grid.

    A reading is right if it is exact, or is the record once it is rounded to the grid (0: there is none).
    """
    read, truth = candidates.values[:, 0], np.asarray(records, np.float64).reshape(len(records), -1)
    nearest, error = np.zeros(len(read), int), np.full(len(read), np.inf)
    for k in np.flatnonzero(np.isfinite(read).all(1)):
        distance = np.abs(truth - read[k]).max(1)
        nearest[k], error[k] = distance.argmin(), distance.min()
    reach = max(tolerance, 0.5 / grid if grid else 0.0)
    return Captures(nearest, error, error <= tolerance, error <= reach, candidates.accepted[:, 0])
