"""Readings off checkpoints that were stored in half precision: how far rounding reaches, and what it leaves certain.

The stored weights are known to half a unit in the last place, so each value of a reading is known to an interval.
Where records lie on a grid and every interval meets it, and is narrower than its steps, the reading is the nearest
point of the grid, if so much agreement cannot be chance: a mixture of records lies anywhere between the grid's lines.
"""

from collections.abc import Sequence

import numpy as np

from undertow.traps.acceptance import Domain
from undertow.traps.recorder import Recorder, Written
from undertow.types import Array, Params

BITS = {"float16": 10, "bfloat16": 7}  # of the fraction
SMALLEST = {"float16": -14, "bfloat16": -126}  # exponent of the smallest normal number
CHANCE = 1e-6  # that a mixture meets the grid at so many values


def half_unit(stored: Array) -> Array:
    """Half a unit in the last place of each value, in the type that holds all; 0 where that is float32 or wider."""
    single = np.asarray(stored, np.float32)
    with np.errstate(over="ignore"):
        fits = {
            "float16": bool((single.astype(np.float16) == single).all()),
            "bfloat16": not bool((single.view(np.uint32) & 0xFFFF).any()),
        }
    kind = next((name for name in ("bfloat16", "float16") if fits[name]), None)
    if kind is None or not single.any():
        return np.zeros(single.shape)
    exponent = np.maximum(np.frexp(single)[1] - 1, SMALLEST[kind])
    half: Array = np.ldexp(0.5, exponent - BITS[kind])
    return half


def reach(after: Params, recorder: Recorder) -> Written:
    """By how much rounding may have moved what is read by `written`: bounds, both 0 where nothing was rounded."""
    w, b = (half_unit(after[name]) for name in (recorder.weight, recorder.bias))
    return Written(w[recorder.rows][..., recorder.plus] / recorder.scale, b[recorder.rows])


def on_grid(found: Written, bounds: Sequence[Written], domain: Domain) -> Written:
    """The readings that rounding explains, moved to the grid; the others as they are.

    `bounds`: of the units that the readings are made of, from `reach`; they add up.
    """
    if not domain.grid or not any(bound.carried.any() for bound in bounds):
        return found
    carried = np.sum([bound.carried for bound in bounds], axis=0)
    step = np.sum([bound.step for bound in bounds], axis=0)
    x = (found.values - domain.start) * domain.grid
    low, high = ((end - domain.start) * domain.grid for end in (domain.low, domain.high))
    nearest = np.clip(np.round(x), low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        wide = (carried + np.abs(found.values) * step[..., None]) * domain.grid / np.abs(found.step)[..., None]
        inside = (nearest > low) & (nearest < high)
        chance = np.where(inside, np.log(np.clip(2 * wide, 1e-3, 1)), 0).sum(-1)
        sure = ((np.abs(x - nearest) <= wide) & (wide < 0.5)).all(-1) & (chance < np.log(CHANCE))
    moved = np.where(sure[..., None], (domain.start + nearest / domain.grid) * found.step[..., None], found.carried)
    return Written(moved, found.step)
