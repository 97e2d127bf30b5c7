"""Student's interval of a mean."""

from typing import Any

import numpy as np
from scipy.stats import t

from undertow.types import Array


def mean_interval(values: Array) -> dict[str, Any]:
    """value, low and high (95 %) of the mean of at least two independent `values` (n,)."""
    n = len(values)
    mean, reach = float(values.mean()), float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return {"value": mean, "low": mean - reach, "high": mean + reach}


def prediction_interval(values: Array) -> dict[str, Any]:
    """value (the mean), low and high: where one new draw falls with probability 95 %, from at least two `values` (n,).

    mean -+ t_{n-1, .975} s sqrt(1 + 1/n), with s the standard deviation of the sample: it allows for the scatter of the
    new draw and for that of the mean. It assumes independent draws from one roughly normal distribution, as the numbers
    of experiments with other seeds are; the range of n draws, in contrast, is left by a new one with probability
    2 / (n + 1). Raises ValueError for fewer than two.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"a prediction interval needs at least two values, got {n}")
    mean = float(np.mean(values))
    reach = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / n))
    return {"value": mean, "low": mean - reach, "high": mean + reach}
