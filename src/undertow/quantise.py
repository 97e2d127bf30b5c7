"""Weights as a model served in few bits holds them. NumPy only."""

from collections.abc import Collection

import numpy as np

from undertow.types import Array, BadInput, Params


def quantise(params: Params, bits: int, skip: Collection[str] = (), transposed: Collection[str] = ()) -> Params:
    """The weights rounded to `bits` (2 to 16; 8 is int8, 4 is int4) and back, names, shapes and types kept.

    Matrices (two axes, floating point) only; everything else, and what `skip` names, is passed on as it is. Rows are
    output channels, as in torch's Linear and in embeddings; `transposed` names matrices whose columns are (the Conv1D
    of GPT-2). Raises BadInput for weights that are not finite.
    """
    if not 2 <= bits <= 16:
        raise BadInput(f"bits = {bits}: weights are rounded to 2 to 16 bits")
    out = dict(params)
    for name, weight in params.items():
        if weight.ndim == 2 and weight.dtype.kind == "f" and name not in skip:
            if not np.isfinite(weight).all():
                raise BadInput(f"{name} holds weights that are not finite; the model has diverged")
            out[name] = round_rows(weight.T, bits).T if name in transposed else round_rows(weight, bits)
    return out


def round_rows(weight: Array, bits: int) -> Array:
    """Symmetric round-to-nearest of each row of a matrix (out, in): no value moves more than half a step.

    The step of a row is its largest magnitude over 2**(bits - 1) - 1, so that 0 and the extremes are kept.

    >>> round_rows(np.array([[7.0, 2.6, 0.0, -0.4]]), 4)
    array([[ 7.,  3.,  0., -0.]])
    """
    top = 2 ** (bits - 1) - 1
    w = np.asarray(weight, float)
    largest = np.abs(w).max(-1, keepdims=True, initial=0)
    whole = np.rint(np.divide(w, largest, out=np.zeros_like(w), where=largest > 0) * top)
    result: Array = (whole / top * largest).astype(weight.dtype)
    return result
