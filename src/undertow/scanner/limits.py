"""How far out of line is too far: limits set on benign development checkpoints (`benchmarks/scan_profiles.py`).

Per test, the largest excess of each benign checkpoint is taken to follow a Gumbel law; its limit is the excess that
`rate` / (number of tests) of benign checkpoints pass, and at least MARGIN above every one that was seen. The score of a
checkpoint is its largest excess over limit.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from undertow.types import Array

UNITS = ("path", "gain", "norm", "threshold")  # of matrices; convolutions have longer tails, and limits of their own
NAMED = (*UNITS, *(f"conv {test}" for test in UNITS), "affine", "shift", "table", "behind")
GUESSED = (*(f"chain {test}" for test in UNITS), "column")  # of layers whose names say nothing
ADAPTERS = ("adapter path", "adapter gain", "adapter norm")  # of changes to a layer
TESTS = (*NAMED, *GUESSED, *ADAPTERS)
FALSE_ALARMS = 0.01  # benign checkpoints that one of the tests flags
MARGIN = 0.5  # decades above the most excessive benign checkpoint: large models have longer tails than small ones
LEAST = 1.3  # decades: of large models too few are at hand to trust a lower limit
EULER = 0.5772156649


@dataclass(frozen=True)
class Limits:
    """The excess of each test above which a row is evidence."""

    excess: Mapping[str, float]
    usual: Mapping[str, tuple[float, float]]  # of a layer's median, what benign layers have
    rate: float
    checkpoints: int  # benign ones that the limits are set on


def shipped() -> Limits:
    """The limits of this version of the library."""
    table = json.loads(files("undertow.scanner").joinpath("limits.json").read_text("utf8"))
    usual = {test: (float(low), float(high)) for test, (low, high) in table["usual"].items()}
    excess = {test: float(table["excess"][test]) for test in TESTS}
    return Limits(excess, usual, float(table["rate"]), int(table["checkpoints"]))


def usual_of(middles: Array) -> tuple[float, float]:
    """(median, 10 x maximum) over the medians (N,) of benign layers."""
    low, high = np.nanquantile(middles, [0.5, 1.0])
    return float(low), 10 * float(high)


def limit_of(largest: Array, rate: float) -> float:
    """What a share `rate` of further values like `largest` (N,) passes, if they follow a Gumbel law, or a bit more.

    Values below 0 are of layers that end where they should: they count as 0.

    >>> values = 10 - np.log(-np.log((np.arange(1000) + 0.5) / 1000))
    >>> round(limit_of(values, 1e-4), 1)
    19.2
    """
    largest = np.maximum(largest, 0)
    scale = max(float(np.std(largest, ddof=1)), 0.05) * np.sqrt(6) / np.pi
    middle = float(np.mean(largest)) - EULER * scale
    return float(max(LEAST, largest.max() + MARGIN, middle - scale * np.log(-np.log1p(-rate))))
