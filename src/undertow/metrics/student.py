"""Student's interval of a mean."""

import numpy as np
from scipy.stats import t

from undertow.types import Array


def mean_interval(values: Array) -> dict[str, float]:
    """value, low and high (95 %) of the mean of at least two independent `values` (n,)."""
    n = len(values)
    mean, reach = float(values.mean()), float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return {"value": mean, "low": mean - reach, "high": mean + reach}
