"""Is what was read one record? Tests that need no finetuning data: what an attacker can tell alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from undertow.traps.recorder import NOTHING, Candidates, Written
from undertow.types import Array

STEPS = (*range(2, 33), 64, 100, 127, 128, 255, 256)  # of a grid that records may lie on, per unit
ON_GRID = 1e-6  # how exactly auxiliary records lie on their grid
SLACK = 0.02  # of the range, by which a reading may leave it
APART = 1e-3  # of the range, by which two readings of one record may differ
SAME = 1e-5  # the same, where a mixture must differ: single records agree to 1e-6
OFF_GRID = 0.05  # of a grid step, by which a reading may miss it


@dataclass(frozen=True)
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


def accept(found: Written, margin: Callable[[Array], Array], domain: Domain) -> Candidates:
    """Judge what was read.

    `margin` gives for readings (K, P, d) by how much the *original* traps fire on them, (K, P). A trap that was pushed
    open, or that would not have fired on what it holds, holds no single record.
    """
    values, step = found.values, found.step
    fires, reasons = margin(values) > 0, np.full(step.shape, "", object)
    for place in np.ndindex(step.shape):
        if step[place] == 0:
            reasons[place] = NOTHING
        elif step[place] > 0:
            reasons[place] = "pushed open"
        elif not fires[place]:
            reasons[place] = "the trap does not fire on it"
        else:
            reasons[place] = domain.why_not(values[place])
    return Candidates(values, step, reasons == "", reasons)


def first_accepted(hypotheses: Sequence[Candidates]) -> Candidates:
    """Of several readings of the same traps, the first that is accepted; where none is, the last one."""
    best = hypotheses[-1]
    values, step, reasons = best.values.copy(), best.step.copy(), best.reasons.copy()
    for one in reversed(hypotheses[:-1]):
        values[one.accepted], step[one.accepted] = one.values[one.accepted], one.step[one.accepted]
        reasons[one.accepted] = ""
    return Candidates(values, step, reasons == "", reasons)


def agreeing(one: Candidates, other: Candidates, most: float = APART) -> Candidates:
    """Accept of `one` what the `other` units, which fire on fewer records, hold too: a mixture rarely passes both.

    `most`: of the range, by which the two may differ.
    """
    spread = np.nanmax(one.values) - np.nanmin(one.values) if np.isfinite(one.values).any() else 1.0
    apart = np.abs(one.values - other.values).max(-1)  # NaN where either holds nothing
    reasons = one.reasons.copy()
    alone = (reasons == "") & ~(apart <= most * spread)
    reasons[alone] = "two units of the trap do not agree on it"
    return Candidates(one.values, one.step, reasons == "", reasons)


def looking_single(found: Candidates, single: Array) -> Candidates:
    """Accept what looks like one record too: `single` (K,) bool is `mixtures.SingleTest` of whole readings."""
    reasons = found.reasons.copy()
    reasons[(reasons == "") & ~single[:, None]] = "looks like several records mixed"
    return Candidates(found.values, found.step, reasons == "", reasons)
