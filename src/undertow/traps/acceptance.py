"""Is what was read one record? Tests that need no finetuning data: what an attacker can tell alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from undertow.traps.recorder import NOTHING, Candidates, Written
from undertow.types import Array

STEPS = (*range(2, 33), 64, 100, 127, 127.5, 128, 255, 256)  # of a grid that records may lie on, per unit
ON_GRID = 1e-6  # how exactly auxiliary records lie on their grid
SLACK = 0.02  # of the range, by which a reading may leave it
APART = 1e-3  # of the range, by which two readings of one record may differ
SAME = 1e-5  # the same, where a mixture must differ: single records agree to 1e-6
IN_STEP = 1.5  # largest step of a trap's units over the smallest, where all copy one record at once
OFF_GRID = 0.05  # of a step of a coarse grid, by which a reading may miss it
FINE = 64  # steps per unit, from which readings scatter about the grid by more than that
NOISE = np.array([0.01, 0.03, 0.06, 0.12, 0.2])  # of a step, by which they may
CHANCE = 1e-4  # that a reading which lies on no grid looks as if it did, at most
TURNS = np.arange(-2, 3)


@dataclass(frozen=True)
class Domain:
    """Where records lie: their range, and the grid of their values (grey levels), where they have one."""

    low: float
    high: float
    grid: float = 0  # values are `start` and multiples of 1 / grid; 0: no grid
    start: float = 0.0

    def why_not(self, value: Array) -> str:
        """Why `value` (d,) is no record of this domain; "" if it may be one."""
        slack = SLACK * (self.high - self.low)
        if value.min() < self.low - slack or value.max() > self.high + slack:
            return "out of range"
        if self.grid and not self._on_grid(value):
            return "between grey levels: several records mixed"
        return ""

    def _on_grid(self, value: Array) -> bool:
        if self.grid >= FINE:
            return bool(self.evidence(value) >= -np.log(CHANCE))
        x = (value - self.start) * self.grid
        return bool(np.abs(x - np.round(x)).max() <= OFF_GRID)

    def evidence(self, value: Array) -> float:
        """Logarithm of how much likelier `value` (d,) scatters about the grid than lies anywhere between its lines.

        The likelihood ratio is averaged over `NOISE`: for what lies anywhere it is 1 on average, so that it exceeds c
        with a chance of at most 1 / c. Values on one grey level count once, by their middle miss: in flat patches they
        miss alike. Those that were clipped to the range count nothing.
        """
        x = (value - self.start) * self.grid
        nearest = np.round(x)
        low, high = (round((end - self.start) * self.grid) for end in (self.low, self.high))
        inside = (nearest > low) & (nearest < high)
        levels = np.unique(nearest[inside])
        miss = np.array([np.median(np.abs(x - level)[nearest == level]) for level in levels])
        away = (miss[:, None] + TURNS)[..., None] / NOISE
        density = logsumexp(-(away**2) / 2, axis=1) - np.log(NOISE * np.sqrt(2 * np.pi))
        return float(logsumexp(density.sum(0)) - np.log(len(NOISE)))


def domain_of(auxiliary: Array) -> Domain:
    """The domain of records like `auxiliary` (N, ...): the coarsest grid on which they all lie."""
    values = np.unique(np.asarray(auxiliary, np.float64))
    low, high = float(values[0]), float(values[-1])
    grid = next((g for g in STEPS if _fits(values - low, g)), 0)
    return Domain(low, high, grid, 0.0 if not grid or _fits(values[:1], grid) else low)


def _fits(values: Array, grid: float) -> bool:
    return bool(np.abs(values * grid - np.round(values * grid)).max() < ON_GRID * grid)


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


def in_step(found: Candidates) -> Candidates:
    """Accept traps whose units all took the same step: else some of them hold a part of another record."""
    size, reasons = np.abs(found.step), found.reasons.copy()
    torn = size.max(1) > IN_STEP * size.min(1)
    reasons[(reasons == "") & torn[:, None]] = "the units of the trap do not agree on one step"
    return Candidates(found.values, found.step, reasons == "", reasons)
