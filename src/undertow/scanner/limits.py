"""How far out of line is too far: limits set on benign development checkpoints (`benchmarks/scan_profiles.py`).

Per test, the largest excess of each benign checkpoint is taken to follow a Gumbel law; its limit is the excess that
`rate` / (number of tests) of benign checkpoints pass. A checkpoint's score is its largest excess over limit.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from undertow.types import Array

TESTS = ("path", "gain", "norm", "threshold", "affine", "shift", "table")
FALSE_ALARMS = 0.01  # benign checkpoints that one of the tests flags
EULER = 0.5772156649


@dataclass(frozen=True)
class Limits:
    """The excess of each test above which a row is evidence."""

    excess: Mapping[str, float]
    rate: float
    checkpoints: int  # benign ones that the limits are set on


def shipped() -> Limits:
    """The limits of this version of the library."""
    table = json.loads(files("undertow.scanner").joinpath("limits.json").read_text("utf8"))
    return Limits({test: float(table["excess"][test]) for test in TESTS}, float(table["rate"]), table["checkpoints"])


def limit_of(largest: Array, rate: float) -> float:
    """What a share `rate` of further values like `largest` (N,) passes, if they follow a Gumbel law; at least 0.3.

    >>> values = -np.log(-np.log((np.arange(1000) + 0.5) / 1000))
    >>> round(limit_of(values, 0.01), 1)
    4.6
    """
    scale = max(float(np.std(largest, ddof=1)), 0.05) * np.sqrt(6) / np.pi
    middle = float(np.mean(largest)) - EULER * scale
    return float(max(0.3, middle - scale * np.log(-np.log1p(-rate))))
