"""Evidence for data traps: units that are louder than any training makes them (Feng & Tramer 2024, section 2).

A trap must saturate the softmax of a head it does not know, and one step on a record must shut it. The first asks for
a large product of the lengths of what it reads and of what reads it, the second for a large outgoing one: no rescaling
through a ReLU hides both.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from undertow.scanner.layers import Hidden
from undertow.types import Array

FEWEST = 8  # units of which a median says something


@dataclass(frozen=True, eq=False)
class Evidence:
    """One test of one tensor: how far each row is out of line. 1 is what is still seen in benign checkpoints."""

    test: str
    tensor: str
    score: Array = field(repr=False)  # (R,) larger is worse; above 1 is out of line
    explanation: str


def loud(hidden: Iterable[Hidden], limits: dict[str, float]) -> list[Evidence]:
    """Units whose path, norm times outgoing gain, is far above that of the layer's other units."""
    found = []
    for one in hidden:
        gain = one.gain
        if gain is None or one.layer.units < FEWEST:
            continue
        for test, value in (("path", one.layer.norm * gain), ("gain", gain)):
            score = above_median(value) / limits[test]
            why = f"{test}: louder than the layer's median unit"
            found.append(Evidence(test, one.layer.weight.name, score, why))
    return found


def above_median(value: Array) -> Array:
    """(R,) log10 of the ratio to the median of what is not zero."""
    positive = value > 0
    if positive.sum() < FEWEST:
        return np.zeros(len(value))
    with np.errstate(divide="ignore"):
        return np.where(positive, np.log10(value / np.median(value[positive])), 0.0)
