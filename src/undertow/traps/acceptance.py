"""Is what was read one record? Tests that need no finetuning data: what an attacker can tell alone."""

from dataclasses import dataclass

import numpy as np

from undertow.traps.recorder import NOTHING, Candidates
from undertow.types import Array

STEPS = (*range(2, 33), 64, 100, 127, 128, 255, 256)  # of a grid that records may lie on, per unit
ON_GRID = 1e-6  # how exactly auxiliary records lie on their grid
SLACK = 0.02  # of the range, by which a reading may leave it
OFF_GRID = 0.05  # of a grid step, by which a reading may miss it


@dataclass(frozen=True, eq=False)
class Domain:
    """Where records lie: their range, and the grid of their values (grey levels), where they have one."""

    low: float
    high: float
    grid: int = 0  # values are multiples of 1 / grid; 0: no grid

    def why_not(self, value: Array) -> str:
        """Why `value` (d,) is no record of this domain; "" if it may be one."""
        slack = SLACK * (self.high - self.low)
        if value.min() < self.low - slack or value.max() > self.high + slack:
            return "out of range"
        if self.grid and np.abs(value * self.grid - np.round(value * self.grid)).max() > OFF_GRID:
            return "between grey levels: several records mixed"
        return ""


def domain_of(auxiliary: Array) -> Domain:
    """The domain of records like `auxiliary` (N, ...): the coarsest grid on which they all lie."""
    values = np.unique(np.asarray(auxiliary, np.float64))
    fits = (g for g in STEPS if np.abs(values * g - np.round(values * g)).max() < ON_GRID * g)
    return Domain(float(values[0]), float(values[-1]), next(fits, 0))


def accept(values: Array, step: Array, margin: Array, domain: Domain) -> Candidates:
    """Judge what was read.

    `values` (K, P, d), `step` (K, P) from `read_units`; `margin` (K, P): by how much the *original* trap fires on the
    reading. A trap that was pushed open, or that would not have fired on what it holds, holds no single record.
    """
    reasons = np.full(step.shape, "", object)
    for place in np.ndindex(step.shape):
        if step[place] == 0:
            reasons[place] = NOTHING
        elif step[place] > 0:
            reasons[place] = "pushed open"
        elif not margin[place] > 0:
            reasons[place] = "the trap does not fire on it"
        else:
            reasons[place] = domain.why_not(values[place])
    return Candidates(values, step, reasons == "", reasons)
