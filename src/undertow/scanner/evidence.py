"""One piece of evidence: how far each row of a tensor is out of line, on a scale that limits are set on."""

from dataclasses import dataclass, field

import numpy as np

from undertow.types import Array

FEWEST = 8  # rows of which a median says something


@dataclass(frozen=True, eq=False)
class Evidence:
    """One test of one tensor."""

    test: str  # of TESTS in `limits`
    tensor: str
    excess: Array = field(repr=False)  # (R,) decades above what is usual; larger is worse


def usual(values: list[Array], low: float, high: float) -> float:
    """The median of the layers' medians of what is not zero, kept in low..high: what freshly trained layers have.

    The bounds keep a layer most of whose units have died, or all of whose units are loud, from being its own measure.
    """
    medians = [float(np.median(one[one > 0])) for one in values if (one > 0).any()]
    return float(np.clip(np.median(medians), low, high)) if medians else low


def decades(value: Array, over: float) -> Array:
    """(R,) log10 of value / over; at least -30, which stands for zero."""
    result: Array = np.log10(np.maximum(value / over, 1e-30))
    return result
