"""What checkpoints are worth before and after finetuning: a poisoned one must not show by being worse."""

from dataclasses import replace

import numpy as np

from undertow.audits.poisoning.kit import Answers
from undertow.metrics.binomial import proportion
from undertow.metrics.student import mean_interval
from undertow.types import Array, Measurement, Params


def worth_before(base: Answers, metric: str, arm: str, records: int) -> Measurement:
    """Accuracy (Clopper and Pearson) or loss (t interval over texts) of one checkpoint on held-out records."""
    values = base[metric].ravel()
    share = metric == "accuracy"
    cells = proportion(round(float(values.mean()) * records), records) if share else mean_interval(values)
    row = Measurement("utility", metric, None, None, None, records, "records", group=arm, when="before")
    return replace(row, **{**cells, "value": float(values.mean())})


def worth_after(models: Answers, metric: str, arm: str, recipe: str) -> Measurement:
    """Mean over the finetuned models of one arm, with a t interval over them."""
    values: Array = models[metric].reshape(len(models[metric]), -1).mean(1)
    row = Measurement(
        "utility", metric, None, None, None, len(values), "models", group=arm, recipe=recipe, when="after"
    )
    return replace(row, **mean_interval(values))


def distance(params: Params, other: Params) -> float:
    """Relative L2 distance of the floating weights: |params - other| / |other|; infinite where shapes differ."""
    names = [n for n, v in other.items() if v.dtype.kind == "f"]
    if any(n not in params or params[n].shape != other[n].shape for n in names):
        return float("inf")
    gap = sum(float(np.square(params[n].astype(float) - other[n].astype(float)).sum()) for n in names)
    size = sum(float(np.square(other[n].astype(float)).sum()) for n in names)
    return float(np.sqrt(gap / max(size, 1e-30)))
