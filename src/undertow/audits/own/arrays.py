"""Whatever holds numbers (arrays, tensors of any framework, tables, lists) as a NumPy array."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from undertow.types import Array, BadInput


def array_of(value: Any, what: str, wanted: str) -> Array:
    """`value` as an array on the CPU; BadInput in one line that begins with `what` where it is none.

    Torch tensors (on a GPU, with gradients, bfloat16), TensorFlow and JAX arrays, pandas, sparse matrices, lists.
    """
    if isinstance(value, Mapping | str | bytes) or callable(value) or not _sized(value):
        raise BadInput(f"{what} is a {type(value).__name__}; give an array, {wanted}")
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):  # torch
            value = value.detach().cpu()
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        elif hasattr(value, "to_numpy"):  # pandas, polars
            value = value.to_numpy()
        elif hasattr(value, "toarray"):  # SciPy's sparse matrices
            value = value.toarray()
        elif isinstance(value, list | tuple) and value and hasattr(value[0], "detach"):
            value = [v.detach().cpu().numpy() for v in value]
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(value, list | tuple):
            raise BadInput(
                f"{what} is a list whose rows differ in length; every record needs as many numbers"
            ) from error
        raise BadInput(f"{what}, a {type(value).__name__}, cannot be made an array ({error}); {wanted}") from error


def _sized(value: Any) -> bool:
    return hasattr(value, "__len__") or hasattr(value, "__array__") or hasattr(value, "shape")
