"""What checkpoints are worth before and after finetuning: a poisoned one must not show by being worse."""

import numpy as np
from scipy.stats import beta, t

from undertow.audits.poison_kit import Answers
from undertow.types import Array, Measurement, Params

LEVEL = 0.975  # of two-sided 95 % intervals


def worth_before(base: Answers, metric: str, arm: str, records: int) -> Measurement:
    """Accuracy (Clopper and Pearson) or loss (t interval over texts) of one checkpoint on held-out records."""
    values = base[metric].ravel()
    mean = float(values.mean())
    if metric == "accuracy":
        cells = proportion(round(mean * records), records)
        low, high = cells["low"], cells["high"]
    else:
        reach = float(t.ppf(LEVEL, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        low, high = mean - reach, mean + reach
    return Measurement("utility", metric, mean, low, high, records, "records", group=arm, when="before")


def proportion(hits: int, n: int) -> dict[str, float]:
    """value, low and high of a share: Clopper and Pearson's interval."""
    low = float(beta.ppf(1 - LEVEL, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(LEVEL, hits + 1, n - hits)) if hits < n else 1.0
    return {"value": hits / n, "low": low, "high": high}


def worth_after(models: Answers, metric: str, arm: str, recipe: str) -> Measurement:
    """Mean over the finetuned models of one arm, with a t interval over them."""
    values: Array = models[metric].reshape(len(models[metric]), -1).mean(1)
    n = len(values)
    reach = t.ppf(LEVEL, n - 1) * values.std(ddof=1) / np.sqrt(n)
    low, high, mean = float(values.mean() - reach), float(values.mean() + reach), float(values.mean())
    return Measurement("utility", metric, mean, low, high, n, "models", group=arm, recipe=recipe, when="after")


def distance(params: Params, other: Params) -> float:
    """Relative L2 distance of the floating weights: |params - other| / |other|; infinite where shapes differ."""
    names = [n for n, v in other.items() if v.dtype.kind == "f"]
    if any(n not in params or params[n].shape != other[n].shape for n in names):
        return float("inf")
    gap = sum(float(np.square(params[n].astype(float) - other[n].astype(float)).sum()) for n in names)
    size = sum(float(np.square(other[n].astype(float)).sum()) for n in names)
    return float(np.sqrt(gap / max(size, 1e-30)))
