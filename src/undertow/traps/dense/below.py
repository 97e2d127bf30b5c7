"""Dense layers below a trap: a deeper layer copies features, and features of a wide layer give the record itself.

With h = ReLU(Wx + b), each unit that is not zero is a linear equation of x. Exact where the layers below are frozen;
where they are trained too, they have moved when the features were copied.
"""

from collections.abc import Sequence

import numpy as np

from undertow.traps.trap import tensor
from undertow.types import Array, Params

ACTIVE = 1e-4  # of the largest feature, above which a unit counts as active


def features(params: Params, layers: Sequence[str], x: Array) -> Array:
    """What the dense `layers`, a ReLU after each, make of `x` (..., D)."""
    for layer in layers:
        x = np.maximum(x @ tensor(params, f"{layer}.weight").T + tensor(params, f"{layer}.bias"), 0)
    return x


def records(params: Params, layers: Sequence[str], values: Array) -> Array:
    """(..., D): the inputs of which `layers` make the features `values` (..., H), by least squares over active units.

    NaN where too few units are active, or `values` are NaN.
    """
    for layer in reversed(layers):
        w, b = tensor(params, f"{layer}.weight"), tensor(params, f"{layer}.bias")
        flat = values.reshape(-1, len(w))
        values = np.array([_solved(w, b, one) for one in flat]).reshape(*values.shape[:-1], w.shape[1])
    return values


def _solved(w: Array, b: Array, h: Array) -> Array:
    if not np.isfinite(h).all():
        return np.full(w.shape[1], np.nan)
    active = h > ACTIVE * h.max()
    x, _, rank, _ = np.linalg.lstsq(w[active], (h - b)[active])
    return x if rank == w.shape[1] else np.full(w.shape[1], np.nan)
